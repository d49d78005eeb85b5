// Businesses with a retention of their own, asked for on a real loop: who is among them, changes, questions that are given up.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inside.h"

static struct loop *loop;
static struct directory *dir;
static struct store *store; // the test's own hand on the same businesses

static void set(char **field, const char *text) {
  free(*field);
  *field = xstrdup(text);
}

static bool turn_until(const bool *what) {
  int64_t deadline = clock_mono_us() + 60000000;
  while (!*what && clock_mono_us() < deadline)
    uv_run(loop_uv(loop), UV_RUN_ONCE);
  return *what;
}

static int setup(void **state) {
  (void)state;
  struct why why = {{0}};
  loop = loop_new(4);
  struct directory_options o = {.loop = loop, .store.uri = "ram:", .cache_size = 100, .cache_ttl_ms = 300000};
  assert_int_equal(store_open(o.store.uri, &store, &why), ERR_OK);
  assert_int_equal(directory_open(&o, &dir, &why), ERR_OK);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  directory_close(dir);
  loop_free(loop);
  store_close(store);
  return 0;
}

struct listed {
  bool any;
  int count;
  char text[200];
};

static void on_listed(void *ctx, struct business *const *businesses, int count) {
  struct listed *l = ctx;
  l->any = true;
  l->count = count;
  for (int i = 0; i < count; i++) {
    const struct business *b = businesses[i];
    size_t len = strlen(l->text);
    snprintf(l->text + len, sizeof l->text - len, "%s=%lld(%s%s%s) ", b->id, (long long)b->retention_ms,
             b->phone_count > 0 ? b->phone_number_ids[0] : "", b->phone_count > 1 ? " " : "",
             b->phone_count > 1 ? b->phone_number_ids[1] : "");
  }
}

static void put_retention(const char *id, const char *phone, const char *also, const char *retention, bool active) {
  struct business *b = business_new();
  struct why why;
  set(&b->id, id);
  set(&b->retention, retention);
  b->phone_number_ids[b->phone_count++] = xstrdup(phone);
  if (also) b->phone_number_ids[b->phone_count++] = xstrdup(also);
  b->is_active = b->whatsapp_enabled = active;
  assert_int_equal(store_put(store, b, &why), ERR_OK);
  business_free(b);
}

static struct listed list(void) {
  struct listed l = {0};
  directory_retentions(dir, on_listed, &l);
  assert_true(turn_until(&l.any));
  return l;
}

// Also those that are out of use, but for numbers that have gone to others.
static void who_has_one(void **state) {
  (void)state;
  assert_int_equal(list().count, 0);
  put_retention("plain", "1", NULL, "", true);
  put_retention("hour", "2", NULL, "1h", true);
  put_retention("off", "3", "1", "2h", false);
  put_retention("odd", "4", NULL, "soon", true);
  assert_string_equal(list().text, "hour=3600000(2) odd=0(4) off=7200000(3) ");
}

static void a_change_is_counted(void **state) {
  (void)state;
  put_retention("hour", "2", NULL, "1h", true);
  (void)list();
  uint64_t changes = directory_changes(dir);
  directory_forget(dir, DIRECTORY_PHONE, SPAN("2"));
  assert_true(directory_changes(dir) > changes); // what another process told
  changes = directory_changes(dir);
  put_retention("hour", "2", NULL, "30m", true);
  int64_t deadline = clock_mono_us() + 60000000;
  while (directory_changes(dir) == changes && clock_mono_us() < deadline)
    uv_run(loop_uv(loop), UV_RUN_ONCE);
  assert_true(directory_changes(dir) > changes); // what the store shows
  assert_string_equal(list().text, "hour=1800000(2) ");
}

// Who has given up is not called, and whoever asks next is not given that answer.
static void given_up(void **state) {
  (void)state;
  put_retention("hour", "2", NULL, "1h", true);
  struct listed dropped = {0};
  directory_retentions(dir, on_listed, &dropped);
  directory_retentions_drop(dir);
  put_retention("hour", "2", NULL, "30m", true);
  assert_string_equal(list().text, "hour=1800000(2) ");
  assert_false(dropped.any);
}

static void the_directory_is_closed_meanwhile(void **state) {
  struct listed l = {0};
  put_retention("hour", "2", NULL, "1h", true);
  directory_retentions(dir, on_listed, &l);
  teardown(state);
  assert_int_equal(l.count, -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(who_has_one, setup, teardown),
      cmocka_unit_test_setup_teardown(a_change_is_counted, setup, teardown),
      cmocka_unit_test_setup_teardown(given_up, setup, teardown),
      cmocka_unit_test_setup(the_directory_is_closed_meanwhile, setup),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
