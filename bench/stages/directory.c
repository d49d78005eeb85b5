// Whose phone number is it? The cache with a few businesses, a hundred thousand and a million. Runs in bench-stages.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "wahook/proc.h"

#include "cache.h"
#include "stages.h"

#define MILLION 1000000
#define S       INT64_C(1000000)

struct work {
  struct cache *cache;
  uint64_t among, random;
};

static struct cache *fill(uint64_t count) {
  struct cache_limits limits = {.capacity = count, .ttl_us = 300 * S, .negative_ttl_us = 60 * S, .stale_max_us = 3600 * S};
  struct cache *cache = cache_new(&limits);
  for (uint64_t i = 0; i < count; i++) {
    struct business *b = business_new();
    struct cache_key key;
    char phone[24], name[48];
    stage_phone(i, phone);
    snprintf(name, sizeof name, "b%s", phone);
    free(b->id);
    b->id = xstrdup(name);
    b->phone_number_ids[b->phone_count++] = xstrdup(phone);
    if (!cache_key_make(&key, DIRECTORY_PHONE, span_of(phone))) die("no key");
    cache_put(cache, &key, b, 0);
  }
  return cache;
}

static void look_up(void *ctx, uint64_t n) {
  struct work *w = ctx;
  for (uint64_t i = 0; i < n; i++) {
    struct cache_key key;
    const struct business *found;
    char phone[24];
    w->random = w->random * 6364136223846793005u + 1442695040888963407u; // any order will do
    stage_phone((w->random >> 33) % w->among, phone);
    if (!cache_key_make(&key, DIRECTORY_PHONE, span_of(phone)) || cache_get(w->cache, &key, 1, &found) != CACHE_FRESH) die("not found");
  }
}

// The work around a look-up that is not its own.
static void make_keys(void *ctx, uint64_t n) {
  struct work *w = ctx;
  for (uint64_t i = 0; i < n; i++) {
    char phone[24];
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    stage_phone((w->random >> 33) % w->among, phone);
    __asm__ volatile("" : : "r"(phone) : "memory");
  }
}

void stages_directory(void) {
  struct work w = {.among = 100};
  if (!stage_wanted("directory")) return;
  stage_time("directory: (print a phone number id)", make_keys, &w);
  w.cache = fill(w.among);
  stage_time("directory: print and look up, 100 businesses", look_up, &w);
  cache_free(w.cache);
  w.among = 100000;
  w.cache = fill(w.among);
  stage_time("directory: print and look up, 100,000", look_up, &w);
  cache_free(w.cache);
  malloc_trim(0); // what is freed is not resident
  uint64_t before = proc_rss_bytes(getpid());
  w.among = MILLION;
  w.cache = fill(w.among);
  stage_tell("directory: memory of a cached business", "bytes", (double)(proc_rss_bytes(getpid()) - before) / MILLION);
  stage_time("directory: print and look up, 1,000,000", look_up, &w);
  cache_free(w.cache);
}
