// What people read, and what children read: help, dump, sample, snapshot. `test_dump sample` prints the sample file.
#include "fixture.h"

#include <stdio.h>
#include <sys/mman.h>

static const char full[] = "[server]\nworkers = 3\nbind = [\"127.0.0.1:1\", \"[::1]:2\"]\ntimeout = \"90s\"\n"
                           "[webhook]\napp_secrets = [\"env:SECRET\"]\nverify_token = \"visible\"\nmax_body = \"1MiB\"\n"
                           "[crypto]\nencryption_key = [\"key material\"]\n"
                           "[limits]\nadmin = \"5 per 10 seconds\"\n[responder]\nsystem_prompt = \"say \\\"hi\\\"\\n\"\ntype = \"http\"\n";

static void dumps_what_can_be_read_again(void **state) {
  (void)state;
  struct fixture f, again;
  char env[] = "SECRET=hidden", old[] = "OPENAI_API_KEY=sk-secret";
  struct buf first = {NULL, 0, 0};
  assert_int_equal(fixture_load(&f, full, NULL, TEXTS(env, old)), ERR_OK);
  config_dump(f.config, &first);
  assert_null(strstr(first.data, "hidden"));
  assert_null(strstr(first.data, "visible"));
  assert_null(strstr(first.data, "key material"));
  assert_null(strstr(first.data, "sk-secret"));
  assert_non_null(strstr(first.data, "app_secrets = [\"env:SECRET\"]\n"));
  assert_non_null(strstr(first.data, "key = \"env:OPENAI_API_KEY\"\n"));
  assert_non_null(strstr(first.data, "#verify_token = \"***\""));
  assert_int_equal(fixture_load(&again, first.data, NULL, TEXTS(env, old)), ERR_OK);
  assert_int_equal(again.config->server_workers, 3);
  assert_int_equal(again.config->server_bind.count, 2);
  assert_int_equal(again.config->server_timeout, 90000);
  assert_string_equal(again.config->webhook_app_secrets.items[0], "hidden");
  assert_string_equal(again.config->responder_system_prompt, "say \"hi\"\n");
  assert_string_equal(again.config->responder_key, "sk-secret");
  assert_int_equal(again.config->limits_admin.count, 5);
  assert_string_equal(again.config->webhook_verify_token, "");
  buf_free(&first);
  fixture_free(&f);
  fixture_free(&again);
}

static void helps_with_every_option(void **state) {
  (void)state;
  struct buf help = {NULL, 0, 0};
  config_help(&help, "wahookd");
#define OPTION(section, key, type, def, min, max, chr, flags, env, holders, help_text)                                                     \
  {                                                                                                                                        \
    char flag[] = "--" #section "-" #key;                                                                                                  \
    for (char *p = flag; *p; p++)                                                                                                          \
      if (*p == '_') *p = '-';                                                                                                             \
    if (!strstr(help.data, flag)) fail_msg("--help lacks %s", flag);                                                                       \
  }
#include "wahook/options.def"
#undef OPTION
  assert_non_null(strstr(help.data, "-w, --server-workers, --workers NUMBER\n"));
  assert_non_null(strstr(help.data, "--log-format text|json\n"));
  buf_free(&help);
}

static void sample_means_the_defaults(void **state) {
  (void)state;
  struct buf sample = {NULL, 0, 0}, uncommented = {NULL, 0, 0};
  struct fixture f;
  config_sample(&sample);
  // "#key = value" lines taken in: still valid, still the defaults.
  struct span rest = buf_span(&sample), line;
  while (rest.ptr && span_split(&rest, '\n', &line)) {
    bool option = line.len > 1 && line.ptr[0] == '#' && line.ptr[1] != ' ';
    buf_add_span(&uncommented, option ? span_from(line, 1) : line);
    buf_add_byte(&uncommented, '\n');
  }
  assert_int_equal(fixture_load(&f, uncommented.data, NULL, NULL), ERR_OK);
  assert_int_equal(f.config->server_timeout, 120000);
  fixture_free(&f);
  buf_free(&uncommented);
  struct buf shipped = {NULL, 0, 0};
  assert_int_equal(buf_read_file(&shipped, "etc/wahookd.conf", 1 << 20), ERR_OK);
  assert_string_equal(shipped.data, sample.data); // else: build/unit/config/test_dump sample > etc/wahookd.conf
  buf_free(&shipped);
  buf_free(&sample);
}

static struct config *pass(const struct config *config, enum config_role role) {
  struct config *out = NULL;
  struct why why;
  int fd = memfd_create("config", MFD_CLOEXEC);
  assert_int_equal(config_write_snapshot(config, role, fd), ERR_OK);
  assert_int_equal(config_read_snapshot(&out, fd, &why), ERR_OK);
  close(fd);
  return out;
}

static void gives_a_role_what_it_may_have(void **state) {
  (void)state;
  struct fixture f;
  char env[] = "SECRET=hidden";
  assert_int_equal(fixture_load(&f, full, NULL, TEXTS(env)), ERR_OK);
  struct config *worker = pass(f.config, CONFIG_ROLE_WORKER), *dispatcher = pass(f.config, CONFIG_ROLE_DISPATCHER),
                *master = pass(f.config, CONFIG_ROLE_MASTER);
  assert_string_equal(worker->webhook_app_secrets.items[0], "hidden");
  assert_string_equal(worker->webhook_verify_token, "visible");
  assert_int_equal(worker->crypto_encryption_key.count, 0);
  assert_int_equal(worker->webhook_max_body, 1 << 20);
  assert_int_equal(worker->limits_admin.period_us, 10000000);
  assert_string_equal(worker->file, f.path);
  assert_int_equal(dispatcher->webhook_app_secrets.count, 0);
  assert_string_equal(dispatcher->crypto_encryption_key.items[0], "key material");
  assert_string_equal(dispatcher->responder_system_prompt, "say \"hi\"\n");
  assert_int_equal(master->webhook_app_secrets.count, 0);
  assert_int_equal(master->crypto_encryption_key.count, 0);
  assert_int_equal(master->server_bind.count, 2);
  config_free(worker);
  config_free(dispatcher);
  config_free(master);
  fixture_free(&f);
}

static void refuses_a_damaged_snapshot(void **state) {
  (void)state;
  struct fixture f;
  char env[] = "SECRET=hidden", bytes[65536];
  struct config *out = NULL;
  struct why why = {""};
  assert_int_equal(fixture_load(&f, full, NULL, TEXTS(env)), ERR_OK);
  int fd = memfd_create("config", MFD_CLOEXEC);
  assert_int_equal(config_write_snapshot(f.config, CONFIG_ROLE_WORKER, fd), ERR_OK);
  ssize_t len = pread(fd, bytes, sizeof bytes, 0);
  assert_in_range(len, 100, 60000);
  for (ssize_t i = 0; i < len; i += 7) {
    bytes[i] ^= 1;
    assert_int_equal(pwrite(fd, bytes, (size_t)len, 0), len);
    assert_int_not_equal(config_read_snapshot(&out, fd, &why), ERR_OK);
    bytes[i] ^= 1;
  }
  assert_int_equal(ftruncate(fd, 5), 0);
  assert_int_equal(config_read_snapshot(&out, fd, &why), ERR_TRUNCATED);
  assert_null(out);
  assert_true(why.text[0]);
  close(fd);
  fixture_free(&f);
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "sample") == 0) {
    struct buf sample = {NULL, 0, 0};
    config_sample(&sample);
    fputs(sample.data, stdout);
    buf_free(&sample);
    return 0;
  }
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(dumps_what_can_be_read_again), cmocka_unit_test(helps_with_every_option),
      cmocka_unit_test(sample_means_the_defaults),    cmocka_unit_test(gives_a_role_what_it_may_have),
      cmocka_unit_test(refuses_a_damaged_snapshot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
