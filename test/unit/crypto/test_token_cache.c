// The cache of decrypted tokens: hits, the least recently used one goes, forgotten ones are asked for again, nothing stays behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "secret.h"
#include "wahook/crypto.h"

static struct token_keys *plain_keys(void) {
  struct token_key_options o = {.allow_plain = true};
  struct token_keys *keys;
  struct why why;
  assert_int_equal(token_keys_new(&o, &keys, &why), ERR_OK);
  return keys;
}

static bool hits(struct token_cache *cache, const struct token_keys *keys, const char *stored) {
  bool hit = false;
  enum err e = ERR_OK;
  struct why why;
  const char *token = token_cache_open(cache, keys, span_of(stored), &hit, &e, &why);
  assert_non_null(token);
  assert_string_equal(token, stored);
  return hit;
}

static void least_recently_used_goes(void **state) {
  (void)state;
  struct token_keys *keys = plain_keys();
  struct token_cache *cache = token_cache_new(3);
  size_t live = secret__usage().live;
  assert_false(hits(cache, keys, "a"));
  assert_false(hits(cache, keys, "b"));
  assert_false(hits(cache, keys, "c"));
  assert_true(hits(cache, keys, "a"));
  assert_false(hits(cache, keys, "d")); // pushes b out
  assert_int_equal(secret__usage().live, live + 3);
  assert_true(hits(cache, keys, "a"));
  assert_true(hits(cache, keys, "c"));
  assert_false(hits(cache, keys, "b"));
  token_cache_forget(cache, SPAN("b"));
  token_cache_forget(cache, SPAN("never there"));
  assert_int_equal(secret__usage().live, live + 2);
  assert_false(hits(cache, keys, "b"));
  token_cache_free(cache);
  assert_int_equal(secret__usage().live, live);
  token_keys_free(keys);
}

static void failures_are_told_and_not_kept(void **state) {
  (void)state;
  struct token_keys *keys = plain_keys();
  struct token_cache *cache = token_cache_new(1);
  for (int i = 0; i < 2; i++) {
    bool hit = true;
    enum err e = ERR_OK;
    struct why why = {{0}};
    assert_null(token_cache_open(cache, keys, SPAN("sealed:v1:nonsense"), &hit, &e, &why));
    assert_int_equal(e, ERR_FORMAT);
    assert_false(hit);
    assert_true(why.text[0] != '\0');
  }
  token_cache_free(cache);
  token_cache_free(NULL);
  token_keys_free(keys);
}

static void ten_thousand(void **state) {
  (void)state;
  struct token_keys *keys = plain_keys();
  struct token_cache *cache = token_cache_new(10000);
  char text[64];
  for (int i = 0; i < 20000; i++) {
    snprintf(text, sizeof text, "EAA-token-of-business-%d", i);
    assert_false(hits(cache, keys, text));
  }
  int64_t from = clock_mono_ns();
  for (int i = 10000; i < 20000; i++) {
    snprintf(text, sizeof text, "EAA-token-of-business-%d", i);
    assert_true(hits(cache, keys, text));
  }
  print_message("hit among 10,000 tokens: %.0f ns\n", (double)(clock_mono_ns() - from) / 10000);
  token_cache_free(cache);
  token_keys_free(keys);
}

int main(void) {
  crypto_start();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(least_recently_used_goes),
      cmocka_unit_test(failures_are_told_and_not_kept),
      cmocka_unit_test(ten_thousand),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
