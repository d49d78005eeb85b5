// Where values come from and which one wins; warnings.
#include "fixture.h"

#include <stdio.h>
#include <sys/stat.h>

static void starts_from_defaults(void **state) {
  (void)state;
  struct fixture f;
  assert_int_equal(fixture_load(&f, "", NULL, NULL), ERR_OK);
  const struct config *c = f.config;
  assert_int_equal(c->server_bind.count, 1);
  assert_string_equal(c->server_bind.items[0], "127.0.0.1:8000");
  assert_int_equal(c->server_timeout, 120000);
  assert_int_equal(c->webhook_max_body, 3 << 20);
  assert_int_equal(c->limits_webhook.count, 100);
  assert_int_equal(c->limits_business.count, 0);
  assert_true(c->directory_warmup);
  assert_false(c->directory_check);
  assert_int_equal(c->server_max_rss, 0);
  assert_int_equal(c->server_max_age, 0);
  assert_string_equal(c->webhook_verify_token, "");
  assert_int_equal(c->webhook_app_secrets.count, 0);
  assert_string_equal(c->file, f.path);
  assert_in_range(config_workers(c), 1, 64);
  struct buf b = {NULL, 0, 0};
  config_store_uri(c, &b);
  assert_string_equal(b.data, "sqlite:/var/lib/wahookd/businesses.db");
  buf_clear(&b);
  config_admin_bind(c, &b);
  assert_string_equal(b.data, "unix:/var/lib/wahookd/admin.sock");
  buf_free(&b);
  fixture_free(&f);
}

static void reads_every_form_of_value(void **state) {
  (void)state;
  struct fixture f;
  static const char file[] = "\xEF\xBB\xBF# a comment\r\n"
                             "[server]\r\n"
                             "workers=3 # three\r\n"
                             "bind = [ # two\n  \"127.0.0.1:1\",\n\n  '[::1]:2', # the other\n]\n"
                             "timeout = 90\nkeep_alive = \"1m\"\n"
                             "trusted_proxies = \"10.0.0.0/8, ::1\"\n"
                             "[responder]\nsystem_prompt = \"a \\\"b\\\"\\n\\u00e4\"\nmodel = 'c:\\n'\ntype = openai\n"
                             "[server]\nmax_requests = 10\nmax_rss = 16MiB\nmax_age = 1s\n"
                             "[limits]\nwebhook = 5/second\nhealth = \"5 per 10 seconds\"\n"
                             "[log]\nlevel = INFO\n[admin]\nbind = \"off\"";
  assert_int_equal(fixture_load(&f, file, NULL, NULL), ERR_OK);
  const struct config *c = f.config;
  assert_int_equal(c->server_workers, 3);
  assert_int_equal(config_workers(c), 3);
  assert_int_equal(c->server_bind.count, 2);
  assert_string_equal(c->server_bind.items[1], "[::1]:2");
  assert_int_equal(c->server_timeout, 90000);
  assert_int_equal(c->server_keep_alive, 60000);
  assert_int_equal(c->server_trusted_proxies.count, 2);
  assert_string_equal(c->server_trusted_proxies.items[1], "::1");
  assert_string_equal(c->responder_system_prompt, "a \"b\"\n\xC3\xA4");
  assert_string_equal(c->responder_model, "c:\\n");
  assert_int_equal(c->server_max_requests, 10);
  assert_int_equal(c->server_max_rss, 16 << 20);
  assert_int_equal(c->server_max_age, 1000);
  assert_int_equal(c->limits_webhook.period_us, 1000000);
  assert_int_equal(c->limits_health.period_us, 10000000);
  assert_string_equal(c->log_level, "info");
  struct buf b = {NULL, 0, 0};
  config_admin_bind(c, &b);
  assert_int_equal(b.len, 0);
  fixture_free(&f);
}

static void lets_higher_sources_win(void **state) {
  (void)state;
  static const char file[] = "[server]\nworkers = 1\nbind = [\"127.0.0.1:1\"]\n[directory]\ncache_ttl = \"7s\"\ncache_size = 7\n";
  char env1[] = "WAHOOK_SERVER_WORKERS=2", env2[] = "BUSINESS_CACHE_TTL=300", env3[] = "WARMUP_CACHE=false", env4[] = "WEB_CONCURRENCY=9",
       env5[] = "WAHOOK_SERVER_BIND=127.0.0.1:2,127.0.0.1:3", env6[] = "BUSINESS_CACHE_SIZE=";
  struct fixture f;
  assert_int_equal(fixture_load(&f, file, NULL, TEXTS(env1, env2, env3, env4, env5, env6)), ERR_OK);
  assert_int_equal(f.config->server_workers, 2); // our name before the alias
  assert_int_equal(f.config->directory_cache_ttl, 300000);
  assert_int_equal(f.config->directory_cache_size, 7); // an empty variable is none
  assert_false(f.config->directory_warmup);
  assert_int_equal(f.config->server_bind.count, 2); // replaced, not added
  fixture_free(&f);

  char a[] = "-w4", b[] = "-b", c[] = "127.0.0.1:4", d[] = "--bind=127.0.0.1:5", e[] = "--server-state_dir", g[] = "/x", h[] = "-D",
       i[] = "--directory-warmup", j[] = "no", k[] = "--timeout", l[] = "30";
  assert_int_equal(fixture_load(&f, file, TEXTS(a, b, c, d, e, g, h, i, j, k, l), TEXTS(env1, env5)), ERR_OK);
  assert_int_equal(f.config->server_workers, 4);
  assert_int_equal(f.config->server_bind.count, 2); // flags add to flags
  assert_string_equal(f.config->server_bind.items[0], "127.0.0.1:4");
  assert_string_equal(f.config->server_state_dir, "/x");
  assert_true(f.config->server_daemon);
  assert_false(f.config->directory_warmup);
  assert_int_equal(f.config->server_timeout, 30000);
  fixture_free(&f);
}

static void takes_commands(void **state) {
  (void)state;
  struct fixture f;
  char t[] = "-t", dump[] = "--dump-config", s[] = "-s", verb[] = "reload", help[] = "--help";
  assert_int_equal(fixture_load(&f, "", TEXTS(t, dump, s, verb), NULL), ERR_OK);
  assert_true(f.command.test && f.command.dump && !f.command.help);
  assert_string_equal(f.command.signal, "reload");
  fixture_free(&f);
  assert_int_equal(fixture_load(&f, "broken", TEXTS(help), NULL), ERR_OK); // help needs no file
  assert_true(f.command.help);
  fixture_free(&f);
}

static void takes_a_gunicorn_command_line(void **state) {
  (void)state;
  struct fixture f;
  char a[] = "--worker-class", b[] = "uvicorn.workers.UvicornWorker", c[] = "app.main:app", d[] = "--preload", e[] = "--log-file",
       g[] = "-", h[] = "--max-requests", i[] = "10000", j[] = "-k", k[] = "gevent", l[] = "--forwarded-allow-ips=127.0.0.1",
       m[] = "--log-level=debug";
  assert_int_equal(fixture_load(&f, "", TEXTS(a, b, c, d, e, g, h, i, j, k, l, m), NULL), ERR_OK);
  assert_int_equal(f.errors.warning_count, 4);
  assert_non_null(strstr(f.errors.warnings.data, "flag --worker-class: a flag of gunicorn, ignored: there is one kind of worker"));
  assert_non_null(strstr(f.errors.warnings.data, "app.main:app: gunicorn's application name"));
  assert_string_equal(f.config->log_target, "stderr");
  assert_string_equal(f.config->log_level, "debug");
  assert_int_equal(f.config->server_max_requests, 10000);
  assert_int_equal(f.config->server_trusted_proxies.count, 1);
  fixture_free(&f);
}

static void reads_secrets_from_elsewhere(void **state) {
  (void)state;
  struct fixture f;
  char secret[64], file[512], env1[] = "APP=from env", env2[] = "ENCRYPTION_SECRET=one, two", env3[] = "META_APP_SECRET=x";
  fixture_write(secret, "from file\n", 10);
  assert_int_equal(chmod(secret, 0644), 0);
  snprintf(file, sizeof file, "[webhook]\napp_secrets = [\"file:%s\", \"env:APP\", \"lit,eral\"]\nverify_token = \"file:%s\"\n", secret,
           secret);
  assert_int_equal(fixture_load(&f, file, NULL, TEXTS(env1, env2)), ERR_OK);
  assert_int_equal(f.config->webhook_app_secrets.count, 3);
  assert_string_equal(f.config->webhook_app_secrets.items[0], "from file");
  assert_string_equal(f.config->webhook_app_secrets.items[1], "from env");
  assert_string_equal(f.config->webhook_app_secrets.items[2], "lit,eral");
  assert_string_equal(f.config->webhook_verify_token, "from file");
  assert_int_equal(f.config->crypto_encryption_secret.count, 1); // the old name holds one secret, commas and all
  assert_string_equal(f.config->crypto_encryption_secret.items[0], "one, two");
  assert_non_null(strstr(f.errors.warnings.data, "every user of this machine"));
  fixture_free(&f);

  char env4[] = "WHATSAPP_APP_SECRET=y", env5[] = "WAHOOK_CRYPTO_ENCRYPTION_KEY=[\"a,b\", 'c']";
  assert_int_equal(fixture_load(&f, "", NULL, TEXTS(env3, env4, env5)), ERR_OK);
  assert_int_equal(f.config->webhook_app_secrets.count, 2); // two apps
  assert_int_equal(f.config->crypto_encryption_key.count, 2);
  assert_string_equal(f.config->crypto_encryption_key.items[0], "a,b");
  fixture_free(&f);
  unlink(secret);
}

static void completes_relative_paths(void **state) {
  (void)state;
  struct fixture f;
  char here[4096], expected[8192];
  assert_non_null(getcwd(here, sizeof here));
  static const char file[] =
      "[server]\nstate_dir = \"run\"\nbind = \"unix:run/s\"\n[directory]\nstore = \"sqlite:run/b.db\"\n[graph]\nbase_url = "
      "\"http://127.0.0.1:1/\"\n";
  assert_int_equal(fixture_load(&f, file, NULL, NULL), ERR_OK);
  snprintf(expected, sizeof expected, "%s/run", here);
  assert_string_equal(f.config->server_state_dir, expected);
  snprintf(expected, sizeof expected, "sqlite:%s/run/b.db", here);
  assert_string_equal(f.config->directory_store, expected);
  snprintf(expected, sizeof expected, "unix:%s/run/s", here);
  assert_string_equal(f.config->server_bind.items[0], expected);
  assert_string_equal(f.config->graph_base_url, "http://127.0.0.1:1");
  fixture_free(&f);
}

static void knows_its_variables(void **state) {
  (void)state;
  assert_true(config_reads_variable(SPAN("WAHOOK_CRYPTO_ENCRYPTION_KEY")));
  assert_true(config_reads_variable(SPAN("ENCRYPTION_SECRET")));
  assert_true(config_reads_variable(SPAN("META_APP_SECRET")));
  assert_false(config_reads_variable(SPAN("PATH")));
  struct fixture f;
  char build[] = "WAHOOK_BUILD=build", gunicorn[] = "GUNICORN_CMD_ARGS=x";
  assert_int_equal(fixture_load(&f, "", NULL, TEXTS(build, gunicorn)), ERR_OK); // of no section: not ours
  assert_int_equal(f.errors.warning_count, 1);
  fixture_free(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(starts_from_defaults),          cmocka_unit_test(reads_every_form_of_value),
      cmocka_unit_test(lets_higher_sources_win),       cmocka_unit_test(takes_commands),
      cmocka_unit_test(takes_a_gunicorn_command_line), cmocka_unit_test(reads_secrets_from_elsewhere),
      cmocka_unit_test(completes_relative_paths),      cmocka_unit_test(knows_its_variables),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
