// Ingest: a batch of events and the journal position behind it, in one transaction. Asked on the dispatcher's loop, run on the spool's
// thread.
#include "spool/verbs.h"

#include <stdlib.h>

// What became of an item: kept apart until the transaction has held, because the items' results stay untouched when it does not.
struct fate {
  enum spool_fate fate;
  int64_t conversation, job;
};

struct ingest_verb {
  struct verb verb;
  struct spool_item *items;
  size_t count;
  struct fate *fates;
  char file[64];
  uint64_t offset;
  bool marked, finished;
  int64_t now_us;
  void (*on_ingested)(void *ctx, enum err result);
};

// The user's own clock, unless it claims to be ahead of ours.
static int64_t inbound_us(const struct spool_item *item) {
  return item->sent_us > 0 && item->sent_us < item->received_us ? item->sent_us : item->received_us;
}

static enum err add_conversation(struct store *store, const struct spool_item *item, int jobs, int64_t *id) {
  *id = store->state.next_conversation++;
  sqlite3_stmt *stmt = store->stmts[STMT_CONVERSATION_ADD];
  sql__i64(stmt, 1, *id);
  sql__text(stmt, 2, item->phone_number_id);
  sql__text(stmt, 3, item->user);
  sql__i64(stmt, 4, inbound_us(item));
  sql__i64(stmt, 5, jobs);
  return sql__run(stmt);
}

// Two plain statements and no upsert that returns the id: that one is a trigger, for which SQLite copies each page before it changes it.
static enum err put_conversation(struct store *store, const struct spool_item *item, int jobs, int64_t *id) {
  sqlite3_stmt *stmt = store->stmts[STMT_CONVERSATION_FIND];
  sql__text(stmt, 1, item->phone_number_id);
  sql__text(stmt, 2, item->user);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  if (!row) return add_conversation(store, item, jobs, id);
  *id = sqlite3_column_int64(stmt, 0);
  sqlite3_reset(stmt);
  stmt = store->stmts[STMT_CONVERSATION_TOUCH];
  sql__i64(stmt, 1, *id);
  sql__i64(stmt, 2, inbound_us(item));
  sql__i64(stmt, 3, jobs);
  return sql__run(stmt);
}

static enum err add_job(struct store *store, const struct spool_item *item, struct fate *fate) {
  enum err e = put_conversation(store, item, 1, &fate->conversation);
  if (e) return e;
  fate->job = store->state.next_job;
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_ADD];
  sql__i64(stmt, 1, fate->job);
  sql__i64(stmt, 2, fate->conversation);
  sql__i64(stmt, 3, item->received_us);
  sql__i64(stmt, 4, item->sent_us);
  sql__text(stmt, 5, item->wamid);
  sql__text(stmt, 6, item->type);
  sql__text(stmt, 7, item->profile_name);
  sql__text(stmt, 8, item->raw);
  if ((e = sql__run(stmt))) return e;
  store->state.next_job++;
  store->state.waiting++;
  return ERR_OK;
}

static enum err keep(struct store *store, const struct spool_item *item) {
  sqlite3_stmt *stmt = store->stmts[STMT_KEPT_ADD];
  sql__i64(stmt, 1, item->what);
  sql__i64(stmt, 2, item->received_us);
  sql__text(stmt, 3, item->phone_number_id);
  sql__text(stmt, 4, item->user);
  sql__text(stmt, 5, item->wamid);
  sql__text(stmt, 6, item->type);
  sql__blob(stmt, 7, item->raw);
  if (item->what == SPOOL_QUARANTINE)
    store->state.quarantined++;
  else
    store->state.kept++;
  return sql__run(stmt);
}

static enum err take(struct store *store, const struct spool_item *item, int64_t now_us, struct fate *fate) {
  bool duplicate = false, late = false;
  enum err e = ERR_OK;
  if (item->wamid.len > 0) e = seen__take(store, item, now_us, &duplicate);
  if (e) return e;
  if (duplicate) {
    fate->fate = SPOOL_FATE_DUPLICATE;
    return ERR_OK;
  }
  switch (item->what) {
  case SPOOL_JOB: return add_job(store, item, fate);
  case SPOOL_STATUS:
    e = status__take(store, item, now_us, &late);
    if (late) fate->fate = SPOOL_FATE_LATE;
    return e;
  case SPOOL_NOTE:
    if (item->user.len > 0) {
      int64_t conversation = 0;
      if ((e = put_conversation(store, item, 0, &conversation))) return e;
    }
    return keep(store, item);
  case SPOOL_KEEP:
  case SPOOL_QUARANTINE: return keep(store, item);
  }
  die("spool: item of unknown kind %d", (int)item->what);
}

enum err verb__run_ingest(struct store *store, struct verb *verb) {
  struct ingest_verb *v = (struct ingest_verb *)verb;
  for (size_t i = 0; i < v->count; i++) {
    enum err e = take(store, &v->items[i], v->now_us, &v->fates[i]);
    if (e) return e;
  }
  enum err e = seen__move(store, v->count);
  if (e || !v->marked) return e;
  // Also that of a finished file stays until the file is gone: a crash between the two must not take the file for a new one.
  sqlite3_stmt *stmt = store->stmts[STMT_POSITION_PUT];
  sql__text(stmt, 1, span_of(v->file));
  sql__i64(stmt, 2, (int64_t)v->offset);
  sql__i64(stmt, 3, v->finished);
  return sql__run(stmt);
}

void verb__complete_ingest(struct verb *verb) {
  struct ingest_verb *v = (struct ingest_verb *)verb;
  for (size_t i = 0; i < v->count && !verb->result; i++) {
    v->items[i].fate = v->fates[i].fate;
    v->items[i].conversation = v->fates[i].conversation;
    v->items[i].job = v->fates[i].job;
  }
  if (v->on_ingested) v->on_ingested(verb->ctx, verb->result);
  free(v->fates);
  free(v);
}

void spool_ingest(struct spool *spool, struct spool_item *items, size_t count, const struct spool_mark *mark, int64_t now_us,
                  void (*on_ingested)(void *ctx, enum err result), void *ctx) {
  struct ingest_verb *v = verb__new(VERB_INGEST, sizeof *v, ctx);
  v->items = items;
  v->count = count;
  v->fates = count ? xcalloc(count, sizeof *v->fates) : NULL;
  v->now_us = now_us;
  v->on_ingested = on_ingested;
  if (mark) {
    v->marked = true;
    v->finished = mark->finished;
    v->offset = mark->offset;
    if (span_copy(span_of(mark->file), v->file, sizeof v->file)) die("spool: journal name too long: %s", mark->file);
  }
  spool__ask(spool, &v->verb);
}
