// The event loop of a process: a uv loop, the hooks that run once a turn, and the clock of the turn. Worker, dispatcher, master, tools.
#include "wahook/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOP_MAGIC 0x4c6f6f70u // "Loop"

struct loop {
  uint32_t magic;
  struct loop *self; // a turn's clock is read by the first who asks, also through a const pointer
  uv_loop_t uv;
  uv_prepare_t turn; // runs the hooks; keeps uv_run going until loop_stop
  struct loop_hook *hooks, **hooks_tail;
  struct loop_hook *cursor; // the hook that runs next, so that removals during a turn are safe
  int64_t now_us;           // 0: not read yet in this turn
};

// uv's prepare phase comes after a turn's I/O, close and timer callbacks and right before the poll: what a turn gathered is handed over
// once, and nothing sleeps on it.
static void on_prepare(uv_prepare_t *handle) {
  struct loop *loop = handle->data;
  ALWAYS(loop->magic == LOOP_MAGIC);
  loop->cursor = loop->hooks;
  while (loop->cursor) {
    struct loop_hook *hook = loop->cursor;
    loop->cursor = hook->next;
    hook->on_turn(hook->ctx);
  }
  loop->now_us = 0;
}

struct loop *loop_new(unsigned threads) {
  if (threads > 0) {
    char text[16];
    snprintf(text, sizeof text, "%u", threads);
    ALWAYS(setenv("UV_THREADPOOL_SIZE", text, 1) == 0);
  }
  // libuv writes to sockets without MSG_NOSIGNAL: a peer that is gone shall be EPIPE, not our death. A limit of file
  // sizes shall be EFBIG.
  ALWAYS(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
  struct loop *loop = xcalloc(1, sizeof *loop);
  loop->magic = LOOP_MAGIC;
  loop->self = loop;
  loop->hooks_tail = &loop->hooks;
  int rc = uv_loop_init(&loop->uv);
  if (rc != 0) die("cannot make an event loop: %s", uv_strerror(rc));
  loop->uv.data = loop;
  ALWAYS(uv_prepare_init(&loop->uv, &loop->turn) == 0);
  loop->turn.data = loop;
  ALWAYS(uv_prepare_start(&loop->turn, on_prepare) == 0);
  return loop;
}

uv_loop_t *loop_uv(struct loop *loop) {
  return &loop->uv;
}

void loop_run(struct loop *loop) {
  ALWAYS(loop->magic == LOOP_MAGIC);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop) {
  ALWAYS(loop->magic == LOOP_MAGIC);
  uv_stop(&loop->uv);
}

// A handle that nobody closed would be memory that libuv touches after its owner has gone.
static void assert_closing(uv_handle_t *handle, void *ctx) {
  (void)ctx;
  if (uv_is_closing(handle)) return;
  const char *type = uv_handle_type_name(handle->type);
  die("a %s handle is still open at the loop's end", type ? type : "strange");
}

void loop_free(struct loop *loop) {
  if (!loop) return;
  ALWAYS(loop->magic == LOOP_MAGIC);
  uv_close((uv_handle_t *)&loop->turn, NULL);
  uv_walk(&loop->uv, assert_closing, NULL);
  // Close callbacks and jobs that are still out; their done() may submit nothing that lasts.
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  uv_walk(&loop->uv, assert_closing, NULL);
  int rc = uv_loop_close(&loop->uv);
  if (rc != 0) die("cannot close the event loop: %s", uv_strerror(rc));
  loop->magic = 0;
  free(loop);
}

int64_t loop_now_us(const struct loop *loop) {
  struct loop *self = loop->self;
  if (self->now_us == 0) self->now_us = clock_mono_us();
  return self->now_us;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook) {
  ALWAYS(loop->magic == LOOP_MAGIC);
  ALWAYS(hook->on_turn != NULL);
  hook->next = NULL;
  *loop->hooks_tail = hook;
  loop->hooks_tail = &hook->next;
}

void loop_hook_remove(struct loop *loop, struct loop_hook *hook) {
  ALWAYS(loop->magic == LOOP_MAGIC);
  for (struct loop_hook **at = &loop->hooks; *at; at = &(*at)->next) {
    if (*at != hook) continue;
    if (loop->cursor == hook) loop->cursor = hook->next;
    *at = hook->next;
    if (loop->hooks_tail == &hook->next) loop->hooks_tail = at;
    hook->next = NULL;
    return;
  }
}
