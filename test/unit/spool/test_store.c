// The file behind the spool: damaged, foreign, newer, full; its settings; and how fast it answers with much in it (printed, not asserted).
#include <sqlite3.h>

#include "spool/store.h"
#include "spool_world.h"

static void write_file(const char *path, const char *text, size_t len) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, len, f), len);
  fclose(f);
}

static enum err open_again(struct world *w, struct why *why) {
  struct spool_options options = {.loop = w->loop, .path = w->path};
  return spool_open(&options, &w->spool, why);
}

static void exec(const char *path, const char *sql) {
  sqlite3 *db = NULL;
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void refuses_a_damaged_file_and_says_what_to_do(void **state) {
  struct world *w = *state;
  world_stop(w);
  char junk[8192];
  memset(junk, 'x', sizeof junk);
  write_file(w->path, junk, sizeof junk);
  struct why why = {""};
  assert_int_equal(open_again(w, &why), ERR_FORMAT);
  assert_non_null(strstr(why.text, w->path));
  assert_non_null(strstr(why.text, "move it away"));
  assert_null(w->spool);
  // The damaged file is left as it was.
  struct stat st;
  assert_int_equal(stat(w->path, &st), 0);
  assert_int_equal(st.st_size, sizeof junk);
}

static void refuses_foreign_and_newer_databases(void **state) {
  struct world *w = *state;
  world_stop(w);
  struct why why = {""};
  exec(w->path, "PRAGMA user_version = 99");
  assert_int_equal(open_again(w, &why), ERR_VERSION);
  assert_non_null(strstr(why.text, "newer"));
  exec(w->path, "PRAGMA user_version = 1; PRAGMA application_id = 7");
  assert_int_equal(open_again(w, &why), ERR_FORMAT);
  unlink(w->path);
  exec(w->path, "CREATE TABLE notes(text)");
  assert_int_equal(open_again(w, &why), ERR_FORMAT);
  assert_non_null(strstr(why.text, "another program"));
}

static void the_steady_clock_is_kept(void **state) {
  struct world *w = *state;
  assert_int_equal(spool_clock(w->spool).steady_us, 0);
  struct clock_steady kept = {.boot_id = UINT64_C(0xfedcba9876543210), .boot_us = 7, .wall_us = T0 + DAY_US, .steady_us = T0};
  spool_keep_clock(w->spool, &kept);
  world_restart(w);
  struct clock_steady clock = spool_clock(w->spool);
  assert_memory_equal(&clock, &kept, sizeof kept);
}

static void an_older_file_is_brought_up_to_date(void **state) {
  struct world *w = *state;
  struct spool_item item = message("u", "a");
  OK(ingest(w, &item, 1));
  world_stop(w);
  exec(w->path, "ALTER TABLE spool DROP COLUMN boot_id; ALTER TABLE spool DROP COLUMN boot_us; ALTER TABLE spool DROP COLUMN wall_us;"
                "ALTER TABLE spool DROP COLUMN steady_us; DROP TABLE retentions; DROP TABLE ended; DROP INDEX kept_number;"
                "DROP TABLE seen_recent; DROP TABLE exchanges; ALTER TABLE conversations DROP COLUMN last_turn;"
                "PRAGMA user_version = 1");
  world_start(w);
  assert_int_equal(waiting(w), 1);
  assert_int_equal(spool_clock(w->spool).steady_us, 0);
  struct spool_job *job = claim(w, item.conversation);
  assert_non_null(job);
  spool_job_free(job);
}

// Version 3 wrote each id into its place and each turn into a row of its own.
static void ids_and_turns_of_version_3_are_known(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", "a"), message("u", "b")};
  OK(ingest(w, items, 2));
  OK(finish_as(w, items[0].job, SPOOL_END_DONE));
  world_stop(w);
  exec(w->path, "INSERT INTO seen SELECT bucket, id FROM seen_recent;"
                "INSERT INTO turns SELECT conversation, id * 2, received_us, 'hi' FROM jobs WHERE wamid = 'a';"
                "INSERT INTO turns SELECT conversation, id * 2 + 1, received_us, 'hello' FROM jobs WHERE wamid = 'a';"
                "DROP TABLE seen_recent; DROP TABLE exchanges; ALTER TABLE conversations DROP COLUMN last_turn; PRAGMA user_version = 3");
  world_start(w);
  struct spool_item again = message("u", "a"), next = message("u", "c");
  OK(ingest(w, &again, 1));
  assert_int_equal(again.fate, SPOOL_FATE_DUPLICATE);
  const char *bodies[] = {"{}"};
  OK(answer(w, items[1].job, bodies, 1));
  OK(finish_as(w, items[1].job, SPOOL_END_DONE));
  OK(ingest(w, &next, 1));
  struct spool_job *job = claim(w, next.conversation);
  read_turns(w, job);
  assert_int_equal(job->turn_count, 4);
  for (size_t i = 0; i < job->turn_count; i++) {
    assert_int_equal(job->turns[i].from_user, i % 2 == 0);
    assert_string_equal(job->turns[i].text, i % 2 ? "hello" : "hi");
  }
  spool_job_free(job);
  OK(finish_as(w, next.job, SPOOL_END_DONE));
  for (int i = 0; i < 3; i++)
    clean(w, T0 + 4 * DAY_US, 2);
  sqlite3 *db = NULL;
  int64_t left = -1;
  assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
  OK(sql__number(db, "SELECT (SELECT count(*) FROM turns) + (SELECT count(*) FROM exchanges) + (SELECT count(*) FROM conversations)",
                 &left));
  sqlite3_close(db);
  assert_int_equal(left, 0);
}

// SQLite drops pages from its cache when a file becomes smaller.
static void a_file_that_shrinks_is_read_right(void **state) {
  struct world *w = *state;
  world_stop(w);
  sqlite3 *db = NULL;
  OK(store__connect(w->path, false, &db, NULL));
  OK(sql__exec(db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB, c UNIQUE);"
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
                   " INSERT INTO t SELECT i, zeroblob(900), i * 7919 % 5003 FROM n; DELETE FROM t WHERE a % 5 <> 0; VACUUM;"
                   "INSERT INTO t SELECT a + 10000, x'aa', c + 10000 FROM t"));
  int64_t sum = 0, sound = 0;
  OK(sql__number(db, "SELECT count(*) + sum(length(b)) FROM t", &sum));
  assert_int_equal(sum, 1000 * 902 + 1000);
  OK(sql__number(db, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'", &sound));
  assert_int_equal(sound, 1);
  OK(sql__exec(db, "DROP TABLE t"));
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void makes_a_private_file_that_keeps_its_name(void **state) {
  struct world *w = *state;
  struct stat st;
  assert_int_equal(stat(w->path, &st), 0);
  assert_int_equal(st.st_mode & 0137, 0); // no more than 0640
  char name[16];
  snprintf(name, sizeof name, "%s", spool_name(w->spool));
  assert_int_equal(strlen(name), 8);
  assert_int_equal(strspn(name, "0123456789abcdef"), 8);
  world_restart(w);
  assert_string_equal(spool_name(w->spool), name);
}

static void every_commit_is_synced(void **state) {
  struct world *w = *state;
  struct store *store = NULL;
  OK(store__open(w->path, &store, NULL));
  const struct {
    const char *pragma;
    int64_t value;
  } expected[] = {{"PRAGMA synchronous", 2}, {"PRAGMA trusted_schema", 0}, {"PRAGMA foreign_keys", 1}, {"PRAGMA busy_timeout", 5000}};
  for (size_t i = 0; i < COUNT_OF(expected); i++) {
    int64_t value = -1;
    OK(sql__number(store->db, expected[i].pragma, &value));
    assert_int_equal(value, expected[i].value);
  }
  // A transaction that only reads leaves the WAL alone.
  char wal[128];
  snprintf(wal, sizeof wal, "%s-wal", w->path);
  struct stat before, after;
  assert_int_equal(stat(wal, &before), 0);
  store__close(store);
  assert_null(claim(w, 1));
  assert_int_equal(w->result, ERR_NOT_FOUND);
  assert_int_equal(stat(wal, &after), 0);
  assert_int_equal(before.st_size, after.st_size);
  assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}

// The store itself: its room is limited, as on a full disk.
static void a_failed_transaction_takes_all_back(void **state) {
  struct world *w = *state;
  world_stop(w);
  struct store *store = NULL;
  OK(store__open(w->path, &store, NULL));
  struct store_state before = store->state;
  OK(store__begin(store, true));
  int64_t pages = 0;
  OK(sql__number(store->db, "PRAGMA max_page_count = 1", &pages)); // as small as the file is now
  enum err e = ERR_OK;
  for (int i = 0; i < 1000 && !e; i++) {
    char wamid[16];
    snprintf(wamid, sizeof wamid, "%d", i);
    struct spool_item item = message("u", wamid);
    bool duplicate = false;
    e = seen__take(store, &item, T0, &duplicate);
  }
  assert_int_equal(e, ERR_FULL);
  store__rollback(store);
  assert_memory_equal(&before, &store->state, sizeof before);
  // There is room again: it goes on.
  OK(sql__number(store->db, "PRAGMA max_page_count = 1000000", &pages));
  OK(store__begin(store, true));
  struct spool_item item = message("u", "0");
  bool duplicate = true;
  OK(seen__take(store, &item, T0, &duplicate));
  assert_false(duplicate);
  OK(store__commit(store));
  store__close(store);
}

// ---------------------------------------------------------------- a failed transaction, from the side of those who asked

struct full {
  struct world *w;
  unsigned left;
  enum err ingested, claimed, finished;
  struct spool_job *job;
};

static void on_part(struct full *f) {
  if (--f->left == 0) loop_stop(f->w->loop);
}
static void on_ingested(void *ctx, enum err result) {
  ((struct full *)ctx)->ingested = result;
  on_part(ctx);
}
static void on_claimed(void *ctx, enum err result, struct spool_job *job) {
  ((struct full *)ctx)->claimed = result;
  ((struct full *)ctx)->job = job;
  on_part(ctx);
}
static void on_finished(void *ctx, enum err result, bool more) {
  ((struct full *)ctx)->finished = result;
  (void)more;
  on_part(ctx);
}

// A disk cannot be filled by a test that is not root; a trigger stands for it, which refuses in the middle of the transaction.
static void every_verb_of_a_failed_transaction_gets_the_error(void **state) {
  struct world *w = *state;
  struct spool_item first = message("u", "a");
  OK(ingest(w, &first, 1));
  exec(w->path, "CREATE TRIGGER stop BEFORE INSERT ON jobs WHEN NEW.wamid = 'c' BEGIN SELECT RAISE(FAIL, 'no'); END");
  struct spool_item items[] = {message("u", "b"), message("u", "c")};
  items[0].job = items[1].job = -1;
  struct full f = {.w = w, .left = 3};
  struct spool_finish end = {.job = first.job, .end = SPOOL_END_DONE, .now_us = T0};
  spool_finish(w->spool, &end, on_finished, &f);
  spool_claim(w->spool, first.conversation, T0, on_claimed, &f);
  spool_ingest(w->spool, items, 2, NULL, T0, on_ingested, &f);
  loop_run(w->loop);
  assert_int_not_equal(f.ingested, ERR_OK);
  assert_int_equal(f.claimed, f.ingested);
  assert_int_equal(f.finished, f.ingested);
  assert_null(f.job);
  assert_int_equal(items[0].job, -1);
  assert_int_equal(waiting(w), 1);
  // Nothing was half done, and it goes on when the cause is gone.
  exec(w->path, "DROP TRIGGER stop");
  spool_job_free(claim(w, first.conversation));
  OK(w->result);
  OK(ingest(w, items, 2));
  assert_int_equal(items[0].fate, SPOOL_FATE_NEW);
  assert_int_equal(waiting(w), 3);
}

// ---------------------------------------------------------------- much of it

static void fill(struct world *w, int64_t conversations, int64_t jobs) {
  char sql[1024];
  snprintf(
      sql, sizeof sql,
      "PRAGMA synchronous = OFF; BEGIN;"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %lld)"
      " INSERT INTO conversations(id, phone_number_id, user, last_inbound_us, jobs) SELECT i, 'p' || (i %% 100), 'u' || i, 0, 0 FROM n;"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %lld)"
      " INSERT INTO jobs SELECT i, 1 + i %% %lld, 0, 0, 0, 1, 1, 0, 0, 'w' || i, 'text', '', '', '{}' FROM n;"
      "UPDATE spool SET waiting = %lld, next_job = %lld + 1, next_conversation = %lld + 1; COMMIT",
      (long long)conversations, (long long)jobs, (long long)conversations, (long long)jobs, (long long)jobs, (long long)conversations);
  exec(w->path, sql);
}

static void pages_over_many_conversations(void **state) {
  struct world *w = *state;
  world_stop(w);
  fill(w, 100000, 300000);
  int64_t start = clock_mono_us();
  world_start(w);
  int64_t opened = clock_mono_us();
  assert_int_equal(waiting(w), 300000);
  int64_t after = 0;
  size_t total = 0;
  unsigned pages = 0;
  for (size_t n = COUNT_OF(w->rows); n == COUNT_OF(w->rows); pages++) {
    n = page(w, after, COUNT_OF(w->rows));
    for (size_t i = 0; i < n; i++) {
      assert_true(w->rows[i].id > after);
      after = w->rows[i].id;
    }
    total += n;
  }
  int64_t paged = clock_mono_us();
  assert_int_equal(total, 100000);
  printf("# 300000 jobs of 100000 conversations: open %lld us, %u pages %lld us\n", (long long)(opened - start), pages,
         (long long)(paged - opened));
  spool_job_free(claim(w, 50000));
  OK(w->result);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(refuses_a_damaged_file_and_says_what_to_do, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(refuses_foreign_and_newer_databases, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(the_steady_clock_is_kept, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(an_older_file_is_brought_up_to_date, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(ids_and_turns_of_version_3_are_known, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_file_that_shrinks_is_read_right, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(makes_a_private_file_that_keeps_its_name, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(every_commit_is_synced, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_failed_transaction_takes_all_back, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(every_verb_of_a_failed_transaction_gets_the_error, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(pages_over_many_conversations, world_setup, world_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
