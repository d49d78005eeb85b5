// The real server on a loopback port in this process, and the tools of a client that runs in a thread beside it.
#ifndef TEST_HTTP_WORLD_H
#define TEST_HTTP_WORLD_H

#include "wahook/base.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "internal.h"

#define UNUSED __attribute__((unused)) // each program uses its part of this file

// ---------------------------------------------------------------- a server, and a client in a thread

struct world {
  struct loop *loop;
  struct http_server *server;
  struct shm_slot *slot;
  struct loop_waker done, drain;
  struct loop_timer later;
  struct http_ticket tickets[8];
  unsigned ticket_count;
  uint16_t port, operators_port;
  _Atomic unsigned handled, found, answered;
  _Atomic bool drained;
  unsigned requests_made; // memory for so many at once
  char client[HTTP__CLIENT_TEXT];
  char answers[4096]; // what the client read
};

static UNUSED void on_echo(struct http_request *request, void *ctx) {
  struct world *world = ctx;
  world->handled++;
  snprintf(world->client, sizeof world->client, "%s", http_request_client_text(request));
  http_respond(request, 200, "text/plain", http_request_body(request), NULL, 0);
}

static UNUSED void on_evil(struct http_request *request, void *ctx) {
  (void)ctx;
  http_respond(request, 200, NULL, SPAN("x"), &(struct http_header){"X-A", "1\r\nX-B: 2\r\n\r\nsmuggled"}, 1);
}

static UNUSED void on_big(struct http_request *request, void *ctx) {
  (void)ctx;
  static char big[8 << 20];
  http_respond(request, 200, NULL, (struct span){big, sizeof big}, NULL, 0);
}

static UNUSED void on_later(void *ctx) {
  struct world *world = ctx;
  for (unsigned i = 0; i < world->ticket_count; i++) {
    struct http_request *request = http_request_find(world->server, world->tickets[i]);
    if (!request) continue;
    world->found++;
    http_respond_json(request, 202, SPAN("{}"));
    assert_null(http_request_find(world->server, world->tickets[i]));
  }
  world->ticket_count = 0;
}

static UNUSED void on_slow(struct http_request *request, void *ctx) {
  struct world *world = ctx;
  world->handled++;
  world->tickets[world->ticket_count++] = http_request_ticket(request);
  loop_timer_start(&world->later, 300, 0);
}

// Holds up the loop: what comes meanwhile comes at once.
static UNUSED void on_nap(struct http_request *request, void *ctx) {
  (void)ctx;
  usleep(200000);
  http_respond(request, 200, NULL, SPAN(""), NULL, 0);
}

static UNUSED void on_head_no(struct http_request *request, void *ctx) {
  (void)ctx;
  http_respond_error(request, 401, "no \"entry\"");
}

static UNUSED void on_answered(struct http_request *request, int status, size_t bytes, void *ctx) {
  struct world *world = ctx;
  assert_true(status >= 200 && bytes > 0 && strlen(http_request_id(request)) > 0);
  world->answered++;
}

static UNUSED void on_drained(void *ctx) {
  ((struct world *)ctx)->drained = true;
}

static UNUSED void on_drain(void *ctx) {
  struct world *world = ctx;
  http_server_drain(world->server, on_drained, world);
}

static UNUSED void on_closed(void *ctx) {
  loop_stop(((struct world *)ctx)->loop);
}

static UNUSED void on_done(void *ctx) {
  struct world *world = ctx;
  world->requests_made = world->server->request_count;
  http_server_close(world->server);
  loop_waker_close(&world->done);
  loop_waker_close(&world->drain);
  loop_timer_close(&world->later, on_closed);
}

static UNUSED bool trusts_all(const struct sockaddr *peer, void *ctx) {
  (void)ctx;
  return peer->sa_family == AF_INET && ntohl(((const struct sockaddr_in *)(const void *)peer)->sin_addr.s_addr) == INADDR_LOOPBACK;
}

static UNUSED uint16_t listen_on_loopback(struct world *world, int tag) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(fd, 128), 0);
  getsockname(fd, (struct sockaddr *)&address, &len);
  assert_int_equal(http_server_listen(world->server, fd, tag), ERR_OK);
  return ntohs(address.sin_port);
}

static UNUSED void run(struct world *world, const struct http_limits *limits, bool proxy, void *(*client)(void *)) {
  const unsigned get = HTTP_ALLOW(HTTP_M_GET), post = HTTP_ALLOW(HTTP_M_POST);
  const struct http_route routes[] = {
      {.path = "/echo", .methods = get | post, .on_request = on_echo, .ctx = world},
      {.path = "/slow", .methods = get, .on_request = on_slow, .ctx = world},
      {.path = "/evil", .methods = get, .on_request = on_evil, .ctx = world},
      {.path = "/big", .methods = get, .on_request = on_big, .ctx = world},
      {.path = "/nap", .methods = get, .on_request = on_nap, .ctx = world},
      {.path = "/no", .methods = post, .on_head = on_head_no, .on_request = on_echo, .ctx = world},
  };
  static struct shm_slot slots[16]; // a block for each world of this program
  static unsigned used;
  world->slot = &slots[used++ % 16];
  world->loop = loop_new(1);
  world->server = http_server_new(&(struct http_server_options){.loop = world->loop,
                                                                .slot = world->slot,
                                                                .limits = *limits,
                                                                .routes = routes,
                                                                .route_count = COUNT_OF(routes),
                                                                .on_answered = on_answered,
                                                                .ctx = world,
                                                                .trust_proxy_protocol = proxy,
                                                                .is_trusted = proxy ? trusts_all : NULL});
  assert_null(http_request_find(world->server, (struct http_ticket){0}));
  world->port = listen_on_loopback(world, 7);
  world->operators_port = listen_on_loopback(world, HTTP_OPERATOR_TAG);
  loop_waker_init(world->loop, &world->done, on_done, world);
  loop_waker_init(world->loop, &world->drain, on_drain, world);
  loop_timer_init(world->loop, &world->later, on_later, world);
  pthread_t thread;
  pthread_create(&thread, NULL, client, world);
  loop_run(world->loop);
  pthread_join(thread, NULL);
  loop_free(world->loop);
}

// ---------------------------------------------------------------- the client's side

#define GET  "GET /echo HTTP/1.1\r\nHost: a\r\n"
#define LAST GET "Connection: close\r\n\r\n"

// From 127.0.0.`source`: all of 127.0.0.0/8 are addresses of this machine.
static UNUSED int dial_from(uint16_t port, unsigned source) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
  struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + source)};
  if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0) abort();
  struct timeval patience = {.tv_sec = 10};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) abort();
  return fd;
}

static UNUSED int dial(const struct world *world) {
  return dial_from(world->port, 1);
}

static UNUSED void say(int fd, const char *text) {
  (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

// Reads until `until` was seen or the end; the result of the last recv: 0 for an
// end, -1 for a reset.
static UNUSED ssize_t hear(struct world *world, int fd, const char *until) {
  size_t len = strlen(world->answers);
  ssize_t n = 1;
  while (len + 1 < sizeof world->answers && !(until && strstr(world->answers, until))) {
    n = recv(fd, world->answers + len, sizeof world->answers - 1 - len, 0);
    if (n <= 0) break;
    len += (size_t)n;
    world->answers[len] = '\0';
  }
  return n;
}

static UNUSED unsigned times(const char *text, const char *part) {
  unsigned count = 0;
  for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
    count++;
  return count;
}

static UNUSED void assert_contains(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("no %s in:\n%s", part, text);
}

static UNUSED void *finished(struct world *world) {
  loop_waker_wake(&world->done);
  return NULL;
}

#endif
