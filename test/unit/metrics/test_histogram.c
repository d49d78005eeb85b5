// Tests of the log-linear buckets: every value lies in its bucket, precision, extremes, quantiles and exact means.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wahook/metrics.h"

static void test_buckets_partition_the_range(void **state) {
  (void)state;
  uint64_t lower = 0;
  for (unsigned b = 0; b < SHM_BUCKETS - 2; b++) {
    uint64_t upper = histogram_upper_us(b);
    assert_true(upper >= lower);
    assert_int_equal(histogram_bucket(lower), b);
    assert_int_equal(histogram_bucket(upper), b);
    if (lower >= 8) assert_true((upper - lower + 1) * 8 <= lower); // an eighth of a power of two
    lower = upper + 1;
  }
  assert_true(lower > 1000ull * 1000 * 1000);
}

static void test_extremes(void **state) {
  (void)state;
  assert_int_equal(histogram_bucket(0), 0);
  assert_int_equal(histogram_bucket(UINT64_MAX), SHM_BUCKETS - 2);
}

static void test_summary(void **state) {
  (void)state;
  struct shm shm;
  struct why why = {0};
  assert_int_equal(shm_create(&shm, 2, 4096, &why), ERR_OK);
  atomic_store(&shm.slots[0].role, SHM_ROLE_WORKER);
  atomic_store(&shm.slots[1].role, SHM_ROLE_WORKER);
  struct histogram_summary sum;
  histogram_summarize(&shm, HISTOGRAM_REQUEST, &sum);
  assert_true(sum.count == 0 && sum.mean_us == 0 && sum.p99_us == 0);
  for (uint64_t us = 1; us <= 1000; us++)
    metrics_observe(&shm.slots[us % 2], HISTOGRAM_REQUEST, us);
  histogram_summarize(&shm, HISTOGRAM_REQUEST, &sum);
  assert_true(sum.count == 1000);
  assert_true(sum.mean_us > 500.4 && sum.mean_us < 500.6); // exact, not from buckets
  assert_true(sum.p50_us >= 500 && sum.p50_us <= 500 * 1.125);
  assert_true(sum.p99_us >= 990 && sum.p99_us <= 990 * 1.125);
  assert_true(sum.max_us >= 1000 && sum.max_us <= 1000 * 1.125);
  shm_detach(&shm);
}

static void test_many_at_once(void **state) {
  (void)state;
  struct shm shm;
  struct why why = {0};
  uint64_t buckets[SHM_BUCKETS] = {0};
  struct histogram_summary sum;
  assert_int_equal(shm_create(&shm, 1, 4096, &why), ERR_OK);
  atomic_store(&shm.slots[0].role, SHM_ROLE_WORKER);
  metrics_observe(&shm.slots[0], HISTOGRAM_REQUEST, 100);
  buckets[histogram_bucket(100)] = 97;
  buckets[histogram_bucket(9000)] = 2;
  buckets[SHM_BUCKETS - 1] = 12345; // no bucket: the sum comes apart
  metrics_observe_many(&shm.slots[0], HISTOGRAM_REQUEST, buckets, 97 * 100 + 2 * 9000);
  histogram_summarize(&shm, HISTOGRAM_REQUEST, &sum);
  assert_true(sum.count == 100);
  assert_true(sum.mean_us > 277.9 && sum.mean_us < 278.1);
  assert_true(sum.p95_us >= 100 && sum.p95_us <= 100 * 1.125);
  assert_true(sum.p99_us >= 9000 && sum.p99_us <= 9000 * 1.125);
  shm_detach(&shm);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_buckets_partition_the_range),
      cmocka_unit_test(test_extremes),
      cmocka_unit_test(test_summary),
      cmocka_unit_test(test_many_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
