// When requests are due in an open and in a closed loop, what comes back, and quantiles of latencies.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "load.h"

#define MS 1000000

static void test_an_open_loop_keeps_its_schedule(void **state) {
  (void)state;
  struct pace p = {.rate = 1000, .start_ns = 5000};
  struct request r;
  assert_int_equal(pace_due(&p, true, 0), 5000);
  assert_false(pace_take(&p, true, 4999, &r));
  assert_true(pace_take(&p, true, 5000, &r) && r.due_ns == 5000 && !r.again);
  assert_int_equal(pace_due(&p, true, 5000), 5000 + MS);
  assert_false(pace_take(&p, true, 5000 + MS - 1, &r));
  // The server stood still for 10 ms: what was due meanwhile is taken late, with the times at which it was due.
  int64_t late = 5000 + 10 * MS;
  assert_int_equal(pace_behind(&p, late), 9);
  for (int64_t k = 1; k <= 10; k++)
    assert_true(pace_take(&p, true, late, &r) && r.due_ns == 5000 + k * MS);
  assert_false(pace_take(&p, true, late, &r));
  assert_int_equal(pace_behind(&p, late), 0);
  // No new ones any more.
  assert_int_equal(pace_due(&p, false, late), INT64_MAX);
  assert_false(pace_take(&p, false, INT64_MAX / 2, &r));
}

static void test_a_closed_loop_is_always_due(void **state) {
  (void)state;
  struct pace p = {.start_ns = 5000};
  struct request r;
  assert_int_equal(pace_due(&p, true, 7000), 7000);
  assert_true(pace_take(&p, true, 7000, &r) && r.due_ns == 7000);
  assert_true(pace_take(&p, true, 7000, &r));
  assert_false(pace_take(&p, false, 7000, &r));
  assert_int_equal(pace_behind(&p, 9000), 0);
}

static void test_what_failed_comes_back_in_order(void **state) {
  (void)state;
  struct pace p = {.rate = 0.001};
  struct request r;
  // Over the ring's end, and with growth in the middle.
  for (uint64_t n = 0; n < 700; n++)
    pace_retry(&p, n, 0);
  assert_false(pace_take(&p, false, 0, &r));
  for (uint64_t n = 0; n < 500; n++)
    assert_true(pace_take(&p, false, 1000 * MS, &r) && r.number == n && r.again);
  for (uint64_t n = 700; n < 3000; n++)
    pace_retry(&p, n, 0);
  assert_int_equal(pace_retries(&p), 2500);
  for (uint64_t n = 500; n < 3000; n++)
    assert_true(pace_take(&p, false, 1000 * MS, &r) && r.number == n && r.again);
  assert_false(pace_take(&p, false, 1000 * MS, &r));
  assert_int_equal(pace_retries(&p), 0);
  pace_free(&p);
}

static void test_latencies(void **state) {
  (void)state;
  struct latency *l = calloc(2, sizeof *l);
  assert_int_equal(latency_quantile_us(&l[0], 0.5), 0);
  for (uint64_t us = 1; us <= 100000; us++)
    latency_add(&l[us % 2], us);
  latency_merge(&l[0], &l[1]);
  assert_int_equal(l->count, 100000);
  assert_int_equal(l->min_us, 1);
  assert_int_equal(l->max_us, 100000);
  assert_int_equal(l->sum_us, 5000050000);
  static const double quantiles[] = {0.0001, 0.01, 0.5, 0.9, 0.99, 0.999};
  for (size_t i = 0; i < COUNT_OF(quantiles); i++) {
    double exact = quantiles[i] * 100000, got = (double)latency_quantile_us(l, quantiles[i]);
    assert_true(got >= exact && got <= exact * (1 + 1.0 / LATENCY_SUB));
  }
  assert_int_equal(latency_quantile_us(l, 1), 100000);
  latency_add(l, UINT64_MAX);
  assert_true(l->max_us == UINT64_MAX);
  free(l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_open_loop_keeps_its_schedule),
      cmocka_unit_test(test_a_closed_loop_is_always_due),
      cmocka_unit_test(test_what_failed_comes_back_in_order),
      cmocka_unit_test(test_latencies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
