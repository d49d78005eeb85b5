// Questions to the store, one per key at a time, on the threadpool. Runs in workers and the dispatcher, on the loop but for work().
//
//   join ─▶ QUEUED ─▶ FLYING (in a job with others)   ─▶ landed: cache, then the waiters
//    │       ▲   ▲        │ outdated meanwhile
//    ▼       │   └────────┘
//   RESTING ─┘ somebody waits now, or it has rested long enough (and is still asked)
#include "flight.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#define FLIGHTS_MAGIC 0x464c5953u
#define JOBS_MAX      2                // of the pool's threads (4 by default): the rest stay free for others, also while a store hangs
#define BATCH         STORE_PHONES_MAX // questions a job
#define FLIGHTS_MAX   10000            // keys under way or waiting: more is a flood
#define AGAIN_MAX     3                // a key that keeps being forgotten is answered all the same

struct waiter {
  directory_found *on_answer;
  void *ctx;
  int64_t since_us;
  struct waiter *next;
};
struct flight {
  struct cache_key text;
  enum directory_key kind;
  uint8_t key_at; // where in `text` the key itself begins
  bool resting, flying, outdated;
  unsigned again;
  int64_t rest_until_us;
  struct waiter *waiters, **waiters_tail;
  struct flight *prev, *next; // among those that rest, or in the queue, while not flying
  UT_hash_handle hh;
};
struct flights {
  uint32_t magic;
  struct flights_options o;
  struct flight *table, *queue, *resting;
  struct batch *out; // jobs under way
  unsigned jobs;
  bool closed;
};

// All that the pool thread sees: copies, and the store.
struct question {
  struct flight *flight; // for done(), on the loop
  enum directory_key kind;
  struct cache_key text;
  uint8_t key_at;
  enum err err;
  struct business *business;
  struct why why;
  int64_t asked_us, took_us;
  bool asked;
};
struct batch {
  struct loop_job job;
  struct flights *flights;
  struct batch *prev, *next;
  int64_t since_us;
  struct store *store;
  unsigned count;
  struct question questions[BATCH];
};

struct flights *flights_new(const struct flights_options *options) {
  struct flights *flights = xcalloc(1, sizeof *flights);
  flights->magic = FLIGHTS_MAGIC;
  flights->o = *options;
  return flights;
}

static struct span key_of(const struct question *q) {
  return span_from((struct span){q->text.text, q->text.len}, q->key_at);
}

// Phone numbers, which is what there is much of, in one question. False: the store does not offer that, or there are others among them.
static bool ask_together(struct batch *batch) {
  struct span keys[BATCH];
  struct business *found[BATCH] = {NULL};
  struct why why = {0};
  for (unsigned i = 0; i < batch->count; i++) {
    if (batch->questions[i].kind != DIRECTORY_PHONE) return false;
    keys[i] = key_of(&batch->questions[i]);
  }
  int64_t asked_us = clock_mono_us();
  enum err e = store__find_phones(batch->store, keys, batch->count, found, &why);
  if (e == ERR_UNSUPPORTED) return false;
  int64_t took_us = clock_mono_us() - asked_us;
  for (unsigned i = 0; i < batch->count; i++) {
    struct question *q = &batch->questions[i];
    q->err = e ? e : found[i] ? ERR_OK : ERR_NOT_FOUND;
    q->business = found[i];
    q->why = why;
    q->asked = i == 0; // it was one question
    q->asked_us = asked_us;
    q->took_us = took_us;
  }
  return true;
}

// When the store cannot be asked, the others of the batch need not wait for their own time-out.
static void ask_each(struct batch *batch) {
  const struct question *down = NULL;
  for (unsigned i = 0; i < batch->count; i++) {
    struct question *q = &batch->questions[i];
    if (down) {
      q->err = down->err;
      q->why = down->why;
      continue;
    }
    q->asked_us = clock_mono_us();
    q->asked = true;
    q->err = store_find(batch->store, q->kind, key_of(q), &q->business, &q->why);
    q->took_us = clock_mono_us() - q->asked_us;
    if (q->err != ERR_OK && q->err != ERR_NOT_FOUND) down = q;
  }
}

// On a pool thread.
static void work(struct loop_job *job) {
  struct batch *batch = (struct batch *)(void *)job;
  if (batch->count < 2 || !ask_together(batch)) ask_each(batch);
}

static void tell(struct waiter *waiters, enum directory_answer answer, const struct business *business) {
  while (waiters) {
    struct waiter *w = waiters;
    waiters = w->next;
    w->on_answer(w->ctx, answer, business);
    free(w);
  }
}

static void forget_flight(struct flights *flights, struct flight *f) {
  HASH_DEL(flights->table, f);
  free(f);
}

static void take_off(struct flights *flights);

static void land(struct flights *flights, struct question *q) {
  struct flight *f = q->flight;
  bool answered = q->err == ERR_OK || q->err == ERR_NOT_FOUND;
  bool outdated = f->outdated && answered;
  struct flight_landing landing = {q->kind, &f->text, q->err, q->business, q->why.text, q->asked_us, q->took_us, q->asked, outdated};
  const struct business *shown = flights->o.on_landed(flights->o.ctx, &landing);
  if (outdated && f->again < AGAIN_MAX && !flights->closed) {
    f->again++;
    f->flying = f->outdated = false;
    DL_APPEND(flights->queue, f);
    return;
  }
  struct waiter *waiters = f->waiters;
  forget_flight(flights, f);
  tell(waiters, q->err == ERR_OK ? DIRECTORY_FOUND : q->err == ERR_NOT_FOUND ? DIRECTORY_UNKNOWN : DIRECTORY_LATER, shown);
}

static void done(struct loop_job *job, bool canceled) {
  struct batch *batch = (struct batch *)(void *)job;
  struct flights *flights = batch->flights;
  ALWAYS(flights->magic == FLIGHTS_MAGIC);
  for (unsigned i = 0; i < batch->count; i++) {
    struct question *q = &batch->questions[i];
    if (canceled) {
      q->err = ERR_CANCELED;
      why_set(&q->why, "canceled");
    }
    land(flights, q);
  }
  DL_DELETE(flights->out, batch);
  free(batch);
  flights->jobs--; // only now: waiters that close us from their callback must not find us idle
  take_off(flights);
  if (flights->closed && flights->jobs == 0) flights->o.on_idle(flights->o.ctx);
}

static void take_off(struct flights *flights) {
  while (flights->queue && flights->jobs < JOBS_MAX && !flights->closed) {
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->job = (struct loop_job){.work = work, .done = done};
    batch->flights = flights;
    batch->store = flights->o.store;
    batch->since_us = loop_now_us(flights->o.loop);
    DL_APPEND(flights->out, batch);
    while (flights->queue && batch->count < BATCH) {
      struct flight *f = flights->queue;
      DL_DELETE(flights->queue, f);
      f->flying = true;
      batch->questions[batch->count++] = (struct question){.flight = f, .kind = f->kind, .text = f->text, .key_at = f->key_at};
    }
    flights->jobs++;
    loop_job_submit(flights->o.loop, &batch->job);
  }
}

static struct flight *start(struct flights *flights, const struct flight_wish *wish, int64_t now_us) {
  struct flight *f = xcalloc(1, sizeof *f);
  f->text = *wish->text;
  f->kind = wish->kind;
  f->key_at = (uint8_t)(wish->text->len - wish->key.len);
  f->waiters_tail = &f->waiters;
  f->resting = wish->delay_us > 0 && !wish->on_answer;
  f->rest_until_us = now_us + wish->delay_us;
  HASH_ADD_KEYPTR(hh, flights->table, f->text.text, f->text.len, f);
  if (f->resting)
    DL_APPEND(flights->resting, f);
  else
    DL_APPEND(flights->queue, f);
  return f;
}

static void rouse(struct flights *flights, struct flight *f) {
  f->resting = false;
  DL_DELETE(flights->resting, f);
  DL_APPEND(flights->queue, f);
}

bool flights_join(struct flights *flights, const struct flight_wish *wish, int64_t now_us) {
  ALWAYS(flights->magic == FLIGHTS_MAGIC);
  struct flight *f;
  HASH_FIND(hh, flights->table, wish->text->text, wish->text->len, f);
  if (!f) {
    if (flights->closed || HASH_COUNT(flights->table) >= FLIGHTS_MAX) return false;
    f = start(flights, wish, now_us);
  }
  if (f->resting && (wish->on_answer || wish->delay_us == 0)) rouse(flights, f);
  if (wish->on_answer) {
    struct waiter *w = xmalloc(sizeof *w);
    *w = (struct waiter){wish->on_answer, wish->ctx, now_us, NULL};
    *f->waiters_tail = w;
    f->waiters_tail = &w->next;
  }
  take_off(flights);
  return true;
}

void flights_tick(struct flights *flights, int64_t now_us) {
  ALWAYS(flights->magic == FLIGHTS_MAGIC);
  struct flight *f, *next;
  DL_FOREACH_SAFE(flights->resting, f, next) {
    if (f->rest_until_us > now_us) break; // all rest equally long
    if (!flights->o.still_asked || flights->o.still_asked(flights->o.ctx, &f->text)) {
      rouse(flights, f);
      continue;
    }
    DL_DELETE(flights->resting, f);
    forget_flight(flights, f);
  }
  take_off(flights);
}

// Whom a business' id concerns is known only when the answers are there: it outdates all.
void flights_outdate(struct flights *flights, struct span text_or_glob) {
  struct flight *f, *next;
  if (span_starts(text_or_glob, SPAN(CACHE_ID_PREFIX))) text_or_glob.len = 0;
  HASH_ITER(hh, flights->table, f, next) {
    if (f->flying && (text_or_glob.len == 0 || span_glob((struct span){f->text.text, f->text.len}, text_or_glob))) f->outdated = true;
  }
}

// Waiters are in the order of their coming: the first who is not due ends it. They are taken out before they are told, since
// what they do may join or close.
void flights_give_up(struct flights *flights, int64_t since_us) {
  struct waiter *due = NULL, **due_tail = &due;
  struct flight *f, *next;
  HASH_ITER(hh, flights->table, f, next) {
    while (f->waiters && f->waiters->since_us < since_us) {
      struct waiter *w = f->waiters;
      f->waiters = w->next;
      if (!f->waiters) f->waiters_tail = &f->waiters;
      w->next = NULL;
      *due_tail = w;
      due_tail = &w->next;
    }
  }
  tell(due, DIRECTORY_LATER, NULL);
}

unsigned flights_overdue(const struct flights *flights, int64_t since_us) {
  unsigned count = 0;
  for (const struct batch *b = flights->out; b; b = b->next)
    count += b->since_us < since_us;
  return count;
}

void flights_close(struct flights *flights) {
  ALWAYS(flights->magic == FLIGHTS_MAGIC);
  if (flights->closed) return;
  flights->closed = true;
  flights_give_up(flights, INT64_MAX);
  struct flight **lists[] = {&flights->queue, &flights->resting};
  for (size_t i = 0; i < COUNT_OF(lists); i++) {
    while (*lists[i]) {
      struct flight *f = *lists[i];
      DL_DELETE(*lists[i], f);
      forget_flight(flights, f);
    }
  }
  if (flights->jobs == 0) flights->o.on_idle(flights->o.ctx);
}

void flights_free(struct flights *flights) {
  if (!flights) return;
  ALWAYS(flights->magic == FLIGHTS_MAGIC && flights->jobs == 0 && !flights->table);
  flights->magic = 0;
  free(flights);
}
