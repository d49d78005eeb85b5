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

#include "contract.h"

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

// A transaction that is given up leaves nothing; what others see moves the version.
static void transactions(struct store *store) {
  struct why why;
  uint64_t before, after;
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
  tokens(store);
  lists(store);
  transactions(store);
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
  tokens(store);
  umask(old);
  struct stat st;
  assert_int_equal(stat(file(), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0640);
  lists(store);
  transactions(store);
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

// What only MongoDB needs is not in the memory of those who have another store.
static void no_driver_for_others(void **state) {
  (void)state;
  struct store *store = opened(uri);
  struct why why;
  assert_int_equal(store_ping(store, &why), ERR_OK);
  struct buf maps = {0};
  assert_int_equal(buf_read_file(&maps, "/proc/self/maps", 1 << 22), ERR_OK);
  assert_non_null(strstr(maps.data, "sqlite"));
  assert_null(strstr(maps.data, "libmongoc"));
  buf_free(&maps);
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
      cmocka_unit_test(no_driver_for_others),
  };
  return cmocka_run_group_tests(tests, NULL, remove_folder);
}
