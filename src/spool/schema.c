// The spool's tables and how an older file becomes one of today. Runs in the dispatcher at its start; tools only check.
#include "spool/store.h"

#include <inttypes.h>
#include <stdio.h>

// Each row brings the schema from version - 1 to version, in a transaction of its own. Never change a row that was released: add one.
static const struct migration {
  int version;
  const char *sql;
} migrations[] = {
    {1,
     // One row. Ids come from here and not from max(id)+1: cleaning away the newest job must not give its id, which travels as callback
     // data, to another one. The counters change in the transactions that change what they count, so opening counts nothing.
     "CREATE TABLE spool("
     "  id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, next_job INTEGER NOT NULL, next_conversation INTEGER NOT NULL,"
     "  waiting INTEGER NOT NULL, done INTEGER NOT NULL, skipped INTEGER NOT NULL, dead INTEGER NOT NULL,"
     "  kept INTEGER NOT NULL, quarantined INTEGER NOT NULL) STRICT;"
     "INSERT INTO spool VALUES(1, lower(hex(randomblob(4))), 1, 1, 0, 0, 0, 0, 0, 0);"
     "CREATE TABLE positions(file TEXT PRIMARY KEY, offset INTEGER NOT NULL, finished INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
     // Buckets of four days: a look-up needs three at most, and forgetting cuts a contiguous piece off the tree.
     "CREATE TABLE seen(bucket INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (bucket, id)) STRICT, WITHOUT ROWID;"
     "CREATE TABLE conversations("
     "  id INTEGER PRIMARY KEY, phone_number_id TEXT NOT NULL, user TEXT NOT NULL, last_inbound_us INTEGER NOT NULL,"
     "  jobs INTEGER NOT NULL, UNIQUE (phone_number_id, user)) STRICT;"
     // The small columns come first: cleaning reads them without touching the pages that a large raw spills into.
     "CREATE TABLE jobs("
     "  id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),"
     "  attempts INTEGER NOT NULL, answered INTEGER NOT NULL, received_us INTEGER NOT NULL, sent_us INTEGER NOT NULL,"
     "  next_us INTEGER NOT NULL, finished_us INTEGER NOT NULL, wamid TEXT NOT NULL, type TEXT NOT NULL, profile_name TEXT NOT NULL,"
     "  reason TEXT NOT NULL, raw TEXT NOT NULL) STRICT;"
     // Rows of an index end with the rowid: these are (conversation, id) and (state, id).
     "CREATE INDEX jobs_waiting ON jobs(conversation) WHERE state = 0;"
     "CREATE INDEX jobs_dead ON jobs(state) WHERE state = 3;"
     "CREATE TABLE outgoing("
     "  id INTEGER PRIMARY KEY, state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), unknown_since_us INTEGER NOT NULL,"
     "  sent_us INTEGER NOT NULL, wamid TEXT NOT NULL, body TEXT NOT NULL) STRICT;"
     "CREATE TABLE turns("
     "  conversation INTEGER NOT NULL REFERENCES conversations(id) ON DELETE CASCADE, id INTEGER NOT NULL, at_us INTEGER NOT NULL,"
     "  text TEXT NOT NULL, PRIMARY KEY (conversation, id)) STRICT, WITHOUT ROWID;"
     "CREATE TABLE statuses("
     "  id INTEGER PRIMARY KEY, wamid TEXT NOT NULL UNIQUE, phone_number_id TEXT NOT NULL, user TEXT NOT NULL, status INTEGER NOT NULL,"
     "  rank INTEGER NOT NULL, at_us INTEGER NOT NULL, error_code INTEGER NOT NULL, error_text TEXT NOT NULL) STRICT;"
     "CREATE TABLE kept("
     "  id INTEGER PRIMARY KEY, what INTEGER NOT NULL, received_us INTEGER NOT NULL, phone_number_id TEXT NOT NULL, user TEXT NOT NULL,"
     "  wamid TEXT NOT NULL, type TEXT NOT NULL, raw BLOB NOT NULL) STRICT;"},
    {2,
     // The clock that all times here are by (struct clock_steady): zeroes begin with the wall clock, which they were by before.
     "ALTER TABLE spool ADD COLUMN boot_id INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE spool ADD COLUMN boot_us INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE spool ADD COLUMN wall_us INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE spool ADD COLUMN steady_us INTEGER NOT NULL DEFAULT 0;"},
    {3,
     // Numbers that keep their messages for a time of their own, and the ended jobs of these (retention.c): jobs themselves get neither
     // column nor index, so that an older spool of millions needs no reading and those of all others cost nothing.
     "CREATE TABLE retentions("
     "  id INTEGER PRIMARY KEY, phone_number_id TEXT NOT NULL UNIQUE, retention_us INTEGER NOT NULL, filled INTEGER NOT NULL) STRICT;"
     "CREATE TABLE ended(number INTEGER NOT NULL, at_us INTEGER NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (number, at_us, job)) STRICT,"
     "  WITHOUT ROWID;"
     "CREATE INDEX kept_number ON kept(phone_number_id, received_us) WHERE phone_number_id <> '';"},
    {4,
     // What a message writes goes to the ends of tables, so that messages share pages: ids wait here until many go into `seen` at once, and
     // a message's turns are a row in the order of jobs, from which `before` leads on to the one before it in the conversation. What older
     // versions wrote into `turns` is read until it is cleaned away.
     "CREATE TABLE seen_recent(n INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, id BLOB NOT NULL) STRICT;"
     "CREATE TABLE exchanges("
     "  job INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, before INTEGER NOT NULL, at_us INTEGER NOT NULL,"
     "  user_text TEXT, answer_text TEXT) STRICT;"
     "ALTER TABLE conversations ADD COLUMN last_turn INTEGER NOT NULL DEFAULT 0;"},
};
#define SCHEMA_VERSION (migrations[COUNT_OF(migrations) - 1].version)

static enum err migrate_one(sqlite3 *db, const struct migration *m) {
  enum err e = sql__exec(db, "BEGIN IMMEDIATE");
  if (e) return e;
  int64_t version = 0; // another process may have been faster
  e = sql__number(db, "PRAGMA user_version", &version);
  if (!e && version < m->version) e = sql__exec(db, m->sql);
  char pragma[96];
  snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d; PRAGMA application_id = %d", m->version, STORE_APPLICATION_ID);
  if (!e && version < m->version) e = sql__exec(db, pragma);
  if (!e) e = sql__exec(db, "COMMIT");
  if (e && !sqlite3_get_autocommit(db)) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
  return e;
}

enum err schema__check(sqlite3 *db, const char *path, bool migrate, struct why *why) {
  int64_t application = 0, version = 0, tables = 0;
  enum err e = sql__number(db, "PRAGMA application_id", &application);
  if (!e) e = sql__number(db, "PRAGMA user_version", &version);
  if (!e) e = sql__number(db, "SELECT count(*) FROM sqlite_schema", &tables);
  if (e) {
    why_set(why, "cannot read %s: %s", path, sqlite3_errmsg(db));
    return e;
  }
  bool empty = application == 0 && version == 0 && tables == 0;
  if (!empty && application != STORE_APPLICATION_ID) {
    why_set(why, "%s is a database of another program: move it away or set another state_dir", path);
    return ERR_FORMAT;
  }
  if (version > SCHEMA_VERSION) {
    why_set(why, "%s was written by a newer wahookd (format %" PRId64 ", this one knows %d): install that version", path, version,
            SCHEMA_VERSION);
    return ERR_VERSION;
  }
  if (version < SCHEMA_VERSION && !migrate) {
    why_set(why, "%s has the older format %" PRId64 ": start wahookd once to bring it up to date", path, version);
    return ERR_VERSION;
  }
  for (size_t i = 0; i < COUNT_OF(migrations); i++) {
    if (migrations[i].version <= version) continue;
    e = migrate_one(db, &migrations[i]);
    if (!e) continue;
    why_set(why, "cannot bring %s to format %d: %s", path, migrations[i].version, sqlite3_errmsg(db));
    return e;
  }
  return ERR_OK;
}
