// Tests of the rules of a child's life: transitions that exist and those that do not, and how long a successor waits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "supervisor/life.h"

#define SECOND 1000000ll

static void test_an_ordinary_life(void **state) {
  (void)state;
  enum shm_state s = SHM_EMPTY;
  static const struct {
    enum life_event event;
    enum shm_state then;
  } steps[] = {
      {LIFE_SPAWN, SHM_STARTING}, {LIFE_HELLO, SHM_READY},    {LIFE_EXIT, SHM_DEAD},      {LIFE_SPAWN, SHM_STARTING},
      {LIFE_EXIT, SHM_DEAD},      {LIFE_DELAY, SHM_BACKOFF},  {LIFE_SPAWN, SHM_STARTING}, {LIFE_HELLO, SHM_READY},
      {LIFE_DRAIN, SHM_DRAINING}, {LIFE_HELLO, SHM_DRAINING}, {LIFE_DRAIN, SHM_DRAINING}, {LIFE_EXIT, SHM_DEAD},
      {LIFE_RETIRE, SHM_EMPTY},
  };
  for (size_t i = 0; i < COUNT_OF(steps); i++) {
    assert_true(life_step(&s, steps[i].event));
    assert_int_equal(s, steps[i].then);
  }
}

static void test_what_cannot_happen_changes_nothing(void **state) {
  (void)state;
  static const struct {
    enum shm_state from;
    enum life_event event;
  } wrong[] = {
      {SHM_EMPTY, LIFE_HELLO},    {SHM_EMPTY, LIFE_EXIT}, {SHM_READY, LIFE_SPAWN},   {SHM_READY, LIFE_HELLO},  {SHM_READY, LIFE_RETIRE},
      {SHM_DRAINING, LIFE_SPAWN}, {SHM_DEAD, LIFE_EXIT},  {SHM_BACKOFF, LIFE_DRAIN}, {SHM_BACKOFF, LIFE_EXIT},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    enum shm_state s = wrong[i].from;
    assert_false(life_step(&s, wrong[i].event));
    assert_int_equal(s, wrong[i].from);
  }
}

static void test_first_at_once_then_longer_up_to_a_limit(void **state) {
  (void)state;
  struct life_backoff b = {0};
  static const int64_t delays[] = {0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
  for (size_t i = 0; i < COUNT_OF(delays); i++)
    assert_int_equal(life_delay_ms(&b, 0), delays[i]); // never ready: no good life at all
  assert_int_equal(life_delay_ms(&b, LIFE_GOOD_US - 1), 30000);
  assert_int_equal(life_delay_ms(&b, LIFE_GOOD_US), 0); // it had worked: as new
  assert_int_equal(life_delay_ms(&b, 0), 100);
}

static void test_killed_from_outside_again_and_again_it_comes_back_at_once(void **state) {
  (void)state;
  struct life_backoff b = {0};
  for (int i = 0; i < 200; i++)
    assert_int_equal(life_delay_ms(&b, SECOND / 4), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_ordinary_life),
      cmocka_unit_test(test_what_cannot_happen_changes_nothing),
      cmocka_unit_test(test_first_at_once_then_longer_up_to_a_limit),
      cmocka_unit_test(test_killed_from_outside_again_and_again_it_comes_back_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
