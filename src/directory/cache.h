// The cache of businesses: one that was not used lately goes, entries age from fresh to stale to gone, and "unknown" is remembered apart.
// Pure: time is a parameter. One thread.
#ifndef WAHOOK_DIRECTORY_CACHE_H
#define WAHOOK_DIRECTORY_CACHE_H

#include "wahook/directory.h"

#define CACHE_KEY_MAX 80 // "subdomain:" and a DNS label

// A key as text, the way invalidations name it: "phone:123", "subdomain:shop", "waba:9".
struct cache_key {
  uint8_t len;
  char text[CACHE_KEY_MAX];
};
// False: longer than any key can be, so no business has it.
bool cache_key_make(struct cache_key *out, enum directory_key kind, struct span key);

struct cache_limits {
  size_t capacity; // businesses; as many unknown keys are remembered, but at least CACHE_UNKNOWN_MIN
  int64_t ttl_us, negative_ttl_us;
  int64_t stale_max_us; // how old an entry may get while the store is down
};
#define CACHE_UNKNOWN_MIN 1024

enum cache_state { CACHE_ABSENT, CACHE_FRESH, CACHE_STALE };

struct cache;
struct cache *cache_new(const struct cache_limits *limits);
void cache_free(struct cache *cache);
// *out: NULL when the key is known to be unknown. The business lives until cache_bury().
enum cache_state cache_get(struct cache *cache, const struct cache_key *key, int64_t now_us, const struct business **out);
// Takes the business over; NULL: unknown.
void cache_put(struct cache *cache, const struct cache_key *key, struct business *business, int64_t now_us);
// A business that does not go into the cache after all: it lives until cache_bury().
void cache_retire(struct cache *cache, struct business *business);
// "phone:123", "phone:12*", or "id:" and a business' id: all that it is known under.
#define CACHE_ID_PREFIX "id:"
void cache_forget(struct cache *cache, struct span text_or_glob);
void cache_clear(struct cache *cache);
// Frees what was pushed out since the last call: callers may hold a business for a turn of the loop.
void cache_bury(struct cache *cache);
size_t cache_size(const struct cache *cache);         // businesses
size_t cache_unknown_size(const struct cache *cache); // unknown keys
uint64_t cache_evictions(const struct cache *cache);

#endif
