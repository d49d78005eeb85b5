// The phone's side: sends a message to the webhook as Meta would, and performs the webhook's verification. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POST_MAGIC   0x506f7374u // "Post"
#define DEFAULT_FROM "491701234567"
#define DEFAULT_NAME "Sandbox phone"

static const char phone_sent[] = "sent"; // until the webhook answered

// A request to us that waits for the webhook's answer.
struct post {
  uint32_t magic;
  struct sandbox *sandbox;
  struct http_ticket ticket;
  struct record *record; // of an inbound message
  char expected[64];     // the challenge of a verification
};

static struct post *post_new(struct sandbox *sandbox, struct http_request *request) {
  struct post *post = xcalloc(1, sizeof *post);
  *post = (struct post){.magic = POST_MAGIC, .sandbox = sandbox, .ticket = http_request_ticket(request)};
  return post;
}

static void post_free(struct post *post) {
  if (post->record) record_release(post->record);
  post->magic = 0;
  free(post);
}

// Common to both answers: what the webhook said. 502 when it said nothing.
static int put_outcome(struct json_writer *w, const struct outbound_response *response) {
  json_put_i64(w, "status", response->result == ERR_OK ? response->status : 0);
  json_put_i64(w, "duration_us", response->duration_us);
  if (response->result != ERR_OK) {
    json_put_string(w, "detail", response->error);
  } else {
    struct span body = response->body.ptr ? response->body : SPAN("");
    if (body.len > 1000) body.len = 1000;
    json_put_text(w, "body", body);
  }
  return response->result == ERR_OK ? 200 : 502;
}

static void on_delivered(void *ctx, const struct outbound_response *response) {
  struct post *post = ctx;
  ALWAYS(post->magic == POST_MAGIC);
  // The answer to the message may have been quicker than the webhook's: then it is read already.
  bool taken = response->result == ERR_OK && response->status == 200;
  if (post->record->is.status == phone_sent) record_set_status(&post->sandbox->record, post->record, taken ? "delivered" : "failed");
  struct http_request *request = post->sandbox->closing ? NULL : http_request_find(post->sandbox->server, post->ticket);
  if (request) {
    struct buf body = {0};
    struct json_writer w;
    json_start(&w, &body);
    json_open(&w, NULL, '{');
    json_put_text(&w, "wamid", post->record->is.wamid);
    json_put_u64(&w, "ordinal", post->record->ordinal);
    int status = put_outcome(&w, response);
    json_close(&w, '}');
    http_respond_json(request, status, buf_span(&body));
    buf_free(&body);
  }
  post_free(post);
}

// From the request's members, with defaults. `message` may bring its own from, from_user_id and id.
static void read_inbound(const struct json *object, struct inbound *inbound, const char *fresh_wamid) {
  *inbound = (struct inbound){.message = json_get(object, "message"), .text = json_get_text(object, "text")};
  inbound->from = json_get_text(object, "from");
  if (!inbound->from.ptr) inbound->from = json_get_text(inbound->message, "from");
  inbound->user_id = json_get_text(object, "user_id");
  if (!inbound->user_id.ptr) inbound->user_id = json_get_text(inbound->message, "from_user_id");
  if (!inbound->from.len && !inbound->user_id.len) inbound->from = SPAN(DEFAULT_FROM);
  if (inbound->from.len && inbound->from.ptr[0] == '+') inbound->from = span_from(inbound->from, 1);
  inbound->name = json_get_text(object, "name");
  if (!inbound->name.len) inbound->name = SPAN(DEFAULT_NAME);
  inbound->wamid = json_get_text(object, "wamid");
  if (!inbound->wamid.ptr) inbound->wamid = json_get_text(inbound->message, "id");
  if (!inbound->wamid.ptr) inbound->wamid = span_of(fresh_wamid);
}

static struct record *keep_inbound(struct sandbox *sandbox, const struct webhook_head *head, const struct inbound *inbound) {
  struct buf body = {0};
  struct json_writer w;
  json_start(&w, &body);
  sandbox_webhook_message_object(inbound, head->now_us, NULL, &w);
  struct record_fields fields = {
      .kind = RECORD_INBOUND,
      .time_us = head->now_us,
      .phone_number_id = head->phone_number_id,
      .wamid = inbound->wamid,
      .user = inbound->from.len ? inbound->from : inbound->user_id,
      .body = buf_span(&body),
      .status = phone_sent,
  };
  struct record *record = record_add(&sandbox->record, &fields);
  record_retain(record);
  buf_free(&body);
  return record;
}

void sandbox_on_inbound(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  const struct json *object = NULL;
  arena_reset(&sandbox->arena);
  if (json_parse(&sandbox->arena, http_request_body(request), NULL, &object, NULL) != ERR_OK || object->type != JSON_OBJECT) {
    http_respond_error(request, 400, "the body must be a JSON object");
    return;
  }
  char wamid[80];
  struct inbound inbound;
  sandbox_new_wamid(wamid);
  read_inbound(object, &inbound, wamid);
  if ((!inbound.text.ptr && !inbound.message) || (inbound.message && inbound.message->type != JSON_OBJECT)) {
    http_respond_error(request, 400, "\"text\" or \"message\" (an object) is required");
    return;
  }
  struct span waba = json_get_text(object, "waba_id");
  char *own_waba = waba.len ? span_dup(waba) : NULL;
  struct webhook_head head = {
      .waba_id = own_waba ? own_waba : sandbox->options.waba_id,
      .phone_number_id = json_get_text(object, "phone_number_id"),
      .now_us = clock_wall_us(),
  };
  if (!head.phone_number_id.len) head.phone_number_id = span_of(sandbox->options.phone_number_id);
  struct post *post = post_new(sandbox, request);
  post->record = keep_inbound(sandbox, &head, &inbound);
  struct buf body = {0};
  sandbox_webhook_message(&head, &inbound, &body);
  sandbox_post_webhook(sandbox, buf_span(&body), on_delivered, post);
  buf_free(&body);
  free(own_waba);
}

// ---------------------------------------------------------------- verification

static void on_verified(void *ctx, const struct outbound_response *response) {
  struct post *post = ctx;
  ALWAYS(post->magic == POST_MAGIC);
  struct http_request *request = post->sandbox->closing ? NULL : http_request_find(post->sandbox->server, post->ticket);
  if (request) {
    struct buf body = {0};
    struct json_writer w;
    json_start(&w, &body);
    json_open(&w, NULL, '{');
    json_put_bool(&w, "verified",
                  response->result == ERR_OK && response->status == 200 && span_eq(response->body, span_of(post->expected)));
    json_put_string(&w, "challenge", post->expected);
    int status = put_outcome(&w, response);
    json_close(&w, '}');
    http_respond_json(request, status, buf_span(&body));
    buf_free(&body);
  }
  post_free(post);
}

static void add_percent(struct buf *out, const char *text) { // RFC 3986 section 2.1
  for (const char *p = text; *p; p++) {
    bool unreserved = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~", *p);
    if (unreserved)
      buf_add_byte(out, *p);
    else
      buf_printf(out, "%%%02X", (unsigned char)*p);
  }
}

void sandbox_on_verify(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  if (!sandbox->options.verify_token[0]) {
    http_respond_error(request, 400, "the sandbox was started without --verify-token");
    return;
  }
  struct post *post = post_new(sandbox, request);
  snprintf(post->expected, sizeof post->expected, "%llu", (unsigned long long)(random_u64() >> 16));
  struct buf url = {0};
  buf_printf(&url, "%s%chub.mode=subscribe&hub.challenge=%s&hub.verify_token=", sandbox->options.webhook,
             strchr(sandbox->options.webhook, '?') ? '&' : '?', post->expected);
  add_percent(&url, sandbox->options.verify_token);
  struct outbound_request get = {.url = url.data};
  outbound_start(sandbox->outbound, &get, on_verified, post);
  buf_free(&url);
}
