// The responders: what they are asked, what their answers become.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "outbound/world.h"
#include "responder.h"

// What an answer was.
struct kept {
  unsigned calls;
  enum err result;
  bool permanent;
  int64_t retry_after_ms;
  size_t count;
  char first[512], last[512], text[512], error[320];
};

static void keep(void *ctx, const struct responder_answer *a) {
  struct kept *kept = ctx;
  kept->calls++;
  kept->result = a->result;
  kept->permanent = a->permanent;
  kept->retry_after_ms = a->retry_after_ms;
  kept->count = a->count;
  if (a->count) snprintf(kept->first, sizeof kept->first, "%.*s", SPAN_FMT(a->messages[0]));
  if (a->count) snprintf(kept->last, sizeof kept->last, "%.*s", SPAN_FMT(a->messages[a->count - 1]));
  snprintf(kept->text, sizeof kept->text, "%.*s", SPAN_FMT(a->text));
  snprintf(kept->error, sizeof kept->error, "%s", a->error);
}

static void keep_and_stop(void *ctx, const struct responder_answer *a) {
  keep(ctx, a);
  loop_stop(loop);
}

static const struct responder_turn turns[] = {{true, {"before", 6}}, {false, {"answer", 6}}};

static struct responder_question question(const char *text) {
  return (struct responder_question){
      .business_id = SPAN("b1"),
      .business_name = SPAN("Shop"),
      .sub_domain = SPAN("shop"),
      .phone_number_id = SPAN("55"),
      .user = SPAN("358"),
      .profile_name = SPAN("K"),
      .session = SPAN("shop:358"),
      .wamid = SPAN("wamid.1"),
      .type = SPAN("text"),
      .text = span_of(text),
      .raw = SPAN("{\"id\":\"wamid.1\"}"),
      .job = 9,
      .received_us = 1772368496789000,
      .turns = turns,
      .turn_count = 2,
  };
}

static struct kept asked(struct responder_spec spec, const char *path, const char *text) {
  struct kept kept = {0};
  char url[128];
  if (path) {
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", server.port, path);
    spec.url = url;
  }
  struct responder_question q = question(text);
  responder_ask(outbound, &spec, &q, keep_and_stop, &kept);
  assert_int_equal(kept.calls, 0);
  loop_run(loop);
  assert_int_equal(kept.calls, 1);
  return kept;
}

static void test_names(void **state) {
  (void)state;
  enum responder_type type = RESPONDER_ECHO;
  assert_int_equal(responder_type_parse(SPAN("openai"), &type), ERR_OK);
  assert_int_equal(type, RESPONDER_OPENAI);
  assert_int_equal(responder_type_parse(SPAN("Echo"), &type), ERR_NOT_FOUND);
  assert_string_equal(responder_type_name(RESPONDER_HTTP), "http");
}

static void test_echo(void **state) {
  (void)state;
  struct kept kept = asked((struct responder_spec){.type = RESPONDER_ECHO}, NULL, "hi \"you\"");
  assert_int_equal(kept.result, ERR_OK);
  assert_int_equal(kept.count, 1);
  assert_string_equal(kept.first, "{\"type\":\"text\",\"text\":{\"body\":\"hi \\\"you\\\"\"}}");
  assert_string_equal(kept.text, "hi \"you\"");
  assert_int_equal(asked((struct responder_spec){.type = RESPONDER_ECHO}, NULL, NULL).count, 0);
  assert_int_equal(asked((struct responder_spec){.type = RESPONDER_ECHO}, NULL, " \n ").count, 0);
}

static struct kept http_answer(const char *body) {
  struct kept kept = {0};
  struct ask *ask = responder__ask_new(keep, &kept);
  responder__http_answer(ask, span_of(body));
  responder__finish(ask);
  return kept;
}

static void test_http_answers(void **state) {
  (void)state;
  struct kept kept = http_answer("{\"reply\":\"ok \\u00e4\"}");
  assert_string_equal(kept.first, "{\"type\":\"text\",\"text\":{\"body\":\"ok ä\"}}");
  assert_string_equal(kept.text, "ok ä");
  assert_int_equal(http_answer("{\"reply\":\"\"}").count, 0);
  assert_int_equal(http_answer("{\"reply\":null}").result, ERR_OK);
  kept = http_answer("{\"messages\":[ {\"type\":\"text\",\"text\":{\"body\":\"a\"}} ,{\"type\":\"image\",\"image\":{\"id\":\"1\"}},"
                     "{\"type\":\"text\",\"text\":{\"body\":\"b\"}}]}");
  assert_int_equal(kept.count, 3);
  assert_string_equal(kept.first, "{\"type\":\"text\",\"text\":{\"body\":\"a\"}}");
  assert_string_equal(kept.text, "a\nb");
  assert_int_equal(http_answer("[{\"type\":\"x\"}]").count, 1);
  assert_int_equal(http_answer("{\"type\":\"x\"}").count, 1);
  assert_int_equal(http_answer("[]").count, 0);
  static const char *const bad[] = {
      "", "<html>", "{}", "null", "\"text\"", "{\"reply\":5}", "[1]", "{\"messages\":{}}", "[{\"type\":\"x\"},{}]"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    kept = http_answer(bad[i]);
    assert_int_equal(kept.result, ERR_FORMAT);
    assert_true(kept.permanent);
    assert_int_equal(kept.count, 0);
  }
  struct buf many = {0};
  buf_add_text(&many, "[");
  for (int i = 0; i < 51; i++)
    buf_add_text(&many, i ? ",{\"type\":\"x\"}" : "{\"type\":\"x\"}");
  buf_add_text(&many, "]");
  assert_int_equal(http_answer(many.data).result, ERR_TOO_LARGE);
  buf_free(&many);
}

static void test_long_texts_are_split(void **state) {
  (void)state;
  struct kept kept = {0};
  struct ask *ask = responder__ask_new(keep, &kept);
  struct buf text = {0};
  for (int i = 0; i < 4000; i++)
    buf_add_text(&text, "ä");
  buf_add_text(&text, " 12345");
  for (int i = 0; i < 3000; i++)
    buf_add_text(&text, "😊"); // 6000 UTF-16 units without a space
  responder__add_text(ask, buf_span(&text));
  assert_int_equal(ask->count, 3);
  for (size_t i = 0; i < ask->count; i++)
    assert_true(span_utf8(ask->messages[i]));
  assert_int_equal(ask->messages[0].len, 8000 + 34);         // up to the space, which is dropped
  assert_int_equal(ask->messages[1].len, 5 + 2045 * 4 + 34); // 5 + 2 * 2045 = 4095
  assert_int_equal(ask->messages[2].len, (3000 - 2045) * 4 + 34);
  responder__finish(ask);
  buf_free(&text);
}

static void sign(const char *key, struct span body, char out_hex[static 65]) {
  assert_string_equal(key, "secret");
  memset(out_hex, 'a', 64);
  out_hex[64] = '\0';
  assert_true(span_starts(body, SPAN("{")));
}

static void test_http_call(void **state) {
  (void)state;
  server_set_answer(&server, "200 OK", "{\"reply\":\"yes\"}");
  struct kept kept = asked((struct responder_spec){.type = RESPONDER_HTTP, .key = "secret", .sign = sign}, "/any", "hello");
  assert_string_equal(kept.text, "yes");
  assert_non_null(strstr(server.head, "X-Wahook-Id: wamid.1\r\n"));
  assert_non_null(strstr(server.head, "X-Wahook-Signature-256: sha256=aaaaaaaa"));
  assert_null(strstr(server.head, "secret"));
  assert_string_equal(
      server.body, "{\"id\":\"wamid.1\",\"business\":{\"id\":\"b1\",\"name\":\"Shop\",\"sub_domain\":\"shop\"},\"conversation\":{"
                   "\"session\":\"shop:358\","
                   "\"phone_number_id\":\"55\",\"user\":\"358\",\"profile_name\":\"K\",\"turns\":[{\"role\":\"user\",\"text\":\"before\"},"
                   "{\"role\":\"assistant\",\"text\":\"answer\"}]},\"message\":{\"id\":\"wamid.1\",\"type\":\"text\",\"text\":\"hello\","
                   "\"received_at\":\"2026-03-01T12:34:56.789Z\",\"attempt\":0,\"raw\":{\"id\":\"wamid.1\"}}}");
  server_set_answer(&server, "204 No Content", "");
  kept = asked((struct responder_spec){.type = RESPONDER_HTTP}, "/any", "hello");
  assert_int_equal(kept.result, ERR_OK);
  assert_int_equal(kept.count, 0);
  assert_null(strstr(server.head, "X-Wahook-Signature"));
}

static void test_http_errors(void **state) {
  (void)state;
  static const struct {
    const char *status;
    enum err result;
    bool permanent;
  } cases[] = {
      {"500 X", ERR_UNAVAILABLE, false}, {"429 X", ERR_UNAVAILABLE, false}, {"408 X", ERR_UNAVAILABLE, false},
      {"401 X", ERR_DENIED, false},      {"403 X", ERR_DENIED, false},      {"404 X", ERR_CONFIG, false},
      {"302 X", ERR_CONFIG, false},      {"400 X", ERR_FORMAT, true},       {"422 X", ERR_FORMAT, true},
  };
  struct responder_spec spec = {.type = RESPONDER_HTTP};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    server_set_answer(&server, cases[i].status, "{\"detail\":\"because\\n\"}");
    struct kept kept = asked(spec, "/any", "x");
    assert_int_equal(kept.result, cases[i].result);
    assert_int_equal(kept.permanent, cases[i].permanent);
    assert_non_null(strstr(kept.error, ": because "));
  }
  assert_int_equal(asked(spec, "/busy", "x").retry_after_ms, 7000);
  assert_int_equal(asked(spec, "/drop", "x").result, ERR_IO);
  assert_int_equal(asked(spec, "/endless", "x").result, ERR_TOO_LARGE);
  spec.timeout_ms = 100;
  assert_int_equal(asked(spec, "/silence", "x").result, ERR_TIMEOUT);
  assert_int_equal(asked(spec, NULL, "x").result, ERR_CONFIG);
  spec.url = "nonsense";
  assert_int_equal(asked(spec, NULL, "x").result, ERR_CONFIG);
  spec.foreign = true;
  assert_int_equal(asked(spec, "/any", "x").result, ERR_DENIED);
}

static void test_openai(void **state) {
  (void)state;
  struct responder_spec spec = {.type = RESPONDER_OPENAI, .key = "sk-0123456789", .model = "m", .system_prompt = "Be kind."};
  server_set_answer(&server, "200 OK", "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"Hello!\"}}]}");
  static const char *const bases[] = {"", "/", "/v1", "/v1/", "/v1/chat/completions"};
  for (size_t i = 0; i < COUNT_OF(bases); i++) {
    assert_string_equal(asked(spec, bases[i], "hi").text, "Hello!");
    assert_non_null(strstr(server.head, "POST /v1/chat/completions HTTP/1.1\r\n"));
  }
  assert_non_null(strstr(server.head, "Authorization: Bearer sk-0123456789\r\n"));
  assert_string_equal(
      server.body,
      "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":\"before\"},"
      "{\"role\":\"assistant\",\"content\":\"answer\"},{\"role\":\"user\",\"content\":\"hi\"}]}");
  unsigned before = server_requests(&server);
  assert_int_equal(asked(spec, "", "").count, 0); // nothing to ask
  assert_int_equal(server_requests(&server), before);

  server_set_answer(&server, "200 OK",
                    "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}}]}");
  assert_string_equal(asked(spec, "", "hi").text, "ab");
  server_set_answer(&server, "200 OK", "{\"choices\":[]}");
  assert_true(asked(spec, "", "hi").permanent);
  server_set_answer(&server, "401 X", "{\"error\":{\"message\":\"Incorrect API key provided: sk-0123456789\"}}");
  struct kept kept = asked(spec, "", "hi");
  assert_int_equal(kept.result, ERR_DENIED);
  assert_null(strstr(kept.error, "sk-0123456789"));
  server_set_answer(&server, "429 X", "{\"error\":{\"message\":\"no money\",\"code\":\"insufficient_quota\"}}");
  assert_int_equal(asked(spec, "", "hi").result, ERR_DENIED);
  server_set_answer(&server, "429 X", "{\"error\":{\"message\":\"slow down\",\"code\":\"rate_limit_exceeded\"}}");
  assert_int_equal(asked(spec, "", "hi").result, ERR_UNAVAILABLE);
}

static void test_close_cancels_questions(void **state) {
  (void)state;
  struct kept kept[2] = {0};
  struct responder_question q = question("x");
  char url[128];
  snprintf(url, sizeof url, "http://127.0.0.1:%u/silence", server.port);
  responder_ask(outbound, &(struct responder_spec){.type = RESPONDER_ECHO}, &q, keep, &kept[0]);
  responder_ask(outbound, &(struct responder_spec){.type = RESPONDER_HTTP, .url = url}, &q, keep, &kept[1]);
  outbound_close(outbound, stop_loop, NULL);
  loop_run(loop);
  outbound = NULL;
  for (int i = 0; i < 2; i++) {
    assert_int_equal(kept[i].calls, 1);
    assert_int_equal(kept[i].result, ERR_CANCELED);
    assert_int_equal(kept[i].count, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_echo),
      cmocka_unit_test(test_http_answers),
      cmocka_unit_test(test_long_texts_are_split),
      cmocka_unit_test(test_http_call),
      cmocka_unit_test(test_http_errors),
      cmocka_unit_test(test_openai),
      cmocka_unit_test(test_close_cancels_questions), // last: it closes what the others use
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
