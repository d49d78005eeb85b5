// The commit thread of a journal: one batch is written and flushed while the next one collects.
#ifndef INTAKE_COMMIT_H
#define INTAKE_COMMIT_H

#include "wahook/intake.h"

struct commit;
struct commit_options {
  const char *directory, *writer; // copied
  uint64_t segment_bytes;
  bool sync;
  int wake_fd;
  struct shm *shm;
  uint32_t refused_bit;         // in broadcast->intake_refused
  void (*on_report)(void *ctx); // on the commit thread: a report waits, or the thread ends
  void *ctx;
};

// What became of one batch.
struct commit_report {
  uint64_t upto;
  enum err result;
  size_t records, bytes;
  int64_t took_us;
};

// A directory that cannot be made or written is an error; a full or failing disk is not: the thread starts refusing and probes.
enum err commit_start(const struct commit_options *options, struct commit **out, struct why *why) MUST_CHECK;
// Hands a batch over by swapping `bytes` with an empty buffer; false while another batch still waits for the thread.
bool commit_offer(struct commit *commit, struct buf *bytes, size_t records, uint64_t upto);
// Takes reports; *ended: the thread will touch nothing any more.
#define COMMIT_REPORTS_MAX 4
unsigned commit_collect(struct commit *commit, struct commit_report out[static COMMIT_REPORTS_MAX], bool *ended);
bool commit_healthy(const struct commit *commit);
unsigned commit_decided(const struct commit *commit); // batches, in the order of their offer; their reports may wait to be collected
// Bytes of full journal files, of all writers, that the dispatcher has not taken: looked up with each new file, and each second while there
// are some.
uint64_t commit_backlog_bytes(const struct commit *commit);
// Ends the thread after what was offered; the last on_report follows.
void commit_stop(struct commit *commit);
void commit_free(struct commit *commit); // after it ended

#endif
