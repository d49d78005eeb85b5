// Metrics: one list (metrics.def), counted in shared memory, rendered as JSON and for Prometheus.
#ifndef WAHOOK_METRICS_H
#define WAHOOK_METRICS_H

#include "wahook/shm.h"

// COUNTER only grows; GAUGE is zeroed when a block gets a new process; HISTOGRAM is log-linear over microseconds.
#define METRIC_COUNTER(id, name, labels, help) METRIC_##id,
#define METRIC_GAUGE(id, name, labels, help)   METRIC_##id,
enum metric {
#define METRIC_HISTOGRAM(id, name, labels, help)
#include "wahook/metrics.def"
  METRIC_COUNT
};
#undef METRIC_COUNTER
#undef METRIC_GAUGE
#undef METRIC_HISTOGRAM
#define METRIC_COUNTER(id, name, labels, help)
#define METRIC_GAUGE(id, name, labels, help)
#define METRIC_HISTOGRAM(id, name, labels, help) HISTOGRAM_##id,
enum histogram {
#include "wahook/metrics.def"
  HISTOGRAM_COUNT
};
#undef METRIC_COUNTER
#undef METRIC_GAUGE
#undef METRIC_HISTOGRAM

// Every process counts into its own slot: metrics_add(slot, METRIC_WEBHOOK_OK, 1).
static inline void metrics_add(struct shm_slot *slot, enum metric metric, uint64_t n) {
  shm_count(slot, metric, n);
}
static inline void metrics_set(struct shm_slot *slot, enum metric metric, uint64_t value) {
  shm_gauge(slot, metric, value);
}
void metrics_observe(struct shm_slot *slot, enum histogram histogram, uint64_t us);
// Many observations that were counted elsewhere: how many in each bucket, and the sum of their times.
void metrics_observe_many(struct shm_slot *slot, enum histogram histogram, const uint64_t buckets[static SHM_BUCKETS], uint64_t sum_us);

// Sum over all blocks; gauges without those of the dead.
uint64_t metrics_total(const struct shm *shm, enum metric metric);
// Zeroes the gauges of a block that gets a new process.
void metrics_reset_gauges(struct shm_slot *slot);

// A hash of the list: equal where counters and histograms of a segment mean the same.
uint64_t metrics_tag(void);
// From one build to another whose list differs: all counters and histograms, summed over the blocks, as lines of name and number.
// What the other build does not know is left out there.
void metrics_save(const struct shm *shm, struct buf *out);
void metrics_restore(struct shm_slot *slot, struct span text); // adds to the block

// Log-linear buckets: exact to 1/8 of a power of two over 1 us .. 1000 s. The last cell of a row holds the sum of all observations.
unsigned histogram_bucket(uint64_t us);
uint64_t histogram_upper_us(unsigned bucket);
struct histogram_summary {
  uint64_t count;
  double mean_us, p50_us, p90_us, p95_us, p99_us, max_us;
};
void histogram_summarize(const struct shm *shm, enum histogram histogram, struct histogram_summary *out);

// Prometheus text format 0.0.4: sums over all blocks, HELP and TYPE once each; loop lag, the store's round trip, restarts and heartbeat age
// by process; histograms with cumulative le buckets in seconds.
void metrics_render_prometheus(const struct shm *shm, struct buf *out);
// Members of an open JSON object: a number, or an object by label value ("phone/timeout" where there are two), per family; likewise an
// object with count, mean and quantiles per histogram.
void metrics_render_json(const struct shm *shm, struct json_writer *w);

#endif
