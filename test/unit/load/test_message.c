// The load generator's requests: each message is its own, signed over its exact bytes, and the same again when it is made again.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define SECRET "app-secret-123"

static struct arena arena;
static struct target target = {.host = "127.0.0.1:8000"};

static struct messages *make(const char *phones, uint64_t conversations) {
  struct load_options o = {.path = "/hook", .app_secret = SECRET, .phones = (char *)(uintptr_t)phones, .conversations = conversations};
  struct messages *m = NULL;
  struct why why = {{0}};
  assert_int_equal(messages_new(&o, &target, &m, &why), ERR_OK);
  return m;
}

static struct span body_of(struct span request) {
  const char *body = memmem(request.ptr, request.len, "\r\n\r\n", 4);
  assert_non_null(body);
  return span_from(request, (size_t)(body - request.ptr) + 4);
}

static bool has(struct span request, const char *text) {
  return memmem(request.ptr, request.len - body_of(request).len, text, strlen(text)) != NULL;
}

static void check_signature(struct span request, const char *secret) {
  uint8_t digest[32];
  char hex[65], line[128];
  struct hmac *hmac = hmac_new(span_of(secret));
  hmac_sha256(hmac, body_of(request), digest);
  hmac_free(hmac);
  hex_encode(digest, sizeof digest, hex);
  snprintf(line, sizeof line, "\r\nX-Hub-Signature-256: sha256=%s\r\n", hex);
  assert_true(has(request, line));
}

static const struct json *parse(struct span request) {
  const struct json *j = NULL;
  arena_reset(&arena);
  assert_int_equal(json_parse(&arena, body_of(request), NULL, &j, NULL), ERR_OK);
  return json_path(j, "entry.0.changes.0.value");
}

static void test_a_message_is_one_that_meta_could_send(void **state) {
  (void)state;
  struct messages *m = make("10001,10002", 50);
  struct span request = messages_request(m, 53, false);
  assert_int_equal(body_of(request).len, 700);
  assert_true(span_starts(request, SPAN("POST /hook HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n")));
  assert_true(has(request, "\r\nContent-Length: 700\r\n"));
  assert_false(has(request, "Connection:"));
  check_signature(request, SECRET);
  const struct json *value = parse(request);
  assert_true(span_eq(json_text(json_path(value, "metadata.phone_number_id")), SPAN("10002")));
  assert_true(span_eq(json_text(json_path(value, "messages.0.from")), SPAN("491700000003")));
  assert_true(span_eq(json_text(json_path(value, "contacts.0.wa_id")), SPAN("491700000003")));
  assert_true(span_eq(json_text(json_path(value, "messages.0.id")), messages_id(m, 53)));
  assert_true(span_starts(json_text(json_path(value, "messages.0.text.body")), SPAN("0000000053 ")));
  int64_t now_s = clock_wall_us() / 1000000, then_s = json_i64(json_path(value, "messages.0.timestamp"), 0);
  assert_true(then_s <= now_s && now_s - then_s < 1000);
  messages_free(m);
}

static void test_a_closing_request_has_the_same_body(void **state) {
  (void)state;
  struct messages *m = make("10001", 1);
  char *body = span_dup(body_of(messages_request(m, 7, false)));
  struct span request = messages_request(m, 7, true);
  assert_true(has(request, "\r\nConnection: close\r\n"));
  assert_true(span_eq(body_of(request), span_of(body)));
  check_signature(request, SECRET);
  free(body);
  messages_free(m);
}

static void test_prepared_or_not_the_bytes_are_the_same(void **state) {
  (void)state;
  struct messages *m = make("10001,10002,10003", 10);
  char *before[8];
  for (uint64_t n = 0; n < COUNT_OF(before); n++)
    before[n] = span_dup(messages_request(m, n, n % 2));
  messages_prepare(m, 5); // a part of them
  for (uint64_t n = COUNT_OF(before); n-- > 0;) {
    assert_true(span_eq(messages_request(m, n, n % 2), span_of(before[n])));
    check_signature(messages_request(m, n, n % 2), SECRET);
    free(before[n]);
  }
  messages_free(m);
}

static void test_ids_differ_within_a_run_and_between_runs(void **state) {
  (void)state;
  struct messages *m = make("10001", 1), *other = make("10001", 1);
  char *id = span_dup(messages_id(m, 1));
  assert_false(span_eq(messages_id(m, 2), span_of(id)));
  assert_false(span_eq(messages_id(other, 1), span_of(id)));
  assert_true(span_eq(messages_id(m, 1), span_of(id)));
  free(id);
  messages_free(m);
  messages_free(other);
}

static void test_a_long_phone_number_id_makes_a_longer_body(void **state) {
  (void)state;
  char phone[LOAD_PHONE_ID_MAX + 2];
  memset(phone, '1', sizeof phone - 1);
  phone[sizeof phone - 2] = '\0';
  struct messages *m = make(phone, 1);
  struct span request = messages_request(m, 0, false);
  assert_true(body_of(request).len >= 700);
  check_signature(request, SECRET);
  assert_true(span_eq(json_text(json_path(parse(request), "metadata.phone_number_id")), span_of(phone)));
  messages_free(m);
}

static void test_a_phone_number_id_for_each_conversation(void **state) {
  (void)state;
  struct messages *m = make("12#,34#5", 1000);
  struct span request = messages_request(m, 1006, false);
  check_signature(request, SECRET);
  assert_true(span_eq(json_text(json_path(parse(request), "metadata.phone_number_id")), SPAN("1200000006")));
  request = messages_request(m, 7, true);
  check_signature(request, SECRET);
  assert_true(span_eq(json_text(json_path(parse(request), "metadata.phone_number_id")), SPAN("34000000075")));
  messages_free(m);
}

static void test_bad_phone_number_ids(void **state) {
  (void)state;
  static const char *const bad[] = {"", ",", "1,", "1,,2", "1 2", "1\"2", "1##"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct load_options o = {.path = "/", .app_secret = SECRET, .phones = (char *)(uintptr_t)bad[i], .conversations = 1};
    struct messages *m = NULL;
    struct why why = {{0}};
    assert_int_equal(messages_new(&o, &target, &m, &why), ERR_CONFIG);
    assert_true(*why.text && !m);
  }
}

static void test_a_get_has_no_body(void **state) {
  (void)state;
  struct load_options o = {.path = "/health", .get = true};
  struct messages *m = NULL;
  struct why why = {{0}};
  assert_int_equal(messages_new(&o, &target, &m, &why), ERR_OK);
  struct span request = messages_request(m, 3, false);
  assert_true(span_starts(request, SPAN("GET /health HTTP/1.1\r\n")) && span_ends(request, SPAN("\r\n\r\n")));
  assert_false(has(request, "Content-Length") || has(request, "X-Hub-Signature-256"));
  messages_prepare(m, 10);
  assert_true(has(messages_request(m, 3, true), "\r\nConnection: close\r\n"));
  messages_free(m);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_message_is_one_that_meta_could_send),
      cmocka_unit_test(test_a_closing_request_has_the_same_body),
      cmocka_unit_test(test_prepared_or_not_the_bytes_are_the_same),
      cmocka_unit_test(test_ids_differ_within_a_run_and_between_runs),
      cmocka_unit_test(test_a_long_phone_number_id_makes_a_longer_body),
      cmocka_unit_test(test_a_phone_number_id_for_each_conversation),
      cmocka_unit_test(test_bad_phone_number_ids),
      cmocka_unit_test(test_a_get_has_no_body),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
