// Shared memory of one wahookd: a block per process (counters, heartbeat, stage), the broadcast area, and a region for the limiter.
// The master makes it (memfd), children inherit the descriptor. Nothing secret is kept in it.
#ifndef WAHOOK_SHM_H
#define WAHOOK_SHM_H

#include <stdatomic.h>
#include <sys/types.h>

#include "wahook/base.h"

#define SHM_COUNTERS   256  // counters and gauges per process
#define SHM_HISTOGRAMS 20   // histograms per process
#define SHM_BUCKETS    256  // buckets per histogram
#define SHM_RING       1024 // invalidations kept for processes that lag behind
#define SHM_KEY_MAX    96   // bytes of an invalidation's key
#define SHM_PANIC_MAX  200
#define SHM_THRESHOLDS 8     // that an operator may change while the daemon runs
#define SHM_NOTES      16    // notes per process
#define SHM_NOTE_MAX   256   // bytes of a note
#define SHM_UNKNOWN    65536 // keys that the store was asked for in vain

enum shm_role { SHM_ROLE_NONE, SHM_ROLE_MASTER, SHM_ROLE_WORKER, SHM_ROLE_DISPATCHER };
enum shm_state { SHM_EMPTY, SHM_STARTING, SHM_READY, SHM_DRAINING, SHM_DEAD, SHM_BACKOFF };
const char *shm_role_name(enum shm_role role);
const char *shm_state_name(enum shm_state state);

// One process' block. Only that process writes counters (relaxed atomics, single writer); the master writes identity and state.
// Counters live on when the block is given to a successor, so sums never go backwards; gauges (see metrics) are zeroed then.
struct shm_slot {
  _Alignas(64) _Atomic uint32_t role; // enum shm_role
  _Atomic uint32_t state;             // enum shm_state
  _Atomic uint32_t ordinal;           // worker 0, 1, ...
  _Atomic uint32_t generation;
  _Atomic int32_t pid;
  _Atomic int64_t started_us;    // monotonic
  _Atomic int64_t heartbeat_us;  // monotonic, written about four times a second by its loop
  _Atomic uint32_t restarts;     // successors in this block after a crash
  _Atomic uint32_t deaths;       // in a row, without a good life in between; beyond the first its successor waits
  _Atomic int32_t master_pid;    // whose child it is: during an upgrade there are two masters
  _Atomic int64_t next_start_us; // monotonic; SHM_BACKOFF: when its successor starts
  char stage[32];                // what it was doing ("webhook.signature"), for the obituary; torn reads are harmless
  char request[40];              // request id or job id it was doing it for
  char panic[SHM_PANIC_MAX];     // text of die()
  _Alignas(64) _Atomic uint64_t counters[SHM_COUNTERS];
  _Alignas(64) _Atomic uint64_t histograms[SHM_HISTOGRAMS][SHM_BUCKETS];
  struct {
    _Atomic uint64_t sequence; // odd while it is written, 0: none yet
    _Atomic uint64_t words[SHM_NOTE_MAX / 8];
  } notes[SHM_NOTES]; // see shm_note(); they live on like counters
};

// What one process tells all: read on every turn of a loop, so it is a few cache lines.
struct shm_broadcast {
  _Alignas(64) _Atomic uint64_t cache_epoch; // grows: everybody clears the business cache
  _Atomic uint64_t warmup_epoch;             // grows: everybody warms up
  _Atomic uint64_t ring_head;                // invalidations published so far
  _Atomic uint64_t reopen_epoch;             // grows: everybody reopens the logs
  _Atomic uint32_t intake_refused;           // workers that cannot write their journal now (disk full, I/O error)
  _Atomic uint32_t dispatcher_idle;          // 1: the dispatcher sleeps and wants a wake-up for new events
  _Atomic int64_t directory_failed_us;       // monotonic time of the store's last failure, 0 = none since its last success
  _Atomic int64_t directory_ok_us;           // monotonic time of the store's last success
  _Atomic uint64_t backlog;                  // jobs that wait, as the dispatcher counts them
  _Alignas(64) struct {
    _Atomic uint64_t sequence; // ring position + 1 once the entry is whole
    char key[SHM_KEY_MAX];
  } ring[SHM_RING];
  // Why deliveries are refused early (503), 0 while they are taken: bit 0 too many jobs wait in the spool (the dispatcher sets it), bit 1
  // too much journal waits for the dispatcher (the workers), bit 8 + ordinal % 24 the disk is too slow for that worker. INTAKE_SHED_* are
  // the names.
  _Alignas(64) _Atomic uint32_t shedding;
  _Atomic uint64_t thresholds[SHM_THRESHOLDS]; // see shm_threshold()
  // See shm_unknown_add(). What was asked before unknown_from_us may be known by now.
  _Alignas(64) _Atomic int64_t unknown_from_us;
  struct {
    _Atomic uint64_t id;
    _Atomic int64_t asked_us; // 0: none
  } unknown[SHM_UNKNOWN];
};

struct shm {
  uint32_t magic;
  int fd;
  size_t size;
  unsigned slot_count;
  struct shm_slot *slots;
  struct shm_broadcast *broadcast;
  void *limiter; // limiter_bytes, zeroed at creation, cache-line aligned
  size_t limiter_bytes;
  int64_t *created_us; // monotonic time of creation
  uint64_t *tag;       // what the numbers of counters and histograms mean; its maker's to set and to compare (0 at creation)
};

// Makes the segment; descriptor with close-on-exec set (spawn passes it on). Master only.
enum err shm_create(struct shm *shm, unsigned slot_count, size_t limiter_bytes, struct why *why) MUST_CHECK;
// Maps an inherited segment; ERR_VERSION when another build laid it out differently.
enum err shm_attach(struct shm *shm, int fd, struct why *why) MUST_CHECK;
void shm_detach(struct shm *shm);

static inline void shm_count(struct shm_slot *slot, unsigned counter, uint64_t n) {
  _Atomic uint64_t *c = &slot->counters[counter];
  atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline void shm_gauge(struct shm_slot *slot, unsigned counter, uint64_t value) {
  atomic_store_explicit(&slot->counters[counter], value, memory_order_relaxed);
}
// The last thing the process was at; `stage` must be a string literal of at most 31 bytes.
void shm_stage(struct shm_slot *slot, const char *stage, const char *request);
// Of the same request. Inline, since a worker's steps tell: a literal's length is known.
static inline void shm_next_stage(struct shm_slot *slot, const char *stage) {
  memcpy(slot->stage, stage, strlen(stage) + 1);
}
// What a process tells that is no number, such as a sentence: written as a whole by that process only, read by any.
void shm_note(struct shm_slot *slot, unsigned note, const void *data, size_t size);
// False: none was written, or its writer died in the middle of it.
bool shm_note_read(const struct shm_slot *slot, unsigned note, void *out, size_t size);
// Routes die()'s text into the slot.
void shm_catch_panic(struct shm_slot *slot);

// Broadcast, writer's side.
void shm_clear_caches(struct shm *shm);
void shm_warm_caches(struct shm *shm);
// Publishes one key ("phone:123" or a glob "phone:12*"); ERR_TOO_LARGE beyond SHM_KEY_MAX-1 bytes, ERR_FORMAT with a NUL.
enum err shm_invalidate(struct shm *shm, struct span key) MUST_CHECK;

// Keys that the store has nothing for, so that one process' question serves all. `id` is 64 well mixed bits of the key, `asked_us` the
// monotonic time at which the question was put. A newer one may take an older one's place.
void shm_unknown_add(struct shm *shm, uint64_t id, int64_t asked_us);
// When it was asked; 0: it was not, or something has changed since.
int64_t shm_unknown_asked(const struct shm *shm, uint64_t id);
void shm_unknown_forget(struct shm *shm); // all that was asked until now

// A threshold that an operator has set, for all processes until the next start; whose number means what is the setters' matter. Negative:
// none is set, what is configured counts.
static inline int64_t shm_threshold(const struct shm *shm, unsigned threshold) {
  return (int64_t)atomic_load_explicit(&shm->broadcast->thresholds[threshold], memory_order_relaxed) - 1;
}
static inline void shm_set_threshold(struct shm *shm, unsigned threshold, int64_t value) {
  atomic_store_explicit(&shm->broadcast->thresholds[threshold], (uint64_t)(value < 0 ? -1 : value) + 1, memory_order_relaxed);
}

// Reader's side: a position per process. Calls on_key for each new invalidation, on_clear when the epoch grew or the ring was lapped,
// on_warm when a warm-up was asked for. Costs three loads when nothing is new.
struct shm_reader {
  uint64_t cache_epoch, warmup_epoch, ring_tail;
  unsigned hole_polls; // polls that met the same entry half written
};
void shm_reader_start(struct shm_reader *reader, const struct shm *shm);
struct shm_events {
  void (*on_clear)(void *ctx);
  void (*on_warm)(void *ctx);
  void (*on_key)(void *ctx, struct span key);
};
void shm_reader_poll(struct shm_reader *reader, const struct shm *shm, const struct shm_events *events, void *ctx);

#endif
