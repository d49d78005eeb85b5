// The turns of a conversation: what the user said and what was answered, a row for each message that was answered. Runs on the spool's
// thread.
//
// Rows are in the order of jobs, so that those of messages that are answered at the same time share a page, whatever conversations they are
// of. A conversation leads to its last row, each row to the one before it.
#include "spool/verbs.h"

#include <stdlib.h>

#define TURNS_MAX 1000

struct turns_verb {
  struct verb verb;
  struct spool_job *job; // the caller's: until it is told, only its conversation is looked at
  int64_t conversation;
  unsigned max;
  struct spool_turn *turns; // newest first
  size_t count;
  void (*on_read)(void *ctx, enum err result);
};

static void add(struct turns_verb *v, bool from_user, char *text) {
  if (!v->turns) v->turns = xcalloc(v->max, sizeof *v->turns);
  v->turns[v->count++] = (struct spool_turn){from_user, text};
}

// ---------------------------------------------------------------- those of older versions: a row for each turn, by conversation

#define OLD_IS_ANSWER(id) ((id)&1)

static enum err list_old(struct store *store, struct turns_verb *v) {
  if (!store->old_turns || v->count >= v->max) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_OLD_TURN_LIST];
  sql__i64(stmt, 1, v->conversation);
  sql__i64(stmt, 2, (int64_t)(v->max - v->count));
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e || !row) return e;
    add(v, !OLD_IS_ANSWER(sqlite3_column_int64(stmt, 0)), sql__dup(stmt, 1));
  }
}

enum err turn__clean_old(struct store *store, int64_t conversation, int64_t cutoff_us, size_t *rows) {
  if (!store->old_turns) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_OLD_TURN_CLEAN];
  sql__i64(stmt, 1, conversation);
  sql__i64(stmt, 2, cutoff_us);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  *rows += gone;
  return e;
}

// ---------------------------------------------------------------- one row

struct exchange {
  int64_t before;
  struct span user_text, answer_text; // valid until the next one; absent ones have no ptr
};

static struct span column_text(sqlite3_stmt *stmt, int column) {
  return sqlite3_column_type(stmt, column) == SQLITE_NULL ? (struct span){NULL, 0} : sql__span(stmt, column);
}

// *found: it was not cleaned away. The statement is to be reset then.
static enum err get(struct store *store, int64_t conversation, int64_t job, struct exchange *out, bool *found) {
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_GET];
  sql__i64(stmt, 1, job);
  sql__i64(stmt, 2, conversation);
  enum err e = sql__row(stmt, found);
  if (e || !*found) return e;
  *out = (struct exchange){sqlite3_column_int64(stmt, 0), column_text(stmt, 1), column_text(stmt, 2)};
  return ERR_OK;
}

static enum err point(struct store *store, enum stmt id, int64_t from, int64_t to) {
  sqlite3_stmt *stmt = store->stmts[id];
  sql__i64(stmt, 1, from);
  sql__i64(stmt, 2, to);
  return sql__run(stmt);
}

// ---------------------------------------------------------------- storing and deleting

static void bind_text(sqlite3_stmt *stmt, int at, struct span text) {
  if (text.ptr)
    sql__text(stmt, at, text);
  else
    ALWAYS(sqlite3_bind_null(stmt, at) == SQLITE_OK);
}

// A turn's place is that of the message, not of the clock: behind those of earlier jobs. Only a dead letter that was put back is not last.
enum err turn__put(struct store *store, int64_t conversation, int64_t last_turn, int64_t job, struct span user_text,
                   struct span answer_text, int64_t now_us) {
  if (!user_text.ptr && !answer_text.ptr) return ERR_OK;
  int64_t before = last_turn, after = 0;
  enum err e = ERR_OK;
  while (before > job) {
    struct exchange later = {0};
    bool found = false;
    if ((e = get(store, conversation, before, &later, &found))) return e;
    if (!found) break;
    sqlite3_reset(store->stmts[STMT_TURN_GET]);
    after = before;
    before = later.before;
  }
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_ADD];
  sql__i64(stmt, 1, job);
  sql__i64(stmt, 2, conversation);
  sql__i64(stmt, 3, before);
  sql__i64(stmt, 4, now_us);
  bind_text(stmt, 5, user_text);
  bind_text(stmt, 6, answer_text);
  e = sql__run(stmt);
  if (e) return e;
  return after ? point(store, STMT_TURN_FOLLOW, after, job) : point(store, STMT_TURN_SET_LAST, conversation, job);
}

enum err turn__delete(struct store *store, int64_t job) {
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_DELETE];
  sql__i64(stmt, 1, job);
  enum err e = sql__run(stmt);
  if (e || !store->old_turns) return e;
  stmt = store->stmts[STMT_OLD_TURN_DELETE];
  sql__i64(stmt, 1, job);
  return sql__run(stmt);
}

// ---------------------------------------------------------------- reading

static enum err list(struct store *store, struct turns_verb *v, int64_t last_turn) {
  for (int64_t at = last_turn; at && v->count < v->max;) {
    struct exchange exchange = {0};
    bool found = false;
    enum err e = get(store, v->conversation, at, &exchange, &found);
    if (e || !found) return e;
    if (exchange.answer_text.ptr) add(v, false, span_dup(exchange.answer_text));
    if (exchange.user_text.ptr && v->count < v->max) add(v, true, span_dup(exchange.user_text));
    at = exchange.before;
    sqlite3_reset(store->stmts[STMT_TURN_GET]);
  }
  return ERR_OK;
}

enum err verb__run_turns(struct store *store, struct verb *verb) {
  struct turns_verb *v = (struct turns_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_LAST];
  sql__i64(stmt, 1, v->conversation);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e || !row) return e;
  int64_t last_turn = sqlite3_column_int64(stmt, 0);
  sqlite3_reset(stmt);
  e = list(store, v, last_turn);
  return e ? e : list_old(store, v);
}

void verb__complete_turns(struct verb *verb) {
  struct turns_verb *v = (struct turns_verb *)verb;
  if (verb->result) {
    for (size_t i = 0; i < v->count; i++)
      free(v->turns[i].text);
    free(v->turns);
  } else {
    for (size_t i = 0; i < v->count / 2; i++) {
      struct spool_turn swap = v->turns[i];
      v->turns[i] = v->turns[v->count - 1 - i];
      v->turns[v->count - 1 - i] = swap;
    }
    v->job->turns = v->turns;
    v->job->turn_count = v->count;
  }
  v->on_read(verb->ctx, verb->result);
  free(v);
}

void spool_turns(struct spool *spool, struct spool_job *job, unsigned max, void (*on_read)(void *ctx, enum err result), void *ctx) {
  ALWAYS(max > 0 && !job->turns);
  struct turns_verb *v = verb__new(VERB_TURNS, sizeof *v, ctx);
  v->job = job;
  v->conversation = job->conversation;
  v->max = max < TURNS_MAX ? max : TURNS_MAX;
  v->on_read = on_read;
  spool__ask(spool, &v->verb);
}
