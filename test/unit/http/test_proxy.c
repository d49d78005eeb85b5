// Who the client is: the PROXY protocol byte by byte, and the hops of X-Forwarded-For.
#include "wahook/base.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "internal.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static const struct {
  const char *bytes;
  size_t len;
  const char *client; // NULL: malformed; "": not named
} headers[] = {
#define ROW(text, client)                                                                                                                  \
  { text, sizeof(text) - 1, client }
    ROW("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n", "203.0.113.7"),
    ROW("PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"),
    ROW("PROXY UNKNOWN\r\n", ""),
    ROW("PROXY UNKNOWN ff::1 ff::2 1 2\r\n", ""),
    ROW(V2 "\x21\x11\0\x0c\xcb\0\x71\x07\x0a\0\0\x01\x12\x34\0\x50", "203.0.113.7"),
    ROW(V2 "\x20\0\0\0", ""),
    ROW(V2 "\x21\x11\0\x0f\xcb\0\x71\x07\x0a\0\0\x01\x12\x34\0\x50\x04\0\0", "203.0.113.7"), // with a TLV behind
    ROW("PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n", NULL),
    ROW("PROXY TCP4 2001:db8::7 ::1 1 2\r\n", NULL),
    ROW("PROXY TCP4 203.0.113.7 10.0.0.1 99999 80\r\n", NULL),
    ROW("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\n", NULL),
    ROW("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80 x\r\n", NULL),
    ROW("PROXY XYZ 1 2 3 4\r\n", NULL),
    ROW("GET / HTTP/1.1\r\n", NULL),
    ROW(V2 "\x11\x11\0\x0c............", NULL),
    ROW(V2 "\x21\x11\0\x04....", NULL),
    ROW(V2 "\x21\x11\xff\xff", NULL),
};

static void headers_are_read_in_any_pieces(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT_OF(headers); i++) {
    struct sockaddr_storage client = {0};
    bool known = false;
    size_t used = 0;
    enum err e = ERR_AGAIN;
    for (size_t n = 1; n <= headers[i].len && e == ERR_AGAIN; n++)
      e = http__proxy_parse((struct span){headers[i].bytes, n}, &client, &known, &used);
    if (!headers[i].client) {
      assert_int_equal(e, ERR_FORMAT);
      continue;
    }
    assert_int_equal(e, ERR_OK);
    assert_int_equal(used, headers[i].len);
    assert_int_equal(known, headers[i].client[0] != '\0');
    char text[HTTP__CLIENT_TEXT];
    if (known) http__address_text((struct sockaddr *)&client, text);
    if (known) assert_string_equal(text, headers[i].client);
  }
  char endless[200] = "PROXY TCP4 ";
  memset(endless + 11, '1', sizeof endless - 11);
  bool known;
  size_t used;
  struct sockaddr_storage client;
  assert_int_equal(http__proxy_parse((struct span){endless, sizeof endless}, &client, &known, &used), ERR_FORMAT);
}

static bool trusts_tens(const struct sockaddr *peer, void *ctx) {
  (void)ctx;
  return peer->sa_family == AF_INET && (ntohl(((const struct sockaddr_in *)(const void *)peer)->sin_addr.s_addr) >> 24) == 10;
}

static void the_rightmost_untrusted_hop_counts(void **state) {
  (void)state;
  static const struct {
    const char *first, *second, *client; // NULL: nobody
  } cases[] = {
      {"203.0.113.7", NULL, "203.0.113.7"},
      {"6.6.6.6, 203.0.113.7", NULL, "203.0.113.7"},
      {"6.6.6.6, 203.0.113.7, 10.0.0.2", NULL, "203.0.113.7"},
      {"6.6.6.6", "203.0.113.7,10.0.0.2", "203.0.113.7"},
      {"203.0.113.7", "10.0.0.2 , 10.0.0.3", "203.0.113.7"},
      {"10.0.0.9, 10.0.0.2", NULL, "10.0.0.9"},
      {"6.6.6.6, nonsense, 10.0.0.2", NULL, "10.0.0.2"},
      {"nonsense", NULL, NULL},
      {"", NULL, NULL},
      {"203.0.113.7:4711", NULL, "203.0.113.7"},
      {"[2001:db8::1]:4711", NULL, "2001:db8::1"},
      {"2001:db8::1", NULL, "2001:db8::1"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    static struct http__message m;
    m.field_count = 0;
    m.fields[m.field_count++] = (struct http__field){SPAN("x-forwarded-for"), span_of(cases[i].first)};
    m.fields[m.field_count++] = (struct http__field){SPAN("other"), SPAN("1.1.1.1")};
    if (cases[i].second) m.fields[m.field_count++] = (struct http__field){SPAN("x-forwarded-for"), span_of(cases[i].second)};
    struct sockaddr_storage client;
    bool found = http__forwarded_client(&m, trusts_tens, NULL, &client);
    assert_int_equal(found, cases[i].client != NULL);
    char text[HTTP__CLIENT_TEXT];
    if (found) http__address_text((struct sockaddr *)&client, text);
    if (found) assert_string_equal(text, cases[i].client);
  }
}

static void mapped_addresses_are_shown_as_what_they_are(void **state) {
  (void)state;
  struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
  char text[HTTP__CLIENT_TEXT];
  inet_pton(AF_INET6, "::ffff:203.0.113.7", &mapped.sin6_addr);
  http__address_text((struct sockaddr *)&mapped, text);
  assert_string_equal(text, "203.0.113.7");
  http__address_text(&(struct sockaddr){.sa_family = AF_UNIX}, text);
  assert_string_equal(text, "unix");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(headers_are_read_in_any_pieces),
      cmocka_unit_test(the_rightmost_untrusted_hop_counts),
      cmocka_unit_test(mapped_addresses_are_shown_as_what_they_are),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
