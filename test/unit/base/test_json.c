// Reading and writing JSON.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <math.h>
#include <string.h>
#include "wahook/base.h"

static struct arena arena;

static int set_up(void **state) {
  (void)state;
  arena_init(&arena, 4096, 0);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(&arena);
  return 0;
}

static const struct json *parsed(struct span text) {
  const struct json *j = NULL;
  arena_reset(&arena);
  assert_int_equal(json_parse(&arena, text, NULL, &j, NULL), ERR_OK);
  assert_non_null(j);
  return j;
}

static void assert_span(struct span got, const char *want) {
  assert_int_equal(got.len, strlen(want));
  assert_memory_equal(got.ptr ? got.ptr : "", want, got.len);
}

static void test_raw_is_byte_exact(void **state) {
  (void)state;
  const struct json *j =
      parsed(SPAN("\r\n { \"a\" :\t[ 1 , -2.5E+3 ,true, null , \"\\u00e4\\/\\\"\" ] , \"b\\n\":{ } ,\"c\":[[]],\"d\":\"\"}\n\n"));
  assert_span(j->raw, "{ \"a\" :\t[ 1 , -2.5E+3 ,true, null , \"\\u00e4\\/\\\"\" ] , \"b\\n\":{ } ,\"c\":[[]],\"d\":\"\"}");
  assert_int_equal(j->count, 4);
  assert_span(json_path(j, "a")->raw, "[ 1 , -2.5E+3 ,true, null , \"\\u00e4\\/\\\"\" ]");
  assert_span(json_path(j, "a.0")->raw, "1");
  assert_span(json_path(j, "a.1")->raw, "-2.5E+3");
  assert_span(json_path(j, "a.2")->raw, "true");
  assert_span(json_path(j, "a.3")->raw, "null");
  assert_span(json_path(j, "a.4")->raw, "\"\\u00e4\\/\\\"\"");
  assert_span(json_path(j, "a.4")->text, "ä/\"");
  assert_span(json_get(j, "b\n")->raw, "{ }");
  assert_span(json_get(j, "c")->raw, "[[]]");
  assert_span(json_path(j, "c.0")->raw, "[]");
  assert_span(json_get_text(j, "d"), "");
  assert_non_null(json_get_text(j, "d").ptr);
}

static void test_bare_values(void **state) {
  (void)state;
  assert_span(parsed(SPAN("12"))->raw, "12");
  assert_span(parsed(SPAN(" -0.5e-7 \n"))->text, "-0.5e-7");
  assert_span(parsed(SPAN("\t\"x\" "))->raw, "\"x\"");
  assert_int_equal(parsed(SPAN("null"))->type, JSON_NULL);
  assert_int_equal(parsed(SPAN("false "))->type, JSON_FALSE);
}

static void test_refuses(void **state) {
  (void)state;
  static const struct {
    struct span text;
  } bad[] = {
      {SPAN("")},
      {SPAN("  ")},
      {SPAN("{")},
      {SPAN("[1")},
      {SPAN("[1,]")},
      {SPAN("[,1]")},
      {SPAN("[1] 2")},
      {SPAN("{} {}")},
      {SPAN("[1]]")},
      {SPAN("{\"a\"}")},
      {SPAN("{\"a\":}")},
      {SPAN("{\"a\":1,}")},
      {SPAN("{a:1}")},
      {SPAN("{'a':1}")},
      {SPAN("{1:1}")},
      {SPAN("01")},
      {SPAN("1.")},
      {SPAN(".5")},
      {SPAN("+1")},
      {SPAN("-")},
      {SPAN("1e")},
      {SPAN("0x1")},
      {SPAN("NaN")},
      {SPAN("Infinity")},
      {SPAN("nul")},
      {SPAN("nulll")},
      {SPAN("True")},
      {SPAN("\"abc")},
      {SPAN("\"a\tb\"")},
      {SPAN("\"a\nb\"")},
      {SPAN("\"\\x\"")},
      {SPAN("\"\\u12\"")},
      {SPAN("\"\\u12g4\"")},
      {SPAN("\"\\\"")},
      {SPAN("\"a\0b\"")},
      {SPAN("1\0")},
      {SPAN("\0")},
      {SPAN("[1]\0")},
      {SPAN("\xEF\xBB\xBF{}")},
      {SPAN("[1]\v")},
      {SPAN("\f[1]")},
      {SPAN("[\v1]")},
      {SPAN("[1\f]")},
      {SPAN("[1,\f2]")},
      {SPAN("{\"a\"\v:1}")},
      {SPAN("{\v}")},
      {SPAN("1\v")},
      {SPAN("\v1")},
      {SPAN("\"\xC3\"")},
      {SPAN("\"\xED\xA0\x80\"")},
      {SPAN("\"\xC0\x80\"")},
      {SPAN("[1]\xC2\xA0")},
      {SPAN("/**/1")},
      {SPAN("[1]//x")},
      {SPAN("[1 2]")},
      {SPAN("[\"a\":1]")},
      {SPAN("{\"a\":1 \"b\":2}")},
      {SPAN("]")},
      {SPAN(",")},
      {SPAN(":1")},
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    const struct json *j = NULL;
    size_t bad_at = SIZE_MAX;
    arena_reset(&arena);
    if (json_parse(&arena, bad[i].text, NULL, &j, &bad_at) != ERR_FORMAT) fail_msg("accepted: %.*s", SPAN_FMT(bad[i].text));
    assert_null(j);
    assert_true(bad_at <= bad[i].text.len);
  }
}

static void test_surrogates_and_nul(void **state) {
  (void)state;
  assert_span(parsed(SPAN("\"\\ud83d\\ude0a\""))->text, "😊");
  assert_span(parsed(SPAN("\"\\uD83D\\uDE0A!\""))->text, "😊!");
  assert_span(parsed(SPAN("\"\\ud800\""))->text, "\xEF\xBF\xBD");
  assert_span(parsed(SPAN("\"\\ud800x\""))->text, "\xEF\xBF\xBDx");
  assert_span(parsed(SPAN("\"\\ud800\\u0041\""))->text, "\xEF\xBF\xBD"
                                                        "A");
  assert_span(parsed(SPAN("\"\\ud800\\ud83d\\ude0a\""))->text, "\xEF\xBF\xBD😊");
  assert_span(parsed(SPAN("\"\\udc00\\n\""))->text, "\xEF\xBF\xBD\n");
  assert_span(parsed(SPAN("\"a\\u0000b\""))->text, "a\xEF\xBF\xBD"
                                                   "b");
  assert_span(parsed(SPAN("{\"\\ud800\":1}"))->child->key, "\xEF\xBF\xBD");
  assert_span(parsed(SPAN("\"\\b\\f\\n\\r\\t\\\\\\/\\\"\\u007f\\u0080\\uffff\""))->text, "\b\f\n\r\t\\/\"\x7F\xC2\x80\xEF\xBF\xBF");
}

static void test_limits(void **state) {
  (void)state;
  const struct json *j = NULL;
  const struct json_limits two = {.depth = 2};
  assert_int_equal(json_parse(&arena, SPAN("[[1]]"), &two, &j, NULL), ERR_OK);
  j = NULL;
  assert_int_equal(json_parse(&arena, SPAN("[[[1]]]"), &two, &j, NULL), ERR_TOO_LARGE);
  assert_null(j);
  struct buf deep = {0};
  for (int i = 0; i < 100000; i++)
    buf_add_byte(&deep, '[');
  assert_int_equal(json_parse(&arena, buf_span(&deep), NULL, &j, NULL), ERR_TOO_LARGE);

  // A string that would not fit: refused, and nothing leaks (the address sanitizer looks). Cut off it is no string at all.
  struct arena small;
  arena_init(&small, 1024, 8192);
  buf_clear(&deep);
  buf_add_text(&deep, "[\"");
  for (int i = 0; i < 9000; i++)
    buf_add_text(&deep, "\\n");
  assert_int_equal(json_parse(&small, buf_span(&deep), NULL, &j, NULL), ERR_FORMAT);
  buf_add_text(&deep, "\"]");
  arena_reset(&small);
  assert_int_equal(json_parse(&small, buf_span(&deep), NULL, &j, NULL), ERR_TOO_LARGE);
  arena_reset(&small);
  assert_int_equal(json_parse(&small, SPAN("[1,2]"), NULL, &j, NULL), ERR_OK);
  buf_free(&deep);
  arena_free(&small);
}

static void test_getters(void **state) {
  (void)state;
  const struct json *j = parsed(SPAN("{\"a\":1,\"a\":\"2\",\"t\":true,\"f\":1.5,\"m\":{\"id\":\"x\"},\"l\":[10,20]}"));
  assert_int_equal(json_i64(json_get(j, "a"), -1), 2);
  assert_int_equal(json_i64(json_get(j, "f"), -1), -1);
  assert_true(fabs(json_double(json_get(j, "f"), 0) - 1.5) < 1e-9);
  assert_true(json_bool(json_get(j, "t"), false));
  assert_true(json_bool(json_get(j, "a"), true));
  assert_span(json_text(json_path(j, "m.id")), "x");
  assert_int_equal(json_i64(json_path(j, "l.1"), -1), 20);
  assert_null(json_path(j, "l.2"));
  assert_null(json_path(j, "l.-1"));
  assert_null(json_path(j, "l.x"));
  assert_null(json_path(j, "m.id.deeper"));
  assert_null(json_get(json_get(j, "a"), "b"));
  assert_null(json_get(NULL, "b"));
  assert_null(json_text(json_get(j, "m")).ptr);
}

static void test_steady_state_allocates_nothing(void **state) {
  (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  struct span text = SPAN("{\"entry\":[{\"changes\":[{\"value\":{\"text\":\"\\u00e4 b\",\"n\":[1,2,3]}}]}]}");
  parsed(text);
  size_t before = mallinfo2().uordblks;
  const struct json *j;
  for (int i = 0; i < 50; i++) {
    arena_reset(&arena);
    if (json_parse(&arena, text, NULL, &j, NULL)) fail();
    if (mallinfo2().uordblks != before) fail_msg("memory was allocated");
  }
#else
  skip();
#endif
}

static void test_writer(void **state) {
  (void)state;
  struct buf out = {0};
  struct json_writer w;
  json_start(&w, &out);
  json_open(&w, NULL, '{');
  json_put_text(&w, "t\"", SPAN("a\"\\\n\r\t\x01\x7F\0ä😊/"));
  json_put_text(&w, "bad", SPAN("x\xC3(\xFF"));
  json_put_text(&w, "absent", (struct span){NULL, 0});
  json_put_string(&w, "null", NULL);
  json_open(&w, "list", '[');
  json_put_i64(&w, NULL, INT64_MIN);
  json_put_u64(&w, NULL, UINT64_MAX);
  json_put_double(&w, NULL, 1.25, 1);
  json_put_double(&w, NULL, (double)NAN, 1);
  json_open(&w, NULL, '{');
  json_close(&w, '}');
  json_put_bool(&w, NULL, true);
  json_close(&w, ']');
  json_put_raw(&w, "raw", SPAN("[1, 2]"));
  json_put_null(&w, "end");
  json_close(&w, '}');
  assert_string_equal(out.data,
                      "{\"t\\\"\":\"a\\\"\\\\\\n\\r\\t\\u0001\\u007f\\u0000ä😊/\",\"bad\":\"x\xEF\xBF\xBD(\xEF\xBF\xBD\",\"absent\":null,"
                      "\"null\":null,\"list\":[-9223372036854775808,18446744073709551615,1.2,null,{},true],\"raw\":[1, 2],\"end\":null}");
  parsed(buf_span(&out));
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_raw_is_byte_exact),
      cmocka_unit_test(test_bare_values),
      cmocka_unit_test(test_refuses),
      cmocka_unit_test(test_surrogates_and_nul),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_getters),
      cmocka_unit_test(test_steady_state_allocates_nothing),
      cmocka_unit_test(test_writer),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
