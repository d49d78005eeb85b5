// What is done to a delivery's body: signature, JSON, events, record. Runs in bench-stages.
#include <stdlib.h>
#include <string.h>

#include "stages.h"
#include "webhook.h"

struct work {
  struct hmac *hmac;
  struct arena arena;
  struct span body, signature;
  struct intake_event event;
  char record[4096];
  uint64_t events;
};

static void hmac_body(void *ctx, uint64_t n) {
  struct work *w = ctx;
  uint8_t out[32];
  for (uint64_t i = 0; i < n; i++)
    hmac_sha256(w->hmac, w->body, out);
}

static void check_signature(void *ctx, uint64_t n) {
  struct work *w = ctx;
  for (uint64_t i = 0; i < n; i++)
    if (signature__check(w->signature, w->body, &w->hmac, 1) != SIGNATURE_OK) die("the signature is wrong");
}

static void parse_json(void *ctx, uint64_t n) {
  struct work *w = ctx;
  const struct json *out;
  for (uint64_t i = 0; i < n; i++) {
    arena_reset(&w->arena);
    if (json_parse(&w->arena, w->body, NULL, &out, NULL) != ERR_OK) die("the body is no JSON");
  }
}

static void on_event(void *ctx, const struct intake_event *event) {
  struct work *w = ctx;
  w->events++;
  w->event = *event;
}

static void split_events(void *ctx, uint64_t n) {
  struct work *w = ctx;
  for (uint64_t i = 0; i < n; i++) {
    arena_reset(&w->arena);
    if (!webhook__events(&w->arena, w->body, 1, on_event, w)) die("the body was not read");
  }
}

static void encode_record(void *ctx, uint64_t n) {
  struct work *w = ctx;
  for (uint64_t i = 0; i < n; i++)
    intake_record_encode(&w->event, w->record);
}

static void decode_record(void *ctx, uint64_t n) {
  struct work *w = ctx;
  struct intake_event event;
  size_t consumed;
  for (uint64_t i = 0; i < n; i++)
    if (intake_record_decode((struct span){w->record, sizeof w->record}, &event, &consumed) != ERR_OK) die("the record is not readable");
}

void stages_webhook(void) {
  static const char field[] = "X-Hub-Signature-256: ";
  static struct work w;
  struct span request = stage_request(2);
  const char *at = memmem(request.ptr, request.len, field, sizeof field - 1);
  w.signature = (struct span){at + sizeof field - 1, 71};
  w.body = stage_body(request);
  w.hmac = hmac_new(SPAN(STAGE_SECRET));
  stage_time("webhook: HMAC-SHA256 of 700 bytes", hmac_body, &w);
  stage_time("webhook: check a signature", check_signature, &w);
  stage_time("webhook: parse the JSON", parse_json, &w);
  stage_time("webhook: JSON and its event", split_events, &w);
  split_events(&w, 1);
  if (intake_record_size(&w.event) > sizeof w.record) die("the record is larger than expected");
  stage_time("intake: encode a record", encode_record, &w);
  encode_record(&w, 1);
  stage_time("intake: decode a record", decode_record, &w);
  hmac_free(w.hmac);
  arena_free(&w.arena);
}
