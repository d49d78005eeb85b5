// Tests of the list's renderings: sums over processes, exposition format (checked by promtool where it is installed), JSON.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "wahook/metrics.h"

static struct shm shm;

static int setup(void **state) {
  (void)state;
  struct why why = {0};
  assert_int_equal(shm_create(&shm, 3, 4096, &why), ERR_OK);
  for (unsigned i = 0; i < 2; i++) {
    atomic_store(&shm.slots[i].role, SHM_ROLE_WORKER);
    atomic_store(&shm.slots[i].state, SHM_READY);
    atomic_store(&shm.slots[i].ordinal, i);
    atomic_store(&shm.slots[i].heartbeat_us, clock_mono_us());
  }
  atomic_store(&shm.slots[2].role, SHM_ROLE_WORKER); // lived once
  return 0;
}

static int teardown(void **state) {
  (void)state;
  shm_detach(&shm);
  return 0;
}

static void test_totals_are_sums_and_gauges_can_be_reset(void **state) {
  (void)state;
  metrics_add(&shm.slots[0], METRIC_HTTP_REQUESTS, 3);
  metrics_add(&shm.slots[2], METRIC_HTTP_REQUESTS, 4);
  metrics_set(&shm.slots[0], METRIC_CACHE_SIZE, 9);
  assert_int_equal(metrics_total(&shm, METRIC_HTTP_REQUESTS), 7);
  assert_int_equal(metrics_total(&shm, METRIC_CACHE_SIZE), 9);
  metrics_reset_gauges(&shm.slots[0]);
  assert_int_equal(metrics_total(&shm, METRIC_CACHE_SIZE), 0);
  assert_int_equal(metrics_total(&shm, METRIC_HTTP_REQUESTS), 7); // counters outlive their process
}

static void test_gauges_of_the_dead_do_not_count(void **state) {
  (void)state;
  metrics_set(&shm.slots[0], METRIC_STORE_POOL_OPEN, 3);
  metrics_set(&shm.slots[1], METRIC_STORE_POOL_OPEN, 4);
  atomic_store(&shm.slots[1].state, SHM_BACKOFF);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_POOL_OPEN), 3);
  metrics_add(&shm.slots[1], METRIC_STORE_POOL_LENT, 2);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_POOL_LENT), 2);
  atomic_store(&shm.slots[1].state, SHM_READY);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_POOL_OPEN), 7);
}

static unsigned count(const char *text, const char *what) {
  unsigned n = 0;
  for (const char *p = text; (p = strstr(p, what)); p++)
    n++;
  return n;
}

static void test_prometheus(void **state) {
  (void)state;
  metrics_add(&shm.slots[1], METRIC_HTTP_STATUS_2XX, 5);
  metrics_set(&shm.slots[1], METRIC_LOOP_LAG_US, 1500);
  metrics_observe(&shm.slots[0], HISTOGRAM_REQUEST, 100);
  metrics_observe(&shm.slots[1], HISTOGRAM_REQUEST, 2000);
  metrics_observe(&shm.slots[0], HISTOGRAM_STORE_WABA, 100);
  metrics_observe(&shm.slots[1], HISTOGRAM_STORE_WABA, 2000);
  metrics_add(&shm.slots[1], METRIC_STORE_WABA_TIMEOUT, 3);
  metrics_set(&shm.slots[1], METRIC_STORE_HEARTBEAT_US, 2500);
  struct buf out = {0};
  metrics_render_prometheus(&shm, &out);
  assert_int_equal(count(out.data, "# TYPE wahookd_store_answer_duration_seconds histogram\n"), 1);
  assert_non_null(strstr(out.data, "wahookd_store_answer_duration_seconds_bucket{query=\"waba\",le=\"0.000128\"} 1\n"));
  assert_non_null(strstr(out.data, "wahookd_store_answer_duration_seconds_bucket{query=\"waba\",le=\"+Inf\"} 2\n"));
  assert_non_null(strstr(out.data, "wahookd_store_answer_duration_seconds_sum{query=\"waba\"} 0.002100\n"));
  assert_non_null(strstr(out.data, "wahookd_store_answer_duration_seconds_count{query=\"phone\"} 0\n"));
  assert_non_null(strstr(out.data, "wahookd_store_query_errors_total{query=\"waba\",cause=\"timeout\"} 3\n"));
  assert_int_equal(count(out.data, "\nwahookd_store_heartbeat_seconds"), 1); // of the one that has greeted a server
  assert_non_null(strstr(out.data, "wahookd_http_requests_total 7\n"));
  assert_non_null(strstr(out.data, "wahookd_http_responses_total{class=\"2xx\"} 5\n"));
  assert_int_equal(count(out.data, "# TYPE wahookd_http_responses_total "), 1);
  assert_non_null(strstr(out.data, "wahookd_loop_lag_seconds{slot=\"1\",role=\"worker\",ordinal=\"1\"} 0.001500\n"));
  assert_null(strstr(out.data, "slot=\"2\"")); // nobody lives there
  assert_non_null(strstr(out.data, "wahookd_request_duration_seconds_bucket{le=\"0.000128\"} 1\n"));
  assert_non_null(strstr(out.data, "wahookd_request_duration_seconds_bucket{le=\"0.002048\"} 2\n"));
  assert_non_null(strstr(out.data, "wahookd_request_duration_seconds_bucket{le=\"+Inf\"} 2\n"));
  assert_non_null(strstr(out.data, "wahookd_request_duration_seconds_sum 0.002100\n"));
  buf_free(&out);
}

static void test_promtool_finds_nothing(void **state) {
  (void)state;
  if (access("/usr/bin/promtool", X_OK) != 0) skip();
  struct buf out = {0};
  metrics_render_prometheus(&shm, &out);
  FILE *promtool = popen("/usr/bin/promtool check metrics 2>&1", "w");
  assert_non_null(promtool);
  assert_int_equal(fwrite(out.data, 1, out.len, promtool), out.len);
  assert_int_equal(pclose(promtool), 0); // 3: lint warnings, 1: not parsed
  buf_free(&out);
}

static void test_json(void **state) {
  (void)state;
  struct buf out = {0};
  struct json_writer w;
  json_start(&w, &out);
  json_open(&w, NULL, '{');
  metrics_render_json(&shm, &w);
  json_close(&w, '}');
  struct arena arena;
  arena_init(&arena, 65536, 0);
  const struct json *doc;
  assert_int_equal(json_parse(&arena, buf_span(&out), NULL, &doc, NULL), ERR_OK);
  assert_int_equal(json_i64(json_path(doc, "http_requests_total"), -1), 7);
  assert_int_equal(json_i64(json_path(doc, "http_responses_total.2xx"), -1), 5);
  assert_int_equal(json_i64(json_path(doc, "graph_sends_total.tenant_broken"), -1), 0);
  assert_int_equal(json_i64(json_path(doc, "request_duration_seconds.count"), -1), 2);
  assert_int_equal(json_i64(json_path(doc, "store_query_errors_total.waba/timeout"), -1), 3);
  assert_int_equal(json_i64(json_path(doc, "store_answer_duration_seconds.waba.count"), -1), 2);
  assert_int_equal(json_i64(json_path(doc, "store_answer_duration_seconds.phone.count"), -1), 0);
  arena_free(&arena);
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_totals_are_sums_and_gauges_can_be_reset),
      cmocka_unit_test(test_gauges_of_the_dead_do_not_count),
      cmocka_unit_test(test_prometheus),
      cmocka_unit_test(test_promtool_finds_nothing),
      cmocka_unit_test(test_json),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
