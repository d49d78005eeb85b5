// The generic cell rate algorithm (ITU-T I.371): pure arithmetic on a theoretical arrival time. Runs in workers.
//
//   T = period / count     what one request costs in time
//   burst = count * T      how far ahead of now the arrival time may run
//   TAT' = max(TAT, now) + T; allowed when TAT' - now <= burst
//
// With T in whole microseconds the burst is exactly `count`; the steady rate is off by less than 1/T (0.01 % at 100 a second).
#include "wahook/limiter.h"

#define COUNT_MAX 1000000000 // more a period is no limit that anybody could feel; keeps count * T far from overflow

static int64_t cost_us(const struct limiter_rule *rule) {
  uint64_t count = rule->count < COUNT_MAX ? rule->count : COUNT_MAX;
  int64_t cost = rule->period_us / (int64_t)count;
  return cost > 0 ? cost : 1;
}

static int64_t burst_us(const struct limiter_rule *rule) {
  uint64_t count = rule->count < COUNT_MAX ? rule->count : COUNT_MAX;
  return cost_us(rule) * (int64_t)count;
}

int64_t gcra_decide(int64_t tat_us, int64_t now_us, const struct limiter_rule *rule, struct limiter_verdict *verdict) {
  if (rule->count == 0) {
    *verdict = (struct limiter_verdict){.allowed = true, .remaining = UINT64_MAX};
    return tat_us;
  }
  int64_t cost = cost_us(rule), burst = burst_us(rule);
  // A TAT further ahead than a full burst was left by another rule (a reload): it counts as a burst that is used up.
  int64_t from = tat_us > now_us + burst ? now_us + burst : tat_us > now_us ? tat_us : now_us;
  int64_t next = from + cost;
  bool allowed = next - now_us <= burst;
  int64_t after = allowed ? next : from;
  *verdict = (struct limiter_verdict){
      .allowed = allowed,
      .remaining = (uint64_t)((burst - (after - now_us)) / cost),
      .retry_after_us = allowed ? 0 : next - now_us - burst,
      .reset_us = after - now_us,
  };
  return allowed ? next : tat_us;
}
