// The steady clock, with time in the test's hands: jumps, corrections, processes and machines that start anew.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "wahook/base.h"

#define SEC  INT64_C(1000000)
#define HOUR (3600 * SEC)
#define DAY  (24 * HOUR)
#define T0   INT64_C(1770000000000000)

// A machine: what has passed since its start, and where its wall clock stands.
struct machine {
  uint64_t id;
  int64_t boot_us, wall_us;
  struct clock_steady clock;
};

static void begin(struct machine *m, const struct clock_steady *kept) {
  clock_steady_begin(&m->clock, kept, m->id, m->boot_us, m->wall_us);
}

static int64_t now(struct machine *m) {
  return clock_steady_at(&m->clock, m->boot_us, m->wall_us);
}

static struct machine machine(void) {
  struct machine m = {.id = 1, .boot_us = 100 * SEC, .wall_us = T0};
  begin(&m, &(struct clock_steady){0});
  return m;
}

// Lets time pass in steps; what the steady clock has advanced.
static int64_t pass(struct machine *m, int64_t us, int64_t step_us) {
  int64_t from = now(m), before = from;
  for (int64_t passed = 0; passed < us; passed += step_us) {
    m->boot_us += step_us;
    m->wall_us += step_us;
    int64_t shows = now(m);
    assert_true(shows >= before);
    before = shows;
  }
  return before - from;
}

static void shows_the_wall_clocks_time(void **state) {
  (void)state;
  struct machine m = machine();
  assert_true(now(&m) == T0);
  pass(&m, 10 * DAY, 60 * SEC);
  assert_true(now(&m) == m.wall_us);
  // A wall clock that is a little fast or slow is followed at once.
  for (int i = 0; i < 1000; i++) {
    m.boot_us += SEC;
    m.wall_us += SEC + (i < 500 ? 500 : -500);
    assert_true(now(&m) == m.wall_us);
  }
}

static void a_jump_is_not_noticed(void **state) {
  (void)state;
  static const int64_t jumps[] = {DAY, -DAY, -2 * DAY, 30 * 365 * DAY};
  static const int64_t steps[] = {SEC / 1000, SEC, 10 * SEC};
  for (size_t i = 0; i < COUNT_OF(jumps); i++)
    for (size_t k = 0; k < COUNT_OF(steps); k++) {
      struct machine m = machine();
      m.wall_us += jumps[i];
      assert_true(now(&m) == T0);
      int64_t passed = pass(&m, 30 * SEC, steps[k]), off = passed - 30 * SEC;
      assert_true(llabs(off) <= 30 * SEC / 20);
      m.wall_us -= jumps[i];
      pass(&m, 30 * SEC, steps[k]);
      assert_true(llabs(now(&m) - m.wall_us) < SEC / 100);
    }
}

static void a_lasting_correction_is_followed(void **state) {
  (void)state;
  for (int sign = -1; sign <= 1; sign += 2) {
    struct machine m = machine();
    m.wall_us += sign * HOUR;
    pass(&m, 19 * HOUR, SEC);
    assert_true(now(&m) != m.wall_us);
    pass(&m, 3 * HOUR, SEC);
    assert_true(now(&m) == m.wall_us);
  }
}

static void goes_on_in_a_later_process(void **state) {
  (void)state;
  struct machine m = machine();
  pass(&m, HOUR, SEC);
  struct clock_steady kept = m.clock;
  int64_t shown = now(&m);
  // The process is gone for ten seconds, in which the wall clock jumps.
  m.boot_us += 10 * SEC;
  m.wall_us += 10 * SEC - DAY;
  begin(&m, &kept);
  assert_true(llabs(now(&m) - (shown + 10 * SEC)) <= SEC / 2);
  assert_true(now(&m) >= shown);
}

static void the_machine_starts_again(void **state) {
  (void)state;
  struct machine m = machine();
  pass(&m, HOUR, SEC);
  struct clock_steady kept = m.clock;
  int64_t shown = now(&m);
  // Down for five minutes, as the wall clock tells.
  struct machine next = {.id = 2, .boot_us = 3 * SEC, .wall_us = m.wall_us + 300 * SEC};
  begin(&next, &kept);
  assert_true(now(&next) == shown + 300 * SEC);
  // Its clock has no battery: no time has passed, rather than less.
  next = (struct machine){.id = 2, .boot_us = 3 * SEC, .wall_us = SEC};
  begin(&next, &kept);
  assert_true(now(&next) == shown);
  // A start that cannot be told from another one is taken for a new one, also when more has passed since than at the earlier moment.
  kept.boot_id = 0;
  next = (struct machine){.id = 0, .boot_us = m.boot_us + DAY, .wall_us = m.wall_us + 300 * SEC};
  begin(&next, &kept);
  assert_true(now(&next) == shown + 300 * SEC);
  // So is one that has the same name, but a shorter past.
  kept.boot_id = 1;
  next = (struct machine){.id = 1, .boot_us = 3 * SEC, .wall_us = m.wall_us + 300 * SEC};
  begin(&next, &kept);
  assert_true(now(&next) == shown + 300 * SEC);
}

// A clock that was years off when all began, was set right, and a machine that starts again later: what was stored is as old as it is.
static void begins_under_a_wrong_clock(void **state) {
  (void)state;
  struct machine m = {.id = 1, .boot_us = SEC, .wall_us = 5 * SEC};
  begin(&m, &(struct clock_steady){0});
  int64_t stored = now(&m);
  m.wall_us = T0;
  pass(&m, HOUR, SEC);
  struct clock_steady kept = m.clock;
  struct machine next = {.id = 2, .boot_us = SEC, .wall_us = m.wall_us + HOUR};
  begin(&next, &kept);
  int64_t age = now(&next) - stored;
  assert_true(age >= 2 * HOUR && age <= 2 * HOUR + HOUR / 20);
}

static void the_machines_clock(void **state) {
  (void)state;
  int64_t before = clock_boot_us();
  assert_true(before > 0 && clock_boot_us() >= before);
  assert_true(clock_boot_us() >= clock_mono_us() - SEC);
  assert_true(clock_boot_id() == clock_boot_id());
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shows_the_wall_clocks_time),
      cmocka_unit_test(a_jump_is_not_noticed),
      cmocka_unit_test(a_lasting_correction_is_followed),
      cmocka_unit_test(goes_on_in_a_later_process),
      cmocka_unit_test(the_machine_starts_again),
      cmocka_unit_test(begins_under_a_wrong_clock),
      cmocka_unit_test(the_machines_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
