// Size-classed memory blocks that are kept for the next request. Runs in workers and tools.
#include "pool.h"

#include <stdlib.h>
#include <string.h>

struct http__pool_entry {
  struct http__pool_entry *next;
};

// Four times as large from class to class: growing copies a byte 1.33 times on average. What is kept of all classes together is
// bounded (about 24 MiB in the worst case), since a burst of large bodies shall not stay in memory for ever.
static const struct {
  size_t size;
  unsigned keep;
} classes[HTTP__POOL_CLASSES] = {
    {1024, 2048}, {4096, 1024}, {16384, 128}, {65536, 64}, {262144, 16}, {1048576, 4}, {4194304, 1},
};

static int class_of(size_t size) {
  for (int i = 0; i < HTTP__POOL_CLASSES; i++)
    if (size <= classes[i].size) return i;
  return -1;
}

void *http__pool_new(struct http__pool *pool, size_t size) {
  if (pool->slot) metrics_add(pool->slot, METRIC_HTTP_ALLOCATIONS, 1);
  return xcalloc(1, size);
}

static char *pool_take(struct http__pool *pool, size_t want, size_t *cap) {
  int class = class_of(want);
  if (class >= 0) {
    struct http__pool_entry *entry = pool->classes[class].free;
    *cap = classes[class].size;
    if (entry) {
      pool->classes[class].free = entry->next;
      pool->classes[class].kept--;
      return (char *)entry;
    }
  } else {
    *cap = want;
  }
  if (pool->slot) metrics_add(pool->slot, METRIC_HTTP_ALLOCATIONS, 1);
  return xmalloc(*cap);
}

static void pool_give(struct http__pool *pool, char *data, size_t cap) {
  int class = class_of(cap);
  if (class < 0 || pool->classes[class].kept >= classes[class].keep) {
    free(data);
    return;
  }
  struct http__pool_entry *entry = (struct http__pool_entry *)(void *)data;
  entry->next = pool->classes[class].free;
  pool->classes[class].free = entry;
  pool->classes[class].kept++;
}

char *http__block_reserve(struct http__pool *pool, struct http__block *block, size_t more) {
  if (block->cap - block->len < more) {
    size_t want = block->len + more, cap;
    if (want < block->cap * 2) want = block->cap * 2;
    char *data = pool_take(pool, want, &cap);
    if (block->data) {
      memcpy(data, block->data, block->len);
      pool_give(pool, block->data, block->cap);
    }
    block->data = data;
    block->cap = cap;
  }
  return block->data + block->len;
}

void http__block_add(struct http__pool *pool, struct http__block *block, const void *data, size_t len) {
  if (len == 0) return;
  memcpy(http__block_reserve(pool, block, len), data, len);
  block->len += len;
}

void http__block_release(struct http__pool *pool, struct http__block *block) {
  if (block->data) pool_give(pool, block->data, block->cap);
  *block = (struct http__block){0};
}

void http__pool_free(struct http__pool *pool) {
  for (int i = 0; i < HTTP__POOL_CLASSES; i++) {
    while (pool->classes[i].free) {
      struct http__pool_entry *entry = pool->classes[i].free;
      pool->classes[i].free = entry->next;
      free(entry);
    }
    pool->classes[i].kept = 0;
  }
}
