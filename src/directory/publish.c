// What other processes are told of this one's store and cache: figures, gauges and notes in its block, at most once a second. Runs on the
// loop of workers and the dispatcher.
#include <stddef.h>
#include <string.h>

#include "inside.h"

#define EVERY_US 1000000

const struct store_query_metrics store_query_metrics[STORE_QUERY_COUNT_OF] = {
#define ROW(id, name, shape)                                                                                                               \
  [STORE_QUERY_##id] = {                                                                                                                   \
      .durations = HISTOGRAM_STORE_##id,                                                                                                   \
      .slow = METRIC_STORE_##id##_SLOW,                                                                                                    \
      .retried = METRIC_STORE_##id##_RETRIED,                                                                                              \
      .documents = METRIC_STORE_##id##_DOCUMENTS,                                                                                          \
      .errors = {[STORE_CAUSE_NETWORK] = METRIC_STORE_##id##_NETWORK,                                                                      \
                 [STORE_CAUSE_TIMEOUT] = METRIC_STORE_##id##_TIMEOUT,                                                                      \
                 [STORE_CAUSE_AUTH] = METRIC_STORE_##id##_AUTH,                                                                            \
                 [STORE_CAUSE_SERVER] = METRIC_STORE_##id##_SERVER},                                                                       \
  },
    STORE_QUERIES(ROW)
#undef ROW
};
_Static_assert(STORE_NOTE_INDEX + STORE_INDEXES_MAX <= SHM_NOTES, "more kinds of queries than a block has notes");
_Static_assert(sizeof(struct store_slow) <= SHM_NOTE_MAX && sizeof(struct store_state) <= SHM_NOTE_MAX &&
                   sizeof(struct store_index_told) <= SHM_NOTE_MAX,
               "a note is too long");

void publish__asked(struct directory *d, const struct asked *asked) {
  struct store_query_stats *q = &d->published.own.queries[asked->query];
  uint64_t took_us = asked->took_us > 0 ? (uint64_t)asked->took_us : 0;
  if (d->store->kind->stats) return;
  if (asked->err != ERR_OK && asked->err != ERR_NOT_FOUND) {
    q->errors[asked->err == ERR_TIMEOUT ? STORE_CAUSE_TIMEOUT : STORE_CAUSE_SERVER]++;
    return;
  }
  q->count++;
  q->sum_us += took_us;
  q->buckets[histogram_bucket(took_us)]++;
  q->slow += d->slow_us >= 0 && asked->took_us > d->slow_us;
  q->documents += asked->documents;
}

// ---------------------------------------------------------------- telling

// Figures of the store only grow; what they have grown by since the last time goes on top of what the block has, also from predecessors.
static void grow(struct directory *d, enum metric metric, uint64_t now, uint64_t told) {
  if (now != told) metrics_add(d->slot, metric, now - told);
}

static void tell_query(struct directory *d, enum store_query query, const struct store_query_stats *now) {
  const struct store_query_stats *told = &d->published.told.queries[query];
  const struct store_query_metrics *metrics = &store_query_metrics[query];
  grow(d, metrics->slow, now->slow, told->slow);
  grow(d, metrics->retried, now->retried, told->retried);
  grow(d, metrics->documents, now->documents, told->documents);
  for (unsigned cause = 0; cause < STORE_CAUSES; cause++)
    grow(d, metrics->errors[cause], now->errors[cause], told->errors[cause]);
  if (now->count != told->count) {
    uint64_t fresh[SHM_BUCKETS];
    for (unsigned b = 0; b < SHM_BUCKETS; b++)
      fresh[b] = now->buckets[b] - told->buckets[b];
    metrics_observe_many(d->slot, metrics->durations, fresh, now->sum_us - told->sum_us);
  }
  if (now->slow_at_us == told->slow_at_us) return;
  struct store_slow slow = {.at_us = now->slow_at_us, .took_us = now->slow_us, .examined = now->examined};
  memcpy(slow.plan, now->plan, sizeof slow.plan);
  memcpy(slow.advice, now->advice, sizeof slow.advice);
  shm_note(d->slot, query, &slow, sizeof slow);
}

static void tell_connections(struct directory *d, const struct store_stats *now) {
  const struct store_stats *told = &d->published.told;
  metrics_set(d->slot, METRIC_STORE_POOL_MAX, now->pool_max);
  metrics_set(d->slot, METRIC_STORE_POOL_MIN, now->pool_min);
  metrics_set(d->slot, METRIC_STORE_POOL_OPEN, now->pool_open);
  metrics_set(d->slot, METRIC_STORE_POOL_IDLE, now->pool_idle);
  metrics_set(d->slot, METRIC_STORE_POOL_WAITING, now->pool_waiting);
  metrics_set(d->slot, METRIC_STORE_HEARTBEAT_US, now->heartbeat_us > 0 ? (uint64_t)now->heartbeat_us : 0);
  grow(d, METRIC_STORE_POOL_LENT, now->pool_lent, told->pool_lent);
  grow(d, METRIC_STORE_POOL_REUSED, now->pool_reused, told->pool_reused);
  grow(d, METRIC_STORE_HEARTBEATS, now->heartbeats - now->heartbeats_failed, told->heartbeats - told->heartbeats_failed);
  grow(d, METRIC_STORE_HEARTBEATS_FAILED, now->heartbeats_failed, told->heartbeats_failed);
}

static void tell_state(struct directory *d) {
  struct published *p = &d->published;
  metrics_set(d->slot, METRIC_CACHE_CAPACITY, d->capacity);
  metrics_set(d->slot, METRIC_STORE_BREAKER_OPEN, d->breaker.state == BREAKER_OPEN);
  metrics_set(d->slot, METRIC_STORE_BREAKER_HALF_OPEN, d->breaker.state == BREAKER_HALF_OPEN);
  grow(d, METRIC_STORE_BREAKER_OPENED, d->breaker.opened, p->opened_told);
  p->opened_told = d->breaker.opened;
  shm_note(d->slot, STORE_NOTE_STATE, &p->state, sizeof p->state);
}

// What an operator has set goes before what is configured.
static void hear_threshold(struct directory *d) {
  int64_t set_us = d->shm ? shm_threshold(d->shm, STORE_THRESHOLD_SLOW) : -1;
  int64_t slow_us = set_us < 0 ? d->configured_slow_us : set_us ? set_us : -1;
  if (slow_us == d->slow_us) return;
  d->slow_us = slow_us;
  if (d->store->kind->set_slow) d->store->kind->set_slow(d->store, slow_us);
}

void publish__tick(struct directory *d, bool last) {
  struct published *p = &d->published;
  int64_t now_us = loop_now_us(d->loop);
  if (!d->slot || (now_us < p->next_us && !last)) return;
  p->next_us = now_us + EVERY_US;
  struct store_stats now;
  if (store_stats(d->store, &now) != ERR_OK) now = p->own;
  for (enum store_query query = 0; query < STORE_QUERY_COUNT_OF; query++)
    tell_query(d, query, &now.queries[query]);
  tell_connections(d, &now);
  p->told = now;
  tell_state(d);
  hear_threshold(d);
}

// ---------------------------------------------------------------- reading, in any process

// The newest of all processes, of those that begin with when they were written.
static bool newest(const struct shm *shm, unsigned note, void *out, size_t size) {
  int64_t newest_us = 0;
  bool any = false;
  for (unsigned s = 0; s < shm->slot_count; s++) {
    char text[SHM_NOTE_MAX];
    int64_t at_us;
    if (atomic_load(&shm->slots[s].role) == SHM_ROLE_NONE || !shm_note_read(&shm->slots[s], note, text, size)) continue;
    memcpy(&at_us, text, sizeof at_us);
    if (any && at_us <= newest_us) continue;
    newest_us = at_us;
    memcpy(out, text, size);
    any = true;
  }
  return any;
}
_Static_assert(offsetof(struct store_slow, at_us) == 0 && offsetof(struct store_index_told, at_us) == 0, "see newest()");

bool store_slow_last(const struct shm *shm, enum store_query query, struct store_slow *out) {
  return newest(shm, query, out, sizeof *out);
}

bool store_index_last(const struct shm *shm, unsigned which, struct store_index_told *out) {
  ALWAYS(which < STORE_INDEXES_MAX);
  return newest(shm, STORE_NOTE_INDEX + which, out, sizeof *out);
}
