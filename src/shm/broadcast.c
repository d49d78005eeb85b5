// Messages to all processes without a channel to each: epochs, and a ring of invalidated keys. Any process writes, every process reads.
#include "wahook/shm.h"

#include <string.h>

// An entry that is still not whole after so many polls had a writer that died between its two steps.
#define HOLE_POLLS 3

void shm_clear_caches(struct shm *shm) {
  atomic_fetch_add(&shm->broadcast->cache_epoch, 1);
}

void shm_warm_caches(struct shm *shm) {
  atomic_fetch_add(&shm->broadcast->warmup_epoch, 1);
}

// A position is taken by fetch_add, so writers never wait for each other. The entry works like a sequence lock: 0 while it is written,
// position + 1 once it is whole; a reader checks it before and after copying.
enum err shm_invalidate(struct shm *shm, struct span key) {
  if (key.len > SHM_KEY_MAX - 1) return ERR_TOO_LARGE;
  if (memchr(key.ptr, '\0', key.len)) return ERR_FORMAT;
  struct shm_broadcast *b = shm->broadcast;
  uint64_t position = atomic_fetch_add(&b->ring_head, 1);
  char *to = b->ring[position % SHM_RING].key;
  atomic_store(&b->ring[position % SHM_RING].sequence, 0);
  for (size_t i = 0; i < key.len; i++)
    __atomic_store_n(&to[i], key.ptr[i], __ATOMIC_RELEASE);
  __atomic_store_n(&to[key.len], '\0', __ATOMIC_RELEASE);
  atomic_store_explicit(&b->ring[position % SHM_RING].sequence, position + 1, memory_order_release);
  return ERR_OK;
}

void shm_reader_start(struct shm_reader *reader, const struct shm *shm) {
  struct shm_broadcast *b = shm->broadcast;
  *reader = (struct shm_reader){
      .cache_epoch = atomic_load(&b->cache_epoch),
      .warmup_epoch = atomic_load(&b->warmup_epoch),
      .ring_tail = atomic_load(&b->ring_head),
  };
}

static bool copy_entry(struct shm_broadcast *b, uint64_t position, char key[static SHM_KEY_MAX]) {
  _Atomic uint64_t *sequence = &b->ring[position % SHM_RING].sequence;
  if (atomic_load_explicit(sequence, memory_order_acquire) != position + 1) return false;
  const char *from = b->ring[position % SHM_RING].key;
  size_t i = 0;
  do {
    key[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
  } while (key[i] != '\0' && ++i < SHM_KEY_MAX - 1);
  key[SHM_KEY_MAX - 1] = '\0';
  return atomic_load_explicit(sequence, memory_order_relaxed) == position + 1;
}

// Delivers the keys up to `head`. True when some cannot be had any more and only forgetting everything is safe.
static bool read_ring(struct shm_reader *reader, struct shm_broadcast *b, uint64_t head, const struct shm_events *events, void *ctx) {
  if (head - reader->ring_tail > SHM_RING) return true;
  while (reader->ring_tail != head) {
    char key[SHM_KEY_MAX];
    if (!copy_entry(b, reader->ring_tail, key)) {
      if (atomic_load(&b->ring_head) - reader->ring_tail > SHM_RING) return true; // lapped while reading
      return ++reader->hole_polls >= HOLE_POLLS;
    }
    reader->hole_polls = 0;
    reader->ring_tail++;
    if (events->on_key) events->on_key(ctx, span_of(key));
  }
  return false;
}

void shm_reader_poll(struct shm_reader *reader, const struct shm *shm, const struct shm_events *events, void *ctx) {
  struct shm_broadcast *b = shm->broadcast;
  uint64_t cache = atomic_load_explicit(&b->cache_epoch, memory_order_acquire);
  uint64_t warmup = atomic_load_explicit(&b->warmup_epoch, memory_order_acquire);
  uint64_t head = atomic_load_explicit(&b->ring_head, memory_order_acquire);
  bool clear = cache != reader->cache_epoch;
  reader->cache_epoch = cache;
  if (head != reader->ring_tail) {
    if (clear || read_ring(reader, b, head, events, ctx)) {
      clear = true;
      reader->ring_tail = head;
      reader->hole_polls = 0;
    }
  }
  if (clear && events->on_clear) events->on_clear(ctx);
  if (warmup != reader->warmup_epoch) {
    reader->warmup_epoch = warmup;
    if (events->on_warm) events->on_warm(ctx);
  }
}

// ---------------------------------------------------------------- unknown keys

// Two that write one place at once may leave one's id with the other's time: both are of this moment.
void shm_unknown_add(struct shm *shm, uint64_t id, int64_t asked_us) {
  size_t at = id % SHM_UNKNOWN;
  atomic_store(&shm->broadcast->unknown[at].asked_us, 0);
  atomic_store(&shm->broadcast->unknown[at].id, id);
  atomic_store(&shm->broadcast->unknown[at].asked_us, asked_us);
}

int64_t shm_unknown_asked(const struct shm *shm, uint64_t id) {
  size_t at = id % SHM_UNKNOWN;
  int64_t asked_us = atomic_load(&shm->broadcast->unknown[at].asked_us);
  bool same = atomic_load(&shm->broadcast->unknown[at].id) == id && atomic_load(&shm->broadcast->unknown[at].asked_us) == asked_us;
  return same && asked_us > atomic_load(&shm->broadcast->unknown_from_us) ? asked_us : 0;
}

void shm_unknown_forget(struct shm *shm) {
  atomic_store(&shm->broadcast->unknown_from_us, clock_mono_us());
}
