// The façade on a real loop: single flights, stale and negative answers, outages, broadcasts, changes behind its back, closing.
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "directory_world.h"

static void found_unknown_and_counted(void **state) {
  (void)state;
  open_with((struct directory_options){0});
  put("one", "111", "t");
  assert_int_equal(get("111"), DIRECTORY_PENDING);
  struct heard h = ask(DIRECTORY_PHONE, "111");
  assert_int_equal(h.answer, DIRECTORY_FOUND);
  assert_string_equal(h.id, "one");
  assert_int_equal(get("111"), DIRECTORY_FOUND);
  assert_string_equal(ask(DIRECTORY_SUBDOMAIN, "one").id, "one");
  assert_int_equal(ask(DIRECTORY_PHONE, "999").answer, DIRECTORY_UNKNOWN);
  assert_int_equal(get("999"), DIRECTORY_UNKNOWN);
  assert_int_equal(get("not a phone id"), DIRECTORY_UNKNOWN);
  assert_int_equal(ask(DIRECTORY_PHONE, "").answer, DIRECTORY_UNKNOWN);
  struct directory_stats stats;
  directory_stats(dir, &stats);
  assert_int_equal(stats.size, 2);
  assert_int_equal(stats.hits, 2);
  assert_int_equal(stats.misses, 4);
  assert_true(stats.healthy);
  close_all();
}

static void a_hundred_who_ask_are_one_question(void **state) {
  (void)state;
  static struct shm_slot slot;
  open_with((struct directory_options){.slot = &slot});
  put("one", "111", "t");
  static struct heard heard[100];
  for (int i = 0; i < 100; i++)
    directory_find(dir, DIRECTORY_PHONE, SPAN("111"), on_answer, &heard[i]);
  assert_int_equal(heard[0].times, 0); // never from within
  assert_true(turn_until(&heard[99].any));
  for (int i = 0; i < 100; i++)
    assert_int_equal(heard[i].answer, DIRECTORY_FOUND);
  assert_int_equal(atomic_load(&slot.counters[METRIC_STORE_QUERIES]), 1);
  assert_int_equal(atomic_load(&slot.counters[METRIC_CACHE_MISSES]), 100);
  turn_for(5);
  assert_int_equal(atomic_load(&slot.counters[METRIC_CACHE_SIZE]), 1);
  close_all();
}

static void stale_answers_while_it_is_refreshed(void **state) {
  (void)state;
  open_with((struct directory_options){.cache_ttl_ms = 20});
  put("one", "111", "old");
  assert_string_equal(ask(DIRECTORY_PHONE, "111").token, "old");
  put("one", "111", "new");
  turn_for(40);
  const struct business *b = NULL;
  assert_int_equal(directory_get(dir, DIRECTORY_PHONE, SPAN("111"), DIRECTORY_NOW, &b), DIRECTORY_FOUND);
  assert_string_equal(b->access_token, "old");
  turn_for(15);
  assert_int_equal(directory_get(dir, DIRECTORY_PHONE, SPAN("111"), DIRECTORY_LEAVE, &b), DIRECTORY_FOUND);
  assert_string_equal(b->access_token, "new");
  close_all();
}

static void the_default_business_needs_no_store(void **state) {
  (void)state;
  open_with((
      struct directory_options){.store.uri = "sqlite:/nonexistent/folder/b.db", .default_phone_number_id = "555", .default_token = "EAAx"});
  struct heard h = ask(DIRECTORY_PHONE, "555");
  assert_string_equal(h.id, "default");
  assert_string_equal(h.token, "EAAx");
  assert_int_equal(get("555"), DIRECTORY_FOUND);
  assert_string_equal(ask(DIRECTORY_SUBDOMAIN, "default").id, "default");
  close_all();
}

static void an_outage(void **state) {
  (void)state;
  char folder[] = "/tmp/wahook-test-XXXXXX", path[64], uri[80], end[80];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/b.db", folder);
  snprintf(uri, sizeof uri, "sqlite:%s", path);
  assert_int_equal(mkdir(path, 0700), 0); // a folder where the file should be
  struct shm shm;
  struct why why;
  assert_int_equal(shm_create(&shm, 2, 65536, &why), ERR_OK);
  open_with((struct directory_options){.store.uri = uri, .shm = &shm, .slot = &shm.slots[0], .cache_ttl_ms = 1});
  assert_int_equal(ask(DIRECTORY_PHONE, "111").answer, DIRECTORY_LATER);
  struct directory_stats stats;
  directory_stats(dir, &stats);
  assert_false(stats.healthy);
  assert_true(atomic_load(&shm.broadcast->directory_failed_us) > 0);
  // After some failures nobody asks the store: the answer comes at once.
  for (int i = 0; i < 4; i++)
    assert_int_equal(ask(DIRECTORY_PHONE, "111").answer, DIRECTORY_LATER);
  directory_stats(dir, &stats);
  assert_string_equal(stats.breaker, "open");
  assert_int_equal(stats.breaker_opened, 1);
  uint64_t queries = atomic_load(&shm.slots[0].counters[METRIC_STORE_QUERIES]);
  struct heard h = {0};
  directory_find(dir, DIRECTORY_PHONE, SPAN("112"), on_answer, &h);
  assert_int_equal(h.answer, DIRECTORY_LATER);
  assert_int_equal(h.times, 1);
  assert_int_equal(atomic_load(&shm.slots[0].counters[METRIC_STORE_QUERIES]), queries);
  // It comes back by itself.
  assert_int_equal(rmdir(path), 0);
  put("one", "111", "t");
  int64_t deadline = clock_mono_us() + 60000000;
  while (ask(DIRECTORY_PHONE, "111").answer != DIRECTORY_FOUND && clock_mono_us() < deadline)
    turn_for(50);
  directory_stats(dir, &stats);
  assert_true(stats.healthy);
  assert_int_equal(atomic_load(&shm.broadcast->directory_failed_us), 0);
  // Down again: what is known stays, however often it has expired. What is not known is LATER, never UNKNOWN.
  snprintf(end, sizeof end, "%s.gone", path);
  assert_int_equal(rename(path, end), 0);
  turn_for(2500);
  directory_stats(dir, &stats);
  assert_false(stats.healthy);
  assert_int_equal(ask(DIRECTORY_PHONE, "111").answer, DIRECTORY_FOUND);
  assert_int_equal(ask(DIRECTORY_PHONE, "333").answer, DIRECTORY_LATER);
  close_all();
  shm_detach(&shm);
  char left[3][96];
  snprintf(left[0], sizeof left[0], "%s.gone", path);
  snprintf(left[1], sizeof left[1], "%s-wal", path);
  snprintf(left[2], sizeof left[2], "%s-shm", path);
  for (int i = 0; i < 3; i++)
    unlink(left[i]);
  assert_int_equal(rmdir(folder), 0);
}

static void forgetting_asks_again(void **state) {
  (void)state;
  open_with((struct directory_options){0});
  put("one", "111", "old");
  assert_string_equal(ask(DIRECTORY_PHONE, "111").token, "old");
  put("one", "111", "new");
  directory_forget(dir, DIRECTORY_PHONE, SPAN("111"));
  assert_string_equal(ask(DIRECTORY_PHONE, "111").token, "new");
  // Forgotten while the question is under way: what it read may be from before, so it is asked again.
  directory_clear(dir);
  struct heard h = {0};
  directory_find(dir, DIRECTORY_PHONE, SPAN("111"), on_answer, &h);
  put("one", "111", "newest");
  directory_forget(dir, DIRECTORY_PHONE, SPAN("111"));
  assert_true(turn_until(&h.any));
  assert_string_equal(h.token, "newest");
  assert_string_equal(ask(DIRECTORY_PHONE, "111").token, "newest");
  close_all();
}

static void a_business_is_good_for_the_turn(void **state) {
  (void)state;
  open_with((struct directory_options){0});
  put("one", "111", "t");
  ask(DIRECTORY_PHONE, "111");
  const struct business *b = NULL;
  assert_int_equal(directory_get(dir, DIRECTORY_PHONE, SPAN("111"), DIRECTORY_LEAVE, &b), DIRECTORY_FOUND);
  directory_clear(dir);
  assert_string_equal(b->id, "one");
  assert_int_equal(get("111"), DIRECTORY_PENDING);
  close_all();
}

static void on_count(void *ctx, int count) {
  *(int *)ctx = count;
}

static void warming_up(void **state) {
  (void)state;
  open_with((struct directory_options){.cache_size = 5});
  char id[16];
  for (int i = 0; i < 9; i++) {
    snprintf(id, sizeof id, "%d", i);
    put(id, id, "t");
  }
  int count = -2;
  directory_warm(dir, 8, on_count, &count);
  turn_for(100);
  assert_int_equal(count, 8);
  struct directory_stats stats;
  directory_stats(dir, &stats);
  assert_int_equal(stats.size, 5); // the newest ones stay
  assert_int_equal(get("8"), DIRECTORY_FOUND);
  close_all();
}

// A tool changes the file: seen within about a second, without an invalidation.
static void a_change_behind_its_back(void **state) {
  (void)state;
  open_with((struct directory_options){0});
  put("one", "111", "old");
  turn_for(50);
  assert_string_equal(ask(DIRECTORY_PHONE, "111").token, "old");
  assert_int_equal(ask(DIRECTORY_PHONE, "222").answer, DIRECTORY_UNKNOWN);
  put("one", "111", "new");
  put("two", "222", "t");
  turn_for(1300);
  assert_string_equal(ask(DIRECTORY_PHONE, "111").token, "new");
  assert_int_equal(ask(DIRECTORY_PHONE, "222").answer, DIRECTORY_FOUND);
  close_all();
}

static void a_flood_is_bounded(void **state) {
  (void)state;
  open_with((struct directory_options){0});
  put("one", "111", "t");
  ask(DIRECTORY_PHONE, "111");
  static struct heard heard[12000];
  for (int i = 0; i < 12000; i++) {
    char id[16];
    snprintf(id, sizeof id, "x%d", i);
    directory_find(dir, DIRECTORY_PHONE, span_of(id), on_answer, &heard[i]);
  }
  assert_int_equal(heard[11999].answer, DIRECTORY_LATER); // refused at once
  assert_int_equal(heard[11999].times, 1);
  for (int i = 0; i < 10000; i++) { // two jobs answer them, so the last one's may come first
    assert_true(turn_until(&heard[i].any));
    assert_int_equal(heard[i].answer, DIRECTORY_UNKNOWN);
  }
  assert_int_equal(get("111"), DIRECTORY_FOUND);
  close_all();
}

static void on_answer_close(void *ctx, enum directory_answer answer, const struct business *b) {
  on_answer(ctx, answer, b);
  directory_close(dir);
}

static void closing(void **state) {
  (void)state;
  open_with((struct directory_options){0});
  put("one", "111", "t");
  struct heard h[40] = {0};
  int count = -2;
  for (int i = 0; i < 40; i++) {
    char id[16];
    snprintf(id, sizeof id, "%d", i);
    directory_find(dir, DIRECTORY_PHONE, span_of(id), on_answer, &h[i]);
  }
  directory_warm(dir, 10, on_count, &count);
  directory_close(dir); // all hear LATER first, and the jobs that are out come home to nobody
  for (int i = 0; i < 40; i++) {
    assert_int_equal(h[i].times, 1);
    assert_int_equal(h[i].answer, DIRECTORY_LATER);
  }
  assert_int_equal(count, -1);
  loop_free(loop);
  store_close(store);
  store = NULL;

  open_with((struct directory_options){0}); // from within an answer
  struct heard first = {0}, second = {0};
  directory_find(dir, DIRECTORY_PHONE, SPAN("1"), on_answer_close, &first);
  directory_find(dir, DIRECTORY_PHONE, SPAN("2"), on_answer, &second);
  assert_true(turn_until(&second.any));
  assert_int_equal(first.answer, DIRECTORY_UNKNOWN);
  assert_int_equal(first.times, 1);
  assert_int_equal(second.times, 1);
  loop_free(loop);
  store_close(store);
  store = NULL;
}

static void measured(void **state) {
  (void)state;
  struct shm shm;
  struct why why;
  assert_int_equal(shm_create(&shm, 2, 65536, &why), ERR_OK);
  open_with((struct directory_options){.shm = &shm, .slot = &shm.slots[0]});
  put("one", "106540352242922", "t");
  ask(DIRECTORY_PHONE, "106540352242922");
  enum { ROUNDS = 1000000 };
  const struct business *b;
  int64_t from = clock_mono_ns();
  for (int i = 0; i < ROUNDS; i++)
    (void)directory_get(dir, DIRECTORY_PHONE, SPAN("106540352242922"), DIRECTORY_NOW, &b);
  print_message("a look-up that hits: %.0f ns\n", (double)(clock_mono_ns() - from) / ROUNDS);
  close_all();
  shm_detach(&shm);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(found_unknown_and_counted),
      cmocka_unit_test(a_hundred_who_ask_are_one_question),
      cmocka_unit_test(stale_answers_while_it_is_refreshed),
      cmocka_unit_test(the_default_business_needs_no_store),
      cmocka_unit_test(an_outage),
      cmocka_unit_test(forgetting_asks_again),
      cmocka_unit_test(a_business_is_good_for_the_turn),
      cmocka_unit_test(warming_up),
      cmocka_unit_test(a_change_behind_its_back),
      cmocka_unit_test(a_flood_is_bounded),
      cmocka_unit_test(closing),
      cmocka_unit_test(measured),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
