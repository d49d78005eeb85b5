// The cache in a time of its own: fresh, stale, gone; who is pushed out; and a flood of unknown ids that harms nobody.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cache.h"

#define S INT64_C(1000000)

static const struct cache_limits limits = {.capacity = 3, .ttl_us = 300 * S, .negative_ttl_us = 60 * S, .stale_max_us = 3600 * S};

static struct cache_key phone(const char *id) {
  struct cache_key key;
  assert_true(cache_key_make(&key, DIRECTORY_PHONE, span_of(id)));
  return key;
}

static void put(struct cache *c, const char *id, bool known, int64_t now_us) {
  struct cache_key key = phone(id);
  struct business *b = known ? business_new() : NULL;
  cache_put(c, &key, b, now_us);
}

static enum cache_state state_of(struct cache *c, const char *id, int64_t now_us) {
  struct cache_key key = phone(id);
  const struct business *b;
  return cache_get(c, &key, now_us, &b);
}

static void ages(void **state) {
  (void)state;
  struct cache *c = cache_new(&limits);
  put(c, "1", true, 0);
  put(c, "x", false, 0);
  assert_int_equal(state_of(c, "1", 300 * S - 1), CACHE_FRESH);
  assert_int_equal(state_of(c, "x", 60 * S - 1), CACHE_FRESH);
  assert_int_equal(state_of(c, "x", 60 * S), CACHE_ABSENT); // "unknown" is never stale
  assert_int_equal(state_of(c, "1", 300 * S), CACHE_STALE);
  assert_int_equal(state_of(c, "1", 3600 * S - 1), CACHE_STALE);
  assert_int_equal(state_of(c, "1", 3600 * S), CACHE_ABSENT);
  assert_int_equal(cache_size(c) + cache_unknown_size(c), 0);
  cache_free(c);
}

static void the_least_recently_used_goes(void **state) {
  (void)state;
  struct cache *c = cache_new(&limits);
  put(c, "1", true, 0);
  put(c, "2", true, 0);
  put(c, "3", true, 0);
  assert_int_equal(state_of(c, "1", 1), CACHE_FRESH);
  put(c, "4", true, 1);
  assert_int_equal(state_of(c, "2", 1), CACHE_ABSENT);
  assert_int_equal(state_of(c, "1", 1), CACHE_FRESH);
  put(c, "4", true, 2); // again: nobody goes
  assert_int_equal(cache_size(c), 3);
  assert_int_equal(cache_evictions(c), 1);
  cache_free(c);
}

static void a_flood_of_unknown_ids_pushes_out_no_business(void **state) {
  (void)state;
  struct cache *c = cache_new(&limits);
  put(c, "1", true, 0);
  for (int i = 0; i < 10 * CACHE_UNKNOWN_MIN; i++) {
    char id[32];
    snprintf(id, sizeof id, "x%d", i);
    put(c, id, false, 0);
  }
  assert_int_equal(state_of(c, "1", 0), CACHE_FRESH);
  assert_int_equal(cache_unknown_size(c), CACHE_UNKNOWN_MIN);
  assert_int_equal(cache_evictions(c), 0);
  cache_free(c);
}

static void known_and_unknown_replace_each_other(void **state) {
  (void)state;
  struct cache *c = cache_new(&limits);
  struct cache_key key = phone("1");
  const struct business *b = NULL;
  put(c, "1", false, 0);
  put(c, "1", true, 0);
  assert_int_equal(cache_get(c, &key, 0, &b), CACHE_FRESH);
  assert_non_null(b);
  put(c, "1", false, 0);
  assert_int_equal(cache_get(c, &key, 0, &b), CACHE_FRESH);
  assert_null(b);
  assert_int_equal(cache_size(c), 0);
  cache_free(c);
}

static void forgetting(void **state) {
  (void)state;
  struct cache_limits many = limits;
  many.capacity = 10;
  struct cache *c = cache_new(&many);
  put(c, "10", true, 0);
  put(c, "11", true, 0);
  put(c, "12", false, 0);
  put(c, "2", true, 0);
  struct cache_key sub;
  assert_true(cache_key_make(&sub, DIRECTORY_SUBDOMAIN, SPAN("10")));
  cache_put(c, &sub, business_new(), 0);
  cache_forget(c, SPAN("phone:10"));
  assert_int_equal(state_of(c, "10", 0), CACHE_ABSENT);
  assert_int_equal(state_of(c, "11", 0), CACHE_FRESH);
  cache_forget(c, SPAN("phone:1*"));
  assert_int_equal(state_of(c, "11", 0), CACHE_ABSENT);
  assert_int_equal(state_of(c, "12", 0), CACHE_ABSENT);
  assert_int_equal(state_of(c, "2", 0), CACHE_FRESH);
  assert_int_equal(cache_size(c), 2);
  cache_forget(c, SPAN(""));
  cache_clear(c);
  assert_int_equal(cache_size(c), 0);
  cache_free(c);
}

// Who holds a business in this turn may read it, whatever was pushed out meanwhile (the address sanitizer watches).
static void a_business_lives_until_it_is_buried(void **state) {
  (void)state;
  struct cache *c = cache_new(&limits);
  put(c, "1", true, 0);
  struct cache_key key = phone("1");
  const struct business *b = NULL;
  assert_int_equal(cache_get(c, &key, 0, &b), CACHE_FRESH);
  cache_clear(c);
  assert_string_equal(b->name, "");
  cache_retire(c, business_new());
  cache_bury(c);
  cache_free(c);
}

static void keys(void **state) {
  (void)state;
  struct cache_key key;
  char text[CACHE_KEY_MAX + 1];
  memset(text, 'a', sizeof text);
  assert_false(cache_key_make(&key, DIRECTORY_PHONE, SPAN("")));
  assert_false(cache_key_make(&key, DIRECTORY_SUBDOMAIN, (struct span){text, CACHE_KEY_MAX - 9}));
  assert_true(cache_key_make(&key, DIRECTORY_SUBDOMAIN, (struct span){text, CACHE_KEY_MAX - 10}));
  assert_int_equal(key.len, CACHE_KEY_MAX);
}

static void measured(void **state) {
  (void)state;
  struct cache_limits many = limits;
  many.capacity = 1000;
  struct cache *c = cache_new(&many);
  static struct cache_key ids[1000];
  for (int i = 0; i < 1000; i++) {
    char id[32];
    snprintf(id, sizeof id, "10654035224%04d", i);
    ids[i] = phone(id);
    cache_put(c, &ids[i], business_new(), 0);
  }
  enum { ROUNDS = 1000000 };
  const struct business *b;
  int64_t from = clock_mono_ns();
  for (int i = 0; i < ROUNDS; i++)
    (void)cache_get(c, &ids[i * 7 % 1000], 1, &b);
  print_message("cache hit among 1,000: %.0f ns\n", (double)(clock_mono_ns() - from) / ROUNDS);
  cache_free(c);
}

// By a business' id goes all that it is known under, and nobody else.
static void forgetting_a_business(void **state) {
  (void)state;
  struct cache_limits many = limits;
  many.capacity = 10;
  struct cache *c = cache_new(&many);
  static const char *const phones[] = {"1", "2", "3", "4"};
  for (int i = 0; i < 4; i++) {
    struct cache_key key = phone(phones[i]);
    struct business *b = business_new();
    free(b->id);
    b->id = xstrdup(i < 3 ? "one" : "two");
    cache_put(c, &key, b, 0);
  }
  put(c, "5", false, 0);
  cache_forget(c, SPAN("phone:2"));
  cache_forget(c, SPAN("id:one"));
  cache_forget(c, SPAN("id:nobody"));
  cache_forget(c, SPAN("id:"));
  assert_int_equal(state_of(c, "1", 0), CACHE_ABSENT);
  assert_int_equal(state_of(c, "3", 0), CACHE_ABSENT);
  assert_int_equal(state_of(c, "4", 0), CACHE_FRESH);
  assert_int_equal(state_of(c, "5", 0), CACHE_FRESH);
  assert_int_equal(cache_size(c), 1);
  cache_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ages),
      cmocka_unit_test(the_least_recently_used_goes),
      cmocka_unit_test(a_flood_of_unknown_ids_pushes_out_no_business),
      cmocka_unit_test(known_and_unknown_replace_each_other),
      cmocka_unit_test(forgetting),
      cmocka_unit_test(forgetting_a_business),
      cmocka_unit_test(a_business_lives_until_it_is_buried),
      cmocka_unit_test(keys),
      cmocka_unit_test(measured),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
