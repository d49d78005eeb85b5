// LRU of decrypted tokens in secret memory, keyed by the SHA-256 of what is stored. Runs in the dispatcher.
#include <stdlib.h>
#include <string.h>

#include "wahook/crypto.h"

#include <uthash.h>
#include <utlist.h>

#define CACHE_MAGIC 0x54434348u

struct entry {
  uint8_t key[32];
  char *token;               // secret memory
  struct entry *prev, *next; // the list's head was used last
  UT_hash_handle hh;
};

struct token_cache {
  uint32_t magic;
  size_t capacity;
  struct entry *table;
  struct entry *recent;
};

struct token_cache *token_cache_new(size_t capacity) {
  struct token_cache *cache = xcalloc(1, sizeof *cache);
  cache->magic = CACHE_MAGIC;
  cache->capacity = capacity ? capacity : 1;
  return cache;
}

static void drop(struct token_cache *cache, struct entry *e) {
  HASH_DEL(cache->table, e);
  DL_DELETE(cache->recent, e);
  secret_free(e->token); // wipes it
  free(e);
}

void token_cache_free(struct token_cache *cache) {
  if (!cache) return;
  ALWAYS(cache->magic == CACHE_MAGIC);
  while (cache->recent)
    drop(cache, cache->recent);
  cache->magic = 0;
  free(cache);
}

static struct entry *find(struct token_cache *cache, const uint8_t key[static 32]) {
  struct entry *e;
  HASH_FIND(hh, cache->table, key, 32, e);
  return e;
}

const char *token_cache_open(struct token_cache *cache, const struct token_keys *keys, struct span stored, bool *hit, enum err *error,
                             struct why *why) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  uint8_t key[32];
  sha256(stored, key);
  struct entry *e = find(cache, key);
  if (hit) *hit = e != NULL;
  if (e) {
    if (e != cache->recent) {
      DL_DELETE(cache->recent, e);
      DL_PREPEND(cache->recent, e);
    }
    return e->token;
  }
  char *token;
  enum err failed = token_open(keys, stored, &token, why);
  if (failed) {
    *error = failed;
    return NULL;
  }
  if (HASH_COUNT(cache->table) >= cache->capacity) drop(cache, cache->recent->prev); // a utlist head's prev is the tail
  e = xcalloc(1, sizeof *e);
  memcpy(e->key, key, sizeof key);
  e->token = token;
  HASH_ADD(hh, cache->table, key, sizeof e->key, e);
  DL_PREPEND(cache->recent, e);
  return token;
}

void token_cache_forget(struct token_cache *cache, struct span stored) {
  ALWAYS(cache->magic == CACHE_MAGIC);
  uint8_t key[32];
  sha256(stored, key);
  struct entry *e = find(cache, key);
  if (e) drop(cache, e);
}
