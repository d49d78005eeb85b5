// Everything that leaves: HTTP requests by libcurl on the loop, the Graph API, and the responders that answer messages.
#ifndef WAHOOK_OUTBOUND_H
#define WAHOOK_OUTBOUND_H

#include "wahook/loop.h"
#include "wahook/metrics.h"

// ---------------------------------------------------------------- requests (multi.c, transfer.c)

struct outbound;
struct outbound_options {
  struct loop *loop;
  unsigned max_connections; // 0: 200
  int64_t connect_ms;       // 0: 5000
};
struct outbound *outbound_new(const struct outbound_options *options);
// Cancels what is under way (each callback gets ERR_CANCELED), then on_done.
void outbound_close(struct outbound *outbound, void (*on_done)(void *ctx), void *ctx);

struct outbound_request {
  const char *method;         // NULL: POST with a body, GET without
  const char *url;            // https, or http where the operator configured it
  const char *bearer;         // secret for "Authorization: Bearer", or NULL; not kept beyond the request, wiped
  const char *content_type;   // NULL: application/json
  const char *const *headers; // "Name: value", NULL-terminated; may be NULL; copied
  struct span body;           // copied
  int64_t timeout_ms;         // 0: 30000
  size_t max_response_bytes;  // 0: 1 MiB; ERR_TOO_LARGE beyond
  bool foreign;               // the URL comes from a tenant: private, loopback and link-local addresses are refused (ERR_DENIED)
};

struct outbound_response {
  enum err result; // ERR_OK: there is an HTTP answer. ERR_UNAVAILABLE: no connection, certainly not sent. ERR_TIMEOUT, ERR_IO: it may have
                   // been received. ERR_TOO_LARGE, ERR_DENIED, ERR_FORMAT (the URL), ERR_CANCELED.
  bool maybe_received; // the other side may have acted on it
  int status;
  struct span body, content_type; // borrowed during the call
  int64_t retry_after_ms;         // Retry-After in seconds, or estimated_time_to_regain_access of X-Business-Use-Case-Usage; 0: none
  int64_t duration_us;
  const char *error; // for people, "" when OK; never holds the URL's query or a secret
};
typedef void outbound_done(void *ctx, const struct outbound_response *response);
// on_done is called exactly once, never from inside this call.
void outbound_start(struct outbound *outbound, const struct outbound_request *request, outbound_done *on_done, void *ctx);
unsigned outbound_running(const struct outbound *outbound);

// ---------------------------------------------------------------- retries (retry.c, pure)

enum graph_class {
  GRAPH_OK,        // accepted
  GRAPH_THROTTLED, // back off (number, app or account)
  GRAPH_PAIR,      // back off this (number, user) pair only: 4^n seconds
  GRAPH_TRANSIENT, // try again
  GRAPH_UNKNOWN,   // may have been sent: reconcile first
  GRAPH_TOKEN,     // 190, 0: read the token again once, then hold the tenant
  GRAPH_TENANT,    // permission, restriction, payment: hold the tenant
  GRAPH_DEAD,      // this message can never be sent
};
const char *graph_class_name(enum graph_class c); // "ok", "throttled", ...
// One table of codes (FACTS: Meta's error codes). `code` 0 with no error object: decided by the HTTP status alone.
enum graph_class graph_classify(int http_status, bool has_error, int64_t code, bool is_transient);
// Capped exponential backoff with full jitter: between half and all of min(cap, base * 2^attempt).
int64_t retry_backoff_ms(unsigned attempt, int64_t base_ms, int64_t cap_ms, uint64_t random);
// 4^n seconds, n from 0, at most an hour (Meta's advice for 131056).
int64_t retry_pair_ms(unsigned n);

// ---------------------------------------------------------------- Graph API (graph.c)

struct graph;
struct graph_options {
  struct outbound *outbound;
  struct shm_slot *slot; // GRAPH_* counters and histogram; may be NULL
  const char *base_url, *version;
};
struct graph *graph_new(const struct graph_options *options);
void graph_free(struct graph *graph);

struct graph_verdict {
  enum graph_class class;
  int http_status;
  int64_t code;           // Meta's error code, 0: none
  struct span wamid;      // GRAPH_OK
  int64_t retry_after_ms; // 0: not told
  char text[256];         // for people
};
typedef void graph_done(void *ctx, const struct graph_verdict *verdict);

struct graph_send {
  const char *phone_number_id, *token;
  struct span user;     // phone number (sent as "to" with a leading '+') or business-scoped user id (sent as "recipient")
  struct span message;  // a Graph message object: {"type":"text","text":{...}} - any type is passed through
  struct span reply_to; // wamid for "context", or empty
  struct span callback; // biz_opaque_callback_data
};
// POST /{version}/{phone_number_id}/messages. Members of `message` that say whom it is for (messaging_product, recipient_type, to,
// recipient, biz_opaque_callback_data) are replaced by ours; its own "context" wins over reply_to.
void graph_send(struct graph *graph, const struct graph_send *send, graph_done *on_done, void *ctx);
// The body of that request; ERR_FORMAT when `message` is no object with a type. For tests and the log.
enum err graph_body(const struct graph_send *send, struct buf *out) MUST_CHECK;
// Read mark, with the typing indicator when `typing`. Best effort.
void graph_mark_read(struct graph *graph, const char *phone_number_id, const char *token, struct span wamid, bool typing,
                     graph_done *on_done, void *ctx);
// Media: GET /{version}/{media_id} gives the address, then its bytes, with the same token (media.c). on_done borrows.
void graph_media_get(struct graph *graph, const char *token, struct span media_id, size_t max_bytes,
                     void (*on_done)(void *ctx, enum err result, struct span mime_type, struct span bytes, const char *error), void *ctx);

// ---------------------------------------------------------------- responders (responder_*.c behind one table)

enum responder_type { RESPONDER_ECHO, RESPONDER_HTTP, RESPONDER_OPENAI, RESPONDER_TYPE_COUNT };
enum err responder_type_parse(struct span name, enum responder_type *out) MUST_CHECK; // "echo", "http", "openai"
const char *responder_type_name(enum responder_type type);

// Who answers: the deployment's settings with a business' own laid over them. Borrowed during responder_ask.
struct responder_spec {
  enum responder_type type;
  const char *url, *key, *model, *system_prompt;
  int64_t timeout_ms;
  bool foreign; // the URL is the business' own
  // HMAC-SHA256 of the body under `key` in hex, for the http responder; given from above, since services do not know each other. NULL:
  // unsigned.
  void (*sign)(const char *key, struct span body, char out_hex[static 65]);
};

struct responder_turn {
  bool from_user;
  struct span text;
};

// Borrowed during responder_ask.
struct responder_question {
  struct span business_id, business_name, sub_domain;
  struct span phone_number_id, user, profile_name;
  struct span session; // "{subDomain}:{user}", the replaced service's session id
  struct span wamid, type;
  struct span text; // what a text model is given; empty when the message has none
  struct span raw;  // the message as Meta sent it
  int64_t job, received_us;
  unsigned attempt;
  const struct responder_turn *turns; // earlier turns, oldest first
  size_t turn_count;
};

struct responder_answer {
  enum err
      result;     // ERR_OK; ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_IO, ERR_TOO_LARGE...: try again; ERR_DENIED, ERR_CONFIG: an operator must act
  bool permanent; // trying again will not help (a 4xx, an answer that cannot be read)
  int64_t retry_after_ms;      // 0: not told
  const char *error;           // for people
  const struct span *messages; // Graph message objects, in order; borrowed during the call
  size_t count;                // may be 0: the responder does not want to say anything
  struct span text;            // the answer as text, for the conversation's turns; empty when it is not text
};
typedef void responder_done(void *ctx, const struct responder_answer *answer);
// echo: the same text back. http: POST {business, conversation, message} signed with HMAC-SHA256 (X-Wahook-Signature-256: sha256=<hex>,
// X-Wahook-Id: a stable id of this message), answer {"reply": text}, {"messages":[...]}, a list of Graph message objects, or 204. openai:
// POST {url}/v1/chat/completions with system prompt, turns and text. on_done is called exactly once, never from inside this call.
void responder_ask(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                   responder_done *on_done, void *ctx);

#endif
