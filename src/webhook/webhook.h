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
  struct limiter_rule unverified, business;
  struct arena arena; // of the delivery in work: events live until they are in the journal
  struct log_limit unknown_limit, refused_limit;
  struct intake_event *events; // of the delivery in work; grows to the largest delivery
  size_t event_count, event_capacity;
  struct waiting *queue; // ring, a power of two
  size_t queue_head, queue_len, queue_capacity;
};

// Rule ids of the limiter's table (the operator's pages have theirs from 100 on).
enum { WEBHOOK_LIMIT_UNVERIFIED = 1, WEBHOOK_LIMIT_BUSINESS = 2 };

// limit.c: unverified traffic, by address. Answers 429 and returns false when over the limit.
bool limit__unverified(struct webhook *webhook, struct http_request *request);
// limit.c: verified traffic, by business; false when over the limit.
bool limit__business(struct webhook *webhook, struct span business_id, struct limiter_verdict *verdict);
void limit__refuse(struct webhook *webhook, struct http_request *request, const struct limiter_rule *rule,
                   const struct limiter_verdict *verdict);

// verify.c: GET
void verify__request(struct webhook *webhook, struct http_request *request);
// pipeline.c: POST
void pipeline__head(struct webhook *webhook, struct http_request *request);
void pipeline__request(struct webhook *webhook, struct http_request *request);
void pipeline__committed(struct webhook *webhook, uint64_t upto, enum err result);

#endif
