// What a daemon needs beyond values that can be read: what is missing, what goes together, what is there on this machine; and where an
// operator is sent to.
#include "fixture.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SECRET "[webhook]\napp_secrets = [\"s\"]\n"

struct world {
  struct fixture f;
  char dir[64], state[128]; // of the test; "WAHOOK_SERVER_STATE_DIR=<dir>"
};

static int make_world(void **state) {
  struct world *w = xcalloc(1, sizeof *w);
  strncpy(w->dir, "/tmp/wahook-daemon-XXXXXX", sizeof w->dir);
  if (!mkdtemp(w->dir)) return -1;
  snprintf(w->state, sizeof w->state, "WAHOOK_SERVER_STATE_DIR=%s", w->dir);
  *state = w;
  return 0;
}

static int end_world(void **state) {
  struct world *w = *state;
  rmdir(w->dir);
  free(w);
  return 0;
}

// The errors for a file that can be read; "" for none.
static const char *ask(struct world *w, const char *file, char *flag, char *variable) {
  enum err e = fixture_load(&w->f, file, flag ? TEXTS(flag) : NULL, TEXTS(w->state, variable));
  if (e) fail_msg("%s: %s", file, w->f.errors.text.data);
  e = config_check_daemon(w->f.config, &w->f.errors);
  assert_int_equal(e == ERR_OK, w->f.errors.count == 0);
  return w->f.errors.text.data ? w->f.errors.text.data : "";
}

static void asks_for_more(void **state) {
  static const struct {
    const char *file, *says; // NULL: fine
  } cases[] = {
      {SECRET, NULL},
      {"[webhook]\nallow_unsigned = true\n", NULL},
      {SECRET "[responder]\ntype = \"openai\"\nurl = \"http://127.0.0.1:1\"\n", NULL}, // a service of one's own wants no key
      {SECRET "[responder]\ntype = \"openai\"\nurl = \"https://a\"\nkey = \"k\"\n", NULL},
      {SECRET "[server]\nbind = [\"127.0.0.1:8000\", \"[::]:8000\", \"127.0.0.2:8000\", \"localhost:8001\"]\n", NULL},
      {"", ": webhook.app_secrets: none is set"},
      {"[webhook]\napp_secrets = []\n", ":2: webhook.app_secrets: none is set"},
      {"[webhook]\nallow_unsigned = no\n", ":2: webhook.app_secrets: none is set"},
      {SECRET "[responder]\ntype = \"http\"\n", ":4: responder.url: is missing: the http responder needs a URL"},
      {SECRET "[responder]\nurl = \"\"\ntype = \"openai\"\n", ":4: responder.url: is missing: the openai responder needs a base URL"},
      {SECRET "[responder]\nurl = \"https://a\"\ntype = \"openai\"\n", ":5: responder.key: is missing: the openai responder needs"},
      {SECRET "[directory]\ndefault_token = \"t\"\n", ":4: directory.default_phone_number_id: is missing"},
      {SECRET "[directory]\ndefault_phone_number_id = \"1\"\n", ":4: directory.default_token: is missing"},
      {SECRET "[server]\nproxy_protocol = true\n", ":4: server.proxy_protocol: is on, but no proxy is trusted"},
      {SECRET "[server]\nbind = []\n", ":4: server.bind: no address"},
      {SECRET "[server]\nuser = \"no-such-user\"\n", ":4: server.user: no such user"},
      {SECRET "[server]\nuser = \"4294967295\"\n", ":4: server.user: no such user"},
      {SECRET "[server]\ngroup = \"no-such-group\"\n", ":4: server.group: no such group"},
      {SECRET "[server]\npid_file = \"/tmp\"\n", ":4: server.pid_file: /tmp is a directory"},
      {SECRET "[log]\ntarget = \"/nonexistent/x\"\n", ":4: log.target: the directory /nonexistent does not exist"},
      {SECRET "[log]\naccess = \"/dev/null/x\"\n", ":4: log.access: /dev/null is not a directory"},
      {SECRET "[admin]\nbind = \"127.0.0.1:8000\"\n", ":4: admin.bind: cannot be listened on beside server.bind"},
      {SECRET "[admin]\nbind = \"unix:/nonexistent/x\"\n", ":4: admin.bind: the directory /nonexistent does not exist"},
      {SECRET "[server]\nbind = \"unix:/dev/null\"\n", ":4: server.bind: a file that is no socket stands at /dev/null"},
  };
  struct world *w = *state;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    const char *text = ask(w, cases[i].file, NULL, NULL);
    if (cases[i].says ? !strstr(text, cases[i].says) || w->f.errors.count != 1 : *text) fail_msg("%s: \"%s\"", cases[i].file, text);
    fixture_free(&w->f);
  }
}

// To the option that is wrong, or else to the one because of which another is missing.
static void names_the_source_that_has_to_change(void **state) {
  struct world *w = *state;
  char variable[] = "WAHOOK_RESPONDER_TYPE=http", admin[] = "WAHOOK_ADMIN_BIND=localhost:8000", user[] = "WAHOOK_SERVER_USER=no-such-user",
       flag[] = "--responder-type=http", pid[] = "--pid=/nonexistent/x", bind[] = "-b127.0.0.1:8000";
  assert_non_null(strstr(ask(w, SECRET, NULL, variable), "environment variable WAHOOK_RESPONDER_TYPE: responder.url: is missing"));
  fixture_free(&w->f);
  assert_non_null(strstr(ask(w, SECRET, flag, NULL), "flag --responder-type: responder.url: is missing"));
  fixture_free(&w->f);
  assert_non_null(strstr(ask(w, SECRET, bind, admin), "environment variable WAHOOK_ADMIN_BIND: admin.bind: cannot be listened on beside"));
  fixture_free(&w->f);
  assert_non_null(strstr(ask(w, SECRET, NULL, user), "environment variable WAHOOK_SERVER_USER: server.user: no such user"));
  fixture_free(&w->f);
  assert_non_null(strstr(ask(w, SECRET, pid, NULL), "flag --pid: server.pid_file: the directory /nonexistent"));
  fixture_free(&w->f);
}

static void looks_at_the_state_directory(void **state) {
  struct world *w = *state;
  char file[512], path[160];
  snprintf(path, sizeof path, "%s/file", w->dir);
  w->state[0] = '\0'; // the file says it
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  fclose(out);
  snprintf(file, sizeof file, SECRET "[server]\nstate_dir = \"%s\"\n", path);
  assert_non_null(strstr(ask(w, file, NULL, NULL), ":4: server.state_dir: "));
  assert_non_null(strstr(w->f.errors.text.data, "/file is not a directory (remove"));
  fixture_free(&w->f);
  unlink(path);
  snprintf(file, sizeof file, SECRET "[server]\nstate_dir = \"%s/a/b/c\"\nbind = \"unix:%s/a/b/c/s\"\n[log]\naccess = \"%s/a/b/c/log\"\n",
           w->dir, w->dir, w->dir);
  assert_string_equal(ask(w, file, NULL, NULL), ""); // the daemon will make it
  fixture_free(&w->f);
  // Root may write anywhere; the user that the children become, or whoever runs this, may not.
  assert_int_equal(chmod(w->dir, 0500), 0);
  snprintf(file, sizeof file, SECRET "[server]\nstate_dir = \"%s\"\n%s", w->dir, geteuid() ? "" : "user = \"65534\"\n");
  assert_non_null(strstr(ask(w, file, NULL, NULL), ":4: server.state_dir: "));
  assert_non_null(
      strstr(w->f.errors.text.data, geteuid() ? "cannot be written: Permission denied (change" : "user \"65534\" may not write into"));
  fixture_free(&w->f);
  snprintf(file, sizeof file, SECRET "[server]\nstate_dir = \"%s/new\"\n%s", w->dir, geteuid() ? "" : "user = \"65534\"\n");
  assert_int_equal(chmod(w->dir, 0755), 0);
  assert_string_equal(ask(w, file, NULL, NULL), ""); // the master makes it, and gives it to the user
  fixture_free(&w->f);
  snprintf(file, sizeof file, SECRET "[server]\nstate_dir = \"%s\"\n%s", w->dir, geteuid() ? "" : "user = \"65534\"\n");
  assert_int_equal(chmod(w->dir, 0777), 0);
  assert_string_equal(ask(w, file, NULL, NULL), "");
  fixture_free(&w->f);
}

static void stays_silent_about_what_was_refused(void **state) {
  struct world *w = *state;
  static const char *const files[] = {
      "[webhook]\napp_secrets = [\"file:/nonexistent\"]\n",
      SECRET "[server]\nbind = [\"nonsense\"]\n",
      SECRET "[server]\nstate_dir = \"\"\n",
      SECRET "[responder]\ntype = \"http\"\nurl = \"ftp://a\"\n",
      SECRET "[server]\nproxy_protocol = yes\ntrusted_proxies = \"somebody\"\n",
      SECRET "[log]\ntarget = \"/nonexistent/\"\n",
      SECRET "[directory]\ndefault_token = \"t\"\ndefault_phone_number_id = \"a b\"\n",
  };
  for (size_t i = 0; i < COUNT_OF(files); i++) {
    char *own = strstr(files[i], "state_dir") ? NULL : w->state;
    assert_int_equal(fixture_load(&w->f, files[i], NULL, TEXTS(own)), ERR_CONFIG);
    assert_int_equal(config_check_daemon(NULL, &w->f.errors), ERR_CONFIG);
    if (w->f.errors.count != 1) fail_msg("%s: %s", files[i], w->f.errors.text.data);
    fixture_free(&w->f);
  }
}

static void warns_of_what_may_be_meant(void **state) {
  static const struct {
    const char *file, *says;
  } cases[] = {
      {SECRET "[responder]\nurl = \"https://a\"\n", ":4: responder.url: is not used"},
      {SECRET "[responder]\ntype = \"openai\"\nurl = \"http://a\"\nkey = \"k\"\n", ":5: responder.url: is not https"},
      {SECRET "[graph]\nbase_url = \"http://a.example\"\n", ":4: graph.base_url: is not https"},
      {SECRET "[admin]\ntoken = \"short\"\n", ":4: admin.token: is short enough"},
      {SECRET "[crypto]\nencryption_key = [\"00112233445566778899aabbccddeeff00112233445566778899aabbccddee\"]\n",
       ":4: crypto.encryption_key: has nearly 64 hex digits"},
      {"[webhook]\napp_secrets = [\"s \"]\n", ":2: webhook.app_secrets: begins or ends with a blank"},
      {"[webhook]\nallow_unsigned = true\n", ":2: webhook.allow_unsigned: webhooks without a signature are taken"},
      {SECRET "[server]\ndaemon = yes\n[log]\ntarget = \"syslog\"\naccess = \"stderr\"\n", ":4: server.daemon: a detached daemon's stderr"},
  };
  struct world *w = *state;
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_string_equal(ask(w, cases[i].file, NULL, NULL), "");
    if (!strstr(w->f.errors.warnings.data, cases[i].says)) fail_msg("%s: \"%s\"", cases[i].file, w->f.errors.warnings.data);
    fixture_free(&w->f);
  }
}

static void warns_of_connections_that_do_not_fit(void **state) {
  struct world *w = *state;
  struct rlimit limit = {300, 300};
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
  assert_string_equal(ask(w, SECRET "[server]\nmax_connections = 172\n", NULL, NULL), "");
  assert_null(strstr(w->f.errors.warnings.data, "max_connections"));
  fixture_free(&w->f);
  assert_string_equal(ask(w, SECRET "[server]\nmax_connections = 173\n", NULL, NULL), "");
  assert_non_null(strstr(w->f.errors.warnings.data, ":4: server.max_connections: a worker may open 300 files"));
  assert_non_null(strstr(w->f.errors.warnings.data, "raise LimitNOFILE"));
  fixture_free(&w->f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(asks_for_more, make_world, end_world),
      cmocka_unit_test_setup_teardown(names_the_source_that_has_to_change, make_world, end_world),
      cmocka_unit_test_setup_teardown(looks_at_the_state_directory, make_world, end_world),
      cmocka_unit_test_setup_teardown(stays_silent_about_what_was_refused, make_world, end_world),
      cmocka_unit_test_setup_teardown(warns_of_what_may_be_meant, make_world, end_world),
      // Last: the limit cannot be raised again.
      cmocka_unit_test_setup_teardown(warns_of_connections_that_do_not_fit, make_world, end_world),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
