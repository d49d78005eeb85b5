// What status and top make of the daemon's documents: figures, rates between two looks, quantiles.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tools/ctl/look.h"

void ctl_complain(const char *fmt, ...) {
  (void)fmt;
}
int ctl_fail(enum err e, const char *what, const struct why *why) {
  (void)what, (void)why;
  return (int)e;
}
int ctl_exit_status(enum err e) {
  return (int)e;
}

// A daemon that has been up for so long, has answered so many requests, its worker as many with so much time on a processor.
static struct look look_at(double at_s, double uptime_s, int pid, int requests, double cpu_s) {
  struct look look;
  struct buf text = {NULL, 0, 0};
  buf_printf(&text,
             "{\"ready\":true,\"uptime_seconds\":%.1f,\"processes\":[{\"role\":\"master\",\"pid\":1},{\"role\":\"worker\",\"pid\":%d,"
             "\"requests\":%d,\"cpu_seconds\":%.2f}],\"metrics\":{\"http_requests_total\":%d,\"http_responses_total\":{\"2xx\":%d}}}",
             uptime_s, pid, requests, cpu_s, requests, requests - 5);
  assert_int_equal(look_read(&look, buf_span(&text), (int64_t)(at_s * 1e6)), ERR_OK);
  buf_free(&text);
  return look;
}

static void reads_a_document(void **state) {
  (void)state;
  struct look look;
  struct span text = SPAN("{\"ready\":false,\"processes\":[{\"role\":\"worker\",\"ordinal\":3,\"state\":\"backoff\",\"deaths\":5,"
                          "\"next_start_seconds\":3.25},{\"role\":\"a very long role of a later version\"}],"
                          "\"metrics\":{\"events_total\":{\"message\":3,\"status\":4},\"jobs_waiting\":17}}");
  assert_int_equal(look_read(&look, text, 1), ERR_OK);
  assert_false(look.ready);
  assert_int_equal(look.process_count, 2);
  assert_int_equal(look.processes[0].deaths, 5);
  assert_true(look.processes[0].next_start_s == 3.25 && look.processes[0].cpu_s == UNKNOWN);
  assert_int_equal(look.processes[0].pid, 0);
  assert_string_equal(look.processes[1].role, "?");
  assert_true(look.totals[TOTAL_EVENTS] == 7 && look.totals[TOTAL_WAITING] == 17 && look.totals[TOTAL_REQUESTS] == UNKNOWN);
  look_free(&look);
  assert_int_equal(look_read(&look, SPAN("[]"), 1), ERR_FORMAT);
  assert_int_equal(look_read(&look, SPAN("{\"ready\":tr"), 1), ERR_FORMAT);
  assert_int_equal(look_read(&look, SPAN("{\"processes\":7}"), 1), ERR_OK);
  assert_int_equal(look.process_count, 0);
  look_free(&look);
}

static void rates_are_per_second(void **state) {
  (void)state;
  struct look before = look_at(100, 50, 7, 1000, 1.0), now = look_at(102, 52, 7, 1500, 2.0);
  assert_true(rate_of(&before, &now, TOTAL_REQUESTS) == 250);
  assert_true(rate_of(&before, &now, TOTAL_2XX) == 250);
  assert_true(rate_requests(&before, &now, &now.processes[1]) == 250);
  assert_true(rate_cpu(&before, &now, &now.processes[1]) == 0.5);
  assert_true(rate_of(&before, &now, TOTAL_4XX) == UNKNOWN); // it does not tell
  assert_true(rate_cpu(&before, &now, &now.processes[0]) == UNKNOWN);
  assert_true(rate_of(NULL, &now, TOTAL_REQUESTS) == UNKNOWN); // the first look
  assert_true(rate_requests(NULL, &now, &now.processes[1]) == UNKNOWN);
  assert_true(rate_of(&now, &now, TOTAL_REQUESTS) == UNKNOWN); // no time has passed
  look_free(&before);
  look_free(&now);
}

static void no_rate_across_a_restart(void **state) {
  (void)state;
  static const struct {
    double uptime_s;
    int pid, requests;
    double cpu_s, rate, rate_of_worker;
  } cases[] = {
      {52, 7, 900, 0.5, UNKNOWN, UNKNOWN},   // counters that went backwards
      {1.5, 9, 5000, 9.0, UNKNOWN, UNKNOWN}, // a new daemon that has passed the old one already
      {52, 9, 1200, 0.1, 100, UNKNOWN},      // a new worker that counts on
      {51.6, 7, 1200, 1.0, 100, 100},        // an answer that was under way for a while
      {52, 7, 1000, 1.0, 0, 0},              // nothing happened
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    struct look before = look_at(100, 50, 7, 1000, 1.0),
                now = look_at(102, cases[i].uptime_s, cases[i].pid, cases[i].requests, cases[i].cpu_s);
    if (rate_of(&before, &now, TOTAL_REQUESTS) != cases[i].rate) fail_msg("case %zu: rate", i);
    if (rate_requests(&before, &now, &now.processes[1]) != cases[i].rate_of_worker) fail_msg("case %zu: worker", i);
    for (unsigned p = 0; p < now.process_count; p++)
      assert_true(rate_cpu(&before, &now, &now.processes[p]) >= 0 || rate_cpu(&before, &now, &now.processes[p]) == UNKNOWN);
    look_free(&before);
    look_free(&now);
  }
}

static void quantiles_are_of_the_time_between(void **state) {
  (void)state;
  struct look before = look_at(100, 50, 7, 0, 0), now = look_at(101, 51, 7, 0, 0);
  look_read_spreads(&before, SPAN("# HELP wahookd_intake_commit_duration_seconds One group commit\n"
                                  "wahookd_intake_commit_duration_seconds_bucket{le=\"0.001000\"} 1000000\n"
                                  "wahookd_intake_commit_duration_seconds_bucket{le=\"0.002000\"} 1000000\n"
                                  "wahookd_intake_commit_duration_seconds_bucket{le=\"0.004000\"} 1000000\n"
                                  "wahookd_intake_commit_duration_seconds_bucket{le=\"+Inf\"} 1000000\n"
                                  "wahookd_intake_commit_duration_seconds_sum 1.5\n"));
  look_read_spreads(&now, SPAN("wahookd_intake_commit_duration_seconds_bucket{le=\"0.001000\"} 1000050\n"
                               "wahookd_intake_commit_duration_seconds_bucket{le=\"0.002000\"} 1000098\n"
                               "wahookd_intake_commit_duration_seconds_bucket{le=\"0.004000\"} 1000100\n"
                               "wahookd_intake_commit_duration_seconds_bucket{le=\"+Inf\"} 1000100\n"));
  assert_int_equal(now.spreads[SPREAD_COMMIT].count, 4);
  double p99 = rate_quantile_us(&before, &now, SPREAD_COMMIT, 0.99), p50 = rate_quantile_us(&before, &now, SPREAD_COMMIT, 0.5);
  assert_true(p99 > 2999 && p99 < 3001); // a million quick commits before do not hide the slow ones of now
  assert_true(p50 > 999 && p50 < 1001);
  assert_true(rate_quantile_us(&before, &now, SPREAD_GRAPH, 0.99) == UNKNOWN);  // not told
  assert_true(rate_quantile_us(&now, &before, SPREAD_COMMIT, 0.99) == UNKNOWN); // backwards
  assert_true(rate_quantile_us(NULL, &now, SPREAD_COMMIT, 0.99) == UNKNOWN);
  look_free(&before);
  look_free(&now);
}

static void broken_pages_are_no_trouble(void **state) {
  (void)state;
  struct look look = look_at(1, 1, 7, 0, 0);
  struct buf page = {NULL, 0, 0};
  look_read_spreads(&look, SPAN("wahookd_graph_duration_seconds_bucket{le=\"\nwahookd_graph_duration_seconds_bucket{le=\"0.1\"\n"
                                "wahookd_graph_duration_seconds_bucket{le=\"0.1\"}"));
  assert_int_equal(look.spreads[SPREAD_GRAPH].count, 0);
  for (int i = 0; i < 100; i++) // more buckets than there is room for
    buf_printf(&page, "wahookd_graph_duration_seconds_bucket{le=\"%d\"} %d\n", i, i);
  look_read_spreads(&look, buf_span(&page));
  assert_int_equal(look.spreads[SPREAD_GRAPH].count, COUNT_OF(look.spreads[0].le_us));
  buf_free(&page);
  look_free(&look);
}

static void figures_are_short(void **state) {
  (void)state;
  static const struct {
    struct figure (*figure)(double n);
    double n;
    const char *text;
  } cases[] = {
      {figure_count, UNKNOWN, "-"},
      {figure_count, 0, "0"},
      {figure_count, 99999, "99999"},
      {figure_count, 123456, "123k"},
      {figure_count, 12.4e6, "12.4M"},
      {figure_rate, 0, "0"},
      {figure_rate, 0.25, "0.2"},
      {figure_rate, 9.96, "10"},
      {figure_rate, 1234.4, "1234"},
      {figure_bytes, UNKNOWN, "-"},
      {figure_bytes, 0, "0B"},
      {figure_bytes, 1023, "1023B"},
      {figure_bytes, 1536, "1.5K"},
      {figure_bytes, 13 << 20, "13.0M"},
      {figure_bytes, 1023.8 * 1024, "1.0M"},
      {figure_us, 87, "87us"},
      {figure_us, 1234, "1.2ms"},
      {figure_us, 999700, "1.0s"},
      {figure_us, 12e6, "12.0s"},
      {figure_age, 3.21, "3.2 s"},
      {figure_age, 45, "45 s"},
      {figure_age, 723, "12 min"},
      {figure_age, 7200, "2 h"},
      {figure_age, 864000, "10 days"},
      {figure_age, UNKNOWN, "-"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    assert_string_equal(cases[i].figure(cases[i].n).text, cases[i].text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_a_document),
      cmocka_unit_test(rates_are_per_second),
      cmocka_unit_test(no_rate_across_a_restart),
      cmocka_unit_test(quantiles_are_of_the_time_between),
      cmocka_unit_test(broken_pages_are_no_trouble),
      cmocka_unit_test(figures_are_short),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
