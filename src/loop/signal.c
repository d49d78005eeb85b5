// POSIX signals as loop callbacks. Runs in any process.
#include "wahook/loop.h"

static void on_uv_signal(uv_signal_t *handle, int signum) {
  struct loop_signal *signal = handle->data;
  signal->on_signal(signal->ctx, signum);
}

static void on_uv_closed(uv_handle_t *handle) {
  struct loop_signal *signal = handle->data;
  if (signal->on_closed) signal->on_closed(signal->ctx);
}

void loop_signal_init(struct loop *loop, struct loop_signal *signal, int signum, void (*on_signal)(void *ctx, int signum), void *ctx) {
  ALWAYS(on_signal != NULL);
  ALWAYS(uv_signal_init(loop_uv(loop), &signal->uv) == 0);
  signal->uv.data = signal;
  signal->on_signal = on_signal;
  signal->ctx = ctx;
  signal->on_closed = NULL;
  int rc = uv_signal_start(&signal->uv, on_uv_signal, signum);
  if (rc != 0) die("cannot watch signal %d: %s", signum, uv_strerror(rc));
}

void loop_signal_close(struct loop_signal *signal) {
  uv_close((uv_handle_t *)&signal->uv, on_uv_closed);
}
