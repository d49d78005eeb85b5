// The table of Graph's error codes and the waits between attempts.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "wahook/outbound.h"

static void test_codes(void **state) {
  (void)state;
  static const struct {
    int status;
    int64_t code;
    bool is_transient;
    enum graph_class want;
  } cases[] = {
      {400, 4, false, GRAPH_THROTTLED},      {400, 80007, false, GRAPH_THROTTLED},  {400, 130429, false, GRAPH_THROTTLED},
      {400, 131057, false, GRAPH_THROTTLED}, {429, 424242, false, GRAPH_THROTTLED}, {429, 131056, false, GRAPH_PAIR},
      {400, 131056, false, GRAPH_PAIR},      {500, 1, false, GRAPH_TRANSIENT},      {503, 2, false, GRAPH_TRANSIENT},
      {500, 131000, false, GRAPH_TRANSIENT}, {500, 131016, false, GRAPH_TRANSIENT}, {400, 131053, false, GRAPH_TRANSIENT},
      {400, 424242, true, GRAPH_TRANSIENT},  {503, 424242, false, GRAPH_TRANSIENT}, {401, 190, false, GRAPH_TOKEN},
      {401, 0, false, GRAPH_TOKEN},          {500, 0, false, GRAPH_TRANSIENT},      {403, 3, false, GRAPH_TENANT},
      {403, 10, false, GRAPH_TENANT},        {403, 200, false, GRAPH_TENANT},       {403, 299, false, GRAPH_TENANT},
      {400, 300, false, GRAPH_DEAD},         {403, 131005, false, GRAPH_TENANT},    {403, 368, false, GRAPH_TENANT},
      {400, 131031, false, GRAPH_TENANT},    {400, 131042, false, GRAPH_TENANT},    {400, 131045, false, GRAPH_TENANT},
      {400, 131048, false, GRAPH_TENANT},    {400, 133010, false, GRAPH_TENANT},    {400, 131047, false, GRAPH_DEAD},
      {400, 131026, false, GRAPH_DEAD},      {400, 131021, false, GRAPH_DEAD},      {400, 131030, false, GRAPH_DEAD},
      {400, 131049, false, GRAPH_DEAD},      {400, 131050, false, GRAPH_DEAD},      {400, 131051, false, GRAPH_DEAD},
      {400, 131052, false, GRAPH_DEAD},      {400, 131008, false, GRAPH_DEAD},      {400, 131009, false, GRAPH_DEAD},
      {400, 100, false, GRAPH_DEAD},         {400, 33, false, GRAPH_DEAD},          {400, 132000, false, GRAPH_DEAD},
      {400, 132016, false, GRAPH_DEAD},      {400, 131062, false, GRAPH_DEAD},      {400, 424242, false, GRAPH_DEAD},
      {401, 424242, false, GRAPH_TOKEN},     {200, 424242, false, GRAPH_DEAD},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    enum graph_class got = graph_classify(cases[i].status, true, cases[i].code, cases[i].is_transient);
    if (got != cases[i].want) fail_msg("HTTP %d code %d: %s", cases[i].status, (int)cases[i].code, graph_class_name(got));
  }
}

static void test_without_an_error_object(void **state) {
  (void)state;
  assert_int_equal(graph_classify(200, false, 0, false), GRAPH_OK);
  assert_int_equal(graph_classify(429, false, 0, false), GRAPH_THROTTLED);
  assert_int_equal(graph_classify(500, false, 0, false), GRAPH_TRANSIENT);
  assert_int_equal(graph_classify(503, false, 0, false), GRAPH_TRANSIENT);
  assert_int_equal(graph_classify(502, false, 0, false), GRAPH_UNKNOWN);
  assert_int_equal(graph_classify(504, false, 0, false), GRAPH_UNKNOWN);
  assert_int_equal(graph_classify(401, false, 0, false), GRAPH_TOKEN);
  assert_int_equal(graph_classify(403, false, 0, false), GRAPH_TENANT);
  assert_int_equal(graph_classify(404, false, 0, false), GRAPH_DEAD);
  assert_int_equal(graph_classify(302, false, 0, false), GRAPH_TRANSIENT);
}

static void test_backoff(void **state) {
  (void)state;
  assert_int_equal(retry_backoff_ms(0, 1000, 60000, 0), 500);
  assert_int_equal(retry_backoff_ms(0, 1000, 60000, 500), 1000);
  assert_int_equal(retry_backoff_ms(3, 1000, 60000, 0), 4000);
  assert_int_equal(retry_backoff_ms(6, 1000, 60000, 0), 30000);
  assert_int_equal(retry_backoff_ms(4000000000u, 1000, 60000, 30000), 60000);
  assert_int_equal(retry_backoff_ms(0, 5000, 100, 0), 50);
  assert_int_equal(retry_backoff_ms(70, 1, INT64_MAX, 0), INT64_MAX / 2);
  for (uint64_t random = 0; random < 5000; random += 7) {
    int64_t wait = retry_backoff_ms(2, 1000, 60000, random);
    assert_true(wait >= 2000 && wait <= 4000);
  }
}

static void test_pair(void **state) {
  (void)state;
  assert_int_equal(retry_pair_ms(0), 1000);
  assert_int_equal(retry_pair_ms(1), 4000);
  assert_int_equal(retry_pair_ms(3), 64000);
  assert_int_equal(retry_pair_ms(6), 3600000);
  assert_int_equal(retry_pair_ms(4000000000u), 3600000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_codes),
      cmocka_unit_test(test_without_an_error_object),
      cmocka_unit_test(test_backoff),
      cmocka_unit_test(test_pair),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
