// Work that leaves the loop and comes back: jobs on the threadpool, wake-ups from other threads. Runs in any process.
#include "wahook/loop.h"

static void on_pool_work(uv_work_t *req) {
  struct loop_job *job = req->data;
  job->work(job);
}

static void on_pool_done(uv_work_t *req, int status) {
  struct loop_job *job = req->data;
  job->done(job, status == UV_ECANCELED);
}

void loop_job_submit(struct loop *loop, struct loop_job *job) {
  ALWAYS(job->work != NULL && job->done != NULL);
  job->uv.data = job;
  ALWAYS(uv_queue_work(loop_uv(loop), &job->uv, on_pool_work, on_pool_done) == 0);
}

static void on_uv_async(uv_async_t *handle) {
  struct loop_waker *waker = handle->data;
  waker->on_wake(waker->ctx);
}

static void on_waker_closed(uv_handle_t *handle) {
  struct loop_waker *waker = handle->data;
  if (waker->on_closed) waker->on_closed(waker->ctx);
}

void loop_waker_init(struct loop *loop, struct loop_waker *waker, void (*on_wake)(void *ctx), void *ctx) {
  ALWAYS(on_wake != NULL);
  int rc = uv_async_init(loop_uv(loop), &waker->uv, on_uv_async);
  if (rc != 0) die("cannot make a wake-up handle: %s", uv_strerror(rc));
  waker->uv.data = waker;
  waker->on_wake = on_wake;
  waker->ctx = ctx;
  waker->on_closed = NULL;
}

void loop_waker_wake(struct loop_waker *waker) {
  uv_async_send(&waker->uv); // fails only on a closed handle: nobody is left to be woken
}

void loop_waker_close(struct loop_waker *waker) {
  uv_close((uv_handle_t *)&waker->uv, on_waker_closed);
}
