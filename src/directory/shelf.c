// Entries in one array, found through an index of eight bytes each: a hit among a hundred thousand misses the processor's cache twice,
// once for the index and once for the entry. Chains of pointers (uthash) missed it five times. Runs in workers and the dispatcher.
#include "shelf.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define CHANCES_MAX 64
#define HUGE_PAGE   ((size_t)2 << 20)

// The kernel gives pages as they are touched. Huge ones save the walk through its tables, which costs as much as the miss itself.
static void *reserve(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) die("no memory for a cache of businesses (%zu bytes: %s): lower directory.cache_size", bytes, strerror(errno));
  if (bytes >= HUGE_PAGE) (void)madvise(p, bytes, MADV_HUGEPAGE); // advice only
  return p;
}

void shelf_open(struct shelf *shelf, size_t capacity) {
  ALWAYS(capacity > 0 && capacity < UINT32_MAX / 4);
  uint32_t slots = 4;
  while (slots < capacity + capacity / 4)
    slots *= 2;
  *shelf = (struct shelf){.mask = slots - 1, .capacity = (uint32_t)capacity, .unused = 1};
  shelf->entries = reserve((capacity + 1) * sizeof *shelf->entries);
  shelf->slots = reserve(slots * sizeof *shelf->slots);
}

void shelf_close(struct shelf *shelf) {
  munmap(shelf->entries, ((size_t)shelf->capacity + 1) * sizeof *shelf->entries);
  munmap(shelf->slots, ((size_t)shelf->mask + 1) * sizeof *shelf->slots);
  *shelf = (struct shelf){0};
}

uint32_t shelf_hash(const char *text, size_t len) {
  return (uint32_t)hash_keyed(text, len);
}

struct entry *shelf_find(const struct shelf *shelf, uint32_t hash, const char *text, size_t len) {
  for (uint32_t i = hash & shelf->mask; shelf->slots[i].number; i = (i + 1) & shelf->mask) {
    if (shelf->slots[i].tag != hash) continue;
    struct entry *e = &shelf->entries[shelf->slots[i].number];
    if (e->key.len == len && memcmp(e->key.text, text, len) == 0) return e;
  }
  return NULL;
}

static void link_newest(struct shelf *shelf, struct entry *e) {
  struct entry *head = &shelf->entries[0];
  uint32_t number = shelf_number(shelf, e);
  e->newer = 0;
  e->older = head->older;
  shelf->entries[head->older].newer = number;
  head->older = number;
}

static void unlink_entry(struct shelf *shelf, const struct entry *e) {
  shelf->entries[e->newer].older = e->older;
  shelf->entries[e->older].newer = e->newer;
}

struct entry *shelf_add(struct shelf *shelf, uint32_t hash, const struct cache_key *key) {
  ALWAYS(shelf->count < shelf->capacity);
  uint32_t number = shelf->freed;
  if (number)
    shelf->freed = shelf->entries[number].older;
  else
    number = shelf->unused++;
  struct entry *e = &shelf->entries[number];
  *e = (struct entry){.key = *key};
  link_newest(shelf, e);
  uint32_t i = hash & shelf->mask;
  while (shelf->slots[i].number)
    i = (i + 1) & shelf->mask;
  shelf->slots[i] = (struct slot){hash, number};
  shelf->count++;
  return e;
}

// Closes the gap at i, so that no search ends there too early (Knuth, TAOCP 6.4, algorithm R).
static void empty_slot(struct shelf *shelf, uint32_t i) {
  uint32_t mask = shelf->mask;
  for (uint32_t j = (i + 1) & mask; shelf->slots[j].number; j = (j + 1) & mask) {
    uint32_t home = shelf->slots[j].tag & mask;
    if (((j - home) & mask) < ((j - i) & mask)) continue; // it may not stand before its home
    shelf->slots[i] = shelf->slots[j];
    i = j;
  }
  shelf->slots[i] = (struct slot){0, 0};
}

void shelf_remove(struct shelf *shelf, struct entry *e) {
  uint32_t number = shelf_number(shelf, e);
  uint32_t i = shelf_hash(e->key.text, e->key.len) & shelf->mask;
  while (shelf->slots[i].number != number)
    i = (i + 1) & shelf->mask;
  empty_slot(shelf, i);
  unlink_entry(shelf, e);
  e->older = shelf->freed;
  shelf->freed = number;
  shelf->count--;
}

struct entry *shelf_victim(struct shelf *shelf) {
  struct entry *e = &shelf->entries[shelf->entries[0].newer];
  // Where all were used, not all are looked at.
  for (int i = 0; i < CHANCES_MAX && e->used; i++, e = &shelf->entries[shelf->entries[0].newer]) {
    e->used = false;
    unlink_entry(shelf, e);
    link_newest(shelf, e);
  }
  return e;
}

struct entry *shelf_first(const struct shelf *shelf) {
  return shelf_next(shelf, &shelf->entries[0]);
}

struct entry *shelf_next(const struct shelf *shelf, const struct entry *e) {
  return e->older ? &shelf->entries[e->older] : NULL;
}
