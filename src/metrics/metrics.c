// The list of metrics as a table, and its renderings for people's scripts (JSON) and for Prometheus. Runs in every process.
#include "metrics/metrics.h"

#include <stdio.h>
#include <string.h>

#define LABELS_MAX 64

enum kind { KIND_COUNTER, KIND_GAUGE };

struct row {
  enum kind kind;
  const char *name, *labels, *help;
};

static const struct row rows[METRIC_COUNT] = {
#define METRIC_COUNTER(id, name, labels, help) [METRIC_##id] = {KIND_COUNTER, name, labels, help},
#define METRIC_GAUGE(id, name, labels, help)   [METRIC_##id] = {KIND_GAUGE, name, labels, help},
#define METRIC_HISTOGRAM(id, name, labels, help)
#include "wahook/metrics.def"
#undef METRIC_COUNTER
#undef METRIC_GAUGE
#undef METRIC_HISTOGRAM
};

static const struct row histograms[HISTOGRAM_COUNT] = {
#define METRIC_COUNTER(id, name, labels, help)
#define METRIC_GAUGE(id, name, labels, help)
#define METRIC_HISTOGRAM(id, name, labels, help) [HISTOGRAM_##id] = {KIND_COUNTER, name, labels, help},
#include "wahook/metrics.def"
#undef METRIC_COUNTER
#undef METRIC_GAUGE
#undef METRIC_HISTOGRAM
};

uint64_t metrics_total(const struct shm *shm, enum metric metric) {
  uint64_t total = 0;
  for (unsigned s = 0; s < shm->slot_count; s++) {
    const struct shm_slot *slot = &shm->slots[s];
    uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    // Blocks that nobody ever had are no memory yet, and stay none.
    if (atomic_load_explicit(&slot->role, memory_order_relaxed) == SHM_ROLE_NONE) continue;
    if (rows[metric].kind == KIND_GAUGE && (state == SHM_DEAD || state == SHM_BACKOFF)) continue;
    total += atomic_load_explicit(&slot->counters[metric], memory_order_relaxed);
  }
  return total;
}

void metrics_reset_gauges(struct shm_slot *slot) {
  for (unsigned m = 0; m < METRIC_COUNT; m++)
    if (rows[m].kind == KIND_GAUGE) metrics_set(slot, (enum metric)m, 0);
}

// Rows of one family (same name, other labels) stand together in the list.
static bool starts_family(const struct row *table, unsigned row) {
  return row == 0 || strcmp(table[row].name, table[row - 1].name) != 0;
}

// Times of a moment: a sum would say nothing. They are shown by process, in seconds; those of the dead not at all.
static bool is_moment(unsigned m) {
  return m == METRIC_LOOP_LAG_US || m == METRIC_STORE_HEARTBEAT_US;
}

static void help_and_type(struct buf *out, const char *name, const char *help, const char *type) {
  buf_printf(out, "# HELP wahookd_%s %s\n# TYPE wahookd_%s %s\n", name, help, name, type);
}

static bool is_live(const struct shm_slot *slot) {
  uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
  return atomic_load_explicit(&slot->role, memory_order_relaxed) != SHM_ROLE_NONE && state != SHM_EMPTY;
}

static void slot_labels(const struct shm *shm, unsigned s, struct buf *out) {
  const struct shm_slot *slot = &shm->slots[s];
  buf_printf(out, "{slot=\"%u\",role=\"%s\",ordinal=\"%u\"}", s, shm_role_name((enum shm_role)atomic_load(&slot->role)),
             atomic_load(&slot->ordinal));
}

static void render_moment(const struct shm *shm, unsigned m, struct buf *out) {
  for (unsigned s = 0; s < shm->slot_count; s++) {
    if (!is_live(&shm->slots[s])) continue;
    if (m == METRIC_STORE_HEARTBEAT_US && atomic_load(&shm->slots[s].counters[m]) == 0) continue; // no server was greeted
    buf_printf(out, "wahookd_%s", rows[m].name);
    slot_labels(shm, s, out);
    buf_printf(out, " %.6f\n", (double)atomic_load(&shm->slots[s].counters[m]) / 1e6);
  }
}

static void render_processes(const struct shm *shm, struct buf *out) {
  int64_t now_us = clock_mono_us();
  help_and_type(out, "process_restarts_total", "Successors of a crashed process in this slot", "counter");
  for (unsigned s = 0; s < shm->slot_count; s++) {
    if (!is_live(&shm->slots[s])) continue;
    buf_add_text(out, "wahookd_process_restarts_total");
    slot_labels(shm, s, out);
    buf_printf(out, " %u\n", atomic_load(&shm->slots[s].restarts));
  }
  help_and_type(out, "process_heartbeat_age_seconds", "Time since the loop of this process last turned", "gauge");
  for (unsigned s = 0; s < shm->slot_count; s++) {
    int64_t beat_us = atomic_load(&shm->slots[s].heartbeat_us);
    if (!is_live(&shm->slots[s]) || beat_us == 0) continue;
    buf_add_text(out, "wahookd_process_heartbeat_age_seconds");
    slot_labels(shm, s, out);
    buf_printf(out, " %.3f\n", (double)(now_us - beat_us) / 1e6);
  }
}

void metrics_render_prometheus(const struct shm *shm, struct buf *out) {
  for (unsigned m = 0; m < METRIC_COUNT; m++) {
    const struct row *row = &rows[m];
    if (starts_family(rows, m)) help_and_type(out, row->name, row->help, row->kind == KIND_COUNTER ? "counter" : "gauge");
    if (is_moment(m)) {
      render_moment(shm, m, out);
      continue;
    }
    const char *open = *row->labels ? "{" : "", *close = *row->labels ? "}" : "";
    unsigned long long total = metrics_total(shm, (enum metric)m);
    buf_printf(out, "wahookd_%s%s%s%s %llu\n", row->name, open, row->labels, close, total);
  }
  render_processes(shm, out);
  for (unsigned h = 0; h < HISTOGRAM_COUNT; h++) {
    if (starts_family(histograms, h)) help_and_type(out, histograms[h].name, histograms[h].help, "histogram");
    metrics__histogram_prometheus(shm, (enum histogram)h, histograms[h].name, histograms[h].labels, out);
  }
}

// result="accepted" -> accepted; query="phone",cause="timeout" -> phone/timeout
static const char *label_values(const char *labels, char out[static LABELS_MAX]) {
  struct span rest = span_of(labels), head, value;
  size_t len = 0;
  while (span_split(&rest, '"', &head) && span_split(&rest, '"', &value)) {
    int n = snprintf(out + len, LABELS_MAX - len, "%s%.*s", len ? "/" : "", SPAN_FMT(value));
    if (n < 0 || (len += (size_t)n) >= LABELS_MAX) die("metrics.def: labels too long: %s", labels);
  }
  if (!len) die("metrics.def: odd labels: %s", labels);
  return out;
}

static void json_row(const struct shm *shm, unsigned m, struct json_writer *w) {
  const struct row *row = &rows[m];
  uint64_t total = metrics_total(shm, (enum metric)m);
  if (is_moment(m)) {
    uint64_t worst = 0;
    for (unsigned s = 0; s < shm->slot_count; s++) {
      uint64_t lag = atomic_load_explicit(&shm->slots[s].counters[m], memory_order_relaxed);
      if (is_live(&shm->slots[s]) && lag > worst) worst = lag;
    }
    json_put_double(w, row->name, (double)worst / 1e6, 6);
  } else if (*row->labels) {
    char key[LABELS_MAX];
    json_put_u64(w, label_values(row->labels, key), total);
  } else {
    json_put_u64(w, row->name, total);
  }
}

static void json_histogram(const struct shm *shm, unsigned h, struct json_writer *w) {
  struct histogram_summary sum;
  char key[LABELS_MAX];
  histogram_summarize(shm, (enum histogram)h, &sum);
  json_open(w, *histograms[h].labels ? label_values(histograms[h].labels, key) : histograms[h].name, '{');
  json_put_u64(w, "count", sum.count);
  json_put_double(w, "mean_us", sum.mean_us, 1);
  json_put_double(w, "p50_us", sum.p50_us, 0);
  json_put_double(w, "p90_us", sum.p90_us, 0);
  json_put_double(w, "p99_us", sum.p99_us, 0);
  json_put_double(w, "max_us", sum.max_us, 0);
  json_close(w, '}');
}

static void json_table(const struct shm *shm, const struct row *table, unsigned count,
                       void (*put)(const struct shm *shm, unsigned row, struct json_writer *w), struct json_writer *w) {
  bool open = false;
  for (unsigned i = 0; i < count; i++) {
    if (starts_family(table, i)) {
      if (open) json_close(w, '}');
      open = *table[i].labels != 0;
      if (open) json_open(w, table[i].name, '{');
    }
    put(shm, i, w);
  }
  if (open) json_close(w, '}');
}

void metrics_render_json(const struct shm *shm, struct json_writer *w) {
  json_table(shm, rows, METRIC_COUNT, json_row, w);
  json_table(shm, histograms, HISTOGRAM_COUNT, json_histogram, w);
}
