// What the files of this folder share.
#ifndef WEBHOOK_WEBHOOK_H
#define WEBHOOK_WEBHOOK_H

#include "wahook/crypto.h"
#include "wahook/log.h"
#include "wahook/webhook.h"

#define WEBHOOK_MAGIC 0x77656268u

// A delivery that waits for its commit.
struct waiting {
  uint64_t upto; // journal ticket
  struct http_ticket request;
};

struct webhook {
  uint32_t magic;
  struct webhook_options options;
  const struct config *config;
  struct shm_slot *slot;
  struct journal *journal;
  struct http_server *server;
  struct hmac **secrets;
  size_t secret_count;
  struct hmac *own_secret; // keyed anew for each delivery that none of the others fits
  struct limiter_rule unverified, business;
  struct arena arena; // of the delivery in work: events live until they are in the journal
  struct log_limit unknown_limit, refused_limit;
  struct intake_event *events; // of the delivery in work; grows to the largest delivery
  size_t event_count, event_capacity;
  struct waiting *queue; // ring, a power of two
  size_t queue_head, queue_len, queue_capacity;
  bool refusing; // the journal refused the last commit
  struct journal_bounds bounds;
  struct loop_hook turn;      // looks whether there is room, so that its end is told though nobody asks
  enum journal_room shedding; // why, as the log was told; else JOURNAL_HAS_ROOM
  int64_t shed_us;            // last refusal or reason for one
  unsigned io_errors;
  int64_t io_first_us; // of those within a minute
};

// Rule ids of the limiter's table (the operator's pages have theirs from 100 on).
enum { WEBHOOK_LIMIT_UNVERIFIED = 1, WEBHOOK_LIMIT_BUSINESS = 2 };

// ---- pure parts, also for tests

// Why a whole body goes to quarantine: the `type` of that event.
#define WEBHOOK_BAD_JSON "unreadable JSON"

// payload.c: every entry, change, message, status and error of a delivery as an event of its own; broken ones as INTAKE_QUARANTINE with
// their raw bytes. Spans point into the body and the arena. A body that cannot be read at all is one quarantine event; then the result is
// false.
bool webhook__events(struct arena *arena, struct span body, int64_t received_us,
                     void (*on_event)(void *ctx, const struct intake_event *event), void *ctx);

// signature.c: X-Hub-Signature-256, "sha256=" and 64 lower-case hex digits of HMAC-SHA256(app secret, exact body); any of the secrets fits.
enum signature { SIGNATURE_OK, SIGNATURE_MISSING, SIGNATURE_WRONG };
enum signature signature__check(struct span header, struct span body, struct hmac *const *secrets, size_t count);

// own_secret.c: the same by the secret of the business that the events in work (webhook->events) are of. LATER: not known yet.
enum own_secret { OWN_SECRET_OK, OWN_SECRET_WRONG, OWN_SECRET_LATER };
enum own_secret own_secret__check(struct webhook *webhook, struct span header, struct span body);

// ---- parts that answer requests

// limit.c: unverified traffic, by address. Answers 429 and returns false when over the limit.
bool limit__unverified(struct webhook *webhook, struct http_request *request);
// limit.c: verified traffic, by business; false when over the limit. The rule is its own, or the deployment's.
bool limit__business(struct webhook *webhook, const struct business *business, struct limiter_rule *rule, struct limiter_verdict *verdict);
void limit__refuse(struct webhook *webhook, struct http_request *request, const struct limiter_rule *rule,
                   const struct limiter_verdict *verdict);

// shed.c: whether there is room for another delivery now. Tells the log when that changes.
void shed__init(struct webhook *webhook);
enum journal_room shed__look(struct webhook *webhook);

// verify.c: GET
void verify__request(struct webhook *webhook, struct http_request *request);
// pipeline.c: POST
void pipeline__head(struct webhook *webhook, struct http_request *request);
void pipeline__request(struct webhook *webhook, struct http_request *request);
void pipeline__committed(struct webhook *webhook, uint64_t upto, enum err result);

#endif
