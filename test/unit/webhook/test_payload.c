// Payloads as events: a table of bodies and what each gives, one line an event: kind phone user wamid type.
#include "wahook/base.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "webhook.h"

#define VALUE(inside) "{\"entry\":[{\"id\":\"w1\",\"changes\":[{\"field\":\"messages\",\"value\":{" inside "}}]}]}"
#define META          "\"metadata\":{\"phone_number_id\":\"100\"}"
#define TEXT(id)      "{\"id\":\"" id "\",\"from\":\"49\",\"type\":\"text\",\"text\":{\"body\":\"x\"}}"

static const char *const kinds[] = {
    [INTAKE_MESSAGE] = "message", [INTAKE_STATUS] = "status", [INTAKE_ERROR] = "error",          [INTAKE_ACCOUNT] = "account",
    [INTAKE_ECHO] = "echo",       [INTAKE_OTHER] = "other",   [INTAKE_QUARANTINE] = "quarantine"};

static void write_event(void *ctx, const struct intake_event *e) {
  buf_printf(ctx, "%s %.*s %.*s %.*s %.*s\n", kinds[e->kind], SPAN_FMT(e->phone_number_id), SPAN_FMT(e->user), SPAN_FMT(e->wamid),
             SPAN_FMT(e->type));
  assert_true(e->raw.len > 0);
  assert_int_equal(e->received_us, 7);
}

static const struct {
  const char *body, *events;
} payloads[] = {
    {VALUE(META ",\"messages\":[" TEXT("a") "," TEXT("b") "]"), "message 100 49 a text\nmessage 100 49 b text\n"},
    // The replaced service's scripts: no object, field, ids or timestamp.
    {"{\"entry\":[{\"changes\":[{\"value\":{" META ",\"messages\":[{\"from\":\"49\",\"type\":\"text\",\"text\":{\"body\":\"x\"}}]}}]}]}",
     "message 100 49  text\n"},
    // Users without a phone number.
    {VALUE(META ",\"messages\":[{\"id\":\"a\",\"from_user_id\":\"DE.X1\",\"type\":\"text\"}]"), "message 100 DE.X1 a text\n"},
    {VALUE(META ",\"contacts\":[{\"user_id\":\"DE.X2\"}],\"messages\":[{\"id\":\"a\",\"type\":\"text\"}]"), "message 100 DE.X2 a text\n"},
    {VALUE(META ",\"statuses\":[{\"id\":\"s\",\"status\":\"read\",\"recipient_id\":\"49\"}]"), "status 100 49 s read\n"},
    {VALUE(META ",\"statuses\":[{\"status\":\"read\"}]"), "quarantine 100   status without id or status\n"},
    {VALUE(META ",\"errors\":[{\"code\":131051,\"title\":\"oops\"}]"), "error 100   oops\n"},
    // Unknown types and fields are kept.
    {VALUE(META ",\"messages\":[{\"id\":\"a\",\"from\":\"49\",\"type\":\"hologram\"}]"), "message 100 49 a hologram\n"},
    {VALUE(META ",\"messages\":[{\"id\":\"a\",\"from\":\"49\"}]"), "message 100 49 a unknown\n"},
    {VALUE(META ",\"groups\":[{\"id\":\"g\"}]"), "other 100   messages\n"},
    {"{\"entry\":[{\"id\":\"w1\",\"changes\":[{\"field\":\"account_update\",\"value\":{\"event\":\"DISABLED_UPDATE\"}}]}]}",
     "account    account_update\n"},
    {"{\"entry\":[{\"id\":\"w1\",\"changes\":[{\"field\":\"history\",\"value\":{" META "}}]}]}", "other 100   history\n"},
    {"{\"entry\":[{\"id\":\"w1\",\"changes\":[{\"field\":\"smb_message_echoes\",\"value\":{" META
     ",\"message_echoes\":[{\"id\":\"e\",\"to\":\"49\",\"type\":\"text\"}]}}]}]}",
     "echo 100 49 e text\n"},
    // Broken parts, whole neighbours.
    {VALUE(META ",\"messages\":[" TEXT("a") ",\"broken\"," TEXT("b") ",null,[]]"),
     "message 100 49 a text\nquarantine 100   an object was expected\nmessage 100 49 b text\nquarantine 100   an object was "
     "expected\nquarantine 100   an object was expected\n"},
    {VALUE(META ",\"messages\":{}"), "quarantine 100   a list was expected\n"},
    {VALUE("\"messages\":[" TEXT("a") "]"), "quarantine    no metadata.phone_number_id\n"},
    {VALUE("\"metadata\":{\"phone_number_id\":\"1 0\"},\"messages\":[" TEXT("a") "]"), "quarantine    phone_number_id is not valid\n"},
    {"{\"entry\":[5,{\"id\":\"w\"},{\"changes\":[7,{\"field\":\"x\"}]}]}",
     "quarantine    an object was expected\nquarantine    entry without changes\nquarantine    an object was expected\nquarantine    "
     "change without a value\n"},
    {"{\"entry\":[]}", ""},
    // Unreadable as a whole.
    {"{\"entry\":", "quarantine    unreadable JSON\n"},
    {"[]", "quarantine    no list of entries\n"},
    {"{}", "quarantine    no list of entries\n"},
    {"{\"entry\":[]} x", "quarantine    unreadable JSON\n"},
    {"{\"a\":\"\xff\"}", "quarantine    unreadable JSON\n"},
};

static void each_payload_gives_its_events(void **state) {
  (void)state;
  struct arena arena;
  arena_init(&arena, 4096, 0);
  for (size_t i = 0; i < COUNT_OF(payloads); i++) {
    struct buf out = {0};
    arena_reset(&arena);
    webhook__events(&arena, span_of(payloads[i].body), 7, write_event, &out);
    assert_string_equal(out.data ? out.data : "", payloads[i].events);
    buf_free(&out);
  }
  arena_free(&arena);
}

static void keep_raw(void *ctx, const struct intake_event *e) {
  buf_add_span(ctx, e->raw);
}

static void raw_bytes_are_kept_exactly(void **state) {
  (void)state;
  struct arena arena;
  arena_init(&arena, 4096, 0);
#define RAW "{\"id\" : \"a\\/\\u00e4\", \"from\":\"1\"}"
  struct buf out = {0};
  webhook__events(&arena, span_of("{\"entry\":[{\"changes\":[{\"value\":{" META ",\"messages\":[ " RAW " ]}}]}]}"), 7, keep_raw, &out);
  assert_string_equal(out.data, RAW);
  buf_free(&out);
  arena_free(&arena);
}

static void count_event(void *ctx, const struct intake_event *event) {
  size_t *counts = ctx;
  counts[event->kind]++;
}

static void a_thousand_updates_are_a_thousand_events(void **state) {
  (void)state;
  struct arena arena;
  arena_init(&arena, 4096, 0);
  struct buf body = {0};
  buf_add_text(&body, "{\"entry\":[{\"changes\":[");
  for (int i = 0; i < 1000; i++)
    buf_printf(&body, "%s{\"value\":{\"metadata\":{\"phone_number_id\":\"%d\"},\"messages\":[%s]}}", i ? "," : "", i % 20,
               i == 500 ? "1" : TEXT("a"));
  buf_add_text(&body, "]}]}");
  size_t counts[INTAKE_QUARANTINE + 1] = {0};
  assert_true(webhook__events(&arena, buf_span(&body), 7, count_event, counts));
  assert_int_equal(counts[INTAKE_MESSAGE], 999);
  assert_int_equal(counts[INTAKE_QUARANTINE], 1);
  buf_free(&body);
  arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_payload_gives_its_events),
      cmocka_unit_test(raw_bytes_are_kept_exactly),
      cmocka_unit_test(a_thousand_updates_are_a_thousand_events),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
