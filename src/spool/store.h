// The store behind the verbs: one SQLite connection and what is remembered beside it. Used by one thread at a time.
#ifndef SPOOL_STORE_H
#define SPOOL_STORE_H

#include <sqlite3.h>

#include "wahook/spool.h"
#include "spool/seen_recent.h"
#include "spool/statements.h"

#define STORE_APPLICATION_ID 0x77686b73 // "whks"
#define STORE_BUSY_MS        5000
#define STORE_BUCKETS        64
// An outgoing message's id tells its job and its place in it, so that it needs no index of its own and ids of a dropped job never return.
#define STORE_OUT_BITS       12
#define STORE_OUT_MAX        (1 << STORE_OUT_BITS)
#define STORE_OUT_FIRST(job) ((job) << STORE_OUT_BITS)
#define STORE_OUT_LAST(job)  (((job) << STORE_OUT_BITS) | (STORE_OUT_MAX - 1))

// Kept in memory and changed within a transaction: a rollback takes it back.
struct store_state {
  int64_t next_job, next_conversation;
  // What this transaction does to the counters.
  int64_t waiting, done, skipped, dead, kept, quarantined;
  int64_t buckets[STORE_BUCKETS]; // days of seen ids that exist, oldest first
  size_t bucket_count;
  int64_t clean_job, clean_turn, clean_conversation, clean_kept; // how far the cleaning got
  int64_t numbers;                                               // with a retention of their own
  int64_t expire_number, fill_job;                               // how far their sweep and their walk got
  bool expire_again, fill_due;
};

struct store_claim; // which conversation a claimed job is of, also after a tool has dropped it

struct store {
  sqlite3 *db;
  sqlite3_stmt *stmts[STMT_COUNT];
  char name[9];
  struct store_state state, saved;
  int64_t data_version;
  uint64_t waiting, dead;    // as committed
  struct clock_steady clock; // as it was kept when the store was opened
  bool unwiped, wipe;        // something was deleted that is still in the WAL; it goes with the next commit
  struct store_claim *claims;
  struct seen_recent recent; // not taken back by a rollback but read again
  bool old_turns;            // there are some in the table of older versions
  struct buf scratch;
};

// store_sqlite.c
enum err store__open(const char *path, struct store **out, struct why *why) MUST_CHECK;
void store__close(struct store *store);
enum err store__begin(struct store *store, bool writes) MUST_CHECK;
enum err store__commit(struct store *store) MUST_CHECK;
void store__rollback(struct store *store);
// Reads the counters again, e.g. after a tool has changed them.
enum err store__refresh(struct store *store) MUST_CHECK;
// The connection's settings, for the daemon and the tools alike. `create`: makes the file when missing.
enum err store__connect(const char *path, bool create, sqlite3 **out, struct why *why) MUST_CHECK;
enum err store__err(sqlite3 *db, int rc);

// sql.c: one statement. A statement is reset when it has no more rows; who stops earlier calls sqlite3_reset.
enum err sql__run(sqlite3_stmt *stmt) MUST_CHECK;            // to the end, rows are ignored
enum err sql__row(sqlite3_stmt *stmt, bool *row) MUST_CHECK; // *row: there is one to read
enum err sql__change(sqlite3_stmt *stmt, size_t *changed) MUST_CHECK;
void sql__text(sqlite3_stmt *stmt, int at, struct span text); // absent: ''
void sql__blob(sqlite3_stmt *stmt, int at, struct span bytes);
void sql__i64(sqlite3_stmt *stmt, int at, int64_t value);
struct span sql__span(sqlite3_stmt *stmt, int column); // valid until the next step
char *sql__dup(sqlite3_stmt *stmt, int column);
enum err sql__exec(sqlite3 *db, const char *text) MUST_CHECK;
// The first column of the first row.
enum err sql__number(sqlite3 *db, const char *text, int64_t *out) MUST_CHECK;

// schema.c: ERR_FORMAT for a foreign database, ERR_VERSION for a newer one. `migrate`: brings an older or empty one up to date.
enum err schema__check(sqlite3 *db, const char *path, bool migrate, struct why *why) MUST_CHECK;

// page_cache.c: before SQLite is in use; later it changes nothing
void page_cache__watch(void);

// clock.c: reads it from four columns
void clock__read(sqlite3_stmt *stmt, int column, struct clock_steady *clock);

// claims.c: a job in work and its conversation, in memory
void claim__note(struct store *store, int64_t job, int64_t conversation);
// Its conversation, 0 when it was not claimed here; forgets it when `over`.
int64_t claim__conversation(struct store *store, int64_t job, bool over);
void claim__forget_all(struct store *store);

// seen.c
enum err seen__load(struct store *store) MUST_CHECK;
// Remembers an item's id; *duplicate when it was known.
enum err seen__take(struct store *store, const struct spool_item *item, int64_t now_us, bool *duplicate) MUST_CHECK;
// Moves some of the recent ids on to where they stay: as many as suits a batch of that size.
enum err seen__move(struct store *store, size_t taken) MUST_CHECK;
enum err seen__clean(struct store *store, int64_t now_us, size_t max, size_t *rows) MUST_CHECK;

// clean.c: parts of it, for the sweep of numbers with a retention of their own
// A done or skipped job with its outgoing messages.
enum err clean__job(struct store *store, int64_t job, int64_t conversation, int64_t state) MUST_CHECK;
// A conversation, if it has neither jobs nor turns nor a message since.
enum err clean__conversation(struct store *store, int64_t conversation, int64_t cutoff_us, size_t *rows) MUST_CHECK;
// Runs a statement that deletes kept events and returns what each was.
enum err clean__kept(struct store *store, sqlite3_stmt *stmt, size_t *rows) MUST_CHECK;

// retention.c: of a conversation's number
enum err retention__ended(struct store *store, int64_t conversation, int64_t job, int64_t now_us) MUST_CHECK;
enum err retention__own(struct store *store, int64_t conversation, bool *own) MUST_CHECK;

// statuses.c
enum err status__take(struct store *store, const struct spool_item *item, int64_t now_us, bool *late) MUST_CHECK;
const char *status__name(int64_t status);

// turns.c
enum err turn__put(struct store *store, int64_t conversation, int64_t last_turn, int64_t job, struct span user_text,
                   struct span answer_text, int64_t now_us) MUST_CHECK;
enum err turn__delete(struct store *store, int64_t job) MUST_CHECK;
// Those of a conversation that are older than that by the way older versions kept them.
enum err turn__clean_old(struct store *store, int64_t conversation, int64_t cutoff_us, size_t *rows) MUST_CHECK;

// outgoing.c
enum err out__list(struct store *store, struct spool_job *job) MUST_CHECK;
// Marks the first unsent message as flying, as a claim does.
enum err out__fly(struct store *store, struct spool_job *job, int64_t now_us) MUST_CHECK;
enum err out__landed(struct store *store, const struct spool_finish *finish) MUST_CHECK;
const char *out__state_name(int64_t state);

#endif
