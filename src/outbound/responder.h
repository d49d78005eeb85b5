// Shared inside outbound: what all responders need to ask and to answer.
#ifndef WAHOOK_OUTBOUND_RESPONDER_H
#define WAHOOK_OUTBOUND_RESPONDER_H

#include "transfer.h"

#define ASK_MAGIC              0x41736b21u // "Ask!"
#define RESPONDER_MAX_MESSAGES 50u
#define RESPONDER_MAX_TEXT     4096u // characters of one text message (Meta's limit)
#define RESPONDER_ARENA_BYTES  (16u << 20)
#define RESPONDER_MAX_BYTES    (2u << 20) // of an answer

// One question under way and the answer that is being put together.
struct ask {
  uint32_t magic;
  responder_done *on_done;
  void *ctx;
  struct arena arena; // messages, parsed answers
  struct span messages[RESPONDER_MAX_MESSAGES];
  size_t count;
  struct buf text; // the answer as text
  enum err result;
  bool permanent;
  int64_t retry_after_ms;
  char error[320];
};

struct ask *responder__ask_new(responder_done *on_done, void *ctx);
// Hands the answer over and frees the question.
void responder__finish(struct ask *ask);
// Sets the error; of two the first one stays.
void responder__fail(struct ask *ask, enum err result, bool permanent, const char *fmt, ...) PRINTF_LIKE(4, 5);
// Finishes on the loop's next turn, for questions that need no network.
void responder__finish_later(struct outbound *outbound, struct ask *ask);
// True when there is a 2xx answer; else the error is set.
bool responder__check(struct ask *ask, const struct outbound_response *response);
// Adds text as one or more text messages of at most RESPONDER_MAX_TEXT characters, and to the answer's text.
void responder__add_text(struct ask *ask, struct span text);
// Adds a Graph message object as it is.
void responder__add_message(struct ask *ask, const struct json *message);

void responder__echo(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                     responder_done *on_done, void *ctx);
void responder__http(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                     responder_done *on_done, void *ctx);
void responder__openai(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                       responder_done *on_done, void *ctx);
// Bodies and answers, apart from the network.
void responder__http_body(const struct responder_question *question, const char *id, struct buf *out);
void responder__http_answer(struct ask *ask, struct span body);
void responder__openai_body(const struct responder_spec *spec, const struct responder_question *question, struct buf *out);
void responder__openai_answer(struct ask *ask, struct span body);

#endif
