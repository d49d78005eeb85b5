// Meta's paces: messages a second per business number, messages a minute per (number, user) pair. Pure: time is a parameter.
#ifndef DISPATCH_PACING_H
#define DISPATCH_PACING_H

#include "wahook/limiter.h"

// Meta lets a pair borrow up to 45 messages from the future (FACTS: limits of sending).
#define PACING_PAIR_BURST 45

struct pacing;
// count 0: no pace of our own.
struct pacing *pacing_new(uint64_t number_count, int64_t number_period_us, uint64_t pair_count, int64_t pair_period_us);
void pacing_free(struct pacing *p);
// Takes one message's worth of both paces: 0 = send now. Otherwise nothing is taken and the result says how long to wait.
int64_t pacing_take(struct pacing *p, const char *phone_number_id, int64_t conversation, int64_t now_us);
// Meta refused the pair (131056): how often in a row, this time included. pacing_pair_ok ends the row.
unsigned pacing_pair_refused(struct pacing *p, int64_t conversation);
void pacing_pair_ok(struct pacing *p, int64_t conversation);
// Forgets what has no effect any more; bounded work, call it now and then.
void pacing_sweep(struct pacing *p, int64_t now_us);

#endif
