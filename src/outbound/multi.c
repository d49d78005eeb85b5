// libcurl's multi interface on the event loop: sockets by uv_poll, one timer, a pool of transfers. Runs in the dispatcher.
//
//   outbound_start ──▶ running ──curl──▶ finish ──▶ on_done ──▶ idle (the pool)
//                 └──▶ ended (refused before curl, canceled) ──next turn──▶ on_done
#include "transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>
#include <utlist.h>

#define OUTBOUND_MAGIC      0x4f757462u // "Outb"
#define WATCH_MAGIC         0x57617463u // "Watc"
#define DEFAULT_CONNECTIONS 200u
#define DEFAULT_CONNECT_MS  5000
#define POOL_MAX            256u // transfers and socket watches kept for reuse
#define DOUBT_US            60000000

// One socket of curl's on the loop. A connection's is watched from its opening to its end, also while it is kept alive between two
// requests: its way out of epoll and back in would cost each request several system calls.
struct watch {
  uint32_t magic;
  uv_poll_t poll;
  struct outbound *outbound;
  curl_socket_t fd;
  int events;                // that the loop waits for
  bool idle;                 // curl asks for none
  bool connection;           // we opened it, and are told of its end; else it is the resolver's
  struct watch *next, *prev; // free ones
  UT_hash_handle hh;         // by fd
};

struct outbound {
  uint32_t magic;
  struct loop *loop;
  CURLM *multi;
  int64_t connect_ms;
  struct loop_timer timer; // curl's
  struct loop_timer soon;  // delivers `ended`
  struct transfer *running, *ended, *idle;
  int64_t doubt_until_us; // a connection failed: remembered addresses are looked up again
  unsigned running_count; // running and ended
  unsigned idle_count;
  struct watch *watches, *free_watches; // a hash table; a list
  unsigned free_watch_count;
  unsigned open_handles; // of uv: timers and watches that are not closed yet
  bool closing, shut;
  void (*on_closed)(void *ctx);
  void *ctx;
};

// ---------------------------------------------------------------- the end of a transfer

static void deliver(struct outbound *o, struct transfer *t, CURLcode code) {
  struct outbound_response response;
  int64_t now_us = clock_mono_us();
  transfer__describe(t, code, now_us, &response);
  if (response.result == ERR_UNAVAILABLE) o->doubt_until_us = now_us + DOUBT_US;
  t->on_done(t->ctx, &response);
  transfer__recycle(t);
  o->running_count--;
  if (o->idle_count < POOL_MAX && !o->shut) {
    DL_PREPEND(o->idle, t);
    o->idle_count++;
  } else {
    transfer__free(t);
  }
}

// Takes the transfers that curl has finished. Not from inside curl's callbacks: on_done may start the next request.
static void finish(struct outbound *o) {
  int left;
  for (CURLMsg *message; (message = curl_multi_info_read(o->multi, &left));) {
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode code = message->data.result; // the message goes with curl_multi_remove_handle
    CURL *easy = message->easy_handle;
    struct transfer *t = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &t);
    ALWAYS(t && t->magic == TRANSFER_MAGIC && t->easy == easy);
    curl_multi_remove_handle(o->multi, easy);
    DL_DELETE(o->running, t);
    deliver(o, t, code);
  }
}

static void end_later(struct outbound *o, struct transfer *t, enum err result) {
  t->early = true;
  t->early_result = result;
  DL_APPEND(o->ended, t);
  loop_timer_start(&o->soon, 0, 0);
}

// ---------------------------------------------------------------- curl on the loop

static void on_poll(uv_poll_t *handle, int status, int events);

static void set_events(struct watch *watch, int events) {
  if (watch->events == events) return;
  watch->events = events;
  ALWAYS((events ? uv_poll_start(&watch->poll, events, on_poll) : uv_poll_stop(&watch->poll)) == 0);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  struct watch *watch = handle->data;
  ALWAYS(watch->magic == WATCH_MAGIC);
  struct outbound *o = watch->outbound;
  if (watch->idle) { // the other side has ended it: curl finds that out when it wants to use it again
    set_events(watch, 0);
    return;
  }
  int flags = status < 0 ? CURL_CSELECT_ERR : 0;
  if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
  int running;
  curl_multi_socket_action(o->multi, watch->fd, flags, &running);
  finish(o);
}

static void on_time(void *ctx) {
  struct outbound *o = ctx;
  ALWAYS(o->magic == OUTBOUND_MAGIC);
  int running;
  curl_multi_socket_action(o->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  finish(o);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *ctx) {
  (void)multi;
  struct outbound *o = ctx;
  if (timeout_ms < 0)
    loop_timer_stop(&o->timer);
  else
    loop_timer_start(&o->timer, timeout_ms, 0);
  return 0;
}

static void handle_closed(struct outbound *o);

static void on_watch_closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  struct outbound *o = watch->outbound;
  if (o->free_watch_count < POOL_MAX && !o->shut) {
    DL_PREPEND(o->free_watches, watch);
    o->free_watch_count++;
  } else {
    watch->magic = 0;
    free(watch);
  }
  handle_closed(o);
}

static struct watch *open_watch(struct outbound *o, curl_socket_t fd, bool connection) {
  struct watch *watch = o->free_watches;
  if (watch) {
    DL_DELETE(o->free_watches, watch);
    o->free_watch_count--;
  } else {
    watch = xcalloc(1, sizeof *watch);
    watch->magic = WATCH_MAGIC;
    watch->outbound = o;
  }
  watch->fd = fd;
  watch->events = 0;
  watch->idle = watch->connection = connection;
  int rc = uv_poll_init_socket(loop_uv(o->loop), &watch->poll, fd);
  if (rc) die("cannot watch a socket: %s", uv_strerror(rc));
  watch->poll.data = watch;
  HASH_ADD_INT(o->watches, fd, watch);
  o->open_handles++;
  return watch;
}

static void close_watch(struct outbound *o, struct watch *watch) {
  HASH_DEL(o->watches, watch);
  uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static struct watch *find_watch(struct outbound *o, curl_socket_t fd) {
  struct watch *watch;
  HASH_FIND_INT(o->watches, &fd, watch);
  return watch;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx) {
  (void)easy, (void)socket_ctx;
  struct outbound *o = ctx;
  ALWAYS(o->magic == OUTBOUND_MAGIC);
  struct watch *watch = find_watch(o, fd);
  if (what != CURL_POLL_REMOVE && !watch) watch = open_watch(o, fd, false);
  if (!watch) return 0;
  if (what == CURL_POLL_REMOVE && !watch->connection) { // the resolver closes it next, and nobody will be told
    close_watch(o, watch);
    return 0;
  }
  watch->idle = what == CURL_POLL_REMOVE;
  int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  set_events(watch, watch->idle ? UV_READABLE : events);
  return 0;
}

curl_socket_t outbound__open_socket(struct outbound *o, const struct curl_sockaddr *address) {
  ALWAYS(o->magic == OUTBOUND_MAGIC);
  curl_socket_t fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd != CURL_SOCKET_BAD) open_watch(o, fd, true);
  return fd;
}

int outbound__close_socket(void *ctx, curl_socket_t fd) {
  struct outbound *o = ctx;
  ALWAYS(o->magic == OUTBOUND_MAGIC);
  struct watch *watch = find_watch(o, fd);
  if (watch) close_watch(o, watch); // before its number comes back with the next connection
  return close(fd);
}

// ---------------------------------------------------------------- life

static void on_soon(void *ctx);

struct outbound *outbound_new(const struct outbound_options *options) {
  ALWAYS(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
  struct outbound *o = xcalloc(1, sizeof *o);
  o->magic = OUTBOUND_MAGIC;
  o->loop = options->loop;
  o->connect_ms = options->connect_ms > 0 ? options->connect_ms : DEFAULT_CONNECT_MS;
  o->multi = curl_multi_init();
  if (!o->multi) die("curl_multi_init failed");
  unsigned total = options->max_connections ? options->max_connections : DEFAULT_CONNECTIONS;
  curl_multi_setopt(o->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
  curl_multi_setopt(o->multi, CURLMOPT_SOCKETDATA, o);
  curl_multi_setopt(o->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
  curl_multi_setopt(o->multi, CURLMOPT_TIMERDATA, o);
  curl_multi_setopt(o->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)total);
  // One slow host must not hold every connection: a quarter is left for the others.
  curl_multi_setopt(o->multi, CURLMOPT_MAX_HOST_CONNECTIONS, (long)(total - total / 4));
  // All of them are kept: what gathered in the spool is sent in bursts, and a new connection costs more than a request.
  curl_multi_setopt(o->multi, CURLMOPT_MAXCONNECTS, (long)total);
  loop_timer_init(o->loop, &o->timer, on_time, o);
  loop_timer_init(o->loop, &o->soon, on_soon, o);
  o->open_handles = 2;
  return o;
}

static void handle_closed(struct outbound *o) {
  ALWAYS(o->open_handles > 0);
  if (--o->open_handles > 0 || !o->shut) return;
  for (struct watch *watch = o->free_watches, *next; watch; watch = next) {
    next = watch->next;
    free(watch);
  }
  void (*on_closed)(void *ctx) = o->on_closed;
  void *ctx = o->ctx;
  o->magic = 0;
  free(o);
  if (on_closed) on_closed(ctx);
}

static void on_timer_closed(void *ctx) {
  handle_closed(ctx);
}

static void shut(struct outbound *o) {
  o->shut = true;
  for (struct transfer *t = o->idle, *next; t; t = next) {
    next = t->next;
    transfer__free(t);
  }
  o->idle = NULL;
  curl_multi_cleanup(o->multi); // its kept-alive connections, and with them their watches
  o->multi = NULL;
  struct watch *watch, *next;
  HASH_ITER(hh, o->watches, watch, next) close_watch(o, watch); // of a resolver that was still at work
  loop_timer_close(&o->timer, on_timer_closed);
  loop_timer_close(&o->soon, on_timer_closed);
}

static void on_soon(void *ctx) {
  struct outbound *o = ctx;
  ALWAYS(o->magic == OUTBOUND_MAGIC);
  // Only those that are there now: one that a callback adds waits for the next turn.
  struct transfer *batch = o->ended;
  o->ended = NULL;
  while (batch) {
    struct transfer *t = batch;
    DL_DELETE(batch, t);
    if (o->closing) t->early_result = ERR_CANCELED;
    deliver(o, t, CURLE_OK);
  }
  if (o->closing && !o->ended && !o->shut) shut(o);
}

void outbound_close(struct outbound *o, void (*on_done)(void *ctx), void *ctx) {
  ALWAYS(o->magic == OUTBOUND_MAGIC && !o->closing);
  o->closing = true;
  o->on_closed = on_done;
  o->ctx = ctx;
  while (o->running) {
    struct transfer *t = o->running;
    t->early_received = transfer__maybe_received(t);
    curl_multi_remove_handle(o->multi, t->easy);
    DL_DELETE(o->running, t);
    end_later(o, t, ERR_CANCELED);
  }
  loop_timer_start(&o->soon, 0, 0);
}

unsigned outbound_running(const struct outbound *o) {
  return o->running_count;
}

static struct transfer *take_transfer(struct outbound *o, outbound_done *on_done, void *ctx) {
  ALWAYS(o->magic == OUTBOUND_MAGIC && !o->shut && on_done);
  struct transfer *t = o->idle;
  if (t) {
    DL_DELETE(o->idle, t);
    o->idle_count--;
  } else {
    t = transfer__new(o);
  }
  t->on_done = on_done;
  t->ctx = ctx;
  t->connect_ms = o->connect_ms;
  t->started_us = clock_mono_us();
  t->look_up = t->started_us < o->doubt_until_us;
  o->running_count++;
  return t;
}

void outbound_start(struct outbound *o, const struct outbound_request *request, outbound_done *on_done, void *ctx) {
  struct transfer *t = take_transfer(o, on_done, ctx);
  enum err e = o->closing ? ERR_CANCELED : transfer__prepare(t, request);
  if (e) {
    end_later(o, t, e);
    return;
  }
  DL_APPEND(o->running, t);
  CURLMcode code = curl_multi_add_handle(o->multi, t->easy);
  if (code != CURLM_OK) die("curl_multi_add_handle: %s", curl_multi_strerror(code));
}

void outbound__answer_later(struct outbound *o, enum err result, const char *error, outbound_done *on_done, void *ctx) {
  struct transfer *t = take_transfer(o, on_done, ctx);
  snprintf(t->text, sizeof t->text, "%s", error);
  end_later(o, t, result);
}
