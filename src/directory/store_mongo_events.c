// What the driver tells of its commands: durations, errors by cause, heartbeats; and the plans of slow queries. Runs on pool threads of
// workers and the dispatcher, and in wahookctl; the driver calls back on the thread that asks.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"
#include "wahook/metrics.h"

#define SLOW_EVERY_US 60000000 // a line for each kind of query
#define EXPLAIN_MS    2000

// The question of this thread; a probe may hold two.
static _Thread_local struct mongo_call *current;

void mongo__enter(struct mongo_call *call) {
  call->outer = current;
  current = call;
}

void mongo__leave(struct mongo_call *call) {
  current = call->outer;
}

static void lock(struct mongo_store *s) {
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
}

static void unlock(struct mongo_store *s) {
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
}

// ---------------------------------------------------------------- the driver's events

// Those that answer our questions; not the greetings, the log-in, the good-byes and the explanations.
static bool is_ours(const char *command) {
  static const char *const names[] = {"find", "getMore", "aggregate", "count", "update", "delete"};
  for (size_t i = 0; i < COUNT_OF(names); i++)
    if (strcmp(command, names[i]) == 0) return true;
  return false;
}

static void on_succeeded(const mongoc_apm_command_succeeded_t *event) {
  struct mongo_call *call = current;
  if (!call || !is_ours(mongoc_apm_command_succeeded_get_command_name(event))) return;
  int64_t us = mongoc_apm_command_succeeded_get_duration(event);
  struct mongo_store *s = call->store;
  lock(s);
  struct store_query_stats *q = &s->stats.queries[call->query];
  q->count++;
  q->sum_us += (uint64_t)us;
  if ((uint64_t)us > q->max_us) q->max_us = (uint64_t)us;
  q->buckets[histogram_bucket((uint64_t)us)]++;
  if (s->slow_us >= 0 && us > s->slow_us) {
    q->slow++;
    call->slow_us = us;
  }
  unlock(s);
}

static void on_failed(const mongoc_apm_command_failed_t *event) {
  struct mongo_call *call = current;
  if (!call || !is_ours(mongoc_apm_command_failed_get_command_name(event))) return;
  lock(call->store);
  call->store->stats.queries[call->query].retried++;
  unlock(call->store);
}

static void on_heartbeat(const mongoc_apm_server_heartbeat_succeeded_t *event) {
  struct mongo_store *s = mongoc_apm_server_heartbeat_succeeded_get_context(event);
  lock(s);
  s->stats.heartbeats++;
  s->stats.heartbeat_us = mongoc_apm_server_heartbeat_succeeded_get_duration(event);
  unlock(s);
}

static void on_heartbeat_failed(const mongoc_apm_server_heartbeat_failed_t *event) {
  struct mongo_store *s = mongoc_apm_server_heartbeat_failed_get_context(event);
  lock(s);
  s->stats.heartbeats++;
  s->stats.heartbeats_failed++;
  unlock(s);
}

void mongo__listen(struct mongo_store *s, mongoc_client_t *client) {
  mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
  mongoc_apm_set_command_succeeded_cb(callbacks, on_succeeded);
  mongoc_apm_set_command_failed_cb(callbacks, on_failed);
  mongoc_apm_set_server_heartbeat_succeeded_cb(callbacks, on_heartbeat);
  mongoc_apm_set_server_heartbeat_failed_cb(callbacks, on_heartbeat_failed);
  mongoc_client_set_apm_callbacks(client, callbacks, s);
  mongoc_apm_callbacks_destroy(callbacks);
}

// ---------------------------------------------------------------- errors by cause

static enum store_cause cause_of(const bson_error_t *e) {
  bool server = e->domain == MONGOC_ERROR_SERVER;
  if (server && (e->code == 50 || e->code == 262 || e->code == 89)) return STORE_CAUSE_TIMEOUT;
  if (server && (e->code == 13 || e->code == 18)) return STORE_CAUSE_AUTH;
  if (server) return STORE_CAUSE_SERVER;
  if (e->domain == MONGOC_ERROR_SASL || e->domain == MONGOC_ERROR_SCRAM) return STORE_CAUSE_AUTH;
  if (e->domain == MONGOC_ERROR_CLIENT && e->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) return STORE_CAUSE_AUTH;
  // The driver has one code for both; its words differ.
  return strstr(e->message, "timeout") || strstr(e->message, "imed out") ? STORE_CAUSE_TIMEOUT : STORE_CAUSE_NETWORK;
}

void mongo__count_error(struct mongo_store *s, enum store_query query, const bson_error_t *error) {
  lock(s);
  s->stats.queries[query].errors[cause_of(error)]++;
  unlock(s);
}

void mongo__count_documents(struct mongo_call *call, uint64_t documents) {
  lock(call->store);
  call->store->stats.queries[call->query].documents += documents;
  unlock(call->store);
}

// ---------------------------------------------------------------- slow queries

// Keeps what is to be explained, at most one of a kind and minute: the explaining waits until nobody waits for this answer.
void mongo__slow(struct mongo_call *call, const bson_t *filter, const bson_t *opts) {
  struct mongo_store *s = call->store;
  int64_t now_us = clock_mono_us();
  lock(s);
  struct mongo_slow *slow = &s->slow[call->query];
  if (!slow->explain && now_us >= slow->next_us) {
    slow->next_us = now_us + SLOW_EVERY_US;
    slow->took_us = call->slow_us;
    slow->explain = bson_new();
    bson_t find;
    bson_iter_t it;
    BSON_APPEND_DOCUMENT_BEGIN(slow->explain, "explain", &find);
    BSON_APPEND_UTF8(&find, "find", MONGO_COLLECTION);
    BSON_APPEND_DOCUMENT(&find, "filter", filter);
    static const char *const take[] = {"sort", "limit"};
    for (size_t i = 0; i < COUNT_OF(take); i++)
      if (bson_iter_init_find(&it, opts, take[i])) BSON_APPEND_VALUE(&find, take[i], bson_iter_value(&it));
    BSON_APPEND_INT64(&find, "maxTimeMS", EXPLAIN_MS);
    bson_append_document_end(slow->explain, &find);
  }
  unlock(s);
}

struct plan {
  bool scan; // of the whole collection
  char index[48];
  int64_t examined;
};

// Stages are nested differently from version to version and over shards: looks for them wherever they are.
static void walk(bson_iter_t *it, struct plan *plan, unsigned depth) {
  bson_iter_t inner;
  while (bson_iter_next(it)) {
    const char *key = bson_iter_key(it);
    if (BSON_ITER_HOLDS_UTF8(it) && !strcmp(key, "stage") && !strcmp(bson_iter_utf8(it, NULL), "COLLSCAN")) plan->scan = true;
    if (BSON_ITER_HOLDS_UTF8(it) && !strcmp(key, "indexName")) snprintf(plan->index, sizeof plan->index, "%s", bson_iter_utf8(it, NULL));
    if (!strcmp(key, "totalDocsExamined")) plan->examined = bson_iter_as_int64(it);
    if (strcmp(key, "rejectedPlans") == 0 || strcmp(key, "command") == 0 || depth > 20) continue;
    if ((BSON_ITER_HOLDS_DOCUMENT(it) || BSON_ITER_HOLDS_ARRAY(it)) && bson_iter_recurse(it, &inner)) walk(&inner, plan, depth + 1);
  }
}

static bool explain(struct mongo_call *call, const bson_t *command, const char *verbosity, struct plan *plan) {
  bson_t *with = bson_copy(command), reply;
  bson_iter_t it;
  bson_error_t error;
  *plan = (struct plan){.examined = -1};
  BSON_APPEND_UTF8(with, "verbosity", verbosity);
  bool good = mongoc_client_command_simple(call->client, call->store->database, with, NULL, &reply, &error);
  if (good && bson_iter_init(&it, &reply)) walk(&it, plan, 0);
  bson_destroy(&reply);
  bson_destroy(with);
  return good;
}

static void tell_slow(struct mongo_store *s, enum store_query query, int64_t took_us, bool known, const struct plan *plan) {
  lock(s);
  struct store_query_stats *q = &s->stats.queries[query];
  q->slow_at_us = clock_mono_us();
  q->slow_us = took_us;
  snprintf(q->plan, sizeof q->plan, "%s", !known ? "" : plan->scan ? "COLLSCAN" : plan->index[0] ? "IXSCAN " : "other");
  if (known && !plan->scan) strncat(q->plan, plan->index, sizeof q->plan - strlen(q->plan) - 1);
  q->examined = known ? plan->examined : -1;
  const char *index = mongo__index_for(query);
  q->advice[0] = '\0';
  if (known && plan->scan && index)
    snprintf(q->advice, sizeof q->advice, "the index %s is missing or not used: wahookctl indexes ensure makes it", index);
  char examined[48] = "";
  if (q->examined >= 0) snprintf(examined, sizeof examined, ", %lld documents examined", (long long)q->examined);
  log_warning("directory", "slow query \"%s\" took %lld ms: %s; plan %s%s%s%s", q->name, (long long)(took_us / 1000), q->shape,
              known ? q->plan : "not known", examined, q->advice[0] ? "; " : "", q->advice);
  unlock(s);
}

void mongo__explain_slow(struct mongo_call *call) {
  struct mongo_store *s = call->store;
  for (enum store_query query = 0; query < STORE_QUERY_COUNT_OF; query++) {
    lock(s);
    bson_t *command = s->slow[query].explain;
    int64_t took_us = s->slow[query].took_us;
    unlock(s);
    if (!command) continue;
    struct plan plan;
    // To run it once more may take as long as it took; the plan alone is made at once.
    bool known = explain(call, command, "executionStats", &plan) || explain(call, command, "queryPlanner", &plan);
    tell_slow(s, query, took_us, known, &plan);
    lock(s);
    bson_destroy(command);
    s->slow[query].explain = NULL;
    unlock(s);
  }
}

// ---------------------------------------------------------------- for the operator's pages

void mongo__stats_init(struct mongo_store *s, int64_t slow_ms) {
#define QUERY(id, text, form)                                                                                                              \
  s->stats.queries[STORE_QUERY_##id].name = text;                                                                                          \
  s->stats.queries[STORE_QUERY_##id].shape = form;                                                                                         \
  s->stats.queries[STORE_QUERY_##id].examined = -1;
  STORE_QUERIES(QUERY)
#undef QUERY
  s->stats.heartbeat_us = -1;
  s->slow_us = store__slow_us(slow_ms);
}

void mongo__stats(struct store *store, struct store_stats *out) {
  struct mongo_store *s = (struct mongo_store *)(void *)store;
  lock(s);
  *out = s->stats;
  out->pool_max = s->pool_max;
  out->pool_min = s->pool_min;
  out->pool_open = s->open;
  out->pool_waiting = s->waiting;
  out->pool_lent = s->lent;
  out->pool_reused = s->reused;
  for (const struct mongo_client *c = s->idle; c; c = c->next)
    out->pool_idle++;
  unlock(s);
}

void mongo__set_slow(struct store *store, int64_t slow_us) {
  struct mongo_store *s = (struct mongo_store *)(void *)store;
  lock(s);
  s->slow_us = slow_us;
  unlock(s);
}

void mongo__stats_free(struct mongo_store *s) {
  for (enum store_query query = 0; query < STORE_QUERY_COUNT_OF; query++)
    if (s->slow[query].explain) bson_destroy(s->slow[query].explain);
}
