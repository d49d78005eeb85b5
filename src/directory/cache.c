// Second chance + TTL + negative + stale, without clock or store. Runs in workers and the dispatcher.
//
// A hit sets a mark and moves nothing: among a hundred thousand each pointer that is followed is a miss of the processor's cache.
// Known and unknown keys live in tables of their own: a flood of unknown ids pushes out only other unknown ids.
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#define CACHE_MAGIC 0x43414348u
#define CHANCES_MAX 64

struct entry {
  UT_hash_handle hh;         // first what a hit reads
  struct business *business; // NULL: unknown
  int64_t loaded_us;
  bool used; // since it came to the head of the list
  struct cache_key key;
  struct entry *prev, *next; // the list's tail goes first, unless it was used
  struct owner *owner;       // of a known one
  struct entry *kin_prev, *kin_next;
};
// All entries of one business, by its id: it is known under several numbers, and under its subdomain.
struct owner {
  struct entry *entries;
  UT_hash_handle hh;
  char id[];
};
struct shelf {
  struct entry *table, *recent;
  size_t capacity;
};
struct cache {
  uint32_t magic;
  struct cache_limits limits;
  struct shelf known, unknown;
  struct owner *owners;
  struct entry *dead; // through `next`
  uint64_t evictions;
};

bool cache_key_make(struct cache_key *out, enum directory_key kind, struct span key) {
  static const char *const prefixes[] = {"phone:", "subdomain:", "waba:"};
  const char *prefix = prefixes[kind];
  size_t head = strlen(prefix);
  if (key.len == 0 || head + key.len > CACHE_KEY_MAX) return false;
  memcpy(out->text, prefix, head);
  memcpy(out->text + head, key.ptr, key.len);
  out->len = (uint8_t)(head + key.len);
  return true;
}

struct cache *cache_new(const struct cache_limits *limits) {
  struct cache *cache = xcalloc(1, sizeof *cache);
  cache->magic = CACHE_MAGIC;
  cache->limits = *limits;
  cache->known.capacity = limits->capacity ? limits->capacity : 1;
  cache->unknown.capacity = limits->capacity > CACHE_UNKNOWN_MIN ? limits->capacity : CACHE_UNKNOWN_MIN;
  return cache;
}

static struct entry *find(struct shelf *shelf, const char *text, size_t len) {
  struct entry *e;
  HASH_FIND(hh, shelf->table, text, len, e);
  return e;
}

static struct owner *owner_of(struct cache *cache, const char *id, bool make) {
  struct owner *owner;
  size_t len = strlen(id);
  HASH_FIND(hh, cache->owners, id, len, owner);
  if (owner || !make) return owner;
  owner = xmalloc(sizeof *owner + len + 1);
  owner->entries = NULL;
  memcpy(owner->id, id, len + 1);
  HASH_ADD_KEYPTR(hh, cache->owners, owner->id, len, owner);
  return owner;
}

static void leave_owner(struct cache *cache, struct entry *e) {
  struct owner *owner = e->owner;
  DL_DELETE2(owner->entries, e, kin_prev, kin_next);
  if (owner->entries) return;
  HASH_DEL(cache->owners, owner);
  free(owner);
}

static void drop(struct cache *cache, struct shelf *shelf, struct entry *e) {
  HASH_DEL(shelf->table, e);
  DL_DELETE(shelf->recent, e);
  if (!e->business) {
    free(e);
    return;
  }
  leave_owner(cache, e);
  e->next = cache->dead;
  cache->dead = e;
}

static void drop_key(struct cache *cache, const char *text, size_t len) {
  struct shelf *shelves[] = {&cache->known, &cache->unknown};
  for (size_t i = 0; i < COUNT_OF(shelves); i++) {
    struct entry *e = find(shelves[i], text, len);
    if (e) drop(cache, shelves[i], e);
  }
}

enum cache_state cache_get(struct cache *cache, const struct cache_key *key, int64_t now_us, const struct business **out) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  struct shelf *shelf = &cache->known;
  struct entry *e = find(shelf, key->text, key->len);
  if (!e) {
    shelf = &cache->unknown;
    e = find(shelf, key->text, key->len);
  }
  if (!e) return CACHE_ABSENT;
  int64_t age = now_us - e->loaded_us;
  bool fresh = age < (e->business ? cache->limits.ttl_us : cache->limits.negative_ttl_us);
  // An expired "unknown" is worth nothing: the business may have been added since.
  if (!fresh && (!e->business || age >= cache->limits.stale_max_us)) {
    drop(cache, shelf, e);
    return CACHE_ABSENT;
  }
  if (!e->used) e->used = true; // no store where it is so already
  *out = e->business;
  return fresh ? CACHE_FRESH : CACHE_STALE;
}

// Whose turn it is to go: a utlist head's prev is the tail. What was used since its last turn gets another one; where all were, not all
// are looked at.
static struct entry *victim(struct shelf *shelf) {
  struct entry *e = shelf->recent->prev;
  for (int i = 0; i < CHANCES_MAX && e->used; i++, e = shelf->recent->prev) {
    e->used = false;
    DL_DELETE(shelf->recent, e);
    DL_PREPEND(shelf->recent, e);
  }
  return e;
}

void cache_put(struct cache *cache, const struct cache_key *key, struct business *business, int64_t now_us) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  drop_key(cache, key->text, key->len);
  struct shelf *shelf = business ? &cache->known : &cache->unknown;
  if (HASH_COUNT(shelf->table) >= shelf->capacity) {
    drop(cache, shelf, victim(shelf));
    if (business) cache->evictions++;
  }
  struct entry *e = xcalloc(1, sizeof *e);
  e->key = *key;
  e->business = business;
  e->loaded_us = now_us;
  HASH_ADD_KEYPTR(hh, shelf->table, e->key.text, e->key.len, e);
  DL_PREPEND(shelf->recent, e);
  if (!business) return;
  e->owner = owner_of(cache, business->id, true);
  DL_PREPEND2(e->owner->entries, e, kin_prev, kin_next);
}

void cache_retire(struct cache *cache, struct business *business) {
  struct entry *e = xcalloc(1, sizeof *e);
  e->business = business;
  e->next = cache->dead;
  cache->dead = e;
}

static void forget_matching(struct cache *cache, struct shelf *shelf, struct span glob) {
  struct entry *e, *next;
  DL_FOREACH_SAFE(shelf->recent, e, next) {
    if (span_glob((struct span){e->key.text, e->key.len}, glob)) drop(cache, shelf, e);
  }
}

static void forget_owner(struct cache *cache, struct span id) {
  char *text = span_dup(id);
  struct owner *owner = owner_of(cache, text, false);
  free(text);
  if (!owner) return;
  for (bool last = false; !last;) { // the last one takes the owner along
    last = owner->entries->kin_next == NULL;
    drop(cache, &cache->known, owner->entries);
  }
}

void cache_forget(struct cache *cache, struct span text_or_glob) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  if (text_or_glob.len == 0) return;
  if (span_starts(text_or_glob, SPAN(CACHE_ID_PREFIX))) {
    forget_owner(cache, span_from(text_or_glob, strlen(CACHE_ID_PREFIX)));
    return;
  }
  if (!memchr(text_or_glob.ptr, '*', text_or_glob.len) && !memchr(text_or_glob.ptr, '?', text_or_glob.len)) {
    drop_key(cache, text_or_glob.ptr, text_or_glob.len);
    return;
  }
  forget_matching(cache, &cache->known, text_or_glob);
  forget_matching(cache, &cache->unknown, text_or_glob);
}

void cache_clear(struct cache *cache) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  while (cache->known.recent)
    drop(cache, &cache->known, cache->known.recent);
  while (cache->unknown.recent)
    drop(cache, &cache->unknown, cache->unknown.recent);
}

void cache_bury(struct cache *cache) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  while (cache->dead) {
    struct entry *e = cache->dead;
    cache->dead = e->next;
    business_free(e->business);
    free(e);
  }
}

void cache_free(struct cache *cache) {
  if (!cache) return;
  cache_clear(cache);
  cache_bury(cache);
  cache->magic = 0;
  free(cache);
}

size_t cache_size(const struct cache *cache) {
  return HASH_COUNT(cache->known.table);
}
size_t cache_unknown_size(const struct cache *cache) {
  return HASH_COUNT(cache->unknown.table);
}
uint64_t cache_evictions(const struct cache *cache) {
  return cache->evictions;
}
