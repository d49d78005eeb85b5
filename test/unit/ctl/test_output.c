// What wahookctl prints, and what it reads from a daemon.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tools/ctl/ctl.h"

void ctl_complain(const char *fmt, ...) {
  (void)fmt;
}
int ctl_fail(enum err e, const char *what, const struct why *why) {
  (void)what, (void)why;
  return (int)e;
}
int ctl_exit_status(enum err e) {
  return (int)e;
}

static const struct rows_column columns[] = {{"NAME", "name", false}, {"N", "n", true}, {NULL, "on", false}, {"TIME", "time", false}};

static char *render(bool json, bool with_rows) {
  struct rows rows;
  char *text = NULL;
  size_t size = 0;
  FILE *to = open_memstream(&text, &size);
  rows_begin(&rows, columns, 4, json);
  if (with_rows) {
    rows_text(&rows, "\xC3\xA4\033[31m\xC2\x9Bx"); // a letter of two bytes, an escape sequence, a C1 control
    rows_number(&rows, 7);
    rows_bool(&rows, true, "on", "off");
    rows_time(&rows, 1772368496789000);
    rows_text(&rows, "");
    rows_number(&rows, -1234);
    rows_bool(&rows, false, "on", "off");
    rows_time(&rows, 0);
  }
  rows_finish(&rows, to, "nothing");
  fclose(to);
  return text;
}

static void prints_tables(void **state) {
  (void)state;
  char *text = render(false, true);
  assert_string_equal(text, "NAME          N  TIME\n"
                            "\xC3\xA4?[31m?x      7  2026-03-01 12:34:56Z\n"
                            "-         -1234  -\n");
  free(text);
  text = render(false, false);
  assert_string_equal(text, "nothing\n");
  free(text);
}

static void columns_give_way(void **state) {
  (void)state;
  static const struct rows_column titles[] = {{"NAME", "name", false}, {"N", "n", true}, {"STATE", "state", false}};
  static const struct rows_fit fit[] = {{0, 0}, {4, 1}, {0, 2}};
  static const struct {
    size_t width;
    const char *text;
  } cases[] = {
      {0, "NAME     N  STATE\nab       7  ready\n"},
      {17, "NAME     N  STATE\nab       7  ready\n"},
      {15, "NAME    N STATE\nab      7 ready\n"},
      {14, "NAME    N\nab      7\n"},
      {8, "NAME\nab\n"},
      {1, "NAME\nab\n"}, // the rest is for the terminal to cut
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    struct rows rows;
    struct buf out = {NULL, 0, 0};
    rows_begin(&rows, titles, COUNT_OF(titles), false);
    rows_text(&rows, "ab");
    rows_number(&rows, 7);
    rows_text(&rows, "ready");
    rows_print(&rows, fit, cases[i].width, &out);
    assert_string_equal(out.data, cases[i].text);
    buf_free(&out);
  }
}

static void prints_json(void **state) {
  (void)state;
  char *text = render(true, true);
  struct arena arena;
  const struct json *document;
  arena_init(&arena, 4096, 0);
  assert_int_equal(json_parse(&arena, span_trim((struct span){text, strlen(text) - 1}), NULL, &document, NULL), ERR_OK);
  assert_int_equal(document->count, 2);
  assert_int_equal(json_i64(json_path(document, "1.n"), 0), -1234);
  assert_true(json_bool(json_path(document, "0.on"), false));
  assert_int_equal(json_path(document, "1.time")->type, JSON_NULL);
  assert_true(span_eq(json_text(json_path(document, "0.time")), SPAN("2026-03-01T12:34:56.789Z")));
  arena_free(&arena);
  free(text);
  text = render(true, false);
  assert_string_equal(text, "[]\n");
  free(text);
}

static void prints_documents(void **state) {
  (void)state;
  struct arena arena;
  const struct json *document;
  struct buf out = {NULL, 0, 0};
  arena_init(&arena, 4096, 0);
  struct span text = SPAN("{\"a\":1,\"b\":{\"c\":\"x\\u001by\",\"d\":[]},\"e\":[true,{\"f\":null}],\"g\":\"\"}");
  assert_int_equal(json_parse(&arena, text, NULL, &document, NULL), ERR_OK);
  json_pretty(document, 0, &out);
  assert_string_equal(out.data, "a: 1\nb:\n  c: x?y\n  d: -\ne:\n  - true\n  -\n    f: -\ng: -\n");
  buf_free(&out);
  arena_free(&arena);
}

static void reads_answers(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    bool ended;
    enum err result;
    int status;
    const char *body;
  } cases[] = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, ERR_OK, 200, "hi"},
      {"HTTP/1.1 200 OK\r\nCONTENT-LENGTH:2\r\n\r\nhi", false, ERR_OK, 200, "hi"},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", false, ERR_AGAIN, 0, NULL},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", true, ERR_TRUNCATED, 0, NULL},
      {"HTTP/1.1 503 X\r\n\r\nto the end", false, ERR_AGAIN, 0, NULL},
      {"HTTP/1.1 503 X\r\n\r\nto the end", true, ERR_OK, 503, "to the end"},
      {"HTTP/1.1 204 X\r\n\r\n", false, ERR_OK, 204, ""},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false, ERR_OK, 200, "x"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", false, ERR_OK, 200,
       "hi0123456789"},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nh", false, ERR_AGAIN, 0, NULL},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", false, ERR_FORMAT, 0, NULL},
      {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", false, ERR_FORMAT, 0, NULL},
      {"SSH-2.0-x\r\n\r\n", false, ERR_FORMAT, 0, NULL},
      {"HTTP/1.1 2", true, ERR_TRUNCATED, 0, NULL},
      {"", true, ERR_TRUNCATED, 0, NULL},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    struct buf body = {NULL, 0, 0};
    int status = 0;
    enum err e = ctl_http_parse(span_of(cases[i].bytes), cases[i].ended, &status, &body);
    if (e != cases[i].result || status != cases[i].status) fail_msg("case %zu: %s %d", i, err_name(e), status);
    if (cases[i].body) assert_true(span_eq(buf_span(&body), span_of(cases[i].body)));
    buf_free(&body);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prints_tables),    cmocka_unit_test(columns_give_way), cmocka_unit_test(prints_json),
      cmocka_unit_test(prints_documents), cmocka_unit_test(reads_answers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
