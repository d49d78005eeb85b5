// A log-linear histogram of microseconds, finer than the daemon's. Runs in wahook-load.
#include "load.h"

#define SUB_BITS 6

_Static_assert(LATENCY_SUB == 1 << SUB_BITS, "a power of two");

static unsigned bucket_of(uint64_t us) {
  if (us < LATENCY_SUB) return (unsigned)us;
  unsigned msb = 63u - (unsigned)__builtin_clzll(us);
  unsigned bucket = (msb - SUB_BITS + 1) * LATENCY_SUB + (unsigned)((us >> (msb - SUB_BITS)) & (LATENCY_SUB - 1));
  return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static uint64_t upper_us(unsigned bucket) {
  if (bucket < LATENCY_SUB) return bucket;
  unsigned msb = bucket / LATENCY_SUB + SUB_BITS - 1;
  return ((uint64_t)(LATENCY_SUB + bucket % LATENCY_SUB + 1) << (msb - SUB_BITS)) - 1;
}

void latency_add(struct latency *l, uint64_t us) {
  if (!l->count || us < l->min_us) l->min_us = us;
  if (us > l->max_us) l->max_us = us;
  l->count++;
  l->sum_us += us;
  l->buckets[bucket_of(us)]++;
}

void latency_merge(struct latency *into, const struct latency *from) {
  if (!from->count) return;
  if (!into->count || from->min_us < into->min_us) into->min_us = from->min_us;
  if (from->max_us > into->max_us) into->max_us = from->max_us;
  into->count += from->count;
  into->sum_us += from->sum_us;
  for (unsigned b = 0; b < LATENCY_BUCKETS; b++)
    into->buckets[b] += from->buckets[b];
}

uint64_t latency_quantile_us(const struct latency *l, double q) {
  double wanted = q * (double)l->count;
  uint64_t seen = 0;
  for (unsigned b = 0; b < LATENCY_BUCKETS; b++) {
    seen += l->buckets[b];
    // A bucket's end may lie beyond the largest value that was seen.
    if (l->buckets[b] && (double)seen >= wanted) return upper_us(b) < l->max_us ? upper_us(b) : l->max_us;
  }
  return l->max_us;
}
