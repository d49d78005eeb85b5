// Rate limits: GCRA over a table in shared memory, one compare-and-swap a decision, exact across workers.
#ifndef WAHOOK_LIMITER_H
#define WAHOOK_LIMITER_H

#include <sys/socket.h>

#include "wahook/base.h"

// A rule: `count` per `period`, as a steady rate with a burst of `count` (ITU-T I.371 GCRA). count 0: no limit.
struct limiter_rule {
  uint64_t count;
  int64_t period_us;
  char text[48]; // slowapi's words: "100 per 1 minute"
};
struct limiter_rule limiter_rule(uint64_t count, int64_t period_us);

struct limiter_verdict {
  bool allowed;
  uint64_t remaining;     // how many more would be allowed now
  int64_t retry_after_us; // 0 when allowed
  int64_t reset_us;       // until the whole burst is there again
};
// Pure arithmetic: the theoretical arrival time before and after. Returns the new TAT (unchanged when refused).
int64_t gcra_decide(int64_t tat_us, int64_t now_us, const struct limiter_rule *rule, struct limiter_verdict *verdict);

// The table: set-associative cells of {fingerprint, TAT} in shared zeroed memory; a full set gives up the cell that expired or expires
// first.
struct limiter;
size_t limiter_min_bytes(void);
struct limiter *limiter_new(void *shared, size_t bytes); // over shared memory; the handle is private to the process
void limiter_free(struct limiter *limiter);
// Key: a small number for the rule and the bytes it is counted by.
struct limiter_verdict limiter_take(struct limiter *limiter, const struct limiter_rule *rule, uint32_t rule_id, struct span key,
                                    int64_t now_us);

// What a refused client is told: slowapi's body, Retry-After, X-RateLimit-Limit/-Remaining/-Reset (seconds).
#define LIMITER_REFUSAL_HEADERS 4
struct limiter_refusal {
  char body[96];
  struct {
    const char *name;
    char value[24];
  } headers[LIMITER_REFUSAL_HEADERS];
};
void limiter_refuse(const struct limiter_rule *rule, const struct limiter_verdict *verdict, struct limiter_refusal *out);

// The bytes that an address is counted by: IPv4 whole (also v4-mapped), IPv6 its /64, a unix socket "unix".
struct span limiter_address_key(const struct sockaddr *address, uint8_t out[static 20]);

// Networks ("10.0.0.0/8", "::1", "unix"): the trusted proxies.
struct limiter_networks;
enum err limiter_networks_new(const char *const *texts, size_t count, struct limiter_networks **out, struct why *why) MUST_CHECK;
void limiter_networks_free(struct limiter_networks *networks);
bool limiter_networks_contain(const struct limiter_networks *networks, const struct sockaddr *address);

#endif
