// Base64: RFC 4648 section 10, both alphabets, and what must be refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wahook/crypto.h"

static void published_vectors(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (size_t i = 0; i < COUNT_OF(pairs); i++) {
    char out[16], back[16];
    size_t len = base64_encode(span_of(pairs[i][0]), false, true, out, sizeof out);
    assert_string_equal(out, pairs[i][1]);
    assert_int_equal(len, strlen(pairs[i][1]));
    size_t unpadded = base64_encode(span_of(pairs[i][0]), true, false, out, sizeof out);
    assert_int_equal(base64_decode((struct span){out, unpadded}, back, sizeof back, &len), ERR_OK);
    assert_memory_equal(back, pairs[i][0], len);
    assert_int_equal(len, strlen(pairs[i][0]));
    assert_int_equal(base64_decode(span_of(pairs[i][1]), back, sizeof back, &len), ERR_OK);
    assert_int_equal(len, strlen(pairs[i][0]));
  }
}

static void both_alphabets(void **state) {
  (void)state;
  char out[8];
  uint8_t back[4];
  size_t len;
  base64_encode((struct span){"\xfb\xff\xfe", 3}, false, true, out, sizeof out);
  assert_string_equal(out, "+//+");
  base64_encode((struct span){"\xfb\xff\xfe", 3}, true, true, out, sizeof out);
  assert_string_equal(out, "-__-");
  assert_int_equal(base64_decode(SPAN("-__-"), back, sizeof back, &len), ERR_OK);
  assert_memory_equal(back, "\xfb\xff\xfe", 3);
  assert_int_equal(base64_decode(SPAN("+//+"), back, sizeof back, &len), ERR_OK);
  assert_memory_equal(back, "\xfb\xff\xfe", 3);
}

static void refused_without_touching_the_output(void **state) {
  (void)state;
  static const char *const bad[] = {"A",    "Zg=", "Zg===", "Zm9v====", "Z g=",  "Zg==\n",    "Zh==",
                                    "Zm9=", "=",   "==",    "Zm=v",     "Zm9v*", "\xc3\xa4=="};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    char out[16] = "untouched";
    size_t len = 77;
    assert_int_equal(base64_decode(span_of(bad[i]), out, sizeof out, &len), ERR_FORMAT);
    assert_string_equal(out, "untouched");
    assert_int_equal(len, 77);
  }
  char small[2];
  size_t len;
  assert_int_equal(base64_decode(SPAN("Zm9v"), small, sizeof small, &len), ERR_TOO_LARGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_vectors),
      cmocka_unit_test(both_alphabets),
      cmocka_unit_test(refused_without_touching_the_output),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
