// Tests of counters that go from one build's segment into another's.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "wahook/metrics.h"

static void test_saved_and_restored(void **state) {
  (void)state;
  struct shm old, next;
  struct why why = {0};
  struct buf text = {0};
  assert_int_equal(shm_create(&old, 3, 4096, &why), ERR_OK);
  assert_int_equal(shm_create(&next, 2, 4096, &why), ERR_OK);
  for (unsigned i = 0; i < 3; i++)
    atomic_store(&old.slots[i].role, SHM_ROLE_WORKER);
  for (unsigned i = 0; i < 2; i++)
    atomic_store(&next.slots[i].role, SHM_ROLE_WORKER);
  metrics_add(&old.slots[0], METRIC_HTTP_STATUS_2XX, 5);
  metrics_add(&old.slots[2], METRIC_HTTP_STATUS_2XX, 7);
  metrics_set(&old.slots[1], METRIC_CACHE_SIZE, 100);
  metrics_observe(&old.slots[1], HISTOGRAM_COMMIT, 250);
  metrics_observe(&old.slots[2], HISTOGRAM_COMMIT, 350);
  metrics_observe(&old.slots[2], HISTOGRAM_STORE_WARM, 70);
  metrics_add(&old.slots[2], METRIC_STORE_WARM_AUTH, 6);
  metrics_save(&old, &text);
  assert_non_null(strstr(text.data, "http_responses_total{class=\"2xx\"} 12\n"));
  // Lines of a build that knows more, and damaged ones, are left out.
  buf_add_text(&text, "of_another_build_total 9\nhttp_requests_total\nintake_commit_duration_seconds/99999 3\n 4\n\nx/y/z 1\n");
  metrics_add(&next.slots[1], METRIC_HTTP_STATUS_2XX, 1);
  metrics_restore(&next.slots[0], buf_span(&text));
  assert_int_equal(metrics_total(&next, METRIC_HTTP_STATUS_2XX), 13);
  assert_int_equal(metrics_total(&next, METRIC_CACHE_SIZE), 0); // of a moment
  struct histogram_summary sum;
  histogram_summarize(&next, HISTOGRAM_COMMIT, &sum);
  assert_int_equal(sum.count, 2);
  assert_true(sum.mean_us > 299.9 && sum.mean_us < 300.1);
  histogram_summarize(&next, HISTOGRAM_STORE_WARM, &sum);
  assert_int_equal(sum.count, 1);
  histogram_summarize(&next, HISTOGRAM_STORE_PHONE, &sum); // of the same name, with another label
  assert_int_equal(sum.count, 0);
  assert_int_equal(metrics_total(&next, METRIC_STORE_WARM_AUTH), 6);
  assert_int_equal(metrics_total(&next, METRIC_STORE_WARM_NETWORK), 0);
  assert_int_equal(metrics_tag(), metrics_tag());
  buf_free(&text);
  shm_detach(&old);
  shm_detach(&next);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_saved_and_restored)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
