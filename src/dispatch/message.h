// What kinds of messages there are, which of them a bot answers, and what a text model is given of each.
#ifndef DISPATCH_MESSAGE_H
#define DISPATCH_MESSAGE_H

#include "wahook/base.h"

// Whether a bot answers messages of this type (FACTS: messages[]); unknown types are not answered.
bool message_answerable(struct span type);
// The message's own time in microseconds since 1970, 0 when it has none. Seconds or, as has been seen, milliseconds.
int64_t message_sent_us(const struct json *message);
// The text of a message as the replaced service gave it to its AI (text body, caption, button and list titles, …). Appends to `out`;
// leaves it empty where there is no text.
void message_text(const struct json *message, struct buf *out);

#endif
