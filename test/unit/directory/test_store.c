// The stores: the same behaviour from RAM and SQLite, and what only a file can do (modes, other writers, replacement, damage).
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "store.h"

static char folder[64];
static char uri[128];

static const char *file(void) {
  return uri + strlen("sqlite:");
}

static void remove_files(void) {
  char path[160];
  static const char *const ends[] = {"", "-wal", "-shm"};
  for (size_t i = 0; i < COUNT_OF(ends); i++) {
    snprintf(path, sizeof path, "%s%s", file(), ends[i]);
    if (unlink(path) != 0) rmdir(path);
  }
}

static struct store *opened(const char *which) {
  struct store *store = NULL;
  struct why why;
  assert_int_equal(store_open(which, &store, &why), ERR_OK);
  return store;
}

static void set(char **field, const char *text) {
  free(*field);
  *field = xstrdup(text);
}

static struct business *business(const char *id, const char *phone, int64_t created_ms) {
  struct business *b = business_new();
  set(&b->id, id);
  if (phone) b->phone_number_ids[b->phone_count++] = xstrdup(phone);
  b->created_ms = created_ms;
  b->is_active = b->whatsapp_enabled = true;
  return b;
}

// Puts and frees.
static void put(struct store *store, struct business *b) {
  struct why why = {{0}};
  enum err e = store_put(store, b, &why);
  if (e) print_message("%s\n", why.text);
  assert_int_equal(e, ERR_OK);
  business_free(b);
}

// The id that is found, "-" for none.
static const char *found(struct store *store, enum directory_key kind, const char *key) {
  static char id[64];
  struct business *b = NULL;
  struct why why = {{0}};
  enum err e = store_find(store, kind, span_of(key), &b, &why);
  if (e == ERR_NOT_FOUND) return "-";
  if (e) print_message("%s\n", why.text);
  assert_int_equal(e, ERR_OK);
  snprintf(id, sizeof id, "%s", b->id);
  business_free(b);
  return id;
}

static void lookups(struct store *store) {
  struct business *b = business("b1", "111", 1000);
  set(&b->name, "Caf\xc3\xa9 'One'; --");
  set(&b->sub_domain, "cafe");
  set(&b->waba_id, "w1");
  set(&b->access_token, "tok");
  set(&b->responder_prompt, "Be kind.");
  b->token_expires_ms = 42;
  b->phone_number_ids[b->phone_count++] = xstrdup("112");
  put(store, business_copy(b));
  struct business *read = NULL;
  struct why why;
  assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("112"), &read, &why), ERR_OK);
  struct buf one = {0}, two = {0};
  struct json_writer w;
  json_start(&w, &one);
  business_to_json(b, &w, NULL);
  json_start(&w, &two);
  business_to_json(read, &w, NULL);
  assert_string_equal(one.data, two.data);
  buf_free(&one);
  buf_free(&two);
  business_free(read);
  assert_string_equal(found(store, DIRECTORY_PHONE, "111"), "b1");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "cafe"), "b1");
  assert_string_equal(found(store, DIRECTORY_WABA, "w1"), "b1");
  assert_string_equal(found(store, DIRECTORY_PHONE, "113"), "-");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, ""), "-");
  assert_string_equal(found(store, DIRECTORY_PHONE, "1' OR '1'='1"), "-");
  // Not enabled: gone for messages, there for the verification of its address; not active: gone.
  b->whatsapp_enabled = false;
  put(store, business_copy(b));
  assert_string_equal(found(store, DIRECTORY_PHONE, "111"), "-");
  assert_string_equal(found(store, DIRECTORY_WABA, "w1"), "-");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "cafe"), "b1");
  b->is_active = false;
  put(store, business_copy(b));
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "cafe"), "-");
  // An operator finds it all the same, by any of its names.
  static const char *const names[] = {"b1", "cafe", "112"};
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    assert_int_equal(store_get(store, names[i], &read, &why), ERR_OK);
    assert_string_equal(read->id, "b1");
    business_free(read);
  }
  assert_int_equal(store_get(store, "nobody", &read, &why), ERR_NOT_FOUND);
  // A number that was taken away is nobody's.
  b->is_active = b->whatsapp_enabled = true;
  free(b->phone_number_ids[--b->phone_count]);
  put(store, b);
  assert_string_equal(found(store, DIRECTORY_PHONE, "112"), "-");
  assert_int_equal(store_remove(store, "b1", &why), ERR_OK);
  assert_int_equal(store_remove(store, "b1", &why), ERR_NOT_FOUND);
  assert_string_equal(found(store, DIRECTORY_PHONE, "111"), "-");
  struct business *bad = business("", "1", 0);
  assert_int_equal(store_put(store, bad, &why), ERR_RANGE);
  set(&bad->id, "x");
  set(&bad->phone_number_ids[0], "+49");
  assert_int_equal(store_put(store, bad, &why), ERR_RANGE);
  business_free(bad);
}

static void on_each(void *ctx, const struct business *b) {
  buf_printf(ctx, "%s(%u) ", b->id, b->phone_count);
}

static void lists(struct store *store) {
  put(store, business("c", "1", 1000));
  put(store, business("a", "1", 2000)); // the newer one has the number
  put(store, business("b", "2", 500));
  struct business *off = business("d", "1", 9000);
  off->is_active = false;
  put(store, off);
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "a");
  struct buf out = {0};
  struct why why;
  assert_int_equal(store_each(store, true, NULL, 100, on_each, &out, &why), ERR_OK);
  assert_string_equal(out.data, "b(1) c(0) a(1) "); // c's number is not c's to answer
  buf_clear(&out);
  assert_int_equal(store_each(store, false, "a", 2, on_each, &out, &why), ERR_OK);
  assert_string_equal(out.data, "b(1) c(1) ");
  buf_free(&out);
  uint64_t all, active, before, after;
  assert_int_equal(store_count(store, &all, &active, &why), ERR_OK);
  assert_int_equal(all, 4);
  assert_int_equal(active, 3);

  assert_int_equal(store_begin(store, &why), ERR_OK);
  put(store, business("e", "5", 1));
  assert_int_equal(store_remove(store, "a", &why), ERR_OK);
  assert_int_equal(store_end(store, false, &why), ERR_OK);
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "-");
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "a");
  assert_int_equal(store__changed(store, &before, &why), ERR_OK);
  assert_int_equal(store_begin(store, &why), ERR_OK);
  put(store, business("e", "5", 1));
  assert_int_equal(store_end(store, true, &why), ERR_OK);
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "e");
  assert_int_equal(store__changed(store, &after, &why), ERR_OK);
  assert_int_not_equal(before, after);
  assert_int_equal(store__changed(store, &before, &why), ERR_OK);
  assert_int_equal(before, after);
  assert_int_equal(store_ping(store, &why), ERR_OK);
}

static void ram(void **state) {
  (void)state;
  struct store *store = opened("ram:"), *same = opened("ram:"), *other = opened("ram:other");
  lookups(store);
  lists(store);
  assert_string_equal(found(same, DIRECTORY_PHONE, "5"), "e");
  assert_string_equal(found(other, DIRECTORY_PHONE, "5"), "-");
  store_close(store);
  store_close(same);
  store_close(other);
  store = opened("ram:"); // all have left: nothing stays
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "-");
  store_close(store);
}

static void sqlite(void **state) {
  (void)state;
  struct store *store = opened(uri);
  assert_int_not_equal(access(file(), F_OK), 0); // nothing is touched before it is needed
  mode_t old = umask(0);
  lookups(store);
  umask(old);
  struct stat st;
  assert_int_equal(stat(file(), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  lists(store);
  store_close(store);
  store = opened(uri);
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "e");
  store_close(store);
  remove_files();
}

static void another_process_writes(void **state) {
  (void)state;
  struct store *mine = opened(uri), *theirs = opened(uri);
  uint64_t a, b;
  struct why why;
  assert_int_equal(store__changed(mine, &a, &why), ERR_OK);
  assert_string_equal(found(mine, DIRECTORY_PHONE, "1"), "-");
  put(theirs, business("x", "1", 1));
  assert_int_equal(store__changed(mine, &b, &why), ERR_OK);
  assert_int_not_equal(a, b);
  assert_string_equal(found(mine, DIRECTORY_PHONE, "1"), "x");
  store_close(mine);
  store_close(theirs);
  remove_files();
}

static void the_file_is_replaced_or_gone(void **state) {
  (void)state;
  struct store *store = opened(uri);
  put(store, business("old", "1", 1));
  uint64_t a, b;
  struct why why = {{0}};
  assert_int_equal(store__changed(store, &a, &why), ERR_OK);
  remove_files();
  assert_int_equal(store__changed(store, &b, &why), ERR_UNAVAILABLE); // an outage, not an empty directory
  assert_non_null(strstr(why.text, file()));
  assert_int_not_equal(access(file(), F_OK), 0);
  struct store *restore = opened(uri);
  put(restore, business("new", "1", 1));
  store_close(restore);
  assert_int_equal(store__changed(store, &b, &why), ERR_OK);
  assert_int_not_equal(a, b);
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "new");
  store_close(store);
  remove_files();
}

static void cannot_be_asked(void **state) {
  (void)state;
  struct why why = {{0}};
  struct business *b;
  struct store *store = opened(uri);
  int fd = open(file(), O_CREAT | O_WRONLY, 0640); // not a database
  for (int i = 0; i < 1000; i++)
    assert_int_equal(write(fd, "garbage ", 8), 8);
  close(fd);
  assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why), ERR_UNAVAILABLE);
  assert_true(why.text[0] != '\0');
  remove_files();
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "-"); // mended
  store_close(store);
  remove_files();
  store = opened("sqlite:/nonexistent/folder/businesses.db");
  assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why), ERR_UNAVAILABLE);
  assert_int_equal(store_ping(store, &why), ERR_UNAVAILABLE);
  store_close(store);
  static const char *const bad[] = {"sqlite:", "sqlite::memory:", "mysql://user:password@host", "", "businesses.db"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct store *none;
    assert_int_equal(store_open(bad[i], &none, &why), ERR_CONFIG);
    assert_null(strstr(why.text, "password"));
  }
}

enum { THREADS = 6, ROUNDS = 300 };

static void *reader(void *arg) {
  struct store *store = arg;
  for (int i = 0; i < ROUNDS; i++) {
    struct business *b = NULL;
    struct why why;
    if (store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why) != ERR_OK) return "not found";
    // Row and numbers are of one moment: the writer moves both together.
    bool torn = b->phone_count != (unsigned)b->token_expires_ms;
    business_free(b);
    uint64_t version;
    if (torn || store__changed(store, &version, &why) != ERR_OK) return "torn";
  }
  return NULL;
}

static void many_threads(void **state) {
  (void)state;
  struct store *store = opened(uri), *writer = opened(uri);
  struct business *b = business("x", "1", 1);
  b->token_expires_ms = 1;
  put(writer, business_copy(b));
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, reader, store), 0);
  for (int i = 0; i < 50; i++) {
    if (i % 2 == 0) {
      b->phone_number_ids[b->phone_count++] = xstrdup("2");
    } else {
      free(b->phone_number_ids[--b->phone_count]);
    }
    b->token_expires_ms = b->phone_count;
    put(writer, business_copy(b));
  }
  business_free(b);
  for (int i = 0; i < THREADS; i++) {
    void *failure;
    pthread_join(threads[i], &failure);
    assert_null(failure);
  }
  store_close(store);
  store_close(writer);
  remove_files();
}

// Several processes start at once on a file that is not there yet.
static void *starter(void *arg) {
  (void)arg;
  struct store *store = NULL;
  struct why why = {{0}};
  uint64_t version;
  if (store_open(uri, &store, &why) || store_ping(store, &why) || store__changed(store, &version, &why)) return xstrdup(why.text);
  store_close(store);
  return NULL;
}

static void all_start_at_once(void **state) {
  (void)state;
  for (int round = 0; round < 5; round++) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
      assert_int_equal(pthread_create(&threads[i], NULL, starter, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
      void *failure;
      pthread_join(threads[i], &failure);
      if (failure) print_message("%s\n", (char *)failure);
      assert_null(failure);
    }
    remove_files();
  }
}

static void ten_thousand_businesses(void **state) {
  (void)state;
  struct store *store = opened(uri);
  struct why why;
  int64_t from = clock_mono_us();
  assert_int_equal(store_begin(store, &why), ERR_OK);
  for (int i = 0; i < 10000; i++) {
    char id[32];
    snprintf(id, sizeof id, "%06d", i);
    put(store, business(id, id, i));
  }
  assert_int_equal(store_end(store, true, &why), ERR_OK);
  print_message("10,000 puts in one transaction: %.2f s\n", (double)(clock_mono_us() - from) / 1e6);
  from = clock_mono_us();
  for (int i = 0; i < 10000; i += 10) {
    char id[32];
    snprintf(id, sizeof id, "%06d", i);
    assert_string_equal(found(store, DIRECTORY_PHONE, id), id);
  }
  print_message("a look-up among them: %.1f us\n", (double)(clock_mono_us() - from) / 1000);
  store_close(store);
  remove_files();
}

static int remove_folder(void **state) {
  (void)state;
  remove_files();
  return rmdir(folder);
}

int main(void) {
  snprintf(folder, sizeof folder, "/tmp/wahook-test-XXXXXX");
  if (!mkdtemp(folder)) return 1;
  snprintf(uri, sizeof uri, "sqlite:%s/businesses.db", folder);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ram),
      cmocka_unit_test(sqlite),
      cmocka_unit_test(another_process_writes),
      cmocka_unit_test(the_file_is_replaced_or_gone),
      cmocka_unit_test(cannot_be_asked),
      cmocka_unit_test(many_threads),
      cmocka_unit_test(all_start_at_once),
      cmocka_unit_test(ten_thousand_businesses),
  };
  return cmocka_run_group_tests(tests, NULL, remove_folder);
}
