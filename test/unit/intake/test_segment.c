// Disks that refuse: full, limited, removed. Nothing refused is read, nothing acknowledged is lost, and it recovers by itself.
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "intake/segment.h"
#include "world.h"

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
  // Every acknowledged record is there, in order. A batch that was refused may be there in part, when its end had no room any more:
  // Meta delivers it again, and what was taken in is known by its ids.
  assert_true(read_all(&w) >= (unsigned)w.ok);
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

static _Atomic bool enough;

static void *keep_clearing_up(void *arg) {
  struct intake_reader *reader = arg;
  struct intake_batch batch;
  while (!atomic_load(&enough)) {
    if (intake_reader_next(reader, 1, &batch) == ERR_OK && batch.finished) intake_reader_delete(reader, batch.upto.file);
  }
  return NULL;
}

// A reader that removes what dead writers left sees files that are not locked yet: making a segment never fails for that.
static void test_a_reader_clears_up_meanwhile(void **state) {
  (void)state;
  struct scratch s;
  struct intake_reader *reader;
  struct why why = {0};
  pthread_t thread;
  scratch_make(&s);
  assert_int_equal(intake_reader_open(&(struct intake_reader_options){.directory = s.path}, &reader, &why), ERR_OK);
  assert_int_equal(pthread_create(&thread, NULL, keep_clearing_up, reader), 0);
  for (unsigned i = 1; i <= 3000; i++) {
    struct segment segment;
    assert_int_equal(segment_create(&segment, s.path, "w0.x", i, 4096, false), ERR_OK);
    struct stat st;
    assert_int_equal(fstat(segment.fd, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    segment_close(&segment);
  }
  atomic_store(&enough, true);
  assert_int_equal(pthread_join(thread, NULL), 0);
  intake_reader_close(reader);
  scratch_remove(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_removed_directory),
      cmocka_unit_test(test_full_and_recovery),
      cmocka_unit_test(test_starts_on_a_full_disk),
      cmocka_unit_test(test_full_tmpfs),
      cmocka_unit_test(test_a_reader_clears_up_meanwhile),
      cmocka_unit_test(test_unwritable_directory_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
