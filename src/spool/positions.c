// Journal positions: read at the start, forgotten when the file is. Asked on the dispatcher's loop, run on the spool's thread.
#include "spool/verbs.h"

#include <stdlib.h>

struct positions_verb {
  struct verb verb;
  struct spool_position *rows;
  size_t count, size;
};

enum err verb__run_positions(struct store *store, struct verb *verb) {
  struct positions_verb *v = (struct positions_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_POSITION_LIST];
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) return ERR_OK;
    if (v->count == v->size) {
      v->size = v->size ? v->size * 2 : 16;
      v->rows = xrealloc(v->rows, v->size * sizeof *v->rows);
    }
    struct spool_position *position = &v->rows[v->count];
    if (span_copy(sql__span(stmt, 0), position->file, sizeof position->file)) continue; // none of ours
    position->offset = (uint64_t)sqlite3_column_int64(stmt, 1);
    v->count++;
  }
}

// The rows were handed out by spool_positions, which waited for them.
void verb__complete_positions(struct verb *verb) {
  free(verb);
}

enum err spool_positions(struct spool *spool, struct spool_position **out, size_t *count, struct why *why) {
  struct positions_verb *v = verb__new(VERB_POSITIONS, sizeof *v, NULL);
  spool__ask_and_wait(spool, &v->verb);
  enum err e = v->verb.result;
  if (e) {
    free(v->rows);
    v->rows = NULL;
    why_set(why, "cannot read the journal positions from the spool: %s", err_text(e));
    return e;
  }
  *out = v->rows;
  *count = v->count;
  return ERR_OK;
}

struct forget_verb {
  struct verb verb;
  char *file;
};

enum err verb__run_forget(struct store *store, struct verb *verb) {
  struct forget_verb *v = (struct forget_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_POSITION_DELETE];
  sql__text(stmt, 1, span_of(v->file));
  return sql__run(stmt);
}

// A failure leaves a row behind that does no harm: journal names are never used twice.
void verb__complete_forget(struct verb *verb) {
  struct forget_verb *v = (struct forget_verb *)verb;
  free(v->file);
  free(v);
}

void spool_forget_position(struct spool *spool, const char *file) {
  struct forget_verb *v = verb__new(VERB_FORGET, sizeof *v, NULL);
  v->file = xstrdup(file);
  spool__ask(spool, &v->verb);
}
