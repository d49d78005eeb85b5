// Numbers that keep their messages for a time of their own: what goes and what stays, changes of the time, rounds over many.
#include <sqlite3.h>

#include "spool/store.h"
#include "spool_world.h"

#define OWN    "20001"
#define HOUR   (3600 * SEC_US)
#define SECRET "a-very-private-text"

// The first column of the first row, read beside the running spool.
static int64_t number_of(struct world *w, const char *sql) {
  sqlite3 *db = NULL;
  int64_t n = -1;
  assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
  OK(sql__number(db, sql, &n));
  sqlite3_close(db);
  return n;
}

static void exec(struct world *w, const char *sql) {
  sqlite3 *db = NULL;
  assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static struct spool_item message_to(const char *phone, const char *user, const char *wamid) {
  struct spool_item item = message(user, wamid);
  item.phone_number_id = span_of(phone);
  item.raw = SPAN("{\"text\":{\"body\":\"" SECRET "\"}}");
  return item;
}

static void end_at(struct world *w, int64_t job, enum spool_end end, int64_t now_us) {
  OK(finish(w, (struct spool_finish){.job = job, .end = end, .now_us = now_us, .reason = SPAN("because")}));
}

static void answered_at(struct world *w, struct spool_item *item, int64_t now_us) {
  static const char *const bodies[] = {"{\"text\":{\"body\":\"" SECRET "\"}}"};
  OK(ingest_at(w, item, 1, NULL, now_us));
  OK(answer(w, item->job, bodies, 1));
  OK(sent(w, w->ids[0], "wamid.answer"));
  end_at(w, item->job, SPOOL_END_DONE, now_us);
}

static void own(struct world *w, int64_t us) {
  struct spool_retention row = {OWN, us};
  retentions(w, &row, us ? 1 : 0);
}

static bool in_file(const char *path, const char *text) {
  struct buf file = {0};
  enum err e = buf_read_file(&file, path, 1 << 26);
  bool found = !e && memmem(file.data, file.len, text, strlen(text));
  buf_free(&file);
  return found;
}

// The content goes, in the file's bytes too; the id stays, so that nothing is answered twice.
static void the_content_goes_and_the_id_stays(void **state) {
  struct world *w = *state;
  own(w, HOUR);
  struct spool_item item = message_to(OWN, "4915", "a"), other = message_to(PHONE, "4915", "b"),
                    status = status_of("wamid.answer", SPOOL_STATUS_READ, "status:read");
  other.raw = SPAN("{}");
  answered_at(w, &item, T0);
  OK(ingest(w, &status, 1));
  OK(ingest(w, &other, 1));
  end_at(w, other.job, SPOOL_END_SKIPPED, T0);
  char wal[128];
  snprintf(wal, sizeof wal, "%s-wal", w->path);
  assert_true(in_file(w->path, SECRET) || in_file(wal, SECRET));

  assert_int_equal(expire_all(w, T0 + HOUR), 0); // not yet
  assert_int_equal(number_of(w, "SELECT count(*) FROM exchanges"), 1);
  assert_int_equal(expire_all(w, T0 + HOUR + 1), 1);
  static const char *const gone[] = {"SELECT count(*) FROM jobs WHERE wamid = 'a'",
                                     "SELECT count(*) FROM outgoing",
                                     "SELECT count(*) FROM exchanges",
                                     "SELECT count(*) FROM statuses",
                                     "SELECT count(*) FROM ended",
                                     "SELECT count(*) FROM conversations WHERE phone_number_id = '" OWN "'"};
  for (size_t i = 0; i < COUNT_OF(gone); i++)
    assert_int_equal(number_of(w, gone[i]), 0);
  assert_false(in_file(w->path, SECRET));
  assert_false(in_file(wal, SECRET));
  assert_int_equal(number_of(w, "SELECT count(*) FROM jobs WHERE wamid = 'b'"), 1);
  struct spool_view *view = NULL;
  struct spool_view_counts counts = {0};
  OK(spool_view_open(w->path, &view, NULL));
  OK(spool_view_count(view, &counts, NULL));
  spool_view_close(view);
  assert_int_equal(counts.done, 0);
  assert_int_equal(counts.skipped, 1);

  struct spool_item again = message_to(OWN, "4915", "a");
  OK(ingest_at(w, &again, 1, NULL, T0 + 7 * DAY_US));
  assert_int_equal(again.fate, SPOOL_FATE_DUPLICATE);
}

static void what_waits_or_is_dead_stays(void **state) {
  struct world *w = *state;
  own(w, SEC_US);
  struct spool_item items[] = {message_to(OWN, "u1", "a"), message_to(OWN, "u2", "b"), message_to(OWN, "u3", "c")};
  OK(ingest(w, items, 3));
  end_at(w, items[1].job, SPOOL_END_DEAD, T0);
  end_at(w, items[2].job, SPOOL_END_RETRY, T0);
  assert_int_equal(expire_all(w, T0 + DAY_US), 0);
  assert_int_equal(waiting(w), 2);
  assert_int_equal(dead_letters(w), 1);
  // A dead letter that is tried again and answered goes like any other.
  struct spool_view *view = NULL;
  uint64_t changed = 0;
  OK(spool_view_open(w->path, &view, NULL));
  OK(spool_view_retry(view, items[1].job, &changed, NULL));
  spool_view_close(view);
  end_at(w, items[1].job, SPOOL_END_DONE, T0 + DAY_US);
  assert_int_equal(expire_all(w, T0 + 2 * DAY_US), 1);
}

// The letter is the operator's, but not what was said in the conversation.
static void turns_of_dead_and_dropped_ones_go(void **state) {
  struct world *w = *state;
  static const char *const bodies[] = {"{}"};
  own(w, HOUR);
  struct spool_item items[] = {message_to(OWN, "u1", "a"), message_to(OWN, "u2", "b"), message_to(OWN, "u3", "c")};
  OK(ingest(w, items, 3));
  for (size_t i = 0; i < COUNT_OF(items); i++)
    OK(answer(w, items[i].job, bodies, 1));
  end_at(w, items[0].job, SPOOL_END_DEAD, T0);
  end_at(w, items[1].job, SPOOL_END_DEAD, T0);
  struct spool_view *view = NULL;
  uint64_t changed = 0;
  OK(spool_view_open(w->path, &view, NULL));
  OK(spool_view_drop(view, items[1].job, &changed, NULL));
  OK(spool_view_drop(view, items[2].job, &changed, NULL));
  spool_view_close(view);
  assert_int_equal(number_of(w, "SELECT count(*) FROM exchanges"), 3);
  assert_int_equal(expire_all(w, T0 + DAY_US), 0); // messages
  assert_int_equal(number_of(w, "SELECT count(*) FROM exchanges"), 0);
  assert_int_equal(number_of(w, "SELECT count(*) FROM ended"), 0);
  assert_int_equal(number_of(w, "SELECT dead FROM spool"), 1);
}

static void kept_events_go_too(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message_to(OWN, "u1", "a"), message_to(PHONE, "u1", "b"), message_to("", "", "")};
  for (size_t i = 0; i < COUNT_OF(items); i++)
    items[i].what = SPOOL_NOTE;
  OK(ingest(w, items, 3));
  own(w, HOUR);
  assert_int_equal(expire_all(w, T0 + HOUR + 1), 1);
  assert_int_equal(number_of(w, "SELECT count(*) FROM kept"), 2);
  assert_int_equal(number_of(w, "SELECT kept FROM spool"), 2);
}

// Longer than the deployment's: it is passed over there, and keeps nobody else's.
static void a_longer_time(void **state) {
  struct world *w = *state;
  own(w, 90 * DAY_US);
  struct spool_item item = message_to(OWN, "u1", "a"), other = message_to(PHONE, "u1", "b"), note = message_to(OWN, "u1", "c");
  answered_at(w, &item, T0);
  note.what = SPOOL_NOTE;
  OK(ingest(w, &note, 1));
  OK(ingest(w, &other, 1));
  end_at(w, other.job, SPOOL_END_SKIPPED, T0);
  for (int i = 0; i < 4; i++)
    clean(w, T0 + 30 * DAY_US, 8);
  assert_int_equal(number_of(w, "SELECT count(*) FROM jobs"), 1);
  assert_int_equal(number_of(w, "SELECT count(*) FROM kept"), 1);
  assert_int_equal(number_of(w, "SELECT count(*) FROM exchanges"), 1);
  assert_int_equal(number_of(w, "SELECT count(*) FROM conversations"), 1);
  world_restart(w); // it is known without being told again
  clean(w, T0 + 30 * DAY_US, 8);
  assert_int_equal(expire_all(w, T0 + 90 * DAY_US), 0);
  assert_int_equal(expire_all(w, T0 + 91 * DAY_US), 2);
  assert_int_equal(number_of(w, "SELECT count(*) FROM jobs"), 0);
  assert_int_equal(number_of(w, "SELECT count(*) FROM exchanges"), 0);
}

// A change holds for what is there already, also the first one, and the last.
static void the_time_is_changed(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message_to(OWN, "u1", "a"), message_to(OWN, "u1", "b"), message_to(PHONE, "u1", "c")};
  OK(ingest(w, items, 3));
  end_at(w, items[0].job, SPOOL_END_DONE, T0);
  end_at(w, items[2].job, SPOOL_END_DONE, T0);
  own(w, 3 * DAY_US); // had ended before
  assert_int_equal(expire_all(w, T0 + 2 * DAY_US), 0);
  end_at(w, items[1].job, SPOOL_END_DONE, T0 + DAY_US);
  own(w, DAY_US); // shorter
  assert_int_equal(expire_all(w, T0 + 2 * DAY_US), 1);
  own(w, 30 * DAY_US); // longer
  assert_int_equal(expire_all(w, T0 + 9 * DAY_US), 0);
  for (int i = 0; i < 4; i++)
    clean(w, T0 + 9 * DAY_US + HOUR, 8);
  assert_int_equal(number_of(w, "SELECT count(*) FROM jobs"), 1);
  own(w, 0); // none any more
  expire_all(w, T0 + 9 * DAY_US + HOUR);
  assert_int_equal(number_of(w, "SELECT count(*) FROM retentions"), 0);
  assert_int_equal(number_of(w, "SELECT count(*) FROM ended"), 0);
  for (int i = 0; i < 4; i++)
    clean(w, T0 + 9 * DAY_US + HOUR, 8);
  assert_int_equal(number_of(w, "SELECT count(*) FROM jobs"), 0);
}

// Taken away and given back before the sweep has come to it.
static void taken_and_given_again(void **state) {
  struct world *w = *state;
  own(w, HOUR);
  struct spool_item items[] = {message_to(OWN, "u1", "a"), message_to(OWN, "u1", "b")};
  OK(ingest(w, items, 2));
  end_at(w, items[0].job, SPOOL_END_DONE, T0);
  own(w, 0);
  end_at(w, items[1].job, SPOOL_END_DONE, T0);
  own(w, HOUR);
  assert_int_equal(expire_all(w, T0 + DAY_US), 2);
}

// ---------------------------------------------------------------- much of it

// Jobs of number n<i % numbers>, all done at T0.
static void put_jobs(struct world *w, int64_t numbers, int64_t jobs) {
  char sql[1024];
  snprintf(sql, sizeof sql,
           "PRAGMA synchronous = OFF; BEGIN;"
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %lld)"
           " INSERT INTO conversations(id, phone_number_id, user, last_inbound_us, jobs) SELECT i, 'n' || i, 'u', 0, %lld FROM n;"
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %lld)"
           " INSERT INTO jobs SELECT i, 1 + i %% %lld, 1, 0, 0, %lld, 1, 0, %lld, 'w' || i, 'text', '', '', '{}' FROM n;"
           "UPDATE spool SET done = %lld, next_job = %lld + 1, next_conversation = %lld + 1; COMMIT",
           (long long)numbers, (long long)(jobs / numbers), (long long)jobs, (long long)numbers, (long long)T0, (long long)T0,
           (long long)jobs, (long long)jobs, (long long)numbers);
  exec(w, sql);
}

// One with much to delete keeps nobody waiting, and a call deletes only so much.
static void a_bounded_number_at_a_time(void **state) {
  struct world *w = *state;
  world_stop(w);
  put_jobs(w, 1, 2500);
  world_start(w);
  struct spool_item item = message_to(OWN, "u1", "a");
  OK(ingest(w, &item, 1));
  end_at(w, item.job, SPOOL_END_DONE, T0);
  struct spool_retention rows[] = {{"n1", HOUR}, {OWN, HOUR}};
  retentions(w, rows, 2);
  do {
    expire(w, T0); // nothing is over, all are found
  } while (w->flag);
  size_t before = 0;
  bool other_gone = false;
  for (int calls = 1; !other_gone; calls++) {
    size_t gone = expire(w, T0 + DAY_US);
    assert_true(gone <= 1000 && calls < 4);
    before += gone;
    other_gone = number_of(w, "SELECT count(*) FROM jobs WHERE wamid = 'a'") == 0;
  }
  assert_true(before < 2501); // before the large one was through
  assert_int_equal(before + expire_all(w, T0 + DAY_US), 2501);
}

// Printed, not asserted: what a round costs with 10,000 numbers that each have a time of their own.
static void ten_thousand_numbers(void **state) {
  enum { NUMBERS = 10000, JOBS = 300000 };
  struct world *w = *state;
  world_stop(w);
  put_jobs(w, NUMBERS, JOBS);
  world_start(w);
  char(*names)[16] = calloc(NUMBERS, sizeof *names);
  struct spool_retention *rows = calloc(NUMBERS, sizeof *rows);
  for (int i = 0; i < NUMBERS; i++) {
    snprintf(names[i], sizeof names[i], "n%d", i + 1);
    rows[i] = (struct spool_retention){names[i], HOUR};
  }
  int64_t start = clock_mono_us();
  retentions(w, rows, NUMBERS);
  int64_t set = clock_mono_us();
  assert_int_equal(expire_all(w, T0), 0);
  int64_t found = clock_mono_us();
  retentions(w, rows, NUMBERS);
  int64_t same = clock_mono_us();
  assert_int_equal(expire_all(w, T0), 0);
  int64_t idle = clock_mono_us();
  printf("# 10,000 numbers, 300,000 jobs: set %lld us, all found %lld us, set again %lld us, a round with nothing to do %lld us\n",
         (long long)(set - start), (long long)(found - set), (long long)(same - found), (long long)(idle - same));
  start = clock_mono_us();
  assert_int_equal(expire_all(w, T0 + DAY_US), JOBS);
  printf("# all deleted in %lld us\n", (long long)(clock_mono_us() - start));
  free(rows);
  free(names);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(the_content_goes_and_the_id_stays, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(what_waits_or_is_dead_stays, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(turns_of_dead_and_dropped_ones_go, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(kept_events_go_too, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_longer_time, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(the_time_is_changed, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(taken_and_given_again, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_bounded_number_at_a_time, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(ten_thousand_numbers, world_setup, world_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
