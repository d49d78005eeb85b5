// Numbers whose messages are kept for a time of their own: who they are, and the sweep that deletes what is over. Asked on the dispatcher's
// loop, run on the spool's thread.
//
// `ended` has the jobs of these numbers alone that are not waiting, by number and end: what is over is one descent per number, whatever
// else is in the spool, and a time that is changed holds for all that is there. A number that has just got one is `filled` by a walk over
// all jobs.
#include "spool/verbs.h"

#include <stdlib.h>
#include <string.h>

#define EXPIRE_NUMBERS 5000
#define EXPIRE_ROWS    1000
#define FILL_JOBS      5000

// ---------------------------------------------------------------- who has a time of its own

struct retentions_verb {
  struct verb verb;
  struct spool_retention *rows; // by number; the texts are in `texts`
  size_t count;
  struct buf texts;
  void (*on_done)(void *ctx, enum err result);
};

// What is to be done about a number: `id` 0 adds it, `us` 0 takes its time away.
struct edit {
  int64_t id, us;
  const char *phone_number_id;
};

static int by_number(const void *a, const void *b) {
  const struct spool_retention *x = a, *y = b;
  return strcmp(x->phone_number_id, y->phone_number_id);
}

// The stored ones beside the wanted ones, both in order: most often nothing is to be done.
static enum err compare(struct store *store, const struct retentions_verb *v, struct edit *edits, size_t *count) {
  sqlite3_stmt *stmt = store->stmts[STMT_RETENTION_ALL];
  size_t at = 0;
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    const char *stored = row ? (const char *)sqlite3_column_text(stmt, 2) : "";
    while (at < v->count && (!row || strcmp(v->rows[at].phone_number_id, stored) < 0)) {
      edits[(*count)++] = (struct edit){0, v->rows[at].retention_us, v->rows[at].phone_number_id};
      at++;
    }
    if (!row) return ERR_OK;
    bool wanted = at < v->count && strcmp(v->rows[at].phone_number_id, stored) == 0;
    int64_t us = wanted ? v->rows[at++].retention_us : 0;
    if (us != sqlite3_column_int64(stmt, 1)) edits[(*count)++] = (struct edit){sqlite3_column_int64(stmt, 0), us, NULL};
  }
}

static enum err apply(struct store *store, const struct edit *edit) {
  sqlite3_stmt *stmt = store->stmts[edit->id ? STMT_RETENTION_SET : STMT_RETENTION_ADD];
  if (edit->id)
    sql__i64(stmt, 1, edit->id);
  else
    sql__text(stmt, 1, span_of(edit->phone_number_id));
  sql__i64(stmt, 2, edit->us);
  if (!edit->id) store->state.numbers++;
  store->state.fill_due = true;
  return sql__run(stmt);
}

enum err verb__run_retentions(struct store *store, struct verb *verb) {
  struct retentions_verb *v = (struct retentions_verb *)verb;
  struct edit *edits = xcalloc(v->count + (size_t)store->state.numbers + 1, sizeof *edits);
  size_t count = 0;
  enum err e = compare(store, v, edits, &count);
  for (size_t i = 0; i < count && !e; i++)
    e = apply(store, &edits[i]);
  free(edits);
  return e;
}

void verb__complete_retentions(struct verb *verb) {
  struct retentions_verb *v = (struct retentions_verb *)verb;
  if (v->on_done) v->on_done(verb->ctx, verb->result);
  buf_free(&v->texts);
  free(v->rows);
  free(v);
}

void spool_retentions(struct spool *spool, const struct spool_retention *rows, size_t count, void (*on_done)(void *ctx, enum err result),
                      void *ctx) {
  struct retentions_verb *v = verb__new(VERB_RETENTIONS, sizeof *v, ctx);
  v->on_done = on_done;
  v->rows = xcalloc(count + 1, sizeof *v->rows);
  v->count = count;
  size_t room = 1;
  for (size_t i = 0; i < count; i++)
    room += strlen(rows[i].phone_number_id) + 1;
  buf_reserve(&v->texts, room); // it does not move any more
  for (size_t i = 0; i < count; i++) {
    ALWAYS(rows[i].retention_us > 0);
    v->rows[i] = (struct spool_retention){v->texts.data + v->texts.len, rows[i].retention_us};
    buf_add_span(&v->texts, (struct span){rows[i].phone_number_id, strlen(rows[i].phone_number_id) + 1});
  }
  qsort(v->rows, count, sizeof *v->rows, by_number);
  spool__ask(spool, &v->verb);
}

// ---------------------------------------------------------------- a job that ended

enum err retention__ended(struct store *store, int64_t conversation, int64_t job, int64_t now_us) {
  if (!store->state.numbers) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_ENDED_ADD];
  sql__i64(stmt, 1, conversation);
  sql__i64(stmt, 2, now_us);
  sql__i64(stmt, 3, job);
  return sql__run(stmt);
}

enum err retention__own(struct store *store, int64_t conversation, bool *own) {
  *own = false;
  if (!store->state.numbers) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_CONVERSATION_OWN];
  sql__i64(stmt, 1, conversation);
  enum err e = sql__row(stmt, own);
  if (!e && *own) sqlite3_reset(stmt);
  return e;
}

// Jobs that had ended before their number got a time of its own, a piece at a time. A walk is for the numbers that were there when it
// began; it begins anew after a restart.
static enum err fill(struct store *store, bool *more) {
  struct store_state *s = &store->state;
  if (!s->fill_due) return ERR_OK;
  *more = true;
  if (s->fill_job == 0) {
    size_t numbers = 0;
    enum err e = sql__change(store->stmts[STMT_FILL_BEGIN], &numbers);
    if (e || numbers == 0) {
      s->fill_due = *more = false;
      return e;
    }
  }
  sqlite3_stmt *stmt = store->stmts[STMT_FILL_UPTO];
  sql__i64(stmt, 1, s->fill_job);
  sql__i64(stmt, 2, FILL_JOBS);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  int64_t upto = sqlite3_column_int64(stmt, 0); // 0: there are no more
  sqlite3_reset(stmt);
  if (upto == 0) {
    s->fill_job = 0;
    return sql__run(store->stmts[STMT_FILL_END]);
  }
  stmt = store->stmts[STMT_FILL];
  sql__i64(stmt, 1, s->fill_job);
  sql__i64(stmt, 2, upto);
  s->fill_job = upto;
  return sql__run(stmt);
}

// ---------------------------------------------------------------- the sweep

struct expire_verb {
  struct verb verb;
  int64_t now_us;
  size_t rows; // looked at, which is bounded
  size_t gone;
  bool more;
  spool_swept *on_done;
};

struct number {
  int64_t id, us;
  char phone_number_id[64];
};

struct ended {
  int64_t at_us, job;
};

// All that is of one message: the job, its answers and what became of them, its turns, and the conversation when that was the last of it.
// Of a dead letter, and of one that a tool has put back or dropped since, the turns alone.
static enum err expire_job(struct store *store, int64_t job, int64_t cutoff_us, size_t *gone) {
  enum err e = turn__delete(store, job);
  if (e) return e;
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_ENDED];
  sql__i64(stmt, 1, job);
  bool row = false;
  e = sql__row(stmt, &row);
  if (e || !row) return e;
  int64_t conversation = sqlite3_column_int64(stmt, 0), state = sqlite3_column_int64(stmt, 1);
  sqlite3_reset(stmt);
  stmt = store->stmts[STMT_JOB_STATUSES_DELETE];
  sql__i64(stmt, 1, STORE_OUT_FIRST(job));
  sql__i64(stmt, 2, STORE_OUT_LAST(job));
  e = sql__run(stmt);
  if (!e) e = clean__job(store, job, conversation, state);
  (*gone)++;
  size_t conversations = 0; // jobs are what is counted
  return e ? e : clean__conversation(store, conversation, cutoff_us, &conversations);
}

static enum err expire_jobs(struct store *store, struct expire_verb *v, const struct number *number, int64_t cutoff_us) {
  struct ended old[EXPIRE_ROWS];
  size_t count = 0;
  sqlite3_stmt *stmt = store->stmts[STMT_ENDED_OLD];
  sql__i64(stmt, 1, number->id);
  sql__i64(stmt, 2, cutoff_us);
  sql__i64(stmt, 3, (int64_t)(EXPIRE_ROWS - v->rows));
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) break;
    old[count++] = (struct ended){sqlite3_column_int64(stmt, 0), sqlite3_column_int64(stmt, 1)};
  }
  stmt = store->stmts[STMT_ENDED_DELETE];
  for (size_t i = 0; i < count; i++) {
    enum err e = expire_job(store, old[i].job, cutoff_us, &v->gone);
    if (e) return e;
    sql__i64(stmt, 1, number->id);
    sql__i64(stmt, 2, old[i].at_us);
    sql__i64(stmt, 3, old[i].job);
    if ((e = sql__run(stmt))) return e;
  }
  v->rows += count;
  return ERR_OK;
}

static enum err expire_kept(struct store *store, struct expire_verb *v, const struct number *number, int64_t cutoff_us) {
  if (v->rows == EXPIRE_ROWS) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_EXPIRE_KEPT];
  sql__text(stmt, 1, span_of(number->phone_number_id));
  sql__i64(stmt, 2, cutoff_us);
  sql__i64(stmt, 3, (int64_t)(EXPIRE_ROWS - v->rows));
  size_t gone = 0;
  enum err e = clean__kept(store, stmt, &gone);
  v->rows += gone;
  v->gone += gone;
  return e;
}

// It goes by the deployment's retention again: its jobs are found by the walk that finds all others.
static enum err forget_number(struct store *store, struct expire_verb *v, const struct number *number) {
  size_t room = EXPIRE_ROWS - v->rows, gone = 0;
  sqlite3_stmt *stmt = store->stmts[STMT_ENDED_FORGET];
  sql__i64(stmt, 1, number->id);
  sql__i64(stmt, 2, (int64_t)room);
  enum err e = sql__change(stmt, &gone);
  if (e) return e;
  v->rows += gone;
  if (gone == room) return ERR_OK; // there may be more
  stmt = store->stmts[STMT_RETENTION_DELETE];
  sql__i64(stmt, 1, number->id);
  store->state.numbers--;
  return sql__run(stmt);
}

static enum err expire_number(struct store *store, struct expire_verb *v, const struct number *number) {
  if (number->us == 0) return forget_number(store, v, number);
  int64_t cutoff_us = v->now_us - number->us;
  enum err e = expire_jobs(store, v, number, cutoff_us);
  return e ? e : expire_kept(store, v, number, cutoff_us);
}

// Of the next EXPIRE_NUMBERS numbers those that have something to delete, up to `upto`; *last: there are no others.
static enum err next_due(struct store *store, int64_t now_us, struct number *numbers, size_t *count, int64_t *upto, bool *last) {
  sqlite3_stmt *stmt = store->stmts[STMT_RETENTION_UPTO];
  sql__i64(stmt, 1, store->state.expire_number);
  sql__i64(stmt, 2, EXPIRE_NUMBERS);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  *upto = sqlite3_column_int64(stmt, 0);
  *last = sqlite3_column_int64(stmt, 1) < EXPIRE_NUMBERS;
  sqlite3_reset(stmt);
  stmt = store->stmts[STMT_RETENTION_DUE];
  sql__i64(stmt, 1, store->state.expire_number);
  sql__i64(stmt, 2, *upto);
  sql__i64(stmt, 3, now_us);
  sql__i64(stmt, 4, EXPIRE_ROWS);
  while (*count < EXPIRE_ROWS) {
    e = sql__row(stmt, &row);
    if (e || !row) return e;
    struct number *n = &numbers[(*count)++];
    *n = (struct number){.id = sqlite3_column_int64(stmt, 0), .us = sqlite3_column_int64(stmt, 1)};
    if (span_copy(sql__span(stmt, 2), n->phone_number_id, sizeof n->phone_number_id)) n->phone_number_id[0] = '\0';
  }
  sqlite3_reset(stmt);
  return ERR_OK;
}

// A round over the numbers, some at a time. One that has more than a call deletes is passed for this round, so that it keeps nobody
// waiting, and another round follows at once.
static enum err round_on(struct store *store, struct expire_verb *v, struct number *numbers) {
  struct store_state *s = &store->state;
  size_t count = 0, at = 0;
  int64_t upto = 0;
  bool last = false;
  enum err e = next_due(store, v->now_us, numbers, &count, &upto, &last);
  for (; at < count && v->rows < EXPIRE_ROWS && !e; at++) {
    e = expire_number(store, v, &numbers[at]);
    s->expire_number = numbers[at].id;
  }
  bool cut = v->rows >= EXPIRE_ROWS || count == EXPIRE_ROWS; // there may be others up to `upto`
  s->expire_again |= v->rows >= EXPIRE_ROWS;
  if (cut || !last) {
    if (!cut) s->expire_number = upto;
    v->more = true;
  } else {
    v->more |= s->expire_again;
    s->expire_number = 0;
    s->expire_again = false;
  }
  return e;
}

enum err verb__run_expire(struct store *store, struct verb *verb) {
  struct expire_verb *v = (struct expire_verb *)verb;
  if (!store->state.numbers) return ERR_OK;
  struct number *numbers = xcalloc(EXPIRE_ROWS, sizeof *numbers);
  enum err e = fill(store, &v->more);
  if (!e) e = round_on(store, v, numbers);
  free(numbers);
  store->unwiped |= v->rows > 0;
  store->wipe = store->unwiped && !v->more;
  return e;
}

void verb__complete_expire(struct verb *verb) {
  struct expire_verb *v = (struct expire_verb *)verb;
  if (v->on_done) v->on_done(verb->ctx, verb->result, verb->result ? 0 : v->gone, v->more && !verb->result);
  free(v);
}

void spool_expire(struct spool *spool, int64_t now_us, spool_swept *on_done, void *ctx) {
  struct expire_verb *v = verb__new(VERB_EXPIRE, sizeof *v, ctx);
  v->now_us = now_us;
  v->on_done = on_done;
  spool__ask(spool, &v->verb);
}
