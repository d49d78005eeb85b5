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

// The parameter decoded; false: it is missing, empty or too long.
static bool parameter(struct http_request *request, const char *name, char out[static SHM_KEY_MAX], struct span *value) {
  struct span raw;
  size_t len = 0;
  if (!query_find(http_request_query(request), span_of(name), &raw)) return false;
  if (percent_decode(raw, true, out, SHM_KEY_MAX, &len) != ERR_OK || !len) return false;
  *value = (struct span){out, len};
  return true;
}

// ?key=phone:123 (or subdomain:…, waba:…; '*' and '?' match as in a glob): forgotten in every process at once.
void action__cache_invalidate(struct admin *admin, struct http_request *request) {
  char text[SHM_KEY_MAX];
  struct span key;
  if (!parameter(request, "key", text, &key) || shm_invalidate(admin->options.shm, key) != ERR_OK) {
    http_respond_error(request, 400, "Give ?key=phone:ID, subdomain:NAME or waba:ID, at most 95 bytes");
    return;
  }
  http_respond_json(request, 200, SPAN("{\"status\":\"success\",\"message\":\"Cache entry invalidated\"}"));
}

// The longest prefix comes first: what has room behind it has room behind all.
static const char *const matched[] = {"subdomain:", "phone:"};

// ?pattern=15550* or shop?: a glob over phone number ids and subdomains.
void action__cache_invalidate_pattern(struct admin *admin, struct http_request *request) {
  char text[SHM_KEY_MAX];
  struct span pattern;
  struct buf key = {0};
  bool good = parameter(request, "pattern", text, &pattern);
  for (size_t i = 0; i < COUNT_OF(matched) && good; i++) {
    buf_clear(&key);
    buf_printf(&key, "%s%.*s", matched[i], SPAN_FMT(pattern));
    good = shm_invalidate(admin->options.shm, buf_span(&key)) == ERR_OK;
  }
  buf_free(&key);
  if (!good) {
    http_respond_error(request, 400, "Give ?pattern=GLOB of phone number ids and subdomains, such as 15550* or shop?, at most 85 bytes");
    return;
  }
  log_info("admin", "cache entries forgotten in all processes, asked by %s", http_request_client_text(request));
  http_respond_json(request, 200, SPAN("{\"status\":\"success\",\"message\":\"Cache entries invalidated\"}"));
}
