// SQLite's own page cache with one door watched. Runs in every process that opens a spool.
//
// After each commit SQLite tells the cache to drop the pages behind the end of the file. There are none, and the cache knows by the highest
// page number that it has seen. But when a tree is balanced, two pages trade their numbers by way of one that no page ever has: that of the
// lock bytes at 1 GiB. From then on the cache takes that for its highest page and walks through all it holds, at each commit: 64 MiB of
// pages are hundreds of microseconds. Here the highest number is counted without that one.
#include "spool/store.h"

#include <stdlib.h>

#define LOCK_BYTES_AT 0x40000000u

struct pages {
  sqlite3_pcache *base;
  unsigned highest, lock_page;
};

// SQLite's own methods: written once, before SQLite is in use. Its interface gives a new cache nothing to find them by.
static sqlite3_pcache_methods2 base;

static struct pages *of(sqlite3_pcache *cache) {
  return (struct pages *)cache;
}

static int init(void *arg) {
  (void)arg;
  return base.xInit(base.pArg);
}

static void shutdown_all(void *arg) {
  (void)arg;
  if (base.xShutdown) base.xShutdown(base.pArg);
}

static sqlite3_pcache *create(int page_bytes, int extra_bytes, int purgeable) {
  struct pages *pages = calloc(1, sizeof *pages);
  if (!pages) return NULL;
  pages->base = base.xCreate(page_bytes, extra_bytes, purgeable);
  pages->lock_page = LOCK_BYTES_AT / (unsigned)page_bytes + 1;
  if (pages->base) return (sqlite3_pcache *)pages;
  free(pages);
  return NULL;
}

static void set_size(sqlite3_pcache *cache, int size) {
  base.xCachesize(of(cache)->base, size);
}

static int count(sqlite3_pcache *cache) {
  return base.xPagecount(of(cache)->base);
}

static sqlite3_pcache_page *fetch(sqlite3_pcache *cache, unsigned number, int how) {
  struct pages *pages = of(cache);
  if (how && number > pages->highest) pages->highest = number;
  return base.xFetch(pages->base, number, how);
}

static void unpin(sqlite3_pcache *cache, sqlite3_pcache_page *page, int discard) {
  base.xUnpin(of(cache)->base, page, discard);
}

static void rekey(sqlite3_pcache *cache, sqlite3_pcache_page *page, unsigned from, unsigned to) {
  struct pages *pages = of(cache);
  if (to != pages->lock_page && to > pages->highest) pages->highest = to;
  base.xRekey(pages->base, page, from, to);
}

static void truncate_to(sqlite3_pcache *cache, unsigned first_gone) {
  struct pages *pages = of(cache);
  if (first_gone > pages->highest) return;
  base.xTruncate(pages->base, first_gone);
  pages->highest = first_gone ? first_gone - 1 : 0;
}

static void destroy(sqlite3_pcache *cache) {
  base.xDestroy(of(cache)->base);
  free(cache);
}

static void shrink(sqlite3_pcache *cache) {
  base.xShrink(of(cache)->base);
}

static const sqlite3_pcache_methods2 watched = {
    .iVersion = 1,
    .xInit = init,
    .xShutdown = shutdown_all,
    .xCreate = create,
    .xCachesize = set_size,
    .xPagecount = count,
    .xFetch = fetch,
    .xUnpin = unpin,
    .xRekey = rekey,
    .xTruncate = truncate_to,
    .xDestroy = destroy,
    .xShrink = shrink,
};

void page_cache__watch(void) {
  sqlite3_pcache_methods2 methods = {0};
  if (base.xCreate || sqlite3_config(SQLITE_CONFIG_GETPCACHE2, &methods) != SQLITE_OK) return;
  base = methods;
  (void)sqlite3_config(SQLITE_CONFIG_PCACHE2, &watched);
}
