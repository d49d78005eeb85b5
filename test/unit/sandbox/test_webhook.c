// Webhooks as the sandbox writes them: Meta's escaping and its signature, messages given in part or whole, statuses grouped by number.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tools/sandbox/sandbox.h"

static struct arena arena;

static const struct json *parse(struct span text) {
  const struct json *j = NULL;
  assert_int_equal(json_parse(&arena, text, NULL, &j, NULL), ERR_OK);
  return j;
}
static int set_up(void **state) {
  (void)state;
  crypto_start();
  arena_init(&arena, 4096, 0);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  arena_free(&arena);
  return 0;
}

static void escapes_like_meta(void **state) {
  (void)state;
  struct buf out = {0};
  sandbox_meta_escape(SPAN("{\"a/b\":\"\xc3\xa4\xc3\xb6\xc3\xa5 / \xf0\x9f\x98\x8a \\\" \\/ \\u00e4 \xe2\x82\xac\",\"n\":1}"), &out);
  assert_string_equal(out.data, "{\"a\\/b\":\"\\u00e4\\u00f6\\u00e5 \\/ \\ud83d\\ude0a \\\" \\/ \\u00e4 \\u20ac\",\"n\":1}");
  // The vector of Meta's documentation: the signature is over the escaped form.
  buf_clear(&out);
  sandbox_meta_escape(SPAN("{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"value\":{\"text\":"
                           "\"\xc3\xa4\xc3\xb6\xc3\xa5 / \xf0\x9f\x98\x8a\"},\"field\":\"messages\"}]}]}"),
                      &out);
  struct hmac *hmac = hmac_new(SPAN("app-secret-123"));
  uint8_t mac[32];
  char hex[65];
  hmac_sha256(hmac, buf_span(&out), mac);
  hex_encode(mac, sizeof mac, hex);
  assert_string_equal(hex, "37ca8536aae3cb0bf764bf8a7e39524c035a8b454eb1dff9fddceb5d8d599bf2");
  hmac_free(hmac);
  buf_free(&out);
}

static const struct json *message_of(const struct inbound *inbound, struct buf *out) {
  struct webhook_head head = {.waba_id = "100", .phone_number_id = SPAN("555"), .now_us = 1700000000999999};
  buf_clear(out);
  sandbox_webhook_message(&head, inbound, out);
  return parse(buf_span(out));
}

static void a_text_becomes_a_webhook(void **state) {
  (void)state;
  struct buf out = {0};
  struct inbound inbound = {.text = SPAN("h\xc3\xa4llo/\"x\""), .from = SPAN("4917"), .name = SPAN("Ada"), .wamid = SPAN("wamid.1")};
  const struct json *j = message_of(&inbound, &out);
  for (size_t i = 0; i < out.len; i++)
    assert_true((unsigned char)out.data[i] < 0x80);
  assert_true(span_eq(json_get_text(j, "object"), SPAN("whatsapp_business_account")));
  assert_true(span_eq(json_text(json_path(j, "entry.0.id")), SPAN("100")));
  const struct json *value = json_path(j, "entry.0.changes.0.value");
  assert_true(span_eq(json_text(json_path(value, "metadata.phone_number_id")), SPAN("555")));
  assert_true(span_eq(json_text(json_path(value, "contacts.0.wa_id")), SPAN("4917")));
  assert_true(span_eq(json_text(json_path(value, "messages.0.text.body")), inbound.text));
  assert_true(span_eq(json_text(json_path(value, "messages.0.type")), SPAN("text")));
  assert_true(span_eq(json_text(json_path(value, "messages.0.timestamp")), SPAN("1700000000")));
  assert_true(span_eq(json_text(json_path(j, "entry.0.changes.0.field")), SPAN("messages")));
  buf_free(&out);
}

static void a_message_object_passes_through(void **state) {
  (void)state;
  struct buf out = {0};
  struct inbound inbound = {
      .message = parse(SPAN("{\"id\":\"old\",\"timestamp\":\"5\",\"type\":\"hologram\",\"hologram\":{\"deep\":[1,{\"a\":null}]}}")),
      .user_id = SPAN("DE.ABC"),
      .name = SPAN("Ada"),
      .wamid = SPAN("wamid.2"),
  };
  const struct json *j = message_of(&inbound, &out);
  const struct json *message = json_path(j, "entry.0.changes.0.value.messages.0");
  assert_true(span_eq(json_get_text(message, "id"), SPAN("wamid.2")));
  assert_true(span_eq(json_get_text(message, "timestamp"), SPAN("5")));
  assert_true(span_eq(json_get_text(message, "from_user_id"), SPAN("DE.ABC")));
  assert_null(json_get(message, "from"));
  assert_null(json_get(message, "text"));
  assert_true(span_eq(json_get(message, "hologram")->raw, SPAN("{\"deep\":[1,{\"a\":null}]}")));
  assert_null(json_path(j, "entry.0.changes.0.value.contacts.0.wa_id"));
  assert_int_equal(json_get(message, "id")->next ? 1 : 0, 1); // not twice:
  assert_int_equal(message->count, 5);
  buf_free(&out);
}

static void statuses_are_grouped_by_number(void **state) {
  (void)state;
  struct record_list list = {0};
  struct record_fields fields = {.kind = RECORD_MESSAGE, .body = SPAN("{}"), .callback = SPAN("wk-1/2")};
  struct status_update updates[3];
  static const char *const numbers[] = {"1", "1", "2"}, *const users[] = {"4917", "DE.X", "4918"};
  for (int i = 0; i < 3; i++) {
    fields.phone_number_id = span_of(numbers[i]);
    fields.user = span_of(users[i]);
    fields.wamid = SPAN("wamid.x");
    updates[i] = (struct status_update){record_add(&list, &fields), "delivered"};
  }
  struct buf out = {0};
  sandbox_webhook_statuses("100", updates, 3, 1700000000000000, &out);
  const struct json *changes = json_path(parse(buf_span(&out)), "entry.0.changes");
  assert_int_equal(changes->count, 2);
  const struct json *first = json_path(changes, "0.value.statuses");
  assert_int_equal(first->count, 2);
  assert_true(span_eq(json_text(json_path(first, "0.recipient_id")), SPAN("4917")));
  assert_true(span_eq(json_text(json_path(first, "1.recipient_user_id")), SPAN("DE.X")));
  assert_true(span_eq(json_text(json_path(first, "0.biz_opaque_callback_data")), SPAN("wk-1/2")));
  assert_true(span_eq(json_text(json_path(changes, "1.value.metadata.phone_number_id")), SPAN("2")));
  buf_free(&out);
  record_forget(&list);
}

static void wamids_differ(void **state) {
  (void)state;
  char a[80], b[80];
  sandbox_new_wamid(a);
  sandbox_new_wamid(b);
  assert_memory_equal(a, "wamid.HBg", 8);
  assert_string_not_equal(a, b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(escapes_like_meta),
      cmocka_unit_test(a_text_becomes_a_webhook),
      cmocka_unit_test(a_message_object_passes_through),
      cmocka_unit_test(statuses_are_grouped_by_number),
      cmocka_unit_test(wamids_differ),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
