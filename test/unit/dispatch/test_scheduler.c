// The scheduler: order within a conversation, fairness between tenants, holds, delays; time is a parameter.
#include "wahook/base.h"

#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "scheduler.h"

static void a_conversation_has_one_job_at_a_time(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(8, 8);
  scheduler_add(s, 1, "100", 0, 0);
  scheduler_add(s, 1, "100", 0, 0);
  struct conversation *c = scheduler_next(s, 0);
  assert_non_null(c);
  assert_int_equal(c->id, 1);
  assert_null(scheduler_next(s, 0));
  scheduler_add(s, 1, "100", 0, 0); // arrives while the first is in work
  assert_null(scheduler_next(s, 0));
  scheduler_end(s, c, false, 0, 0); // the spool did not see it yet: it is not forgotten
  c = scheduler_next(s, 0);
  assert_non_null(c);
  scheduler_end(s, c, false, 0, 0);
  assert_null(scheduler_next(s, 0));
  assert_int_equal(scheduler_conversations(s), 0);
  scheduler_free(s);
}

static void a_retry_waits_and_is_not_overtaken(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(8, 8);
  scheduler_add(s, 1, "100", 0, 0);
  struct conversation *c = scheduler_next(s, 0);
  scheduler_end(s, c, true, 5000, 0);
  scheduler_add(s, 1, "100", 0, 10); // a newer message must wait behind the retry
  assert_null(scheduler_next(s, 4999));
  assert_int_equal(scheduler_wake_us(s), 5000);
  assert_ptr_equal(scheduler_next(s, 5000), c);
  scheduler_free(s);
}

static void an_operator_hastens_what_waits(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(8, 8);
  scheduler_add(s, 1, "100", 60000, 0);
  scheduler_hasten(s, 1, 90000); // never later than it was
  assert_int_equal(scheduler_wake_us(s), 60000);
  scheduler_hasten(s, 1, 10);
  scheduler_hasten(s, 2, 10); // unknown: nothing to hasten
  assert_int_equal(scheduler_next(s, 10)->id, 1);
  scheduler_free(s);
}

static void tenants_take_turns(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(100, 100);
  for (int i = 0; i < 50; i++)
    scheduler_add(s, i, "noisy", 0, 0);
  scheduler_add(s, 1000, "quiet", 0, 0);
  bool quiet_seen = false;
  for (int i = 0; i < 2; i++)
    quiet_seen |= scheduler_next(s, 0)->id == 1000;
  assert_true(quiet_seen);
  scheduler_free(s);
}

static void limits_hold(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(3, 2);
  for (int i = 0; i < 9; i++)
    scheduler_add(s, i, i < 5 ? "a" : "b", 0, 0);
  struct conversation *first = scheduler_next(s, 0);
  unsigned of_a = !strcmp(first->tenant->phone_number_id, "a");
  for (int i = 0; i < 2; i++) {
    struct conversation *c = scheduler_next(s, 0);
    assert_non_null(c);
    of_a += !strcmp(c->tenant->phone_number_id, "a");
  }
  assert_true(of_a <= 2);
  assert_null(scheduler_next(s, 0));
  assert_int_equal(scheduler_working(s), 3);
  scheduler_end(s, first, false, 0, 0);
  assert_non_null(scheduler_next(s, 0));
  scheduler_free(s);
}

static void a_held_tenant_waits_then_proves_itself_with_one_job(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(10, 10);
  for (int i = 0; i < 4; i++)
    scheduler_add(s, i, "broken", 0, 0);
  scheduler_add(s, 9, "sound", 0, 0);
  struct conversation *c = scheduler_next(s, 0);
  while (c->id == 9)
    c = scheduler_next(s, 0);
  struct tenant *t = c->tenant;
  scheduler_hold(s, t, 1000);
  scheduler_end(s, c, true, 1000, 0);
  assert_int_equal(scheduler_held(s), 1);
  for (struct conversation *other; (other = scheduler_next(s, 500));)
    assert_int_equal(other->id, 9);
  c = scheduler_next(s, 1000);
  assert_non_null(c);
  assert_null(scheduler_next(s, 1000)); // on probation: one at a time
  scheduler_release(s, t);
  assert_int_equal(scheduler_held(s), 0);
  assert_non_null(scheduler_next(s, 1000));
  scheduler_free(s);
}

static void the_parked_come_back_in_their_order(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(8, 8);
  assert_null(scheduler_take_parked(s));
  for (int i = 1; i <= 3; i++) {
    char phone[] = {(char)('0' + i), '\0'};
    scheduler_add(s, i, phone, 0, 0);
    scheduler_add(s, 10 + i, phone, 0, 0);
  }
  struct conversation *c;
  while ((c = scheduler_next(s, 0)))
    scheduler_park(s, c, 0); // one a tenant is enough
  assert_int_equal(scheduler_working(s), 0);
  assert_int_equal(scheduler_conversations(s), 6);
  assert_null(scheduler_next(s, 1000000000)); // no time brings them back
  struct tenant *first = scheduler_take_parked(s);
  assert_int_equal(first->phone_number_id[0], '1');
  assert_null(scheduler_next(s, 0)); // taken, but still parked
  scheduler_park_again(s, first);
  for (int i = 2; i != 1; i = i % 3 + 1) {
    scheduler_unpark(s, scheduler_take_parked(s));
    for (int each = 0; each < 2; each++) {
      c = scheduler_next(s, 0);
      assert_non_null(c);
      assert_int_equal(c->tenant->phone_number_id[0], '0' + i);
      scheduler_end(s, c, false, 0, 0);
    }
    assert_null(scheduler_next(s, 0));
  }
  assert_ptr_equal(scheduler_take_parked(s), first);
  assert_null(scheduler_take_parked(s));
  scheduler_unpark(s, first);
  assert_non_null(scheduler_next(s, 0));
  assert_non_null(scheduler_next(s, 0));
  scheduler_free(s);
}

static void many_delays_come_in_time_order(void **state) {
  (void)state;
  struct scheduler *s = scheduler_new(100000, 100000);
  for (int64_t i = 0; i < 10000; i++)
    scheduler_add(s, i, "100", 1 + (i * 7919) % 10007, 0);
  int64_t last = 0, now;
  size_t seen = 0;
  while ((now = scheduler_wake_us(s)) != INT64_MAX) {
    assert_true(now > last);
    last = now;
    for (struct conversation *c; (c = scheduler_next(s, now));) {
      assert_int_equal(1 + (c->id * 7919) % 10007, now);
      seen++;
    }
  }
  assert_int_equal(seen, 10000);
  scheduler_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_conversation_has_one_job_at_a_time),
      cmocka_unit_test(a_retry_waits_and_is_not_overtaken),
      cmocka_unit_test(an_operator_hastens_what_waits),
      cmocka_unit_test(tenants_take_turns),
      cmocka_unit_test(limits_hold),
      cmocka_unit_test(a_held_tenant_waits_then_proves_itself_with_one_job),
      cmocka_unit_test(the_parked_come_back_in_their_order),
      cmocka_unit_test(many_delays_come_in_time_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
