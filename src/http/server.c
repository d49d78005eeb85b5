// The server: listeners, the sweep of deadlines, draining. Runs in workers and tools.
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define SWEEP_MS            100
#define BACKLOG             4096 // the system's own bound applies
#define DRAIN_GRACE_US      250000
#define DRAIN_SINCE_LAST_US 1000000

// Within a second the wall clock is not asked again.
const char *http__server_date(struct http_server *server) {
  int64_t now_us = loop_now_us(server->loop);
  if (now_us >= server->date_until_us) {
    int64_t wall_us = clock_wall_us();
    server->date_until_us = now_us + 1000000 - wall_us % 1000000;
    clock_format_http(wall_us, server->date);
  }
  return server->date;
}

// ---------------------------------------------------------------- deadlines

static struct http__conn *conn_of_read(struct http__deadline *entry) {
  return (struct http__conn *)(void *)((char *)entry - offsetof(struct http__conn, read_deadline));
}

static struct http__conn *conn_of_write(struct http__deadline *entry) {
  return (struct http__conn *)(void *)((char *)entry - offsetof(struct http__conn, write_deadline));
}

static void on_sweep(void *ctx) {
  struct http_server *server = ctx;
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  int64_t now_us = loop_now_us(server->loop);
  for (enum http__deadline_kind kind = HTTP__D_FRESH; kind < HTTP__D_COUNT; kind++) {
    struct http__deadline *entry;
    while ((entry = http__deadline_due(&server->deadlines, kind, now_us)))
      http__server_expire(kind == HTTP__D_WRITE ? conn_of_write(entry) : conn_of_read(entry), kind, now_us);
  }
}

static void sweep_while_needed(struct http_server *server) {
  bool needed = server->connections > 0 && !server->closing;
  if (needed == server->sweeping || server->closing) return;
  server->sweeping = needed;
  if (needed)
    loop_timer_start(&server->sweep, SWEEP_MS, SWEEP_MS);
  else
    loop_timer_stop(&server->sweep);
}

// ---------------------------------------------------------------- life and end

struct http_server *http_server_new(const struct http_server_options *options) {
  ALWAYS(options->loop);
  struct http_server *server = xcalloc(1, sizeof *server);
  server->magic = HTTP__SERVER_MAGIC;
  server->options = *options;
  struct http_limits *limits = &server->options.limits;
  if (limits->max_headers > HTTP__FIELDS_MAX) limits->max_headers = HTTP__FIELDS_MAX;
  if (limits->max_pipeline == 0) limits->max_pipeline = 1;
  if (limits->max_connections == 0) limits->max_connections = UINT_MAX;
  server->loop = options->loop;
  server->slot = options->slot;
  server->pool.slot = options->slot;
  http__door_init(server);
  server->id_seed = random_u64();
  http__deadlines_init(&server->deadlines);
  loop_timer_init(server->loop, &server->sweep, on_sweep, server);
  server->open_handles = 1;
  return server;
}

static void server_free(struct http_server *server) {
  while (server->free_conns) {
    struct http__conn *conn = server->free_conns;
    server->free_conns = conn->next;
    free(conn);
  }
  for (uint32_t i = 0; i < server->request_count; i++)
    free(server->requests[i]);
  free(server->requests);
  http__crowd_free(&server->crowd);
  http__pool_free(&server->pool);
  buf_free(&server->text);
  server->magic = 0;
  free(server);
}

static void handle_closed(struct http_server *server) {
  ALWAYS(server->open_handles > 0);
  server->open_handles--;
  if (server->draining && server->connections == 0 && !server->listeners && server->on_drained) {
    void (*on_drained)(void *) = server->on_drained;
    server->on_drained = NULL;
    on_drained(server->drained_ctx); // may close the server, whose timer then keeps it a while; or it was closed in the middle of draining
  }
  if (server->open_handles == 0) server_free(server);
}

static void on_timer_closed(void *ctx) {
  handle_closed(ctx);
}

// ---------------------------------------------------------------- connections

void http__server_conn_new(struct http_server *server, struct http__conn *conn) {
  conn->next = server->conns;
  if (server->conns) server->conns->previous = conn;
  server->conns = conn;
  server->connections++;
  server->open_handles++;
  if (server->slot) metrics_set(server->slot, METRIC_HTTP_CONNECTIONS_OPEN, server->connections);
  sweep_while_needed(server);
}

void http__server_conn_closed(struct http_server *server, struct http__conn *conn) {
  if (conn->previous)
    conn->previous->next = conn->next;
  else
    server->conns = conn->next;
  if (conn->next) conn->next->previous = conn->previous;
  server->connections--;
  if (server->slot) metrics_set(server->slot, METRIC_HTTP_CONNECTIONS_OPEN, server->connections);
  conn->magic = 0;
  conn->next = server->free_conns;
  server->free_conns = conn;
  sweep_while_needed(server);
  http__door_left(server, conn->place, conn->listener_tag);
  handle_closed(server);
}

// ---------------------------------------------------------------- listeners

static void on_listener_closed(uv_handle_t *handle) {
  struct http__listener *listener = handle->data;
  struct http_server *server = listener->server;
  struct http__listener **link = &server->listeners;
  while (*link != listener)
    link = &(*link)->next;
  *link = listener->next;
  listener->magic = 0;
  free(listener);
  handle_closed(server);
}

static void listener_close(struct http__listener *listener) {
  if (listener->closing) return;
  listener->closing = true;
  uv_close(&listener->uv.handle, on_listener_closed);
}

enum err http_server_listen(struct http_server *server, int fd, int tag) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC && !server->closing);
  struct sockaddr_storage own;
  socklen_t length = sizeof own;
  if (getsockname(fd, (struct sockaddr *)&own, &length) != 0) {
    close(fd);
    return ERR_IO;
  }
  struct http__listener *listener = xcalloc(1, sizeof *listener);
  listener->magic = HTTP__LISTENER_MAGIC;
  listener->server = server;
  listener->tag = tag;
  listener->family = own.ss_family;
  uv_loop_t *uv = loop_uv(server->loop);
  int e;
  if (own.ss_family == AF_UNIX) {
    ALWAYS(uv_pipe_init(uv, &listener->uv.pipe, 0) == 0);
    e = uv_pipe_open(&listener->uv.pipe, fd);
  } else {
    int on = 1; // inherited by what is accepted: answers are written whole, Nagle would only hold the second of two back
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ALWAYS(uv_tcp_init(uv, &listener->uv.tcp) == 0);
    e = uv_tcp_open(&listener->uv.tcp, fd);
  }
  if (e) close(fd);
  listener->uv.handle.data = listener;
  listener->next = server->listeners;
  server->listeners = listener;
  server->open_handles++;
  if (!e) e = uv_listen(&listener->uv.stream, BACKLOG, http__door_on_connection);
  if (!e) return ERR_OK;
  listener_close(listener);
  return ERR_IO;
}

// ---------------------------------------------------------------- draining and closing

// Idle connections get a last moment, since a request may be on its way: seconds after its last one, a busy client has sent the next.
static void hasten(struct http_server *server, enum http__deadline_kind kind, int64_t waits_us, int64_t now_us) {
  struct http__deadline *list = &server->deadlines.lists[kind];
  for (struct http__deadline *entry = list->next; entry != list; entry = entry->next) {
    int64_t at_us = entry->at_us - waits_us + DRAIN_SINCE_LAST_US;
    if (at_us < now_us + DRAIN_GRACE_US) at_us = now_us + DRAIN_GRACE_US;
    if (at_us < entry->at_us) entry->at_us = at_us; // the order stays: all move by the same rule
  }
}

void http_server_drain(struct http_server *server, void (*on_done)(void *ctx), void *ctx) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  server->on_drained = on_done;
  server->drained_ctx = ctx;
  if (!server->draining) {
    server->draining = true;
    for (struct http__listener *listener = server->listeners; listener; listener = listener->next) {
      if (!listener->closing) http__door_last(listener);
      listener_close(listener);
    }
    int64_t now_us = loop_now_us(server->loop);
    hasten(server, HTTP__D_IDLE, server->options.limits.idle_ms * 1000, now_us);
    hasten(server, HTTP__D_FRESH, server->options.limits.head_ms * 1000, now_us);
  }
  if (server->connections == 0 && !server->listeners && server->on_drained) {
    server->on_drained = NULL;
    on_done(ctx);
  }
}

unsigned http_server_connections(const struct http_server *server) {
  return server->connections;
}

unsigned http_server_requests(const struct http_server *server) {
  return server->in_work;
}

void http_server_close(struct http_server *server) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  if (server->closing) return;
  server->closing = true;
  loop_hook_remove(server->loop, &server->turn);
  for (struct http__listener *listener = server->listeners; listener; listener = listener->next)
    listener_close(listener);
  for (struct http__conn *conn = server->conns; conn; conn = conn->next)
    http__conn_close(conn, HTTP__CLOSE_SERVER);
  loop_timer_close(&server->sweep, on_timer_closed);
}
