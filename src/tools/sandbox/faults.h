// What shall go wrong: set by PUT /sandbox/faults, asked on every send.
#ifndef WAHOOK_SANDBOX_FAULTS_H
#define WAHOOK_SANDBOX_FAULTS_H

#include "wahook/base.h"

struct faults {
  int64_t latency_ms;  // before every answer of the Graph API
  int64_t error_code;  // Meta's code, 0: none
  int64_t http_status; // 0: the one that goes with the code
  double error_rate;   // share of the sends that get the error
  int64_t pair_limit;  // messages for one (number, user) in PAIR_WINDOW_US, then 131056; 0: no limit
  double drop_rate;    // share of the sends that are accepted and recorded, and whose connection is cut before the answer
  bool statuses;       // sent, delivered and read are posted
};

// Reads a whole new set: what the object does not name has its default (statuses: `statuses`). An error code or status without a rate
// means every send. *out is untouched on failure, *why names the member.
enum err faults_parse(const struct json *object, bool statuses, struct faults *out, struct why *why) MUST_CHECK;
void faults_write(const struct faults *faults, struct buf *out);
// Whether a share of `rate` hits, given 64 random bits.
bool faults_hit(double rate, uint64_t random);

#define PAIR_WINDOW_US ((int64_t)6 * 1000 * 1000) // Meta: one message to a user every 6 seconds
struct pair;
struct pair_table {
  struct pair *pairs;
};
// Counts one message; false when it is one too many.
bool pair_allow(struct pair_table *table, struct span phone_number_id, struct span user, int64_t limit, int64_t now_us);
void pair_clear(struct pair_table *table);

#endif
