// GCRA and the words of rules: bursts, steady rate, what the headers are told, clocks and rules that change.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wahook/limiter.h"

#define MINUTE INT64_C(60000000)
#define NOW    INT64_C(1000000000)

static void a_burst_is_exactly_count(void **state) {
  (void)state;
  static const struct {
    uint64_t count;
    int64_t period_us;
  } rules[] = {{1, 1000000}, {7, 1000000}, {100, MINUTE}, {300000, 1000000}, {3, 7}, {1, 86400000000}, {11, 10}};
  for (size_t r = 0; r < COUNT_OF(rules); r++) {
    struct limiter_rule rule = limiter_rule(rules[r].count, rules[r].period_us);
    struct limiter_verdict v;
    int64_t tat = 0;
    for (uint64_t i = 0; i < rule.count; i++) {
      tat = gcra_decide(tat, NOW, &rule, &v);
      assert_true(v.allowed);
      assert_int_equal(v.remaining, rule.count - i - 1);
      assert_int_equal(v.retry_after_us, 0);
    }
    int64_t full = gcra_decide(tat, NOW, &rule, &v);
    assert_false(v.allowed);
    assert_int_equal(full, tat);
    assert_int_equal(v.remaining, 0);
    assert_true(v.retry_after_us > 0);
    // Waiting as long as told is enough, a microsecond less is not.
    struct limiter_verdict early, late;
    gcra_decide(tat, NOW + v.retry_after_us - 1, &rule, &early);
    gcra_decide(tat, NOW + v.retry_after_us, &rule, &late);
    assert_false(early.allowed);
    assert_true(late.allowed);
    // After the reset the whole burst is there again.
    gcra_decide(tat, NOW + v.reset_us, &rule, &late);
    assert_int_equal(late.remaining, rule.count - 1);
  }
}

static void steady_rate(void **state) {
  (void)state;
  struct limiter_rule rule = limiter_rule(100, MINUTE);
  struct limiter_verdict v;
  int64_t tat = 0;
  int allowed = 0;
  for (int64_t t = 0; t < 10 * MINUTE; t += 100000) { // ten a second for ten minutes
    tat = gcra_decide(tat, NOW + t, &rule, &v);
    allowed += v.allowed;
  }
  assert_in_range(allowed, 1099, 1100); // the burst and 100 a minute
}

static void no_limit_and_a_changed_rule(void **state) {
  (void)state;
  struct limiter_verdict v;
  struct limiter_rule off = limiter_rule(0, MINUTE);
  assert_int_equal(gcra_decide(5, NOW, &off, &v), 5);
  assert_true(v.allowed);
  // What "1 per day" left behind does not lock a caller out for a day under "10 per second".
  struct limiter_rule rule = limiter_rule(10, 1000000);
  gcra_decide(NOW + 86400000000, NOW, &rule, &v);
  assert_false(v.allowed);
  assert_int_equal(v.retry_after_us, 100000);
  // A process whose clock reading is a little behind.
  int64_t tat = gcra_decide(NOW, NOW - 50, &rule, &v);
  assert_true(v.allowed);
  assert_int_equal(tat, NOW + 100000);
}

static void words(void **state) {
  (void)state;
  assert_string_equal(limiter_rule(100, MINUTE).text, "100 per 1 minute");
  assert_string_equal(limiter_rule(10, 1000000).text, "10 per 1 second");
  assert_string_equal(limiter_rule(5, 90000000).text, "5 per 90 second");
  assert_string_equal(limiter_rule(5, 5 * MINUTE).text, "5 per 5 minute");
  assert_string_equal(limiter_rule(1, 60 * MINUTE).text, "1 per 1 hour");
  assert_string_equal(limiter_rule(1, 24 * 60 * MINUTE).text, "1 per 1 day");
  assert_string_equal(limiter_rule(1, 1500).text, "1 per 1500 microsecond");
  assert_true(strlen(limiter_rule(UINT64_MAX, INT64_MAX).text) < 48);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_burst_is_exactly_count),
      cmocka_unit_test(steady_rate),
      cmocka_unit_test(no_limit_and_a_changed_rule),
      cmocka_unit_test(words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
