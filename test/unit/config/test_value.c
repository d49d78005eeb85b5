// Single values: what is read, what is refused, and that what is written is read again.
#include "fixture.h"

#include "config/options.h"

static void reads_durations(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t ms;
  } good[] = {{"300", 300000},   {"500ms", 500}, {"30s", 30000},    {"5m", 300000}, {"2h", 7200000}, {"7d", 604800000}, {"1h30m", 5400000},
              {" 10 s ", 10000}, {"0", 0},       {"1W", 604800000}, {"1.5s", 1500}, {"1.0", 1000},   {"0.0009", 0},     {"2.25m", 135000}};
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    int64_t ms = -1;
    assert_int_equal(config_parse_duration(span_of(good[i].text), &ms), ERR_OK);
    assert_int_equal(ms, good[i].ms);
  }
  static const char *const bad[] = {"", "s", "-1", ".5s", "1.s", "1.5.5s", "10 fortnights", "5m5", "5 5", "0x10", "1s,", "ten"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    int64_t ms = -1;
    assert_int_equal(config_parse_duration(span_of(bad[i]), &ms), ERR_FORMAT);
    assert_int_equal(ms, -1);
  }
  int64_t ms;
  assert_int_equal(config_parse_duration(SPAN("9223372036854775807d"), &ms), ERR_RANGE);
  assert_int_equal(config_parse_duration(SPAN("99999999999999999999"), &ms), ERR_RANGE);
}

static void reads_sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t bytes;
  } good[] = {{"0", 0}, {"16KiB", 16384}, {"16k", 16384}, {"3MiB", 3145728}, {"1 GiB", 1073741824}, {"2kB", 2000}, {"7B", 7}};
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    int64_t bytes = -1;
    assert_int_equal(config_parse_size(span_of(good[i].text), &bytes), ERR_OK);
    assert_int_equal(bytes, good[i].bytes);
  }
  int64_t bytes;
  assert_int_equal(config_parse_size(SPAN("1KiB1"), &bytes), ERR_FORMAT);
  assert_int_equal(config_parse_size(SPAN("1k1k"), &bytes), ERR_FORMAT);
  assert_int_equal(config_parse_size(SPAN("1TB"), &bytes), ERR_FORMAT);
  assert_int_equal(config_parse_size(SPAN("99999999999GiB"), &bytes), ERR_RANGE);
}

static void reads_rates(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t count;
    int64_t period_us;
  } good[] = {{"100/minute", 100, 60000000},
              {"5 per 10 seconds", 5, 10000000},
              {"100 per 1 minute", 100, 60000000},
              {"80/second", 80, 1000000},
              {"off", 0, 1000000},
              {"1000/10s", 1000, 10000000},
              {"7 / hours", 7, 3600000000},
              {"1/day", 1, 86400000000},
              {"2 PER 3 Hours", 2, 10800000000}};
  for (size_t i = 0; i < COUNT_OF(good); i++) {
    struct config_rate rate;
    assert_int_equal(config_parse_rate(span_of(good[i].text), &rate), ERR_OK);
    assert_int_equal(rate.count, good[i].count);
    assert_int_equal(rate.period_us, good[i].period_us);
  }
  static const char *const bad[] = {"",
                                    "100",
                                    "/minute",
                                    "100/",
                                    "100 minute",
                                    "100/fortnight",
                                    "100/minute;10/second",
                                    "-5/minute",
                                    "1/1",
                                    "0/minute",
                                    "5 per 0 seconds",
                                    "5/400 days",
                                    "99999999999999999999/s"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct config_rate rate;
    assert_int_not_equal(config_parse_rate(span_of(bad[i]), &rate), ERR_OK);
  }
}

static void writes_what_it_reads(void **state) {
  (void)state;
  static const int64_t numbers[] = {0, 1, 999, 1000, 1024, 5000, 60000, 90000, 1048576, 86400000, 123456789, INT64_MAX};
  for (size_t i = 0; i < COUNT_OF(numbers); i++) {
    struct buf b = {NULL, 0, 0};
    int64_t again = -1;
    config__format_duration(numbers[i], &b);
    assert_int_equal(config_parse_duration(buf_span(&b), &again), ERR_OK);
    assert_int_equal(again, numbers[i]);
    buf_clear(&b);
    config__format_size(numbers[i], &b);
    assert_int_equal(config_parse_size(buf_span(&b), &again), ERR_OK);
    assert_int_equal(again, numbers[i]);
    buf_free(&b);
  }
  static const struct config_rate rates[] = {{0, 1000000}, {1, 1000000}, {5, 10000000}, {100, 60000000}, {3, 90000000}};
  for (size_t i = 0; i < COUNT_OF(rates); i++) {
    struct buf b = {NULL, 0, 0};
    struct config_rate again;
    config__format_rate(&rates[i], &b);
    assert_int_equal(config_parse_rate(buf_span(&b), &again), ERR_OK);
    assert_int_equal(again.count, rates[i].count);
    assert_int_equal(again.period_us, rates[i].period_us);
    buf_free(&b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_durations),
      cmocka_unit_test(reads_sizes),
      cmocka_unit_test(reads_rates),
      cmocka_unit_test(writes_what_it_reads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
