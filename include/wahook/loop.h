// The event loop of a process: libuv with turn hooks, a heartbeat, wake-ups from other threads, and jobs on the threadpool.
#ifndef WAHOOK_LOOP_H
#define WAHOOK_LOOP_H

#include <uv.h>

#include "wahook/base.h"

struct loop;

// One loop per process, created after exec. `threads` sizes libuv's pool (UV_THREADPOOL_SIZE, read at its first use; 0 leaves it alone).
// SIGPIPE is ignored from here on.
struct loop *loop_new(unsigned threads);
uv_loop_t *loop_uv(struct loop *loop);
// Runs until loop_stop(), also while nothing is going on. May run again.
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
// Closes the loop's own handles, lets closing handles and jobs that are out finish (hooks run no more), and panics when somebody left a
// handle open.
void loop_free(struct loop *loop);

// Monotonic time, read once per turn.
int64_t loop_now_us(const struct loop *loop);

// Hooks run once a turn, after all callbacks of that turn and before it sleeps: the place to hand over what a turn gathered
// (a journal batch, a spool batch). Removal is allowed inside a hook.
struct loop_hook {
  void (*on_turn)(void *ctx);
  void *ctx;
  struct loop_hook *next;
};
void loop_hook_add(struct loop *loop, struct loop_hook *hook); // the caller owns the hook's memory
void loop_hook_remove(struct loop *loop, struct loop_hook *hook);

// A timer embedded in its owner. Start again to move it; stop is idempotent; close before the owner's memory goes.
struct loop_timer {
  uv_timer_t uv;
  void (*on_time)(void *ctx);
  void *ctx;
  void (*on_closed)(void *ctx);
};
void loop_timer_init(struct loop *loop, struct loop_timer *timer, void (*on_time)(void *ctx), void *ctx);
void loop_timer_start(struct loop_timer *timer, int64_t after_ms, int64_t repeat_ms);
void loop_timer_stop(struct loop_timer *timer);
void loop_timer_close(struct loop_timer *timer, void (*on_closed)(void *ctx)); // on_closed may be NULL

// Wakes the loop from any thread; calls are merged. on_wake runs on the loop.
struct loop_waker {
  uv_async_t uv;
  void (*on_wake)(void *ctx);
  void *ctx;
  void (*on_closed)(void *ctx); // NULL after init; set it to be told when the memory may go
};
void loop_waker_init(struct loop *loop, struct loop_waker *waker, void (*on_wake)(void *ctx), void *ctx);
void loop_waker_wake(struct loop_waker *waker); // async-signal- and thread-safe
void loop_waker_close(struct loop_waker *waker);

// Work for the threadpool: owns its input, names what it is for by id and generation, never by a connection's pointer.
struct loop_job {
  uv_work_t uv;
  void (*work)(struct loop_job *job);                // on a pool thread; touches only the job
  void (*done)(struct loop_job *job, bool canceled); // on the loop; frees the job
};
void loop_job_submit(struct loop *loop, struct loop_job *job);

// POSIX signals on the loop.
struct loop_signal {
  uv_signal_t uv;
  void (*on_signal)(void *ctx, int signum);
  void *ctx;
  void (*on_closed)(void *ctx); // NULL after init; set it to be told when the memory may go
};
void loop_signal_init(struct loop *loop, struct loop_signal *signal, int signum, void (*on_signal)(void *ctx, int signum), void *ctx);
void loop_signal_close(struct loop_signal *signal);

#endif
