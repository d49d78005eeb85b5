// What a client over its limit is told, in the words of the replaced service. Runs in the workers.
#include <inttypes.h>
#include <stdio.h>

#include "wahook/limiter.h"

static int64_t whole_seconds(int64_t us) {
  return us > 0 ? (us + 999999) / 1000000 : 0;
}

void limiter_refuse(const struct limiter_rule *rule, const struct limiter_verdict *verdict, struct limiter_refusal *out) {
  int64_t retry_s = whole_seconds(verdict->retry_after_us);
  snprintf(out->body, sizeof out->body, "{\"error\":\"Rate limit exceeded: %s\"}", rule->text);
  out->headers[0].name = "Retry-After";
  snprintf(out->headers[0].value, sizeof out->headers[0].value, "%" PRId64, retry_s > 0 ? retry_s : 1);
  out->headers[1].name = "X-RateLimit-Limit";
  snprintf(out->headers[1].value, sizeof out->headers[1].value, "%" PRIu64, rule->count);
  out->headers[2].name = "X-RateLimit-Remaining";
  snprintf(out->headers[2].value, sizeof out->headers[2].value, "%" PRIu64, verdict->remaining);
  out->headers[3].name = "X-RateLimit-Reset";
  snprintf(out->headers[3].value, sizeof out->headers[3].value, "%" PRId64, whole_seconds(verdict->reset_us));
}
