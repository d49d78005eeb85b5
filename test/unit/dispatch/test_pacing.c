// The paces: a number's rate, a pair's rate with Meta's burst of 45; time is a parameter.
#include "wahook/base.h"

#include <setjmp.h>
#include <cmocka.h>

#include "pacing.h"

#define SECOND INT64_C(1000000)

static void a_pair_has_a_burst_of_45_then_one_in_six_seconds(void **state) {
  (void)state;
  struct pacing *p = pacing_new(0, 0, 10, 60 * SECOND);
  int64_t now = 1000 * SECOND;
  for (int i = 0; i < PACING_PAIR_BURST; i++)
    assert_int_equal(pacing_take(p, "100", 1, now), 0);
  int64_t wait = pacing_take(p, "100", 1, now);
  assert_in_range(wait, 1, 6 * SECOND);
  assert_int_equal(pacing_take(p, "100", 2, now), 0); // another pair does not notice
  now += wait;
  assert_int_equal(pacing_take(p, "100", 1, now), 0);
  assert_true(pacing_take(p, "100", 1, now) > 5 * SECOND);
  pacing_free(p);
}

static void a_number_has_its_rate_and_a_refused_pair_takes_nothing_of_it(void **state) {
  (void)state;
  struct pacing *p = pacing_new(80, SECOND, 10, 60 * SECOND);
  int64_t now = 1000 * SECOND;
  for (int i = 0; i < PACING_PAIR_BURST; i++)
    assert_int_equal(pacing_take(p, "100", 1, now), 0);
  for (int i = 0; i < 500; i++)
    assert_true(pacing_take(p, "100", 1, now) > 0);
  int sent = 0;
  for (int i = 0; i < 500; i++)
    sent += pacing_take(p, "100", 100 + i, now) == 0;
  assert_int_equal(sent, 80 - PACING_PAIR_BURST);
  assert_int_equal(pacing_take(p, "200", 999, now), 0);
  pacing_free(p);
}

static void without_paces_nothing_waits(void **state) {
  (void)state;
  struct pacing *p = pacing_new(0, 0, 0, 0);
  for (int i = 0; i < 10000; i++)
    assert_int_equal(pacing_take(p, "100", 1, 0), 0);
  pacing_free(p);
}

static void refusals_count_in_a_row_and_survive_a_sweep(void **state) {
  (void)state;
  struct pacing *p = pacing_new(0, 0, 0, 0);
  assert_int_equal(pacing_pair_refused(p, 7), 1);
  pacing_sweep(p, 10 * SECOND);
  assert_int_equal(pacing_pair_refused(p, 7), 2);
  pacing_pair_ok(p, 7);
  assert_int_equal(pacing_pair_refused(p, 7), 1);
  pacing_free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pair_has_a_burst_of_45_then_one_in_six_seconds),
      cmocka_unit_test(a_number_has_its_rate_and_a_refused_pair_takes_nothing_of_it),
      cmocka_unit_test(without_paces_nothing_waits),
      cmocka_unit_test(refusals_count_in_a_row_and_survive_a_sweep),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
