// Registration: Meta asks with a challenge and the token that the operator gave it (FACTS: webhook registration). Runs in the workers.
#include "webhook.h"

#include <stdlib.h>
#include <string.h>

#define CHALLENGE_MAX 1024
#define TOKEN_MAX     512

// A question that waits for its business.
struct question {
  struct webhook *webhook;
  struct http_ticket request;
  char challenge[CHALLENGE_MAX], token[TOKEN_MAX];
};

static void refuse(struct webhook *webhook, struct http_request *request) {
  metrics_add(webhook->slot, METRIC_WEBHOOK_VERIFY_FAILED, 1);
  http_respond_error(request, 403, "Verification token mismatch");
}

// An unset token never fits: a missing parameter is not a token.
static bool token_fits(const char *token, const char *expected) {
  return expected && expected[0] && secret_equal(span_of(token), span_of(expected));
}

// `later`: the directory cannot tell now whether a business with a token of its own is meant.
static void decide(struct webhook *webhook, struct http_request *request, const struct question *q, const struct business *business,
                   bool later) {
  bool fits = token_fits(q->token, webhook->config->webhook_verify_token);
  if (business) fits |= token_fits(q->token, business->verify_token);
  if (!fits && later) {
    static const struct http_header again = {.name = "Retry-After", .value = "5"};
    http_respond(request, 503, "application/json", SPAN("{\"detail\":\"The directory of businesses cannot be asked now\"}"), &again, 1);
    return;
  }
  if (!fits) {
    refuse(webhook, request);
    return;
  }
  if (!q->challenge[0]) {
    metrics_add(webhook->slot, METRIC_WEBHOOK_VERIFY_FAILED, 1);
    http_respond_error(request, 400, "hub.challenge is missing");
    return;
  }
  metrics_add(webhook->slot, METRIC_WEBHOOK_VERIFIED, 1);
  log_info("webhook", "address verified for %s", http_request_client_text(request));
  http_respond(request, 200, "text/plain; charset=utf-8", span_of(q->challenge), NULL, 0);
}

static void on_business(void *ctx, enum directory_answer answer, const struct business *business) {
  struct question *q = ctx;
  struct http_request *request = http_request_find(q->webhook->server, q->request);
  if (request) decide(q->webhook, request, q, answer == DIRECTORY_FOUND ? business : NULL, answer == DIRECTORY_LATER);
  secret_wipe(q->token, sizeof q->token);
  free(q);
}

// "shop1.example.com" -> "shop1"; absent for addresses and hosts of fewer than three labels.
static struct span sub_domain(struct span host) {
  struct span rest = host, label, domain;
  if (!span_split(&rest, '.', &label) || !label.len) return (struct span){NULL, 0};
  struct span top = rest;
  if (!span_split(&rest, '.', &domain) || !rest.len || !top.len) return (struct span){NULL, 0};
  char last = host.ptr[host.len - 1];
  if (last >= '0' && last <= '9') return (struct span){NULL, 0};
  return label;
}

static bool parameter(struct http_request *request, struct span name, char *out, size_t out_size) {
  struct span raw;
  size_t len = 0;
  out[0] = 0;
  if (!query_find(http_request_query(request), name, &raw)) return true;
  if (percent_decode(raw, true, out, out_size - 1, &len) != ERR_OK) return false;
  out[len] = 0;
  return true;
}

void verify__request(struct webhook *webhook, struct http_request *request) {
  if (!limit__unverified(webhook, request)) return;
  struct question q = {.webhook = webhook, .request = http_request_ticket(request)};
  char mode[32];
  if (!parameter(request, SPAN("hub.mode"), mode, sizeof mode) || !parameter(request, SPAN("hub.verify_token"), q.token, sizeof q.token) ||
      !parameter(request, SPAN("hub.challenge"), q.challenge, sizeof q.challenge) || strcmp(mode, "subscribe") != 0) {
    refuse(webhook, request);
    return;
  }
  struct span name = sub_domain(http_request_host(request));
  if (!name.len) {
    decide(webhook, request, &q, NULL, false);
    return;
  }
  // A business found by the Host's subdomain may have a token of its own.
  struct question *waiting = xmalloc(sizeof *waiting);
  *waiting = q;
  directory_find(webhook->options.directory, DIRECTORY_SUBDOMAIN, name, on_business, waiting);
}
