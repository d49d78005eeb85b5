// What an operator reads: health, readiness, metrics as JSON and for Prometheus; all from shared memory. Runs in the workers.
#include "admin.h"

// As the replaced service reported them, where the store has no pool.
#define POOL_MAX 100
#define POOL_MIN 10

void view__respond(struct http_request *request, int status, struct buf *body) {
  http_respond_json(request, status, buf_span(body));
  buf_free(body);
}

void view__health(struct admin *admin, struct http_request *request) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  const char *error = state__store_trouble(admin);
  if (error) {
    json_put_string(&w, "status", "unhealthy");
    json_put_string(&w, "error", error);
    json_put_double(&w, "timestamp", state__wall_seconds(), 6);
  } else {
    json_put_string(&w, "status", "healthy");
    json_put_double(&w, "timestamp", state__wall_seconds(), 6);
    json_put_string(&w, "database", "healthy");
    json_put_string(&w, "service", "whatsapp-webhook");
  }
  json_close(&w, '}');
  view__respond(request, error ? 503 : 200, &body);
}

void view__ready(struct admin *admin, struct http_request *request) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  struct why reason, degraded;
  bool ready = state__is_ready(admin, &reason);
  json_put_bool(&w, "ready", ready);
  if (!ready) json_put_string(&w, "reason", reason.text);
  if (ready) json_put_double(&w, "timestamp", state__wall_seconds(), 6);
  if (state__is_degraded(admin, &degraded)) json_put_string(&w, "degraded", degraded.text);
  json_close(&w, '}');
  view__respond(request, ready ? 200 : 503, &body);
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
  json_put_double(&w, "hit_rate", state__rate_of(hits, misses), 4);
  json_close(&w, '}');
  uint64_t pool_max = metrics_total(shm, METRIC_STORE_POOL_MAX);
  json_open(&w, "connection_pool", '{');
  json_put_u64(&w, "max_pool_size", pool_max ? pool_max : POOL_MAX);
  json_put_u64(&w, "min_pool_size", pool_max ? metrics_total(shm, METRIC_STORE_POOL_MIN) : POOL_MIN);
  json_close(&w, '}');
  json_put_double(&w, "timestamp", state__wall_seconds(), 6);
  json_put_string(&w, "version", WAHOOK_VERSION);
  state__put_condition(admin, &w);
  json_put_double(&w, "uptime_seconds", state__uptime_seconds(shm), 1);
  state__put_processes(shm, &w);
  json_open(&w, "metrics", '{');
  metrics_render_json(shm, &w);
  json_close(&w, '}');
  json_close(&w, '}');
  view__respond(request, 200, &body);
}

void view__prometheus(struct admin *admin, struct http_request *request) {
  struct buf body = {0};
  metrics_render_prometheus(admin->options.shm, &body);
  http_respond(request, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(&body), NULL, 0);
  buf_free(&body);
}
