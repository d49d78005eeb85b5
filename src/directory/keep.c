// The directory's housekeeping: notices changes in the store, warms the cache up, lists who has a retention. Runs on the loop of workers
// and the dispatcher; the questions themselves on a pool thread, one at a time.
#include <limits.h>
#include <stdlib.h>

#include "inside.h"

#define WAIT_MAX_US   2000000  // a find waits no longer for a store that hangs
#define LIST_MAX_US   20000000 // nor a list of retentions
#define LIST_GRACE_US 4000000  // so much longer than another question it may take before it counts as one that hangs
#define LIST_LOG_US   60000000
#define POLL_US       1000000
#define AGAIN_MAX     3

struct keep_job {
  struct loop_job job;
  struct directory *directory;
  struct store *store;
  enum keep_what { KEEP_POLL, KEEP_WARM, KEEP_RETENTIONS } what;
  unsigned max;
  uint64_t asked; // for retentions: whose question it is
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

// A number may be listed with a business that is out of use and have gone to another one, whose messages these are now.
static enum err drop_lost_numbers(struct keep_job *k, struct business *b) {
  unsigned kept = 0;
  enum err e = ERR_OK;
  for (unsigned i = 0; i < b->phone_count; i++) {
    struct business *other = NULL;
    enum err found = e ? e : store_find(k->store, DIRECTORY_PHONE, span_of(b->phone_number_ids[i]), &other, &k->why);
    if (found && found != ERR_NOT_FOUND) e = found;
    if (found)
      b->phone_number_ids[kept++] = b->phone_number_ids[i];
    else
      free(b->phone_number_ids[i]);
    business_free(other);
  }
  b->phone_count = kept;
  return e;
}

static enum err list_retentions(struct keep_job *k) {
  enum err e = store_each(k->store, STORE_RETENTION, NULL, UINT_MAX, on_business, k, &k->why);
  for (size_t i = 0; i < k->count && !e; i++) {
    struct business *b = k->businesses[i];
    if (!b->is_active || !b->whatsapp_enabled) e = drop_lost_numbers(k, b);
  }
  return e;
}

static void work(struct loop_job *job) {
  struct keep_job *k = (struct keep_job *)(void *)job;
  int64_t from = clock_mono_us();
  switch (k->what) {
  case KEEP_POLL: k->err = store__changed(k->store, &k->version, &k->why); break;
  case KEEP_WARM: k->err = store_each(k->store, STORE_ACTIVE, NULL, k->max, on_business, k, &k->why); break;
  case KEEP_RETENTIONS: k->err = list_retentions(k); break;
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

static void end_retentions(struct directory *d, struct business *const *businesses, int count) {
  directory_listed *on_listed = d->on_retentions;
  d->on_retentions = NULL;
  if (on_listed) on_listed(d->retentions_ctx, businesses, count);
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

// What came of a question, for the store's health. A list of retentions that fails is no sign that look-ups do, too: of a large collection
// it may take longer than the store allows.
static void tell(struct directory *d, const struct keep_job *k) {
  static const enum store_query queries[] = {
      [KEEP_POLL] = STORE_QUERY_PROBE, [KEEP_WARM] = STORE_QUERY_WARM, [KEEP_RETENTIONS] = STORE_QUERY_LIST};
  uint64_t held_back;
  if (k->what == KEEP_RETENTIONS && k->err) {
    if (log_limited(&d->retentions_limit, 1, loop_now_us(d->loop), LIST_LOG_US, &held_back))
      log_warning("directory", "the businesses with a retention cannot be listed: %s (those that were known last have theirs)",
                  k->why.text);
  } else if (k->what != KEEP_POLL || k->err || d->failing) {
    directory__asked(d, &(struct asked){queries[k->what], k->err, k->why.text, k->took_us, k->count});
  } else { // a poll in good times is no query worth counting
    d->published.state.ok_us = loop_now_us(d->loop);
    (void)breaker_tell(&d->breaker, true, loop_now_us(d->loop));
  }
}

static void done(struct loop_job *job, bool canceled) {
  struct keep_job *k = (struct keep_job *)(void *)job;
  struct directory *d = k->directory;
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  if (canceled) {
    k->err = ERR_CANCELED;
    breaker_probe_lost(&d->breaker, loop_now_us(d->loop));
  } else {
    tell(d, k);
  }
  if (!d->closed) {
    switch (k->what) {
    case KEEP_POLL: polled(d, k); break;
    case KEEP_WARM: warmed(d, k); break;
    case KEEP_RETENTIONS: // the answer to a question that was given up is none to the next one
      if (k->asked == d->retentions_asked) end_retentions(d, k->businesses, k->err ? -1 : (int)k->count);
      break;
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
  if (d->on_retentions && !d->poll_due && !d->keeping && !breaker_passes(&d->breaker)) end_retentions(d, NULL, -1);
  if (d->keeping || d->closed || (!d->poll_due && !d->warms && !d->on_retentions)) return;
  struct keep_job *k = xcalloc(1, sizeof *k);
  k->job = (struct loop_job){.work = work, .done = done};
  k->directory = d;
  k->store = d->store;
  k->what = d->poll_due ? KEEP_POLL : d->warms ? KEEP_WARM : KEEP_RETENTIONS;
  if (k->what == KEEP_WARM) k->max = d->warms->max;
  k->asked = d->retentions_asked;
  d->poll_due = d->warm_outdated = false;
  d->keeping = true;
  d->kept_since_us = loop_now_us(d->loop) + (k->what == KEEP_RETENTIONS ? LIST_GRACE_US : 0);
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
  if (d->on_retentions && d->retentions_us < now_us - LIST_MAX_US) end_retentions(d, NULL, -1);
  flights_tick(d->flights, now_us);
  flights_give_up(d->flights, now_us - WAIT_MAX_US); // last: what it calls may close the directory
}

void keep__close(struct directory *d) {
  end_retentions(d, NULL, -1);
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

void directory_retentions(struct directory *d, directory_listed *on_listed, void *ctx) {
  ALWAYS(d->magic == DIRECTORY_MAGIC && !d->on_retentions);
  d->on_retentions = on_listed;
  d->retentions_ctx = ctx;
  d->retentions_us = loop_now_us(d->loop);
  d->retentions_asked++;
  if (!d->version_known) d->poll_due = true;
  keep__next(d);
}

void directory_retentions_drop(struct directory *d) {
  ALWAYS(d->magic == DIRECTORY_MAGIC);
  d->on_retentions = NULL;
}
