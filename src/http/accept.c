// The door: who comes in, who waits in the kernel's queue, who is turned away. Runs in workers and tools.
//
//   an address has all it may have          reset at once, before a byte is read
//   all places are taken, or descriptors    the listener pauses: libuv holds one connection, the kernel the others; a connection that
//   run short                               closes makes it go on
//   too many in one turn                    the rest with the next turn, so that a flood holds up nobody who is in
//   the operator's listener                 a few come in however full it is
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "internal.h"

#define TURN_ACCEPTS  64
#define OPERATORS_MAX 4
#define TELL_EVERY_US 60000000

// Descriptors are numbered from the lowest free one: a high number means that few are left. Some stay for files and databases.
static int fd_ceiling(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX) return INT_MAX;
  int all = (int)limit.rlim_cur, reserve = all / 8;
  if (reserve > 128) reserve = 128;
  if (reserve < 24) reserve = 24;
  return all > reserve * 2 ? all - reserve : all / 2;
}

static bool is_operators(int tag) {
  return tag >= HTTP_OPERATOR_TAG;
}

static unsigned room(const struct http_server *server) {
  unsigned most = server->options.limits.max_connections;
  return most < server->fd_room ? most : server->fd_room;
}

// ---------------------------------------------------------------- one address

// 0: half of what fits, descriptors included.
static void limit_address(struct http_server *server, unsigned connections) {
  unsigned most = server->options.limits.max_connections;
  if (most > (unsigned)server->fd_ceiling) most = (unsigned)server->fd_ceiling;
  server->crowd.most = connections ? connections : most > 1 ? most / 2 : 1;
}

bool http__door_admits(struct http__conn *conn) {
  struct http_server *server = conn->server;
  // A proxy's connections are those of all its clients; what a unix socket's clients are, the machine's owner knows.
  if (conn->trusted || conn->peer.ss_family == AF_UNIX || is_operators(conn->listener_tag)) return true;
  if (server->crowd.most >= server->options.limits.max_connections) return true;
  conn->place = http__crowd_enter(&server->crowd, &server->pool, (const struct sockaddr *)&conn->peer);
  if (conn->place) return true;
  http__count(server, METRIC_HTTP_REFUSED_ADDRESS, 1);
  uint64_t held_back, key = hash_keyed(conn->peer_text, strlen(conn->peer_text));
  if (log_limited(&server->crowd_limit, key, loop_now_us(server->loop), TELL_EVERY_US, &held_back))
    log_warning("http",
                "%s has %u connections, as many as one address may have: more are reset (a proxy belongs into server.trusted_proxies; else "
                "see server.max_connections_per_address)",
                conn->peer_text, server->crowd.most);
  return false;
}

// ---------------------------------------------------------------- accepting

static void tell_full(struct http_server *server) {
  uint64_t held_back;
  bool descriptors = server->fd_room < server->options.limits.max_connections;
  if (!log_limited(&server->door_limit, descriptors, loop_now_us(server->loop), TELL_EVERY_US, &held_back)) return;
  if (descriptors)
    log_warning("http", "%u connections leave too few descriptors: more wait until one closes (raise LimitNOFILE or ulimit -n, now %d)",
                server->connections, (int)sysconf(_SC_OPEN_MAX));
  else
    log_warning("http", "%u connections are open: more wait until one closes (server.max_connections)", server->connections);
}

static bool may_enter(struct http__listener *listener) {
  struct http_server *server = listener->server;
  if (server->accepted >= TURN_ACCEPTS) return false;
  if (is_operators(listener->tag) && server->operators < OPERATORS_MAX) return true;
  if (server->connections < room(server)) return true;
  if (!server->full) {
    http__count(server, METRIC_HTTP_ACCEPT_PAUSED, 1);
    tell_full(server);
  }
  server->full = true;
  return false;
}

// Found by number and kept as a count: connections that close leave gaps among the low numbers, and new ones beyond them would
// use up the reserve little by little.
static void watch_descriptors(struct http_server *server, const struct http__conn *conn) {
  uv_os_fd_t fd;
  if (uv_fileno(&conn->uv.handle, &fd) != 0 || fd < server->fd_ceiling || is_operators(conn->listener_tag)) return;
  unsigned fits = server->connections > 1 ? server->connections - 1 : 1;
  if (server->fd_room > fits) server->fd_room = fits;
}

// With the connection that libuv holds (fd -1), or with one that was accepted past it.
static void enter(struct http__listener *listener, int fd) {
  struct http_server *server = listener->server;
  struct http__conn *conn = server->free_conns;
  if (conn)
    server->free_conns = conn->next;
  else
    conn = http__pool_new(&server->pool, sizeof *conn);
  memset(conn, 0, sizeof *conn);
  conn->magic = HTTP__CONN_MAGIC;
  conn->server = server;
  conn->listener_tag = listener->tag;
  uv_loop_t *uv = loop_uv(server->loop);
  if (listener->family == AF_UNIX)
    ALWAYS(uv_pipe_init(uv, &conn->uv.pipe, 0) == 0);
  else
    ALWAYS(uv_tcp_init(uv, &conn->uv.tcp) == 0);
  conn->uv.handle.data = conn;
  server->accepted++;
  if (is_operators(conn->listener_tag)) server->operators++;
  http__server_conn_new(server, conn);
  int e;
  if (fd < 0) {
    listener->waiting = false;
    e = uv_accept(&listener->uv.stream, &conn->uv.stream);
  } else {
    e = listener->family == AF_UNIX ? uv_pipe_open(&conn->uv.pipe, fd) : uv_tcp_open(&conn->uv.tcp, fd);
    if (e) close(fd);
  }
  if (e) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  http__count(server, METRIC_HTTP_CONNECTIONS, 1);
  watch_descriptors(server, conn);
  http__conn_open(conn);
}

void http__door_on_connection(uv_stream_t *stream, int status) {
  struct http__listener *listener = stream->data;
  ALWAYS(listener->magic == HTTP__LISTENER_MAGIC);
  if (status < 0 || listener->closing) return;
  // Not taken: libuv keeps this one and stops polling, all others wait in the kernel's queue.
  if (may_enter(listener))
    enter(listener, -1);
  else
    listener->waiting = true;
}

static void let_in(struct http_server *server) {
  if (server->closing) return;
  for (struct http__listener *listener = server->listeners; listener; listener = listener->next)
    if (listener->waiting && !listener->closing && may_enter(listener)) enter(listener, -1);
}

// The socket may go with us (an address that is listened on no more): what waits in its queue would be reset.
void http__door_last(struct http__listener *listener) {
  struct http_server *server = listener->server;
  uv_os_fd_t from;
  int fd;
  if (listener->waiting) enter(listener, -1);
  if (uv_fileno(&listener->uv.handle, &from) != 0) return;
  while (server->connections < room(server) && (fd = accept4(from, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
    enter(listener, fd);
}

void http__door_left(struct http_server *server, struct http__place *place, int listener_tag) {
  if (place) http__crowd_leave(&server->crowd, place);
  if (is_operators(listener_tag)) server->operators--;
  if (server->connections <= server->fd_room / 2) server->fd_room = UINT_MAX; // files may take fewer now
  if (server->connections < room(server)) server->full = false;
  let_in(server);
}

static void on_turn(void *ctx) {
  struct http_server *server = ctx;
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  if (server->accepted == 0) return;
  server->accepted = 0;
  let_in(server);
}

void http__door_init(struct http_server *server) {
  server->fd_ceiling = fd_ceiling();
  server->fd_room = UINT_MAX;
  http__crowd_init(&server->crowd);
  limit_address(server, server->options.limits.max_connections_per_address);
  server->turn = (struct loop_hook){.on_turn = on_turn, .ctx = server};
  loop_hook_add(server->loop, &server->turn);
}
