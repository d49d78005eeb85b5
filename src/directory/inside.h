// What directory.c and keep.c share.
#ifndef WAHOOK_DIRECTORY_INSIDE_H
#define WAHOOK_DIRECTORY_INSIDE_H

#include "breaker.h"
#include "cache.h"
#include "flight.h"
#include "store.h"
#include "wahook/log.h"
#include "watch.h"

#define DIRECTORY_MAGIC 0x44495245u

// A warm-up that waits or runs.
struct warm {
  unsigned max;
  unsigned again; // times that it ran and was outdated before it ended
  void (*on_done)(void *ctx, int count);
  void *ctx;
  struct warm *next;
};

// What other processes are told of this one's store (publish.c).
struct published {
  int64_t next_us;
  struct store_stats own;   // of a store that keeps no figures
  struct store_stats told;  // the figures that are in the block already
  struct store_state state; // how the store answers
  uint64_t opened_told;     // of the breaker
};

struct directory {
  uint32_t magic;
  struct loop *loop;
  struct shm *shm;       // may be NULL
  struct shm_slot *slot; // may be NULL
  struct store *store;
  uint64_t store_id; // which one: its address, hashed
  struct cache *cache;
  struct flights *flights;
  struct watch *watch;       // NULL: not here, or not needed
  struct business *standard; // the default business, NULL for none
  struct shm_reader reader;
  struct loop_hook hook;
  struct loop_timer timer;
  int64_t ttl_ms, negative_ttl_us;
  size_t capacity;
  uint64_t hits, misses, evictions_told;
  // the store's health, as this process sees it
  bool failing;    // the last question failed
  bool complained; // and it was said
  struct breaker breaker;
  int64_t complain_us;
  int64_t slow_us, configured_slow_us; // -1: nothing is slow
  struct published published;
  // housekeeping (keep.c): one job at a time
  bool keeping, poll_due, version_known, warm_outdated;
  int64_t polled_us, kept_since_us, overdue_us; // the last poll, the job that is out, the last look for those that hang
  uint64_t version;
  struct warm *warms;
  directory_listed *on_retentions; // NULL: nobody asks for them
  void *retentions_ctx;
  int64_t retentions_us;     // since when
  uint64_t retentions_asked; // how often they were
  struct log_limit retentions_limit;
  uint64_t changes;
  // the end: freed when nothing is out any more
  bool closed, timer_closed, flights_idle;
};

// A question to the store ended: counts it, and tells the breaker.
struct asked {
  enum store_query query;
  enum err err;
  const char *why;
  int64_t took_us;
  uint64_t documents;
};
void directory__asked(struct directory *d, const struct asked *asked);
// Questions hang: as bad as an error.
void directory__overdue(struct directory *d, unsigned questions);
void directory__free_if_idle(struct directory *d);

// Several times a second: who waits too long, what has changed, warm-ups, probes.
void keep__tick(struct directory *d);
void keep__next(struct directory *d);
void keep__close(struct directory *d);

// Counts a question of a store that keeps no figures.
void publish__asked(struct directory *d, const struct asked *asked);
// At most once a second; `last` at once.
void publish__tick(struct directory *d, bool last);

#endif
