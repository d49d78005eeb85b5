// Addresses as keys and trusted networks: families, /64, v4-mapped addresses, prefixes off byte borders, and texts that are wrong.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "wahook/limiter.h"

static struct sockaddr_storage address(const char *text) {
  struct sockaddr_storage ss = {0};
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
    memcpy(&ss, &v4, sizeof v4);
  } else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
    memcpy(&ss, &v6, sizeof v6);
  } else {
    ss.ss_family = AF_UNIX;
  }
  return ss;
}

static bool same_key(const char *a, const char *b) {
  struct sockaddr_storage sa = address(a), sb = address(b);
  uint8_t ka[20], kb[20];
  return span_eq(limiter_address_key((struct sockaddr *)&sa, ka), limiter_address_key((struct sockaddr *)&sb, kb));
}

static void keys(void **state) {
  (void)state;
  assert_true(same_key("192.0.2.1", "192.0.2.1"));
  assert_false(same_key("192.0.2.1", "192.0.2.2"));
  assert_true(same_key("192.0.2.1", "::ffff:192.0.2.1"));
  assert_true(same_key("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
  assert_false(same_key("2001:db8:1:2::1", "2001:db8:1:3::1"));
  assert_true(same_key("unix", "unix"));
  assert_false(same_key("unix", "117.110.105.120")); // the letters of "unix"
}

static bool contains(const char *network, const char *text) {
  struct limiter_networks *n = NULL;
  struct why why;
  struct sockaddr_storage ss = address(text);
  assert_int_equal(limiter_networks_new(&network, 1, &n, &why), ERR_OK);
  bool yes = limiter_networks_contain(n, (struct sockaddr *)&ss);
  limiter_networks_free(n);
  return yes;
}

static void containment(void **state) {
  (void)state;
  assert_true(contains("10.0.0.0/8", "10.255.1.2"));
  assert_true(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  assert_false(contains("10.0.0.0/8", "11.0.0.0"));
  assert_true(contains("172.16.0.0/12", "172.31.255.255"));
  assert_false(contains("172.16.0.0/12", "172.32.0.0"));
  assert_true(contains("127.0.0.1", "127.0.0.1"));
  assert_false(contains("127.0.0.1", "127.0.0.2"));
  assert_true(contains("0.0.0.0/0", "8.8.8.8"));
  assert_false(contains("0.0.0.0/0", "::1"));
  assert_true(contains("::1", "::1"));
  assert_true(contains("fd00::/7", "fdff::1"));
  assert_true(contains("::ffff:10.0.0.0/104", "10.9.9.9"));
  assert_true(contains(" unix ", "unix"));
  assert_false(contains("unix", "127.0.0.1"));
  assert_false(contains("0.0.0.0/0", "unix"));
  assert_true(contains("*", "unix"));
  assert_true(contains("*", "2001:db8::1"));
  struct sockaddr_storage ss = address("::1");
  assert_false(limiter_networks_contain(NULL, (struct sockaddr *)&ss));
}

static void wrong_texts(void **state) {
  (void)state;
  static const char *const bad[] = {"",          "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x",
                                    "localhost", "/8",     "1.2.3.4/8/8"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct limiter_networks *n;
    struct why why = {{0}};
    const char *texts[] = {"::1", bad[i]};
    assert_int_not_equal(limiter_networks_new(texts, 2, &n, &why), ERR_OK);
    assert_non_null(strstr(why.text, bad[i]));
  }
  struct limiter_networks *none;
  assert_int_equal(limiter_networks_new(NULL, 0, &none, NULL), ERR_OK);
  limiter_networks_free(none);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(keys), cmocka_unit_test(containment), cmocka_unit_test(wrong_texts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
