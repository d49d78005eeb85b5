// The directory's housekeeping: notices changes in the store, warms the cache up. Runs on the loop of workers and the dispatcher;
// the questions themselves on a pool thread, one at a time.
#include <stdlib.h>

#include "inside.h"
#include "wahook/log.h"

#define WAIT_MAX_US 2000000 // a find waits no longer for a store that hangs
#define POLL_US     1000000
#define AGAIN_MAX   3

struct keep_job {
  struct loop_job job;
  struct directory *directory;
  struct store *store;
  bool warm;
  unsigned max;
  enum err err;
  struct why why;
  int64_t took_us;
  uint64_t version;
  struct business **businesses;
  size_t count;
};

static void on_business(void *ctx, const struct business *business) {
  struct keep_job *k = ctx;
  k->businesses = xrealloc(k->businesses, (k->count + 1) * sizeof(struct business *));
  k->businesses[k->count++] = business_copy(business);
}

static void work(struct loop_job *job) {
  struct keep_job *k = (struct keep_job *)(void *)job;
  int64_t from = clock_mono_us();
  if (k->warm) {
    k->err = store_newest(k->store, k->max, on_business, k, &k->why);
  } else {
    k->err = store__changed(k->store, &k->version, &k->why);
  }
  k->took_us = clock_mono_us() - from;
}

static void free_job(struct keep_job *k) {
  for (size_t i = 0; i < k->count; i++)
    business_free(k->businesses[i]);
  free(k->businesses);
  free(k);
}

// Up to the cache's size: the first ones shall not be pushed out by the last ones.
static void fill(struct directory *d, struct keep_job *k) {
  int64_t now_us = loop_now_us(d->loop);
  for (size_t i = 0; i < k->count; i++) {
    struct business *b = k->businesses[i];
    for (unsigned p = 0; p < b->phone_count && cache_size(d->cache) < d->capacity; p++) {
      struct cache_key key;
      if (cache_key_make(&key, DIRECTORY_PHONE, span_of(b->phone_number_ids[p]))) cache_put(d->cache, &key, business_copy(b), now_us);
    }
  }
}

static void end_warm(struct directory *d, int count) {
  struct warm *w = d->warms;
  d->warms = w->next;
  if (w->on_done) w->on_done(w->ctx, count);
  free(w);
}

static void warmed(struct directory *d, struct keep_job *k) {
  if (k->err) {
    end_warm(d, -1);
  } else if (d->warm_outdated && d->warms->again++ < AGAIN_MAX) {
    return; // something was forgotten while it was read: read it again
  } else {
    if (!d->warm_outdated) fill(d, k);
    end_warm(d, (int)k->count);
  }
}

static void polled(struct directory *d, struct keep_job *k) {
  if (k->err) return;
  // What was cached before the first answer may be older than it.
  bool changed = d->version_known ? k->version != d->version : cache_size(d->cache) + cache_unknown_size(d->cache) > 0;
  d->version = k->version;
  d->version_known = true;
  if (!changed) return;
  log_debug("directory", "the store has changed: the cache is cleared");
  directory_clear(d);
}

static void done(struct loop_job *job, bool canceled) {
  struct keep_job *k = (struct keep_job *)(void *)job;
  struct directory *d = k->directory;
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  if (canceled) {
    k->err = ERR_CANCELED;
    breaker_probe_lost(&d->breaker, loop_now_us(d->loop));
  } else if (k->warm || k->err || d->failing) {
    directory__asked(d, &(struct asked){k->warm ? STORE_QUERY_WARM : STORE_QUERY_PROBE, k->err, k->why.text, k->took_us, k->count});
  } else { // a poll in good times is no query worth counting
    d->published.state.ok_us = loop_now_us(d->loop);
    (void)breaker_tell(&d->breaker, true, loop_now_us(d->loop));
  }
  if (!d->closed) {
    if (k->warm) {
      warmed(d, k);
    } else {
      polled(d, k);
    }
  }
  free_job(k);
  d->keeping = false;
  if (d->closed) {
    directory__free_if_idle(d);
  } else {
    keep__next(d);
  }
}

// The poll goes first: a warm-up that follows it is noticed to be old when the store changes after it.
void keep__next(struct directory *d) {
  while (d->warms && !d->poll_due && !d->keeping && !breaker_passes(&d->breaker))
    end_warm(d, -1);
  if (d->keeping || d->closed || (!d->poll_due && !d->warms)) return;
  struct keep_job *k = xcalloc(1, sizeof *k);
  k->job = (struct loop_job){.work = work, .done = done};
  k->directory = d;
  k->store = d->store;
  k->warm = !d->poll_due;
  if (k->warm) k->max = d->warms->max;
  d->poll_due = d->warm_outdated = false;
  d->keeping = true;
  d->kept_since_us = loop_now_us(d->loop);
  loop_job_submit(d->loop, &k->job);
}

// Once a second, each question that hangs is a failure more: the breaker need not wait for time-outs of the network.
static void look_for_overdue(struct directory *d, int64_t now_us) {
  if (now_us - d->overdue_us < POLL_US) return;
  d->overdue_us = now_us;
  unsigned count = flights_overdue(d->flights, now_us - WAIT_MAX_US) + (d->keeping && d->kept_since_us < now_us - WAIT_MAX_US);
  if (count) directory__overdue(d, count);
}

void keep__tick(struct directory *d) {
  int64_t now_us = loop_now_us(d->loop);
  look_for_overdue(d, now_us);
  publish__tick(d, false);
  if (!d->keeping && (breaker_passes(&d->breaker) ? now_us - d->polled_us >= POLL_US : breaker_probe(&d->breaker, now_us))) {
    d->poll_due = true;
    d->polled_us = now_us;
  }
  keep__next(d);
  flights_give_up(d->flights, now_us - WAIT_MAX_US); // last: what it calls may close the directory
}

void keep__close(struct directory *d) {
  while (d->warms)
    end_warm(d, -1);
}

void directory_warm(struct directory *d, unsigned max, void (*on_done)(void *ctx, int count), void *ctx) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  struct warm *w = xmalloc(sizeof *w);
  *w = (struct warm){.max = max, .on_done = on_done, .ctx = ctx};
  struct warm **at = &d->warms;
  while (*at)
    at = &(*at)->next;
  *at = w;
  if (!d->version_known) d->poll_due = true;
  keep__next(d);
}
