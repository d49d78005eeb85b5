// TTL + negative + stale, without clock or store. Runs in workers and the dispatcher.
//
// Known and unknown keys lie on shelves of their own: a flood of unknown ids pushes out only other unknown ids.
#include "cache.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "shelf.h"

#define CACHE_MAGIC 0x43414348u

// All entries of one business, by its id: it is known under several numbers, and under its subdomain.
struct owner {
  uint32_t newest; // of its entries; 0: none
  UT_hash_handle hh;
  char id[];
};
struct cache {
  uint32_t magic;
  struct cache_limits limits;
  struct shelf known, unknown;
  struct owner *owners;
  struct business **dead; // until they are buried
  size_t dead_count, dead_room;
  uint64_t evictions;
};

bool cache_key_make(struct cache_key *out, enum directory_key kind, struct span key) {
  static const struct span prefixes[] = {{"phone:", 6}, {"subdomain:", 10}, {"waba:", 5}};
  struct span prefix = prefixes[kind];
  if (key.len == 0 || prefix.len + key.len > CACHE_KEY_MAX) return false;
  memcpy(out->text, prefix.ptr, prefix.len);
  memcpy(out->text + prefix.len, key.ptr, key.len);
  out->len = (uint8_t)(prefix.len + key.len);
  return true;
}

struct cache *cache_new(const struct cache_limits *limits) {
  struct cache *cache = xcalloc(1, sizeof *cache);
  cache->magic = CACHE_MAGIC;
  cache->limits = *limits;
  shelf_open(&cache->known, limits->capacity ? limits->capacity : 1);
  shelf_open(&cache->unknown, limits->capacity > CACHE_UNKNOWN_MIN ? limits->capacity : CACHE_UNKNOWN_MIN);
  return cache;
}

static struct owner *owner_of(struct cache *cache, const char *id, bool make) {
  struct owner *owner;
  size_t len = strlen(id);
  HASH_FIND(hh, cache->owners, id, len, owner);
  if (owner || !make) return owner;
  owner = xmalloc(sizeof *owner + len + 1);
  owner->newest = 0;
  memcpy(owner->id, id, len + 1);
  HASH_ADD_KEYPTR(hh, cache->owners, owner->id, len, owner);
  return owner;
}

static void join_owner(struct cache *cache, struct entry *e) {
  struct owner *owner = e->owner = owner_of(cache, e->business->id, true);
  e->kin_older = owner->newest;
  owner->newest = shelf_number(&cache->known, e);
  if (e->kin_older) cache->known.entries[e->kin_older].kin_newer = owner->newest;
}

static void leave_owner(struct cache *cache, const struct entry *e) {
  struct owner *owner = e->owner;
  struct entry *entries = cache->known.entries;
  if (e->kin_older) entries[e->kin_older].kin_newer = e->kin_newer;
  if (e->kin_newer)
    entries[e->kin_newer].kin_older = e->kin_older;
  else
    owner->newest = e->kin_older;
  if (owner->newest) return;
  HASH_DEL(cache->owners, owner);
  free(owner);
}

void cache_retire(struct cache *cache, struct business *business) {
  if (cache->dead_count == cache->dead_room) {
    cache->dead_room = cache->dead_room ? 2 * cache->dead_room : 16;
    cache->dead = xrealloc(cache->dead, cache->dead_room * sizeof(struct business *));
  }
  cache->dead[cache->dead_count++] = business;
}

static void drop(struct cache *cache, struct shelf *shelf, struct entry *e) {
  if (e->business) {
    leave_owner(cache, e);
    cache_retire(cache, e->business);
  }
  shelf_remove(shelf, e);
}

static void drop_key(struct cache *cache, uint32_t hash, const char *text, size_t len) {
  struct shelf *shelves[] = {&cache->known, &cache->unknown};
  for (size_t i = 0; i < COUNT_OF(shelves); i++) {
    struct entry *e = shelf_find(shelves[i], hash, text, len);
    if (e) drop(cache, shelves[i], e);
  }
}

enum cache_state cache_get(struct cache *cache, const struct cache_key *key, int64_t now_us, const struct business **out) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  struct shelf *shelf = &cache->known;
  uint32_t hash = shelf_hash(key->text, key->len);
  struct entry *e = shelf_find(shelf, hash, key->text, key->len);
  if (!e) {
    shelf = &cache->unknown;
    e = shelf_find(shelf, hash, key->text, key->len);
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

void cache_put(struct cache *cache, const struct cache_key *key, struct business *business, int64_t now_us) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  uint32_t hash = shelf_hash(key->text, key->len);
  drop_key(cache, hash, key->text, key->len);
  struct shelf *shelf = business ? &cache->known : &cache->unknown;
  if (shelf->count == shelf->capacity) {
    drop(cache, shelf, shelf_victim(shelf));
    if (business) cache->evictions++;
  }
  struct entry *e = shelf_add(shelf, hash, key);
  e->business = business;
  e->loaded_us = now_us;
  if (business) join_owner(cache, e);
}

static void forget_matching(struct cache *cache, struct shelf *shelf, struct span glob) {
  for (struct entry *e = shelf_first(shelf), *next; e; e = next) {
    next = shelf_next(shelf, e);
    if (span_glob((struct span){e->key.text, e->key.len}, glob)) drop(cache, shelf, e);
  }
}

static void forget_owner(struct cache *cache, struct span id) {
  char *text = span_dup(id);
  struct owner *owner = owner_of(cache, text, false);
  free(text);
  if (!owner) return;
  for (bool last = false; !last;) { // the last one takes the owner along
    struct entry *e = &cache->known.entries[owner->newest];
    last = e->kin_older == 0;
    drop(cache, &cache->known, e);
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
    drop_key(cache, shelf_hash(text_or_glob.ptr, text_or_glob.len), text_or_glob.ptr, text_or_glob.len);
    return;
  }
  forget_matching(cache, &cache->known, text_or_glob);
  forget_matching(cache, &cache->unknown, text_or_glob);
}

void cache_clear(struct cache *cache) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  struct shelf *shelves[] = {&cache->known, &cache->unknown};
  for (size_t i = 0; i < COUNT_OF(shelves); i++)
    for (struct entry *e; (e = shelf_first(shelves[i])) != NULL;)
      drop(cache, shelves[i], e);
}

void cache_bury(struct cache *cache) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  if (!cache->dead) return;
  while (cache->dead_count)
    business_free(cache->dead[--cache->dead_count]);
  free(cache->dead);
  cache->dead = NULL;
  cache->dead_room = 0;
}

void cache_free(struct cache *cache) {
  if (!cache) return;
  cache_clear(cache);
  cache_bury(cache);
  shelf_close(&cache->known);
  shelf_close(&cache->unknown);
  cache->magic = 0;
  free(cache);
}

size_t cache_size(const struct cache *cache) {
  return cache->known.count;
}
size_t cache_unknown_size(const struct cache *cache) {
  return cache->unknown.count;
}
uint64_t cache_evictions(const struct cache *cache) {
  return cache->evictions;
}
