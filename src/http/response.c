// Answers: built in one piece, written by the connection in order. Runs in workers and tools.
#include <stdlib.h>
#include <string.h>

#include "internal.h"

// A body that nobody wants is read to its end up to this size; beyond, closing the connection is cheaper for both sides.
#define DRAIN_BODY_BYTES 65536

// ---------------------------------------------------------------- building; the caller has made room

static char *put(char *at, const char *bytes, size_t len) {
  memcpy(at, bytes, len);
  return at + len;
}
#define PUT(at, literal) put((at), ("" literal), sizeof(literal) - 1)

static char *put_text(char *at, const char *text) {
  return put(at, text, strlen(text));
}

// A line break in a value would start another header: it becomes a space.
static char *put_value(char *at, const char *value) {
  for (; *value; value++)
    *at++ = ((unsigned char)*value < 0x20 && *value != '\t') || *value == 0x7f ? ' ' : *value;
  return at;
}

static char *put_number(char *at, uint64_t value, unsigned width) {
  char digits[24];
  unsigned n = 0;
  do {
    digits[n++] = (char)('0' + value % 10);
    value /= 10;
  } while (value || n < width);
  while (n)
    *at++ = digits[--n];
  return at;
}

static bool has_no_body(int status) {
  return status == 204 || status == 304;
}

static void build(struct http_request *request, const char *content_type, struct span body, const struct http_header *headers,
                  unsigned header_count, int64_t took_us, bool closes) {
  struct http_server *server = request->server;
  int status = request->status;
  bool without = has_no_body(status) || request->message.method == HTTP_M_HEAD;
  size_t room = 448 + (content_type ? strlen(content_type) : 0) + (without ? 0 : body.len);
  for (unsigned i = 0; i < header_count; i++)
    room += strlen(headers[i].name) + strlen(headers[i].value) + 4;
  char *start = http__block_reserve(&server->pool, &request->out, room), *at = start;
  at = PUT(at, "HTTP/1.1 ");
  at = put_number(at, (unsigned)status, 3);
  at = PUT(at, " ");
  at = put_text(at, http_status_text(status));
  at = PUT(at, "\r\nDate: ");
  at = put(at, http__server_date(server), 29);
  if (!has_no_body(status)) {
    at = PUT(at, "\r\nContent-Length: ");
    at = put_number(at, body.len, 1);
  }
  if (content_type) {
    at = PUT(at, "\r\nContent-Type: ");
    at = put_value(at, content_type);
  }
  if (request->compressible) at = PUT(at, "\r\nVary: Accept-Encoding");
  if (request->gzipped) at = PUT(at, "\r\nContent-Encoding: gzip");
  at = PUT(at, "\r\nX-Process-Time: ");
  at = put_number(at, (uint64_t)took_us / 1000000, 1);
  at = PUT(at, ".");
  at = put_number(at, (uint64_t)took_us % 1000000, 6);
  at = PUT(at, "\r\nX-Request-Id: ");
  at = put_text(at, request->id);
  at = closes ? PUT(at, "\r\nConnection: close\r\n") : PUT(at, "\r\nConnection: keep-alive\r\n");
  for (unsigned i = 0; i < header_count; i++) {
    at = put_value(at, headers[i].name);
    at = PUT(at, ": ");
    at = put_value(at, headers[i].value);
    at = PUT(at, "\r\n");
  }
  at = PUT(at, "\r\n");
  if (!without && body.len) at = put(at, body.ptr, body.len);
  request->out.len += (size_t)(at - start);
}

// ---------------------------------------------------------------- answering

// What becomes of the connection after this answer, seen before the answer says so.
static bool decide_close(struct http_request *request) {
  struct http__conn *conn = request->conn;
  const struct http__message *m = &request->message;
  bool closes = request->close_after || !m->keep_alive;
  if (conn->reading == request && request->has_body) {                  // answered before its body was read
    bool untold = m->expect_continue && request->stage == HTTP__S_HEAD; // it may never send the body (RFC 9110 section 10.1.1)
    if (m->chunked || untold || m->content_length - m->body_bytes > DRAIN_BODY_BYTES) {
      closes = true;
      conn->client_closes = false; // bytes that nobody reads are on their way: linger
    } else {
      request->message.drop_body = true;
    }
  }
  // With more requests in work behind this one, the last of them says good-bye.
  if (request->server->draining && !request->next) closes = true;
  if (conn->eof && !request->next && conn->stash.len == 0) closes = true;
  if (closes) {
    conn->no_more = true;
    if (conn->reading == request) conn->reading = NULL;
  }
  return closes;
}

static void count_answer(struct http_request *request, int64_t took_us) {
  http__count(request->server, METRIC_HTTP_REQUESTS, 1);
  int class = request->status / 100;
  if (class >= 2 && class <= 5) {
    static const enum metric classes[] = {METRIC_HTTP_STATUS_2XX, METRIC_HTTP_STATUS_3XX, METRIC_HTTP_STATUS_4XX, METRIC_HTTP_STATUS_5XX};
    http__count(request->server, classes[class - 2], 1);
  }
  if (request->server->slot) metrics_observe(request->server->slot, HISTOGRAM_REQUEST, (uint64_t)took_us);
}

void http_respond(struct http_request *request, int status, const char *content_type, struct span body, const struct http_header *headers,
                  unsigned header_count) {
  ALWAYS(request->magic == HTTP__REQUEST_MAGIC && request->stage != HTTP__S_FREE && !request->answered);
  ALWAYS(status >= 200 && status <= 599);
  struct http_server *server = request->server;
  struct http__conn *conn = request->conn;
  request->answered = true;
  request->status = status;
  if (request->in_work) {
    request->in_work = false;
    server->in_work--;
  }
  if (conn->state == HTTP__C_CLOSING || conn->state == HTTP__C_LINGERING) return; // the client went while its handler was at it
  struct buf packed = {0};
  request->gzipped = request->compressible && !has_no_body(status) && http__gzip(request, body, &packed);
  if (request->gzipped) body = buf_span(&packed); // to HEAD, too: its headers are those of GET
  int64_t took_us = clock_mono_us() - request->started_us;
  if (took_us < 0) took_us = 0;
  request->close_after = decide_close(request);
  build(request, content_type, body, headers, header_count, took_us, request->close_after);
  buf_free(&packed);
  count_answer(request, took_us);
  if (server->options.on_answered) server->options.on_answered(request, status, request->out.len, server->options.ctx);
  http__conn_pump(conn);
}

void http_respond_json(struct http_request *request, int status, struct span json) {
  http_respond(request, status, "application/json", json, NULL, 0);
}

void http__respond_detail(struct http_request *request, int status, const char *detail, const struct http_header *headers, unsigned count) {
  struct buf *text = &request->server->text;
  struct json_writer writer;
  buf_clear(text);
  json_start(&writer, text);
  json_open(&writer, NULL, '{');
  json_put_string(&writer, "detail", detail ? detail : http_status_text(status));
  json_close(&writer, '}');
  http_respond(request, status, "application/json", buf_span(text), headers, count);
}

void http_respond_error(struct http_request *request, int status, const char *detail) {
  http__respond_detail(request, status, detail, NULL, 0);
}
