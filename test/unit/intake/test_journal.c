// The writer: tickets, group commit, rotation, a disk that refuses and recovers, and that a reader gets exactly what was committed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "scratch.h"

enum { SEGMENT = 64 * 1024 };

struct world {
  struct scratch scratch;
  struct loop *loop;
  struct shm shm;
  struct journal *journal;
  struct loop_timer tick;
  uint64_t decided; // highest ticket that on_commit named
  unsigned ok, failed;
  enum err last;
  void (*on_tick)(struct world *w);
  int step;
  bool closed;
};

static void on_commit(void *ctx, uint64_t upto, enum err result) {
  struct world *w = ctx;
  assert_true(upto > w->decided);
  w->decided = upto;
  w->last = result;
  if (result == ERR_OK)
    w->ok++;
  else
    w->failed++;
}

static void on_closed(void *ctx) {
  struct world *w = ctx;
  w->closed = true;
  loop_stop(w->loop);
}

static void on_time(void *ctx) {
  struct world *w = ctx;
  w->on_tick(w);
}

static void finish(struct world *w) {
  loop_timer_stop(&w->tick);
  loop_timer_close(&w->tick, NULL);
  journal_close(w->journal, on_closed, w);
}

static void open_journal(struct world *w, int wake_fd) {
  struct journal_options o = {.loop = w->loop,
                              .slot = &w->shm.slots[0],
                              .directory = w->scratch.path,
                              .sync = true,
                              .segment_bytes = SEGMENT,
                              .wake_fd = wake_fd,
                              .shm = &w->shm,
                              .on_commit = on_commit,
                              .ctx = w};
  struct why why;
  assert_int_equal(journal_open(&o, &w->journal, &why), ERR_OK);
  w->closed = false;
}

static void start(struct world *w) {
  struct why why;
  memset(w, 0, sizeof *w);
  scratch_make(&w->scratch);
  assert_int_equal(shm_create(&w->shm, 2, 65536, &why), ERR_OK);
  w->loop = loop_new(0);
  loop_timer_init(w->loop, &w->tick, on_time, w);
}

static void stop(struct world *w) {
  loop_free(w->loop);
  shm_detach(&w->shm);
  scratch_remove(&w->scratch);
}

static void append(struct world *w, unsigned n, size_t raw_bytes) {
  static char raw[256 * 1024];
  memset(raw, 'r', sizeof raw);
  for (unsigned i = 0; i < n; i++) {
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)journal_ticket(w->journal) + 1);
    struct intake_event e = sample("u", id, "", clock_wall_us());
    e.raw = (struct span){raw, raw_bytes};
    journal_append(w->journal, &e);
  }
}

// Reads everything that is there; checks that wamids count up from 1. Returns how many.
static unsigned read_all(const struct world *w) {
  static struct shm_slot slot;
  struct intake_reader_options o = {.directory = w->scratch.path, .slot = &slot};
  struct intake_reader *reader;
  struct why why;
  assert_int_equal(intake_reader_open(&o, &reader, &why), ERR_OK);
  unsigned n = 0;
  struct intake_batch batch;
  while (intake_reader_next(reader, 100, &batch) == ERR_OK) {
    for (size_t i = 0; i < batch.count; i++) {
      uint64_t id;
      assert_int_equal(batch.events[i].kind, INTAKE_MESSAGE);
      assert_int_equal(span_u64(batch.events[i].wamid, &id), ERR_OK);
      assert_true(id == ++n);
    }
    if (batch.finished) intake_reader_delete(reader, batch.upto.file);
  }
  assert_int_equal(atomic_load(&slot.counters[METRIC_INTAKE_CORRUPT]), 0);
  intake_reader_close(reader);
  return n;
}

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

// ---------------------------------------------------------------- disks that refuse

// The journal's directory vanishes under it: what is written then nobody could ever read, so it must not be acknowledged.
static void tick_vanish(struct world *w) {
  switch (w->step) {
  case 0:
    append(w, 1, 10);
    w->step++;
    break;
  case 1:
    if (w->decided < 1) return;
    assert_int_equal(w->failed, 0);
    scratch_remove(&w->scratch);
    assert_int_equal(access(w->scratch.path, F_OK), -1);
    append(w, 1, 10);
    w->step++;
    break;
  case 2:
    if (w->decided < 2) return;
    assert_int_equal(w->failed, 1);
    append(w, 1, 10); // the directory was made again: the next one is taken
    w->step++;
    break;
  default:
    if (w->decided < 3) return;
    assert_int_equal(w->last, ERR_OK);
    assert_true(journal_healthy(w->journal));
    finish(w);
  }
}

static void test_removed_directory(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_vanish;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  assert_int_equal(w.failed, 1);
  stop(&w);
}

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

// No file may grow beyond 32 KiB, which is what a full disk is to a writer; later the limit goes.
static void tick_full(struct world *w) {
  switch (w->step) {
  case 0:
    append(w, 4, 1000);
    w->step++;
    break;
  case 1:
    if (w->decided < 4) return;
    assert_int_equal(w->failed, 0);
    limit_files(32 * 1024);
    append(w, 1, 100 * 1024);
    w->step++;
    break;
  case 2:
    if (w->decided < 5) return;
    assert_int_equal(w->last, ERR_FULL);
    assert_false(journal_healthy(w->journal));
    assert_int_equal(atomic_load(&w->shm.broadcast->intake_refused), 1);
    append(w, 1, 10); // refused at once
    w->step++;
    break;
  case 3:
    if (w->decided < 6) return;
    assert_int_equal(w->failed, 2);
    limit_files(RLIM_INFINITY);
    w->step++;
    break;
  case 4:
    if (!journal_healthy(w->journal)) return; // a probe each second
    assert_int_equal(atomic_load(&w->shm.broadcast->intake_refused), 0);
    append(w, 1, 10);
    w->step++;
    break;
  default:
    if (w->decided < 7) return;
    assert_int_equal(w->last, ERR_OK);
    finish(w);
  }
}

static void test_full_and_recovery(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_full;
  loop_timer_start(&w.tick, 1, 2);
  loop_run(w.loop);
  assert_true(w.closed);
  // 1-4 and 7 were acknowledged; 5 and 6 were refused, and left nothing behind.
  static struct shm_slot slot;
  struct intake_reader_options o = {.directory = w.scratch.path, .slot = &slot};
  struct intake_reader *reader;
  struct why why;
  assert_int_equal(intake_reader_open(&o, &reader, &why), ERR_OK);
  struct buf got = {0};
  struct intake_batch batch;
  while (intake_reader_next(reader, 100, &batch) == ERR_OK)
    for (size_t i = 0; i < batch.count; i++)
      buf_printf(&got, "%.*s ", SPAN_FMT(batch.events[i].wamid));
  assert_string_equal(got.data, "1 2 3 4 7 ");
  intake_reader_close(reader);
  buf_free(&got);
  stop(&w);
}

static void tick_starts_full(struct world *w) {
  if (w->step == 0) {
    assert_false(journal_healthy(w->journal));
    limit_files(RLIM_INFINITY);
    w->step++;
  } else if (journal_healthy(w->journal)) {
    finish(w);
  }
}

static void test_starts_on_a_full_disk(void **state) {
  (void)state;
  struct world w;
  start(&w);
  limit_files(4096); // before the journal: not even a segment can be made
  struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
  sigaction(SIGXFSZ, &ignore, &before);
  open_journal(&w, -1);
  w.on_tick = tick_starts_full;
  loop_timer_start(&w.tick, 1, 20);
  loop_run(w.loop);
  sigaction(SIGXFSZ, &before, NULL);
  stop(&w);
}

// A real full file system, where mounting one is allowed.
static void tick_tmpfs(struct world *w) {
  if (w->failed == 0) {
    append(w, 1, 100 * 1024);
    return;
  }
  assert_int_equal(w->last, ERR_FULL);
  finish(w);
}

static void test_full_tmpfs(void **state) {
  (void)state;
  struct world w;
  start(&w);
  if (mount("none", w.scratch.path, "tmpfs", 0, "size=1m") != 0) {
    loop_timer_close(&w.tick, NULL);
    stop(&w);
    skip();
  }
  open_journal(&w, -1);
  w.on_tick = tick_tmpfs;
  loop_timer_start(&w.tick, 1, 2);
  loop_run(w.loop);
  assert_true(w.ok > 0);
  // Every acknowledged record is there, in order, and none that was refused.
  assert_int_equal(read_all(&w), (unsigned)w.ok);
  umount(w.scratch.path);
  stop(&w);
}

static void test_unwritable_directory_is_an_error(void **state) {
  (void)state;
  struct world w;
  start(&w);
  struct journal_options o = {.loop = w.loop,
                              .slot = &w.shm.slots[0],
                              .directory = "/proc/no/such/place",
                              .segment_bytes = SEGMENT,
                              .wake_fd = -1,
                              .on_commit = on_commit,
                              .ctx = &w};
  struct why why = {0};
  assert_int_not_equal(journal_open(&o, &w.journal, &why), ERR_OK);
  assert_non_null(strstr(why.text, "/proc/no/such/place"));
  loop_timer_close(&w.tick, NULL);
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
      cmocka_unit_test(test_a_batch_larger_than_a_segment),
      cmocka_unit_test(test_close_flushes_and_names_are_never_used_again),
      cmocka_unit_test(test_nothing_written_leaves_nothing),
      cmocka_unit_test(test_wakes_a_sleeping_dispatcher_only),
      cmocka_unit_test(test_removed_directory),
      cmocka_unit_test(test_full_and_recovery),
      cmocka_unit_test(test_starts_on_a_full_disk),
      cmocka_unit_test(test_full_tmpfs),
      cmocka_unit_test(test_unwritable_directory_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
