// The writer: tickets, group commit, rotation, wake-ups, and that a reader gets exactly what was committed, also after kill -9.
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "world.h"

// ---------------------------------------------------------------- commit and rotation

// One batch after the other: 25 records of about 600 bytes, so that four batches fill a segment of 64 KiB however slow the disk is.
static void tick_many(struct world *w) {
  if (w->decided < journal_ticket(w->journal)) return;
  if (++w->step <= 40)
    append(w, 25, 500);
  else
    finish(w);
}

static void test_commits_and_rotates(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_many;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  assert_true(w.closed);
  assert_int_equal(w.failed, 0);
  assert_true(w.decided == 1000);
  char names[64][80];
  unsigned files = scratch_list(&w.scratch, names, 64);
  assert_true(files >= 9);
  assert_int_equal(read_all(&w), 1000);
  assert_int_equal(scratch_list(&w.scratch, names, 64), 0);
  assert_int_equal(atomic_load(&w.shm.slots[0].counters[METRIC_INTAKE_RECORDS]), 1000);
  stop(&w);
}

static void tick_together(struct world *w) {
  if (w->step++ == 0) {
    append(w, 10, 10);
    assert_true(journal_ticket(w->journal) == 10);
    assert_true(journal_waiting_bytes(w->journal) > 0);
    assert_true(w->decided == 0); // never decided before the turn's end
  } else if (w->decided == 10) {
    assert_int_equal(w->ok, 1); // one turn, one commit
    assert_true(journal_waiting_bytes(w->journal) == 0);
    finish(w);
  }
}

static void test_a_turn_is_one_commit(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_together;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  stop(&w);
}

// In a long turn the disk works already: a ticket behind much hands it over.
static void tick_long(struct world *w) {
  if (w->step++ == 0) {
    append(w, 2, 200 * 1024);
    (void)journal_ticket(w->journal);
    for (int i = 0; i < 1000 && journal_waiting_us(w->journal) != 0; i++)
      usleep(10000);
    assert_true(journal_waiting_us(w->journal) == 0); // decided, though nobody here was told
    assert_true(w->decided == 0);
  } else if (w->decided == 2) {
    finish(w);
  }
}

static void test_a_long_turn_keeps_the_disk_busy(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_long;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  assert_int_equal(w.failed, 0);
  stop(&w);
}

static void tick_large(struct world *w) {
  if (w->step++ == 0)
    append(w, 3, 200 * 1024); // thrice the segment
  else if (w->decided == 3)
    finish(w);
}

static void test_a_batch_larger_than_a_segment(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_large;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  assert_int_equal(w.failed, 0);
  assert_int_equal(read_all(&w), 3);
  stop(&w);
}

// The successor is prepared when half of a file is used; a batch that it cannot hold must not leave it behind for later records.
static void tick_large_later(struct world *w) {
  char names[4][80];
  switch (w->step) {
  case 0:
    append(w, 1, SEGMENT / 2 + 1024);
    w->step++;
    break;
  case 1:
    if (scratch_list(&w->scratch, names, 4) < 2 || strstr(names[1], ".new")) break;
    append(w, 2, SEGMENT);
    w->step++;
    break;
  case 2:
    if (w->decided < 3) break;
    append(w, 1, SEGMENT / 2);
    w->step++;
    break;
  default:
    if (w->decided == 4) finish(w);
  }
}

static void test_a_batch_too_large_for_the_prepared_segment_keeps_its_place(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_large_later;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  assert_int_equal(w.failed, 0);
  assert_int_equal(read_all(&w), 4);
  stop(&w);
}

static void tick_close_at_once(struct world *w) {
  append(w, 5, 100);
  finish(w); // what was appended in this very turn is committed before on_done
}

static void test_close_flushes_and_names_are_never_used_again(void **state) {
  (void)state;
  struct world w;
  char seen[8][80];
  start(&w);
  w.on_tick = tick_close_at_once;
  for (unsigned i = 1; i <= 5; i++) {
    if (i > 1) loop_timer_init(w.loop, &w.tick, on_time, &w);
    w.decided = 0;
    open_journal(&w, -1);
    loop_timer_start(&w.tick, 0, 0);
    loop_run(w.loop);
    assert_true(w.closed && w.decided == 5);
    assert_int_equal(scratch_list(&w.scratch, seen, 8), i); // one more file each time, none overwritten
  }
  stop(&w);
}

static void test_nothing_written_leaves_nothing(void **state) {
  (void)state;
  struct world w;
  char names[4][80];
  start(&w);
  open_journal(&w, -1);
  w.on_tick = finish;
  loop_timer_start(&w.tick, 5, 0);
  loop_run(w.loop);
  assert_int_equal(scratch_list(&w.scratch, names, 4), 0);
  stop(&w);
}

// ---------------------------------------------------------------- the dispatcher's wake-up

static int wake_fd;

static void tick_wake(struct world *w) {
  uint64_t value;
  switch (w->step) {
  case 0:
    append(w, 1, 10);
    w->step++;
    break;
  case 1:
    if (w->decided < 1) return;
    assert_int_equal(read(wake_fd, &value, sizeof value), -1); // it is awake: no system call for it
    atomic_store(&w->shm.broadcast->dispatcher_idle, 1);
    append(w, 1, 10);
    w->step++;
    break;
  default:
    if (w->decided < 2) return;
    assert_int_equal(read(wake_fd, &value, sizeof value), (ssize_t)sizeof value);
    assert_int_equal(atomic_load(&w->shm.broadcast->dispatcher_idle), 0);
    finish(w);
  }
}

static void test_wakes_a_sleeping_dispatcher_only(void **state) {
  (void)state;
  struct world w;
  start(&w);
  wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  open_journal(&w, wake_fd);
  w.on_tick = tick_wake;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  close(wake_fd);
  stop(&w);
}

// ---------------------------------------------------------------- kill -9

// A child appends and tells each committed ticket through a pipe; killed at a random moment, everything it told of must be readable.
static int told;

static void on_child_commit(void *ctx, uint64_t upto, enum err result) {
  on_commit(ctx, upto, result);
  if (result != ERR_OK || write(told, &upto, sizeof upto) != (ssize_t)sizeof upto) _exit(1);
}

static void tick_child(struct world *w) {
  append(w, 20, 300);
}

static _Noreturn void child(struct world *w) {
  w->loop = loop_new(0);
  loop_timer_init(w->loop, &w->tick, on_time, w);
  struct journal_options o = {.loop = w->loop,
                              .slot = &w->shm.slots[0],
                              .directory = w->scratch.path,
                              .sync = true,
                              .segment_bytes = SEGMENT,
                              .wake_fd = -1,
                              .on_commit = on_child_commit,
                              .ctx = w};
  struct why why;
  if (journal_open(&o, &w->journal, &why) != ERR_OK) _exit(1);
  w->on_tick = tick_child;
  loop_timer_start(&w->tick, 1, 1);
  loop_run(w->loop);
  _exit(1);
}

static void test_killed_writer_loses_nothing(void **state) {
  (void)state;
  for (int round = 0; round < 8; round++) {
    struct world w;
    struct why why;
    memset(&w, 0, sizeof w);
    scratch_make(&w.scratch);
    assert_int_equal(shm_create(&w.shm, 1, 65536, &why), ERR_OK);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
      told = pipes[1];
      child(&w);
    }
    close(pipes[1]);
    uint64_t upto = 0, one;
    assert_int_equal(read(pipes[0], &upto, sizeof upto), (ssize_t)sizeof upto); // it works
    usleep((useconds_t)(random_u64() % 60000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(pipes[0], &one, sizeof one) == (ssize_t)sizeof one)
      upto = one;
    close(pipes[0]);
    assert_true(upto > 0);
    assert_true(read_all(&w) >= upto);
    shm_detach(&w.shm);
    scratch_remove(&w.scratch);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_killed_writer_loses_nothing), // first: it forks, so no thread may be there yet
      cmocka_unit_test(test_commits_and_rotates),
      cmocka_unit_test(test_a_turn_is_one_commit),
      cmocka_unit_test(test_a_long_turn_keeps_the_disk_busy),
      cmocka_unit_test(test_a_batch_larger_than_a_segment),
      cmocka_unit_test(test_a_batch_too_large_for_the_prepared_segment_keeps_its_place),
      cmocka_unit_test(test_close_flushes_and_names_are_never_used_again),
      cmocka_unit_test(test_nothing_written_leaves_nothing),
      cmocka_unit_test(test_wakes_a_sleeping_dispatcher_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
