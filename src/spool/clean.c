// House-keeping: old rows go, a bounded number at a time, so that nobody waits long behind it. Asked on the dispatcher's loop, run on the
// spool's thread.
#include "spool/verbs.h"

#include <stdlib.h>

#define CLEAN_SEEN          5000
#define CLEAN_JOBS          1000
#define CLEAN_CONVERSATIONS 1000
#define CLEAN_ROWS          1000 // of the tables in the order of receipt
#define CLEAN_MANY          1000 // so much has gone that there is probably more

struct clean_verb {
  struct verb verb;
  int64_t now_us, cutoff_us;
  size_t rows;
  bool more; // a walk has not come to its end
  spool_swept *on_done;
};

struct old_job {
  int64_t id, conversation, state;
};

enum err clean__job(struct store *store, int64_t job, int64_t conversation, int64_t state) {
  enum err e = turn__delete(store, job);
  if (e) return e;
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_OUT];
  sql__i64(stmt, 1, STORE_OUT_FIRST(job));
  sql__i64(stmt, 2, STORE_OUT_LAST(job));
  if ((e = sql__run(stmt))) return e;
  stmt = store->stmts[STMT_CLEAN_JOB];
  sql__i64(stmt, 1, job);
  if ((e = sql__run(stmt))) return e;
  if (state == SPOOL_JOB_DONE)
    store->state.done--;
  else
    store->state.skipped--;
  stmt = store->stmts[STMT_CLEAN_JOB_GONE];
  sql__i64(stmt, 1, conversation);
  return sql__run(stmt);
}

// Walks on from where the last call stopped, and from the start again once it meets a job that is too young to have ended long ago: jobs
// are in the order of their receipt, so no index over the ends is needed, and dead letters and what a number keeps longer at the head are
// passed a bounded number at a time.
static enum err clean_jobs(struct store *store, struct clean_verb *v) {
  struct old_job old[CLEAN_JOBS];
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
    old[count++] = (struct old_job){store->state.clean_job, sqlite3_column_int64(stmt, 1), state};
  }
  v->more |= scanned == CLEAN_JOBS;
  for (size_t i = 0; i < count; i++) {
    bool own = false;
    enum err e = retention__own(store, old[i].conversation, &own);
    if (!e && !own) e = clean__job(store, old[i].id, old[i].conversation, old[i].state);
    if (e) return e;
    v->rows += !own;
  }
  return ERR_OK;
}

enum err clean__conversation(struct store *store, int64_t conversation, int64_t cutoff_us, size_t *rows) {
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_CONVERSATION];
  sql__i64(stmt, 1, conversation);
  sql__i64(stmt, 2, cutoff_us);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  if (!e) *rows += gone;
  return e;
}

struct conversation {
  int64_t id, cutoff_us;
};

// A table whose rows are in the order of their receipt: `upto` finds the next piece of it, `gone` gets that to delete what is old in it.
static enum err next_piece(struct store *store, struct clean_verb *v, enum stmt upto_id, enum stmt gone_id, int64_t *at) {
  sqlite3_stmt *stmt = store->stmts[upto_id];
  sql__i64(stmt, 1, *at);
  sql__i64(stmt, 2, CLEAN_ROWS);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  int64_t upto = sqlite3_column_int64(stmt, 0);
  bool end = sqlite3_column_int64(stmt, 1) >= v->cutoff_us || sqlite3_column_int64(stmt, 2) < CLEAN_ROWS;
  sqlite3_reset(stmt);
  stmt = store->stmts[gone_id];
  sql__i64(stmt, 1, *at);
  sql__i64(stmt, 2, upto);
  sql__i64(stmt, 3, v->cutoff_us);
  *at = end ? 0 : upto;
  v->more |= !end;
  return ERR_OK;
}

// Most turns go with their jobs; these are of dead letters and of jobs that a tool has dropped.
static enum err clean_turns(struct store *store, struct clean_verb *v) {
  enum err e = next_piece(store, v, STMT_CLEAN_TURNS_UPTO, STMT_CLEAN_TURNS, &store->state.clean_turn);
  if (e) return e;
  size_t gone = 0;
  e = sql__change(store->stmts[STMT_CLEAN_TURNS], &gone);
  v->rows += gone;
  return e;
}

static enum err clean_conversation(struct store *store, struct clean_verb *v, const struct conversation *c) {
  enum err e = turn__clean_old(store, c->id, c->cutoff_us, &v->rows);
  return e ? e : clean__conversation(store, c->id, c->cutoff_us, &v->rows);
}

// Conversations that have neither jobs nor turns nor a recent message.
static enum err clean_conversations(struct store *store, struct clean_verb *v) {
  struct conversation seen[CLEAN_CONVERSATIONS];
  size_t count = 0;
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_CONVERSATION_SCAN];
  sql__i64(stmt, 1, store->state.clean_conversation);
  sql__i64(stmt, 2, CLEAN_CONVERSATIONS);
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) break;
    int64_t own_us = sqlite3_column_int64(stmt, 1); // 0: the deployment's
    seen[count++] = (struct conversation){sqlite3_column_int64(stmt, 0), own_us ? v->now_us - own_us : v->cutoff_us};
  }
  store->state.clean_conversation = count == CLEAN_CONVERSATIONS ? seen[count - 1].id : 0;
  for (size_t i = 0; i < count; i++) {
    enum err e = clean_conversation(store, v, &seen[i]);
    if (e) return e;
  }
  return ERR_OK;
}

enum err clean__kept(struct store *store, sqlite3_stmt *stmt, size_t *rows) {
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e || !row) return e;
    if (sqlite3_column_int64(stmt, 0) == SPOOL_QUARANTINE)
      store->state.quarantined--;
    else
      store->state.kept--;
    (*rows)++;
  }
}

// Some are kept longer.
static enum err clean_kept(struct store *store, struct clean_verb *v) {
  enum err e = next_piece(store, v, STMT_CLEAN_KEPT_UPTO, STMT_CLEAN_KEPT, &store->state.clean_kept);
  return e ? e : clean__kept(store, store->stmts[STMT_CLEAN_KEPT], &v->rows);
}

static enum err clean_statuses(struct store *store, struct clean_verb *v) {
  sqlite3_stmt *stmt = store->stmts[STMT_CLEAN_STATUSES];
  sql__i64(stmt, 1, v->cutoff_us);
  sql__i64(stmt, 2, CLEAN_ROWS);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  v->rows += gone;
  return e;
}

enum err verb__run_clean(struct store *store, struct verb *verb) {
  struct clean_verb *v = (struct clean_verb *)verb;
  enum err e = seen__clean(store, v->now_us, CLEAN_SEEN, &v->rows);
  if (!e) e = clean_jobs(store, v);
  if (!e) e = clean_turns(store, v);
  if (!e) e = clean_conversations(store, v);
  if (!e) e = clean_kept(store, v);
  if (!e) e = clean_statuses(store, v);
  v->more |= v->rows > CLEAN_MANY;
  return e;
}

void verb__complete_clean(struct verb *verb) {
  struct clean_verb *v = (struct clean_verb *)verb;
  if (v->on_done) v->on_done(verb->ctx, verb->result, verb->result ? 0 : v->rows, v->more && !verb->result);
  free(v);
}

void spool_clean(struct spool *spool, int64_t now_us, int64_t retention_ms, spool_swept *on_done, void *ctx) {
  struct clean_verb *v = verb__new(VERB_CLEAN, sizeof *v, ctx);
  v->now_us = now_us;
  v->cutoff_us = now_us - retention_ms * 1000;
  v->on_done = on_done;
  spool__ask(spool, &v->verb);
}
