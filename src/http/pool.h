// Pooled memory for heads, bodies and answers.
#ifndef WAHOOK_HTTP_POOL_H
#define WAHOOK_HTTP_POOL_H

#include "wahook/metrics.h"

#define HTTP__POOL_CLASSES 7

// Bytes from the pool; data is NULL while empty. The zero value is ready for use.
struct http__block {
  char *data;
  size_t len, cap;
};

struct http__pool_entry;
struct http__pool {
  struct shm_slot *slot; // allocations are counted here; may be NULL
  struct {
    struct http__pool_entry *free;
    unsigned kept;
  } classes[HTTP__POOL_CLASSES];
};

// Room for `more` bytes behind len; returns where they go.
char *http__block_reserve(struct http__pool *pool, struct http__block *block, size_t more);
void http__block_add(struct http__pool *pool, struct http__block *block, const void *data, size_t len);
// Gives the memory back; the block is empty then.
void http__block_release(struct http__pool *pool, struct http__block *block);
// xcalloc that counts as an allocation of the request path.
void *http__pool_new(struct http__pool *pool, size_t size);
void http__pool_free(struct http__pool *pool);

#endif
