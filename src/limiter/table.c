// Everybody's arrival times in shared memory, exact across processes. Runs in workers.
//
// Sets of seven cells {fingerprint, TAT} and a lock, 128 bytes each. A decision about a key that has its cell is one compare-and-swap
// on the TAT, without the lock. Only taking a cell for a new key locks its set, since two processes must not take two cells for one
// key. The lock holds the time at which it was taken: one that a killed process left behind is broken.
//
//   new key:  lock the set, look again, give up the cell that expires first: fingerprint 0, TAT 0, fingerprint ours; unlock
//   decision: read fingerprint, read TAT, decide, swap TAT, read fingerprint again: when it changed meanwhile, start over
//
// The charge that lands on a cell just given to another key is lost to the newcomer; that needs a set of seven live keys and is
// on the strict side for one request.
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "wahook/limiter.h"

#define LIMITER_MAGIC 0x4c494d54u
#define WAYS          7
#define LOCK_STALE_US 20000 // a set is locked for less than a microsecond
#define KEY_MAX       64

struct cell {
  _Atomic uint64_t fingerprint; // 0: free
  _Atomic int64_t tat_us;
};
struct set {
  _Alignas(128) _Atomic int64_t locked_us; // 0: free
  struct cell cells[WAYS];
};
_Static_assert(sizeof(struct set) == 128, "a set is two cache lines");

// At the start of the shared memory. Zeroed at creation, so whoever comes first makes the key, each word by one swap.
struct head {
  _Alignas(128) _Atomic uint64_t key[2];
};

struct limiter {
  uint32_t magic;
  uint64_t key[2]; // a copy: strangers choose addresses and shall not choose sets
  size_t set_count;
  struct set *sets;
};

size_t limiter_min_bytes(void) {
  return sizeof(struct head) + sizeof(struct set);
}

struct limiter *limiter_new(void *shared, size_t bytes) {
  ALWAYS(bytes >= limiter_min_bytes());
  ALWAYS((uintptr_t)shared % 64 == 0);
  struct head *head = shared;
  struct limiter *limiter = xcalloc(1, sizeof *limiter);
  limiter->magic = LIMITER_MAGIC;
  for (int i = 0; i < 2; i++) {
    uint64_t none = 0;
    atomic_compare_exchange_strong(&head->key[i], &none, random_u64() | 1);
    limiter->key[i] = atomic_load(&head->key[i]);
  }
  limiter->sets = (struct set *)(void *)((char *)shared + sizeof(struct head));
  limiter->set_count = (bytes - sizeof(struct head)) / sizeof(struct set);
  return limiter;
}

void limiter_free(struct limiter *limiter) {
  if (!limiter) return;
  ALWAYS(limiter->magic == LIMITER_MAGIC);
  limiter->magic = 0;
  free(limiter);
}

// The key's set and fingerprint. hash_keyed() will not do: its key differs from process to process.
static struct set *place(const struct limiter *limiter, uint32_t rule_id, struct span key, uint64_t *fingerprint) {
  struct {
    uint64_t secret[2];
    uint32_t rule_id, len;
    uint8_t key[KEY_MAX];
  } in = {.secret = {limiter->key[0], limiter->key[1]}, .rule_id = rule_id, .len = (uint32_t)key.len};
  size_t used = key.len;
  if (key.len > KEY_MAX) {
    used = 16;
    hash_stable128(key.ptr, key.len, in.key);
  } else if (key.len) {
    memcpy(in.key, key.ptr, key.len);
  }
  uint64_t hash[2];
  uint8_t out[16];
  hash_stable128(&in, offsetof(__typeof__(in), key) + used, out);
  memcpy(hash, out, sizeof hash);
  *fingerprint = hash[0] ? hash[0] : 1;
  return &limiter->sets[(size_t)(((unsigned __int128)hash[1] * limiter->set_count) >> 64)];
}

static struct cell *look(struct set *set, uint64_t fingerprint) {
  for (int i = 0; i < WAYS; i++) {
    if (atomic_load_explicit(&set->cells[i].fingerprint, memory_order_acquire) == fingerprint) return &set->cells[i];
  }
  return NULL;
}

// *held gets what unlock() must find: whose lock was broken does not open the next holder's.
static void lock(struct set *set, int64_t now_us, int64_t *held) {
  int64_t seen = 0;
  while (!atomic_compare_exchange_weak_explicit(&set->locked_us, &seen, now_us, memory_order_acquire, memory_order_relaxed)) {
    if (seen != 0) {
      now_us = clock_mono_us() | 1; // the caller's clock stands still while we wait
      if (now_us - seen > LOCK_STALE_US &&
          atomic_compare_exchange_strong_explicit(&set->locked_us, &seen, now_us, memory_order_acquire, memory_order_relaxed)) {
        break;
      }
      sched_yield();
    }
    seen = 0;
  }
  *held = now_us;
}

static void unlock(struct set *set, int64_t held) {
  atomic_compare_exchange_strong_explicit(&set->locked_us, &held, 0, memory_order_release, memory_order_relaxed);
}

static struct cell *claim(struct set *set, uint64_t fingerprint) {
  int64_t held;
  lock(set, clock_mono_us() | 1, &held);
  struct cell *cell = look(set, fingerprint);
  if (!cell) {
    cell = &set->cells[0];
    for (int i = 0; i < WAYS; i++) {
      struct cell *c = &set->cells[i];
      if (atomic_load_explicit(&c->fingerprint, memory_order_relaxed) == 0) {
        cell = c;
        break;
      }
      if (atomic_load_explicit(&c->tat_us, memory_order_relaxed) < atomic_load_explicit(&cell->tat_us, memory_order_relaxed)) cell = c;
    }
    atomic_store(&cell->fingerprint, 0);
    atomic_store(&cell->tat_us, 0);
    atomic_store(&cell->fingerprint, fingerprint);
  }
  unlock(set, held);
  return cell;
}

struct limiter_verdict limiter_take(struct limiter *limiter, const struct limiter_rule *rule, uint32_t rule_id, struct span key,
                                    int64_t now_us) {
  ALWAYS(limiter->magic == LIMITER_MAGIC);
  struct limiter_verdict verdict = {.allowed = true, .remaining = UINT64_MAX};
  if (rule->count == 0) return verdict;
  uint64_t fingerprint;
  struct set *set = place(limiter, rule_id, key, &fingerprint);
  for (;;) {
    struct cell *cell = look(set, fingerprint);
    if (!cell) cell = claim(set, fingerprint);
    int64_t tat = atomic_load(&cell->tat_us);
    int64_t next;
    do {
      next = gcra_decide(tat, now_us, rule, &verdict);
    } while (next != tat && !atomic_compare_exchange_weak(&cell->tat_us, &tat, next));
    if (atomic_load(&cell->fingerprint) == fingerprint) return verdict;
  }
}
