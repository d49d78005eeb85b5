// What an operator sees of the store and the caches before it: queries, connections, hits; of all processes, from shared memory. Runs in
// the workers.
#include "admin.h"

#include <string.h>

void performance__put_spread(struct json_writer *w, const struct histogram_summary *sum) {
  json_put_double(w, "avg_ms", sum->mean_us / 1e3, 3);
  json_put_double(w, "p50_ms", sum->p50_us / 1e3, 3);
  json_put_double(w, "p95_ms", sum->p95_us / 1e3, 3);
  json_put_double(w, "p99_ms", sum->p99_us / 1e3, 3);
  json_put_double(w, "max_ms", sum->max_us / 1e3, 3);
}

// Only the scheme: the rest may hold a password, of which no copy is made.
static void put_store(const struct admin *admin, struct json_writer *w) {
  struct span rest = span_of(admin->options.config->directory_store), scheme = SPAN("sqlite"); // where nothing is configured
  if (rest.len) span_split(&rest, ':', &scheme);
  json_put_text(w, "store", scheme);
}

static void put_age(struct json_writer *w, const char *key, int64_t at_us) {
  int64_t age_us = clock_mono_us() - at_us;
  if (at_us)
    json_put_double(w, key, age_us > 0 ? (double)age_us / 1e6 : 0, 1);
  else
    json_put_null(w, key);
}

// Of one process, or (NULL) of all.
static uint64_t figure(const struct shm *shm, const struct shm_slot *slot, enum metric metric) {
  return slot ? state__counter(slot, metric) : metrics_total(shm, metric);
}

// Of one kind of query, or (STORE_QUERY_COUNT_OF) of all.
static void put_errors(const struct shm *shm, const struct shm_slot *slot, enum store_query of, struct json_writer *w) {
  json_open(w, "errors", '{');
  for (enum store_cause cause = 0; cause < STORE_CAUSES; cause++) {
    uint64_t total = 0;
    for (enum store_query query = 0; query < STORE_QUERY_COUNT_OF; query++)
      if (of == query || of == STORE_QUERY_COUNT_OF) total += figure(shm, slot, store_query_metrics[query].errors[cause]);
    json_put_u64(w, store_cause_name(cause), total);
  }
  json_close(w, '}');
}

void performance__respond(struct admin *admin, struct http_request *request,
                          void (*put)(const struct admin *admin, struct json_writer *w)) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  json_put_double(&w, "timestamp", state__wall_seconds(), 6);
  put(admin, &w);
  json_close(&w, '}');
  view__respond(request, 200, &body);
}

// ---------------------------------------------------------------- queries

// When it was looked into, which is some time after it was slow. NULL: none was.
static void put_slow(const struct shm *shm, enum store_query query, struct json_writer *w) {
  struct store_slow slow;
  if (!store_slow_last(shm, query, &slow)) {
    json_put_null(w, "last_slow");
    return;
  }
  json_open(w, "last_slow", '{');
  put_age(w, "seconds_ago", slow.at_us);
  json_put_double(w, "took_ms", (double)slow.took_us / 1e3, 3);
  json_put_string(w, "plan", slow.plan[0] ? slow.plan : NULL);
  if (slow.examined >= 0)
    json_put_i64(w, "documents_examined", slow.examined);
  else
    json_put_null(w, "documents_examined");
  json_put_string(w, "advice", slow.advice[0] ? slow.advice : NULL);
  json_close(w, '}');
}

static void put_query(const struct admin *admin, enum store_query query, const char *name, const char *shape, struct json_writer *w) {
  const struct shm *shm = admin->options.shm;
  const struct store_query_metrics *metrics = &store_query_metrics[query];
  double limit_ms = threshold__of(admin, THRESHOLD_QUERY_P99);
  struct histogram_summary sum;
  histogram_summarize(shm, metrics->durations, &sum);
  json_open(w, NULL, '{');
  json_put_string(w, "query", name);
  json_put_string(w, "shape", shape);
  json_put_u64(w, "count", sum.count);
  json_put_u64(w, "slow", metrics_total(shm, metrics->slow));
  json_put_u64(w, "documents", metrics_total(shm, metrics->documents));
  json_put_u64(w, "failed_attempts", metrics_total(shm, metrics->retried));
  put_errors(shm, NULL, query, w);
  performance__put_spread(w, &sum);
  json_put_bool(w, "over_threshold", limit_ms > 0 && sum.p99_us / 1e3 > limit_ms);
  put_slow(shm, query, w);
  json_close(w, '}');
}

static void put_queries(const struct admin *admin, struct json_writer *w) {
  put_store(admin, w);
  json_put_double(w, "slow_query_ms", threshold__of(admin, THRESHOLD_SLOW_QUERY), 3);
  json_open(w, "queries", '[');
#define QUERY(id, name, shape) put_query(admin, STORE_QUERY_##id, name, shape, w);
  STORE_QUERIES(QUERY)
#undef QUERY
  json_close(w, ']');
}

void performance__queries(struct admin *admin, struct http_request *request) {
  performance__respond(admin, request, put_queries);
}

// ---------------------------------------------------------------- connections

// False: the store is no server, it has none.
static bool put_connections(const struct shm *shm, const struct shm_slot *slot, struct json_writer *w) {
  uint64_t open = figure(shm, slot, METRIC_STORE_POOL_OPEN), idle = figure(shm, slot, METRIC_STORE_POOL_IDLE);
  uint64_t lent = figure(shm, slot, METRIC_STORE_POOL_LENT), reused = figure(shm, slot, METRIC_STORE_POOL_REUSED);
  uint64_t max = figure(shm, slot, METRIC_STORE_POOL_MAX);
  if (!max) return false;
  json_open(w, "connections", '{');
  json_put_u64(w, "max", max);
  json_put_u64(w, "min", figure(shm, slot, METRIC_STORE_POOL_MIN));
  json_put_u64(w, "open", open);
  json_put_u64(w, "in_use", open > idle ? open - idle : 0);
  json_put_u64(w, "idle", idle);
  json_put_u64(w, "waiting", figure(shm, slot, METRIC_STORE_POOL_WAITING));
  json_put_u64(w, "lent", lent);
  json_put_double(w, "reuse_rate", lent ? (double)reused / (double)lent : 0, 4);
  json_close(w, '}');
  return true;
}

static void put_breaker(const struct shm *shm, const struct shm_slot *slot, struct json_writer *w) {
  bool open = figure(shm, slot, METRIC_STORE_BREAKER_OPEN), half_open = figure(shm, slot, METRIC_STORE_BREAKER_HALF_OPEN);
  json_put_string(w, "breaker", open ? "open" : half_open ? "half_open" : "closed");
  json_put_u64(w, "breaker_opened", figure(shm, slot, METRIC_STORE_BREAKER_OPENED));
}

static void put_failure(struct json_writer *w, const struct store_state *state) {
  put_age(w, "last_ok_seconds_ago", state->ok_us);
  put_age(w, "last_failed_seconds_ago", state->failed_us);
  if (state->failed_us) json_put_string(w, "last_failure", state->failure);
}

static void put_database_row(struct json_writer *w, const struct shm_slot *slot) {
  struct store_state state;
  put_breaker(NULL, slot, w);
  json_put_u64(w, "queries", state__counter(slot, METRIC_STORE_QUERIES));
  put_errors(NULL, slot, STORE_QUERY_COUNT_OF, w);
  if (shm_note_read(slot, STORE_NOTE_STATE, &state, sizeof state)) put_failure(w, &state);
  if (put_connections(NULL, slot, w)) json_put_double(w, "heartbeat_ms", (double)state__counter(slot, METRIC_STORE_HEARTBEAT_US) / 1e3, 3);
}

// The last of all processes, also of such as have ended.
static struct store_state last_state(const struct shm *shm) {
  struct store_state last = {0}, state;
  for (unsigned s = 0; s < shm->slot_count; s++) {
    const struct shm_slot *slot = &shm->slots[s];
    if (atomic_load(&slot->role) == SHM_ROLE_NONE || !shm_note_read(slot, STORE_NOTE_STATE, &state, sizeof state)) continue;
    if (state.ok_us > last.ok_us) last.ok_us = state.ok_us;
    if (state.failed_us <= last.failed_us) continue;
    last.failed_us = state.failed_us;
    memcpy(last.failure, state.failure, sizeof last.failure);
  }
  return last;
}

static void put_heartbeats(const struct shm *shm, struct json_writer *w) {
  uint64_t slowest_us = 0;
  for (unsigned s = 0; s < shm->slot_count; s++) {
    if (atomic_load(&shm->slots[s].role) == SHM_ROLE_NONE) continue;
    uint64_t us = state__counter(&shm->slots[s], METRIC_STORE_HEARTBEAT_US);
    if (us > slowest_us) slowest_us = us;
  }
  json_open(w, "heartbeats", '{');
  json_put_u64(w, "ok", metrics_total(shm, METRIC_STORE_HEARTBEATS));
  json_put_u64(w, "failed", metrics_total(shm, METRIC_STORE_HEARTBEATS_FAILED));
  json_put_double(w, "round_trip_ms", (double)slowest_us / 1e3, 3);
  json_close(w, '}');
}

// As they were at the last look, which the dispatcher takes once a minute: a page asks the store for nothing.
static void put_indexes(const struct shm *shm, struct json_writer *w) {
  struct store_index_told index;
  json_open(w, "indexes", '[');
  for (unsigned i = 0; i < STORE_INDEXES_MAX; i++) {
    if (!store_index_last(shm, i, &index)) continue;
    json_open(w, NULL, '{');
    json_put_string(w, "name", index.name);
    json_put_string(w, "keys", index.keys);
    json_put_string(w, "state", store_index_state_name((enum store_index_state)index.state));
    json_put_string(w, "note", index.note[0] ? index.note : NULL);
    if (index.uses >= 0)
      json_put_i64(w, "uses", index.uses);
    else
      json_put_null(w, "uses");
    put_age(w, "seconds_ago", index.at_us);
    json_close(w, '}');
  }
  json_close(w, ']');
}

static void put_database(const struct admin *admin, struct json_writer *w) {
  const struct shm *shm = admin->options.shm;
  struct store_state state = last_state(shm);
  const char *trouble = state__store_trouble(admin);
  put_store(admin, w);
  json_put_string(w, "status", trouble ? "unhealthy" : "healthy");
  if (trouble) json_put_string(w, "error", trouble);
  put_breaker(shm, NULL, w);
  json_put_u64(w, "queries", metrics_total(shm, METRIC_STORE_QUERIES));
  put_errors(shm, NULL, STORE_QUERY_COUNT_OF, w);
  put_failure(w, &state);
  if (put_connections(shm, NULL, w)) {
    put_heartbeats(shm, w);
    put_indexes(shm, w);
  } else {
    json_put_null(w, "connections");
  }
  state__put_rows(shm, w, SHM_ROLE_WORKER, put_database_row);
}

void performance__database(struct admin *admin, struct http_request *request) {
  performance__respond(admin, request, put_database);
}

// ---------------------------------------------------------------- caches

static void put_cache_figures(const struct shm *shm, const struct shm_slot *slot, struct json_writer *w) {
  uint64_t hits = figure(shm, slot, METRIC_CACHE_HITS), misses = figure(shm, slot, METRIC_CACHE_MISSES);
  json_put_u64(w, "size", figure(shm, slot, METRIC_CACHE_SIZE));
  json_put_u64(w, "capacity", figure(shm, slot, METRIC_CACHE_CAPACITY));
  json_put_u64(w, "hits", hits);
  json_put_u64(w, "misses", misses);
  json_put_double(w, "hit_rate", state__rate_of(hits, misses), 4);
  json_put_u64(w, "stale", figure(shm, slot, METRIC_CACHE_STALE));
  json_put_u64(w, "negative", figure(shm, slot, METRIC_CACHE_NEGATIVE));
  json_put_u64(w, "evictions", figure(shm, slot, METRIC_CACHE_EVICTIONS));
}

static void put_cache_row(struct json_writer *w, const struct shm_slot *slot) {
  put_cache_figures(NULL, slot, w);
}

static void put_cache(const struct admin *admin, struct json_writer *w) {
  json_put_double(w, "ttl_seconds", (double)admin->options.config->directory_cache_ttl / 1e3, 3);
  put_cache_figures(admin->options.shm, NULL, w);
  state__put_rows(admin->options.shm, w, SHM_ROLE_WORKER, put_cache_row);
}

void performance__cache(struct admin *admin, struct http_request *request) {
  performance__respond(admin, request, put_cache);
}
