// Thresholds: from where on a query is slow, and what the pages mark as too much. An operator changes them for all processes until the next
// start; what is set is kept in shared memory. Runs in the workers.
#include "admin.h"

#include <math.h>

#include "wahook/log.h"

static const struct {
  const char *key;
  double unit; // what one of the page's units is in shared memory, where values are whole
  double standard, max;
} table[THRESHOLD_COUNT] = {
#define ROW(id, key, unit, standard, max) [THRESHOLD_##id] = {key, unit, standard, max},
    THRESHOLDS(ROW)
#undef ROW
};
_Static_assert((int)THRESHOLD_COUNT <= SHM_THRESHOLDS, "more thresholds than the shared memory has room for");
_Static_assert(THRESHOLD_SLOW_QUERY == STORE_THRESHOLD_SLOW, "the directory reads this one, in microseconds");

static double configured(const struct admin *admin, enum threshold threshold) {
  return threshold == THRESHOLD_SLOW_QUERY ? (double)admin->options.config->directory_slow_query : table[threshold].standard;
}

double threshold__of(const struct admin *admin, enum threshold threshold) {
  int64_t set = shm_threshold(admin->options.shm, threshold);
  return set < 0 ? configured(admin, threshold) : (double)set / table[threshold].unit;
}

// Negative: not of the daemon as a whole.
static double current(const struct shm *shm, enum threshold threshold) {
  struct histogram_summary sum;
  uint64_t decided, failed;
  switch (threshold) {
  case THRESHOLD_REQUEST_P99: histogram_summarize(shm, HISTOGRAM_REQUEST, &sum); return sum.p99_us / 1e3;
  case THRESHOLD_ERROR_RATE: state__deliveries(shm, &decided, &failed); return state__rate_of(failed, decided);
  case THRESHOLD_QUEUE_LENGTH: return (double)metrics_total(shm, METRIC_JOBS_WAITING);
  default: return -1;
  }
}

void threshold__put_over(const struct admin *admin, struct json_writer *w) {
  json_open(w, "over_thresholds", '[');
  for (enum threshold t = 0; t < THRESHOLD_COUNT; t++) {
    double limit = threshold__of(admin, t), value = current(admin->options.shm, t);
    if (limit <= 0 || value <= limit) continue;
    json_open(w, NULL, '{');
    json_put_string(w, "threshold", table[t].key);
    json_put_double(w, "limit", limit, 6);
    json_put_double(w, "value", value, 6);
    json_close(w, '}');
  }
  json_close(w, ']');
}

// ---------------------------------------------------------------- the page

static void put_thresholds(const struct admin *admin, struct json_writer *w) {
  json_open(w, "thresholds", '{');
  for (enum threshold t = 0; t < THRESHOLD_COUNT; t++)
    json_put_double(w, table[t].key, threshold__of(admin, t), 6);
  json_close(w, '}');
  json_open(w, "configured", '{');
  for (enum threshold t = 0; t < THRESHOLD_COUNT; t++)
    json_put_double(w, table[t].key, configured(admin, t), 6);
  json_close(w, '}');
}

// What is asked for, -1 for what is configured; false: why not.
static bool read_value(const struct json *member, enum threshold *threshold, int64_t *value, struct why *why) {
  for (enum threshold t = 0; t < THRESHOLD_COUNT; t++) {
    if (!span_eq(member->key, span_of(table[t].key))) continue;
    double number = member->type == JSON_NUMBER ? json_double(member, -1) : -1;
    bool good = number >= 0 && number <= table[t].max;
    *threshold = t;
    // Rounded up: 0 would mean never.
    *value = good ? (int64_t)ceil(number * table[t].unit) : -1;
    if (good || member->type == JSON_NULL) return true;
    why_set(why, "%s must be a number from 0 (never) to %.0f, or null for what is configured", table[t].key, table[t].max);
    return false;
  }
  why_set(why, "There is no threshold \"%.*s\": GET shows all", (int)(member->key.len < 40 ? member->key.len : 40), member->key.ptr);
  return false;
}

// All or nothing.
static bool change(struct admin *admin, const struct json *document, struct why *why) {
  int64_t values[THRESHOLD_COUNT];
  bool given[THRESHOLD_COUNT] = {false};
  if (!document || document->type != JSON_OBJECT || !document->child) {
    why_set(why, "Give a JSON object of thresholds, such as {\"queue_length\": 500}");
    return false;
  }
  for (const struct json *member = document->child; member; member = member->next) {
    enum threshold t;
    int64_t value;
    if (!read_value(member, &t, &value, why)) return false;
    values[t] = value;
    given[t] = true;
  }
  for (enum threshold t = 0; t < THRESHOLD_COUNT; t++)
    if (given[t]) shm_set_threshold(admin->options.shm, t, values[t]);
  return true;
}

void threshold__page(struct admin *admin, struct http_request *request) {
  if (http_request_method(request) == HTTP_M_PUT) {
    struct arena arena;
    const struct json *document = NULL;
    struct why why = {""};
    arena_init(&arena, 8192, 1 << 20);
    if (json_parse(&arena, http_request_body(request), NULL, &document, NULL) != ERR_OK) document = NULL;
    bool good = change(admin, document, &why);
    arena_free(&arena);
    if (!good) {
      http_respond_error(request, 400, why.text);
      return;
    }
    log_info("admin", "thresholds changed for all processes, asked by %s", http_request_client_text(request));
  }
  performance__respond(admin, request, put_thresholds);
}
