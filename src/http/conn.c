// A connection's life: NEW → READING → HANDLING → WRITING → … → (LINGERING) → CLOSING → freed. Writing answers in order. Runs in workers
// and tools.
#include <string.h>
#include <sys/socket.h>

#include "internal.h"

#define WRITE_BUFS 16 // answers of a pipeline that go out in one write

// ---------------------------------------------------------------- state

static const uint8_t may_follow[HTTP__C_COUNT] = {
#define TO(state) (1u << HTTP__C_##state)
    [HTTP__C_NEW] = TO(READING) | TO(HANDLING) | TO(WRITING) | TO(LINGERING) | TO(CLOSING),
    [HTTP__C_READING] = TO(READING) | TO(HANDLING) | TO(WRITING) | TO(LINGERING) | TO(CLOSING),
    [HTTP__C_HANDLING] = TO(READING) | TO(HANDLING) | TO(WRITING) | TO(LINGERING) | TO(CLOSING),
    [HTTP__C_WRITING] = TO(READING) | TO(HANDLING) | TO(WRITING) | TO(LINGERING) | TO(CLOSING),
    [HTTP__C_LINGERING] = TO(CLOSING),
    [HTTP__C_CLOSING] = 0,
#undef TO
};

void http__conn_set(struct http__conn *conn, enum http__conn_state to) {
  ALWAYS(conn->magic == HTTP__CONN_MAGIC && (may_follow[conn->state] & (1u << to)));
  conn->state = to;
}

void http__conn_deadline(struct http__conn *conn, enum http__deadline_kind kind, int64_t now_us) {
  struct http_server *server = conn->server;
  const struct http_limits *limits = &server->options.limits;
  const int64_t waits_ms[HTTP__D_COUNT] = {
      [HTTP__D_FRESH] = limits->head_ms, [HTTP__D_HEAD] = limits->head_ms, [HTTP__D_BODY] = limits->body_ms,       [HTTP__D_RATE] = 1000,
      [HTTP__D_IDLE] = limits->idle_ms,  [HTTP__D_LINGER] = 2000,          [HTTP__D_WRITE] = limits->write_ms / 4,
  };
  struct http__deadline *entry = kind == HTTP__D_WRITE ? &conn->write_deadline : &conn->read_deadline;
  http__deadline_set(&server->deadlines, entry, kind, now_us + waits_ms[kind] * 1000);
}

static void no_deadline(struct http__conn *conn, struct http__deadline *entry) {
  http__deadline_set(&conn->server->deadlines, entry, HTTP__D_NONE, 0);
}

// ---------------------------------------------------------------- closing

static void on_closed(uv_handle_t *handle) {
  struct http__conn *conn = handle->data;
  ALWAYS(conn->magic == HTTP__CONN_MAGIC && conn->state == HTTP__C_CLOSING);
  http__server_conn_closed(conn->server, conn);
}

void http__conn_close(struct http__conn *conn, enum http__close_reason reason) {
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  if (conn->state == HTTP__C_CLOSING) return;
  http__conn_set(conn, HTTP__C_CLOSING);
  no_deadline(conn, &conn->read_deadline);
  no_deadline(conn, &conn->write_deadline);
  if (reason == HTTP__CLOSE_TIMEOUT && conn->server->slot) metrics_add(conn->server->slot, METRIC_HTTP_TIMEOUTS, 1);
  // A reset frees the kernel's buffers at once and tells the client that its request was not served.
  if (reason != HTTP__CLOSE_DONE && conn->uv.handle.type == UV_TCP && uv_tcp_close_reset(&conn->uv.tcp, on_closed) == 0) return;
  uv_close(&conn->uv.handle, on_closed);
}

void http__conn_finish(struct http__conn *conn) {
  if (conn->state == HTTP__C_CLOSING || conn->state == HTTP__C_LINGERING) return;
  conn->no_more = true;
  // Closing a socket with unread bytes resets it, and the reset may destroy the answer before it is read (RFC 9112 section 9.6).
  uv_os_fd_t fd;
  if (conn->eof || conn->client_closes || uv_fileno(&conn->uv.handle, &fd) != 0 || shutdown(fd, SHUT_WR) != 0) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  http__conn_set(conn, HTTP__C_LINGERING);
  no_deadline(conn, &conn->write_deadline);
  http__conn_deadline(conn, HTTP__D_LINGER, loop_now_us(conn->server->loop));
  http__block_release(&conn->server->pool, &conn->stash);
  conn->stash_at = 0;
  http__conn_start_reading(conn);
}

// ---------------------------------------------------------------- writing

static void on_written(uv_write_t *write, int status) {
  struct http__conn *conn = write->data;
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  size_t bytes = conn->write_pending;
  conn->write_pending = 0;
  if (conn->state == HTTP__C_CLOSING) return;
  no_deadline(conn, &conn->write_deadline);
  if (status < 0) {
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return;
  }
  ALWAYS(conn->first);
  conn->first->sent += bytes;
  http__conn_pump(conn);
}

// What the socket did not take at once goes through libuv, one answer at a time.
static void write_rest(struct http__conn *conn, char *data, size_t len) {
  int64_t now = loop_now_us(conn->server->loop);
  uv_buf_t buf = uv_buf_init(data, (unsigned)len);
  conn->write.data = conn;
  conn->write_pending = len;
  if (uv_write(&conn->write, &conn->uv.stream, &buf, 1, on_written) != 0) {
    conn->write_pending = 0;
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return;
  }
  conn->write_seen = uv_stream_get_write_queue_size(&conn->uv.stream);
  conn->write_progress_us = now;
  http__conn_deadline(conn, HTTP__D_WRITE, now);
}

static void pop_first(struct http__conn *conn) {
  struct http_request *request = conn->first;
  conn->first = request->next;
  if (!conn->first) conn->last = NULL;
  conn->depth--;
  http__request_free(request);
}

// Gathers answers that are whole, from the front, up to one that closes the connection.
static unsigned gather(struct http__conn *conn, uv_buf_t bufs[static WRITE_BUFS]) {
  unsigned count = 0;
  for (struct http_request *r = conn->first; r && r->answered && count < WRITE_BUFS; r = r->next) {
    if (r->sent < r->out.len) bufs[count++] = uv_buf_init(r->out.data + r->sent, (unsigned)(r->out.len - r->sent));
    if (r->close_after) break;
  }
  return count;
}

// Marks bytes as sent and lets go of the requests that are through. False when the connection is over.
static bool account(struct http__conn *conn, size_t bytes) {
  while (conn->first && conn->first->answered) {
    struct http_request *r = conn->first;
    size_t left = r->out.len - r->sent;
    size_t part = bytes < left ? bytes : left;
    r->sent += part;
    bytes -= part;
    if (r->sent < r->out.len) return true;
    if (r->close_after) {
      if (conn->reading == r) conn->reading = NULL;
      http__conn_finish(conn);
      return false;
    }
    if (conn->reading == r) return true; // its body is still on its way
    pop_first(conn);
  }
  return true;
}

// "100 Continue" for the request whose turn it is, as long as it was not answered.
static bool flush_interim(struct http__conn *conn) {
  static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
  struct http_request *r = conn->first;
  if (!r || r->answered || !r->interim_left) return true;
  size_t total = sizeof interim - 1;
  uv_buf_t buf = uv_buf_init((char *)(uintptr_t)interim + (total - r->interim_left), r->interim_left);
  int n = uv_try_write(&conn->uv.stream, &buf, 1);
  if (n > 0) r->interim_left = (uint8_t)(r->interim_left - n);
  if (n < 0 && n != UV_EAGAIN) http__conn_close(conn, HTTP__CLOSE_PEER);
  return n >= 0 || n == UV_EAGAIN;
}

bool http__conn_flush(struct http__conn *conn) {
  while (conn->state != HTTP__C_CLOSING && conn->state != HTTP__C_LINGERING && !conn->write_pending) {
    if (!flush_interim(conn)) return false;
    uv_buf_t bufs[WRITE_BUFS];
    unsigned count = gather(conn, bufs);
    if (!count) return account(conn, 0);
    int n = uv_try_write(&conn->uv.stream, bufs, count);
    if (n < 0 && n != UV_EAGAIN) {
      http__conn_close(conn, HTTP__CLOSE_PEER);
      return false;
    }
    if (n > 0) {
      if (conn->server->slot) metrics_add(conn->server->slot, METRIC_HTTP_BYTES_OUT, (uint64_t)n);
      if (!account(conn, (size_t)n)) return false;
    }
    struct http_request *r = conn->first;
    if (r && r->answered && r->sent < r->out.len) write_rest(conn, r->out.data + r->sent, r->out.len - r->sent);
  }
  return conn->state != HTTP__C_CLOSING && conn->state != HTTP__C_LINGERING;
}

// ---------------------------------------------------------------- reading

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  struct http__conn *conn = handle->data;
  (void)suggested;
  // All of it is consumed before the callback returns, so one buffer serves every connection.
  *buf = uv_buf_init(conn->server->scratch, HTTP__SCRATCH_BYTES);
}

// The client has sent its last byte: a request that is not whole will never be; the others still get their answers.
static void on_eof(struct http__conn *conn) {
  conn->eof = true;
  conn->no_more = true;
  http__conn_stop_reading(conn);
  struct http_request *half = conn->reading;
  if (conn->state == HTTP__C_LINGERING || !conn->first || (half && half == conn->first && !half->answered)) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  if (half) half->close_after = true; // never answered: its predecessors are, then the connection goes
  http__conn_pump(conn);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct http__conn *conn = stream->data;
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  if (conn->state == HTTP__C_CLOSING || n == 0) return;
  if (n > 0) {
    http__conn_bytes(conn, buf->base, (size_t)n);
  } else if (n == UV_EOF) {
    on_eof(conn);
  } else {
    http__conn_close(conn, HTTP__CLOSE_PEER);
  }
}

void http__conn_start_reading(struct http__conn *conn) {
  if (conn->reading_on || conn->state == HTTP__C_CLOSING || conn->eof) return;
  if (uv_read_start(&conn->uv.stream, on_alloc, on_read) == 0)
    conn->reading_on = true;
  else
    http__conn_close(conn, HTTP__CLOSE_PEER);
}

void http__conn_stop_reading(struct http__conn *conn) {
  if (!conn->reading_on) return;
  uv_read_stop(&conn->uv.stream);
  conn->reading_on = false;
}

void http__conn_open(struct http__conn *conn) {
  struct http_server *server = conn->server;
  if (conn->uv.handle.type == UV_TCP) {
    int len = sizeof conn->peer;
    uv_tcp_nodelay(&conn->uv.tcp, 1);
    if (uv_tcp_getpeername(&conn->uv.tcp, (struct sockaddr *)&conn->peer, &len) != 0) conn->peer.ss_family = AF_INET;
  } else {
    conn->peer.ss_family = AF_UNIX;
  }
  http__address_text((const struct sockaddr *)&conn->peer, conn->peer_text);
  const struct http_server_options *options = &server->options;
  conn->trusted = options->is_trusted && options->is_trusted((const struct sockaddr *)&conn->peer, options->ctx);
  conn->want_proxy = conn->trusted && options->trust_proxy_protocol;
  http__conn_deadline(conn, HTTP__D_FRESH, loop_now_us(server->loop));
  http__conn_start_reading(conn);
}
