// The loop: when hooks run, that they can be removed while running, timers, wake-ups, jobs, signals, and the panic for a forgotten handle.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wahook/loop.h"

struct probe {
  struct loop *loop;
  struct loop_timer timer;
  struct loop_waker waker;
  struct loop_hook hooks[3];
  char trace[64];
  unsigned traced, ticks, closed, wakes;
  int64_t seen_us[4];
};

static void note(struct probe *p, char c) {
  if (p->traced < sizeof p->trace - 1) p->trace[p->traced++] = c;
}
static void on_time_stop(void *ctx) {
  struct probe *p = ctx;
  note(p, 't');
  loop_stop(p->loop);
}
static void on_closed(void *ctx) {
  ((struct probe *)ctx)->closed++;
}
static void on_turn_a(void *ctx) {
  struct probe *p = ctx;
  note(p, 'a');
  loop_hook_remove(p->loop, &p->hooks[0]); // itself
  loop_hook_remove(p->loop, &p->hooks[1]); // the one that would run next
}
static void on_turn_b(void *ctx) {
  note(ctx, 'b');
}
static void on_turn_c(void *ctx) {
  struct probe *p = ctx;
  if (p->ticks++ < 2) note(p, 'c');
}

static void hooks_run_in_order_and_may_remove_each_other(void **state) {
  (void)state;
  struct probe p = {.loop = loop_new(2)};
  void (*fns[3])(void *) = {on_turn_a, on_turn_b, on_turn_c};
  for (int i = 0; i < 3; i++) {
    p.hooks[i] = (struct loop_hook){.on_turn = fns[i], .ctx = &p};
    loop_hook_add(p.loop, &p.hooks[i]);
  }
  loop_timer_init(p.loop, &p.timer, on_time_stop, &p);
  loop_timer_start(&p.timer, 20, 0);
  loop_run(p.loop);
  assert_string_equal(p.trace, "actc"); // once before the sleep, once after the timer
  loop_hook_remove(p.loop, &p.hooks[2]);
  loop_hook_remove(p.loop, &p.hooks[2]); // not there: nothing happens
  p.hooks[1].on_turn = on_turn_b;
  loop_hook_add(p.loop, &p.hooks[1]); // the tail is right after removals
  loop_timer_start(&p.timer, 20, 0);
  loop_run(p.loop);
  assert_string_equal(p.trace, "actcbtb");
  loop_timer_close(&p.timer, on_closed);
  loop_free(p.loop);
  assert_int_equal(p.closed, 1);
}

static void on_read_clock(void *ctx) {
  struct probe *p = ctx;
  p->seen_us[p->ticks] = loop_now_us(p->loop);
  usleep(3000);
  assert_int_equal(loop_now_us(p->loop), p->seen_us[p->ticks]);
  if (++p->ticks == 2) loop_stop(p->loop);
}
static void time_stands_still_within_a_turn(void **state) {
  (void)state;
  struct probe p = {.loop = loop_new(0)};
  loop_timer_init(p.loop, &p.timer, on_read_clock, &p);
  loop_timer_start(&p.timer, -5, 1); // past: at once
  loop_run(p.loop);
  assert_true(p.seen_us[1] - p.seen_us[0] >= 3000);
  assert_true(clock_mono_us() - p.seen_us[1] < 10 * 1000 * 1000);
  loop_timer_stop(&p.timer);
  loop_timer_stop(&p.timer);
  loop_timer_close(&p.timer, NULL);
  loop_free(p.loop);
}

static void on_wake(void *ctx) {
  struct probe *p = ctx;
  p->wakes++;
  loop_stop(p->loop);
}
static void *wake_often(void *arg) {
  struct probe *p = arg;
  for (int i = 0; i < 1000; i++)
    loop_waker_wake(&p->waker);
  return NULL;
}
static void wakes_from_a_thread_are_merged(void **state) {
  (void)state;
  struct probe p = {.loop = loop_new(2)};
  loop_waker_init(p.loop, &p.waker, on_wake, &p);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, wake_often, &p), 0);
  pthread_join(thread, NULL);
  loop_run(p.loop);
  assert_int_equal(p.wakes, 1);
  p.waker.on_closed = on_closed;
  loop_waker_close(&p.waker);
  loop_free(p.loop);
  assert_int_equal(p.closed, 1);
}

struct square {
  struct loop_job job;
  struct probe *probe;
  int in, out;
};
static void work_square(struct loop_job *job) {
  struct square *s = (struct square *)job;
  s->out = s->in * s->in;
}
static void done_square(struct loop_job *job, bool canceled) {
  struct square *s = (struct square *)job;
  assert_false(canceled);
  s->probe->seen_us[0] += s->out;
  if (++s->probe->ticks == 10) loop_stop(s->probe->loop);
  free(s);
}
static void submit_square(struct probe *p, int in) {
  struct square *s = xcalloc(1, sizeof *s);
  *s = (struct square){.job = {.work = work_square, .done = done_square}, .probe = p, .in = in};
  loop_job_submit(p->loop, &s->job);
}
static void jobs_come_back_on_the_loop(void **state) {
  (void)state;
  struct probe p = {.loop = loop_new(3)};
  assert_string_equal(getenv("UV_THREADPOOL_SIZE"), "3");
  for (int i = 1; i <= 10; i++)
    submit_square(&p, i);
  loop_run(p.loop);
  assert_int_equal(p.seen_us[0], 385);
  submit_square(&p, 5); // still out when the loop goes
  loop_free(p.loop);
  assert_int_equal(p.seen_us[0], 410);
}

static void on_signal(void *ctx, int signum) {
  struct probe *p = ctx;
  assert_int_equal(signum, SIGUSR1);
  p->ticks++;
  loop_stop(p->loop);
}
static void signals_arrive_on_the_loop(void **state) {
  (void)state;
  struct probe p = {.loop = loop_new(2)};
  struct loop_signal usr1;
  loop_signal_init(p.loop, &usr1, SIGUSR1, on_signal, &p);
  kill(getpid(), SIGUSR1);
  loop_run(p.loop);
  assert_int_equal(p.ticks, 1);
  usr1.on_closed = on_closed;
  loop_signal_close(&usr1);
  loop_free(p.loop);
  assert_int_equal(p.closed, 1);
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  close(fds[0]);
  assert_int_equal(write(fds[1], "x", 1), -1); // EPIPE, and alive
  close(fds[1]);
}

static void a_forgotten_handle_is_a_panic(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(2);
    struct probe p = {.loop = loop_new(2)};
    signal(SIGABRT, SIG_DFL);
    loop_timer_init(p.loop, &p.timer, on_time_stop, &p);
    loop_free(p.loop);
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_forgotten_handle_is_a_panic), // forks: before any thread
      cmocka_unit_test(hooks_run_in_order_and_may_remove_each_other),
      cmocka_unit_test(time_stands_still_within_a_turn),
      cmocka_unit_test(wakes_from_a_thread_are_merged),
      cmocka_unit_test(jobs_come_back_on_the_loop),
      cmocka_unit_test(signals_arrive_on_the_loop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
