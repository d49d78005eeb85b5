// Who gets a compressed answer: weights of Accept-Encoding as RFC 9110 section 12.5.3 has them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "internal.h"

static void accepted(void **state) {
  (void)state;
  static const char *const yes[] = {
      "gzip",      "GZip", "x-gzip",  "deflate, gzip",        "br;q=1, gzip ; q=0.5",     "gzip;q=1.000",      "gzip;q=0.001",
      "gzip;Q=1.", "*",    "*;q=0.5", "identity;q=0.5, gzip", "identity;q=0, gzip;q=0.2", "gzip;q=0.5, *;q=0", ",, gzip,"};
  for (size_t i = 0; i < COUNT_OF(yes); i++)
    if (!http__accepts_gzip(span_of(yes[i]))) fail_msg("%s", yes[i]);
}

static void not_accepted(void **state) {
  (void)state;
  static const char *const no[] = {
      "",         "identity", "br, deflate", "gzip;q=0",  "gzip;q=0.000", "gzip; q=0, *", "*;q=0",         "gzip;q=0.4, identity;q=0.5",
      "gzipped",  "gzip;q=",  "gzip;q=x",    "gzip;q=-1", "gzip;q=2",     "gzip;q=1.001", "gzip;q=0.0001", "gzip;q=1;q=0",
      "gzip q=1", ";q=1"};
  for (size_t i = 0; i < COUNT_OF(no); i++)
    if (http__accepts_gzip(span_of(no[i]))) fail_msg("%s", no[i]);
  assert_false(http__accepts_gzip((struct span){NULL, 0}));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(accepted), cmocka_unit_test(not_accepted)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
