// A connection: reads, cuts the bytes into requests, hands them to their routes. Runs in workers and tools.
//   NEW -> READING -> HANDLING -> WRITING -> (READING | HANDLING) ... -> [LINGERING ->] CLOSING -> freed
// With pipelining several requests of a connection are in work; HANDLING says that at least one is.
#include <string.h>

#include "internal.h"

#define CONTINUE_BYTES 25      // "HTTP/1.1 100 Continue\r\n\r\n"
#define LINGER_BYTES   2097152 // dropped at most after the last answer
#define LINGER_US      3000000
#define DRAIN_IDLE_US  1000000 // a connection that falls idle while the server drains
#define RATE_CHECK_US  1000000

// ---------------------------------------------------------------- state

#define MAY(state) (1u << HTTP__C_##state)
static const unsigned transitions[HTTP__C_COUNT] = {
    [HTTP__C_NEW] = MAY(READING) | MAY(CLOSING),
    [HTTP__C_READING] = MAY(HANDLING) | MAY(WRITING) | MAY(LINGERING) | MAY(CLOSING),
    [HTTP__C_HANDLING] = MAY(WRITING) | MAY(CLOSING),
    [HTTP__C_WRITING] = MAY(READING) | MAY(HANDLING) | MAY(LINGERING) | MAY(CLOSING),
    [HTTP__C_LINGERING] = MAY(CLOSING),
    [HTTP__C_CLOSING] = 0,
};

void http__conn_set(struct http__conn *conn, enum http__conn_state to) {
  if (conn->state == to) return;
  ALWAYS(transitions[conn->state] & (1u << to));
  conn->state = to;
}

static bool is_over(const struct http__conn *conn) {
  return conn->state == HTTP__C_LINGERING || conn->state == HTTP__C_CLOSING;
}

void http__conn_deadline(struct http__conn *conn, enum http__deadline_kind kind, int64_t now_us) {
  const struct http_limits *limits = &conn->server->options.limits;
  struct http__deadlines *all = &conn->server->deadlines;
  int64_t after = 0;
  switch (kind) {
  case HTTP__D_FRESH:
  case HTTP__D_HEAD: after = limits->head_ms * 1000; break;
  case HTTP__D_BODY: after = limits->body_ms * 1000; break;
  case HTTP__D_RATE: after = RATE_CHECK_US; break;
  case HTTP__D_IDLE: after = conn->server->draining ? DRAIN_IDLE_US : limits->idle_ms * 1000; break;
  case HTTP__D_LINGER: after = LINGER_US; break;
  case HTTP__D_WRITE: http__deadline_set(all, &conn->write_deadline, kind, now_us + limits->write_ms * 250); return;
  default: break;
  }
  http__deadline_set(all, &conn->read_deadline, kind, now_us + after);
}

// ---------------------------------------------------------------- closing

static void on_closed(uv_handle_t *handle) {
  struct http__conn *conn = handle->data;
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  while (conn->first) {
    struct http_request *request = conn->first;
    conn->first = request->next;
    http__request_free(request);
  }
  http__block_release(&conn->server->pool, &conn->stash);
  http__server_conn_closed(conn->server, conn);
}

void http__conn_close(struct http__conn *conn, enum http__close_reason reason) {
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  if (conn->state == HTTP__C_CLOSING) return;
  http__conn_set(conn, HTTP__C_CLOSING);
  int64_t now_us = loop_now_us(conn->server->loop);
  http__conn_deadline(conn, HTTP__D_NONE, now_us);
  http__deadline_set(&conn->server->deadlines, &conn->write_deadline, HTTP__D_NONE, now_us);
  for (struct http_request *request = conn->first; request; request = request->next) {
    request->generation++; // tickets no longer fit; the memory stays until the handle is closed, since a handler may be running
    if (request->in_work) conn->server->in_work--;
    request->in_work = false;
  }
  uv_os_fd_t fd;
  if (reason != HTTP__CLOSE_DONE && conn->peer.ss_family != AF_UNIX && uv_fileno(&conn->uv.handle, &fd) == 0) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0}; // a reset: the kernel keeps nothing for a peer that does not read
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }
  uv_close(&conn->uv.handle, on_closed);
}

// ---------------------------------------------------------------- requests

static void request_begin(struct http__conn *conn) {
  struct http_request *request = http__request_new(conn->server, conn);
  if (conn->last)
    conn->last->next = request;
  else
    conn->first = request;
  conn->last = request;
  conn->depth++;
  conn->reading = request;
  if (conn->state == HTTP__C_NEW) http__conn_set(conn, HTTP__C_READING);
  http__parser_start(&conn->parser, &request->message, &conn->server->pool, &conn->server->options.limits);
  http__conn_deadline(conn, HTTP__D_NONE, 0);
}

void http__conn_refuse(struct http_request *request, int status) {
  struct http__conn *conn = request->conn;
  conn->no_more = true;
  conn->reading = NULL;
  conn->client_closes = false;
  request->close_after = true;
  http__respond_detail(request, status, NULL, NULL, 0);
}

static void refuse_malformed(struct http_request *request, int status) {
  http__count(request->server, METRIC_HTTP_PARSE_ERRORS, 1);
  http__conn_refuse(request, status);
}

// What a handler logs is of this request. The handler may end the connection: nothing is read of the request afterwards.
static void call(struct http_request *request, void (*handler)(struct http_request *request, void *ctx)) {
  log_set_request(request->id);
  handler(request, request->route->ctx);
  log_set_request(NULL);
}

// The request is whole.
static void request_complete(struct http__conn *conn, struct http_request *request) {
  conn->reading = NULL;
  if (request->interim_left == CONTINUE_BYTES) request->interim_left = 0; // the body came without being asked for
  if (!request->message.keep_alive) conn->no_more = true;
  if (request->answered) return;
  request->stage = HTTP__S_HANDLING;
  if (conn->state == HTTP__C_READING) http__conn_set(conn, HTTP__C_HANDLING);
  call(request, request->route->on_request);
}

static void answer_options(struct http_request *request) {
  char allow[HTTP__ALLOW_TEXT];
  unsigned all = 0;
  const struct http_server_options *options = &request->server->options;
  for (unsigned i = 0; i < options->route_count; i++)
    all |= options->routes[i].methods;
  if (all & HTTP_ALLOW(HTTP_M_GET)) all |= HTTP_ALLOW(HTTP_M_HEAD);
  http__allow_text(all | HTTP_ALLOW(HTTP_M_OPTIONS), allow);
  http_respond(request, 204, NULL, SPAN(""), &(struct http_header){"Allow", allow}, 1);
}

// Route and size first, then what the head asks for, then the route's own opinion: all before a byte of the body is wanted.
static void check_head(struct http__conn *conn, struct http_request *request) {
  const struct http_server_options *options = &conn->server->options;
  const struct http__message *m = &request->message;
  int status;
  unsigned allowed;
  if (span_eq(m->path, SPAN("*"))) {
    answer_options(request);
    return;
  }
  request->route = http__route_find(options->routes, options->route_count, m->path, m->method, &status, &allowed);
  if (!request->route) {
    char allow[HTTP__ALLOW_TEXT];
    http__allow_text(allowed, allow);
    http__respond_detail(request, status, NULL, &(struct http_header){"Allow", allow}, status == 405);
    return;
  }
  size_t max = request->route->max_body_bytes ? request->route->max_body_bytes : options->limits.max_body_bytes;
  status = http__parser_limit_body(&conn->parser, max);
  if (status) {
    http__conn_refuse(request, status);
    return;
  }
  if (m->known_count[HTTP__F_CONTENT_ENCODING])
    status = 415;
  else if (m->expect_other)
    status = 417;
  if (status && request->has_body)
    http__conn_refuse(request, status); // what such a client sends next is anybody's guess
  else if (status)
    http__respond_detail(request, status, NULL, NULL, 0);
  else if (request->route->on_head)
    call(request, request->route->on_head);
}

static void head_complete(struct http__conn *conn, struct http_request *request) {
  const struct http_server *server = conn->server;
  conn->served++;
  conn->client_closes = !request->message.keep_alive;
  if (server->options.limits.max_requests_per_connection && conn->served >= server->options.limits.max_requests_per_connection)
    request->message.keep_alive = false;
  http__request_identify(request);
  request->has_body = http__parser_wants_body(&conn->parser);
  request->in_work = true;
  conn->server->in_work++;
  check_head(conn, request);
  if (is_over(conn) || conn->reading != request) return; // answered, and the connection ends with it
  if (!request->has_body) {
    request_complete(conn, request);
    return;
  }
  if (request->message.expect_continue && !request->answered) request->interim_left = CONTINUE_BYTES;
  request->stage = HTTP__S_BODY;
  request->body_started_us = loop_now_us(server->loop);
  http__conn_deadline(conn, HTTP__D_NONE, 0);
}

// ---------------------------------------------------------------- bytes

static size_t take(struct http__conn *conn, const char *data, size_t len) {
  struct http_request *request = conn->reading;
  size_t used = len;
  bool head = request->stage == HTTP__S_HEAD;
  int verdict = head ? http__parser_head(&conn->parser, data, len, &used) : http__parser_body(&conn->parser, data, len, &used);
  if (verdict == HTTP__MORE) return used;
  if (verdict == HTTP__COMPLETE) {
    if (head)
      head_complete(conn, request);
    else
      request_complete(conn, request);
    return used;
  }
  if (!request->answered) {
    refuse_malformed(request, verdict);
  } else { // answered already, while its body was being dropped
    conn->no_more = true;
    conn->reading = NULL;
    request->close_after = true;
  }
  return len;
}

// One request more always fits on a connection without one. Pipelined ones besides: as many as there may be connections, else memory
// would be bounded by the product only. The next answer that is sent makes the connection go on.
static bool may_begin(const struct http__conn *conn) {
  const struct http_server *server = conn->server;
  const struct http_limits *limits = &server->options.limits;
  return conn->depth == 0 || (conn->depth < limits->max_pipeline && server->requests_used < limits->max_connections);
}

// Cuts bytes into requests until they or the pipeline's depth are used up.
static size_t cut(struct http__conn *conn, const char *data, size_t len) {
  size_t at = 0;
  while (at < len && !conn->no_more && !is_over(conn)) {
    if (!conn->reading) {
      if (!may_begin(conn)) return at;
      request_begin(conn);
    }
    at += take(conn, data + at, len - at);
  }
  if (at < len) conn->lingered += len - at;
  return len;
}

static bool take_proxy_header(struct http__conn *conn, struct span *bytes) {
  struct sockaddr_storage client;
  bool known;
  size_t used;
  enum err e = http__proxy_parse(*bytes, &client, &known, &used);
  if (e == ERR_AGAIN) return false;
  conn->want_proxy = false;
  if (e) { // what a proxy sends without the header has no known client: refused, and nothing of it is read as a request
    request_begin(conn);
    refuse_malformed(conn->reading, 400);
    return false;
  }
  if (known) {
    conn->peer = client;
    http__address_text((const struct sockaddr *)&conn->peer, conn->peer_text);
    conn->trusted = false; // the client is no proxy of ours: its X-Forwarded-For counts for nothing
    if (!http__door_admits(conn)) {
      http__conn_close(conn, HTTP__CLOSE_SERVER);
      return false;
    }
  }
  *bytes = span_from(*bytes, used);
  return true;
}

void http__conn_bytes(struct http__conn *conn, const char *data, size_t len) {
  struct http__pool *pool = &conn->server->pool;
  struct span bytes = {data, len};
  conn->busy = true;
  if (conn->want_proxy) {
    http__block_add(pool, &conn->stash, data, len);
    bytes = (struct span){conn->stash.data, conn->stash.len};
    if (take_proxy_header(conn, &bytes)) conn->stash_at = conn->stash.len - bytes.len; // pump goes on with the rest
  } else if (conn->stash.len) {
    http__block_add(pool, &conn->stash, data, len);
  } else {
    size_t used = cut(conn, bytes.ptr, bytes.len);
    if (used < bytes.len) http__block_add(pool, &conn->stash, bytes.ptr + used, bytes.len - used);
  }
  conn->busy = false;
  http__conn_pump(conn);
}

// ---------------------------------------------------------------- going on

// What the connection waits for now, and until when.
static void settle(struct http__conn *conn) {
  int64_t now_us = loop_now_us(conn->server->loop);
  if (conn->state != HTTP__C_LINGERING) {
    enum http__deadline_kind kind = conn->read_deadline.kind;
    if (conn->reading && conn->reading->stage == HTTP__S_HEAD) {
      if (kind != HTTP__D_HEAD) http__conn_deadline(conn, HTTP__D_HEAD, now_us);
    } else if (conn->reading) {
      if (kind != HTTP__D_BODY && kind != HTTP__D_RATE) http__conn_deadline(conn, HTTP__D_BODY, now_us);
    } else if (conn->depth) {
      if (kind != HTTP__D_NONE) http__conn_deadline(conn, HTTP__D_NONE, now_us);
    } else if (conn->state != HTTP__C_NEW) {
      http__conn_deadline(conn, HTTP__D_IDLE, now_us);
    }
  }
  bool room = conn->reading || (may_begin(conn) && conn->stash.len == 0) || conn->want_proxy;
  if (conn->eof || (!room && !conn->no_more) || conn->lingered > LINGER_BYTES)
    http__conn_stop_reading(conn);
  else
    http__conn_start_reading(conn);
}

// The client sent its last byte in the middle of a request.
static void end_early(struct http__conn *conn) {
  struct http_request *request = conn->reading;
  if (!request->answered) refuse_malformed(request, 400);
  conn->no_more = true;
  conn->reading = NULL;
}

static void drop_stash(struct http__conn *conn) {
  http__block_release(&conn->server->pool, &conn->stash);
  conn->stash_at = 0;
}

void http__conn_pump(struct http__conn *conn) {
  if (conn->busy || conn->state == HTTP__C_CLOSING) return;
  conn->busy = true;
  while (http__conn_flush(conn)) {
    if (conn->no_more) drop_stash(conn);
    if (conn->stash.len && !conn->want_proxy) {
      if (!may_begin(conn) && !conn->reading) break;
      conn->stash_at += cut(conn, conn->stash.data + conn->stash_at, conn->stash.len - conn->stash_at);
      if (conn->stash_at >= conn->stash.len) drop_stash(conn);
    } else if (conn->eof && conn->reading) {
      end_early(conn);
    } else {
      break;
    }
  }
  conn->busy = false;
  if (conn->state != HTTP__C_CLOSING) settle(conn);
}

// ---------------------------------------------------------------- reading

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  struct http__conn *conn = handle->data;
  // One buffer for all: what is read is used up or copied before the next read.
  *buf = uv_buf_init(conn->server->scratch, sizeof conn->server->scratch);
}

// The client has sent its last byte; whole requests still get their answers.
static void on_eof(struct http__conn *conn) {
  conn->eof = true;
  conn->reading_on = false;
  if (conn->state == HTTP__C_LINGERING || conn->depth == 0) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  http__conn_pump(conn);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
  struct http__conn *conn = stream->data;
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  if (nread == 0 || conn->state == HTTP__C_CLOSING) return;
  if (nread == UV_EOF) {
    on_eof(conn);
    return;
  }
  if (nread < 0) {
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return;
  }
  http__count(conn->server, METRIC_HTTP_BYTES_IN, (uint64_t)nread);
  if (conn->state == HTTP__C_LINGERING || conn->no_more) {
    conn->lingered += (size_t)nread;
    if (conn->lingered <= LINGER_BYTES) return;
    if (conn->state == HTTP__C_LINGERING)
      http__conn_close(conn, HTTP__CLOSE_SERVER);
    else
      http__conn_stop_reading(conn);
    return;
  }
  http__conn_bytes(conn, buf->base, (size_t)nread);
}

void http__conn_start_reading(struct http__conn *conn) {
  if (conn->reading_on) return;
  conn->reading_on = true;
  int e = uv_read_start(&conn->uv.stream, on_alloc, on_read);
  if (e) http__conn_close(conn, HTTP__CLOSE_PEER);
}

void http__conn_stop_reading(struct http__conn *conn) {
  if (!conn->reading_on) return;
  conn->reading_on = false;
  (void)uv_read_stop(&conn->uv.stream);
}

// ---------------------------------------------------------------- opening

void http__conn_open(struct http__conn *conn) {
  struct http_server *server = conn->server;
  const struct http_server_options *options = &server->options;
  int length = (int)sizeof conn->peer;
  if (conn->uv.handle.type != UV_TCP)
    conn->peer.ss_family = AF_UNIX;
  else if (uv_tcp_getpeername(&conn->uv.tcp, (struct sockaddr *)&conn->peer, &length) != 0) { // gone already
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return;
  }
  http__address_text((const struct sockaddr *)&conn->peer, conn->peer_text);
  conn->trusted = options->is_trusted && options->is_trusted((const struct sockaddr *)&conn->peer, options->ctx);
  if (!http__door_admits(conn)) {
    http__conn_close(conn, HTTP__CLOSE_SERVER);
    return;
  }
  conn->want_proxy = options->trust_proxy_protocol && conn->trusted && conn->peer.ss_family != AF_UNIX;
  http__conn_deadline(conn, HTTP__D_FRESH, loop_now_us(server->loop));
  http__conn_start_reading(conn);
}
