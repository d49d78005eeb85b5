// Two budgets: unverified traffic by address (few addresses of Meta's send everything, so verified traffic is never counted by address),
// verified traffic by business. Runs in the workers.
#include "webhook.h"

void limit__refuse(struct webhook *webhook, struct http_request *request, const struct limiter_rule *rule,
                   const struct limiter_verdict *verdict) {
  metrics_add(webhook->slot, METRIC_LIMIT_REFUSED, 1);
  metrics_add(webhook->slot, METRIC_WEBHOOK_LIMITED, 1);
  struct limiter_refusal refusal;
  limiter_refuse(rule, verdict, &refusal);
  struct http_header headers[LIMITER_REFUSAL_HEADERS];
  for (unsigned i = 0; i < LIMITER_REFUSAL_HEADERS; i++)
    headers[i] = (struct http_header){.name = refusal.headers[i].name, .value = refusal.headers[i].value};
  http_respond(request, 429, "application/json", span_of(refusal.body), headers, LIMITER_REFUSAL_HEADERS);
}

bool limit__unverified(struct webhook *webhook, struct http_request *request) {
  if (!webhook->unverified.count || !webhook->options.limiter) return true;
  uint8_t address[20];
  struct span key = limiter_address_key(http_request_client(request), address);
  struct limiter_verdict verdict =
      limiter_take(webhook->options.limiter, &webhook->unverified, WEBHOOK_LIMIT_UNVERIFIED, key, loop_now_us(webhook->options.loop));
  if (verdict.allowed) return true;
  limit__refuse(webhook, request, &webhook->unverified, &verdict);
  return false;
}

bool limit__business(struct webhook *webhook, const struct business *business, struct limiter_rule *rule, struct limiter_verdict *verdict) {
  *rule = business->rate.period_us ? limiter_rule(business->rate.count, business->rate.period_us) : webhook->business;
  if (!rule->count || !webhook->options.limiter) return true;
  *verdict =
      limiter_take(webhook->options.limiter, rule, WEBHOOK_LIMIT_BUSINESS, span_of(business->id), loop_now_us(webhook->options.loop));
  return verdict->allowed;
}
