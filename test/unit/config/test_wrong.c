// Wrong inputs: each is refused with its place, its option and a word on what to do; and all at once.
#include "fixture.h"

#include <stdio.h>

struct wrong {
  const char *file;
  const char *line; // ":N:" that the message carries; NULL: none
  const char *says; // part of the message
};

// Lines that the parser cannot make sense of.
static const struct wrong syntax[] = {
    {"bind = \"a\"\n", ":1:", "before the first [section]"},
    {"[server\nworkers = 1\n", ":1:", "this is no section (write [name]"},
    {"[[server]]\n", ":1:", "this is no section (write [name]"},
    {"[]\n", ":1:", "this is no section (write [name]"},
    {"[server] workers = 1\n", ":1:", "unexpected text after a section"},
    {"\n[servr]\n", ":2:", "did you mean [server]?"},
    {"[quux]\n", ":1:", "unknown section [quux]"},
    {"[server]\nworkers 1\n", ":2:", "'=' is missing (write workers = value)"},
    {"[server]\nworkers: 1\n", ":2:", "'=' is missing (write workers = value)"},
    {"[server]\n= 1\n", ":2:", "neither a section nor an option (write"},
    {"[server]\n&\n", ":2:", "neither a section nor an option (write"},
    {"[server]\nworkers =\n", ":2:", "a value is missing"},
    {"[server]\nworkers = # 4\n", ":2:", "a value is missing"},
    {"[server]\nworkers = 1 2\n", ":2:", "unexpected text after the value"},
    {"[server]\nstate_dir = \"/a\" \"/b\"\n", ":2:", "unexpected text after the value"},
    {"[server]\nstate_dir = \"/a\n", ":2:", "the string is not closed (\""},
    {"[server]\nstate_dir = '/a\n", ":2:", "the string is not closed ('"},
    {"[server]\nstate_dir = \"/a\\q\"\n", ":2:", "unknown escape"},
    {"[server]\nstate_dir = \"\\uD800\"\n", ":2:", "unknown escape"},
    {"[server]\nstate_dir = \"\\u00\"\n", ":2:", "unknown escape"},
    {"[responder]\nsystem_prompt = \"\"\"a\nb\"\"\"\n", ":2:", "strings over several lines"},
    {"[server]\nbind = [\"a:1\", \"b:2\"\nworkers = 1\n", ":2:", "']' is missing"},
    {"[server]\nbind = [\"127.0.0.1:1\" \"127.0.0.1:2\"]\n", ":2:", "a ',' is missing"},
    {"[server]\nbind = [,]\n", ":2:", "a value is missing"},
    {"[server]\nbind = [\"127.0.0.1:1\n]\n", ":2:", "the string is not closed"},
    {"[server]\nuser = \"\xff\"\n", ":2:", "not a text in UTF-8"},
    {"[server]\na.b = 1\n", ":2:", "a name with a dot (write [a] on a line"},
    {"[server]\nuser = \"\x1b[1m\"\n", ":2:", "a control character (remove it"},
    {"[server]\nuser = \"a\rb\"\n", ":2:", "a carriage return inside of the line"},
    {"[server]\nworkers = 3\r", ":2:", "a carriage return inside of the line"},
    {"[server]\nworkers =\xC2\xA0"
     "4\n",
     ":2:", "odd characters in a value without quotes"},
    {"[server]\nuser = \xE2\x80\x9Cwahookd\xE2\x80\x9D\n", ":2:", "odd characters in a value without quotes"},
    {"[server]\nbind = [\n'127.0.0.1:1',\n'::1:2']\n", ":4:", "an IPv6 address in brackets"},
};

// Options that do not exist or have the wrong kind of value.
static const struct wrong options[] = {
    {"[server]\nwokers = 1\n", ":2:", "unknown option server.wokers (did you mean workers?)"},
    {"[server]\nmax_body = 1\n", ":2:", "did you mean webhook.max_body?"},
    {"[server]\nzzzzzz = 1\n", ":2:", "wahookd.conf(5) lists all options"},
    {"[server]\nworkers = 1\nworkers = 2\n", ":3:", "server.workers: is set twice (also at "},
    {"[server]\nstate_dir = /var/lib\n", ":2:", "server.state_dir: a text needs quotes"},
    {"[webhook]\nverify_token = abc\n", ":2:", "a text needs quotes"},
    {"[server]\nworkers = [1, 2]\n", ":2:", "server.workers: takes one value, not a list"},
    {"[server]\nworkers = many\n", ":2:", "\"many\" is not a number"},
    {"[server]\nworkers = 1.5\n", ":2:", "is not a number"},
    {"[server]\nworkers = -1\n", ":2:", "write a value from 0 to 64"},
    {"[server]\nworkers = 65\n", ":2:", "write a value from 0 to 64"},
    {"[server]\nworkers = 99999999999999999999\n", ":2:", "outside the allowed range"},
    {"[server]\ntimeout = 10ms\n", ":2:", "write a value from 1s to 1d"},
    {"[server]\ntimeout = \"2 fortnights\"\n", ":2:", "is not a duration"},
    {"[server]\nkeep_alive = -5\n", ":2:", "is not a duration"},
    {"[server]\ndaemon = maybe\n", ":2:", "neither yes nor no"},
    {"[webhook]\nmax_body = 1\n", ":2:", "write a value from 1KiB to 64MiB"},
    {"[webhook]\nmax_body = \"3 apples\"\n", ":2:", "is not a size"},
    {"[limits]\nwebhook = \"100\"\n", ":2:", "is not a rate"},
    {"[limits]\nwebhook = \"0/minute\"\n", ":2:", "is outside the allowed range (write 1 to"},
    {"[responder]\ntype = \"ekho\"\n", ":2:", "(did you mean \"echo\"?)"},
    {"[log]\nlevel = \"loud\"\n", ":2:", "is not one of debug|info|warning|error|critical"},
    {"[server]\nbind = [\"\"]\n", ":2:", "an item of the list is empty"},
    {"[server]\nuser = \"a\\nb\"\n", ":2:", "contains a control character"},
};

// Values that are the wrong text.
static const struct wrong values[] = {
    {"[server]\nbind = \"8000\"\n", ":2:", "is not an address"},
    {"[server]\nbind = \"127.0.0.1\"\n", ":2:", "is not an address"},
    {"[server]\nbind = \"127.0.0.1:0\"\n", ":2:", "has no usable port (end it with a number from 1 to 65535"},
    {"[server]\nbind = \"127.0.0.1:65536\"\n", ":2:", "has no usable port"},
    {"[server]\nbind = \"::1:8000\"\n", ":2:", "an IPv6 address in brackets"},
    {"[server]\nbind = \"[::g]:8000\"\n", ":2:", "is not an IPv6 address"},
    {"[server]\nbind = \"unix:\"\n", ":2:", "unix: needs a path"},
    {"[server]\nbind = \"10.0.0.256:80\"\n", ":2:", "is not an IPv4 address"},
    {"[server]\nbind = [\"127.0.0.1:80\", \"127.0.0.1:80\"]\n", ":2:", "stands there twice"},
    {"[server]\nbind = [\"127.0.0.1:80\", \"0.0.0.0:080\"]\n", ":2:", "cannot both be listened on"},
    {"[server]\nstate_dir = \"\"\n", ":2:", "must not be empty"},
    {"[server]\npid_file = \"/run/\"\n", ":2:", "is a directory"},
    {"[server]\nmax_rss = \"15MiB\"\n", ":2:", "write 16MiB or more, or 0"},
    {"[server]\nmax_rss = 1\n", ":2:", "write 16MiB or more, or 0"},
    {"[server]\nmax_age = 999ms\n", ":2:", "write 1s or more, or 0"},
    {"[server]\ntrusted_proxies = [\"10.0.0.0/33\"]\n", ":2:", "neither an address nor a network"},
    {"[server]\ntrusted_proxies = \"*\"\n", ":2:", "for everybody write 0.0.0.0/0"},
    {"[webhook]\npath = \"hook\"\n", ":2:", "does not begin with a slash"},
    {"[webhook]\npath = \"/hook?x\"\n", ":2:", "is not a plain path"},
    {"[webhook]\npath = \"/health\"\n", ":2:", "one of the daemon's own pages"},
    {"[webhook]\npath = \"/admin/x\"\n", ":2:", "one of the daemon's own pages"},
    {"[webhook]\napp_secrets = [\"file:/nonexistent/secret\"]\n", ":2:", "cannot read /nonexistent/secret: No such file"},
    {"[webhook]\nverify_token = \"env:NOT_SET\"\n", ":2:", "the environment variable NOT_SET is not set"},
    {"[webhook]\nverify_token = \"env:\"\n", ":2:", "env: needs the name of a variable"},
    {"[webhook]\nverify_token = \"file:\"\n", ":2:", "file: needs a path"},
    {"[webhook]\nverify_token = \"file:/dev/zero\"\n", ":2:", "cannot read /dev/zero: it is no regular file"},
    {"[webhook]\nverify_token = \"file:/tmp\"\n", ":2:", "cannot read /tmp: it is a directory"},
    {"[webhook]\nverify_token = \" \"\n", ":2:", "consists of blanks only"},
    {"[directory]\nstore = \"sqlte:/x\"\n", ":2:", "unknown kind of store \"sqlte\""},
    {"[directory]\nstore = \"sqlite:\"\n", ":2:", "needs a path"},
    {"[directory]\nstore = \"mongodb:host/db\"\n", ":2:", "names no host"},
    {"[directory]\nstore = \"mongodb://user:pw@/db\"\n", ":2:", "names no host"},
    {"[directory]\ndefault_phone_number_id = \"12 34\"\n", ":2:", "is not a phone number id"},
    {"[responder]\nurl = \"example.com\"\n", ":2:", "is not a URL"},
    {"[responder]\nurl = \"ftp://example.com\"\n", ":2:", "is not a URL"},
    {"[responder]\nurl = \"https://user:pw@:80/\"\n", ":2:", "is not a URL"},
    {"[responder]\nurl = \"https://example.com:70000/\"\n", ":2:", "is not a URL"},
    {"[responder]\nurl = \"https://[::1\"\n", ":2:", "is not a URL"},
    {"[crypto]\nencryption_key_salt = \"\"\n", ":2:", "must not be empty"},
    {"[graph]\nbase_url = \"https://\"\n", ":2:", "is not a URL"},
    {"[graph]\nbase_url = \"https://a/?b\"\n", ":2:", "must end without a '?'"},
    {"[graph]\nbase_url = \"\"\n", ":2:", "must not be empty"},
    {"[graph]\nversion = \"21\"\n", ":2:", "is not a version"},
    {"[admin]\nbind = \"0.0.0.0:9000\"\n", ":2:", "can be reached from other machines"},
    {"[admin]\nbind = \"10.1.2.3:9000\"\n", ":2:", "can be reached from other machines"},
    {"[admin]\nbind = \"[::]:9000\"\n", ":2:", "can be reached from other machines"},
    {"[log]\ntarget = \"\"\n", ":2:", "write stderr, syslog or a file's path"},
};

static void refuse(const struct wrong *wrong, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct fixture f;
    enum err e = fixture_load(&f, wrong[i].file, NULL, NULL);
    const char *text = f.errors.text.data ? f.errors.text.data : "";
    if (e != ERR_CONFIG || !strstr(text, wrong[i].says) || !strstr(text, wrong[i].line) || !strstr(text, f.path))
      fail_msg("%s -> %s \"%s\", expected \"%s\"", wrong[i].file, err_name(e), text, wrong[i].says);
    assert_null(f.config);
    assert_null(strstr(text, "user:pw")); // no secret in a message
    fixture_free(&f);
  }
}

static void refuses_bad_syntax(void **state) {
  (void)state;
  refuse(syntax, COUNT_OF(syntax));
}

static void refuses_bad_options(void **state) {
  (void)state;
  refuse(options, COUNT_OF(options));
}

static void refuses_bad_values(void **state) {
  (void)state;
  refuse(values, COUNT_OF(values));
}

static void refuses_bad_flags(void **state) {
  (void)state;
  static const struct {
    const char *flags[3];
    const char *says;
  } wrong[] = {
      {{"--server-workrs", "2"}, "unknown flag --server-workrs (did you mean --server-workers?)"},
      {{"--server-workers"}, "flag --server-workers: needs a value"},
      {{"-w"}, "flag -w: needs a value"},
      {{"-w", "many"}, "flag -w: server.workers: \"many\" is not a number"},
      {{"-Z"}, "unknown flag -Z"},
      {{"-t", "120"}, "-t tests the configuration (gunicorn's timeout is --timeout here)"},
      {{"reload"}, "unexpected \"reload\""},
      {{"-s", "restart"}, "not one of reload, stop"},
      {{"--certfile", "x.pem"}, "TLS ends at the proxy"},
      {{"--server-daemon=perhaps"}, "neither yes nor no"},
      {{"--admin-bind", "0.0.0.0:1"}, "flag --admin-bind: admin.bind: "},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    struct fixture f;
    char *flags[4] = {NULL};
    for (size_t j = 0; j < 3 && wrong[i].flags[j]; j++)
      flags[j] = (char *)(uintptr_t)wrong[i].flags[j];
    assert_int_equal(fixture_load(&f, "", flags, NULL), ERR_CONFIG);
    if (!strstr(f.errors.text.data, wrong[i].says)) fail_msg("%s: \"%s\"", wrong[i].flags[0], f.errors.text.data);
    fixture_free(&f);
  }
}

static void refuses_bad_environment(void **state) {
  (void)state;
  static const struct {
    const char *entry, *says;
  } wrong[] = {
      {"WAHOOK_SERVER_WORKERS=x", "environment variable WAHOOK_SERVER_WORKERS: server.workers: \"x\" is not a number"},
      {"WEB_CONCURRENCY=-2", "environment variable WEB_CONCURRENCY: server.workers: "},
      {"BUSINESS_CACHE_TTL=soon", "directory.cache_ttl: \"soon\" is not a duration"},
      {"WARMUP_CACHE=perhaps", "directory.warmup: "},
      {"WAHOOK_SERVER_WORKRES=2", "unknown option (did you mean WAHOOK_SERVER_WORKERS?)"},
      {"WAHOOK_SERVER_BIND=[\"127.0.0.1:1\", \"x", "server.bind: "},
      {"WAHOOK_LIMITS_NOPE=2", "unknown option"},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    struct fixture f;
    char *env[2] = {(char *)(uintptr_t)wrong[i].entry, NULL};
    assert_int_equal(fixture_load(&f, "", NULL, env), ERR_CONFIG);
    if (!strstr(f.errors.text.data, wrong[i].says)) fail_msg("%s: \"%s\"", wrong[i].entry, f.errors.text.data);
    fixture_free(&f);
  }
}

static void tells_all_errors_at_once(void **state) {
  (void)state;
  struct fixture f;
  char env[] = "WAHOOK_LOG_LEVEL=loud", dir[] = "WAHOOK_SERVER_STATE_DIR=/tmp", flag[] = "--graph-version=x";
  static const char file[] =
      "[server]\nworkers = many\nbind = [\"127.0.0.1:1\"\ntimeout = 1ms\n\n[webhook]\npath = \"x\"\n[nope]\na = 1\nb = 2\n";
  assert_int_equal(fixture_load(&f, file, TEXTS(flag), TEXTS(env, dir)), ERR_CONFIG);
  assert_int_equal(f.errors.count, 7); // workers, bind, timeout, path, [nope] once, environment, flag
  assert_non_null(strstr(f.errors.text.data, ":2: server.workers"));
  assert_non_null(strstr(f.errors.text.data, ":3: the list is not closed"));
  assert_non_null(strstr(f.errors.text.data, ":4: server.timeout"));
  assert_non_null(strstr(f.errors.text.data, ":7: webhook.path"));
  assert_non_null(strstr(f.errors.text.data, "WAHOOK_LOG_LEVEL: log.level"));
  assert_non_null(strstr(f.errors.text.data, "--graph-version: graph.version"));
  // and what a daemon misses besides
  assert_int_equal(config_check_daemon(NULL, &f.errors), ERR_CONFIG);
  assert_non_null(strstr(f.errors.text.data, "webhook.app_secrets: none is set"));
  assert_int_equal(f.errors.count, 8);
  fixture_free(&f);
}

static void tells_each_item_of_a_list(void **state) {
  (void)state;
  struct fixture f;
  static const char file[] =
      "[server]\ntrusted_proxies = [\"::1\",\n\"here\", \"10.0.0.0/8\",\n\n\"there\"]\n[webhook]\napp_secrets = [\n\"env:A\",\n\"s\",\n"
      "\"env:B\"\n]\n";
  assert_int_equal(fixture_load(&f, file, NULL, NULL), ERR_CONFIG);
  assert_int_equal(f.errors.count, 4);
  assert_non_null(strstr(f.errors.text.data, ":3: server.trusted_proxies: \"here\" is neither"));
  assert_non_null(strstr(f.errors.text.data, ":5: server.trusted_proxies: \"there\" is neither"));
  assert_non_null(strstr(f.errors.text.data, ":8: webhook.app_secrets: the environment variable A is"));
  assert_non_null(strstr(f.errors.text.data, ":10: webhook.app_secrets: the environment variable B is"));
  fixture_free(&f);
}

// What cannot be read counts as set: one slip gives one error.
static void infers_nothing_from_a_broken_line(void **state) {
  (void)state;
  static const char *const files[] = {
      "[webhook]\napp_secrets = [\"s\n",
      "[webhook]\napp_secrets = \"s\" \"t\"\n",
      "[webhook]\napp_secrets = [\"s\",\n[log]\n",
      "[webhook]\napp_secrets = [\"\xff\"]\n",
      "[webhook]\napp_secrets = [\n\"s\",\n\"\x01\"]\n",
      "[webhok]\napp_secrets = [\"s\"]\n",
      "[webhook\napp_secrets = [\"s\"]\n",
      "[webhook]\napp_secrets = secret\n",
      "[webhook]\napp_secrets = \"\"\"a\n[nonsense]\nb = \"\"\"\n",
  };
  char dir[] = "WAHOOK_SERVER_STATE_DIR=/tmp";
  for (size_t i = 0; i < COUNT_OF(files); i++) {
    struct fixture f;
    assert_int_equal(fixture_load(&f, files[i], NULL, TEXTS(dir)), ERR_CONFIG);
    assert_int_equal(config_check_daemon(NULL, &f.errors), ERR_CONFIG);
    if (f.errors.count != 1) fail_msg("%s: %s", files[i], f.errors.text.data);
    fixture_free(&f);
  }
}

static void survives_any_cut(void **state) {
  (void)state;
  static const char file[] =
      "[webhook]\r\npath = \"/a\" # c\napp_secrets = [\"a\\u00e4\",\n'b', ]\n[log]\nlevel=info\n[server]\nbind = [\n\"[::1]:1\"]";
  for (size_t cut = 0; cut < sizeof file; cut++) {
    char part[sizeof file];
    struct fixture f;
    memcpy(part, file, cut);
    part[cut] = '\0';
    enum err e = fixture_load(&f, part, NULL, NULL);
    assert_int_equal(e == ERR_OK, f.errors.count == 0);
    fixture_free(&f);
  }
}

static void shows_what_fits_and_nothing_odd(void **state) {
  (void)state;
  struct fixture f;
  char value[4000], file[5000], env[] = "WAHOOK_SERVER_WORKERS=1\n2\x1b[1m\xff";
  memset(value, 'x', sizeof value);
  value[sizeof value - 1] = '\0';
  assert_true(snprintf(file, sizeof file, "[admin]\nbind = \"%s\"\n", value) > 4000);
  assert_int_equal(fixture_load(&f, file, NULL, TEXTS(env)), ERR_CONFIG);
  assert_non_null(strstr(f.errors.text.data, "xxx...\" is not an address (write HOST:PORT, [IPv6]:PORT, :PORT or unix:PATH)\n"));
  assert_non_null(strstr(f.errors.text.data, "server.workers: \"1\\x0a2\\x1b[1m\\xff\" is not a number"));
  fixture_free(&f);
}

static void refuses_files_it_cannot_read(void **state) {
  (void)state;
  char program[] = "wahookd", flag[] = "-c", missing[] = "/nonexistent/wahookd.conf", python[] = "gunicorn.conf.py", *env[] = {NULL};
  struct config *config = NULL;
  struct config_command command;
  struct config_errors errors = {.count = 0};
  assert_int_equal(config_load(&config, &command, 3, TEXTS(program, flag, missing), env, &errors), ERR_CONFIG);
  assert_non_null(strstr(errors.text.data, "/nonexistent/wahookd.conf: cannot read it: No such file or directory (name a file with -c"));
  assert_int_equal(config_check_daemon(NULL, &errors), ERR_CONFIG);
  assert_int_equal(errors.count, 1); // what the file should have said is not missed
  config_errors_free(&errors);
  assert_int_equal(config_load(&config, &command, 3, TEXTS(program, flag, python), env, &errors), ERR_CONFIG);
  assert_non_null(strstr(errors.text.data, "gunicorn's Python files cannot be read"));
  config_errors_free(&errors);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(refuses_bad_syntax),
      cmocka_unit_test(refuses_bad_options),
      cmocka_unit_test(refuses_bad_values),
      cmocka_unit_test(refuses_bad_flags),
      cmocka_unit_test(refuses_bad_environment),
      cmocka_unit_test(tells_all_errors_at_once),
      cmocka_unit_test(tells_each_item_of_a_list),
      cmocka_unit_test(infers_nothing_from_a_broken_line),
      cmocka_unit_test(survives_any_cut),
      cmocka_unit_test(shows_what_fits_and_nothing_odd),
      cmocka_unit_test(refuses_files_it_cannot_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
