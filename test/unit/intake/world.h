// A journal on a loop of its own with a tick that drives a test, shared by the tests of the writer.
#ifndef TEST_INTAKE_WORLD_H
#define TEST_INTAKE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

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

static inline void on_commit(void *ctx, uint64_t upto, enum err result) {
  struct world *w = ctx;
  assert_true(upto > w->decided);
  w->decided = upto;
  w->last = result;
  if (result == ERR_OK)
    w->ok++;
  else
    w->failed++;
}

static inline void on_closed(void *ctx) {
  struct world *w = ctx;
  w->closed = true;
  loop_stop(w->loop);
}

static inline void on_time(void *ctx) {
  struct world *w = ctx;
  w->on_tick(w);
}

static inline void finish(struct world *w) {
  loop_timer_stop(&w->tick);
  loop_timer_close(&w->tick, NULL);
  journal_close(w->journal, on_closed, w);
}

static inline void open_journal(struct world *w, int wake_fd) {
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

static inline void start(struct world *w) {
  struct why why;
  memset(w, 0, sizeof *w);
  scratch_make(&w->scratch);
  assert_int_equal(shm_create(&w->shm, 2, 65536, &why), ERR_OK);
  w->loop = loop_new(0);
  loop_timer_init(w->loop, &w->tick, on_time, w);
}

static inline void stop(struct world *w) {
  loop_free(w->loop);
  shm_detach(&w->shm);
  scratch_remove(&w->scratch);
}

static inline void append(struct world *w, unsigned n, size_t raw_bytes) {
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
static inline unsigned read_all(const struct world *w) {
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

#endif
