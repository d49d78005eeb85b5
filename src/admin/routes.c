// The table of the operator's pages: method, who may see it, its rate limit. Runs in the workers.
#include <stdlib.h>

#include "admin.h"

struct admin_page {
  const char *path;
  unsigned methods;
  bool open; // also for callers without the admin token
  enum admin_limit limit;
  void (*handle)(struct admin *admin, struct http_request *request);
};

static const struct admin_page pages[] = {
    {"/health", HTTP_ALLOW(HTTP_M_GET), true, ADMIN_LIMIT_HEALTH, view__health},
    {"/ready", HTTP_ALLOW(HTTP_M_GET), true, ADMIN_LIMIT_HEALTH, view__ready},
    {"/metrics", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, view__metrics},
    {"/prometheus/metrics", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, view__prometheus},
    {"/admin/cache/clear", HTTP_ALLOW(HTTP_M_POST), false, ADMIN_LIMIT_ADMIN, action__cache_clear},
    {"/admin/cache/warmup", HTTP_ALLOW(HTTP_M_POST), false, ADMIN_LIMIT_ADMIN, action__cache_warmup},
    {"/admin/cache/invalidate", HTTP_ALLOW(HTTP_M_POST), false, ADMIN_LIMIT_ADMIN, action__cache_invalidate},
    {"/api/performance/queries", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, performance__queries},
    {"/api/performance/database", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, performance__database},
    {"/api/performance/cache", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, performance__cache},
    {"/api/performance/thresholds", HTTP_ALLOW(HTTP_M_GET) | HTTP_ALLOW(HTTP_M_PUT), false, ADMIN_LIMIT_METRICS, threshold__page},
    {"/api/performance/cache/invalidate", HTTP_ALLOW(HTTP_M_POST), false, ADMIN_LIMIT_ADMIN, action__cache_invalidate_pattern},
    {"/api/performance/cache/warm", HTTP_ALLOW(HTTP_M_POST), false, ADMIN_LIMIT_ADMIN, action__cache_warmup},
    {"/api/performance/metrics", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, daemon__metrics},
    {"/api/performance/application", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, daemon__application},
    {"/api/performance/system", HTTP_ALLOW(HTTP_M_GET), false, ADMIN_LIMIT_METRICS, daemon__system},
};
_Static_assert(COUNT_OF(pages) <= ADMIN_ROUTES_MAX, "ADMIN_ROUTES_MAX is too small");

// Rules are counted apart by page, so that a health check never uses up another page's budget.
#define LIMIT_ID_FIRST 100

// Limits protect the public listener; whoever reaches the admin listener is the operator.
static bool within_limit(struct admin_route *route, struct http_request *request) {
  struct admin *admin = route->admin;
  if (http_request_listener(request) == HTTP_OPERATOR_TAG || !admin->options.limiter) return true;
  const struct limiter_rule *rule = &admin->limits[route->page->limit];
  if (!rule->count) return true;
  uint8_t address[20];
  struct span key = limiter_address_key(http_request_client(request), address);
  uint32_t rule_id = LIMIT_ID_FIRST + (uint32_t)(route->page - pages);
  struct limiter_verdict verdict = limiter_take(admin->options.limiter, rule, rule_id, key, loop_now_us(admin->options.loop));
  if (verdict.allowed) return true;
  metrics_add(admin->options.slot, METRIC_LIMIT_REFUSED, 1);
  struct limiter_refusal refusal;
  limiter_refuse(rule, &verdict, &refusal);
  struct http_header headers[LIMITER_REFUSAL_HEADERS];
  for (unsigned i = 0; i < LIMITER_REFUSAL_HEADERS; i++)
    headers[i] = (struct http_header){.name = refusal.headers[i].name, .value = refusal.headers[i].value};
  http_respond(request, 429, "application/json", span_of(refusal.body), headers, LIMITER_REFUSAL_HEADERS);
  return false;
}

static void on_request(struct http_request *request, void *ctx) {
  struct admin_route *route = ctx;
  ALWAYS(route->admin->magic == ADMIN_MAGIC);
  http_request_set_name(request, route->page->path);
  // No page shows a secret that its size could give away to who chooses what else is in it (BREACH).
  http_request_compress(request);
  if (!within_limit(route, request)) return;
  if (!route->page->open && !auth__admit(route->admin, request)) return;
  route->page->handle(route->admin, request);
}

struct admin *admin_new(const struct admin_options *options) {
  struct admin *admin = xcalloc(1, sizeof *admin);
  const struct config *config = options->config;
  const struct config_rate rates[ADMIN_LIMIT_COUNT] = {[ADMIN_LIMIT_HEALTH] = config->limits_health,
                                                       [ADMIN_LIMIT_METRICS] = config->limits_metrics,
                                                       [ADMIN_LIMIT_ADMIN] = config->limits_admin};
  admin->magic = ADMIN_MAGIC;
  admin->options = *options;
  for (unsigned i = 0; i < ADMIN_LIMIT_COUNT; i++)
    admin->limits[i] = limiter_rule(rates[i].count, rates[i].period_us);
  for (unsigned i = 0; i < COUNT_OF(pages); i++)
    admin->routes[i] = (struct admin_route){.admin = admin, .page = &pages[i]};
  return admin;
}

void admin_free(struct admin *admin) {
  if (!admin) return;
  ALWAYS(admin->magic == ADMIN_MAGIC);
  admin->magic = 0;
  free(admin);
}

unsigned admin_routes(struct admin *admin, struct http_route *out) {
  for (unsigned i = 0; i < COUNT_OF(pages); i++)
    out[i] = (struct http_route){
        .path = pages[i].path, .methods = pages[i].methods, .on_request = on_request, .ctx = &admin->routes[i], .max_body_bytes = 65536};
  return COUNT_OF(pages);
}
