// The webhook's life and its route. Runs in the workers.
#include "webhook.h"

#include <stdlib.h>

// A delivery of 1000 updates takes some 10 MiB as a tree. What takes more than this is no delivery of Meta's: it goes to quarantine whole.
#define ARENA_MAX_BYTES (64u << 20)

static void on_head(struct http_request *request, void *ctx) {
  struct webhook *webhook = ctx;
  ALWAYS(webhook->magic == WEBHOOK_MAGIC);
  if (http_request_method(request) == HTTP_M_POST) pipeline__head(webhook, request);
}

static void on_request(struct http_request *request, void *ctx) {
  struct webhook *webhook = ctx;
  ALWAYS(webhook->magic == WEBHOOK_MAGIC);
  http_request_set_name(request, "webhook");
  if (http_request_method(request) == HTTP_M_POST)
    pipeline__request(webhook, request);
  else
    verify__request(webhook, request);
}

struct webhook *webhook_new(const struct webhook_options *options) {
  const struct config *config = options->config;
  struct webhook *webhook = xcalloc(1, sizeof *webhook);
  webhook->magic = WEBHOOK_MAGIC;
  webhook->options = *options;
  webhook->config = config;
  webhook->slot = options->slot;
  webhook->secret_count = config->webhook_app_secrets.count;
  webhook->secrets = xcalloc(webhook->secret_count ? webhook->secret_count : 1, sizeof(struct hmac *));
  for (size_t i = 0; i < webhook->secret_count; i++)
    webhook->secrets[i] = hmac_new(span_of(config->webhook_app_secrets.items[i]));
  if (config->webhook_business_secrets) webhook->own_secret = hmac_new(SPAN(""));
  if (config->limits_webhook.count) webhook->unverified = limiter_rule(config->limits_webhook.count, config->limits_webhook.period_us);
  if (config->limits_business.count) webhook->business = limiter_rule(config->limits_business.count, config->limits_business.period_us);
  shed__init(webhook);
  arena_init(&webhook->arena, 64 * 1024, ARENA_MAX_BYTES);
  return webhook;
}

static void on_turn(void *ctx) {
  struct webhook *webhook = ctx;
  ALWAYS(webhook->magic == WEBHOOK_MAGIC);
  (void)shed__look(webhook);
}

void webhook_start(struct webhook *webhook, struct journal *journal, struct http_server *server) {
  webhook->journal = journal;
  webhook->server = server;
  webhook->turn = (struct loop_hook){.on_turn = on_turn, .ctx = webhook};
  loop_hook_add(webhook->options.loop, &webhook->turn);
}

void webhook_free(struct webhook *webhook) {
  if (!webhook) return;
  ALWAYS(webhook->magic == WEBHOOK_MAGIC);
  loop_hook_remove(webhook->options.loop, &webhook->turn);
  for (size_t i = 0; i < webhook->secret_count; i++)
    hmac_free(webhook->secrets[i]);
  free(webhook->secrets);
  hmac_free(webhook->own_secret);
  arena_free(&webhook->arena);
  free(webhook->events);
  free(webhook->queue);
  webhook->magic = 0;
  free(webhook);
}

unsigned webhook_routes(struct webhook *webhook, struct http_route *out) {
  out[0] = (struct http_route){.path = webhook->config->webhook_path,
                               .methods = HTTP_ALLOW(HTTP_M_GET) | HTTP_ALLOW(HTTP_M_POST),
                               .on_head = on_head,
                               .on_request = on_request,
                               .ctx = webhook,
                               .max_body_bytes = (size_t)webhook->config->webhook_max_body};
  return 1;
}

void webhook_on_commit(void *webhook_ptr, uint64_t upto, enum err result) {
  struct webhook *webhook = webhook_ptr;
  ALWAYS(webhook->magic == WEBHOOK_MAGIC);
  pipeline__committed(webhook, upto, result);
}
