// The spool for tools: list, count, retry and drop, in a process of its own beside a running daemon. Its connection is the tool's alone.
#include "spool/view.h"

#include <stdlib.h>

#define VIEW_CHUNK 1000 // jobs a transaction changes at most, so that the daemon waits only moments

static const char *const state_names[] = {"waiting", "done", "skipped", "dead"};

const char *spool_job_state_name(enum spool_job_state state) {
  ALWAYS((size_t)state < COUNT_OF(state_names));
  return state_names[state];
}

enum err view__fail(struct spool_view *view, enum err e, struct why *why) {
  if (e == ERR_AGAIN)
    why_set(why, "the spool was busy for %d s: try again", STORE_BUSY_MS / 1000);
  else
    why_set(why, "the spool: %s", sqlite3_errmsg(view->db));
  return e;
}

enum err view__prepare(struct spool_view *view, const char *text, sqlite3_stmt **out, struct why *why) {
  int rc = sqlite3_prepare_v2(view->db, text, -1, out, NULL);
  return rc == SQLITE_OK ? ERR_OK : view__fail(view, store__err(view->db, rc), why);
}

int64_t view__wall_us(const struct spool_view *view, int64_t stored_us) {
  return stored_us ? stored_us + view->ahead_us : 0;
}

// How far the wall clock is ahead of the spool's, which runs on from what was kept of it.
static enum err read_clock(struct spool_view *view, struct why *why) {
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view, "SELECT boot_id, boot_us, wall_us, steady_us FROM spool", &stmt, why);
  if (e) return e;
  struct clock_steady kept = {0}, clock;
  bool row = false;
  e = sql__row(stmt, &row);
  if (!e && row) clock__read(stmt, 0, &kept);
  if (e) view__fail(view, e, why);
  sqlite3_finalize(stmt);
  int64_t boot_us = clock_boot_us(), wall_us = clock_wall_us();
  clock_steady_begin(&clock, &kept, clock_boot_id(), boot_us, wall_us);
  view->ahead_us = wall_us - clock_steady_at(&clock, boot_us, wall_us);
  return e;
}

enum err spool_view_open(const char *path, struct spool_view **out, struct why *why) {
  sqlite3 *db = NULL;
  enum err e = store__connect(path, false, &db, why);
  if (e) return e;
  int64_t application = 0;
  e = sql__number(db, "PRAGMA application_id", &application);
  if (!e && application != STORE_APPLICATION_ID) {
    why_set(why, "%s is no spool of wahookd", path);
    e = ERR_FORMAT;
  } else if (e) {
    why_set(why, "cannot read %s: %s", path, sqlite3_errmsg(db));
  }
  if (!e) e = schema__check(db, path, false, why);
  struct spool_view *view = xcalloc(1, sizeof *view);
  view->db = db;
  if (!e) e = read_clock(view, why);
  if (e)
    spool_view_close(view);
  else
    *out = view;
  return e;
}

void spool_view_close(struct spool_view *view) {
  if (!view) return;
  ALWAYS(sqlite3_close(view->db) == SQLITE_OK);
  free(view);
}

// ---------------------------------------------------------------- list and count

#define LIST_COLUMNS                                                                                                                       \
  "SELECT j.id, j.received_us, j.next_us, j.finished_us, j.attempts, c.phone_number_id, c.user, j.wamid, j.type, j.raw, j.reason FROM "
#define LIST_REST                                                                                                                          \
  " CROSS JOIN conversations c ON c.id = j.conversation WHERE j.state = %d AND (?1 = '' OR c.phone_number_id = ?1)"                        \
  " ORDER BY j.id DESC LIMIT ?2"

// Waiting and dead jobs have an index each: among a million finished ones they are found at once. Of the finished ones, the newest are at
// the end of the table.
static const char *const list_sources[] = {"jobs j INDEXED BY jobs_waiting", "jobs j", "jobs j", "jobs j INDEXED BY jobs_dead"};

static void read_row(const struct spool_view *view, sqlite3_stmt *stmt, enum spool_job_state state, struct spool_row *row) {
  *row = (struct spool_row){.state = state};
  row->id = sqlite3_column_int64(stmt, 0);
  row->received_us = view__wall_us(view, sqlite3_column_int64(stmt, 1));
  row->next_us = view__wall_us(view, sqlite3_column_int64(stmt, 2));
  row->finished_us = view__wall_us(view, sqlite3_column_int64(stmt, 3));
  row->attempts = (unsigned)sqlite3_column_int(stmt, 4);
  const char **texts[] = {&row->phone_number_id, &row->user, &row->wamid, &row->type, &row->raw, &row->reason};
  for (size_t i = 0; i < COUNT_OF(texts); i++)
    *texts[i] = (const char *)sqlite3_column_text(stmt, 5 + (int)i);
}

enum err spool_view_list(struct spool_view *view, enum spool_job_state state, const char *phone_number_id, unsigned max,
                         void (*on_row)(void *ctx, const struct spool_row *row), void *ctx, struct why *why) {
  ALWAYS((size_t)state < COUNT_OF(list_sources));
  struct buf text = {0};
  buf_add_text(&text, LIST_COLUMNS);
  buf_add_text(&text, list_sources[state]);
  buf_printf(&text, LIST_REST, (int)state);
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view, text.data, &stmt, why);
  buf_free(&text);
  if (e) return e;
  sql__text(stmt, 1, span_of(phone_number_id));
  sql__i64(stmt, 2, max);
  for (;;) {
    bool more = false;
    e = sql__row(stmt, &more);
    if (e || !more) break;
    struct spool_row row;
    read_row(view, stmt, state, &row);
    on_row(ctx, &row);
  }
  if (e) view__fail(view, e, why);
  sqlite3_finalize(stmt);
  return e;
}

enum err spool_view_count(struct spool_view *view, struct spool_view_counts *out, struct why *why) {
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view, "SELECT waiting, done, skipped, dead, quarantined, kept FROM spool", &stmt, why);
  if (e) return e;
  bool row = false;
  e = sql__row(stmt, &row);
  if (!e && row) {
    uint64_t *fields[] = {&out->waiting, &out->done, &out->skipped, &out->dead, &out->quarantined, &out->kept};
    for (size_t i = 0; i < COUNT_OF(fields); i++)
      *fields[i] = (uint64_t)sqlite3_column_int64(stmt, (int)i);
  }
  if (e) view__fail(view, e, why);
  sqlite3_finalize(stmt);
  return e;
}

// ---------------------------------------------------------------- retry and drop

// Steps of one job's change, in one transaction: ?1 is the job. 4096 outgoing ids belong to a job.
static const char *const revive_steps[] = {
    "UPDATE outgoing SET state = 0, unknown_since_us = 0 WHERE id >= ?1 * 4096 AND id < (?1 + 1) * 4096 AND state = 3",
    "UPDATE spool SET dead = dead - 1, waiting = waiting + 1 WHERE EXISTS(SELECT 1 FROM jobs WHERE id = ?1 AND state = 3)",
    "UPDATE jobs SET state = 0, attempts = 0, next_us = 0, finished_us = 0 WHERE id = ?1 AND state = 3",
};
static const char *const hurry_steps[] = {"UPDATE jobs SET next_us = 0 WHERE id = ?1 AND state = 0"};
static const char *const drop_steps[] = {
    // Its turns stay in the conversation for the time that its number keeps messages.
    "INSERT OR IGNORE INTO ended(number, at_us, job) SELECT r.id, e.at_us, e.job FROM exchanges e CROSS JOIN conversations c"
    " ON c.id = e.conversation CROSS JOIN retentions r ON r.phone_number_id = c.phone_number_id WHERE e.job = ?1",
    "DELETE FROM outgoing WHERE id >= ?1 * 4096 AND id < (?1 + 1) * 4096",
    "UPDATE spool SET dead = dead - (SELECT state = 3 FROM jobs WHERE id = ?1), waiting = waiting - (SELECT state = 0 FROM jobs WHERE id = "
    "?1)",
    "UPDATE conversations SET jobs = jobs - 1 WHERE id = (SELECT conversation FROM jobs WHERE id = ?1)",
    "DELETE FROM jobs WHERE id = ?1",
};
_Static_assert(STORE_OUT_MAX == 4096, "the steps above spell it out");

struct change {
  const char *const *steps;
  size_t count;
};
static const struct change revive = {revive_steps, COUNT_OF(revive_steps)};
static const struct change hurry = {hurry_steps, COUNT_OF(hurry_steps)};
static const struct change drop = {drop_steps, COUNT_OF(drop_steps)};

static enum err change_one(struct spool_view *view, const struct change *change, int64_t job, struct why *why) {
  for (size_t i = 0; i < change->count; i++) {
    sqlite3_stmt *stmt = NULL;
    enum err e = view__prepare(view, change->steps[i], &stmt, why);
    if (e) return e;
    sql__i64(stmt, 1, job);
    e = sql__run(stmt);
    if (e) view__fail(view, e, why);
    sqlite3_finalize(stmt);
    if (e) return e;
  }
  return ERR_OK;
}

static enum err begin(struct spool_view *view, struct why *why) {
  enum err e = sql__exec(view->db, "BEGIN IMMEDIATE");
  return e ? view__fail(view, e, why) : ERR_OK;
}

static enum err end(struct spool_view *view, enum err e, struct why *why) {
  if (!e) {
    e = sql__exec(view->db, "COMMIT");
    if (e) view__fail(view, e, why);
  }
  if (e && !sqlite3_get_autocommit(view->db)) sqlite3_exec(view->db, "ROLLBACK", NULL, NULL, NULL);
  return e;
}

// The next dead letters behind *after, by id: each is visited once, whatever a running daemon does with it meanwhile.
static enum err change_chunk(struct spool_view *view, const struct change *change, int64_t *after, size_t *count, struct why *why) {
  int64_t ids[VIEW_CHUNK];
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view, "SELECT id FROM jobs INDEXED BY jobs_dead WHERE state = 3 AND id > ?1 ORDER BY id LIMIT ?2", &stmt, why);
  if (e) return e;
  sql__i64(stmt, 1, *after);
  sql__i64(stmt, 2, VIEW_CHUNK);
  size_t n = 0;
  for (bool row = true; row && !e;) {
    e = sql__row(stmt, &row);
    if (!e && row) ids[n++] = sqlite3_column_int64(stmt, 0);
  }
  if (e) view__fail(view, e, why);
  sqlite3_finalize(stmt);
  for (size_t i = 0; i < n && !e; i++)
    e = change_one(view, change, ids[i], why);
  if (e) return e;
  if (n > 0) *after = ids[n - 1];
  *count = n;
  return ERR_OK;
}

static enum err change_dead(struct spool_view *view, const struct change *change, uint64_t *changed, struct why *why) {
  int64_t after = 0;
  *changed = 0;
  for (size_t count = VIEW_CHUNK; count == VIEW_CHUNK;) {
    enum err e = begin(view, why);
    if (e) return e;
    e = end(view, change_chunk(view, change, &after, &count, why), why);
    if (e) return e;
    *changed += count;
  }
  return ERR_OK;
}

// Of one job: what is done depends on its state; a finished one is left alone.
static enum err change_job(struct spool_view *view, int64_t job, const struct change *waiting, const struct change *dead, struct why *why) {
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view, "SELECT state FROM jobs WHERE id = ?1", &stmt, why);
  if (e) return e;
  sql__i64(stmt, 1, job);
  bool row = false;
  e = sql__row(stmt, &row);
  int state = !e && row ? sqlite3_column_int(stmt, 0) : -1;
  if (e) view__fail(view, e, why);
  sqlite3_finalize(stmt);
  if (e) return e;
  if (!row) {
    why_set(why, "there is no job %lld", (long long)job);
    return ERR_NOT_FOUND;
  }
  if (state != SPOOL_JOB_WAITING && state != SPOOL_JOB_DEAD) {
    why_set(why, "job %lld is %s already", (long long)job, spool_job_state_name((enum spool_job_state)state));
    return ERR_CONFLICT;
  }
  return change_one(view, state == SPOOL_JOB_WAITING ? waiting : dead, job, why);
}

static enum err change(struct spool_view *view, int64_t job, const struct change *waiting, const struct change *dead, uint64_t *changed,
                       struct why *why) {
  if (job == 0) return change_dead(view, dead, changed, why);
  enum err e = begin(view, why);
  if (e) return e;
  e = end(view, change_job(view, job, waiting, dead, why), why);
  if (!e) *changed = 1;
  return e;
}

enum err spool_view_retry(struct spool_view *view, int64_t job, uint64_t *changed, struct why *why) {
  return change(view, job, &hurry, &revive, changed, why);
}

enum err spool_view_drop(struct spool_view *view, int64_t job, uint64_t *changed, struct why *why) {
  return change(view, job, &drop, &drop, changed, why);
}
