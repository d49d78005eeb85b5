// An answer as bytes: status line, the headers that every answer has, the handler's own, the body. Runs in workers and tools.
#include <string.h>

#include "internal.h"

#define STANDARD_HEADERS_BYTES 320 // status line and the headers made here, at most

struct writer {
  char *at;
};

static void put(struct writer *w, const char *bytes, size_t len) {
  memcpy(w->at, bytes, len);
  w->at += len;
}

#define PUT(w, literal) put((w), (literal), sizeof(literal) - 1)

static void put_text(struct writer *w, const char *text) {
  put(w, text, strlen(text));
}

static void put_u64(struct writer *w, uint64_t value, unsigned min_digits) {
  char digits[20];
  unsigned n = 0;
  do {
    digits[n++] = (char)('0' + value % 10);
    value /= 10;
  } while (value || n < min_digits);
  while (n)
    *w->at++ = digits[--n];
}

const char *http__server_date(struct http_server *server) {
  // Looked up once a second at most: the turn's own time tells when the second may have changed.
  int64_t second = loop_now_us(server->loop) / 1000000;
  if (second != server->date_second) {
    clock_format_http(clock_wall_us(), server->date);
    server->date_second = second;
  }
  return server->date;
}

static bool keeps_alive(const struct http_request *request) {
  const struct http_server *server = request->server;
  const struct http__conn *conn = request->conn;
  unsigned most = server->options.limits.max_requests_per_connection;
  if (request->close_after || !request->message.keep_alive || (most && conn->served >= most)) return false;
  // Towards the end of a connection every request that has come is answered; the last one closes it.
  bool last = conn->last == request && !conn->stash.len;
  return !(last && (conn->eof || server->draining || server->closing));
}

static void count_answer(struct http_request *request, int status, size_t bytes) {
  struct http_server *server = request->server;
  struct shm_slot *slot = server->slot;
  if (slot) {
    static const enum metric classes[] = {
        [2] = METRIC_HTTP_STATUS_2XX, [3] = METRIC_HTTP_STATUS_3XX, [4] = METRIC_HTTP_STATUS_4XX, [5] = METRIC_HTTP_STATUS_5XX};
    metrics_add(slot, METRIC_HTTP_REQUESTS, 1);
    if (status >= 200 && status < 600) metrics_add(slot, classes[status / 100], 1);
    metrics_observe(slot, HISTOGRAM_REQUEST, (uint64_t)(loop_now_us(server->loop) - request->started_us));
  }
  if (server->options.on_answered) server->options.on_answered(request, status, bytes, server->options.ctx);
}

static size_t headers_size(const struct http_header *headers, unsigned count) {
  size_t size = 0;
  for (unsigned i = 0; i < count; i++)
    size += strlen(headers[i].name) + strlen(headers[i].value) + 4;
  return size;
}

static void put_headers(struct writer *w, struct http_request *request, int status, const char *content_type, size_t body_len) {
  struct http_server *server = request->server;
  int64_t took_us = loop_now_us(server->loop) - request->started_us;
  if (took_us < 0) took_us = 0;
  PUT(w, "HTTP/1.1 ");
  put_u64(w, (uint64_t)status, 3);
  PUT(w, " ");
  put_text(w, http_status_text(status));
  PUT(w, "\r\nDate: ");
  put(w, http__server_date(server), 29);
  // RFC 9110 section 8.6: no Content-Length with 204.
  if (status != 204) {
    PUT(w, "\r\nContent-Length: ");
    put_u64(w, body_len, 1);
  }
  if (content_type) {
    PUT(w, "\r\nContent-Type: ");
    put_text(w, content_type);
  }
  PUT(w, "\r\nX-Process-Time: ");
  put_u64(w, (uint64_t)took_us / 1000000, 1);
  PUT(w, ".");
  put_u64(w, (uint64_t)took_us % 1000000, 6);
  if (request->id[0]) {
    PUT(w, "\r\nX-Request-Id: ");
    put_text(w, request->id);
  }
  if (request->close_after)
    PUT(w, "\r\nConnection: close");
  else if (request->message.minor == 0)
    PUT(w, "\r\nConnection: keep-alive");
  PUT(w, "\r\n");
}

void http_respond(struct http_request *request, int status, const char *content_type, struct span body, const struct http_header *headers,
                  unsigned header_count) {
  ALWAYS(request->magic == HTTP__REQUEST_MAGIC && request->stage != HTTP__S_FREE && !request->answered);
  struct http_server *server = request->server;
  struct http__conn *conn = request->conn;
  if (!keeps_alive(request)) request->close_after = true;
  bool with_body = request->message.method != HTTP_M_HEAD && status != 204 && status != 304;
  size_t type_len = content_type ? strlen(content_type) : 0;
  size_t room = STANDARD_HEADERS_BYTES + type_len + headers_size(headers, header_count) + (with_body ? body.len : 0);
  char *start = http__block_reserve(&server->pool, &request->out, room);
  struct writer w = {start};
  put_headers(&w, request, status, content_type, body.len);
  for (unsigned i = 0; i < header_count; i++) {
    put_text(&w, headers[i].name);
    PUT(&w, ": ");
    put_text(&w, headers[i].value);
    PUT(&w, "\r\n");
  }
  PUT(&w, "\r\n");
  if (with_body && body.len) put(&w, body.ptr, body.len);
  request->out.len += (size_t)(w.at - start);
  request->answered = true;
  request->status = status;
  if (request->stage == HTTP__S_HANDLING) request->stage = HTTP__S_ANSWERED;
  if (request->in_work) {
    request->in_work = false;
    server->in_work--;
  }
  count_answer(request, status, request->out.len);
  http__conn_pump(conn);
}

void http_respond_json(struct http_request *request, int status, struct span json) {
  http_respond(request, status, "application/json", json, NULL, 0);
}

void http__respond_detail(struct http_request *request, int status, const char *detail, const struct http_header *headers, unsigned count) {
  struct http_server *server = request->server;
  struct json_writer w;
  buf_clear(&server->text);
  json_start(&w, &server->text);
  json_open(&w, NULL, '{');
  json_put_string(&w, "detail", detail ? detail : http_status_text(status));
  json_close(&w, '}');
  http_respond(request, status, "application/json", buf_span(&server->text), headers, count);
}

void http_respond_error(struct http_request *request, int status, const char *detail) {
  http__respond_detail(request, status, detail, NULL, 0);
}
