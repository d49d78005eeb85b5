// The ids that came last: known at once, moved to the tree in rounds, and known all the while, over restarts and failed transactions too.
#include <sqlite3.h>

#include "spool/store.h"
#include "spool_world.h"

#define MANY (SEEN_RECENT_MANY + 3000)

static struct spool_item numbered(int i, char wamid[static 16]) {
  snprintf(wamid, 16, "%d", i);
  struct spool_item item = message("u", wamid);
  return item;
}

static bool take(struct store *store, int i) {
  char wamid[16];
  struct spool_item item = numbered(i, wamid);
  bool duplicate = false;
  OK(seen__take(store, &item, T0, &duplicate));
  return duplicate;
}

static int64_t number_of(struct store *store, const char *sql) {
  int64_t n = -1;
  OK(sql__number(store->db, sql, &n));
  return n;
}

static void take_many(struct store *store, int from, int to) {
  for (int i = from; i < to;) {
    OK(store__begin(store, true));
    int until = i + 500 < to ? i + 500 : to;
    size_t count = (size_t)(until - i);
    for (; i < until; i++)
      assert_false(take(store, i));
    OK(seen__move(store, count));
    OK(store__commit(store));
  }
}

static void all_are_known(struct store *store, int count) {
  OK(store__begin(store, true));
  for (int i = 0; i < count; i++)
    assert_true(take(store, i));
  assert_false(take(store, count));
  store__rollback(store);
}

static struct store *open_store(struct world *w) {
  struct store *store = NULL;
  OK(store__open(w->path, &store, NULL));
  return store;
}

static void known_in_every_stage(void **state) {
  struct world *w = *state;
  world_stop(w);
  struct store *store = open_store(w);
  take_many(store, 0, MANY); // a round has begun
  assert_true(store->recent.order_count > 0 && store->recent.moved > 0);
  assert_true(number_of(store, "SELECT count(*) FROM seen") > 0);
  all_are_known(store, MANY); // and is given up by the failed transaction
  OK(store__begin(store, true));
  OK(store__commit(store));
  assert_int_equal(store->recent.moved, 0);
  assert_int_equal(store->recent.count, MANY);
  take_many(store, MANY, 2 * MANY); // through, and its rows are being deleted
  assert_true(store->recent.count < MANY);
  assert_true(store->recent.first_n < store->recent.moved_n);
  store__close(store);
  store = open_store(w);
  all_are_known(store, 2 * MANY);
  take_many(store, 2 * MANY, 4 * MANY);
  all_are_known(store, 4 * MANY);
  store__close(store);
  store = open_store(w);
  all_are_known(store, 4 * MANY);
  // What has been moved is not kept twice for long.
  assert_true(number_of(store, "SELECT count(*) FROM seen_recent") < 3 * SEEN_RECENT_MANY);
  assert_true(number_of(store, "SELECT (SELECT count(*) FROM seen) + (SELECT count(*) FROM seen_recent)") >= 4 * MANY);
  store__close(store);
}

static void forgotten_like_those_in_the_tree(void **state) {
  struct world *w = *state;
  world_stop(w);
  struct store *store = open_store(w);
  take_many(store, 0, 1000);
  size_t rows = 0;
  OK(store__begin(store, true));
  OK(seen__clean(store, T0 + 8 * DAY_US, 5000, &rows));
  OK(store__commit(store));
  assert_int_equal(rows, 0);
  all_are_known(store, 1000);
  OK(store__begin(store, true));
  OK(seen__clean(store, T0 + 13 * DAY_US, 5000, &rows));
  OK(store__commit(store));
  assert_int_equal(rows, 1000);
  assert_int_equal(store->recent.count, 0);
  take_many(store, 0, 1000);
  store__close(store);
}

static void pure_rounds(void **state) {
  (void)state;
  struct seen_recent recent = {0};
  recent__clear(&recent);
  assert_false(recent__sort(&recent));
  for (int64_t n = 1; n <= SEEN_RECENT_MANY + 10; n++) {
    struct seen_id id = {.n = n, .bucket = n % 2};
    hash_stable128(&n, sizeof n, id.id);
    assert_false(recent__has(&recent, id.id));
    recent__add(&recent, &id);
    assert_true(recent__has(&recent, id.id));
    if (n == SEEN_RECENT_MANY) assert_true(recent__sort(&recent));
  }
  for (size_t i = 1; i < recent.order_count; i++) {
    const struct seen_id *a = &recent.ids[recent.order[i - 1].index], *b = &recent.ids[recent.order[i].index];
    assert_true(a->bucket < b->bucket || (a->bucket == b->bucket && memcmp(a->id, b->id, SEEN_BYTES) < 0));
  }
  recent__drop_moved(&recent);
  assert_int_equal(recent.count, 10);
  assert_int_equal(recent.first_n, 0);
  assert_int_equal(recent.moved_n, SEEN_RECENT_MANY);
  assert_true(recent__has(&recent, recent.ids[9].id));
  assert_int_equal(recent.next_n, SEEN_RECENT_MANY + 11);
  assert_true(recent__older(&recent, 1));
  assert_false(recent__older(&recent, 0));
  recent__free(&recent);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(known_in_every_stage, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(forgotten_like_those_in_the_tree, world_setup, world_teardown),
      cmocka_unit_test(pure_rounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
