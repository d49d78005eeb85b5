// Who answers in a test: an OpenAI-compatible chat and an http responder, both deterministic, both recorded. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdio.h>

static void keep(struct sandbox *sandbox, struct http_request *request, enum record_kind kind) {
  struct record_fields fields = {
      .kind = kind,
      .time_us = clock_wall_us(),
      .bearer = sandbox_bearer(request),
      .wamid = http_request_header(request, "x-wahook-id"),
      .body = http_request_body(request),
  };
  record_add(&sandbox->chats, &fields);
}

static const struct json *parse(struct sandbox *sandbox, struct http_request *request) {
  const struct json *object = NULL;
  arena_reset(&sandbox->arena);
  if (json_parse(&sandbox->arena, http_request_body(request), NULL, &object, NULL) != ERR_OK || object->type != JSON_OBJECT) return NULL;
  return object;
}

static void refuse(struct http_request *request, const char *message) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  json_open(&w, "error", '{');
  json_put_string(&w, "message", message);
  json_put_string(&w, "type", "invalid_request_error");
  json_put_null(&w, "param");
  json_put_null(&w, "code");
  json_close(&w, '}');
  json_close(&w, '}');
  http_respond_json(request, 400, buf_span(&body));
  buf_free(&body);
}

// A message's content is text, or a list of parts of which some are text.
static struct span content_of(const struct json *message) {
  const struct json *content = json_get(message, "content");
  if (content && content->type == JSON_STRING) return content->text;
  for (const struct json *part = content && content->type == JSON_ARRAY ? content->child : NULL; part; part = part->next)
    if (json_get_text(part, "text").ptr) return json_get_text(part, "text");
  return SPAN("");
}

static void write_completion(const struct json *asked, struct span said, unsigned turn, size_t prompt_bytes, struct buf *out) {
  struct buf content = {0};
  buf_printf(&content, "You said: %.*s (turn %u)", SPAN_FMT(said), turn);
  struct span model = json_get_text(asked, "model");
  char id[40];
  snprintf(id, sizeof id, "chatcmpl-%016llx", (unsigned long long)random_u64());
  // About four bytes a token: enough for whoever reads the numbers.
  int64_t prompt = (int64_t)(prompt_bytes / 4 + 1), completion = (int64_t)(content.len / 4 + 1);
  struct json_writer w;
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_put_string(&w, "id", id);
  json_put_string(&w, "object", "chat.completion");
  json_put_i64(&w, "created", clock_wall_us() / 1000000);
  json_put_text(&w, "model", model.len ? model : SPAN("sandbox"));
  json_open(&w, "choices", '[');
  json_open(&w, NULL, '{');
  json_put_i64(&w, "index", 0);
  json_open(&w, "message", '{');
  json_put_string(&w, "role", "assistant");
  json_put_text(&w, "content", buf_span(&content));
  json_close(&w, '}');
  json_put_string(&w, "finish_reason", "stop");
  json_close(&w, '}');
  json_close(&w, ']');
  json_open(&w, "usage", '{');
  json_put_i64(&w, "prompt_tokens", prompt);
  json_put_i64(&w, "completion_tokens", completion);
  json_put_i64(&w, "total_tokens", prompt + completion);
  json_close(&w, '}');
  json_close(&w, '}');
  buf_free(&content);
}

void sandbox_on_chat(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  const struct json *asked = parse(sandbox, request);
  const struct json *messages = json_get(asked, "messages");
  if (!messages || messages->type != JSON_ARRAY || messages->count == 0) {
    refuse(request, "'messages' must be a list of messages");
    return;
  }
  if (json_bool(json_get(asked, "stream"), false)) {
    refuse(request, "the sandbox does not stream");
    return;
  }
  keep(sandbox, request, RECORD_CHAT);
  struct span said = SPAN("");
  unsigned turn = 0;
  for (const struct json *m = messages->child; m; m = m->next) {
    if (!span_eq(json_get_text(m, "role"), SPAN("user"))) continue;
    said = content_of(m);
    turn++;
  }
  struct buf answer = {0};
  write_completion(asked, said, turn, messages->raw.len, &answer);
  http_respond_json(request, 200, buf_span(&answer));
  buf_free(&answer);
}

// The http responder: {business, conversation, message} in, {"reply"} out.
void sandbox_on_responder(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  const struct json *asked = parse(sandbox, request);
  if (!asked) {
    http_respond_error(request, 400, "the body must be a JSON object");
    return;
  }
  keep(sandbox, request, RECORD_RESPONDER);
  struct span text = json_text(json_path(asked, "message.text"));
  if (!text.ptr) text = json_text(json_path(asked, "message.text.body"));
  struct buf reply = {0}, answer = {0};
  buf_printf(&reply, "You wrote: %.*s", SPAN_FMT(text.ptr ? text : SPAN("")));
  struct json_writer w;
  json_start(&w, &answer);
  json_open(&w, NULL, '{');
  json_put_text(&w, "reply", buf_span(&reply));
  json_close(&w, '}');
  http_respond_json(request, 200, buf_span(&answer));
  buf_free(&answer);
  buf_free(&reply);
}
