// The tools' view beside a running spool: list, show, count, retry, drop; and that the spool notices.
#include "spool_world.h"

struct listing {
  size_t count;
  int64_t ids[16];
  char text[16][64];
};

static void on_row(void *ctx, const struct spool_row *row) {
  struct listing *l = ctx;
  l->ids[l->count] = row->id;
  snprintf(l->text[l->count++], 64, "%s %s %s %u %s", row->user, row->wamid, row->type, row->attempts, row->reason);
}

static struct spool_view *view_open(struct world *w) {
  struct spool_view *view = NULL;
  OK(spool_view_open(w->path, &view, NULL));
  return view;
}

static void lists_newest_first(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u1", "a"), message("u2", "b"), message("u3", "c"), message("u4", "d")};
  items[3].phone_number_id = SPAN("777");
  OK(ingest(w, items, 4));
  OK(finish_as(w, items[0].job, SPOOL_END_DEAD));
  struct spool_view *view = view_open(w);
  struct listing l = {0};
  OK(spool_view_list(view, SPOOL_JOB_WAITING, "", 10, on_row, &l, NULL));
  assert_int_equal(l.count, 3);
  assert_true(l.ids[0] == items[3].job && l.ids[1] == items[2].job && l.ids[2] == items[1].job);
  l.count = 0;
  OK(spool_view_list(view, SPOOL_JOB_WAITING, "777", 10, on_row, &l, NULL));
  assert_int_equal(l.count, 1);
  l.count = 0;
  OK(spool_view_list(view, SPOOL_JOB_WAITING, "", 1, on_row, &l, NULL));
  assert_int_equal(l.count, 1);
  l.count = 0;
  OK(spool_view_list(view, SPOOL_JOB_DEAD, PHONE, 10, on_row, &l, NULL));
  assert_int_equal(l.count, 1);
  assert_string_equal(l.text[0], "u1 a text 1 because");
  l.count = 0;
  OK(spool_view_list(view, SPOOL_JOB_DONE, "", 10, on_row, &l, NULL));
  assert_int_equal(l.count, 0);
  spool_view_close(view);
}

static void on_time(void *ctx, const struct spool_row *row) {
  *(int64_t *)ctx = row->received_us;
}

// The spool's clock is an hour behind the wall clock, which was set meanwhile: people are told by the wall clock.
static void times_are_told_by_the_wall_clock(void **state) {
  struct world *w = *state;
  int64_t wall_us = clock_wall_us(), hour_us = 3600 * SEC_US, told = 0;
  struct clock_steady clock = {.boot_id = clock_boot_id(), .boot_us = clock_boot_us(), .wall_us = wall_us, .steady_us = wall_us - hour_us};
  spool_keep_clock(w->spool, &clock);
  struct spool_item item = message("u", "a");
  item.received_us = clock.steady_us;
  OK(ingest(w, &item, 1));
  struct spool_view *view = view_open(w);
  OK(spool_view_list(view, SPOOL_JOB_WAITING, "", 10, on_time, &told, NULL));
  assert_true(llabs(told - wall_us) < hour_us / 2);
  spool_view_close(view);
}

static void shows_messages_and_statuses(void **state) {
  struct world *w = *state;
  struct spool_item item = message("u", "a");
  OK(ingest(w, &item, 1));
  const char *bodies[] = {"{\"type\":\"text\"}", "{}"};
  OK(answer(w, item.job, bodies, 2));
  // The status may be faster than Graph's own answer.
  struct spool_item failed = status_of("wamid.1", SPOOL_STATUS_FAILED, "status:failed");
  failed.error_code = 131026;
  failed.error_text = SPAN("undeliverable");
  OK(ingest(w, &failed, 1));
  OK(sent(w, w->ids[0], "wamid.1"));
  struct spool_view *view = view_open(w);
  struct buf out = {0};
  struct json_writer json;
  json_start(&json, &out);
  json_open(&json, NULL, '{');
  OK(spool_view_show(view, item.job, &json, NULL));
  json_close(&json, '}');
  struct arena arena;
  arena_init(&arena, 4096, 0);
  const struct json *j = NULL;
  OK(json_parse(&arena, buf_span(&out), NULL, &j, NULL));
  assert_true(span_eq(json_get_text(j, "state"), SPAN("waiting")));
  assert_true(span_eq(json_text(json_path(j, "raw.text.body")), SPAN("hi")));
  assert_true(span_eq(json_text(json_path(j, "outgoing.0.state")), SPAN("sent")));
  assert_true(span_eq(json_text(json_path(j, "outgoing.0.body.type")), SPAN("text")));
  assert_true(span_eq(json_text(json_path(j, "outgoing.0.status.status")), SPAN("failed")));
  assert_int_equal(json_i64(json_path(j, "outgoing.0.status.error_code"), 0), 131026);
  assert_true(span_eq(json_text(json_path(j, "outgoing.1.state")), SPAN("flying")));
  arena_free(&arena);
  struct why why = {""};
  assert_int_equal(spool_view_show(view, 4711, &json, &why), ERR_NOT_FOUND);
  assert_non_null(strstr(why.text, "4711"));
  buf_free(&out);
  spool_view_close(view);
}

static void retry_brings_dead_letters_back(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", "a"), message("v", "b"), message("w", "c")};
  OK(ingest(w, items, 3));
  const char *bodies[] = {"{}"};
  OK(answer(w, items[0].job, bodies, 1));
  OK(finish(w, (struct spool_finish){.job = items[0].job, .end = SPOOL_END_DEAD, .outgoing = w->ids[0], .outgoing_state = SPOOL_OUT_DEAD}));
  OK(finish_as(w, items[1].job, SPOOL_END_DEAD));
  OK(finish(w, (struct spool_finish){.job = items[2].job, .end = SPOOL_END_RETRY, .next_us = T0 + 100 * SEC_US}));
  assert_false(changed(w));
  assert_int_equal(page(w, 0, 10), 1);

  struct spool_view *view = view_open(w);
  uint64_t n = 0;
  OK(spool_view_retry(view, items[0].job, &n, NULL));
  assert_int_equal(n, 1);
  assert_true(changed(w));
  assert_false(changed(w));
  assert_int_equal(waiting(w), 2);
  assert_int_equal(dead_letters(w), 1);
  struct spool_job *job = claim(w, items[0].conversation);
  OK(w->result);
  assert_int_equal(job->attempts, 0);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_FLYING);
  assert_int_equal(job->outgoing[0].unknown_since_us, 0);
  spool_job_free(job);

  OK(spool_view_retry(view, 0, &n, NULL)); // all dead ones
  assert_int_equal(n, 1);
  OK(spool_view_retry(view, items[2].job, &n, NULL)); // a waiting one: at once
  assert_true(changed(w));
  assert_int_equal(page(w, 0, 10), 3);
  assert_int_equal(w->rows[2].next_us, 0);
  assert_int_equal(dead_letters(w), 0);

  OK(finish_as(w, items[0].job, SPOOL_END_DONE));
  struct why why = {""};
  assert_int_equal(spool_view_retry(view, items[0].job, &n, &why), ERR_CONFLICT);
  assert_int_equal(spool_view_retry(view, 4711, &n, &why), ERR_NOT_FOUND);
  spool_view_close(view);
}

static void dropped_while_in_work(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", "a"), message("u", "b"), message("v", "c"), message("x", "d")};
  OK(ingest(w, items, 4));
  spool_job_free(claim(w, items[0].conversation));
  struct spool_view *view = view_open(w);
  uint64_t n = 0;
  OK(spool_view_drop(view, items[0].job, &n, NULL));
  assert_int_equal(n, 1);
  // The work ends without the job, and the conversation goes on.
  assert_int_equal(answer(w, items[0].job, NULL, 0), ERR_NOT_FOUND);
  assert_int_equal(finish_as(w, items[0].job, SPOOL_END_DONE), ERR_NOT_FOUND);
  assert_true(w->flag);
  assert_true(changed(w));
  assert_int_equal(waiting(w), 3);

  OK(finish_as(w, items[2].job, SPOOL_END_DEAD));
  OK(finish_as(w, items[3].job, SPOOL_END_DEAD));
  OK(spool_view_drop(view, 0, &n, NULL));
  assert_int_equal(n, 2);
  struct spool_view_counts counts = {0};
  OK(spool_view_count(view, &counts, NULL));
  assert_int_equal(counts.waiting, 1);
  assert_int_equal(counts.dead, 0);
  assert_int_equal(spool_view_drop(view, items[2].job, &n, NULL), ERR_NOT_FOUND);
  spool_view_close(view);
}

static void refuses_what_is_no_spool(void **state) {
  struct world *w = *state;
  struct spool_view *view = NULL;
  struct why why = {""};
  assert_int_equal(spool_view_open("/nonexistent/spool.db", &view, &why), ERR_NOT_FOUND);
  assert_non_null(strstr(why.text, "/nonexistent/spool.db"));
  char path[96];
  snprintf(path, sizeof path, "%s/empty", w->dir);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fclose(f);
  assert_int_equal(spool_view_open(path, &view, &why), ERR_FORMAT);
  unlink(path);
  assert_null(view);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(lists_newest_first, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(times_are_told_by_the_wall_clock, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(shows_messages_and_statuses, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(retry_brings_dead_letters_back, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(dropped_while_in_work, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(refuses_what_is_no_spool, world_setup, world_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
