// House-keeping: old rows go, a bounded number at a time, so that nobody waits long behind it. Asked on the dispatcher's loop, run on the
// spool's thread.
#include "spool/verbs.h"

#include <stdlib.h>

#define CLEAN_SEEN          5000
#define CLEAN_JOBS          1000
#define CLEAN_CONVERSATIONS 1000
#define CLEAN_KEPT          1000

struct clean_verb {
  struct verb verb;
  int64_t now_us, cutoff_us;
  size_t rows;
  void (*on_done)(void *ctx, enum err result, size_t rows);
};

struct old_row {
  int64_t id, conversation, state;
};

static enum err remove_job(struct store *store, const struct old_row *job) {
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_OUT];
  sql__i64(stmt, 1, STORE_OUT_FIRST(job->id));
  sql__i64(stmt, 2, STORE_OUT_LAST(job->id));
  enum err e = sql__run(stmt);
  if (e) return e;
  stmt = store->stmts[STMT_CLEAN_JOB];
  sql__i64(stmt, 1, job->id);
  if ((e = sql__run(stmt))) return e;
  if (job->state == SPOOL_JOB_DONE)
    store->state.done--;
  else
    store->state.skipped--;
  stmt = store->stmts[STMT_CLEAN_JOB_GONE];
  sql__i64(stmt, 1, job->conversation);
  return sql__run(stmt);
}

// Walks on from where the last call stopped, and from the start again once it meets a job that is too young to have ended long ago: jobs
// are in the order of their receipt, so no index over the ends is needed, and dead letters at the head are passed a bounded number at a
// time.
static enum err clean_jobs(struct store *store, struct clean_verb *v) {
  struct old_row old[CLEAN_JOBS];
  size_t count = 0, scanned = 0;
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_JOB_SCAN];
  sql__i64(stmt, 1, store->state.clean_job);
  sql__i64(stmt, 2, CLEAN_JOBS);
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row || sqlite3_column_int64(stmt, 4) >= v->cutoff_us) {
      if (row) sqlite3_reset(stmt);
      if (scanned < CLEAN_JOBS) store->state.clean_job = 0;
      break;
    }
    scanned++;
    store->state.clean_job = sqlite3_column_int64(stmt, 0);
    int64_t state = sqlite3_column_int64(stmt, 2);
    bool ended = state == SPOOL_JOB_DONE || state == SPOOL_JOB_SKIPPED;
    if (!ended || sqlite3_column_int64(stmt, 3) >= v->cutoff_us) continue;
    old[count++] = (struct old_row){store->state.clean_job, sqlite3_column_int64(stmt, 1), state};
  }
  for (size_t i = 0; i < count; i++) {
    enum err e = remove_job(store, &old[i]);
    if (e) return e;
  }
  v->rows += count;
  return ERR_OK;
}

static enum err clean_conversation(struct store *store, struct clean_verb *v, const struct old_row *row) {
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_TURNS];
  sql__i64(stmt, 1, row->id);
  sql__i64(stmt, 2, v->cutoff_us);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  if (e) return e;
  v->rows += gone;
  if (!row->state) return ERR_OK;
  stmt = store->stmts[STMT_CLEAN_CONVERSATION];
  sql__i64(stmt, 1, row->id);
  if ((e = sql__change(stmt, &gone))) return e;
  v->rows += gone;
  return ERR_OK;
}

// Old turns, and conversations that have neither jobs nor turns nor a recent message.
static enum err clean_conversations(struct store *store, struct clean_verb *v) {
  struct old_row seen[CLEAN_CONVERSATIONS];
  size_t count = 0;
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_CONVERSATION_SCAN];
  sql__i64(stmt, 1, store->state.clean_conversation);
  sql__i64(stmt, 2, CLEAN_CONVERSATIONS);
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) break;
    bool idle = sqlite3_column_int64(stmt, 1) < v->cutoff_us && sqlite3_column_int64(stmt, 2) <= 0;
    seen[count++] = (struct old_row){.id = sqlite3_column_int64(stmt, 0), .state = idle};
  }
  store->state.clean_conversation = count == CLEAN_CONVERSATIONS ? seen[count - 1].id : 0;
  for (size_t i = 0; i < count; i++) {
    enum err e = clean_conversation(store, v, &seen[i]);
    if (e) return e;
  }
  return ERR_OK;
}

static enum err clean_kept(struct store *store, struct clean_verb *v) {
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_KEPT];
  sql__i64(stmt, 1, v->cutoff_us);
  sql__i64(stmt, 2, CLEAN_KEPT);
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) break;
    if (sqlite3_column_int64(stmt, 0) == SPOOL_QUARANTINE)
      store->state.quarantined--;
    else
      store->state.kept--;
    v->rows++;
  }
  stmt = store->stmts[STMT_CLEAN_STATUSES];
  sql__i64(stmt, 1, v->cutoff_us);
  sql__i64(stmt, 2, CLEAN_KEPT);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  v->rows += gone;
  return e;
}

enum err verb__run_clean(struct store *store, struct verb *verb) {
  struct clean_verb *v = (struct clean_verb *)verb;
  enum err e = seen__clean(store, v->now_us, CLEAN_SEEN, &v->rows);
  if (!e) e = clean_jobs(store, v);
  if (!e) e = clean_conversations(store, v);
  if (!e) e = clean_kept(store, v);
  return e;
}

void verb__complete_clean(struct verb *verb) {
  struct clean_verb *v = (struct clean_verb *)verb;
  if (v->on_done) v->on_done(verb->ctx, verb->result, verb->result ? 0 : v->rows);
  free(v);
}

void spool_clean(struct spool *spool, int64_t now_us, int64_t retention_ms, void (*on_done)(void *ctx, enum err result, size_t rows),
                 void *ctx) {
  struct clean_verb *v = verb__new(VERB_CLEAN, sizeof *v, ctx);
  v->now_us = now_us;
  v->cutoff_us = now_us - retention_ms * 1000;
  v->on_done = on_done;
  spool__ask(spool, &v->verb);
}
