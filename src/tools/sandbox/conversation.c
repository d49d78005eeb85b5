// What the page shows: one user's conversation, and what changed in it since the page last asked. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#define SHOWN_MAX 200   // messages at most in one answer
#define SCAN_MAX  20000 // records looked at, from the newest: a load test must not make the page slow

struct question {
  struct span user;
  uint64_t after; // version
};

static bool wanted(const struct record *record, const struct question *q) {
  return record->version > q->after && span_eq(record->is.user, q->user);
}

static void write_messages(const struct record_list *list, const struct question *q, struct json_writer *w) {
  // Nothing happened since: the common case of a page that polls.
  size_t from = list->count, shown = 0, left = list->version > q->after ? SCAN_MAX : 0;
  for (; from > 0 && left > 0 && shown < SHOWN_MAX; from--, left--)
    shown += wanted(list->items[from - 1], q);
  json_open(w, "messages", '[');
  for (size_t i = from; i < list->count && shown > 0; i++)
    if (wanted(list->items[i], q)) record_put(w, list->items[i]);
  json_close(w, ']');
}

void sandbox_on_conversation(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  const struct record_list *list = &sandbox->record;
  char user[160];
  size_t user_len = 0;
  struct span value;
  struct question q = {0};
  if (!query_find(http_request_query(request), SPAN("user"), &value) ||
      percent_decode(value, false, user, sizeof user, &user_len) != ERR_OK || user_len == 0) {
    http_respond_error(request, 400, "user=... is required");
    return;
  }
  q.user = (struct span){user, user_len};
  if (query_find(http_request_query(request), SPAN("after"), &value) && span_u64(value, &q.after) != ERR_OK) {
    http_respond_error(request, 400, "after must be a number");
    return;
  }
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  json_put_u64(&w, "version", list->version);
  json_put_u64(&w, "forgotten", list->forgotten); // grows when the record was cleared: the page starts afresh
  json_put_string(&w, "phone_number_id", sandbox->options.phone_number_id);
  write_messages(list, &q, &w);
  json_close(&w, '}');
  http_respond_json(request, 200, buf_span(&body));
  buf_free(&body);
}
