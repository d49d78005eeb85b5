// The SQLite connection of the spool: settings, transactions, errors. Runs on the spool's thread; tools share the settings.
#include "spool/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum err store__err(sqlite3 *db, int rc) {
  // SQLite says "full" for data files; where its shared-memory index cannot grow it is an I/O error with the system's number beside it.
  bool no_room = sqlite3_system_errno(db) == ENOSPC || sqlite3_system_errno(db) == EDQUOT;
  switch (rc & 0xff) {
  case SQLITE_OK: return ERR_OK;
  case SQLITE_FULL: return ERR_FULL;
  case SQLITE_BUSY:
  case SQLITE_LOCKED: return ERR_AGAIN;
  case SQLITE_NOTADB:
  case SQLITE_CORRUPT: return ERR_FORMAT;
  case SQLITE_PERM:
  case SQLITE_READONLY:
  case SQLITE_AUTH: return ERR_DENIED;
  case SQLITE_TOOBIG: return ERR_TOO_LARGE;
  case SQLITE_CANTOPEN: return ERR_IO;
  case SQLITE_IOERR: return no_room ? ERR_FULL : ERR_IO;
  case SQLITE_NOMEM: die("SQLite ran out of memory");
  default: return ERR_IO;
  }
}

// synchronous=FULL: in WAL mode every COMMIT is fsynced, a power cut loses nothing that was completed.
// No mmap: an I/O error in a mapped page is a SIGBUS, in read(2) it is an error that a verb can report.
// secure_delete: what was deleted since its time is over shall not stay in free pages.
// A larger WAL than the default 1000 pages: big batches would otherwise write the database back after every commit.
static const char settings[] = "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA trusted_schema = OFF;"
                               "PRAGMA foreign_keys = ON;"
                               "PRAGMA cell_size_check = ON;"
                               "PRAGMA secure_delete = ON;"
                               "PRAGMA temp_store = MEMORY;"
                               "PRAGMA mmap_size = 0;"
                               "PRAGMA cache_size = -65536;"
                               "PRAGMA wal_autocheckpoint = 8000;"
                               "PRAGMA journal_size_limit = 67108864;";

static enum err file_check(const char *path, bool create, struct why *why) {
  // Made here because SQLite would give it mode 0644; the WAL and its index take the mode of the database.
  int fd = open(path, (create ? O_RDWR | O_CREAT : O_RDONLY) | O_CLOEXEC, 0640);
  if (fd >= 0) {
    close(fd);
    return ERR_OK;
  }
  int code = errno;
  why_set(why, "cannot open %s: %s", path, strerror(code));
  switch (code) {
  case ENOENT: return ERR_NOT_FOUND;
  case EACCES:
  case EPERM:
  case EROFS: return ERR_DENIED;
  case ENOSPC:
  case EDQUOT: return ERR_FULL;
  default: return ERR_IO;
  }
}

static void explain(struct why *why, enum err e, const char *path, const char *text) {
  if (e == ERR_FORMAT)
    why_set(why,
            "%s is damaged or no database (%s): stop wahookd, move it away together with its -wal and -shm files and start again with an "
            "empty spool; `sqlite3 FILE .recover` saves what is readable",
            path, text);
  else
    why_set(why, "cannot open %s: %s", path, text);
}

enum err store__connect(const char *path, bool create, sqlite3 **out, struct why *why) {
  enum err e = file_check(path, create, why);
  if (e) return e;
  sqlite3 *db = NULL;
  // Statistics would take a lock for each of the hundred allocations that a message costs. Refused once SQLite is in use.
  (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  page_cache__watch();
  // NOMUTEX: a connection belongs to one thread at a time.
  int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
  if (rc == SQLITE_OK) {
    sqlite3_busy_timeout(db, STORE_BUSY_MS);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    rc = sqlite3_exec(db, settings, NULL, NULL, NULL);
  }
  if (rc == SQLITE_OK) {
    *out = db;
    return ERR_OK;
  }
  if (!db) die("SQLite ran out of memory");
  e = store__err(db, rc);
  explain(why, e, path, sqlite3_errmsg(db));
  sqlite3_close(db);
  return e;
}

#define STMT_SQL(id, sql) [STMT_##id] = sql,
static const char *const statements[STMT_COUNT] = {STMT_LIST(STMT_SQL)};
#undef STMT_SQL

static enum err prepare_all(struct store *store) {
  for (int i = 0; i < STMT_COUNT; i++) {
    int rc = sqlite3_prepare_v3(store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &store->stmts[i], NULL);
    if (rc != SQLITE_OK) return store__err(store->db, rc);
  }
  return ERR_OK;
}

static enum err load(struct store *store) {
  enum err e = prepare_all(store);
  if (e) return e;
  sqlite3_stmt *stmt = store->stmts[STMT_SPOOL_READ];
  bool row = false;
  if ((e = sql__row(stmt, &row))) return e;
  if (!row) return ERR_FORMAT;
  if (span_copy(sql__span(stmt, 0), store->name, sizeof store->name)) memset(store->name, '0', sizeof store->name - 1);
  store->state.next_job = sqlite3_column_int64(stmt, 1);
  store->state.next_conversation = sqlite3_column_int64(stmt, 2);
  store->waiting = (uint64_t)sqlite3_column_int64(stmt, 3);
  store->dead = (uint64_t)sqlite3_column_int64(stmt, 4);
  clock__read(stmt, 5, &store->clock);
  sqlite3_reset(stmt);
  if ((e = seen__load(store))) return e;
  stmt = store->stmts[STMT_OLD_TURNS];
  if ((e = sql__row(stmt, &row))) return e;
  store->old_turns = sqlite3_column_int(stmt, 0) != 0;
  sqlite3_reset(stmt);
  stmt = store->stmts[STMT_RETENTION_COUNT];
  if ((e = sql__row(stmt, &row))) return e;
  store->state.numbers = sqlite3_column_int64(stmt, 0);
  store->state.fill_due = store->state.numbers > 0;
  sqlite3_reset(stmt);
  stmt = store->stmts[STMT_DATA_VERSION];
  if ((e = sql__row(stmt, &row))) return e;
  store->data_version = sqlite3_column_int64(stmt, 0);
  sqlite3_reset(stmt);
  return ERR_OK;
}

enum err store__open(const char *path, struct store **out, struct why *why) {
  sqlite3 *db = NULL;
  enum err e = store__connect(path, true, &db, why);
  if (e) return e;
  struct store *store = xcalloc(1, sizeof *store);
  store->db = db;
  e = schema__check(db, path, true, why);
  if (!e) {
    e = load(store);
    if (e) explain(why, e, path, sqlite3_errmsg(db));
  }
  if (e)
    store__close(store);
  else
    *out = store;
  return e;
}

void store__close(struct store *store) {
  for (int i = 0; i < STMT_COUNT; i++)
    sqlite3_finalize(store->stmts[i]);
  int rc = sqlite3_close(store->db);
  ALWAYS(rc == SQLITE_OK);
  claim__forget_all(store);
  recent__free(&store->recent);
  buf_free(&store->scratch);
  free(store);
}

enum err store__begin(struct store *store, bool writes) {
  store->saved = store->state;
  enum err e = sql__run(store->stmts[writes ? STMT_BEGIN_WRITE : STMT_BEGIN_READ]);
  return !e && writes && store->recent.stale ? seen__load(store) : e;
}

static bool counted(const struct store_state *now, const struct store_state *before) {
  return now->waiting || now->done || now->skipped || now->dead || now->kept || now->quarantined || now->next_job != before->next_job ||
         now->next_conversation != before->next_conversation;
}

static enum err write_counters(struct store *store, uint64_t *waiting, uint64_t *dead) {
  struct store_state *s = &store->state;
  sqlite3_stmt *stmt = store->stmts[STMT_SPOOL_WRITE];
  const int64_t values[] = {s->next_job, s->next_conversation, s->waiting, s->done, s->skipped, s->dead, s->kept, s->quarantined};
  for (size_t i = 0; i < COUNT_OF(values); i++)
    sql__i64(stmt, (int)i + 1, values[i]);
  enum err e = sql__run(stmt);
  if (e) return e;
  // Not by RETURNING, which opens a table of its own for the one row.
  stmt = store->stmts[STMT_SPOOL_COUNTS];
  bool row = false;
  if ((e = sql__row(stmt, &row))) return e;
  if (!row) return ERR_FORMAT;
  *waiting = (uint64_t)sqlite3_column_int64(stmt, 0);
  *dead = (uint64_t)sqlite3_column_int64(stmt, 1);
  sqlite3_reset(stmt);
  return ERR_OK;
}

// What was deleted is still in the WAL, from when it was written. One that a tool reads just now is emptied after a later sweep.
static void wipe(struct store *store) {
  store->wipe = false;
  sqlite3_busy_timeout(store->db, 0);
  store->unwiped = sqlite3_wal_checkpoint_v2(store->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK;
  sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
}

enum err store__commit(struct store *store) {
  uint64_t waiting = store->waiting, dead = store->dead;
  if (counted(&store->state, &store->saved)) {
    enum err e = write_counters(store, &waiting, &dead);
    if (e) return e;
  }
  enum err e = sql__run(store->stmts[STMT_COMMIT]);
  if (e) return e;
  store->waiting = waiting;
  store->dead = dead;
  struct store_state *s = &store->state;
  s->waiting = s->done = s->skipped = s->dead = s->kept = s->quarantined = 0;
  if (store->wipe) wipe(store);
  return ERR_OK;
}

void store__rollback(struct store *store) {
  // A statement that a failed verb left in the middle of its rows would keep the transaction open.
  for (int i = 0; i < STMT_COUNT; i++)
    sqlite3_reset(store->stmts[i]);
  // Some errors (a full disk) have rolled back by themselves.
  if (!sqlite3_get_autocommit(store->db)) sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
  store->state = store->saved;
  store->recent.stale = true;
}

enum err store__refresh(struct store *store) {
  sqlite3_stmt *stmt = store->stmts[STMT_SPOOL_READ];
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e || !row) return e;
  store->waiting = (uint64_t)sqlite3_column_int64(stmt, 3);
  store->dead = (uint64_t)sqlite3_column_int64(stmt, 4);
  sqlite3_reset(stmt);
  return ERR_OK;
}
