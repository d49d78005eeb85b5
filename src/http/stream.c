// From bytes to handlers: requests are cut out of the stream, checked, routed and handed over; pipelining is bounded. Runs in workers and
// tools.
#include <string.h>

#include "internal.h"

#define LINGER_MAX_BYTES (1u << 20) // read and dropped after the last answer
#define DRAIN_MAX_BYTES  65536      // of a body that nobody wants, to keep the connection
#define INTERIM_BYTES    25         // "HTTP/1.1 100 Continue" and its line ends

static bool over(const struct http__conn *conn) {
  return conn->no_more || conn->state == HTTP__C_CLOSING || conn->state == HTTP__C_LINGERING;
}

// ---------------------------------------------------------------- refusing

// Nothing behind this request is read as a request any more.
static void refuse(struct http__conn *conn, struct http_request *request, int status, const struct http_header *headers, unsigned count) {
  conn->no_more = true;
  request->close_after = true;
  if (conn->reading == request) conn->reading = NULL;
  if (request->stage == HTTP__S_BODY || request->stage == HTTP__S_HEAD) request->stage = HTTP__S_HANDLING;
  if (status == 400 && conn->server->slot) metrics_add(conn->server->slot, METRIC_HTTP_PARSE_ERRORS, 1);
  if (!request->answered) http__respond_detail(request, status, NULL, headers, count);
}

// A verdict before the body. Without a body to come the connection lives on.
static void turn_down(struct http__conn *conn, struct http_request *request, int status, const struct http_header *headers,
                      unsigned count) {
  if (http__parser_wants_body(&conn->parser)) {
    refuse(conn, request, status, headers, count);
    return;
  }
  http__respond_detail(request, status, NULL, headers, count);
}

// ---------------------------------------------------------------- a whole request

static void hand_over(struct http__conn *conn, struct http_request *request) {
  struct http_server *server = conn->server;
  conn->reading = NULL;
  http__deadline_set(&server->deadlines, &conn->read_deadline, HTTP__D_NONE, 0);
  if (request->answered) {
    request->stage = HTTP__S_ANSWERED;
    return;
  }
  request->stage = HTTP__S_HANDLING;
  request->in_work = true;
  request->interim_left = 0;
  server->in_work++;
  request->route->on_request(request, request->route->ctx);
}

// Checks that need the route; may answer at once. Then either a body is to come or the request is whole.
static void on_head(struct http__conn *conn, struct http_request *request) {
  struct http_server *server = conn->server;
  struct http__message *m = &request->message;
  int64_t now = loop_now_us(server->loop);
  conn->served++;
  conn->client_closes = m->minor == 1 && !m->keep_alive && !http__parser_wants_body(&conn->parser);
  http__request_identify(request);
  int status = 0;
  unsigned allowed = 0;
  const struct http_route *route =
      http__route_find(server->options.routes, server->options.route_count, m->path, m->method, &status, &allowed);
  request->route = route;
  bool body = http__parser_wants_body(&conn->parser);
  if (!route) {
    char allow[HTTP__ALLOW_TEXT];
    http__allow_text(allowed, allow);
    const struct http_header header = {.name = "Allow", .value = allow};
    turn_down(conn, request, status, &header, status == 405);
  } else if (m->expect_other) {
    refuse(conn, request, 417, NULL, 0);
  } else if (body && m->known_count[HTTP__F_CONTENT_ENCODING]) {
    refuse(conn, request, 415, NULL, 0);
  } else if ((status = http__parser_limit_body(&conn->parser,
                                               route->max_body_bytes ? route->max_body_bytes : server->options.limits.max_body_bytes))) {
    refuse(conn, request, status, NULL, 0);
  } else if (route->on_head) {
    route->on_head(request, route->ctx);
  }
  if (over(conn)) return;
  if (!body) {
    hand_over(conn, request);
    return;
  }
  request->stage = HTTP__S_BODY;
  request->body_started_us = now;
  // A body that will not be used is read and forgotten, or the connection ends when it would be long or has not been sent yet.
  m->drop_body = request->answered || m->method == HTTP_M_GET || m->method == HTTP_M_HEAD || m->method == HTTP_M_OPTIONS;
  if (request->answered && (m->expect_continue || m->chunked || m->content_length > DRAIN_MAX_BYTES)) {
    refuse(conn, request, 413, NULL, 0); // answered already: this ends the reading
    return;
  }
  if (m->expect_continue && !request->answered) request->interim_left = INTERIM_BYTES;
  http__conn_deadline(conn, HTTP__D_BODY, now);
}

static void begin(struct http__conn *conn) {
  struct http_request *request = http__request_new(conn->server, conn);
  if (conn->last)
    conn->last->next = request;
  else
    conn->first = request;
  conn->last = request;
  conn->depth++;
  conn->reading = request;
  http__parser_start(&conn->parser, &request->message, &conn->server->pool, &conn->server->options.limits);
  http__conn_deadline(conn, HTTP__D_HEAD, request->started_us);
  if (conn->state == HTTP__C_NEW) http__conn_set(conn, HTTP__C_READING);
}

// ---------------------------------------------------------------- bytes

// Takes as many bytes as may be taken now; the rest waits in the stash.
static size_t take(struct http__conn *conn, const char *data, size_t len) {
  size_t at = 0;
  while (at < len && !over(conn)) {
    if (!conn->reading) {
      if (conn->depth >= conn->server->options.limits.max_pipeline) break;
      begin(conn);
    }
    struct http_request *request = conn->reading;
    size_t used = 0;
    int verdict = request->stage == HTTP__S_HEAD ? http__parser_head(&conn->parser, data + at, len - at, &used)
                                                 : http__parser_body(&conn->parser, data + at, len - at, &used);
    if (verdict > HTTP__COMPLETE) {
      refuse(conn, request, verdict, NULL, 0);
      break;
    }
    at += used;
    if (verdict == HTTP__MORE) {
      if (used == 0) break;
      continue;
    }
    if (request->stage == HTTP__S_HEAD)
      on_head(conn, request);
    else
      hand_over(conn, request);
  }
  return over(conn) ? len : at;
}

static void stash(struct http__conn *conn, const char *data, size_t len) {
  http__block_add(&conn->server->pool, &conn->stash, data, len);
}

// The stash may be read from while it is appended to by nobody: it is taken off first.
static void take_stash(struct http__conn *conn) {
  struct http__block waiting = conn->stash;
  size_t at = conn->stash_at;
  conn->stash = (struct http__block){0};
  conn->stash_at = 0;
  at += take(conn, waiting.data + at, waiting.len - at);
  if (at < waiting.len && !over(conn)) {
    conn->stash = waiting;
    conn->stash_at = at;
  } else {
    http__block_release(&conn->server->pool, &waiting);
  }
}

// The PROXY header in front of everything else: only from trusted proxies, and then always.
static bool take_proxy(struct http__conn *conn, const char **data, size_t *len) {
  stash(conn, *data, *len);
  bool known = false;
  size_t used = 0;
  struct sockaddr_storage client;
  enum err e = http__proxy_parse((struct span){conn->stash.data, conn->stash.len}, &client, &known, &used);
  if (e == ERR_AGAIN && conn->stash.len < HTTP__PROXY_MAX) return false;
  if (e != ERR_OK) {
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return false;
  }
  conn->want_proxy = false;
  if (known) {
    conn->peer = client;
    conn->trusted = false; // the client itself is not a proxy of ours: its X-Forwarded-For counts for nothing
    http__address_text((const struct sockaddr *)&conn->peer, conn->peer_text);
  }
  conn->stash_at = used;
  *len = 0;
  return true;
}

static void settle(struct http__conn *conn) {
  struct http_server *server = conn->server;
  if (conn->state == HTTP__C_CLOSING || conn->state == HTTP__C_LINGERING) return;
  // Half a request whose rest will never come: all before it is answered.
  if (conn->eof && conn->first && conn->first == conn->reading && !conn->write_pending) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  if (!conn->first) {
    // A request begins with its first byte; without one the connection idles and holds no memory but its own.
    if (conn->eof || (server->draining && conn->state != HTTP__C_NEW)) {
      http__conn_close(conn, HTTP__CLOSE_DONE);
      return;
    }
    if (conn->state != HTTP__C_NEW) {
      http__conn_set(conn, HTTP__C_READING);
      if (conn->read_deadline.kind != HTTP__D_IDLE) http__conn_deadline(conn, HTTP__D_IDLE, loop_now_us(server->loop));
    }
  } else {
    http__conn_set(conn, conn->write_pending ? HTTP__C_WRITING : conn->reading ? HTTP__C_READING : HTTP__C_HANDLING);
  }
  if (conn->no_more || conn->stash.len)
    http__conn_stop_reading(conn);
  else
    http__conn_start_reading(conn);
}

void http__conn_pump(struct http__conn *conn) {
  if (conn->busy || conn->state == HTTP__C_CLOSING) return;
  conn->busy = true;
  // Answers make room for further requests, and these may be answered at once.
  for (;;) {
    if (!http__conn_flush(conn)) break;
    if (!conn->stash.len || conn->want_proxy || conn->depth >= conn->server->options.limits.max_pipeline || over(conn)) break;
    size_t before = conn->stash.len - conn->stash_at;
    take_stash(conn);
    if (conn->stash.len && conn->stash.len - conn->stash_at == before) break;
  }
  conn->busy = false;
  settle(conn);
}

void http__conn_bytes(struct http__conn *conn, const char *data, size_t len) {
  if (conn->server->slot) metrics_add(conn->server->slot, METRIC_HTTP_BYTES_IN, len);
  if (conn->state == HTTP__C_LINGERING) {
    conn->lingered += len;
    if (conn->lingered > LINGER_MAX_BYTES) http__conn_close(conn, HTTP__CLOSE_PEER);
    return;
  }
  if (over(conn)) return;
  if (conn->want_proxy && !take_proxy(conn, &data, &len)) return;
  if (len) {
    conn->busy = true;
    if (conn->stash.len) {
      stash(conn, data, len);
    } else {
      size_t at = take(conn, data, len);
      if (at < len) stash(conn, data + at, len - at);
    }
    conn->busy = false;
  }
  http__conn_pump(conn);
}
