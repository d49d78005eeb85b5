// The journal as the worker's loop sees it: appends gather during a turn, its end hands them to the commit thread in one piece.
#include "wahook/intake.h"

#include <stdio.h>
#include <stdlib.h>

#include "intake/commit.h"
#include "intake/record.h"

enum { JOURNAL_MAGIC = 0x4a524e4c };

struct journal {
  uint32_t magic;
  struct journal_options options;
  struct commit *commit;
  struct loop_hook hook;
  struct loop_waker waker;
  struct buf filling;
  size_t filling_records;
  uint16_t boot_tag;   // of this start of the machine
  uint64_t appended;   // ticket of the last append
  size_t handed_bytes; // with the commit thread
  bool closing, ended;
  void (*on_closed)(void *ctx);
  void *closed_ctx;
};

static void hand_over(struct journal *journal) {
  if (journal->filling_records == 0) return;
  size_t bytes = journal->filling.len;
  if (!commit_offer(journal->commit, &journal->filling, journal->filling_records, journal->appended)) return;
  journal->handed_bytes += bytes;
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
  journal->hook = (struct loop_hook){.on_turn = on_turn, .ctx = journal};
  loop_hook_add(options->loop, &journal->hook);
  *out = journal;
  return ERR_OK;
}

void journal_append(struct journal *journal, const struct intake_event *event) {
  ALWAYS(journal->magic == JOURNAL_MAGIC && !journal->closing);
  struct intake_event stamped = *event;
  stamped.boot_us = clock_boot_us();
  stamped.boot_tag = journal->boot_tag;
  size_t size = intake_record_size(&stamped);
  intake_record_encode(&stamped, buf_reserve(&journal->filling, size));
  journal->filling.len += size;
  journal->filling_records++;
  journal->appended++;
}

uint64_t journal_ticket(struct journal *journal) {
  return journal->appended;
}

size_t journal_waiting_bytes(const struct journal *journal) {
  return journal->filling.len + journal->handed_bytes;
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
