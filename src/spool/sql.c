// One SQLite statement: bind, step, read. Runs on the spool's thread and in tools.
#include "spool/store.h"

enum err sql__row(sqlite3_stmt *stmt, bool *row) {
  int rc = sqlite3_step(stmt);
  if (rc == SQLITE_ROW) {
    *row = true;
    return ERR_OK;
  }
  sqlite3_reset(stmt);
  if (rc != SQLITE_DONE) return store__err(sqlite3_db_handle(stmt), rc);
  *row = false;
  return ERR_OK;
}

enum err sql__run(sqlite3_stmt *stmt) {
  bool row = true;
  while (row) {
    enum err e = sql__row(stmt, &row);
    if (e) return e;
  }
  return ERR_OK;
}

enum err sql__change(sqlite3_stmt *stmt, size_t *changed) {
  enum err e = sql__run(stmt);
  if (e) return e;
  *changed = (size_t)sqlite3_changes64(sqlite3_db_handle(stmt));
  return ERR_OK;
}

// Bound memory lives until the statement was stepped: nothing is copied.
void sql__text(sqlite3_stmt *stmt, int at, struct span text) {
  int rc = sqlite3_bind_text64(stmt, at, text.len ? text.ptr : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
  ALWAYS(rc == SQLITE_OK || rc == SQLITE_TOOBIG);
}

void sql__blob(sqlite3_stmt *stmt, int at, struct span bytes) {
  int rc = sqlite3_bind_blob64(stmt, at, bytes.len ? bytes.ptr : "", bytes.len, SQLITE_STATIC);
  ALWAYS(rc == SQLITE_OK || rc == SQLITE_TOOBIG);
}

void sql__i64(sqlite3_stmt *stmt, int at, int64_t value) {
  ALWAYS(sqlite3_bind_int64(stmt, at, value) == SQLITE_OK);
}

struct span sql__span(sqlite3_stmt *stmt, int column) {
  const void *ptr = sqlite3_column_blob(stmt, column);
  int len = sqlite3_column_bytes(stmt, column);
  return ptr ? (struct span){ptr, (size_t)len} : SPAN("");
}

char *sql__dup(sqlite3_stmt *stmt, int column) {
  return span_dup(sql__span(stmt, column));
}

enum err sql__exec(sqlite3 *db, const char *text) {
  int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
  return rc == SQLITE_OK ? ERR_OK : store__err(db, rc);
}

enum err sql__number(sqlite3 *db, const char *text, int64_t *out) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db, text, -1, &stmt, NULL);
  if (rc != SQLITE_OK) return store__err(db, rc);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (!e && row) *out = sqlite3_column_int64(stmt, 0);
  sqlite3_finalize(stmt);
  if (e) return e;
  return row ? ERR_OK : ERR_NOT_FOUND;
}
