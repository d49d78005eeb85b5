// Memory that goes all at once. Runs in every process.
#include "wahook/base.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT       16u
#define KEEP_BYTES      (1024u * 1024u)
#define MAX_BLOCK_BYTES (256u * 1024u) // growth stops doubling here

struct arena_block {
  struct arena_block *next;
  size_t size, used; // of data[]
  _Alignas(ALIGNMENT) unsigned char data[];
};

static struct arena_block *new_block(size_t size) {
  struct arena_block *block = xmalloc(sizeof *block + size);
  block->next = NULL;
  block->size = size;
  block->used = 0;
  return block;
}

void arena_init(struct arena *a, size_t first_block_bytes, size_t limit_bytes) {
  size_t size = first_block_bytes < 256 ? 256 : (first_block_bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
  a->blocks = a->current = new_block(size);
  a->used = 0;
  a->limit = limit_bytes;
}

void arena_reset(struct arena *a) {
  size_t kept = 0;
  struct arena_block **link = &a->blocks;
  while (*link) {
    struct arena_block *block = *link;
    // The first block always stays: `current` needs one to stand on.
    if (block != a->blocks && kept + block->size > KEEP_BYTES) {
      *link = block->next;
      free(block);
      continue;
    }
    kept += block->size;
    block->used = 0;
    link = &block->next;
  }
  a->current = a->blocks;
  a->used = 0;
}

void arena_free(struct arena *a) {
  for (struct arena_block *block = a->blocks, *next; block; block = next) {
    next = block->next;
    free(block);
  }
  *a = (struct arena){NULL, NULL, 0, 0};
}

// The next block with room for `size` bytes: one that was kept over a reset, else a new one behind the current.
static struct arena_block *next_block(struct arena *a, size_t size) {
  struct arena_block *from = a->current;
  for (struct arena_block *block = from->next; block; block = block->next) {
    if (block->size - block->used >= size) return block;
  }
  size_t want = from->size * 2 < MAX_BLOCK_BYTES ? from->size * 2 : MAX_BLOCK_BYTES;
  struct arena_block *block = new_block(size > want ? size : want);
  while (from->next)
    from = from->next;
  from->next = block;
  return block;
}

void *arena_alloc(struct arena *a, size_t size) {
  size_t rounded;
  if (__builtin_add_overflow(size ? size : 1, ALIGNMENT - 1, &rounded)) return NULL;
  rounded &= ~(size_t)(ALIGNMENT - 1);
  // `used` never exceeds `limit`, so the difference does not wrap.
  if (a->limit && rounded > a->limit - a->used) return NULL;
  if (!a->current) arena_init(a, rounded, a->limit);
  if (a->current->size - a->current->used < rounded) a->current = next_block(a, rounded);
  void *p = a->current->data + a->current->used;
  a->current->used += rounded;
  a->used += rounded;
  return p;
}

struct span arena_copy(struct arena *a, struct span s) {
  if (!s.ptr) return s;
  char *copy = arena_alloc(a, s.len + 1);
  if (!copy) return (struct span){NULL, 0};
  if (s.len) memcpy(copy, s.ptr, s.len);
  copy[s.len] = '\0';
  return (struct span){copy, s.len};
}
