// The directory's façade: cache, single flights, broadcasts, the store's health. Runs on the loop of workers and the dispatcher.
//
//   get/find ─▶ default business? ─▶ cache ── fresh ─▶ answer
//                                      ├── stale ─▶ answer, and one flight in the background
//                                      └── absent ─▶ one flight ─▶ store (pool thread) ─▶ cache ─▶ all who wait
//                                                    store down: LATER; after some failures nobody asks but a probe
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"

#define TICK_MS     250
#define COMPLAIN_US 60000000
#define WARM_MAX    100 // businesses of a warm-up that was broadcast
#define SOON_US     250000

static void count(struct directory *d, enum metric metric, uint64_t n) {
  if (d->slot) metrics_add(d->slot, metric, n);
}

// ---------------------------------------------------------------- the store's health

static void recovered(struct directory *d, int64_t now_us) {
  if (d->complained) log_info("directory", "the store answers again");
  d->failing = d->complained = false;
  d->published.state.ok_us = now_us;
  if (!d->shm) return;
  atomic_store(&d->shm->broadcast->directory_failed_us, 0);
  atomic_store(&d->shm->broadcast->directory_ok_us, now_us);
}

static void failed(struct directory *d, const char *why, int64_t now_us) {
  d->failing = true;
  d->published.state.failed_us = now_us;
  snprintf(d->published.state.failure, sizeof d->published.state.failure, "%s", why);
  if (d->shm) atomic_store(&d->shm->broadcast->directory_failed_us, now_us);
  if (now_us < d->complain_us) return;
  d->complained = true;
  d->complain_us = now_us + COMPLAIN_US;
  log_warning("directory", "the store cannot be asked: %s (known businesses are answered from the cache, new ones wait)", why);
}

static void tell_breaker(struct directory *d, bool good, int64_t now_us) {
  if (breaker_tell(&d->breaker, good, now_us) && !good)
    log_warning("directory", "the store failed again and again: it is only probed until it answers");
}

void directory__asked(struct directory *d, const struct asked *asked) {
  int64_t now_us = loop_now_us(d->loop);
  bool good = asked->err == ERR_OK || asked->err == ERR_NOT_FOUND;
  count(d, METRIC_STORE_QUERIES, 1);
  if (d->slot) metrics_observe(d->slot, HISTOGRAM_LOOKUP, (uint64_t)asked->took_us);
  publish__asked(d, asked);
  if (good)
    recovered(d, now_us);
  else
    failed(d, asked->why, now_us);
  if (!good) count(d, METRIC_STORE_ERRORS, 1);
  tell_breaker(d, good, now_us);
}

void directory__overdue(struct directory *d, unsigned questions) {
  int64_t now_us = loop_now_us(d->loop);
  failed(d, "it takes too long to answer", now_us);
  for (unsigned i = 0; i < questions; i++)
    tell_breaker(d, false, now_us);
}

_Static_assert((int)STORE_QUERY_PHONE == (int)DIRECTORY_PHONE && (int)STORE_QUERY_SUBDOMAIN == (int)DIRECTORY_SUBDOMAIN &&
                   (int)STORE_QUERY_WABA == (int)DIRECTORY_WABA,
               "the first kinds of queries are those of keys");

static uint64_t hash_64(const void *data, size_t len) {
  uint8_t hash[16];
  uint64_t id;
  hash_stable128(data, len, hash);
  memcpy(&id, hash, sizeof id);
  return id;
}

// Of 64 bits: among as many as there are, none is taken for another; nor that of another store, which a reload may have left behind.
static uint64_t unknown_id(const struct directory *d, const struct cache_key *key) {
  return hash_64(key->text, key->len) ^ d->store_id;
}

static const struct business *on_landed(void *ctx, const struct flight_landing *landing) {
  struct directory *d = ctx;
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  struct asked asked = {(enum store_query)landing->kind, landing->err, landing->why, landing->took_us, landing->business != NULL};
  if (landing->asked) directory__asked(d, &asked);
  if (landing->err != ERR_OK && landing->err != ERR_NOT_FOUND) return NULL;
  if (landing->outdated) {
    if (landing->business) cache_retire(d->cache, landing->business);
  } else {
    cache_put(d->cache, landing->key, landing->business, loop_now_us(d->loop));
    if (!landing->business && d->shm) shm_unknown_add(d->shm, unknown_id(d, landing->key), landing->asked_us);
  }
  return landing->business;
}

// ---------------------------------------------------------------- broadcasts

static void on_clear(void *ctx) {
  directory_clear(ctx);
}

static void on_warmed(void *ctx, int n) {
  (void)ctx;
  if (n >= 0) log_info("directory", "Cache warmed up with %d businesses", n);
}

static void on_warm(void *ctx) {
  struct directory *d = ctx;
  directory_warm(d, WARM_MAX, on_warmed, NULL);
}

static void on_key(void *ctx, struct span key) {
  struct directory *d = ctx;
  d->changes++;
  cache_forget(d->cache, key);
  flights_outdate(d->flights, key);
  if (d->shm) shm_unknown_forget(d->shm);
  d->warm_outdated = true;
}

static const struct shm_events events = {.on_clear = on_clear, .on_warm = on_warm, .on_key = on_key};

// At each look-up and each turn: a clear that was answered with 200 is in force for whatever is read after it.
static void listen_in(struct directory *d) {
  if (d->shm) shm_reader_poll(&d->reader, d->shm, &events, d);
}

static void on_turn(void *ctx) {
  struct directory *d = ctx;
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  listen_in(d);
  cache_bury(d->cache);
  if (!d->slot) return;
  metrics_set(d->slot, METRIC_CACHE_SIZE, cache_size(d->cache));
  uint64_t evictions = cache_evictions(d->cache);
  if (evictions != d->evictions_told) count(d, METRIC_CACHE_EVICTIONS, evictions - d->evictions_told);
  d->evictions_told = evictions;
}

static void on_tick(void *ctx) {
  struct directory *d = ctx;
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  keep__tick(d);
}

// ---------------------------------------------------------------- look-ups

static bool is_standard(const struct directory *d, enum directory_key kind, struct span key) {
  if (!d->standard) return false;
  if (kind == DIRECTORY_PHONE) return span_eq(key, span_of(d->standard->phone_number_ids[0]));
  return kind == DIRECTORY_SUBDOMAIN && span_eq(key, span_of(d->standard->sub_domain));
}

// What the cache has, or what another process was told lately: that nobody has this key.
static enum cache_state recall(struct directory *d, const struct cache_key *text, const struct business **out) {
  int64_t now_us = loop_now_us(d->loop);
  enum cache_state state = cache_get(d->cache, text, now_us, out);
  if (state != CACHE_ABSENT || !d->shm) return state;
  int64_t asked_us = shm_unknown_asked(d->shm, unknown_id(d, text));
  if (!asked_us || now_us - asked_us >= d->negative_ttl_us) return CACHE_ABSENT;
  cache_put(d->cache, text, NULL, asked_us);
  *out = NULL;
  return CACHE_FRESH;
}

// *state CACHE_ABSENT: the cache does not know. *text is set unless UNKNOWN is answered.
static enum directory_answer look(struct directory *d, enum directory_key kind, struct span key, struct cache_key *text,
                                  enum cache_state *state, const struct business **out) {
  const struct business *b = NULL;
  *state = CACHE_FRESH;
  if (is_standard(d, kind, key)) {
    *out = d->standard;
    d->hits++;
    count(d, METRIC_CACHE_HITS, 1);
    return DIRECTORY_FOUND;
  }
  // What no business can have costs neither a place in the cache nor a question.
  bool possible = (kind != DIRECTORY_PHONE || business_phone_id_valid(key)) && cache_key_make(text, kind, key);
  if (!possible) return DIRECTORY_UNKNOWN;
  *state = recall(d, text, &b);
  if (*state == CACHE_ABSENT) {
    d->misses++;
    count(d, METRIC_CACHE_MISSES, 1);
    log_debug("directory", "Cache MISS %.*s", (int)text->len, text->text);
    return DIRECTORY_PENDING;
  }
  d->hits++;
  count(d, METRIC_CACHE_HITS, 1);
  if (*state == CACHE_STALE) count(d, METRIC_CACHE_STALE, 1);
  if (!b) count(d, METRIC_CACHE_NEGATIVE, 1);
  log_debug("directory", "Cache HIT %.*s", (int)text->len, text->text);
  if (!b) return DIRECTORY_UNKNOWN;
  *out = b;
  return DIRECTORY_FOUND;
}

bool directory_knows(struct directory *d, enum directory_key kind, struct span key) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  struct cache_key text;
  const struct business *b = NULL;
  listen_in(d);
  if (is_standard(d, kind, key) || (kind == DIRECTORY_PHONE && !business_phone_id_valid(key)) || !cache_key_make(&text, kind, key))
    return true;
  return recall(d, &text, &b) != CACHE_ABSENT;
}

bool directory_asks(const struct directory *d) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  return breaker_passes(&d->breaker);
}

static bool fly(struct directory *d, const struct flight_wish *wish) {
  return breaker_passes(&d->breaker) && flights_join(d->flights, wish, loop_now_us(d->loop));
}

static bool still_asked(void *ctx, const struct cache_key *key) {
  struct directory *d = ctx;
  const struct business *b = NULL;
  return breaker_passes(&d->breaker) && recall(d, key, &b) != CACHE_FRESH;
}

enum directory_answer directory_get(struct directory *d, enum directory_key kind, struct span key, enum directory_refresh refresh,
                                    const struct business **out) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  struct cache_key text;
  enum cache_state state;
  listen_in(d);
  enum directory_answer answer = look(d, kind, key, &text, &state, out);
  if (refresh == DIRECTORY_LEAVE || state == CACHE_FRESH) return answer;
  struct flight_wish wish = {.kind = kind, .key = key, .text = &text};
  if (refresh == DIRECTORY_SOON && state == CACHE_ABSENT && d->shm) wish.delay_us = SOON_US;
  (void)fly(d, &wish);
  return answer;
}

void directory_find(struct directory *d, enum directory_key kind, struct span key, directory_found *on_answer, void *ctx) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  struct cache_key text;
  enum cache_state state;
  const struct business *b = NULL;
  listen_in(d);
  enum directory_answer answer = look(d, kind, key, &text, &state, &b);
  struct flight_wish wish = {.kind = kind, .key = key, .text = &text};
  if (answer == DIRECTORY_PENDING) {
    wish.on_answer = on_answer;
    wish.ctx = ctx;
    if (!fly(d, &wish)) on_answer(ctx, DIRECTORY_LATER, NULL);
    return;
  }
  if (state == CACHE_STALE) (void)fly(d, &wish);
  on_answer(ctx, answer, b);
}

void directory_forget(struct directory *d, enum directory_key kind, struct span key) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  struct cache_key text;
  if (cache_key_make(&text, kind, key)) on_key(d, (struct span){text.text, text.len});
}

void directory_clear(struct directory *d) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  d->changes++;
  cache_clear(d->cache);
  flights_outdate(d->flights, (struct span){NULL, 0});
  if (d->shm) shm_unknown_forget(d->shm);
  d->warm_outdated = true;
}

uint64_t directory_changes(const struct directory *d) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  return d->changes;
}

void directory_stats(const struct directory *d, struct directory_stats *out) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  *out = (struct directory_stats){
      .size = cache_size(d->cache),
      .capacity = d->capacity,
      .ttl_ms = d->ttl_ms,
      .hits = d->hits,
      .misses = d->misses,
      .healthy = !d->failing,
      .breaker = breaker_state_name(d->breaker.state),
      .breaker_opened = d->breaker.opened,
  };
}

enum err directory_store_stats(struct directory *d, struct store_stats *out) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  return store_stats(d->store, out);
}

// ---------------------------------------------------------------- beginning and end

static struct business *make_standard(const char *phone_number_id, const char *token) {
  if (!phone_number_id || !*phone_number_id) return NULL;
  struct business *b = business_new();
  char **names[] = {&b->id, &b->name, &b->sub_domain};
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    free(*names[i]);
    *names[i] = xstrdup("default");
  }
  free(b->access_token);
  b->access_token = xstrdup(token ? token : "");
  b->phone_number_ids[b->phone_count++] = xstrdup(phone_number_id);
  b->whatsapp_enabled = b->is_active = true;
  return b;
}

static void on_flights_idle(void *ctx) {
  struct directory *d = ctx;
  d->flights_idle = true;
  directory__free_if_idle(d);
}

enum err directory_open(const struct directory_options *o, struct directory **out, struct why *why) {
  struct store *store;
  enum err e = store_open_with(&o->store, &store, why);
  if (e) return e;
  struct directory *d = xcalloc(1, sizeof *d);
  *d = (struct directory){.magic = DIRECTORY_MAGIC, .loop = o->loop, .shm = o->shm, .slot = o->slot, .store = store};
  d->slow_us = d->configured_slow_us = store__slow_us(o->store.slow_query_ms);
  d->store_id =
      hash_64(o->store.uri, strlen(o->store.uri)) ^ (o->store.database ? hash_64(o->store.database, strlen(o->store.database)) : 0);
  d->ttl_ms = o->cache_ttl_ms;
  d->negative_ttl_us = o->negative_ttl_ms * 1000;
  d->capacity = o->cache_size ? o->cache_size : 1;
  // A stale answer is never younger than a fresh one: stale_max counts from the loading too.
  int64_t stale_ms = o->stale_max_ms > o->cache_ttl_ms ? o->stale_max_ms : o->cache_ttl_ms;
  struct cache_limits limits = {d->capacity, o->cache_ttl_ms * 1000, d->negative_ttl_us, stale_ms * 1000};
  d->cache = cache_new(&limits);
  struct flights_options f = {
      .loop = o->loop, .store = store, .on_landed = on_landed, .still_asked = still_asked, .on_idle = on_flights_idle, .ctx = d};
  d->flights = flights_new(&f);
  d->standard = make_standard(o->default_phone_number_id, o->default_token);
  if (d->shm) shm_reader_start(&d->reader, d->shm);
  d->hook = (struct loop_hook){.on_turn = on_turn, .ctx = d};
  loop_hook_add(d->loop, &d->hook);
  loop_timer_init(d->loop, &d->timer, on_tick, d);
  loop_timer_start(&d->timer, 0, TICK_MS);
  // One watcher a daemon is enough, and there is one dispatcher.
  if (d->shm && d->slot && atomic_load(&d->slot->role) == SHM_ROLE_DISPATCHER) {
    struct watch_options watch = {.store = &o->store, .shm = d->shm, .slot = d->slot, .position_path = o->position_path};
    d->watch = watch_start(&watch);
  }
  *out = d;
  return ERR_OK;
}

void directory__free_if_idle(struct directory *d) {
  if (!d->closed || !d->timer_closed || !d->flights_idle || d->keeping) return;
  flights_free(d->flights);
  store_close(d->store);
  cache_free(d->cache);
  business_free(d->standard);
  d->magic = 0;
  free(d);
}

static void on_timer_closed(void *ctx) {
  struct directory *d = ctx;
  d->timer_closed = true;
  directory__free_if_idle(d);
}

// The memory goes when the timer and the last job are back: loop_run() or loop_free() must come after this.
void directory_close(struct directory *d) {
  if (!d || d->closed) return;
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  d->closed = true;
  watch_stop(d->watch);
  d->watch = NULL;
  loop_hook_remove(d->loop, &d->hook);
  loop_timer_close(&d->timer, on_timer_closed);
  keep__close(d);
  publish__tick(d, true);
  flights_close(d->flights);
}
