// The strict guard: a table of heads and bodies, good and bad; each verdict is the same whole, cut in sevens and byte by byte.
#include "wahook/base.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "parser.h"

#define H    "Host: a\r\n"
#define G    "GET / HTTP/1.1\r\n" H
#define P    "POST / HTTP/1.1\r\n" H
#define END  "\r\n"
#define CH   P "Transfer-Encoding: chunked\r\n\r\n"
#define DONE 1 // a whole request
#define MORE 0

static const struct row {
  const char *text;
  size_t len; // 0: strlen
  int verdict;
} rows[] = {
    // Good ones.
    {G END, 0, DONE},
    {"\r\n" G END, 0, DONE}, // RFC 9112 section 2.2
    {"GET /a/b?c=d&e=%20 HTTP/1.1\r\n" H END, 0, DONE},
    {"GET / HTTP/1.0\r\n\r\n", 0, DONE},
    {"OPTIONS * HTTP/1.1\r\n" H END, 0, DONE},
    {"GET http://a/x HTTP/1.1\r\n" H END, 0, DONE},
    {"GET http://A HTTP/1.1\r\n" H END, 0, DONE},
    {"GET http://a?q HTTP/1.1\r\n" H END, 0, DONE},
    {"GET / HTTP/1.1\r\nHost: example.org:8080\r\n\r\n", 0, DONE},
    {"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", 0, DONE},
    {G "X:\r\n\r\n", 0, DONE},
    {G "X: a\tb \xc3\xa4\r\n\r\n", 0, DONE},
    {G "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 0, DONE},
    {P "Content-Length: 0\r\n\r\n", 0, DONE},
    {P "Content-Length: 3\r\n\r\nabc", 0, DONE},
    {P "Content-Length:3 \r\n\r\nabc", 0, DONE},
    {P "Content-Length: 3\r\n\r\nab", 0, MORE},
    {P "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n", 0, DONE},
    {CH "a\r\n0123456789\r\n0\r\n\r\n", 0, DONE},
    {CH "1;n=\"a b\"\r\nx\r\n0;last\r\n\r\n", 0, DONE},
    {CH "0\r\nX-T: 1\r\n\r\n", 0, DONE},
    {CH "000\r\n\r\n", 0, DONE},
    {"DELETE /x HTTP/1.1\r\n" H "Content-Length: 1\r\n\r\nx", 0, DONE},
    {"GET / HTTP/1.1\r\n" H, 0, MORE},
    {CH "5\r\nabc", 0, MORE},
    // 1. Line ends, NUL, folding.
    {"\r\n\r\n" G END, 0, 400},
    {"\n" G END, 0, 400},
    {"\rGET / HTTP/1.1\r\n" H END, 0, 400},
    {"GET / HTTP/1.1\n" H END, 0, 400},
    {G "X: 1\n\r\n", 0, 400},
    {G "\n", 0, 400},
    {G "\r\rX", 0, 400},
    {G "X: 1\r\n\rX", 0, 400},
    {G "X: a\rb\r\n\r\n", 0, 400},
    {G "X: a\0b\r\n\r\n", sizeof(G "X: a\0b\r\n\r\n") - 1, 400},
    {G "X: a\x01\r\n\r\n", 0, 400},
    {G "X: a\x7f\r\n\r\n", 0, 400},
    {G "X: a\r\n b\r\n\r\n", 0, 400},
    {G "X: a\r\n\tb\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\n X: 1\r\n" H END, 0, 400},
    {P "Content-Length: 1\r\n 0\r\n\r\n", 0, 400},
    // 2. Versions and methods.
    {"GET / HTTP/2.0\r\n" H END, 0, 505},
    {"GET / HTTP/1.2\r\n" H END, 0, 505},
    {"GET / HTTP/0.9\r\n" H END, 0, 505},
    {"PRI * HTTP/2.0\r\n\r\n", 0, 505},
    {"GET / http/1.1\r\n" H END, 0, 400},
    {"GET / HTTP/1.10\r\n" H END, 0, 400},
    {"GET / HTTP/1\r\n" H END, 0, 400},
    {"GET / RTSP/1.0\r\n" H END, 0, 400},
    {"GET /\r\n" H END, 0, 400},
    {"GET\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1 \r\n" H END, 0, 400},
    {"GET  / HTTP/1.1\r\n" H END, 0, 400},
    {" GET / HTTP/1.1\r\n" H END, 0, 400},
    {"CONNECT a:443 HTTP/1.1\r\n" H END, 0, 501},
    {"TRACE / HTTP/1.1\r\n" H END, 0, 501},
    {"DESCRIBE / HTTP/1.1\r\n" H END, 0, 501},
    {"get / HTTP/1.1\r\n" H END, 0, 501},
    {"G\"T / HTTP/1.1\r\n" H END, 0, 400},
    // 3. Targets.
    {"GET a HTTP/1.1\r\n" H END, 0, 400},
    {"GET * HTTP/1.1\r\n" H END, 0, 400},
    {"GET /#x HTTP/1.1\r\n" H END, 0, 400},
    {"GET /a\\b HTTP/1.1\r\n" H END, 0, 400},
    {"GET /\xc3\xa4 HTTP/1.1\r\n" H END, 0, 400},
    {"GET /%00 HTTP/1.1\r\n" H END, 0, 400},
    {"GET /?a=%0d%0ab HTTP/1.1\r\n" H END, 0, 400},
    {"GET /%0A HTTP/1.1\r\n" H END, 0, 400},
    {"GET /%zz HTTP/1.1\r\n" H END, 0, 400},
    {"GET /% HTTP/1.1\r\n" H END, 0, 400},
    {"GET /%4 HTTP/1.1\r\n" H END, 0, 400},
    {"GET /a/../b HTTP/1.1\r\n" H END, 0, 400},
    {"GET /a/%2e%2E/b HTTP/1.1\r\n" H END, 0, 400},
    {"GET /./a HTTP/1.1\r\n" H END, 0, 400},
    {"GET /a/.. HTTP/1.1\r\n" H END, 0, 400},
    {"GET //a HTTP/1.1\r\n" H END, 0, 400},
    {"GET /a%2fb HTTP/1.1\r\n" H END, 0, 400},
    {"GET /a%5cb HTTP/1.1\r\n" H END, 0, 400},
    {"GET http://b/ HTTP/1.1\r\n" H END, 0, 400},
    {"GET http://u@a/ HTTP/1.1\r\n" H END, 0, 400},
    {"GET ftp://a/ HTTP/1.1\r\n" H END, 0, 400},
    // 4. Host.
    {"GET / HTTP/1.1\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\n" H H END, 0, 400},
    {"GET / HTTP/1.0\r\n" H H END, 0, 400},
    {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 0, 400},
    {"GET / HTTP/1.1\r\nHost: []\r\n\r\n", 0, 400},
    // 5. Framing.
    {P "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 0, 400},
    {P "Content-Length: 1, 1\r\n\r\nx", 0, 400},
    {P "Content-Length: +1\r\n\r\nx", 0, 400},
    {P "Content-Length: -1\r\n\r\nx", 0, 400},
    {P "Content-Length: 0x1\r\n\r\nx", 0, 400},
    {P "Content-Length: 01\r\n\r\nx", 0, 400},
    {P "Content-Length: 00\r\n\r\n", 0, 400},
    {P "Content-Length:\r\n\r\n", 0, 400},
    {P "Content-Length: 1 2\r\n\r\nx", 0, 400},
    {P "Content-Length: 18446744073709551617\r\n\r\nx", 0, 413},
    {P "Content-Length: 1000001\r\n\r\n", 0, 413},
    {P "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 0, 501},
    {P "Transfer-Encoding: gzip\r\n\r\n", 0, 501},
    {P "Transfer-Encoding: identity\r\n\r\n", 0, 501},
    {P "Transfer-Encoding:\r\n\r\n", 0, 400},
    {P "Transfer-Encoding: \x0b"
       "chunked\r\n\r\n0\r\n\r\n",
     0, 400},
    {P "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 0, 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, 400},
    // 6. Names, duplicates.
    {G ": x\r\n\r\n", 0, 400},
    {G "X\r\n\r\n", 0, 400},
    {G "X Y: 1\r\n\r\n", 0, 400},
    {G "X : 1\r\n\r\n", 0, 400},
    {G "X(: 1\r\n\r\n", 0, 400},
    {G "\xc3\xa4: 1\r\n\r\n", 0, 400},
    {G "Content-Type: a\r\ncontent-type: a\r\n\r\n", 0, 400},
    {G "Authorization: a\r\nAuthorization: b\r\n\r\n", 0, 400},
    {G "X-Hub-Signature-256: a\r\nX-Hub-Signature-256: b\r\n\r\n", 0, 400},
    {G "X: 1\r\nX: 2\r\n\r\n", 0, DONE},
    // 7. Chunks.
    {CH "\r\n\r\n", 0, 400},
    {CH "g\r\n", 0, 400},
    {CH "0x1\r\nx\r\n0\r\n\r\n", 0, 400},
    {CH "-1\r\n", 0, 400},
    {CH " 1\r\nx\r\n0\r\n\r\n", 0, 400},
    {CH "1 \r\nx\r\n0\r\n\r\n", 0, 400},
    {CH "1\nx\r\n0\r\n\r\n", 0, 400},
    {CH "1\rXx\r\n0\r\n\r\n", 0, 400},
    {CH "1\r\nxy\r\n0\r\n\r\n", 0, 400},
    {CH "1\r\nx\n0\r\n\r\n", 0, 400},
    {CH "1\r\nx0\r\n\r\n", 0, 400},
    {CH "1;a\nb\r\nx\r\n0\r\n\r\n", 0, 400},
    {CH "1;a=\"\r\nx\r\n0\r\n\r\n", 0, 400},
    {CH "0\r\n\n", 0, 400},
    {CH "0\r\nX\r\n\r\n", 0, 400},
    {CH "0\r\n X: 1\r\n\r\n", 0, 400},
    {CH "0\r\nX : 1\r\n\r\n", 0, 400},
    {CH "ffffffffffffffff\r\n", 0, 400},
    {CH "f4241\r\n", 0, 413},
    {CH "f4240\r\n", 0, MORE},
};

static const struct http_limits *small_limits(void) {
  static struct http_limits limits;
  limits = http_limits_default();
  limits.max_body_bytes = 1000000;
  return &limits;
}

// Feeds the text in pieces as a connection would.
static int feed(const char *text, size_t len, size_t cut, struct http__message *m, struct http__pool *pool) {
  struct http__parser parser;
  const struct http_limits *limits = small_limits();
  memset(m, 0, sizeof *m);
  http__parser_start(&parser, m, pool, limits);
  bool head = true;
  size_t at = 0;
  while (at < len) {
    size_t part = cut && cut < len - at ? cut : len - at, used = 0;
    // A piece of its own, so that a sanitizer sees what is read beyond it.
    char *piece = malloc(part);
    memcpy(piece, text + at, part);
    int verdict = head ? http__parser_head(&parser, piece, part, &used) : http__parser_body(&parser, piece, part, &used);
    free(piece);
    if (verdict > HTTP__COMPLETE) return verdict;
    at += used;
    if (verdict == HTTP__MORE) continue;
    if (!head || !http__parser_wants_body(&parser)) return DONE;
    head = false;
    int status = http__parser_limit_body(&parser, limits->max_body_bytes);
    if (status) return status;
  }
  return MORE;
}

static int verdict_of(const char *text, size_t len, size_t cut) {
  static struct http__message m;
  struct http__pool pool = {0};
  int verdict = feed(text, len, cut, &m, &pool);
  http__block_release(&pool, &m.head);
  http__block_release(&pool, &m.body);
  http__pool_free(&pool);
  return verdict;
}

static void every_row_has_one_verdict(void **state) {
  (void)state;
  static const size_t cuts[] = {0, 7, 1, 13};
  unsigned wrong = 0;
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    for (size_t k = 0; k < COUNT_OF(cuts); k++) {
      int verdict = verdict_of(rows[i].text, rows[i].len ? rows[i].len : strlen(rows[i].text), cuts[k]);
      if (verdict == rows[i].verdict) continue;
      print_error("row %zu cut %zu: %d, not %d: %.60s\n", i, cuts[k], verdict, rows[i].verdict, rows[i].text);
      wrong++;
    }
  }
  assert_int_equal(wrong, 0);
}

// ---------------------------------------------------------------- limits

static int with_filler(const char *before, char filler, size_t count, const char *after, size_t cut) {
  struct buf text = {0};
  buf_add_text(&text, before);
  for (size_t i = 0; i < count; i++)
    buf_add_byte(&text, filler);
  buf_add_text(&text, after);
  int verdict = verdict_of(text.data, text.len, cut);
  buf_free(&text);
  return verdict;
}

static void lengths_are_limited(void **state) {
  (void)state;
  for (size_t cut = 0; cut <= 1000; cut += 333) {
    assert_int_equal(with_filler("GET /", 'a', 8191, " HTTP/1.1\r\n" H END, cut), DONE);
    assert_int_equal(with_filler("GET /", 'a', 8192, " HTTP/1.1\r\n" H END, cut), 414);
    assert_int_equal(with_filler("GET /", 'a', 100000, "", cut), 414);
    assert_int_equal(with_filler(G "X: ", 'a', 8192 - 3, "\r\n\r\n", cut), DONE);
    assert_int_equal(with_filler(G "X: ", 'a', 8192 - 2, "\r\n\r\n", cut), 431);
    assert_int_equal(with_filler(CH "1;", 'a', 1023, "\r\nx\r\n0\r\n\r\n", cut), DONE);
    assert_int_equal(with_filler(CH "1;", 'a', 1024, "\r\nx\r\n0\r\n\r\n", cut), 400);
    assert_int_equal(with_filler(CH "0\r\nX: ", 'a', 5000, "\r\n\r\n", cut), 431);
  }
}

static void counts_are_limited(void **state) {
  (void)state;
  struct buf text = {0};
  buf_add_text(&text, G); // with Host
  for (int i = 0; i < 99; i++)
    buf_add_text(&text, "X: 1\r\n");
  buf_add_text(&text, END);
  assert_int_equal(verdict_of(text.data, text.len, 0), DONE);
  text.len -= 2;
  buf_add_text(&text, "X: 1\r\n" END);
  assert_int_equal(verdict_of(text.data, text.len, 0), 431);
  assert_int_equal(verdict_of(text.data, text.len, 1), 431);
  buf_clear(&text);
  buf_add_text(&text, G);
  for (int i = 0; i < 5; i++) {
    buf_add_text(&text, "X: ");
    for (int k = 0; k < 8000; k++)
      buf_add_byte(&text, 'b');
    buf_add_text(&text, "\r\n");
  }
  assert_int_equal(verdict_of(text.data, text.len, 0), 431); // the block as a whole
  assert_int_equal(verdict_of(text.data, text.len, 100), 431);
  buf_free(&text);
}

// ---------------------------------------------------------------- what is made of it

static void a_request_is_taken_apart(void **state) {
  (void)state;
  static struct http__message m;
  struct http__pool pool = {0};
  const char *text =
      "POST http://Example.ORG:80/a%20b?x=%41 HTTP/1.1\r\nHost: example.org:80\r\nX-One:  \t v w \t\r\nExpect: 100-Continue\r\n"
      "Connection: x, Close\r\nTransfer-Encoding: chunked\r\n\r\n3;e\r\nabc\r\n2\r\nde\r\n0\r\nX-One: evil\r\n\r\n";
  assert_int_equal(feed(text, strlen(text), 3, &m, &pool), DONE);
  assert_int_equal(m.method, HTTP_M_POST);
  assert_true(span_eq(m.path, SPAN("/a b")));
  assert_true(span_eq(m.query, SPAN("x=%41")));
  assert_true(span_eq(m.host, SPAN("example.org")));
  assert_int_equal(m.field_count, 5); // the trailer is not one of them
  assert_true(span_eq(m.fields[1].name, SPAN("x-one")));
  assert_true(span_eq(m.fields[1].value, SPAN("v w")));
  assert_true(m.expect_continue && !m.expect_other && !m.keep_alive && m.chunked);
  assert_true(span_eq((struct span){m.body.data, m.body.len}, SPAN("abcde")));
  http__block_release(&pool, &m.head);
  http__block_release(&pool, &m.body);
  http__pool_free(&pool);
}

static void names_that_the_server_looks_at_are_known(void **state) {
  (void)state;
  static const char *const texts[] = {
      P "Content-Length: 0\r\nContent-Type: a/b\r\nAuthorization: x\r\nX-Hub-Signature-256: sha256=0\r\nConnection: keep-alive\r\n"
        "Expect: 100-continue\r\nContent-Encoding: gzip\r\nX-Forwarded-For: 10.0.0.1\r\nX-Request-ID: 1\r\nX-Hub-Signature: no\r\n\r\n",
      CH "0\r\n\r\n",
  };
  static struct http__message m;
  struct http__pool pool = {0};
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    assert_int_equal(feed(texts[i], strlen(texts[i]), 0, &m, &pool), DONE);
    for (enum http__known known = HTTP__F_OTHER + 1; known < HTTP__F_COUNT; known++) {
      bool either = known == HTTP__F_HOST;
      bool second = known == HTTP__F_TRANSFER_ENCODING;
      assert_int_equal(m.known_count[known], either || second == (i == 1));
    }
    http__block_release(&pool, &m.head);
  }
  http__pool_free(&pool);
}

static void connection_options_count_wherever_they_stand(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool keep_alive;
  } cases[] = {
      {G END, true},
      {G "Connection: close\r\n\r\n", false},
      {G "Connection: close\t\r\n\r\n", false},
      {G "Connection: keep-alive, CLOSE\r\n\r\n", false},
      {G "Connection: x\r\nConnection: close\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
  };
  static struct http__message m;
  struct http__pool pool = {0};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    assert_int_equal(feed(cases[i].text, strlen(cases[i].text), 0, &m, &pool), DONE);
    assert_int_equal(m.keep_alive, cases[i].keep_alive);
    http__block_release(&pool, &m.head);
  }
  http__pool_free(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_has_one_verdict),
      cmocka_unit_test(lengths_are_limited),
      cmocka_unit_test(counts_are_limited),
      cmocka_unit_test(a_request_is_taken_apart),
      cmocka_unit_test(names_that_the_server_looks_at_are_known),
      cmocka_unit_test(connection_options_count_wherever_they_stand),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
