// Faults on demand: what an object means, what is refused, how often a share hits, and the pair limit's window.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tools/sandbox/faults.h"

static enum err parse(const char *text, struct faults *out, struct why *why) {
  struct arena arena;
  const struct json *j = NULL;
  arena_init(&arena, 4096, 0);
  assert_int_equal(json_parse(&arena, span_of(text), NULL, &j, NULL), ERR_OK);
  enum err err = faults_parse(j, true, out, why);
  arena_free(&arena);
  return err;
}

static void what_is_not_named_has_its_default(void **state) {
  (void)state;
  struct faults faults;
  assert_int_equal(parse("{\"latency_ms\":50,\"drop_rate\":0.25,\"statuses\":\"off\"}", &faults, NULL), ERR_OK);
  assert_int_equal(faults.latency_ms, 50);
  assert_true(faults.drop_rate == 0.25);
  assert_false(faults.statuses);
  assert_true(faults.error_rate == 0);
  assert_int_equal(parse("{}", &faults, NULL), ERR_OK);
  assert_int_equal(faults.latency_ms, 0);
  assert_true(faults.statuses);
}

static void an_error_without_a_rate_is_every_time(void **state) {
  (void)state;
  struct faults faults;
  assert_int_equal(parse("{\"error_code\":131056}", &faults, NULL), ERR_OK);
  assert_true(faults.error_rate == 1);
  assert_int_equal(parse("{\"http_status\":503}", &faults, NULL), ERR_OK);
  assert_true(faults.error_rate == 1);
  assert_int_equal(faults.error_code, 0);
  assert_int_equal(parse("{\"error_rate\":0.5}", &faults, NULL), ERR_OK);
  assert_int_equal(faults.error_code, 131000);
  assert_int_equal(parse("{\"error_code\":4,\"error_rate\":0}", &faults, NULL), ERR_OK);
  assert_true(faults.error_rate == 0);
}

static void nonsense_is_refused_and_changes_nothing(void **state) {
  (void)state;
  static const char *const bad[] = {"[]",
                                    "{\"latency_ms\":-1}",
                                    "{\"latency_ms\":\"soon\"}",
                                    "{\"latency_ms\":1,\"error_rate\":1.5}",
                                    "{\"error_rate\":\"nan\"}",
                                    "{\"drop_rate\":true}",
                                    "{\"http_status\":200}",
                                    "{\"statuses\":\"maybe\"}",
                                    "{\"latency\":5}"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct faults faults = {.latency_ms = 7};
    struct why why = {{0}};
    assert_int_not_equal(parse(bad[i], &faults, &why), ERR_OK);
    assert_int_equal(faults.latency_ms, 7);
    assert_true(why.text[0] != '\0');
  }
}

static void what_is_shown_can_be_put_back(void **state) {
  (void)state;
  struct faults a, b;
  assert_int_equal(parse("{\"latency_ms\":5,\"error_code\":4,\"error_rate\":0.125,\"pair_limit\":3,\"statuses\":false}", &a, NULL), ERR_OK);
  struct buf out = {0};
  faults_write(&a, &out);
  assert_int_equal(parse(out.data, &b, NULL), ERR_OK);
  assert_int_equal(b.latency_ms, 5);
  assert_int_equal(b.error_code, 4);
  assert_int_equal(b.pair_limit, 3);
  assert_true(b.error_rate == 0.125);
  assert_false(b.statuses);
  buf_free(&out);
}

static void shares_hit_as_often_as_they_say(void **state) {
  (void)state;
  unsigned hits = 0;
  for (int i = 0; i < 10000; i++) {
    hits += faults_hit(0.25, random_u64());
    assert_false(faults_hit(0, random_u64()));
    assert_true(faults_hit(1, random_u64()));
  }
  assert_in_range(hits, 2200, 2800);
  assert_true(faults_hit(1, UINT64_MAX));
  assert_false(faults_hit(0, 0));
}

static void a_pair_has_its_window(void **state) {
  (void)state;
  struct pair_table table = {0};
  assert_true(pair_allow(&table, SPAN("1"), SPAN("49"), 2, 0));
  assert_true(pair_allow(&table, SPAN("1"), SPAN("49"), 2, 1));
  assert_false(pair_allow(&table, SPAN("1"), SPAN("49"), 2, 2));
  assert_true(pair_allow(&table, SPAN("1"), SPAN("50"), 2, 2)); // another user
  assert_true(pair_allow(&table, SPAN("1 4"), SPAN("9"), 2, 2));
  assert_true(pair_allow(&table, SPAN("1"), SPAN("49"), 0, 2)); // no limit
  assert_true(pair_allow(&table, SPAN("1"), SPAN("49"), 2, PAIR_WINDOW_US));
  pair_clear(&table);
  assert_null(table.pairs);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_not_named_has_its_default),       cmocka_unit_test(an_error_without_a_rate_is_every_time),
      cmocka_unit_test(nonsense_is_refused_and_changes_nothing), cmocka_unit_test(what_is_shown_can_be_put_back),
      cmocka_unit_test(shares_hit_as_often_as_they_say),         cmocka_unit_test(a_pair_has_its_window),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
