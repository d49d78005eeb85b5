// Tests of the file that tells what came of a reload or an upgrade.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/report.h"

static char dir[64], path[96];

static int setup(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/wahookd-test-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  snprintf(path, sizeof path, "%s/master.json", dir);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  unlink(path);
  return rmdir(dir);
}

static struct config *make_config(void) {
  char state_arg[160];
  snprintf(state_arg, sizeof state_arg, "--server-state-dir=%s", dir);
  char *argv[] = {(char[]){"wahookd"}, state_arg, NULL}, *env[] = {NULL};
  struct config *config = NULL;
  struct config_command command = {0};
  struct config_errors errors = {0};
  assert_int_equal(config_load(&config, &command, 2, argv, env, &errors), ERR_OK);
  config_errors_free(&errors);
  return config;
}

static void test_what_is_written_is_read(void **state) {
  (void)state;
  struct config *config = make_config();
  struct report master, reader;
  assert_false(report_read(&reader, dir));
  assert_int_equal(reader.entries[REPORT_RELOAD].begun, 0);
  report_close(&reader);
  report_open(&master, config);
  report_begin(&master, REPORT_RELOAD);
  assert_true(report_read(&reader, dir));
  assert_int_equal(reader.entries[REPORT_RELOAD].begun, 1);
  assert_int_equal(reader.entries[REPORT_RELOAD].ended, 0);
  assert_int_equal(reader.entries[REPORT_RELOAD].outcome, REPORT_RUNNING);
  report_close(&reader);
  report_reason(&master, REPORT_RELOAD, SPAN("wahookd.conf:2: log.level: \"loud\" is wrong"));
  report_reason(&master, REPORT_RELOAD, SPAN("and a second line"));
  report_end(&master, REPORT_RELOAD, REPORT_REFUSED, 3);
  assert_true(report_read(&reader, dir));
  const struct report_entry *entry = &reader.entries[REPORT_RELOAD];
  assert_int_equal(entry->ended, 1);
  assert_int_equal(entry->outcome, REPORT_REFUSED);
  assert_int_equal(entry->generation, 3);
  assert_string_equal(entry->reasons.data, "wahookd.conf:2: log.level: \"loud\" is wrong\nand a second line\n");
  assert_int_equal(reader.entries[REPORT_UPGRADE].begun, 0);
  report_close(&reader);
  report_begin(&master, REPORT_RELOAD);
  assert_int_equal(master.entries[REPORT_RELOAD].reasons.len, 0);
  report_close(&master);
  // The next master: what was begun never ends, the numbers go on.
  report_open(&master, config);
  report_settle(&master);
  assert_true(report_read(&reader, dir));
  assert_int_equal(reader.entries[REPORT_RELOAD].ended, 2);
  assert_int_equal(reader.entries[REPORT_RELOAD].outcome, REPORT_REFUSED);
  report_close(&reader);
  report_close(&master);
  config_free(config);
}

static void test_a_damaged_file_is_none(void **state) {
  (void)state;
  FILE *file = fopen(path, "w");
  fputs("{\"reload\": [1, 2", file);
  fclose(file);
  struct report reader;
  assert_false(report_read(&reader, dir));
  report_close(&reader);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_what_is_written_is_read, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_damaged_file_is_none, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
