// What an operator does: clear, warm or invalidate the caches of every process at once, through shared memory. Runs in the workers.
#include "admin.h"

#include "wahook/log.h"

void action__cache_clear(struct admin *admin, struct http_request *request) {
  shm_clear_caches(admin->options.shm);
  log_info("admin", "cache cleared in all processes, asked by %s", http_request_client_text(request));
  http_respond_json(request, 200, SPAN("{\"status\":\"success\",\"message\":\"Cache cleared\"}"));
}

void action__cache_warmup(struct admin *admin, struct http_request *request) {
  if (!admin->options.config->directory_warmup) {
    http_respond_json(request, 500, SPAN("{\"status\":\"error\",\"error\":\"Warm-up is switched off (directory.warmup)\"}"));
    return;
  }
  shm_warm_caches(admin->options.shm);
  log_info("admin", "cache warm-up in all processes, asked by %s", http_request_client_text(request));
  http_respond_json(request, 200, SPAN("{\"status\":\"success\",\"message\":\"Cache warmed up\"}"));
}

// ?key=phone:123 (or subdomain:…, waba:…; '*' and '?' match as in a glob): forgotten in every process at once.
void action__cache_invalidate(struct admin *admin, struct http_request *request) {
  struct span raw;
  char key[SHM_KEY_MAX];
  size_t len = 0;
  if (!query_find(http_request_query(request), SPAN("key"), &raw) || percent_decode(raw, true, key, sizeof key, &len) != ERR_OK || !len ||
      shm_invalidate(admin->options.shm, (struct span){key, len}) != ERR_OK) {
    http_respond_error(request, 400, "Give ?key=phone:ID, subdomain:NAME or waba:ID, at most 95 bytes");
    return;
  }
  http_respond_json(request, 200, SPAN("{\"status\":\"success\",\"message\":\"Cache entry invalidated\"}"));
}
