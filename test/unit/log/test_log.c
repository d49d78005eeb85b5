// The log as its readers see it: form of lines, injection, cut lines, reopening, reload errors, the access log, redaction, limits.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wahook/log.h"

static char dir[64], path[96], access_path[96];

static int make_dir(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/test-log-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  snprintf(path, sizeof path, "%s/log", dir);
  snprintf(access_path, sizeof access_path, "%s/access", dir);
  return 0;
}
static int remove_dir(void **state) {
  (void)state;
  unlink(path);
  unlink(access_path);
  return rmdir(dir);
}

static void setup(enum log_format format, enum log_level level) {
  unlink(path);
  unlink(access_path);
  struct log_options options = {.level = level, .format = format, .target = path, .access = access_path, .role = "worker 0"};
  assert_int_equal(log_setup(&options, NULL), ERR_OK);
}
static struct buf contents;
static const char *read_all(const char *file) {
  buf_clear(&contents);
  assert_int_equal(buf_read_file(&contents, file, 1 << 24), ERR_OK);
  return contents.data ? contents.data : "";
}
static unsigned lines_of(const char *text) {
  unsigned n = 0;
  for (; *text; text++)
    n += *text == '\n';
  return n;
}

static void text_lines(void **state) {
  (void)state;
  setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
  log_info("http", "hello %d", 5);
  const char *text = read_all(path);
  assert_int_equal(text[10], 'T');
  assert_string_equal(text + 24, " info  worker 0 http: hello 5\n");
  log_set_request("0123456789abcdef0123456789abcdef-too-long");
  log_debug("http", "not shown");
  log_warning("http", "shown");
  log_set_request("");
  assert_non_null(strstr(read_all(path), " warning worker 0 http [0123456789abcdef0123456789abcdef]: shown\n"));
  assert_int_equal(lines_of(contents.data), 2);
  assert_false(log_enabled(LOG_LEVEL_DEBUG));
}

static void nobody_forges_a_line(void **state) {
  (void)state;
  setup(LOG_FORMAT_TEXT, LOG_LEVEL_DEBUG);
  log_set_request("a\nb");
  log_debug("http", "%s",
            "x\n2026-03-01 forged\r\t\x1b[31m\x7f \xc2\x9b \xe2\x80\xae \xff \xc0\xaf \xed\xa0\x80 \xc3\xa4\xf0\x9f\x98\x8a\\");
  log_set_request(NULL);
  const char *text = read_all(path);
  assert_int_equal(lines_of(text), 1);
  assert_non_null(strstr(text, "http [a\\nb]: x\\n2026-03-01 forged\\r\\t\\x1b[31m\\x7f \\u009b \\u202e \\xff \\xc0\\xaf \\xed\\xa0\\x80 "
                               "\xc3\xa4\xf0\x9f\x98\x8a\\\n"));
}

static void json_lines_parse(void **state) {
  (void)state;
  setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
  log_set_request("id-1");
  log_error("intake", "%s", "a \"quoted\"\nline \xff");
  log_set_request("");
  log_info("intake", "%s", "");
  const char *text = read_all(path);
  assert_int_equal(lines_of(text), 2);
  struct arena arena;
  arena_init(&arena, 4096, 0);
  const struct json *j;
  assert_int_equal(json_parse(&arena, (struct span){text, (size_t)(strchr(text, '\n') - text)}, NULL, &j, NULL), ERR_OK);
  assert_true(span_eq(json_get_text(j, "level"), SPAN("error")));
  assert_true(span_eq(json_get_text(j, "role"), SPAN("worker 0")));
  assert_true(span_eq(json_get_text(j, "module"), SPAN("intake")));
  assert_true(span_eq(json_get_text(j, "request"), SPAN("id-1")));
  assert_true(span_eq(json_get_text(j, "message"), SPAN("a \"quoted\"\nline \xef\xbf\xbd")));
  arena_free(&arena);
}

static void long_lines_are_cut(void **state) {
  (void)state;
  char *big = xmalloc(100001);
  for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
    for (int fill = 0; fill < 2; fill++) {
      memset(big, fill ? 'a' : 1, 100000); // \x01: each byte grows to four or six
      big[100000] = '\0';
      setup(format, LOG_LEVEL_INFO);
      log_info("http", "%s", big);
      read_all(path);
      assert_in_range(contents.len, 1000, 4096);
      assert_int_equal(contents.data[contents.len - 1], '\n');
      assert_int_equal(lines_of(contents.data), 1);
    }
  }
  free(big);
}

static void reopening_follows_the_name(void **state) {
  (void)state;
  setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
  log_info("a", "before");
  char moved[128];
  snprintf(moved, sizeof moved, "%s.1", path);
  assert_int_equal(rename(path, moved), 0);
  log_info("a", "still the old file");
  log_reopen();
  log_info("a", "after");
  assert_int_equal(lines_of(read_all(path)), 1);
  assert_int_equal(lines_of(read_all(moved)), 2);
  unlink(moved);
}

static void a_bad_target_changes_nothing(void **state) {
  (void)state;
  setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
  struct why why;
  struct log_options bad = {.target = "/nonexistent/dir/log", .role = "x"};
  assert_int_equal(log_setup(&bad, &why), ERR_IO);
  assert_non_null(strstr(why.text, "/nonexistent/dir/log"));
  bad = (struct log_options){.target = "stderr", .access = "/nonexistent/dir/log"};
  assert_int_equal(log_setup(&bad, &why), ERR_IO);
  log_info("a", "still here");
  assert_non_null(strstr(read_all(path), "worker 0 a: still here"));
  assert_true(log_access_enabled());
}

static void access_lines(void **state) {
  (void)state;
  struct log_access a = {.request_id = "r1",
                         .peer = SPAN("203.0.113.7"),
                         .method = SPAN("POST"),
                         .path = SPAN("/x\"\ny"),
                         .user_agent = SPAN("curl \"7\"\n"),
                         .status = 200,
                         .request_bytes = 700,
                         .response_bytes = 12,
                         .duration_us = 1500};
  setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
  log_access(&a);
  assert_string_equal(read_all(access_path) + 24,
                      " access worker 0 203.0.113.7 \"POST /x\\\"\\ny\" 200 700 12 0.001500 \"curl \\\"7\\\"\\n\" r1\n");
  setup(LOG_FORMAT_JSON, LOG_LEVEL_INFO);
  a.user_agent = (struct span){0};
  log_access(&a);
  const char *text = read_all(access_path);
  assert_int_equal(lines_of(text), 1);
  assert_non_null(strstr(text, "\"path\":\"/x\\\"\\ny\",\"status\":200"));
  struct log_options off = {.target = path, .access = "off"};
  assert_int_equal(log_setup(&off, NULL), ERR_OK);
  assert_false(log_access_enabled());
  log_access(&a);
  assert_int_equal(lines_of(read_all(access_path)), 1);
}

static void *write_many(void *arg) {
  log_set_request(arg);
  for (int i = 0; i < 500; i++)
    log_info("t", "line %d of %s", i, (const char *)arg);
  return NULL;
}
static void threads_do_not_mix(void **state) {
  (void)state;
  setup(LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
  pthread_t threads[2];
  char names[2][4] = {"aa", "bb"};
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_many, names[i]), 0);
  for (int i = 0; i < 10; i++)
    log_reopen();
  for (int i = 0; i < 2; i++)
    pthread_join(threads[i], NULL);
  const char *text = read_all(path);
  assert_int_equal(lines_of(text), 1000);
  for (; *text; text = strchr(text, '\n') + 1)
    assert_true(strncmp(text + 24, " info  worker 0 t [aa]: line ", 29) == 0 ||
                strncmp(text + 24, " info  worker 0 t [bb]: line ", 29) == 0);
}

static void redaction(void **state) {
  (void)state;
  char out[LOG_REDACTED_MAX];
  assert_string_equal(log_redact_phone(SPAN("+4917612345678"), out), "4917***78");
  assert_string_equal(log_redact_phone(SPAN("4917612345678"), out), "4917***78");
  assert_string_equal(log_redact_phone(SPAN("+123456"), out), "***");
  assert_string_equal(log_redact_phone((struct span){0}, out), "-");
  assert_string_equal(log_redact_phone(SPAN("DE.ABCDEFGHIJKLMNOP"), out), "DE.A***(19)");
  assert_string_equal(log_redact_secret(SPAN("EAAJtest-access-token-123"), out), "EAAJ***(25)");
  assert_string_equal(log_redact_secret(SPAN("hunter2"), out), "***(7)");
  assert_string_equal(log_redact_secret(SPAN("\n\x1b[1mtest-access-token-123"), out), "??[1***(26)");
  assert_string_equal(log_redact_secret((struct span){0}, out), "-");
}

static void levels(void **state) {
  (void)state;
  enum log_level level = LOG_LEVEL_INFO;
  assert_int_equal(log_level_parse(SPAN("warn"), &level), ERR_OK);
  assert_int_equal(level, LOG_LEVEL_WARNING);
  assert_int_equal(log_level_parse(SPAN("CRITICAL"), &level), ERR_OK);
  assert_string_equal(log_level_name(level), "critical");
  assert_int_equal(log_level_parse(SPAN("loud"), &level), ERR_FORMAT);
  assert_int_equal(level, LOG_LEVEL_CRITICAL);
}

static void floods_are_held_back(void **state) {
  (void)state;
  static struct log_limit limit;
  uint64_t held = 99;
  assert_true(log_limited(&limit, 0, 0, 1000, &held));
  assert_int_equal(held, 0);
  assert_false(log_limited(&limit, 0, 999, 1000, &held));
  assert_true(log_limited(&limit, 1, 999, 1000, &held));
  assert_int_equal(held, 0);
  assert_false(log_limited(&limit, 0, 999, 1000, &held));
  assert_true(log_limited(&limit, 0, 1000, 1000, &held));
  assert_int_equal(held, 2);
  unsigned logged = 0; // a thousand keys: no more lines than slots
  for (uint64_t key = 100; key < 1100; key++)
    logged += log_limited(&limit, key, 1500, 1000, &held);
  assert_int_equal(logged, COUNT_OF(limit.slots) - 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_lines),
      cmocka_unit_test(nobody_forges_a_line),
      cmocka_unit_test(json_lines_parse),
      cmocka_unit_test(long_lines_are_cut),
      cmocka_unit_test(access_lines),
      cmocka_unit_test(reopening_follows_the_name),
      cmocka_unit_test(threads_do_not_mix),
      cmocka_unit_test(a_bad_target_changes_nothing),
      cmocka_unit_test(redaction),
      cmocka_unit_test(levels),
      cmocka_unit_test(floods_are_held_back),
  };
  int failed = cmocka_run_group_tests(tests, make_dir, remove_dir);
  buf_free(&contents);
  return failed;
}
