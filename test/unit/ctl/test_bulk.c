// Many businesses at once: read page by page, written batch by batch.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tools/ctl/ctl.h"

static char complaint[200];

void ctl_complain(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(complaint, sizeof complaint, fmt, ap);
  va_end(ap);
}
int ctl_fail(enum err e, const char *what, const struct why *why) {
  (void)what, (void)why;
  return (int)e;
}
int ctl_exit_status(enum err e) {
  return (int)e;
}

static struct store *opened(void) {
  struct store *store = NULL;
  struct why why;
  assert_int_equal(store_open("ram:bulk", &store, &why), ERR_OK);
  return store;
}

static struct business *numbered(unsigned n, const char *phone) {
  struct business *b = business_new();
  char id[16];
  snprintf(id, sizeof id, "b%05u", n);
  free(b->id);
  b->id = xstrdup(id);
  b->phone_number_ids[b->phone_count++] = xstrdup(phone);
  return b;
}

struct done {
  unsigned written, refused;
  uint64_t last_refused;
};

static void on_done(void *ctx, const struct business *b, uint64_t tag, const char *reason) {
  struct done *done = ctx;
  assert_int_equal(strtoul(b->id + 1, NULL, 10), tag);
  if (!reason) {
    done->written++;
    return;
  }
  assert_non_null(strstr(reason, "no phone number id"));
  done->refused++;
  done->last_refused = tag;
}

struct seen {
  unsigned count, stop_at;
  char last[16];
};

static enum err on_page(void *ctx, struct business *const *page, unsigned count, struct why *why) {
  struct seen *seen = ctx;
  for (unsigned i = 0; i < count; i++) {
    assert_true(strcmp(page[i]->id, seen->last) > 0); // each once, in order
    snprintf(seen->last, sizeof seen->last, "%s", page[i]->id);
  }
  seen->count += count;
  if (!seen->stop_at || seen->count < seen->stop_at) return ERR_OK;
  why_set(why, "enough");
  return ERR_FULL;
}

static void a_bad_one_keeps_no_other_out(void **state) {
  (void)state;
  struct store *store = opened();
  struct done done = {0};
  struct seen seen = {0};
  struct why why;
  struct bulk_writer w = {.on_done = on_done, .ctx = &done};
  bulk_writer_start(&w, store, 7);
  for (unsigned n = 0; n < 2503; n++)
    assert_int_equal(bulk_put(&w, numbered(n, n == 1234 ? "+49 no" : "1"), n, &why), ERR_OK);
  assert_int_equal(done.written + done.refused, 2503 / 7 * 7);
  assert_int_equal(bulk_flush(&w, &why), ERR_OK);
  assert_int_equal(bulk_flush(&w, &why), ERR_OK);
  assert_int_equal(done.written, 2502);
  assert_int_equal(done.refused, 1);
  assert_int_equal(done.last_refused, 1234);
  assert_int_equal(bulk_read(store, on_page, &seen, &why), ERR_OK);
  assert_int_equal(seen.count, 2502);
  seen = (struct seen){.stop_at = 1};
  assert_int_equal(bulk_read(store, on_page, &seen, &why), ERR_FULL);
  assert_string_equal(why.text, "enough");
  assert_true(seen.count < 2502);
  // One that waits for its batch is given back with the writer.
  assert_int_equal(bulk_put(&w, numbered(9999, "1"), 9999, &why), ERR_OK);
  bulk_writer_free(&w);
  store_close(store);
}

static void what_fails_is_named(void **state) {
  (void)state;
  struct ctl ctl = {.json = false};
  struct bulk_run run;
  bulk_run_start(&run, &ctl, 10);
  bulk_run_failed(&run, "b\033[31m1", "access token", "no key");
  assert_string_equal(complaint, "b?[31m1: access token: no key");
  bulk_run_failed(&run, "b2", NULL, "no room");
  assert_string_equal(complaint, "b2: no room");
  bulk_run_unread(&run, 10, 10);
  bulk_run_unread(&run, 10, 11); // one came meanwhile
  assert_int_equal(run.failed, 2);
  bulk_run_unread(&run, 10, 7);
  assert_int_equal(run.failed, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_bad_one_keeps_no_other_out),
      cmocka_unit_test(what_fails_is_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
