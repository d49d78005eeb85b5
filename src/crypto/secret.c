// Memory for secrets: locked, left out of core dumps, between guard pages, wiped when freed. Runs in every process.
//
// sodium_malloc() gives each allocation pages of its own and two guard pages: 10,000 cached tokens would take 160 MB and as many
// mappings. So small secrets share chunks: one sodium_malloc() of 32 KiB is cut into blocks of one size class. A chunk has guard
// pages at both ends; inside it a block's header, checked at every free, is what an overrun of the block before it would hit.
// When the limit of locked memory (RLIMIT_MEMLOCK) is reached, sodium_malloc() goes on without the lock: still not dumped
// (MADV_DONTDUMP), still guarded, still wiped.
#include "secret.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "wahook/crypto.h"

#define CHUNK_BYTES 32768
#define BLOCK_LIVE  0x5ec2e7a1u
#define BLOCK_FREE  0x5ec2e7f0u
#define CLASS_NONE  UINT16_MAX // an allocation of its own

// Stands before each block; 16 bytes, so that blocks stay aligned for any type.
struct block {
  uint32_t magic;
  uint16_t class;
  uint16_t unused;
  union {
    struct block *next; // while free
    size_t size;        // while live
  };
};

static const uint16_t class_bytes[] = {32, 64, 128, 192, 256, 320, 384, 512, 1024, 2048, 4096};

// Process-wide: secrets come from every folder and thread.
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *pool_free[COUNT_OF(class_bytes)];
static struct secret_usage pool_usage;

static void *guarded(size_t size) {
  void *memory = sodium_malloc(size);
  if (!memory) die("no memory for secrets (%zu bytes)", size);
  return memory;
}

// Cuts a new chunk into blocks of a class. Chunks are kept for good: their number is bounded by the most secrets ever held.
static void add_chunk(unsigned class) {
  char *chunk = guarded(CHUNK_BYTES);
  size_t stride = sizeof(struct block) + class_bytes[class];
  for (size_t at = 0; at + stride <= CHUNK_BYTES; at += stride) {
    struct block *b = (struct block *)(void *)(chunk + at);
    *b = (struct block){.magic = BLOCK_FREE, .class = (uint16_t) class, .next = pool_free[class]};
    sodium_memzero(b + 1, class_bytes[class]);
    pool_free[class] = b;
  }
  pool_usage.chunks++;
}

static struct block *take(size_t size) {
  for (unsigned class = 0; class < COUNT_OF(class_bytes); class ++) {
    if (size > class_bytes[class]) continue;
    if (!pool_free[class]) add_chunk(class);
    struct block *b = pool_free[class];
    ALWAYS(b->magic == BLOCK_FREE && b->class == class);
    pool_free[class] = b->next;
    return b;
  }
  // sodium_malloc() puts the end of the memory at the guard page: round up so that the start is aligned.
  struct block *b = guarded(sizeof(struct block) + ((size + 15) & ~(size_t)15));
  b->class = CLASS_NONE;
  return b;
}

void *secret_alloc(size_t size) {
  ALWAYS(size < SIZE_MAX / 2);
  ALWAYS(pthread_mutex_lock(&pool_lock) == 0);
  struct block *b = take(size);
  b->magic = BLOCK_LIVE;
  b->size = size;
  pool_usage.live++;
  ALWAYS(pthread_mutex_unlock(&pool_lock) == 0);
  memset(b + 1, 0, size);
  return b + 1;
}

char *secret_dup(struct span text) {
  char *copy = secret_alloc(text.len + 1);
  if (text.len) memcpy(copy, text.ptr, text.len);
  return copy;
}

void secret_free(void *secret) {
  if (!secret) return;
  struct block *b = (struct block *)secret - 1;
  ALWAYS(b->magic == BLOCK_LIVE);
  sodium_memzero(secret, b->class == CLASS_NONE ? b->size : class_bytes[b->class]);
  ALWAYS(pthread_mutex_lock(&pool_lock) == 0);
  b->magic = BLOCK_FREE;
  pool_usage.live--;
  if (b->class == CLASS_NONE) {
    sodium_free(b);
  } else {
    b->next = pool_free[b->class];
    pool_free[b->class] = b;
  }
  ALWAYS(pthread_mutex_unlock(&pool_lock) == 0);
}

struct secret_usage secret__usage(void) {
  ALWAYS(pthread_mutex_lock(&pool_lock) == 0);
  struct secret_usage usage = pool_usage;
  ALWAYS(pthread_mutex_unlock(&pool_lock) == 0);
  return usage;
}

void secret_wipe(void *memory, size_t size) {
  if (size) sodium_memzero(memory, size);
}

bool secret_equal(struct span a, struct span b) {
  return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0);
}
