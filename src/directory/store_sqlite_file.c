// The directory's SQLite file: made, prepared for use, its schema brought up to date. Runs on pool threads of workers and the dispatcher,
// and in wahookctl.
#include "store_sqlite_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fields.h"

#define SCHEMA_VERSION  3
#define BUSY_TIMEOUT_MS 2000
#define WAL_TRIES       40
#define WAL_PAUSE_US    25000

// Few have one, and they are looked for each time that something has changed.
#define RETENTION_INDEX            "CREATE INDEX IF NOT EXISTS businesses_retention ON businesses(id) WHERE retention<>'';"
#define DEFINE(field, path, wiped) #field " TEXT NOT NULL,"
static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS businesses(" BUSINESS_TEXTS(
        DEFINE) "token_expires_ms INTEGER NOT NULL, whatsapp_enabled INTEGER NOT NULL, is_active INTEGER NOT NULL,"
                " created_ms INTEGER NOT NULL, PRIMARY KEY(id)) STRICT;"
                "CREATE INDEX IF NOT EXISTS businesses_sub_domain ON businesses(sub_domain) WHERE sub_domain<>'';"
                "CREATE INDEX IF NOT EXISTS businesses_waba ON businesses(waba_id) WHERE waba_id<>'';"
                "CREATE INDEX IF NOT EXISTS businesses_active ON businesses(is_active, whatsapp_enabled, created_ms, id);" RETENTION_INDEX
                "CREATE TABLE IF NOT EXISTS phone_numbers(phone_number_id TEXT NOT NULL,"
                " business_id TEXT NOT NULL REFERENCES businesses(id) ON DELETE CASCADE, position INTEGER NOT NULL,"
                " PRIMARY KEY(phone_number_id, business_id)) STRICT, WITHOUT ROWID;"
                "CREATE INDEX IF NOT EXISTS phone_numbers_business ON phone_numbers(business_id, position);"
                "PRAGMA user_version=3;"
                "COMMIT;";
// What a file of an older schema lacks: [v] leads from v to v + 1.
static const char *const newer[SCHEMA_VERSION] = {
    [1] = "ALTER TABLE businesses ADD COLUMN app_secret TEXT NOT NULL DEFAULT '';"
          "ALTER TABLE businesses ADD COLUMN rate_limit TEXT NOT NULL DEFAULT '';"
          "PRAGMA user_version=2;",
    [2] = "ALTER TABLE businesses ADD COLUMN retention TEXT NOT NULL DEFAULT '';" RETENTION_INDEX "PRAGMA user_version=3;",
};

void sqlite__make_file(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (fd < 0) return; // there already, or sqlite3_open_v2 tells why not
  char *parent = xstrdup(path), *slash = strrchr(parent, '/');
  if (slash) slash[slash == parent] = '\0';
  struct stat st;
  if (geteuid() == 0 && stat(slash ? parent : ".", &st) == 0 && fchown(fd, st.st_uid, st.st_gid) != 0) { unlink(path); }
  free(parent);
  close(fd);
}

enum err sqlite__failed(const char *path, sqlite3 *db, struct why *why) {
  int code = db ? sqlite3_errcode(db) & 0xff : SQLITE_NOMEM;
  why_set(why, "%s: %s", path, db ? sqlite3_errmsg(db) : "no memory");
  return code == SQLITE_FULL ? ERR_FULL : code == SQLITE_READONLY ? ERR_DENIED : ERR_UNAVAILABLE;
}

// Switching to WAL needs the file alone for a moment, and of several processes that start at once only one gets it.
static int use_wal(sqlite3 *db) {
  int rc = SQLITE_BUSY;
  for (int i = 0; i < WAL_TRIES && rc == SQLITE_BUSY; i++) {
    if (i) usleep(WAL_PAUSE_US);
    rc = sqlite3_exec(db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL) & 0xff;
  }
  return rc == SQLITE_READONLY ? SQLITE_OK : rc; // a reader does with what is there
}

static int user_version(sqlite3 *db, int *version) {
  sqlite3_stmt *stmt = NULL;
  int rc = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL);
  if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) *version = sqlite3_column_int(stmt, 0);
  sqlite3_finalize(stmt);
  return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

static int bring_up(sqlite3 *db, int version) {
  if (version == 0) return sqlite3_exec(db, schema, NULL, NULL, NULL);
  int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
  if (!rc) rc = user_version(db, &version); // another process may have been faster
  for (; !rc && version < SCHEMA_VERSION; version++)
    rc = sqlite3_exec(db, newer[version], NULL, NULL, NULL);
  return rc ? rc : sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
}

enum err sqlite__prepare(const char *path, sqlite3 *db, struct why *why) {
  int version = 0;
  sqlite3_busy_timeout(db, BUSY_TIMEOUT_MS);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
  // secure_delete: an old token shall not stay in the file's free pages.
  static const char settings[] =
      "PRAGMA trusted_schema=OFF; PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON; PRAGMA cell_size_check=ON";
  if (use_wal(db) || sqlite3_exec(db, settings, NULL, NULL, NULL) || user_version(db, &version)) return sqlite__failed(path, db, why);
  if (version > SCHEMA_VERSION) {
    why_set(why, "%s: made by a newer wahookd (schema %d, this one knows %d)", path, version, SCHEMA_VERSION);
    return ERR_VERSION;
  }
  if (version < SCHEMA_VERSION && bring_up(db, version)) {
    enum err e = sqlite__failed(path, db, why);
    if (!sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return e;
  }
  return ERR_OK;
}
