// The circuit breaker: when it opens, when it lets a probe through, when it closes.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "breaker.h"

#define S INT64_C(1000000)

static void five_in_a_row(void **state) {
  (void)state;
  struct breaker b = {0};
  for (int i = 0; i < 4; i++)
    assert_false(breaker_tell(&b, false, i * S));
  assert_false(breaker_tell(&b, true, 4 * S)); // a good one between begins the row anew
  for (int i = 0; i < 4; i++)
    assert_false(breaker_tell(&b, false, 100 * S));
  assert_true(breaker_passes(&b));
  assert_true(breaker_tell(&b, false, 100 * S));
  assert_false(breaker_passes(&b));
  assert_int_equal(b.opened, 1);
  // Half a second later one probe, and only one.
  assert_false(breaker_probe(&b, 100 * S + 499999));
  assert_true(breaker_probe(&b, 100 * S + 500000));
  assert_false(breaker_probe(&b, 101 * S));
  assert_false(breaker_passes(&b));
  // It fails: the pause doubles, up to a second.
  assert_false(breaker_tell(&b, false, 101 * S));
  assert_false(breaker_probe(&b, 101 * S + 999999));
  int64_t now = 102 * S;
  for (int i = 0; i < 6; i++) {
    assert_true(breaker_probe(&b, now));
    breaker_tell(&b, false, now);
    now += 2 * S;
  }
  assert_true(breaker_probe(&b, now));
  assert_true(breaker_tell(&b, true, now));
  assert_true(breaker_passes(&b));
  assert_int_equal(b.opened, 1);
  assert_false(breaker_tell(&b, false, now)); // the memory is empty again
}

static void half_of_ten_seconds(void **state) {
  (void)state;
  struct breaker b = {0};
  bool opened = false;
  for (int i = 0; i < 9; i++) // too few to mean anything
    opened = breaker_tell(&b, i % 2 == 0, 50 * S) || opened;
  assert_false(opened);
  assert_true(breaker_tell(&b, false, 55 * S));
  // What is older than ten seconds does not count.
  b = (struct breaker){0};
  for (int i = 0; i < 8; i++)
    opened = breaker_tell(&b, i % 2 == 0, 50 * S) || opened;
  for (int i = 0; i < 40; i++)
    opened = breaker_tell(&b, i % 3 != 0, (61 + i / 4) * S) || opened;
  assert_false(opened);
  assert_true(breaker_passes(&b));
}

static void stragglers(void **state) {
  (void)state;
  struct breaker b = {0};
  for (int i = 0; i < 5; i++)
    breaker_tell(&b, false, S);
  // Failures that were under way when it opened do not lengthen the pause; a good answer ends it.
  breaker_tell(&b, false, S + 400000);
  assert_true(breaker_probe(&b, S + 500000));
  breaker_probe_lost(&b, S + 500000);
  assert_false(breaker_passes(&b));
  assert_true(breaker_tell(&b, true, 2 * S));
  assert_true(breaker_passes(&b));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(five_in_a_row),
      cmocka_unit_test(half_of_ten_seconds),
      cmocka_unit_test(stragglers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
