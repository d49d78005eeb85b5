// A shelf of the cache: entries found by their key, and in the order in which they came. Pure; one thread.
#ifndef WAHOOK_DIRECTORY_SHELF_H
#define WAHOOK_DIRECTORY_SHELF_H

#include "cache.h"

struct owner;

// What a hit reads lies in the first of its two lines of the processor's cache: a key of up to 45 bytes is read from there.
struct entry {
  struct business *business; // NULL: unknown
  int64_t loaded_us;
  bool used; // since its last turn to go
  struct cache_key key;
  uint32_t newer, older; // numbers of entries on the same shelf
  uint32_t kin_newer, kin_older;
  struct owner *owner; // of a known one
};
_Static_assert(sizeof(struct entry) == 128, "two lines of 64 bytes");

struct slot {
  uint32_t tag;    // the low half of the key's hash
  uint32_t number; // of an entry; 0: empty
};
struct shelf {
  struct entry *entries; // [1..capacity]; [0] begins and ends the order: .older is the newest, .newer the oldest
  struct slot *slots;    // open addressing, linear probing (Knuth, TAOCP 6.4, algorithm L), at most four fifths full
  uint32_t mask;         // of slots, a power of two
  uint32_t capacity, count;
  uint32_t unused; // the entries from here on were never in use
  uint32_t freed;  // one that is free again, through `older`
};

// Takes address space for all of it, and memory only for what comes. Dies where there is none.
void shelf_open(struct shelf *shelf, size_t capacity);
void shelf_close(struct shelf *shelf);

uint32_t shelf_hash(const char *text, size_t len);
// NULL: none.
struct entry *shelf_find(const struct shelf *shelf, uint32_t hash, const char *text, size_t len);
// The newest from now on, zeroed but for its key. There must be room, and none of this key.
struct entry *shelf_add(struct shelf *shelf, uint32_t hash, const struct cache_key *key);
// Its memory is reused by the next one that is added.
void shelf_remove(struct shelf *shelf, struct entry *e);

// Whose turn it is to go: the oldest that was not used since its last turn. The shelf must not be empty.
struct entry *shelf_victim(struct shelf *shelf);
// From the newest to the oldest, then NULL.
struct entry *shelf_first(const struct shelf *shelf);
struct entry *shelf_next(const struct shelf *shelf, const struct entry *e);

static inline uint32_t shelf_number(const struct shelf *shelf, const struct entry *e) {
  return (uint32_t)(e - shelf->entries);
}

#endif
