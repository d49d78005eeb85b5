// Ingest: duplicates, order, positions, notes and what is kept; the memory of seen ids.
#include "spool_world.h"

static void takes_jobs_in_order(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u1", "a"), message("u2", "b"), message("u1", "c")};
  OK(ingest(w, items, 3));
  for (size_t i = 0; i < 3; i++)
    assert_int_equal(items[i].fate, SPOOL_FATE_NEW);
  assert_true(items[0].job < items[1].job && items[1].job < items[2].job);
  assert_int_equal(items[0].conversation, items[2].conversation);
  assert_int_not_equal(items[0].conversation, items[1].conversation);
  assert_int_equal(waiting(w), 3);

  const char *order[] = {"a", "c"};
  for (size_t i = 0; i < 2; i++) {
    struct spool_job *job = claim(w, items[0].conversation);
    OK(w->result);
    assert_string_equal(job->wamid, order[i]);
    assert_string_equal(job->user, "u1");
    assert_string_equal(job->phone_number_id, PHONE);
    assert_string_equal(job->profile_name, "Kerry");
    assert_string_equal(job->type, "text");
    assert_string_equal(job->raw, "{\"text\":{\"body\":\"hi\"}}");
    assert_int_equal(job->last_inbound_us, T0 - SEC_US);
    assert_int_equal(job->received_us, T0);
    assert_false(job->answered);
    OK(finish_as(w, job->id, SPOOL_END_DONE));
    assert_int_equal(w->flag, i == 0);
    spool_job_free(job);
  }
  assert_null(claim(w, items[0].conversation));
  assert_int_equal(w->result, ERR_NOT_FOUND);
  assert_int_equal(waiting(w), 1);
}

static void drops_duplicates(void **state) {
  struct world *w = *state;
  // In one batch, in the next one, and after a restart; another phone number or kind is another event.
  struct spool_item items[] = {message("u", "a"), message("u", "a"), message("u", "a"), message("u", "a")};
  items[2].phone_number_id = SPAN("999");
  items[3].dedup = SPAN("echo");
  OK(ingest(w, items, 4));
  assert_int_equal(items[0].fate, SPOOL_FATE_NEW);
  assert_int_equal(items[1].fate, SPOOL_FATE_DUPLICATE);
  assert_int_equal(items[2].fate, SPOOL_FATE_NEW);
  assert_int_equal(items[3].fate, SPOOL_FATE_NEW);
  OK(ingest(w, items, 1));
  assert_int_equal(items[0].fate, SPOOL_FATE_DUPLICATE);
  world_restart(w);
  OK(ingest(w, items, 1));
  assert_int_equal(items[0].fate, SPOOL_FATE_DUPLICATE);
  assert_int_equal(waiting(w), 3);
}

static void remembers_for_eight_days(void **state) {
  struct world *w = *state;
  for (int day = 0; day < 4; day++) { // wherever in its bucket the first one fell
    char wamid[16];
    snprintf(wamid, sizeof wamid, "w%d", day);
    struct spool_item item = message("u", wamid);
    int64_t first_us = T0 + day * DAY_US;
    OK(ingest_at(w, &item, 1, NULL, first_us));
    assert_int_equal(item.fate, SPOOL_FATE_NEW);
  }
  for (int day = 0; day < 4; day++) {
    char wamid[16];
    snprintf(wamid, sizeof wamid, "w%d", day);
    struct spool_item item = message("u", wamid);
    int64_t later_us = T0 + day * DAY_US + 8 * DAY_US - SEC_US;
    clean(w, later_us, 1000);
    OK(ingest_at(w, &item, 1, NULL, later_us));
    assert_int_equal(item.fate, SPOOL_FATE_DUPLICATE);
    // A clock that was set back does not make it forget.
    OK(ingest_at(w, &item, 1, NULL, T0 - 30 * DAY_US));
    assert_int_equal(item.fate, SPOOL_FATE_DUPLICATE);
  }
  assert_true(clean(w, T0 + 30 * DAY_US, 1000) > 0);
  while (clean(w, T0 + 30 * DAY_US, 1000) > 0) {}
  struct spool_item item = message("u", "w0");
  OK(ingest_at(w, &item, 1, NULL, T0 + 30 * DAY_US));
  assert_int_equal(item.fate, SPOOL_FATE_NEW);
}

static void without_id_each_is_its_own(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", ""), message("u", "")};
  OK(ingest(w, items, 2));
  OK(ingest(w, items, 2));
  assert_int_equal(items[1].fate, SPOOL_FATE_NEW);
  assert_int_equal(waiting(w), 4);
}

static void positions_go_with_the_batch(void **state) {
  struct world *w = *state;
  struct spool_item item = message("u", "a");
  struct spool_mark marks[] = {{"w0-1.log", 100, false}, {"w1-1.log", 5, true}, {"w0-1.log", 4294967296u, false}};
  for (size_t i = 0; i < COUNT_OF(marks); i++)
    OK(ingest_at(w, &item, 1, &marks[i], T0));
  world_restart(w);
  struct spool_position *rows = NULL;
  size_t count = 0;
  OK(spool_positions(w->spool, &rows, &count, NULL));
  // The finished file may still be there after a crash: its position stays until the file is gone.
  assert_int_equal(count, 2);
  assert_string_equal(rows[0].file, "w0-1.log");
  assert_int_equal(rows[0].offset, 4294967296u);
  assert_string_equal(rows[1].file, "w1-1.log");
  free(rows);
  spool_forget_position(w->spool, "w1-1.log");
  OK(spool_positions(w->spool, &rows, &count, NULL));
  assert_int_equal(count, 1);
  free(rows);
}

static void an_empty_batch_moves_the_position(void **state) {
  struct world *w = *state;
  struct spool_mark mark = {"f", 7, false};
  OK(ingest_at(w, NULL, 0, &mark, T0));
  struct spool_position *rows = NULL;
  size_t count = 0;
  OK(spool_positions(w->spool, &rows, &count, NULL));
  assert_int_equal(count, 1);
  assert_int_equal(rows[0].offset, 7);
  free(rows);
}

static void notes_count_for_the_24_hours(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", "a"), message("u", "b"), message("", "c"), message("u", "d")};
  items[1].what = SPOOL_NOTE;
  items[1].received_us = T0 + 100 * SEC_US;
  items[1].sent_us = T0 + 90 * SEC_US;
  items[2].what = SPOOL_QUARANTINE;
  items[2].raw = (struct span){"\xff\0{", 3};
  items[3].what = SPOOL_KEEP;
  items[3].received_us = T0 + 500 * SEC_US;
  OK(ingest(w, items, 4));
  struct spool_job *job = claim(w, items[0].conversation);
  OK(w->result);
  assert_int_equal(job->last_inbound_us, T0 + 90 * SEC_US);
  spool_job_free(job);
  // A sender's clock that is ahead of ours is not believed, an older message does not turn the time back.
  struct spool_item more[] = {message("u", "e"), message("u", "f")};
  more[0].received_us = T0 + 200 * SEC_US;
  more[0].sent_us = T0 + 9999 * SEC_US;
  OK(ingest(w, more, 2));
  job = claim(w, items[0].conversation);
  assert_int_equal(job->last_inbound_us, T0 + 200 * SEC_US);
  spool_job_free(job);

  struct spool_view *view = NULL;
  struct spool_view_counts counts = {0};
  OK(spool_view_open(w->path, &view, NULL));
  OK(spool_view_count(view, &counts, NULL));
  spool_view_close(view);
  assert_int_equal(counts.waiting, 3);
  assert_int_equal(counts.kept, 2);
  assert_int_equal(counts.quarantined, 1);
}

static void cleans_what_is_old(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u1", "a"), message("u1", "b"), message("u2", "c"), message("u3", "d"), message("u4", "e")};
  items[4].what = SPOOL_KEEP;
  OK(ingest(w, items, 5));
  const char *bodies[] = {"{}"};
  OK(answer(w, items[0].job, bodies, 1));
  struct spool_job *job = claim(w, items[0].conversation);
  spool_job_free(job);
  OK(finish_as(w, items[0].job, SPOOL_END_DONE));
  OK(finish_as(w, items[2].job, SPOOL_END_DEAD));
  OK(finish_as(w, items[3].job, SPOOL_END_SKIPPED));

  // Nothing is old yet.
  assert_int_equal(clean(w, T0 + DAY_US, 2), 0);
  // The finished and the skipped job, the kept event, and the conversations that only they were of; not the dead letter, not the
  // waiting job nor their conversations.
  size_t rows = 0;
  for (int i = 0; i < 4; i++)
    rows += clean(w, T0 + 3 * DAY_US, 2);
  assert_int_equal(rows, 4);
  struct spool_view *view = NULL;
  struct spool_view_counts counts = {0};
  OK(spool_view_open(w->path, &view, NULL));
  OK(spool_view_count(view, &counts, NULL));
  spool_view_close(view);
  assert_int_equal(counts.waiting, 1);
  assert_int_equal(counts.dead, 1);
  assert_int_equal(counts.done + counts.skipped + counts.kept, 0);
  // Ids of what is gone are never given again.
  OK(finish_as(w, items[1].job, SPOOL_END_SKIPPED));
  for (int i = 0; i < 4; i++)
    clean(w, T0 + 4 * DAY_US, 2);
  world_restart(w);
  struct spool_item item = message("u9", "z");
  OK(ingest(w, &item, 1));
  assert_true(item.job > items[3].job);
  assert_true(item.conversation > items[3].conversation);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(takes_jobs_in_order, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(drops_duplicates, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(remembers_for_eight_days, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(without_id_each_is_its_own, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(positions_go_with_the_batch, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(an_empty_batch_moves_the_position, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(notes_count_for_the_24_hours, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(cleans_what_is_old, world_setup, world_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
