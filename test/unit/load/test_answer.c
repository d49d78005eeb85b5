// The load generator's answer reader: where an answer ends, in one piece and in many, and what it refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "load.h"

#define OK_2 "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 2\r\n\r\nok"

static struct answer answer;

// Feeds `text` in pieces of `step` bytes; *left gets how many bytes lie behind the answer.
static enum err feed(const char *text, size_t step, size_t *left) {
  struct span rest = span_of(text);
  enum err e = ERR_AGAIN;
  answer_start(&answer);
  while (e == ERR_AGAIN && rest.len) {
    struct span piece = {rest.ptr, step < rest.len ? step : rest.len};
    size_t given = piece.len;
    e = answer_feed(&answer, &piece);
    rest = span_from(rest, given - piece.len);
  }
  *left = rest.len;
  return e;
}

// The same verdict in one piece and in pieces down to a byte.
static enum err verdict(const char *text, size_t *left) {
  enum err whole = feed(text, strlen(text), left);
  struct answer first = answer;
  for (size_t step = 1; step < 8; step++) {
    size_t other;
    assert_int_equal(feed(text, step, &other), whole);
    if (whole == ERR_OK) assert_int_equal(other, *left);
    assert_int_equal(answer.status, first.status);
    assert_int_equal(answer.stage, first.stage);
    assert_int_equal(answer.closes, first.closes);
  }
  return whole;
}

static void ends(const char *text, int status, bool closes, size_t behind) {
  size_t left;
  assert_int_equal(verdict(text, &left), ERR_OK);
  assert_int_equal(left, behind);
  assert_int_equal(answer.status, status);
  assert_int_equal(answer.closes, closes);
}

static void goes_on(const char *text) {
  size_t left;
  assert_int_equal(verdict(text, &left), ERR_AGAIN);
}

static void is_refused(const char *text) {
  size_t left;
  assert_int_equal(verdict(text, &left), ERR_FORMAT);
}

static void test_where_an_answer_ends(void **state) {
  (void)state;
  ends(OK_2, 200, false, 0);
  ends(OK_2 "HTTP/1.1", 200, false, 8);
  ends("HTTP/1.1 200\r\ncontent-LENGTH:0\r\n\r\n", 200, false, 0);
  ends("HTTP/1.1 204 No Content\r\n\r\n", 204, false, 0);
  ends("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, false, 0);
  ends("HTTP/1.1 503 Service Unavailable\nContent-Length: 1\n\nx", 503, false, 0);
  ends("HTTP/1.1 100 Continue\r\n\r\n" OK_2, 200, false, 0);
  goes_on("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
  goes_on("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r");
  goes_on("HTTP/1.1 100 Continue\r\n\r\n");
  goes_on("H");
}

static void test_whether_the_connection_lives_on(void **state) {
  (void)state;
  ends("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, true, 0);
  ends("HTTP/1.1 200 OK\r\nconnection: Upgrade , CLOSE\r\nContent-Length: 0\r\n\r\n", 200, true, 0);
  ends("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, false, 0);
  ends("HTTP/1.1 200 OK\r\nX-Connection: close\r\nContent-Length: 0\r\n\r\n", 200, false, 0);
  ends("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true, 0);
  ends("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", 200, false, 0);
}

static void test_an_answer_that_ends_with_its_connection(void **state) {
  (void)state;
  goes_on("HTTP/1.1 200 OK\r\n\r\nall of this");
  assert_true(answer_end(&answer));
  assert_true(answer.closes && answer.status == 200);
  goes_on("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
  assert_false(answer_end(&answer));
  answer_start(&answer);
  assert_false(answer_end(&answer));
}

static void test_a_first_byte_is_told_from_none(void **state) {
  (void)state;
  answer_start(&answer);
  assert_false(answer.begun);
  goes_on("H");
  assert_true(answer.begun);
}

static void test_what_is_no_answer(void **state) {
  (void)state;
  is_refused("\r\n\r\n");
  is_refused("SSH-2.0-OpenSSH\r\n\r\n");
  is_refused("HTTP/2.0 200 OK\r\n\r\n");
  is_refused("HTTP/1.1 2000 OK\r\n\r\n");
  is_refused("HTTP/1.1 999 Odd\r\n\r\n");
  is_refused("HTTP/1.1 101 Switching Protocols\r\n\r\n");
  is_refused("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n");
  is_refused("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n");
  is_refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

static void test_a_head_in_pieces_is_bounded(void **state) {
  (void)state;
  struct span one = SPAN("x");
  answer_start(&answer);
  for (unsigned i = 0; i < ANSWER_HEAD_MAX - 1; i++) {
    struct span piece = one;
    assert_int_equal(answer_feed(&answer, &piece), ERR_AGAIN);
  }
  assert_int_equal(answer_feed(&answer, &one), ERR_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_where_an_answer_ends),
      cmocka_unit_test(test_whether_the_connection_lives_on),
      cmocka_unit_test(test_an_answer_that_ends_with_its_connection),
      cmocka_unit_test(test_a_first_byte_is_told_from_none),
      cmocka_unit_test(test_what_is_no_answer),
      cmocka_unit_test(test_a_head_in_pieces_is_bounded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
