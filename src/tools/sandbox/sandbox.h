// The sandbox: Meta's side of WhatsApp on one's own machine. What its files share.
#ifndef WAHOOK_SANDBOX_H
#define WAHOOK_SANDBOX_H

#include "wahook/crypto.h"
#include "wahook/http.h"
#include "wahook/loop.h"
#include "wahook/outbound.h"

#include "tools/sandbox/faults.h"
#include "tools/sandbox/media.h"
#include "tools/sandbox/record.h"

#define SANDBOX_MAGIC      0x53426f78u // "SBox"
#define SANDBOX_TOKENS_MAX 32
#define SANDBOX_ROUTES     10
#define SANDBOX_MEDIA_MAX  ((size_t)100 << 20) // an upload at most (Meta: 100 MB)

struct sandbox_options {
  char *bind, *webhook, *app_secret, *verify_token, *phone_number_id, *waba_id;
  char *tokens[SANDBOX_TOKENS_MAX];
  unsigned token_count; // 0: any token that is not empty
  bool statuses;
};

// Reads the command line (options.c). ERR_OK: go on. ERR_CANCELED: --help or --version was answered. ERR_CONFIG: *why says what is wrong.
enum err sandbox_options_read(int argc, char **argv, struct sandbox_options *out, struct why *why) MUST_CHECK;
void sandbox_options_free(struct sandbox_options *options);
// A listening socket for HOST:PORT, [IPv6]:PORT or :PORT (listen.c); `text` is the address that it got.
enum err sandbox_listen(const char *bind, int *fd, char text[static 64], struct why *why) MUST_CHECK;

struct status_queues;
struct delayed;

struct sandbox {
  uint32_t magic;
  struct sandbox_options options;
  struct loop *loop;
  struct http_server *server;
  struct http_route routes[SANDBOX_ROUTES];
  struct outbound *outbound;
  struct hmac *hmac;
  struct arena arena; // of the request in work
  struct record_list record;
  struct record_list chats;
  struct faults faults;
  struct pair_table pairs;
  struct media_store media;
  struct status_queues *statuses;
  struct delayed *delayed; // answers that wait for latency_ms
  bool closing;
};

// ---- Meta's error shape (errors.c)
struct meta_error {
  int http_status;
  int64_t code;
  char message[200];
  char details[200];
};
// Fills in what Meta says for that code; `details` may be NULL.
void sandbox_error_set(struct meta_error *error, int64_t code, const char *details, ...) PRINTF_LIKE(3, 4);
void sandbox_error_write(const struct meta_error *error, struct buf *out);

// ---- what a send request says, or why Meta would refuse it (check.c)
struct send_facts {
  bool is_read_mark;
  bool is_dropped;      // a business-scoped user id in "to": accepted, and silently dropped (FACTS: business-scoped user ids)
  struct span user;     // digits of "to", or "recipient"
  struct span input;    // as written
  struct span callback; // biz_opaque_callback_data
  struct span media_id; // of a media message that names an upload
};
// False: refused, *error is filled in. Spans point into the parsed body.
bool sandbox_check_send(const struct json *body, struct send_facts *facts, struct meta_error *error);

// ---- webhooks as Meta writes them (webhook.c)
struct webhook_head {
  const char *waba_id;
  struct span phone_number_id;
  int64_t now_us;
};
// Escapes a JSON text as Meta does: only ASCII, "\u00e4", and "\/".
void sandbox_meta_escape(struct span json, struct buf *out);
// `message` may be NULL (then text counts) and may lack from, id, timestamp and type: they are filled in.
struct inbound {
  const struct json *message;
  struct span text, from, user_id, name, wamid;
};
void sandbox_webhook_message(const struct webhook_head *head, const struct inbound *inbound, struct buf *out);
// The message object alone, as it stands in that webhook (not yet escaped).
void sandbox_webhook_message_object(const struct inbound *inbound, int64_t now_us, const char *key, struct json_writer *w);
struct status_update {
  const struct record *record;
  const char *status;
};
// One POST for many updates, a change per phone number and run.
void sandbox_webhook_statuses(const char *waba_id, const struct status_update *updates, size_t count, int64_t now_us, struct buf *out);
void sandbox_new_wamid(char out[static 80]);

// ---- posting webhooks and statuses (deliver.c)
void sandbox_post_webhook(struct sandbox *sandbox, struct span body, outbound_done *on_done, void *ctx);
void sandbox_statuses_open(struct sandbox *sandbox);
void sandbox_statuses_close(struct sandbox *sandbox);
// Sent, delivered and read will follow.
void sandbox_statuses_schedule(struct sandbox *sandbox, struct record *record);

// ---- routes
void sandbox_on_graph(struct http_request *request, void *ctx);   // graph.c: everything but the paths below
void sandbox_on_faults(struct http_request *request, void *ctx);  // control.c
void sandbox_on_record(struct http_request *request, void *ctx);  //
void sandbox_on_chats(struct http_request *request, void *ctx);   //
void sandbox_on_file(struct http_request *request, void *ctx);    // media bytes
void sandbox_on_inbound(struct http_request *request, void *ctx); // phone.c
void sandbox_on_verify(struct http_request *request, void *ctx);
void sandbox_on_chat(struct http_request *request, void *ctx); // chat.c
void sandbox_on_responder(struct http_request *request, void *ctx);
void sandbox_on_page(struct http_request *request);                    // page.c
void sandbox_on_conversation(struct http_request *request, void *ctx); // conversation.c

// Answers after faults.latency_ms; or cuts the connection instead.
void sandbox_answer(struct sandbox *sandbox, struct http_request *request, int status, struct span json, bool cut); // answer.c
void sandbox_answers_close(struct sandbox *sandbox);
// The token of "Authorization: Bearer ...", absent without one.
struct span sandbox_bearer(const struct http_request *request);

#endif
