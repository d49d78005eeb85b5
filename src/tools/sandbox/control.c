// What a test looks at and turns: the record, the chats, the faults. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdlib.h>

#define LINES_TYPE "application/x-ndjson"

static uint64_t query_number(const struct http_request *request, struct span key) {
  struct span value;
  uint64_t n = 0;
  if (!query_find(http_request_query(request), key, &value) || span_u64(value, &n) != ERR_OK) return 0;
  return n;
}

static void serve_list(struct http_request *request, struct record_list *list, bool all_kinds) {
  if (http_request_method(request) == HTTP_M_DELETE) {
    record_forget(list);
    http_respond_json(request, 200, SPAN("{\"success\":true}"));
    return;
  }
  struct record_filter filter = {.all_kinds = all_kinds};
  struct span value;
  char user[160];
  size_t user_len;
  filter.after = query_number(request, SPAN("after"));
  filter.last = query_number(request, SPAN("last"));
  if (query_find(http_request_query(request), SPAN("kind"), &value) && span_eq(value, SPAN("all"))) filter.all_kinds = true;
  if (query_find(http_request_query(request), SPAN("user"), &value) && percent_decode(value, false, user, sizeof user, &user_len) == ERR_OK)
    filter.user = (struct span){user, user_len};
  struct buf lines = {0};
  record_write(list, &filter, &lines);
  http_respond(request, 200, LINES_TYPE, lines.len ? buf_span(&lines) : SPAN(""), NULL, 0);
  buf_free(&lines);
}

void sandbox_on_record(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  serve_list(request, &sandbox->record, false);
}

void sandbox_on_chats(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  serve_list(request, &sandbox->chats, true);
}

void sandbox_on_faults(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  if (http_request_method(request) == HTTP_M_PUT) {
    struct why why = {{0}};
    const struct json *object = NULL;
    arena_reset(&sandbox->arena);
    enum err err = json_parse(&sandbox->arena, http_request_body(request), NULL, &object, NULL);
    if (err != ERR_OK) why_set(&why, "the body is no JSON");
    if (err == ERR_OK) err = faults_parse(object, sandbox->options.statuses, &sandbox->faults, &why);
    if (err != ERR_OK) {
      http_respond_error(request, 400, why.text);
      return;
    }
    pair_clear(&sandbox->pairs);
  }
  struct buf body = {0};
  faults_write(&sandbox->faults, &body);
  http_respond_json(request, 200, buf_span(&body));
  buf_free(&body);
}
