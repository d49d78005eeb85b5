// The shelf against a plain list: nothing is lost or found twice, whatever is added and removed in whatever order.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shelf.h"

#define CAPACITY 100

static struct cache_key key_of(unsigned n) {
  struct cache_key key;
  char text[16];
  snprintf(text, sizeof text, "%u", n);
  assert_true(cache_key_make(&key, DIRECTORY_PHONE, span_of(text)));
  return key;
}

static struct entry *find(const struct shelf *s, unsigned n) {
  struct cache_key key = key_of(n);
  return shelf_find(s, shelf_hash(key.text, key.len), key.text, key.len);
}

static struct entry *add(struct shelf *s, unsigned n) {
  struct cache_key key = key_of(n);
  return shelf_add(s, shelf_hash(key.text, key.len), &key);
}

static void whatever_is_added_and_removed(void **state) {
  (void)state;
  struct shelf s;
  bool there[3 * CAPACITY] = {false};
  shelf_open(&s, CAPACITY); // 128 slots: long runs, and runs over the end
  srand(7);
  for (int round = 0; round < 200000; round++) {
    unsigned n = (unsigned)rand() % COUNT_OF(there);
    struct entry *e = find(&s, n);
    assert_int_equal(e != NULL, there[n]);
    if (e)
      shelf_remove(&s, e);
    else if (s.count < CAPACITY)
      add(&s, n);
    else
      continue;
    there[n] = !there[n];
  }
  unsigned count = 0;
  for (unsigned n = 0; n < COUNT_OF(there); n++) {
    assert_int_equal(find(&s, n) != NULL, there[n]);
    count += there[n];
  }
  assert_int_equal(s.count, count);
  for (const struct entry *e = shelf_first(&s); e; e = shelf_next(&s, e))
    count--;
  assert_int_equal(count, 0);
  shelf_close(&s);
}

static void assert_order(const struct shelf *s, const unsigned *numbers, size_t count) {
  const struct entry *e = shelf_first(s);
  for (size_t i = 0; i < count; i++, e = shelf_next(s, e)) {
    struct cache_key key = key_of(numbers[i]);
    assert_non_null(e);
    assert_memory_equal(e->key.text, key.text, key.len);
  }
  assert_null(e);
}

static void the_newest_first(void **state) {
  (void)state;
  struct shelf s;
  shelf_open(&s, 4);
  assert_null(shelf_first(&s));
  for (unsigned n = 1; n <= 4; n++)
    add(&s, n);
  assert_order(&s, (unsigned[]){4, 3, 2, 1}, 4);
  shelf_remove(&s, find(&s, 3));
  assert_order(&s, (unsigned[]){4, 2, 1}, 3);
  add(&s, 5); // in the place of 3
  assert_order(&s, (unsigned[]){5, 4, 2, 1}, 4);
  shelf_close(&s);
}

static void who_was_used_has_another_turn(void **state) {
  (void)state;
  struct shelf s;
  shelf_open(&s, 3);
  for (unsigned n = 1; n <= 3; n++)
    add(&s, n);
  find(&s, 1)->used = true;
  assert_ptr_equal(shelf_victim(&s), find(&s, 2));
  assert_order(&s, (unsigned[]){1, 3, 2}, 3);
  assert_false(find(&s, 1)->used);
  for (unsigned n = 1; n <= 3; n++)
    find(&s, n)->used = true;
  assert_non_null(shelf_victim(&s)); // somebody has to go
  shelf_close(&s);
}

static void one_place(void **state) {
  (void)state;
  struct shelf s;
  shelf_open(&s, 1);
  for (unsigned n = 0; n < 100; n++) {
    add(&s, n);
    assert_ptr_equal(shelf_victim(&s), find(&s, n));
    shelf_remove(&s, find(&s, n));
    assert_null(find(&s, n));
  }
  shelf_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(whatever_is_added_and_removed),
      cmocka_unit_test(the_newest_first),
      cmocka_unit_test(who_was_used_has_another_turn),
      cmocka_unit_test(one_place),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
