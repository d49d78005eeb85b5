// The server: listeners, accepting within limits, the sweep of deadlines, draining, closing. Runs in workers and tools.
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "internal.h"

#define BACKLOG  4096
#define SWEEP_MS 250
#define FDS_KEPT 64 // descriptors that connections leave to files and stores

// ---------------------------------------------------------------- accepting

static void accept_waiting(struct http_server *server);

static bool has_room(struct http_server *server) {
  unsigned most = server->options.limits.max_connections;
  if (server->paused_at && server->connections >= server->paused_at) return false;
  return !most || server->connections < most;
}

static struct http__conn *take_conn(struct http_server *server) {
  struct http__conn *conn = server->free_conns;
  if (conn)
    server->free_conns = conn->next;
  else
    conn = http__pool_new(&server->pool, sizeof *conn);
  memset(conn, 0, sizeof *conn);
  conn->magic = HTTP__CONN_MAGIC;
  conn->server = server;
  conn->next = server->conns;
  if (server->conns) server->conns->previous = conn;
  server->conns = conn;
  server->connections++;
  server->open_handles++;
  return conn;
}

static void count_open(struct http_server *server) {
  if (server->slot) metrics_set(server->slot, METRIC_HTTP_CONNECTIONS_OPEN, server->connections);
}

static void accept_one(struct http__listener *listener) {
  struct http_server *server = listener->server;
  struct http__conn *conn = take_conn(server);
  uv_loop_t *uv = loop_uv(server->loop);
  if (listener->family == AF_UNIX)
    uv_pipe_init(uv, &conn->uv.pipe, 0);
  else
    uv_tcp_init(uv, &conn->uv.tcp);
  conn->uv.handle.data = conn;
  conn->listener_tag = listener->tag;
  if (uv_accept(&listener->uv.stream, &conn->uv.stream) != 0) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  if (server->slot) metrics_add(server->slot, METRIC_HTTP_CONNECTIONS, 1);
  count_open(server);
  uv_os_fd_t fd;
  if (uv_fileno(&conn->uv.handle, &fd) == 0 && fd >= server->fd_ceiling) server->paused_at = server->connections;
  http__conn_open(conn);
}

// While there is no room the connection stays with libuv, which does not accept another one until it is taken.
static void on_connection(uv_stream_t *stream, int status) {
  struct http__listener *listener = stream->data;
  struct http_server *server = listener->server;
  ALWAYS(listener->magic == HTTP__LISTENER_MAGIC && server->magic == HTTP__SERVER_MAGIC);
  if (status < 0) return;
  if (has_room(server)) {
    accept_one(listener);
    return;
  }
  listener->waiting = true;
  if (!server->accept_paused && server->slot) metrics_add(server->slot, METRIC_HTTP_ACCEPT_PAUSED, 1);
  server->accept_paused = true;
}

static void accept_waiting(struct http_server *server) {
  if (!server->accept_paused || server->draining || server->closing) return;
  for (struct http__listener *l = server->listeners; l && has_room(server); l = l->next) {
    if (!l->waiting || l->closing) continue;
    l->waiting = false;
    accept_one(l);
  }
  server->accept_paused = false;
  for (struct http__listener *l = server->listeners; l; l = l->next)
    server->accept_paused |= l->waiting;
}

// ---------------------------------------------------------------- the end of things

static void maybe_over(struct http_server *server) {
  if (server->draining && server->on_drained && !server->connections && !server->listeners) {
    void (*on_drained)(void *ctx) = server->on_drained;
    bool closing = server->closing; // closed in the middle of draining: both end here
    server->on_drained = NULL;
    on_drained(server->drained_ctx);
    if (!closing) return;
  }
  if (!server->closing || server->open_handles) return;
  while (server->free_conns) {
    struct http__conn *conn = server->free_conns;
    server->free_conns = conn->next;
    free(conn);
  }
  for (uint32_t i = 0; i < server->request_count; i++)
    free(server->requests[i]);
  free(server->requests);
  http__pool_free(&server->pool);
  buf_free(&server->text);
  server->magic = 0;
  free(server);
}

void http__server_conn_closed(struct http_server *server, struct http__conn *conn) {
  while (conn->first) {
    struct http_request *request = conn->first;
    conn->first = request->next;
    http__request_free(request);
  }
  http__block_release(&server->pool, &conn->stash);
  if (conn->previous)
    conn->previous->next = conn->next;
  else
    server->conns = conn->next;
  if (conn->next) conn->next->previous = conn->previous;
  conn->magic = 0;
  conn->next = server->free_conns;
  server->free_conns = conn;
  server->connections--;
  server->open_handles--;
  if (server->paused_at && server->connections + FDS_KEPT / 2 < server->paused_at) server->paused_at = 0;
  count_open(server);
  accept_waiting(server);
  maybe_over(server);
}

static void on_listener_closed(uv_handle_t *handle) {
  struct http__listener *listener = handle->data;
  struct http_server *server = listener->server;
  struct http__listener **at = &server->listeners;
  while (*at != listener)
    at = &(*at)->next;
  *at = listener->next;
  listener->magic = 0;
  free(listener);
  server->open_handles--;
  maybe_over(server);
}

static void close_listeners(struct http_server *server) {
  for (struct http__listener *l = server->listeners; l; l = l->next) {
    if (l->closing) continue;
    // What libuv has accepted already is ours to serve.
    if (l->waiting && !server->closing) accept_one(l);
    l->waiting = false;
    l->closing = true;
    uv_close(&l->uv.handle, on_listener_closed);
  }
}

// Whether the kernel holds bytes of a request that we have not read yet.
static bool has_unread(struct http__conn *conn) {
  uv_os_fd_t fd;
  char byte;
  return uv_fileno(&conn->uv.handle, &fd) == 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void http_server_drain(struct http_server *server, void (*on_done)(void *ctx), void *ctx) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  server->draining = true;
  server->on_drained = on_done;
  server->drained_ctx = ctx;
  close_listeners(server);
  for (struct http__conn *conn = server->conns; conn; conn = conn->next) {
    if (conn->first || has_unread(conn)) continue;
    // Who has just connected is about to ask, and may: for a moment. An idle connection is closed, as at any idle time-out.
    if (conn->state == HTTP__C_NEW)
      http__conn_deadline(conn, HTTP__D_LINGER, loop_now_us(server->loop));
    else
      http__conn_close(conn, HTTP__CLOSE_DONE);
  }
  maybe_over(server);
}

static void on_sweep_closed(void *ctx) {
  struct http_server *server = ctx;
  server->open_handles--;
  maybe_over(server);
}

void http_server_close(struct http_server *server) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC && !server->closing);
  server->closing = true;
  close_listeners(server);
  for (struct http__conn *conn = server->conns; conn; conn = conn->next)
    http__conn_close(conn, HTTP__CLOSE_SERVER);
  loop_timer_close(&server->sweep, on_sweep_closed);
}

// ---------------------------------------------------------------- deadlines

static void expire_body(struct http__conn *conn, int64_t now_us) {
  const struct http_limits *limits = &conn->server->options.limits;
  struct http_request *request = conn->reading;
  if (!request) return;
  int64_t past_grace_us = now_us - request->body_started_us - limits->body_ms * 1000;
  uint64_t due = past_grace_us > 0 ? (uint64_t)past_grace_us / 1000000 * limits->min_body_rate : 0;
  if (request->message.body_bytes > due) {
    http__conn_deadline(conn, HTTP__D_RATE, now_us);
    return;
  }
  if (conn->server->slot) metrics_add(conn->server->slot, METRIC_HTTP_TIMEOUTS, 1);
  conn->no_more = true;
  conn->reading = NULL;
  request->stage = HTTP__S_HANDLING;
  request->close_after = true;
  if (!request->answered) http_respond_error(request, 408, "The request's body came too slowly");
  http__conn_pump(conn);
}

static void expire_head(struct http__conn *conn) {
  struct http_request *request = conn->reading;
  if (!request) return;
  if (conn->server->slot) metrics_add(conn->server->slot, METRIC_HTTP_TIMEOUTS, 1);
  conn->no_more = true;
  conn->reading = NULL;
  request->stage = HTTP__S_HANDLING;
  request->close_after = true;
  http_respond_error(request, 408, "The request's head came too slowly");
}

static void expire_write(struct http__conn *conn, int64_t now_us) {
  size_t queued = uv_stream_get_write_queue_size(&conn->uv.stream);
  if (queued != conn->write_seen) {
    conn->write_seen = queued;
    conn->write_progress_us = now_us;
  }
  if (now_us - conn->write_progress_us >= conn->server->options.limits.write_ms * 1000)
    http__conn_close(conn, HTTP__CLOSE_TIMEOUT);
  else
    http__conn_deadline(conn, HTTP__D_WRITE, now_us);
}

void http__server_expire(struct http__conn *conn, enum http__deadline_kind kind, int64_t now_us) {
  struct http__deadline *entry = kind == HTTP__D_WRITE ? &conn->write_deadline : &conn->read_deadline;
  http__deadline_set(&conn->server->deadlines, entry, HTTP__D_NONE, 0);
  switch (kind) {
  case HTTP__D_FRESH: http__conn_close(conn, HTTP__CLOSE_TIMEOUT); break;
  case HTTP__D_HEAD: expire_head(conn); break;
  case HTTP__D_BODY:
  case HTTP__D_RATE: expire_body(conn, now_us); break;
  case HTTP__D_IDLE:
  case HTTP__D_LINGER: http__conn_close(conn, HTTP__CLOSE_DONE); break;
  case HTTP__D_WRITE: expire_write(conn, now_us); break;
  case HTTP__D_NONE:
  case HTTP__D_COUNT: break;
  }
}

static struct http__conn *conn_of(struct http__deadline *entry, enum http__deadline_kind kind) {
  size_t offset = kind == HTTP__D_WRITE ? offsetof(struct http__conn, write_deadline) : offsetof(struct http__conn, read_deadline);
  return (struct http__conn *)(void *)((char *)entry - offset);
}

static void on_sweep(void *ctx) {
  struct http_server *server = ctx;
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  int64_t now_us = loop_now_us(server->loop);
  for (enum http__deadline_kind kind = HTTP__D_FRESH; kind < HTTP__D_COUNT; kind++)
    for (struct http__deadline *entry; (entry = http__deadline_due(&server->deadlines, kind, now_us));)
      http__server_expire(conn_of(entry, kind), kind, now_us);
}

// ---------------------------------------------------------------- life

struct http_server *http_server_new(const struct http_server_options *options) {
  struct http_server *server = xcalloc(1, sizeof *server);
  server->magic = HTTP__SERVER_MAGIC;
  server->options = *options;
  server->loop = options->loop;
  server->slot = options->slot;
  server->pool.slot = options->slot;
  server->id_seed = random_u64();
  server->date_second = -1;
  struct rlimit files;
  server->fd_ceiling = INT32_MAX;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < INT32_MAX && files.rlim_cur > 2 * FDS_KEPT)
    server->fd_ceiling = (int)files.rlim_cur - FDS_KEPT;
  http__deadlines_init(&server->deadlines);
  loop_timer_init(server->loop, &server->sweep, on_sweep, server);
  loop_timer_start(&server->sweep, SWEEP_MS, SWEEP_MS);
  server->open_handles = 1;
  return server;
}

enum err http_server_listen(struct http_server *server, int fd, int tag) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC && !server->draining && !server->closing);
  struct sockaddr_storage address;
  socklen_t len = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) return ERR_IO;
  struct http__listener *listener = xcalloc(1, sizeof *listener);
  listener->magic = HTTP__LISTENER_MAGIC;
  listener->server = server;
  listener->family = address.ss_family;
  listener->tag = tag;
  uv_loop_t *uv = loop_uv(server->loop);
  int e = address.ss_family == AF_UNIX ? uv_pipe_init(uv, &listener->uv.pipe, 0) : uv_tcp_init(uv, &listener->uv.tcp);
  ALWAYS(e == 0);
  listener->uv.handle.data = listener;
  listener->next = server->listeners;
  server->listeners = listener;
  server->open_handles++;
  e = address.ss_family == AF_UNIX ? uv_pipe_open(&listener->uv.pipe, fd) : uv_tcp_open(&listener->uv.tcp, fd);
  if (e == 0) e = uv_listen(&listener->uv.stream, BACKLOG, on_connection);
  if (e == 0) return ERR_OK;
  listener->closing = true;
  uv_close(&listener->uv.handle, on_listener_closed);
  return ERR_IO;
}

unsigned http_server_connections(const struct http_server *server) {
  return server->connections;
}

unsigned http_server_requests(const struct http_server *server) {
  return server->in_work;
}
