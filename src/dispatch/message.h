// What kinds of messages there are, which of them a bot answers, and what a text model is given of each.
#ifndef DISPATCH_MESSAGE_H
#define DISPATCH_MESSAGE_H

#include "wahook/base.h"

// Whether a bot answers messages of this type (FACTS: messages[]); unknown types are not answered.
bool message_answerable(struct span type);
// The message's own time in microseconds since 1970, 0 when it has none. Seconds or, as has been seen, milliseconds.
int64_t message_sent_us(const struct json *message);
// When the user sent it, on the steady clock: `sent_us` is Meta's time of day (0: none, and the result is 0), `received_steady_us` and
// `received_wall_us` are the moment of its receipt by ours. Late is only what is late by both of our clocks: one that was set wrong must
// not make a message too old to be answered, while Graph refuses what really is.
int64_t message_sent_steady_us(int64_t sent_us, int64_t received_wall_us, int64_t received_steady_us);
// The text of a message as the replaced service gave it to its AI (text body, caption, button and list titles, …). Appends to `out`;
// leaves it empty where there is no text.
void message_text(const struct json *message, struct buf *out);

#endif
