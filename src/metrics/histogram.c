// Log-linear histograms in shared memory: eight buckets per power of two of microseconds. Written by every process, read by workers.
#include "metrics/metrics.h"

#include <string.h>

// The last cell of a histogram's row is not a bucket but the sum of all observations, so that means are exact.
#define SUM_CELL    (SHM_BUCKETS - 1)
#define LAST_BUCKET (SHM_BUCKETS - 2)

_Static_assert((int)HISTOGRAM_COUNT <= SHM_HISTOGRAMS, "more histograms than the shared block has room for");
_Static_assert((int)METRIC_COUNT <= SHM_COUNTERS, "more counters than the shared block has room for");

unsigned histogram_bucket(uint64_t us) {
  if (us < 8) return (unsigned)us;
  unsigned msb = 63u - (unsigned)__builtin_clzll(us);
  unsigned bucket = (msb - 2) * 8 + (unsigned)((us >> (msb - 3)) & 7);
  return bucket < LAST_BUCKET ? bucket : LAST_BUCKET;
}

uint64_t histogram_upper_us(unsigned bucket) {
  if (bucket < 8) return bucket;
  unsigned msb = bucket / 8 + 2;
  return ((uint64_t)(8 + bucket % 8 + 1) << (msb - 3)) - 1;
}

static void cell_add(_Atomic uint64_t *cell, uint64_t n) {
  // Single writer per block: no locked instruction needed.
  atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}

void metrics_observe(struct shm_slot *slot, enum histogram histogram, uint64_t us) {
  cell_add(&slot->histograms[histogram][histogram_bucket(us)], 1);
  cell_add(&slot->histograms[histogram][SUM_CELL], us);
}

void metrics_observe_many(struct shm_slot *slot, enum histogram histogram, const uint64_t buckets[static SHM_BUCKETS], uint64_t sum_us) {
  for (unsigned b = 0; b <= LAST_BUCKET; b++)
    if (buckets[b]) cell_add(&slot->histograms[histogram][b], buckets[b]);
  cell_add(&slot->histograms[histogram][SUM_CELL], sum_us);
}

static uint64_t add_up(const struct shm *shm, enum histogram histogram, uint64_t cells[static SHM_BUCKETS]) {
  memset(cells, 0, SHM_BUCKETS * sizeof *cells);
  uint64_t count = 0;
  for (unsigned s = 0; s < shm->slot_count; s++) {
    if (atomic_load_explicit(&shm->slots[s].role, memory_order_relaxed) == SHM_ROLE_NONE) continue;
    for (unsigned b = 0; b < SHM_BUCKETS; b++) {
      uint64_t n = atomic_load_explicit(&shm->slots[s].histograms[histogram][b], memory_order_relaxed);
      cells[b] += n;
      if (b != SUM_CELL) count += n;
    }
  }
  return count;
}

static double quantile(const uint64_t cells[static SHM_BUCKETS], uint64_t count, double q) {
  double wanted = q * (double)count, seen = 0;
  for (unsigned b = 0; b <= LAST_BUCKET; b++) {
    seen += (double)cells[b];
    if (cells[b] && seen >= wanted) return (double)histogram_upper_us(b);
  }
  return 0;
}

void histogram_summarize(const struct shm *shm, enum histogram histogram, struct histogram_summary *out) {
  uint64_t cells[SHM_BUCKETS];
  uint64_t count = add_up(shm, histogram, cells);
  *out = (struct histogram_summary){.count = count};
  if (!count) return;
  out->mean_us = (double)cells[SUM_CELL] / (double)count;
  out->p50_us = quantile(cells, count, 0.50);
  out->p90_us = quantile(cells, count, 0.90);
  out->p95_us = quantile(cells, count, 0.95);
  out->p99_us = quantile(cells, count, 0.99);
  out->max_us = quantile(cells, count, 1.0);
}

// Bounds are powers of two, which are bucket edges: nothing is interpolated. 64 us .. 268 s, a factor of two apart.
void metrics__histogram_prometheus(const struct shm *shm, enum histogram histogram, const char *name, const char *labels, struct buf *out) {
  uint64_t cells[SHM_BUCKETS], cumulative = 0;
  uint64_t count = add_up(shm, histogram, cells);
  unsigned b = 0;
  const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
  for (unsigned power = 6; power <= 28; power++) {
    uint64_t bound_us = 1ull << power;
    for (; b <= LAST_BUCKET && histogram_upper_us(b) < bound_us; b++)
      cumulative += cells[b];
    buf_printf(out, "wahookd_%s_bucket{%s%sle=\"%.6f\"} %llu\n", name, labels, comma, (double)bound_us / 1e6,
               (unsigned long long)cumulative);
  }
  buf_printf(out, "wahookd_%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma, (unsigned long long)count);
  buf_printf(out, "wahookd_%s_sum%s%s%s %.6f\n", name, open, labels, close, (double)cells[SUM_CELL] / 1e6);
  buf_printf(out, "wahookd_%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)count);
}
