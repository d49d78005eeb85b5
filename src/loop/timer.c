// Timers embedded in their owners. Runs on the loop of any process.
#include "wahook/loop.h"

static void on_uv_timer(uv_timer_t *handle) {
  struct loop_timer *timer = handle->data;
  timer->on_time(timer->ctx);
}

static void on_uv_closed(uv_handle_t *handle) {
  struct loop_timer *timer = handle->data;
  if (timer->on_closed) timer->on_closed(timer->ctx);
}

void loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*on_time)(void *ctx), void *ctx) {
  ALWAYS(on_time != NULL);
  ALWAYS(uv_timer_init(loop_uv(loop), &timer->uv) == 0);
  timer->uv.data = timer;
  timer->on_time = on_time;
  timer->ctx = ctx;
  timer->on_closed = NULL;
}

void loop_timer_start(struct loop_timer *timer, int64_t after_ms, int64_t repeat_ms) {
  uint64_t after = after_ms > 0 ? (uint64_t)after_ms : 0;
  uint64_t repeat = repeat_ms > 0 ? (uint64_t)repeat_ms : 0;
  ALWAYS(uv_timer_start(&timer->uv, on_uv_timer, after, repeat) == 0); // fails only on a closed timer
}

void loop_timer_stop(struct loop_timer *timer) {
  ALWAYS(uv_timer_stop(&timer->uv) == 0);
}

void loop_timer_close(struct loop_timer *timer, void (*on_closed)(void *ctx)) {
  timer->on_closed = on_closed;
  uv_close((uv_handle_t *)&timer->uv, on_uv_closed);
}
