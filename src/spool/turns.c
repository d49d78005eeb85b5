// The turns of a conversation: what the user said and what was answered. Runs on the spool's thread.
#include "spool/store.h"

// A turn's id follows from its job, so that storing it twice is storing it once and its place is that of the message, not of the clock.
#define TURN_ID(job, from_user) ((job)*2 + ((from_user) ? 0 : 1))
#define TURN_IS_ANSWER(id)      ((id)&1)
#define TURNS_MAX               1000

enum err turn__put(struct store *store, int64_t conversation, int64_t job, bool from_user, struct span text, int64_t now_us) {
  if (!text.ptr) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_PUT];
  sql__i64(stmt, 1, conversation);
  sql__i64(stmt, 2, TURN_ID(job, from_user));
  sql__i64(stmt, 3, now_us);
  sql__text(stmt, 4, text);
  return sql__run(stmt);
}

enum err turn__delete(struct store *store, int64_t conversation, int64_t job) {
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_DELETE];
  sql__i64(stmt, 1, conversation);
  sql__i64(stmt, 2, TURN_ID(job, true));
  sql__i64(stmt, 3, TURN_ID(job, false));
  return sql__run(stmt);
}

enum err turn__list(struct store *store, struct spool_job *job, unsigned max) {
  if (max == 0) return ERR_OK;
  if (max > TURNS_MAX) max = TURNS_MAX;
  sqlite3_stmt *stmt = store->stmts[STMT_TURN_LIST];
  sql__i64(stmt, 1, job->conversation);
  sql__i64(stmt, 2, max);
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) break;
    if (!job->turns) job->turns = xcalloc(max, sizeof *job->turns);
    struct spool_turn *turn = &job->turns[job->turn_count++];
    turn->from_user = !TURN_IS_ANSWER(sqlite3_column_int64(stmt, 0));
    turn->text = sql__dup(stmt, 1);
  }
  // They came newest first.
  for (size_t i = 0, j = job->turn_count; i + 1 < j; i++) {
    j--;
    struct spool_turn swap = job->turns[i];
    job->turns[i] = job->turns[j];
    job->turns[j] = swap;
  }
  return ERR_OK;
}
