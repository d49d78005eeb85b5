// What an answer of the Graph API means for a message, and how long to wait before the next attempt. Pure; runs in the dispatcher.
#include "wahook/outbound.h"

static const char *const class_names[] = {
    [GRAPH_OK] = "ok",           [GRAPH_THROTTLED] = "throttled", [GRAPH_PAIR] = "pair_limited",    [GRAPH_TRANSIENT] = "transient",
    [GRAPH_UNKNOWN] = "unknown", [GRAPH_TOKEN] = "token",         [GRAPH_TENANT] = "tenant_broken", [GRAPH_DEAD] = "message_dead",
};

const char *graph_class_name(enum graph_class c) {
  return (unsigned)c < COUNT_OF(class_names) ? class_names[c] : "?";
}

// Meta's error codes ("Cloud API error codes" and "Graph API error handling"), sorted so that a reader finds a number.
static const struct {
  int64_t first, last;
  enum graph_class class;
} codes[] = {
    {0, 0, GRAPH_TOKEN},               // AuthException: we could not authenticate the app user
    {1, 2, GRAPH_TRANSIENT},           // unknown API error, service temporarily unavailable
    {3, 3, GRAPH_TENANT},              // capability or permission missing
    {4, 4, GRAPH_THROTTLED},           // app rate limit
    {10, 10, GRAPH_TENANT},            // permission denied
    {33, 33, GRAPH_DEAD},              // parameter value not valid (a deleted number)
    {100, 100, GRAPH_DEAD},            // invalid parameter
    {190, 190, GRAPH_TOKEN},           // access token expired
    {200, 299, GRAPH_TENANT},          // API permission
    {368, 368, GRAPH_TENANT},          // blocked for policy violations
    {80007, 80007, GRAPH_THROTTLED},   // rate limit of the WhatsApp business account
    {130429, 130429, GRAPH_THROTTLED}, // throughput of the number
    {131000, 131000, GRAPH_TRANSIENT}, // something went wrong
    {131005, 131005, GRAPH_TENANT},    // access denied
    {131008, 131009, GRAPH_DEAD},      // parameter missing, value not valid
    {131016, 131016, GRAPH_TRANSIENT}, // service unavailable
    {131021, 131021, GRAPH_DEAD},      // recipient is the sender
    {131026, 131026, GRAPH_DEAD},      // undeliverable
    {131030, 131030, GRAPH_DEAD},      // recipient not in the allowed list
    {131031, 131031, GRAPH_TENANT},    // account locked
    {131042, 131042, GRAPH_TENANT},    // payment issue
    {131045, 131045, GRAPH_TENANT},    // number not registered, certificate
    {131047, 131047, GRAPH_DEAD},      // 24-hour window closed
    {131048, 131048, GRAPH_TENANT},    // spam rate limit
    {131049, 131052, GRAPH_DEAD},      // not delivered for ecosystem health, user stopped marketing, unsupported type, media download
    {131053, 131053, GRAPH_TRANSIENT}, // media upload
    {131056, 131056, GRAPH_PAIR},      // pair rate limit
    {131057, 131057, GRAPH_THROTTLED}, // account in maintenance mode
    {131062, 131062, GRAPH_DEAD},      // business-scoped user id not taken here
    {132000, 132016, GRAPH_DEAD},      // templates
    {133010, 133010, GRAPH_TENANT},    // number not registered
};

// Without a code that we know.
static enum graph_class classify_status(int status, bool has_error, bool is_transient) {
  if (status >= 200 && status < 300 && !has_error) return GRAPH_OK;
  if (status == 429) return GRAPH_THROTTLED;
  if (is_transient) return GRAPH_TRANSIENT;
  // A gateway in front of Graph lost the answer, not the request: Meta may have accepted the message.
  if ((status == 502 || status == 504) && !has_error) return GRAPH_UNKNOWN;
  if (status >= 500 || status == 408) return GRAPH_TRANSIENT;
  if (status == 401) return GRAPH_TOKEN;
  if (status == 403) return GRAPH_TENANT;
  // The same request again gets the same 4xx. Anything else (a redirect, say) is a wrong address, which is not the message's fault.
  return has_error || (status >= 400 && status < 500) ? GRAPH_DEAD : GRAPH_TRANSIENT;
}

enum graph_class graph_classify(int http_status, bool has_error, int64_t code, bool is_transient) {
  if (!has_error) return classify_status(http_status, false, is_transient);
  // Code 0 is "cannot authenticate", but also what an internal error looks like that has no code.
  if (code == 0 && (http_status >= 500 || is_transient)) return GRAPH_TRANSIENT;
  for (size_t i = 0; i < COUNT_OF(codes); i++)
    if (code >= codes[i].first && code <= codes[i].last) return codes[i].class;
  return classify_status(http_status, true, is_transient);
}

int64_t retry_backoff_ms(unsigned attempt, int64_t base_ms, int64_t cap_ms, uint64_t random) {
  if (base_ms < 1) base_ms = 1;
  int64_t wait = base_ms < cap_ms ? base_ms : cap_ms;
  for (unsigned i = 0; i < attempt && wait < cap_ms; i++)
    wait = wait > cap_ms / 2 ? cap_ms : wait * 2;
  if (wait < 1) return 0;
  int64_t half = wait / 2;
  return half + (int64_t)(random % (uint64_t)(wait - half + 1));
}

int64_t retry_pair_ms(unsigned n) {
  const int64_t hour_ms = 3600 * 1000;
  int64_t wait = 1000;
  for (unsigned i = 0; i < n && wait < hour_ms; i++)
    wait *= 4;
  return wait < hour_ms ? wait : hour_ms;
}
