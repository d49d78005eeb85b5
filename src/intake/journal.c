// The journal as the worker's loop sees it: appends gather during a turn, its end hands them to the commit thread in one piece.
#include "wahook/intake.h"

#include <stdio.h>
#include <stdlib.h>

#include "intake/commit.h"
#include "intake/record.h"

// A turn with thousands of busy connections lasts long: the disk shall not wait for its end.
enum { JOURNAL_MAGIC = 0x4a524e4c, HAND_OVER_BYTES = 256 << 10 };

struct journal {
  uint32_t magic;
  struct journal_options options;
  struct commit *commit;
  struct loop_hook hook;
  struct loop_waker waker;
  struct buf filling;
  size_t filling_records;
  uint16_t boot_tag;                           // of this start of the machine
  int64_t filling_since_us;                    // first append
  int64_t filling_boot_us;                     // of all that is appended to it
  uint64_t appended;                           // ticket of the last append
  size_t handed_bytes;                         // with the commit thread
  unsigned handed;                             // batches
  int64_t handed_since_us[COMMIT_REPORTS_MAX]; // first appends of the latest
  bool waiting_full, backlog_full;
  bool closing, ended;
  void (*on_closed)(void *ctx);
  void *closed_ctx;
};

static uint32_t waiting_bit(const struct journal *journal) {
  return INTAKE_SHED_WAITING(atomic_load(&journal->options.slot->ordinal));
}

static uint32_t shedding(const struct journal *journal) {
  return journal->options.shm ? atomic_load_explicit(&journal->options.shm->broadcast->shedding, memory_order_relaxed) : 0;
}

static void set_shedding(struct journal *journal, uint32_t bit, bool on) {
  if (journal->options.shm == NULL) return;
  if (on)
    atomic_fetch_or(&journal->options.shm->broadcast->shedding, bit);
  else
    atomic_fetch_and(&journal->options.shm->broadcast->shedding, ~bit);
}

static void hand_over(struct journal *journal) {
  if (journal->filling_records == 0) return;
  size_t bytes = journal->filling.len;
  if (!commit_offer(journal->commit, &journal->filling, journal->filling_records, journal->appended)) return;
  journal->handed_bytes += bytes;
  journal->handed_since_us[journal->handed++ % COMMIT_REPORTS_MAX] = journal->filling_since_us;
  journal->filling_records = 0;
  buf_clear(&journal->filling);
}

static void on_turn(void *ctx) {
  struct journal *journal = ctx;
  ALWAYS(journal->magic == JOURNAL_MAGIC);
  hand_over(journal);
}

// On the commit thread.
static void on_report(void *ctx) {
  struct journal *journal = ctx;
  loop_waker_wake(&journal->waker);
}

static void count(struct journal *journal, const struct commit_report *report) {
  struct shm_slot *slot = journal->options.slot;
  if (report->result == ERR_OK) {
    metrics_add(slot, METRIC_INTAKE_RECORDS, report->records);
    metrics_add(slot, METRIC_INTAKE_BYTES, report->bytes);
    metrics_add(slot, METRIC_INTAKE_COMMITS, 1);
    metrics_observe(slot, HISTOGRAM_COMMIT, (uint64_t)report->took_us);
  } else {
    metrics_add(slot, METRIC_INTAKE_FAILURES, 1);
  }
}

static void on_waker_closed(void *ctx) {
  struct journal *journal = ctx;
  ALWAYS(journal->magic == JOURNAL_MAGIC);
  void (*on_done)(void *) = journal->on_closed;
  void *done_ctx = journal->closed_ctx;
  buf_free(&journal->filling);
  set_shedding(journal, waiting_bit(journal), false);
  journal->magic = 0;
  free(journal);
  if (on_done != NULL) on_done(done_ctx);
}

static void on_wake(void *ctx) {
  struct journal *journal = ctx;
  ALWAYS(journal->magic == JOURNAL_MAGIC);
  struct commit_report reports[COMMIT_REPORTS_MAX];
  bool ended;
  unsigned n = commit_collect(journal->commit, reports, &ended);
  hand_over(journal); // first: the disk works while the callers are told
  for (unsigned i = 0; i < n; i++) {
    journal->handed_bytes -= reports[i].bytes;
    count(journal, &reports[i]);
    journal->options.on_commit(journal->options.ctx, reports[i].upto, reports[i].result);
  }
  if (!journal->closing || journal->ended) return;
  if (ended) {
    journal->ended = true;
    commit_free(journal->commit);
    journal->waker.on_closed = on_waker_closed;
    loop_waker_close(&journal->waker);
  } else if (journal->filling_records == 0) {
    commit_stop(journal->commit);
  }
}

enum err journal_open(const struct journal_options *options, struct journal **out, struct why *why) {
  ALWAYS(options->loop != NULL && options->slot != NULL && options->directory != NULL && options->on_commit != NULL);
  struct journal *journal = xcalloc(1, sizeof *journal);
  journal->magic = JOURNAL_MAGIC;
  journal->options = *options;
  journal->boot_tag = (uint16_t)clock_boot_id();
  // Time and chance make the name new for ever: the spool remembers positions by file name, and a worker of the same ordinal comes again.
  unsigned ordinal = atomic_load(&options->slot->ordinal);
  char writer[48];
  snprintf(writer, sizeof writer, "w%u.%014llx%04x", ordinal, (unsigned long long)clock_wall_us(), (unsigned)(random_u64() & 0xffff));

  struct commit_options commit_options = {
      .directory = options->directory,
      .writer = writer,
      .segment_bytes = options->segment_bytes,
      .sync = options->sync,
      .wake_fd = options->wake_fd,
      .shm = options->shm,
      .refused_bit = 1u << (ordinal % 32),
      .on_report = on_report,
      .ctx = journal,
  };
  enum err e = commit_start(&commit_options, &journal->commit, why);
  if (e != ERR_OK) {
    free(journal);
    return e;
  }
  // The thread reports only after a first batch, so the waker is there in time.
  loop_waker_init(options->loop, &journal->waker, on_wake, journal);
  set_shedding(journal, waiting_bit(journal), false); // a predecessor may have died with it
  journal->backlog_full = shedding(journal) & INTAKE_SHED_BACKLOG;
  journal->hook = (struct loop_hook){.on_turn = on_turn, .ctx = journal};
  loop_hook_add(options->loop, &journal->hook);
  *out = journal;
  return ERR_OK;
}

void journal_append(struct journal *journal, const struct intake_event *event) {
  ALWAYS(journal->magic == JOURNAL_MAGIC && !journal->closing);
  struct intake_event stamped = *event;
  if (journal->filling_records == 0) journal->filling_boot_us = clock_boot_us(); // some milliseconds do not matter
  stamped.boot_us = journal->filling_boot_us;
  stamped.boot_tag = journal->boot_tag;
  size_t size = intake_record_size(&stamped);
  intake_record_encode(&stamped, buf_reserve(&journal->filling, size));
  journal->filling.len += size;
  if (journal->filling_records++ == 0) journal->filling_since_us = clock_mono_us(); // the turn may have begun long ago
  journal->appended++;
}

uint64_t journal_ticket(struct journal *journal) {
  if (journal->filling.len >= HAND_OVER_BYTES) hand_over(journal);
  return journal->appended;
}

size_t journal_waiting_bytes(const struct journal *journal) {
  return journal->filling.len + journal->handed_bytes;
}

int64_t journal_waiting_us(const struct journal *journal) {
  unsigned decided = commit_decided(journal->commit); // also what this loop was not told of yet: it waits for us, not for the disk
  int64_t since_us;
  if (decided != journal->handed)
    since_us = journal->handed_since_us[decided % COMMIT_REPORTS_MAX];
  else if (journal->filling_records)
    since_us = journal->filling_since_us;
  else
    return 0;
  return loop_now_us(journal->options.loop) - since_us;
}

uint64_t journal_backlog_bytes(const struct journal *journal) {
  return commit_backlog_bytes(journal->commit);
}

enum journal_room journal_room(struct journal *journal, const struct journal_bounds *bounds) {
  ALWAYS(journal->magic == JOURNAL_MAGIC);
  bool waiting = journal_waiting_bytes(journal) >= bounds->waiting_bytes || journal_waiting_us(journal) > bounds->waiting_us;
  if (waiting != journal->waiting_full) set_shedding(journal, waiting_bit(journal), waiting);
  journal->waiting_full = waiting;
  // All workers see the same files: whoever finds that there is room again says so for all.
  uint64_t most = bounds->backlog_bytes ? bounds->backlog_bytes : UINT64_MAX;
  bool backlog = journal_backlog_bytes(journal) > (journal->backlog_full ? most - most / 10 : most);
  if (backlog != journal->backlog_full) set_shedding(journal, INTAKE_SHED_BACKLOG, backlog);
  journal->backlog_full = backlog;
  if (waiting) return JOURNAL_FULL_WAITING;
  if (backlog) return JOURNAL_FULL_BACKLOG;
  return shedding(journal) & INTAKE_SHED_JOBS ? JOURNAL_FULL_JOBS : JOURNAL_HAS_ROOM;
}

bool journal_healthy(const struct journal *journal) {
  return commit_healthy(journal->commit);
}

void journal_close(struct journal *journal, void (*on_done)(void *ctx), void *ctx) {
  ALWAYS(journal->magic == JOURNAL_MAGIC && !journal->closing);
  journal->closing = true;
  journal->on_closed = on_done;
  journal->closed_ctx = ctx;
  loop_hook_remove(journal->options.loop, &journal->hook);
  hand_over(journal);
  loop_waker_wake(&journal->waker);
}
