// Meta's webhook: the GET that registers the address and the POST that delivers, up to the event's place in the journal.
#ifndef WAHOOK_WEBHOOK_H
#define WAHOOK_WEBHOOK_H

#include "wahook/config.h"
#include "wahook/directory.h"
#include "wahook/http.h"
#include "wahook/intake.h"
#include "wahook/limiter.h"
#include "wahook/shm.h"

// What a worker does, in this order:
//   webhook_new → journal_open(on_commit = webhook_on_commit, ctx = the webhook) → http_server_new with webhook_routes → webhook_start
//   … http_server drained or closed → journal_close → directory_close → webhook_free
//
// An event in the journal is one element of the payload (see struct intake_event); its `raw` holds the element's exact bytes:
//   MESSAGE, STATUS, ERROR, ECHO   the element of messages[], statuses[], errors[], message_echoes[]
//   ACCOUNT, OTHER                 the element of changes[]
//   QUARANTINE                     the smallest part that could not be read, up to the whole body
//
// limits.webhook counts, per address, what nobody vouches for: GET verifications, unsigned and forged POSTs. Signed ones are never counted.
// limits.business counts events per business that is known: a POST is refused (429, so that Meta delivers it again) only when every event
// that would be kept is over; else all of it is taken, since a refusal would bring back the good ones, too.

struct webhook;
struct webhook_options {
  struct loop *loop;
  struct shm_slot *slot;
  const struct config *config; // borrowed: path, app_secrets, verify_token, allow_unsigned, max_body, limits.webhook, limits.business
  struct limiter *limiter;
  struct directory *directory;
};
struct webhook *webhook_new(const struct webhook_options *options);
// Fills in the routes of this folder; returns how many (never more than WEBHOOK_ROUTES_MAX).
#define WEBHOOK_ROUTES_MAX 2
unsigned webhook_routes(struct webhook *webhook, struct http_route *out);
// Before the first request is served.
void webhook_start(struct webhook *webhook, struct journal *journal, struct http_server *server);
// For struct journal_options: answers the requests whose events are decided.
void webhook_on_commit(void *webhook, uint64_t upto, enum err result);
void webhook_free(struct webhook *webhook);

#endif
