// What an operator reads: health, readiness, metrics as JSON and for Prometheus; all from shared memory. Runs in the workers.
#include "admin.h"

#include "wahook/proc.h"

// As the replaced service reported them; a pool that a store really has is the store's matter.
#define POOL_MAX 100
#define POOL_MIN 10

static double wall_seconds(void) {
  return (double)clock_wall_us() / 1e6;
}

static const char *store_trouble(const struct admin *admin) {
  const struct shm_broadcast *b = admin->options.shm->broadcast;
  int64_t failed = atomic_load(&b->directory_failed_us), ok = atomic_load(&b->directory_ok_us);
  if (failed && failed >= ok) return "Database not connected";
  return NULL;
}

// Why events are not taken or not answered now, NULL when all is well.
static const char *trouble(const struct admin *admin) {
  const struct shm *shm = admin->options.shm;
  const char *store = store_trouble(admin);
  if (store) return store;
  if (atomic_load(&shm->broadcast->intake_refused)) return "Intake cannot write to its disk";
  for (unsigned i = 0; i < shm->slot_count; i++)
    if (atomic_load(&shm->slots[i].role) == SHM_ROLE_DISPATCHER && atomic_load(&shm->slots[i].state) == SHM_READY) return NULL;
  return "Dispatcher is not running";
}

static void respond_built(struct http_request *request, int status, struct buf *body) {
  http_respond_json(request, status, buf_span(body));
  buf_free(body);
}

void view__health(struct admin *admin, struct http_request *request) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  const char *error = store_trouble(admin);
  if (error) {
    json_put_string(&w, "status", "unhealthy");
    json_put_string(&w, "error", error);
    json_put_double(&w, "timestamp", wall_seconds(), 6);
  } else {
    json_put_string(&w, "status", "healthy");
    json_put_double(&w, "timestamp", wall_seconds(), 6);
    json_put_string(&w, "database", "healthy");
    json_put_string(&w, "service", "whatsapp-webhook");
  }
  json_close(&w, '}');
  respond_built(request, error ? 503 : 200, &body);
}

void view__ready(struct admin *admin, struct http_request *request) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  const char *reason = trouble(admin);
  json_put_bool(&w, "ready", !reason);
  if (reason)
    json_put_string(&w, "reason", reason);
  else
    json_put_double(&w, "timestamp", wall_seconds(), 6);
  json_close(&w, '}');
  respond_built(request, reason ? 503 : 200, &body);
}

static uint64_t counter(const struct shm_slot *slot, enum metric metric) {
  return atomic_load_explicit(&slot->counters[metric], memory_order_relaxed);
}

static double rate_of(uint64_t hits, uint64_t misses) {
  return hits + misses ? (double)hits / (double)(hits + misses) : 0;
}

static void put_process(struct json_writer *w, const struct shm_slot *slot, int64_t now_us) {
  int64_t started = atomic_load(&slot->started_us), heartbeat = atomic_load(&slot->heartbeat_us);
  int32_t pid = atomic_load(&slot->pid);
  uint64_t hits = counter(slot, METRIC_CACHE_HITS), misses = counter(slot, METRIC_CACHE_MISSES);
  json_open(w, NULL, '{');
  json_put_string(w, "role", shm_role_name(atomic_load(&slot->role)));
  json_put_u64(w, "ordinal", atomic_load(&slot->ordinal));
  json_put_u64(w, "generation", atomic_load(&slot->generation));
  json_put_i64(w, "pid", pid);
  json_put_string(w, "state", shm_state_name(atomic_load(&slot->state)));
  json_put_double(w, "uptime_seconds", started ? (double)(now_us - started) / 1e6 : 0, 1);
  json_put_double(w, "heartbeat_age_seconds", heartbeat ? (double)(now_us - heartbeat) / 1e6 : 0, 3);
  json_put_u64(w, "restarts", atomic_load(&slot->restarts));
  json_put_u64(w, "connections", counter(slot, METRIC_HTTP_CONNECTIONS_OPEN));
  json_put_u64(w, "requests", counter(slot, METRIC_HTTP_REQUESTS));
  json_put_u64(w, "rss_bytes", pid > 0 ? proc_rss_bytes(pid) : 0);
  json_put_u64(w, "loop_lag_us", counter(slot, METRIC_LOOP_LAG_US));
  json_open(w, "cache", '{');
  json_put_u64(w, "size", counter(slot, METRIC_CACHE_SIZE));
  json_put_u64(w, "hits", hits);
  json_put_u64(w, "misses", misses);
  json_put_double(w, "hit_rate", rate_of(hits, misses), 4);
  json_close(w, '}');
  json_close(w, '}');
}

static void put_processes(struct json_writer *w, const struct shm *shm) {
  int64_t now_us = clock_mono_us();
  json_open(w, "processes", '[');
  for (unsigned i = 0; i < shm->slot_count; i++) {
    const struct shm_slot *slot = &shm->slots[i];
    if (atomic_load(&slot->role) == SHM_ROLE_NONE || atomic_load(&slot->state) == SHM_EMPTY) continue;
    put_process(w, slot, now_us);
  }
  json_close(w, ']');
}

void view__metrics(struct admin *admin, struct http_request *request) {
  const struct shm *shm = admin->options.shm;
  struct directory_stats stats;
  directory_stats(admin->options.directory, &stats);
  uint64_t hits = metrics_total(shm, METRIC_CACHE_HITS), misses = metrics_total(shm, METRIC_CACHE_MISSES);
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  json_open(&w, "cache", '{');
  json_put_u64(&w, "size", stats.size);
  json_put_u64(&w, "max_size", stats.capacity);
  json_put_i64(&w, "ttl_seconds", stats.ttl_ms / 1000);
  json_put_u64(&w, "hits", hits);
  json_put_u64(&w, "misses", misses);
  json_put_double(&w, "hit_rate", rate_of(hits, misses), 4);
  json_close(&w, '}');
  json_open(&w, "connection_pool", '{');
  json_put_u64(&w, "max_pool_size", POOL_MAX);
  json_put_u64(&w, "min_pool_size", POOL_MIN);
  json_close(&w, '}');
  json_put_double(&w, "timestamp", wall_seconds(), 6);
  json_put_string(&w, "version", WAHOOK_VERSION);
  const char *reason = trouble(admin);
  json_put_bool(&w, "ready", !reason);
  if (reason) json_put_string(&w, "reason", reason);
  json_put_double(&w, "uptime_seconds", (double)(clock_mono_us() - *shm->created_us) / 1e6, 1);
  put_processes(&w, shm);
  json_open(&w, "metrics", '{');
  metrics_render_json(shm, &w);
  json_close(&w, '}');
  json_close(&w, '}');
  respond_built(request, 200, &body);
}

void view__prometheus(struct admin *admin, struct http_request *request) {
  struct buf body = {0};
  metrics_render_prometheus(admin->options.shm, &body);
  http_respond(request, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&body), NULL, 0);
  buf_free(&body);
}
