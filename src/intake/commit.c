// The commit thread (worker): takes a batch, writes and flushes it, reports; prepares segments; probes a disk that refused.
//
//   loop: append … append, turn's end ──offer──▶ queued ──▶ pwrite + fdatasync ──report──▶ loop: on_commit
//                                                              │ failed: the batch is lost to its callers (503), never written again
//                                                              ▼
//                                       a new segment at once ──ok──▶ healthy      refused ──▶ every second another try
//
// After a failed fsync the kernel may have dropped the dirty pages and reports success the next time, so the same data in the same file is
// never tried again.
#include "intake/commit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "intake/segment.h"

enum { COMMIT_MAGIC = 0x434f4d54, PROBE_US = 1000 * 1000, BUFFER_KEEP_BYTES = 8 << 20 };

struct commit {
  uint32_t magic;
  struct commit_options options;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t changed;

  // under the lock
  struct buf queued;
  size_t queued_records;
  uint64_t queued_upto;
  bool has_queued, stop, ended;
  struct commit_report reports[COMMIT_REPORTS_MAX];
  unsigned report_count;

  _Atomic bool healthy;
  _Atomic unsigned decided;
  _Atomic uint64_t backlog_bytes;

  // the thread's own
  struct segment current, next; // next: prepared while current is in use
  unsigned number;              // of the last segment made
  int64_t probe_at_us;          // unhealthy: next try
  int64_t prepare_at_us;        // making `next` failed: not before
  int64_t backlog_at_us;        // some backlog: next look
  enum err refusal;             // why it is unhealthy
};

static void set_healthy(struct commit *commit, bool healthy) {
  atomic_store(&commit->healthy, healthy);
  if (commit->options.shm == NULL) return;
  _Atomic uint32_t *refused = &commit->options.shm->broadcast->intake_refused;
  if (healthy)
    atomic_fetch_and(refused, ~commit->options.refused_bit);
  else
    atomic_fetch_or(refused, commit->options.refused_bit);
}

static enum err make_segment(struct commit *commit, struct segment *out, uint64_t bytes) {
  const struct commit_options *o = &commit->options;
  return segment_create(out, o->directory, o->writer, ++commit->number, bytes, o->sync);
}

// A new segment and a flushed write in it prove that the disk takes data again.
static enum err probe(struct commit *commit) {
  enum err e = make_segment(commit, &commit->current, commit->options.segment_bytes);
  if (e != ERR_OK) return e;
  bool more;
  e = segment_zero_step(&commit->current, commit->options.sync, &more);
  if (e != ERR_OK) segment_close(&commit->current);
  return e;
}

static void try_again(struct commit *commit) {
  enum err e = probe(commit);
  if (e != ERR_OK) commit->refusal = e;
  commit->probe_at_us = clock_mono_us() + PROBE_US;
  set_healthy(commit, e == ERR_OK);
}

static void look_at_backlog(struct commit *commit) {
  atomic_store(&commit->backlog_bytes, segment_closed_bytes(commit->options.directory));
  commit->backlog_at_us = clock_mono_us() + PROBE_US;
}

static enum err rotate(struct commit *commit, size_t needed) {
  segment_close(&commit->current);
  look_at_backlog(commit);
  if (commit->next.fd >= 0 && commit->next.size >= needed) {
    commit->current = commit->next;
    commit->next.fd = -1;
    return ERR_OK;
  }
  // Readers take a writer's files by number: one that was prepared and is too small must not be written after its successor.
  segment_close(&commit->next);
  uint64_t bytes = commit->options.segment_bytes;
  return make_segment(commit, &commit->current, bytes > needed ? bytes : needed);
}

static enum err write_batch(struct commit *commit, struct span bytes) {
  if (!atomic_load(&commit->healthy)) return commit->refusal;
  enum err e = ERR_OK;
  if (commit->current.used + bytes.len > commit->current.size) e = rotate(commit, bytes.len);
  if (e == ERR_OK) e = segment_append(&commit->current, bytes, commit->options.sync);
  if (e == ERR_OK) return ERR_OK;

  segment_close(&commit->current);
  segment_close(&commit->next); // prepared on the same disk: proves nothing
  try_again(commit);
  return e;
}

// The dispatcher announces its sleep, then looks once more; we publish, then look whether it sleeps: one of the two sees the other.
static void wake_dispatcher(const struct commit *commit) {
  if (commit->options.wake_fd < 0) return;
  if (commit->options.shm != NULL && atomic_exchange(&commit->options.shm->broadcast->dispatcher_idle, 0) == 0) return;
  uint64_t one = 1;
  ssize_t n = write(commit->options.wake_fd, &one, sizeof one);
  (void)n; // a full counter wakes it as well
}

// Whether there is more of it to do. Over zeroes that are there already a flush has only data to write, not where it lies. What is never
// flushed is better written once.
static bool zero_ahead(const struct commit *commit, struct segment *segment) {
  bool more = false;
  if (!commit->options.sync) return false;
  if (segment_zero_step(segment, true, &more) != ERR_OK) segment->zeroed = segment->size;
  return more;
}

// One small piece of work that may be done while no batch waits; false when there is none.
static bool prepare_step(struct commit *commit) {
  if (!atomic_load(&commit->healthy)) return false;
  if (zero_ahead(commit, &commit->current)) return true;
  if (commit->current.used < commit->current.size / 2) return false;
  if (commit->next.fd < 0) {
    int64_t now = clock_mono_us();
    if (now < commit->prepare_at_us) return false;
    commit->prepare_at_us = now + PROBE_US;
    return make_segment(commit, &commit->next, commit->options.segment_bytes) == ERR_OK;
  }
  return zero_ahead(commit, &commit->next);
}

// Waits for a batch or the end, preparing segments meanwhile. Called and left with the lock held.
static void wait_for_work(struct commit *commit) {
  bool idle = false;
  while (!commit->has_queued && !commit->stop) {
    if (idle) {
      int64_t until = clock_mono_us() + PROBE_US;
      struct timespec at = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};
      pthread_cond_timedwait(&commit->changed, &commit->lock, &at);
      if (commit->has_queued || commit->stop) return;
    }
    pthread_mutex_unlock(&commit->lock);
    if (!atomic_load(&commit->healthy) && clock_mono_us() >= commit->probe_at_us) try_again(commit);
    if (atomic_load(&commit->backlog_bytes) && clock_mono_us() >= commit->backlog_at_us) look_at_backlog(commit);
    idle = !prepare_step(commit);
    pthread_mutex_lock(&commit->lock);
  }
}

static void add_report(struct commit *commit, const struct commit_report *report) {
  // commit_offer() leaves room for the batch that flies and the one that is queued.
  ALWAYS(commit->report_count < COMMIT_REPORTS_MAX);
  commit->reports[commit->report_count++] = *report;
  atomic_fetch_add(&commit->decided, 1);
}

static void *run(void *arg) {
  struct commit *commit = arg;
  ALWAYS(commit->magic == COMMIT_MAGIC);
  struct buf flying = {0};
  pthread_mutex_lock(&commit->lock);
  for (;;) {
    wait_for_work(commit);
    if (!commit->has_queued) break;
    struct buf emptied = flying;
    flying = commit->queued;
    commit->queued = emptied;
    struct commit_report report = {.upto = commit->queued_upto, .records = commit->queued_records, .bytes = flying.len};
    commit->has_queued = false;
    pthread_mutex_unlock(&commit->lock);

    if (!atomic_load(&commit->healthy) && clock_mono_us() >= commit->probe_at_us) try_again(commit);
    int64_t start = clock_mono_us();
    report.result = write_batch(commit, buf_span(&flying));
    report.took_us = clock_mono_us() - start;
    if (report.result == ERR_OK) wake_dispatcher(commit);
    if (flying.cap > BUFFER_KEEP_BYTES) buf_free(&flying);
    buf_clear(&flying);

    pthread_mutex_lock(&commit->lock);
    add_report(commit, &report);
    commit->options.on_report(commit->options.ctx);
    if (!commit->has_queued) {
      pthread_mutex_unlock(&commit->lock);
      prepare_step(commit);
      pthread_mutex_lock(&commit->lock);
    }
  }
  commit->ended = true;
  commit->options.on_report(commit->options.ctx);
  pthread_mutex_unlock(&commit->lock);
  buf_free(&flying);
  return NULL;
}

// The loop's thread takes the process' signals; SIGXFSZ stays blocked here, so that a file size limit is an error like a full disk.
static int start_thread(struct commit *commit) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&commit->thread, NULL, run, commit);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

static void release(struct commit *commit) {
  free((char *)(uintptr_t)commit->options.directory);
  free((char *)(uintptr_t)commit->options.writer);
  commit->magic = 0;
  free(commit);
}

enum err commit_start(const struct commit_options *options, struct commit **out, struct why *why) {
  struct commit *commit = xcalloc(1, sizeof *commit);
  commit->magic = COMMIT_MAGIC;
  commit->options = *options;
  commit->options.directory = xstrdup(options->directory);
  commit->options.writer = xstrdup(options->writer);
  commit->current.fd = commit->next.fd = -1;
  enum err e = make_segment(commit, &commit->current, options->segment_bytes);
  if (e == ERR_DENIED || (e == ERR_IO && (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG))) {
    why_set(why, "intake journal in %s: %s (the directory must be writable for the worker's user)", options->directory, strerror(errno));
    release(commit);
    return e;
  }
  commit->refusal = e;
  commit->probe_at_us = clock_mono_us() + PROBE_US;
  set_healthy(commit, e == ERR_OK);
  look_at_backlog(commit);

  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&commit->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_init(&commit->lock, NULL);
  int failed = start_thread(commit);
  if (failed != 0) die("commit thread: %s", strerror(failed));
  *out = commit;
  return ERR_OK;
}

bool commit_offer(struct commit *commit, struct buf *bytes, size_t records, uint64_t upto) {
  pthread_mutex_lock(&commit->lock);
  bool taken = !commit->has_queued && commit->report_count < COMMIT_REPORTS_MAX - 2;
  if (taken) {
    struct buf emptied = commit->queued;
    commit->queued = *bytes;
    *bytes = emptied;
    commit->queued_records = records;
    commit->queued_upto = upto;
    commit->has_queued = true;
    pthread_cond_signal(&commit->changed);
  }
  pthread_mutex_unlock(&commit->lock);
  return taken;
}

unsigned commit_collect(struct commit *commit, struct commit_report out[static COMMIT_REPORTS_MAX], bool *ended) {
  pthread_mutex_lock(&commit->lock);
  unsigned count = commit->report_count;
  memcpy(out, commit->reports, count * sizeof out[0]);
  commit->report_count = 0;
  *ended = commit->ended;
  pthread_mutex_unlock(&commit->lock);
  return count;
}

bool commit_healthy(const struct commit *commit) {
  return atomic_load(&commit->healthy);
}

unsigned commit_decided(const struct commit *commit) {
  return atomic_load(&commit->decided);
}

uint64_t commit_backlog_bytes(const struct commit *commit) {
  return atomic_load_explicit(&commit->backlog_bytes, memory_order_relaxed);
}

void commit_stop(struct commit *commit) {
  pthread_mutex_lock(&commit->lock);
  commit->stop = true;
  pthread_cond_signal(&commit->changed);
  pthread_mutex_unlock(&commit->lock);
}

void commit_free(struct commit *commit) {
  pthread_join(commit->thread, NULL);
  segment_close(&commit->current);
  segment_close(&commit->next);
  set_healthy(commit, true); // a worker that is gone refuses nothing
  buf_free(&commit->queued);
  pthread_cond_destroy(&commit->changed);
  pthread_mutex_destroy(&commit->lock);
  release(commit);
}
