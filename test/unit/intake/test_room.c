// When the journal has no room: too much waits for the disk, for the dispatcher, or behind it; who is told, and when it is over.
#include "world.h"

static const struct journal_bounds bounds = {.waiting_bytes = 1 << 20, .waiting_us = 60000000, .backlog_bytes = 100 * 1024};

static uint32_t shedding(const struct world *w) {
  return atomic_load(&w->shm.broadcast->shedding);
}

static const struct journal_bounds waiting = {.waiting_bytes = 100 * 1024, .waiting_us = 60000000};

static void tick_waiting(struct world *w) {
  if (w->step++ == 0) {
    assert_int_equal(journal_room(w->journal, &waiting), JOURNAL_HAS_ROOM);
    append(w, 4, 24 * 1024);
    assert_int_equal(journal_room(w->journal, &waiting), JOURNAL_HAS_ROOM);
    append(w, 1, 24 * 1024);
    assert_int_equal(journal_room(w->journal, &waiting), JOURNAL_FULL_WAITING);
    assert_int_equal(shedding(w), INTAKE_SHED_WAITING(0));
  } else if (w->decided == 5) {
    assert_true(journal_waiting_us(w->journal) == 0);
    assert_int_equal(journal_room(w->journal, &waiting), JOURNAL_HAS_ROOM);
    assert_int_equal(shedding(w), 0);
    atomic_store(&w->shm.broadcast->shedding, INTAKE_SHED_JOBS); // the dispatcher's word
    assert_int_equal(journal_room(w->journal, &waiting), JOURNAL_FULL_JOBS);
    finish(w);
  }
}

static void test_what_waits_for_the_disk(void **state) {
  (void)state;
  struct world w;
  start(&w);
  atomic_store(&w.shm.broadcast->shedding, INTAKE_SHED_WAITING(0)); // of a predecessor that was killed
  open_journal(&w, -1);
  w.on_tick = tick_waiting;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  assert_int_equal(shedding(&w), INTAKE_SHED_JOBS); // not ours to clear
  stop(&w);
}

// A full file of a writer that is gone.
static void add_file(struct world *w, const char *name, size_t len) {
  static char bytes[64 * 1024];
  scratch_write(&w->scratch, name, (struct span){bytes, len});
}

static void remove_file(struct world *w, const char *name) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", w->scratch.path, name);
  assert_int_equal(unlink(path), 0);
}

static void tick_backlog(struct world *w) {
  enum journal_room room = journal_room(w->journal, &bounds);
  switch (w->step) {
  case 0:
    assert_true(journal_backlog_bytes(w->journal) == 110 * 1024); // the file in use does not count, and is larger
    assert_int_equal(room, JOURNAL_FULL_BACKLOG);
    assert_int_equal(shedding(w), INTAKE_SHED_BACKLOG);
    remove_file(w, "w7.a-000001.log");
    w->step++;
    break;
  case 1: // below the bound, but not far enough
    if (journal_backlog_bytes(w->journal) == 110 * 1024) return;
    assert_true(journal_backlog_bytes(w->journal) == 95 * 1024);
    assert_int_equal(room, JOURNAL_FULL_BACKLOG);
    remove_file(w, "w7.a-000002.log");
    w->step++;
    break;
  default:
    if (journal_backlog_bytes(w->journal) == 95 * 1024) return;
    assert_true(journal_backlog_bytes(w->journal) == 50 * 1024);
    assert_int_equal(room, JOURNAL_HAS_ROOM);
    assert_int_equal(shedding(w), 0);
    finish(w);
  }
}

static void test_what_waits_for_the_dispatcher(void **state) {
  (void)state;
  struct world w;
  start(&w);
  add_file(&w, "w7.a-000001.log", 15 * 1024);
  add_file(&w, "w7.a-000002.log", 45 * 1024);
  add_file(&w, "w8.a-000001.log", 50 * 1024);
  add_file(&w, "w8.a-000002.log.new", 60 * 1024); // not one yet
  open_journal(&w, -1);
  w.on_tick = tick_backlog;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  stop(&w);
}

static void tick_growing(struct world *w) {
  if (w->decided < journal_ticket(w->journal)) return;
  if (journal_room(w->journal, &bounds) == JOURNAL_HAS_ROOM) {
    append(w, 25, 500);
    return;
  }
  assert_int_equal(journal_room(w->journal, &bounds), JOURNAL_FULL_BACKLOG);
  uint64_t backlog = journal_backlog_bytes(w->journal);
  assert_true(backlog > bounds.backlog_bytes && backlog < bounds.backlog_bytes + 2 * SEGMENT);
  finish(w);
}

static void test_its_own_files_count_as_they_fill(void **state) {
  (void)state;
  struct world w;
  start(&w);
  open_journal(&w, -1);
  w.on_tick = tick_growing;
  loop_timer_start(&w.tick, 1, 1);
  loop_run(w.loop);
  stop(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_waits_for_the_disk),
      cmocka_unit_test(test_what_waits_for_the_dispatcher),
      cmocka_unit_test(test_its_own_files_count_as_they_fill),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
