// Rules and their words, as slowapi says them in its 429 bodies. Runs in workers.
#include <inttypes.h>
#include <stdio.h>

#include "wahook/limiter.h"

static const struct unit {
  int64_t us;
  const char *name;
} units[] = {
    {INT64_C(86400000000), "day"}, {INT64_C(3600000000), "hour"}, {60000000, "minute"},
    {1000000, "second"},           {1000, "millisecond"},         {1, "microsecond"},
};

struct limiter_rule limiter_rule(uint64_t count, int64_t period_us) {
  ALWAYS(period_us > 0);
  struct limiter_rule rule = {.count = count, .period_us = period_us};
  const struct unit *unit = units;
  while (period_us % unit->us != 0)
    unit++; // ends at the microsecond
  snprintf(rule.text, sizeof rule.text, "%" PRIu64 " per %" PRId64 " %s", count, period_us / unit->us, unit->name);
  return rule;
}
