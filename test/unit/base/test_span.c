// Spans, hex, percent-encoding, queries.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include "wahook/base.h"

static const struct span absent = {NULL, 0};

static void assert_span(struct span got, const char *want) {
  assert_int_equal(got.len, strlen(want));
  assert_memory_equal(got.ptr ? got.ptr : "", want, got.len);
}

static void test_compare(void **state) {
  (void)state;
  assert_true(span_eq(absent, SPAN("")));
  assert_false(span_eq(SPAN("a"), SPAN("A")));
  assert_true(span_eq_nocase(SPAN("Content-TYPE"), SPAN("content-type")));
  assert_false(span_eq_nocase(SPAN("@"), SPAN("`")));
  assert_true(span_starts(SPAN("abc"), SPAN("")));
  assert_true(span_starts(SPAN("abc"), SPAN("ab")));
  assert_false(span_starts(SPAN("a"), SPAN("ab")));
  assert_true(span_ends(SPAN("abc"), SPAN("bc")));
  assert_false(span_ends(SPAN("c"), SPAN("bc")));
  assert_null(span_of(NULL).ptr);
  assert_span(span_trim(SPAN(" \t x y\t ")), "x y");
  assert_span(span_trim(SPAN(" \t ")), "");
  assert_span(span_from(SPAN("abc"), 9), "");
}

static void test_split(void **state) {
  (void)state;
  struct span rest = SPAN("a,,b,"), piece;
  const char *want[] = {"a", "", "b", ""};
  for (size_t i = 0; i < COUNT_OF(want); i++) {
    assert_true(span_split(&rest, ',', &piece));
    assert_span(piece, want[i]);
  }
  assert_false(span_split(&rest, ',', &piece));
  rest = absent;
  assert_false(span_split(&rest, ',', &piece));
}

static void test_numbers(void **state) {
  (void)state;
  uint64_t u = 7;
  assert_int_equal(span_u64(SPAN("18446744073709551615"), &u), ERR_OK);
  assert_true(u == UINT64_MAX);
  u = 7;
  assert_int_equal(span_u64(SPAN("18446744073709551616"), &u), ERR_RANGE);
  assert_int_equal(span_u64(SPAN("99999999999999999999999x"), &u), ERR_FORMAT);
  assert_int_equal(span_u64(SPAN(""), &u), ERR_FORMAT);
  assert_int_equal(span_u64(SPAN("+1"), &u), ERR_FORMAT);
  assert_int_equal(span_u64(SPAN("-1"), &u), ERR_FORMAT);
  assert_int_equal(span_u64(SPAN(" 1"), &u), ERR_FORMAT);
  assert_int_equal(u, 7);
  int64_t i = 7;
  assert_int_equal(span_i64(SPAN("-9223372036854775808"), &i), ERR_OK);
  assert_true(i == INT64_MIN);
  assert_int_equal(span_i64(SPAN("9223372036854775807"), &i), ERR_OK);
  assert_true(i == INT64_MAX);
  assert_int_equal(span_i64(SPAN("9223372036854775808"), &i), ERR_RANGE);
  assert_int_equal(span_i64(SPAN("-9223372036854775809"), &i), ERR_RANGE);
  assert_int_equal(span_i64(SPAN("--1"), &i), ERR_FORMAT);
  assert_int_equal(span_i64(SPAN("-0"), &i), ERR_OK);
  assert_int_equal(i, 0);
}

static void test_copy(void **state) {
  (void)state;
  char out[4] = "zzz";
  assert_int_equal(span_copy(SPAN("abc"), out, sizeof out), ERR_OK);
  assert_string_equal(out, "abc");
  assert_int_equal(span_copy(SPAN("abcd"), out, sizeof out), ERR_TOO_LARGE);
  assert_string_equal(out, "");
  char *copy = span_dup(absent);
  assert_string_equal(copy, "");
  free(copy);
}

static void test_utf8(void **state) {
  (void)state;
  const char *good[] = {"",
                        "plain ascii that is long enough",
                        "\xC2\x80",
                        "\xED\x9F\xBF",
                        "\xEE\x80\x80",
                        "\xF0\x90\x80\x80",
                        "\xF4\x8F\xBF\xBF",
                        "1234567\xC3\xA4tail"};
  const char *bad[] = {
      "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
      "\xFF", "\xC3",     "\xE2\x82", "12345678\xC3("};
  for (size_t i = 0; i < COUNT_OF(good); i++)
    assert_true(span_utf8(span_of(good[i])));
  for (size_t i = 0; i < COUNT_OF(bad); i++)
    assert_false(span_utf8(span_of(bad[i])));
}

static void test_glob(void **state) {
  (void)state;
  assert_true(span_glob(SPAN("business:1"), SPAN("business:*")));
  assert_true(span_glob(SPAN(""), SPAN("*")));
  assert_true(span_glob(SPAN("abcabd"), SPAN("*ab?")));
  assert_true(span_glob(SPAN("aXbXc"), SPAN("a*b*c")));
  assert_false(span_glob(SPAN("abc"), SPAN("ab")));
  assert_false(span_glob(SPAN("ab"), SPAN("ab?")));
  assert_false(span_glob(SPAN("ABC"), SPAN("abc")));
  assert_false(span_glob(SPAN(""), SPAN("?")));
}

static void test_hex(void **state) {
  (void)state;
  unsigned char bytes[3] = {1, 2, 3};
  char text[7];
  hex_encode("\x00\xAB\xff", 3, text);
  assert_string_equal(text, "00abff");
  assert_int_equal(hex_decode(SPAN("00abf"), bytes, 3), ERR_FORMAT);
  assert_int_equal(hex_decode(SPAN("00abfg"), bytes, 3), ERR_FORMAT);
  assert_int_equal(hex_decode(SPAN("00abff00"), bytes, 3), ERR_FORMAT);
  assert_memory_equal(bytes, "\1\2\3", 3);
  assert_int_equal(hex_decode(SPAN("00aBFf"), bytes, 3), ERR_OK);
  assert_memory_equal(bytes, "\x00\xAB\xff", 3);
}

static void test_percent(void **state) {
  (void)state;
  char out[8] = "zzzzzzz";
  size_t len = 99;
  assert_int_equal(percent_decode(SPAN("%"), true, out, sizeof out, &len), ERR_FORMAT);
  assert_int_equal(percent_decode(SPAN("%4"), true, out, sizeof out, &len), ERR_FORMAT);
  assert_int_equal(percent_decode(SPAN("%4g"), true, out, sizeof out, &len), ERR_FORMAT);
  assert_int_equal(percent_decode(SPAN("a%00"), true, out, sizeof out, &len), ERR_FORMAT);
  assert_int_equal(percent_decode(SPAN("123456789"), true, out, sizeof out, &len), ERR_TOO_LARGE);
  assert_int_equal(len, 99);
  assert_string_equal(out, "zzzzzzz");
  assert_int_equal(percent_decode(SPAN("a%2Bb+%c3"), true, out, sizeof out, &len), ERR_OK);
  assert_span((struct span){out, len}, "a+b \xC3");
  assert_int_equal(percent_decode(SPAN("a+"), false, out, sizeof out, &len), ERR_OK);
  assert_span((struct span){out, len}, "a+");
}

static void test_query(void **state) {
  (void)state;
  struct span q = SPAN("hub.mode=subscribe&&x&hub%2Echallenge=a%20b&empty=&hub.mode=2"), v;
  assert_true(query_find(q, SPAN("hub.mode"), &v));
  assert_span(v, "subscribe");
  assert_true(query_find(q, SPAN("hub.challenge"), &v));
  assert_span(v, "a%20b");
  assert_true(query_find(q, SPAN("empty"), &v));
  assert_span(v, "");
  assert_non_null(v.ptr);
  assert_true(query_find(q, SPAN("x"), &v));
  assert_span(v, "");
  assert_false(query_find(q, SPAN("hub"), &v));
  assert_false(query_find(absent, SPAN("hub"), &v));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_compare), cmocka_unit_test(test_split),   cmocka_unit_test(test_numbers),
      cmocka_unit_test(test_copy),    cmocka_unit_test(test_utf8),    cmocka_unit_test(test_glob),
      cmocka_unit_test(test_hex),     cmocka_unit_test(test_percent), cmocka_unit_test(test_query),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
