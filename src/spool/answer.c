// The answer of a job: stored before it is sent, message by message marked as sent. Asked on the dispatcher's loop, run on the spool's
// thread.
#include "spool/verbs.h"

#include <stdlib.h>

struct answer_verb {
  struct verb verb;
  int64_t job, now_us;
  size_t count;
  struct span *bodies; // in `texts`
  struct span user_text, answer_text;
  struct buf texts;
  int64_t *ids;
  void (*on_stored)(void *ctx, enum err result, const int64_t *ids);
};

enum err verb__run_answer(struct store *store, struct verb *verb) {
  struct answer_verb *v = (struct answer_verb *)verb;
  if (v->count > STORE_OUT_MAX) {
    verb->result = ERR_TOO_LARGE;
    return ERR_OK;
  }
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_CONVERSATION];
  sql__i64(stmt, 1, v->job);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  if (!row) { // a tool has dropped it
    verb->result = ERR_NOT_FOUND;
    return ERR_OK;
  }
  int64_t conversation = sqlite3_column_int64(stmt, 0);
  bool answered = sqlite3_column_int(stmt, 1) != 0;
  int64_t last_turn = sqlite3_column_int64(stmt, 2);
  sqlite3_reset(stmt);
  if (answered) {
    verb->result = ERR_EXISTS;
    return ERR_OK;
  }
  if (v->count == 0) {
    stmt = store->stmts[STMT_JOB_ANSWERED];
    sql__i64(stmt, 1, v->job);
    if ((e = sql__run(stmt))) return e;
  }
  stmt = store->stmts[STMT_OUT_ADD];
  for (size_t i = 0; i < v->count; i++) {
    v->ids[i] = STORE_OUT_FIRST(v->job) | (int64_t)i;
    sql__i64(stmt, 1, v->ids[i]);
    sql__i64(stmt, 2, i == 0 ? SPOOL_OUT_FLYING : SPOOL_OUT_WAITING);
    sql__text(stmt, 3, v->bodies[i]);
    if ((e = sql__run(stmt))) return e;
  }
  return turn__put(store, conversation, last_turn, v->job, v->user_text, v->answer_text, v->now_us);
}

void verb__complete_answer(struct verb *verb) {
  struct answer_verb *v = (struct answer_verb *)verb;
  if (v->on_stored) v->on_stored(verb->ctx, verb->result, verb->result ? NULL : v->ids);
  buf_free(&v->texts);
  free(v->bodies);
  free(v->ids);
  free(v);
}

// The room was reserved before: the buffer does not move.
static struct span copy(struct buf *texts, struct span s) {
  if (!s.ptr) return s;
  size_t at = texts->len;
  buf_add_span(texts, s);
  return (struct span){texts->data + at, s.len};
}

void spool_store_answer(struct spool *spool, int64_t job, const struct span *bodies, size_t count, struct span user_text,
                        struct span answer_text, int64_t now_us, void (*on_stored)(void *ctx, enum err result, const int64_t *ids),
                        void *ctx) {
  struct answer_verb *v = verb__new(VERB_ANSWER, sizeof *v, ctx);
  v->job = job;
  v->now_us = now_us;
  v->on_stored = on_stored;
  v->count = count;
  v->bodies = xcalloc(count + 1, sizeof *v->bodies);
  v->ids = xcalloc(count + 1, sizeof *v->ids);
  size_t total = user_text.len + answer_text.len;
  for (size_t i = 0; i < count; i++)
    total += bodies[i].len;
  buf_reserve(&v->texts, total + 1);
  for (size_t i = 0; i < count; i++)
    v->bodies[i] = copy(&v->texts, bodies[i]);
  v->user_text = copy(&v->texts, user_text);
  v->answer_text = copy(&v->texts, answer_text);
  spool__ask(spool, &v->verb);
}

struct sent_verb {
  struct verb verb;
  int64_t outgoing, now_us;
  char *wamid;
  void (*on_done)(void *ctx, enum err result);
};

enum err verb__run_sent(struct store *store, struct verb *verb) {
  struct sent_verb *v = (struct sent_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_OUT_SENT];
  sql__i64(stmt, 1, v->outgoing);
  sql__text(stmt, 2, span_of(v->wamid));
  sql__i64(stmt, 3, v->now_us);
  size_t changed = 0;
  enum err e = sql__change(stmt, &changed);
  if (e) return e;
  if (changed == 0) {
    verb->result = ERR_NOT_FOUND;
    return ERR_OK;
  }
  int64_t job = v->outgoing >> STORE_OUT_BITS;
  stmt = store->stmts[STMT_OUT_FLY_NEXT];
  sql__i64(stmt, 1, STORE_OUT_FIRST(job));
  sql__i64(stmt, 2, STORE_OUT_LAST(job));
  return sql__run(stmt);
}

void verb__complete_sent(struct verb *verb) {
  struct sent_verb *v = (struct sent_verb *)verb;
  if (v->on_done) v->on_done(verb->ctx, verb->result);
  free(v->wamid);
  free(v);
}

void spool_sent(struct spool *spool, int64_t outgoing, struct span wamid, int64_t now_us, void (*on_done)(void *ctx, enum err result),
                void *ctx) {
  struct sent_verb *v = verb__new(VERB_SENT, sizeof *v, ctx);
  v->outgoing = outgoing;
  v->now_us = now_us;
  v->wamid = span_dup(wamid);
  v->on_done = on_done;
  spool__ask(spool, &v->verb);
}
