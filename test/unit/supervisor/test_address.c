// Tests of addresses as operators write them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "supervisor/address.h"

static struct address parse(const char *text) {
  struct address a;
  struct why why = {0};
  enum err e = address_parse(span_of(text), &a, &why);
  if (e != ERR_OK) fail_msg("%s: %s", text, why.text);
  return a;
}

static void test_ipv4(void **state) {
  (void)state;
  struct address a = parse("127.0.0.1:8000");
  assert_int_equal(a.sa.ss_family, AF_INET);
  assert_int_equal(address_port(&a), 8000);
  assert_false(address_is_unix(&a));
  assert_string_equal(a.text, "127.0.0.1:8000");
  a = parse(" localhost:1 ");
  assert_int_equal(((struct sockaddr_in *)&a.sa)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

static void test_ipv6(void **state) {
  (void)state;
  struct address a = parse("[::1]:65535");
  assert_int_equal(a.sa.ss_family, AF_INET6);
  assert_int_equal(address_port(&a), 65535);
  assert_false(a.dual);
}

static void test_port_alone_is_every_interface(void **state) {
  (void)state;
  struct address a = parse(":80");
  assert_true(a.dual);
  assert_int_equal(address_port(&a), 80);
}

static void test_unix(void **state) {
  (void)state;
  struct address a = parse("unix:/run/wahookd/a:b.sock");
  assert_true(address_is_unix(&a));
  assert_string_equal(address_unix_path(&a), "/run/wahookd/a:b.sock");
  assert_int_equal(address_port(&a), 0);
}

static void test_wrong_ones_say_what_is_wrong(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } wrong[] = {
      {"", "HOST:PORT"},
      {"127.0.0.1", "HOST:PORT"},
      {"127.0.0.1:", "HOST:PORT"},
      {"127.0.0.1:65536", "HOST:PORT"},
      {"127.0.0.1:-1", "HOST:PORT"},
      {"1.2.3.4:80x", "HOST:PORT"},
      {"::1:8000", "brackets"},
      {"[zz]:80", "no IPv6 address"},
      {"unix:", "path"},
      {"no such host:80", "resolves"},
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++) {
    struct address a = {.sa_len = 77};
    struct why why = {0};
    assert_int_not_equal(address_parse(span_of(wrong[i].text), &a, &why), ERR_OK);
    if (!strstr(why.text, wrong[i].why)) fail_msg("\"%s\": %s", wrong[i].text, why.text);
    assert_int_equal(a.sa_len, 77); // outputs untouched
  }
  char longer[200] = "unix:/";
  memset(longer + 6, 'x', 150);
  struct address a;
  assert_int_not_equal(address_parse(span_of(longer), &a, NULL), ERR_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ipv4),
      cmocka_unit_test(test_ipv6),
      cmocka_unit_test(test_port_alone_is_every_interface),
      cmocka_unit_test(test_unix),
      cmocka_unit_test(test_wrong_ones_say_what_is_wrong),

  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
