// wahookctl's command line: verbs, flags, what goes on to the configuration.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tools/ctl/ctl.h"

// main.c has the program's; tests want to see what was said.
static char said[512];
void ctl_complain(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(said, sizeof said, fmt, ap);
  va_end(ap);
}
int ctl_fail(enum err e, const char *what, const struct why *why) {
  (void)what, (void)why;
  return (int)e;
}
int ctl_exit_status(enum err e) {
  return (int)e;
}

static bool parse(struct ctl *ctl, const char *line) {
  static char words[512];
  char *argv[32] = {words}, *save = words;
  int argc = 0;
  bool help = false, version = false;
  *ctl = (struct ctl){.json = false};
  assert_int_equal(span_copy(span_of(line), words, sizeof words), ERR_OK);
  for (char *word; (word = strsep(&save, " "));)
    argv[argc++] = word;
  said[0] = '\0';
  return ctl_parse(ctl, argc, argv, &help, &version);
}

static void done(struct ctl *ctl) {
  free(ctl->arguments);
  free(ctl->given);
  free(ctl->config_argv);
}

static void finds_verbs_and_flags(void **state) {
  (void)state;
  struct ctl ctl;
  assert_true(parse(&ctl, "ctl -c file -o json business add demo --phone 1 --phone=2 --disabled --server-state-dir=/x"));
  assert_ptr_equal(ctl.verb->run, business_add);
  assert_true(ctl.json);
  assert_string_equal(ctl_argument(&ctl, 0), "demo");
  assert_null(ctl_argument(&ctl, 1));
  assert_string_equal(ctl_flag(&ctl, "--phone"), "2"); // the last one; both are in given
  assert_int_equal(ctl.given_count, 3);
  assert_string_equal(ctl_flag(&ctl, "--disabled"), "");
  assert_null(ctl_flag(&ctl, "--replace"));
  assert_int_equal(ctl.config_argc, 4);
  assert_string_equal(ctl.config_argv[1], "-c");
  assert_string_equal(ctl.config_argv[2], "file");
  assert_string_equal(ctl.config_argv[3], "--server-state-dir=/x");
  done(&ctl);
  assert_true(parse(&ctl, "ctl send --to 1 -- --text")); // a text may begin with dashes
  assert_string_equal(ctl_argument(&ctl, 0), "--text");
  done(&ctl);
  assert_true(parse(&ctl, "ctl import -"));
  assert_string_equal(ctl_argument(&ctl, 0), "-");
  done(&ctl);
  assert_true(parse(&ctl, "ctl queue -ojson retry --all-dead"));
  assert_true(ctl.json);
  done(&ctl);
  assert_true(parse(&ctl, "ctl top --json --interval 0.2 --count=2"));
  assert_true(ctl.json);
  assert_string_equal(ctl_flag(&ctl, "--interval"), "0.2");
  done(&ctl);
}

static void refuses_what_is_no_command(void **state) {
  (void)state;
  static const struct {
    const char *line, *says;
  } wrong[] = {
      {"ctl busines", "\"busines\" is no verb"},
      {"ctl business ad", "\"business ad\" is no verb"},
      {"ctl add", "\"add\" is no verb"},
      {"ctl business add", "an argument is missing"},
      {"ctl business show a b", "too many arguments"},
      {"ctl status --dead", "unknown flag --dead"},
      {"ctl business add x --name", "--name needs a value"},
      {"ctl -o xml status", "-o takes table or json"},
      {"ctl -c", "-c needs a value"},
      {"ctl status -q x", "unknown flag -q"},
      {"ctl --config", "--config needs a value"},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    struct ctl ctl;
    assert_false(parse(&ctl, wrong[i].line));
    if (!strstr(said, wrong[i].says)) fail_msg("%s: \"%s\"", wrong[i].line, said);
    done(&ctl);
  }
}

static void table_is_sound(void **state) {
  (void)state;
  for (unsigned i = 0; i < ctl__verb_count; i++) {
    const struct ctl_verb *v = &ctl__verbs[i];
    assert_true(v->group && v->arguments && v->flags && v->run && v->help && v->min <= v->max);
    for (unsigned j = 0; j < i; j++)
      assert_false(strcmp(v->group, ctl__verbs[j].group) == 0 &&
                   strcmp(v->name ? v->name : "", ctl__verbs[j].name ? ctl__verbs[j].name : "") == 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_verbs_and_flags),
      cmocka_unit_test(refuses_what_is_no_command),
      cmocka_unit_test(table_is_sound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
