// Which conversations have work: paging over them at the start and after a tool has written. Asked on the dispatcher's loop, run on the
// spool's thread.
#include "spool/verbs.h"

#include <stdlib.h>

struct page_verb {
  struct verb verb;
  int64_t after_id;
  unsigned max;
  struct spool_conversation *rows;
  size_t count;
  void (*on_page)(void *ctx, enum err result, const struct spool_conversation *rows, size_t count);
};

// One descent per conversation, from its first waiting job to the next conversation's: a million jobs of one user are one row and cost
// as much.
enum err verb__run_page(struct store *store, struct verb *verb) {
  struct page_verb *v = (struct page_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_PAGE_NEXT];
  int64_t after = v->after_id;
  while (v->count < v->max) {
    sql__i64(stmt, 1, after);
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) return ERR_OK;
    struct spool_conversation *c = &v->rows[v->count++];
    c->id = after = sqlite3_column_int64(stmt, 0);
    c->next_us = sqlite3_column_int64(stmt, 1);
    // An id that does not fit is none of Meta's (they have up to 20 digits); it only groups conversations.
    struct span phone = sql__span(stmt, 2);
    if (phone.len >= sizeof c->phone_number_id) phone.len = sizeof c->phone_number_id - 1;
    if (span_copy(phone, c->phone_number_id, sizeof c->phone_number_id)) c->phone_number_id[0] = '\0';
    sqlite3_reset(stmt);
  }
  return ERR_OK;
}

void verb__complete_page(struct verb *verb) {
  struct page_verb *v = (struct page_verb *)verb;
  v->on_page(verb->ctx, verb->result, v->rows, verb->result ? 0 : v->count);
  free(v->rows);
  free(v);
}

void spool_page(struct spool *spool, int64_t after_id, unsigned max,
                void (*on_page)(void *ctx, enum err result, const struct spool_conversation *rows, size_t count), void *ctx) {
  ALWAYS(max > 0);
  struct page_verb *v = verb__new(VERB_PAGE, sizeof *v, ctx);
  v->after_id = after_id;
  v->max = max;
  v->rows = xcalloc(max, sizeof *v->rows);
  v->on_page = on_page;
  spool__ask(spool, &v->verb);
}

struct changed_verb {
  struct verb verb;
  bool changed;
  void (*on_changed)(void *ctx, bool changed);
};

enum err verb__run_changed(struct store *store, struct verb *verb) {
  struct changed_verb *v = (struct changed_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_DATA_VERSION];
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  // Differs when another connection has committed; our own commits leave it alone.
  int64_t version = sqlite3_column_int64(stmt, 0);
  sqlite3_reset(stmt);
  v->changed = version != store->data_version;
  store->data_version = version;
  return v->changed ? store__refresh(store) : ERR_OK;
}

// An error is reported as a change: paging once too often does no harm.
void verb__complete_changed(struct verb *verb) {
  struct changed_verb *v = (struct changed_verb *)verb;
  v->on_changed(verb->ctx, v->changed || verb->result);
  free(v);
}

void spool_changed(struct spool *spool, void (*on_changed)(void *ctx, bool changed), void *ctx) {
  struct changed_verb *v = verb__new(VERB_CHANGED, sizeof *v, ctx);
  v->on_changed = on_changed;
  spool__ask(spool, &v->verb);
}
