// The spool's handle, its queue of verbs and its thread: what a turn of the loop asked is applied in one transaction with all else that
// has gathered, then completed on the loop. Runs in the dispatcher.
//
//   loop:   spool_claim() ... -> gathering --turn hook--> queue
//   thread:                                                queue --BEGIN, run each, COMMIT (one fsync)--> ran
//   loop:   on_claimed() ...  <------------------waker----------------------------------------------------ran
#include "spool/verbs.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SPOOL_MAGIC 0x5370306cu // "Sp0l"

// A transaction costs as much as dozens of verbs. On a fast disk each would serve few of them, at a cost that leaves no core for more:
// after one that served n verbs the next begins n times this later, counted from its beginning, so that it serves what came meanwhile.
#define GATHER_EACH_US 250
#define GATHER_MAX_US  4000

struct verb_list {
  struct verb *first, **tail;
};

struct spool {
  uint32_t magic;
  struct loop *loop;
  struct shm_slot *slot;
  struct loop_hook hook;
  struct loop_waker waker;
  char name[9];
  struct clock_steady clock;  // as an earlier process left it
  struct verb_list gathering; // loop only
  bool closing;               // loop only
  void (*on_closed)(void *ctx);
  void *closed_ctx;

  pthread_t thread;
  pthread_mutex_t mutex; // guards what follows, up to `ended`
  pthread_cond_t work, progress;
  struct verb_list queue, ran;
  uint64_t asked, done;         // verbs handed over and verbs that were run
  uint64_t *took_us;            // of the transactions since the loop looked
  size_t took_count, took_size; //
  bool hurry;                   // somebody stands still until it is done
  bool stop, ended;
  struct store *store; // the thread's; the loop's before it starts
  _Atomic uint64_t waiting, dead;
};

static void list_clear(struct verb_list *list) {
  list->first = NULL;
  list->tail = &list->first;
}

static void list_move(struct verb_list *to, struct verb_list *from) {
  if (!from->first) return;
  *to->tail = from->first;
  to->tail = from->tail;
  list_clear(from);
}

// ---------------------------------------------------------------- the thread

// All verbs of a group share one fate: either each was applied, or the error is everybody's and nothing was.
static void run_group(struct store *store, struct verb *first) {
  bool writes = false;
  for (struct verb *v = first; v; v = v->next)
    writes |= verb__kinds[v->id].writes;
  enum err e = store__begin(store, writes);
  for (struct verb *v = first; v && !e; v = v->next)
    e = verb__kinds[v->id].run(store, v);
  if (!e) e = store__commit(store);
  if (!e) return;
  store__rollback(store);
  for (struct verb *v = first; v; v = v->next)
    v->result = e;
}

static void note_duration(struct spool *spool, int64_t us) {
  if (spool->took_count == spool->took_size) {
    spool->took_size = spool->took_size ? spool->took_size * 2 : 16;
    spool->took_us = xrealloc(spool->took_us, spool->took_size * sizeof *spool->took_us);
  }
  spool->took_us[spool->took_count++] = us > 0 ? (uint64_t)us : 0;
}

static uint64_t list_count(const struct verb *first) {
  uint64_t n = 0;
  for (; first; first = first->next)
    n++;
  return n;
}

// Until there is work, and some time has passed for more to gather. With the lock.
static void wait_for_work(struct spool *spool, int64_t not_before_us) {
  while (!spool->queue.first && !spool->stop)
    pthread_cond_wait(&spool->work, &spool->mutex);
  struct timespec at = {.tv_sec = not_before_us / 1000000, .tv_nsec = not_before_us % 1000000 * 1000};
  while (!spool->hurry && !spool->stop && clock_mono_us() < not_before_us)
    pthread_cond_timedwait(&spool->work, &spool->mutex, &at);
}

static void *spool_thread(void *arg) {
  struct spool *spool = arg;
  int64_t not_before_us = 0;
  ALWAYS(spool->magic == SPOOL_MAGIC);
  pthread_mutex_lock(&spool->mutex);
  for (;;) {
    wait_for_work(spool, not_before_us);
    if (!spool->queue.first) break;
    struct verb_list group;
    list_clear(&group);
    list_move(&group, &spool->queue);
    spool->hurry = false;
    pthread_mutex_unlock(&spool->mutex);

    uint64_t count = list_count(group.first);
    int64_t started_us = clock_mono_us();
    run_group(spool->store, group.first);
    int64_t took_us = clock_mono_us() - started_us;
    atomic_store_explicit(&spool->waiting, spool->store->waiting, memory_order_relaxed);
    atomic_store_explicit(&spool->dead, spool->store->dead, memory_order_relaxed);

    not_before_us = started_us + (count < GATHER_MAX_US / GATHER_EACH_US ? (int64_t)count * GATHER_EACH_US : GATHER_MAX_US);

    pthread_mutex_lock(&spool->mutex);
    spool->done += count;
    note_duration(spool, took_us);
    list_move(&spool->ran, &group);
    pthread_cond_broadcast(&spool->progress);
    loop_waker_wake(&spool->waker);
  }
  pthread_mutex_unlock(&spool->mutex);
  store__close(spool->store); // writes the WAL back: may take a moment, so not on the loop
  pthread_mutex_lock(&spool->mutex);
  spool->ended = true;
  loop_waker_wake(&spool->waker);
  pthread_mutex_unlock(&spool->mutex);
  return NULL;
}

// ---------------------------------------------------------------- the loop's side

// Hands over what has gathered.
static void hand_over(struct spool *spool) {
  if (!spool->gathering.first) return;
  uint64_t count = list_count(spool->gathering.first);
  pthread_mutex_lock(&spool->mutex);
  spool->asked += count;
  list_move(&spool->queue, &spool->gathering);
  pthread_cond_signal(&spool->work);
  pthread_mutex_unlock(&spool->mutex);
}

static void on_turn(void *ctx) {
  struct spool *spool = ctx;
  ALWAYS(spool->magic == SPOOL_MAGIC);
  hand_over(spool);
}

void spool__ask(struct spool *spool, struct verb *verb) {
  ALWAYS(spool->magic == SPOOL_MAGIC && !spool->closing);
  // A hook that runs behind ours in this turn may ask, too: see to it that there is another turn.
  if (!spool->gathering.first) loop_waker_wake(&spool->waker);
  *spool->gathering.tail = verb;
  spool->gathering.tail = &verb->next;
}

void spool__ask_and_wait(struct spool *spool, struct verb *verb) {
  spool__ask(spool, verb);
  hand_over(spool);
  pthread_mutex_lock(&spool->mutex);
  uint64_t until = spool->asked;
  spool->hurry = true;
  pthread_cond_signal(&spool->work);
  while (spool->done < until)
    pthread_cond_wait(&spool->progress, &spool->mutex);
  pthread_mutex_unlock(&spool->mutex);
}

static void on_waker_closed(void *ctx) {
  struct spool *spool = ctx;
  void (*on_closed)(void *ctx) = spool->on_closed;
  void *closed_ctx = spool->closed_ctx;
  pthread_mutex_destroy(&spool->mutex);
  pthread_cond_destroy(&spool->work);
  pthread_cond_destroy(&spool->progress);
  free(spool->took_us);
  spool->magic = 0;
  free(spool);
  if (on_closed) on_closed(closed_ctx);
}

static void on_wake(void *ctx) {
  struct spool *spool = ctx;
  ALWAYS(spool->magic == SPOOL_MAGIC);
  struct verb_list ran;
  list_clear(&ran);
  pthread_mutex_lock(&spool->mutex);
  list_move(&ran, &spool->ran);
  bool ended = spool->ended;
  if (spool->slot) {
    for (size_t i = 0; i < spool->took_count; i++)
      metrics_observe(spool->slot, HISTOGRAM_SPOOL, spool->took_us[i]);
  }
  spool->took_count = 0;
  pthread_mutex_unlock(&spool->mutex);

  for (struct verb *verb = ran.first, *next = NULL; verb; verb = next) {
    next = verb->next;
    verb__kinds[verb->id].complete(verb);
  }
  if (!ended) return;
  ALWAYS(pthread_join(spool->thread, NULL) == 0);
  loop_hook_remove(spool->loop, &spool->hook);
  spool->waker.on_closed = on_waker_closed;
  loop_waker_close(&spool->waker);
}

// Signals are the loop's: the thread blocks them all.
static int start_thread(struct spool *spool) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = pthread_create(&spool->thread, NULL, spool_thread, spool);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return rc;
}

enum err spool_open(const struct spool_options *options, struct spool **out, struct why *why) {
  struct store *store = NULL;
  enum err e = store__open(options->path, &store, why);
  if (e) return e;
  struct spool *spool = xcalloc(1, sizeof *spool);
  spool->magic = SPOOL_MAGIC;
  spool->loop = options->loop;
  spool->slot = options->slot;
  spool->store = store;
  memcpy(spool->name, store->name, sizeof spool->name);
  spool->clock = store->clock;
  list_clear(&spool->gathering);
  list_clear(&spool->queue);
  list_clear(&spool->ran);
  atomic_init(&spool->waiting, store->waiting);
  atomic_init(&spool->dead, store->dead);
  ALWAYS(pthread_mutex_init(&spool->mutex, NULL) == 0);
  pthread_condattr_t monotonic;
  ALWAYS(pthread_condattr_init(&monotonic) == 0 && pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
  ALWAYS(pthread_cond_init(&spool->work, &monotonic) == 0);
  pthread_condattr_destroy(&monotonic);
  ALWAYS(pthread_cond_init(&spool->progress, NULL) == 0);
  loop_waker_init(spool->loop, &spool->waker, on_wake, spool);
  spool->hook.on_turn = on_turn;
  spool->hook.ctx = spool;
  loop_hook_add(spool->loop, &spool->hook);
  int rc = start_thread(spool);
  if (rc != 0) die("cannot start the spool's thread: %s", strerror(rc));
  *out = spool;
  return ERR_OK;
}

void spool_close(struct spool *spool, void (*on_done)(void *ctx), void *ctx) {
  ALWAYS(spool->magic == SPOOL_MAGIC && !spool->closing);
  hand_over(spool);
  spool->closing = true;
  spool->on_closed = on_done;
  spool->closed_ctx = ctx;
  pthread_mutex_lock(&spool->mutex);
  spool->stop = true;
  pthread_cond_signal(&spool->work);
  pthread_mutex_unlock(&spool->mutex);
}

const char *spool_name(const struct spool *spool) {
  return spool->name;
}

struct clock_steady spool_clock(const struct spool *spool) {
  return spool->clock;
}

void spool_counts(const struct spool *spool, uint64_t *waiting, uint64_t *dead) {
  *waiting = atomic_load_explicit(&spool->waiting, memory_order_relaxed);
  *dead = atomic_load_explicit(&spool->dead, memory_order_relaxed);
}
