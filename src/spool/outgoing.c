// Outgoing messages: WAITING -> FLYING -> SENT | DEAD, and back to WAITING when one is known not to have left. SENT is final. Runs on the
// spool's thread.
#include "spool/store.h"

static const char *const names[] = {"waiting", "flying", "sent", "dead"};

const char *out__state_name(int64_t state) {
  return state >= 0 && state < (int64_t)COUNT_OF(names) ? names[state] : "unknown";
}

enum err out__list(struct store *store, struct spool_job *job) {
  sqlite3_stmt *stmt = store->stmts[STMT_OUT_LIST];
  sql__i64(stmt, 1, STORE_OUT_FIRST(job->id));
  sql__i64(stmt, 2, STORE_OUT_LAST(job->id));
  size_t size = 0;
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e || !row) return e;
    if (job->outgoing_count == size) {
      size = size ? size * 2 : 2;
      job->outgoing = xrealloc(job->outgoing, size * sizeof *job->outgoing);
    }
    struct spool_outgoing *out = &job->outgoing[job->outgoing_count++];
    out->id = sqlite3_column_int64(stmt, 0);
    out->index = (unsigned)(out->id - STORE_OUT_FIRST(job->id));
    out->state = (enum spool_outgoing_state)sqlite3_column_int(stmt, 1);
    out->unknown_since_us = sqlite3_column_int64(stmt, 2);
    if (span_copy(sql__span(stmt, 3), out->wamid, sizeof out->wamid)) out->wamid[0] = '\0';
    out->body = sql__dup(stmt, 4);
  }
}

enum err out__fly(struct store *store, struct spool_job *job, int64_t now_us) {
  for (size_t i = 0; i < job->outgoing_count; i++) {
    struct spool_outgoing *out = &job->outgoing[i];
    if (out->state == SPOOL_OUT_SENT || out->state == SPOOL_OUT_DEAD) continue;
    // It flew when its sender died or lost sight of it: whether it arrived is unknown since then, or since now.
    int64_t unknown_since_us = out->state == SPOOL_OUT_WAITING ? 0 : out->unknown_since_us ? out->unknown_since_us : now_us;
    if (out->state == SPOOL_OUT_FLYING && unknown_since_us == out->unknown_since_us) return ERR_OK;
    sqlite3_stmt *stmt = store->stmts[STMT_OUT_FLY_AGAIN];
    sql__i64(stmt, 1, out->id);
    sql__i64(stmt, 2, unknown_since_us);
    out->state = SPOOL_OUT_FLYING;
    out->unknown_since_us = unknown_since_us;
    return sql__run(stmt);
  }
  return ERR_OK;
}

enum err out__landed(struct store *store, const struct spool_finish *finish) {
  if (finish->outgoing == 0) return ERR_OK;
  if (finish->outgoing_state == SPOOL_OUT_SENT) {
    sqlite3_stmt *sent = store->stmts[STMT_OUT_SENT];
    sql__i64(sent, 1, finish->outgoing);
    sql__text(sent, 2, finish->wamid);
    sql__i64(sent, 3, finish->now_us);
    return sql__run(sent);
  }
  sqlite3_stmt *stmt = store->stmts[STMT_OUT_LANDED];
  sql__i64(stmt, 1, finish->outgoing);
  sql__i64(stmt, 2, finish->outgoing_state);
  sql__i64(stmt, 3, finish->now_us);
  return sql__run(stmt);
}
