// Counters that outlive a build: written as text by the old master's segment, read into the new one's. Runs in the master at an upgrade.
//
//   http_requests_total 4711
//   http_responses_total{class="2xx"} 4700
//   request_duration_seconds/37 12             (cell 37 of a histogram; the last cell is its sum)
#include "metrics/metrics.h"

#include <string.h>

struct row {
  const char *name, *labels;
};

static const struct row counters[] = {
#define METRIC_COUNTER(id, name, labels, help) [METRIC_##id] = {name, labels},
#define METRIC_GAUGE(id, name, labels, help)   [METRIC_##id] = {NULL, NULL}, // of a moment: not kept
#define METRIC_HISTOGRAM(id, name, labels, help)
#include "wahook/metrics.def"
#undef METRIC_COUNTER
#undef METRIC_GAUGE
#undef METRIC_HISTOGRAM
};

static const struct row histograms[] = {
#define METRIC_COUNTER(id, name, labels, help)
#define METRIC_GAUGE(id, name, labels, help)
#define METRIC_HISTOGRAM(id, name, labels, help) [HISTOGRAM_##id] = {name, labels},
#include "wahook/metrics.def"
#undef METRIC_COUNTER
#undef METRIC_GAUGE
#undef METRIC_HISTOGRAM
};

static void row_name(const struct row *row, struct buf *out) {
  buf_add_text(out, row->name);
  if (*row->labels) buf_printf(out, "{%s}", row->labels);
}

uint64_t metrics_tag(void) {
  struct buf text = {0};
  uint8_t hash[16];
  uint64_t tag;
  for (unsigned m = 0; m < COUNT_OF(counters); m++) {
    if (counters[m].name) row_name(&counters[m], &text);
    buf_add_byte(&text, '\n');
  }
  for (unsigned h = 0; h < COUNT_OF(histograms); h++) {
    row_name(&histograms[h], &text);
    buf_add_byte(&text, '\n');
  }
  hash_stable128(text.data, text.len, hash);
  buf_free(&text);
  memcpy(&tag, hash, sizeof tag);
  return tag;
}

static uint64_t cell_total(const struct shm *shm, unsigned histogram, unsigned cell) {
  uint64_t total = 0;
  for (unsigned s = 0; s < shm->slot_count; s++)
    if (atomic_load_explicit(&shm->slots[s].role, memory_order_relaxed) != SHM_ROLE_NONE)
      total += atomic_load_explicit(&shm->slots[s].histograms[histogram][cell], memory_order_relaxed);
  return total;
}

void metrics_save(const struct shm *shm, struct buf *out) {
  for (unsigned m = 0; m < COUNT_OF(counters); m++) {
    uint64_t total = counters[m].name ? metrics_total(shm, (enum metric)m) : 0;
    if (!total) continue;
    row_name(&counters[m], out);
    buf_printf(out, " %llu\n", (unsigned long long)total);
  }
  for (unsigned h = 0; h < COUNT_OF(histograms); h++) {
    for (unsigned cell = 0; cell < SHM_BUCKETS; cell++) {
      uint64_t total = cell_total(shm, h, cell);
      if (!total) continue;
      row_name(&histograms[h], out);
      buf_printf(out, "/%u %llu\n", cell, (unsigned long long)total);
    }
  }
}

static void restore_counter(struct shm_slot *slot, struct span name, uint64_t value) {
  struct buf own = {0};
  for (unsigned m = 0; m < COUNT_OF(counters); m++) {
    if (!counters[m].name) continue;
    buf_clear(&own);
    row_name(&counters[m], &own);
    if (span_eq(name, buf_span(&own))) shm_count(slot, m, value);
  }
  buf_free(&own);
}

static void restore_cell(struct shm_slot *slot, struct span name, uint64_t cell, uint64_t value) {
  struct buf own = {0};
  for (unsigned h = 0; h < COUNT_OF(histograms) && cell < SHM_BUCKETS; h++) {
    buf_clear(&own);
    row_name(&histograms[h], &own);
    if (span_eq(name, buf_span(&own))) atomic_fetch_add(&slot->histograms[h][cell], value);
  }
  buf_free(&own);
}

void metrics_restore(struct shm_slot *slot, struct span text) {
  struct span line;
  while (span_split(&text, '\n', &line)) {
    size_t space = line.len;
    while (space > 0 && line.ptr[space - 1] != ' ')
      space--;
    uint64_t value, cell;
    if (space < 2 || span_u64(span_from(line, space), &value) != ERR_OK) continue;
    struct span name = {line.ptr, space - 1}, rest = name, head;
    bool is_cell = span_split(&rest, '/', &head) && rest.ptr && span_u64(rest, &cell) == ERR_OK;
    if (is_cell)
      restore_cell(slot, head, cell, value);
    else
      restore_counter(slot, name, value);
  }
}
