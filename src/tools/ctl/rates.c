// What happened between two looks at the daemon. Pure. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <string.h>

// Beyond what rounding the daemon's uptime to a tenth of a second, and the way of an answer, can make of one and the same start.
#define START_DRIFT_S 1.0

static double seconds_between(const struct look *before, const struct look *now) {
  return (double)(now->at_us - before->at_us) / 1e6;
}

// When the counters began. A daemon that was started again has counters that begin anew, and may have passed the old ones already.
static double started_s(const struct look *look) {
  return (double)look->at_us / 1e6 - json_double(json_get(look->document, "uptime_seconds"), 0);
}

static bool comparable(const struct look *before, const struct look *now) {
  double drift_s = before ? started_s(now) - started_s(before) : 0;
  return before && seconds_between(before, now) > 0 && drift_s < START_DRIFT_S && drift_s > -START_DRIFT_S;
}

static double rate(const struct look *before, const struct look *now, double was, double is) {
  if (was < 0 || is < was) return UNKNOWN;
  return (is - was) / seconds_between(before, now);
}

double rate_of(const struct look *before, const struct look *now, enum total total) {
  return comparable(before, now) ? rate(before, now, before->totals[total], now->totals[total]) : UNKNOWN;
}

// A successor counts on from what its predecessor left, but who is new has done nothing yet.
static const struct process *same_process(const struct look *before, const struct process *process) {
  for (unsigned i = 0; i < before->process_count && process->pid > 0; i++)
    if (before->processes[i].pid == process->pid && strcmp(before->processes[i].role, process->role) == 0) return &before->processes[i];
  return NULL;
}

double rate_requests(const struct look *before, const struct look *now, const struct process *process) {
  const struct process *was = comparable(before, now) ? same_process(before, process) : NULL;
  return was ? rate(before, now, (double)was->requests, (double)process->requests) : UNKNOWN;
}

double rate_cpu(const struct look *before, const struct look *now, const struct process *process) {
  const struct process *was = before && seconds_between(before, now) > 0 ? same_process(before, process) : NULL;
  return was ? rate(before, now, was->cpu_s, process->cpu_s) : UNKNOWN;
}

double rate_quantile_us(const struct look *before, const struct look *now, enum spread spread, double q) {
  if (!comparable(before, now)) return UNKNOWN;
  const struct buckets *was = &before->spreads[spread], *is = &now->spreads[spread];
  if (is->count == 0 || was->count != is->count) return UNKNOWN;
  double wanted = q * (is->seen[is->count - 1] - was->seen[is->count - 1]), below = 0, lower_us = 0;
  if (wanted <= 0) return UNKNOWN; // nothing happened
  for (unsigned i = 0; i < is->count; i++) {
    double seen = is->seen[i] - was->seen[i], upper_us = is->le_us[i];
    if (seen >= wanted) return upper_us < 0 ? lower_us : lower_us + (upper_us - lower_us) * (wanted - below) / (seen - below);
    below = seen;
    lower_us = upper_us;
  }
  return UNKNOWN;
}
