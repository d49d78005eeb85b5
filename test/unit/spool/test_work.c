// A job's way: claim, answer, sent, finish; crashes in between; delivery statuses.
#include "spool_world.h"

static struct spool_item one_job(struct world *w) {
  struct spool_item item = message("u", "a");
  OK(ingest(w, &item, 1));
  return item;
}

static void sends_the_answer_message_by_message(void **state) {
  struct world *w = *state;
  struct spool_item item = one_job(w);
  const char *bodies[] = {"{\"n\":0}", "{\"n\":1}", "{\"n\":2}"};
  OK(answer(w, item.job, bodies, 3));
  int64_t ids[] = {w->ids[0], w->ids[1], w->ids[2]};
  assert_int_equal(answer(w, item.job, bodies, 3), ERR_EXISTS);
  OK(sent(w, ids[0], "wamid.0"));
  struct spool_job *job = claim(w, item.conversation);
  assert_true(job->answered);
  assert_int_equal(job->outgoing_count, 3);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_SENT);
  assert_string_equal(job->outgoing[0].wamid, "wamid.0");
  assert_int_equal(job->outgoing[1].state, SPOOL_OUT_FLYING);
  assert_int_equal(job->outgoing[1].id, ids[1]);
  assert_int_equal(job->outgoing[1].index, 1);
  assert_string_equal(job->outgoing[1].body, "{\"n\":1}");
  assert_int_equal(job->outgoing[2].state, SPOOL_OUT_WAITING);
  read_turns(w, job);
  assert_int_equal(job->turn_count, 2);
  assert_true(job->turns[0].from_user);
  assert_string_equal(job->turns[0].text, "hi");
  assert_false(job->turns[1].from_user);
  assert_string_equal(job->turns[1].text, "hello");
  spool_job_free(job);
  OK(sent(w, ids[1], "wamid.1"));
  OK(finish(w, (struct spool_finish){.job = item.job, .outgoing = ids[2], .outgoing_state = SPOOL_OUT_SENT, .wamid = SPAN("wamid.2")}));
  assert_false(w->flag);
  assert_int_equal(sent(w, ids[2] + 100, "x"), ERR_NOT_FOUND);
  assert_int_equal(waiting(w), 0);
}

static void an_empty_answer_is_an_answer(void **state) {
  struct world *w = *state;
  struct spool_item item = one_job(w);
  OK(answer(w, item.job, NULL, 0));
  struct spool_job *job = claim(w, item.conversation);
  assert_true(job->answered);
  assert_int_equal(job->outgoing_count, 0);
  spool_job_free(job);
  assert_int_equal(answer(w, 4711, NULL, 0), ERR_NOT_FOUND);
}

static void a_crash_in_flight_leaves_the_outcome_unknown(void **state) {
  struct world *w = *state;
  struct spool_item item = one_job(w);
  const char *bodies[] = {"{}", "{}"};
  OK(answer(w, item.job, bodies, 2));
  world_restart(w);
  assert_int_equal(waiting(w), 1);
  assert_int_equal(page(w, 0, 10), 1);
  struct spool_job *job = claim_at(w, item.conversation, T0 + 1);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_FLYING);
  assert_int_equal(job->outgoing[0].unknown_since_us, T0 + 1);
  assert_int_equal(job->outgoing[1].state, SPOOL_OUT_WAITING);
  spool_job_free(job);
  // Held and claimed again: unknown since the first time.
  OK(finish(w, (struct spool_finish){.job = item.job,
                                     .end = SPOOL_END_HOLD,
                                     .next_us = T0 + 9,
                                     .now_us = T0 + 5,
                                     .outgoing = w->ids[0],
                                     .outgoing_state = SPOOL_OUT_FLYING}));
  assert_true(w->flag);
  world_restart(w);
  job = claim_at(w, item.conversation, T0 + 10);
  assert_int_equal(job->outgoing[0].unknown_since_us, T0 + 1);
  assert_int_equal(job->attempts, 0);
  spool_job_free(job);
  // Known not to have left: it waits, and flies with the next claim as if for the first time.
  OK(finish(w, (struct spool_finish){
                   .job = item.job, .end = SPOOL_END_RETRY, .next_us = T0, .outgoing = w->ids[0], .outgoing_state = SPOOL_OUT_WAITING}));
  job = claim_at(w, item.conversation, T0 + 20);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_FLYING);
  assert_int_equal(job->outgoing[0].unknown_since_us, 0);
  assert_int_equal(job->attempts, 1);
  spool_job_free(job);
}

static void retry_hold_dead(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", "a"), message("u", "b"), message("v", "c")};
  OK(ingest(w, items, 3));
  OK(finish(w, (struct spool_finish){.job = items[0].job, .end = SPOOL_END_RETRY, .next_us = T0 + 7, .reason = SPAN("503")}));
  assert_true(w->flag);
  assert_int_equal(page(w, 0, 10), 2);
  assert_int_equal(w->rows[0].id, items[0].conversation);
  assert_int_equal(w->rows[0].next_us, T0 + 7);
  assert_string_equal(w->rows[0].phone_number_id, PHONE);
  assert_int_equal(w->rows[1].next_us, 0);
  assert_int_equal(page(w, items[0].conversation, 10), 1);
  assert_int_equal(page(w, 0, 1), 1);
  OK(finish(w, (struct spool_finish){.job = items[0].job, .end = SPOOL_END_HOLD, .next_us = T0 + 8}));
  struct spool_job *job = claim(w, items[0].conversation);
  assert_int_equal(job->id, items[0].job); // order holds: the same one first
  assert_int_equal(job->attempts, 1);
  spool_job_free(job);
  OK(finish_as(w, items[0].job, SPOOL_END_DEAD));
  assert_true(w->flag);
  assert_int_equal(dead_letters(w), 1);
  assert_int_equal(waiting(w), 2);
  job = claim(w, items[0].conversation);
  assert_int_equal(job->id, items[1].job);
  spool_job_free(job);
  // Ended already.
  assert_int_equal(finish_as(w, items[0].job, SPOOL_END_DONE), ERR_NOT_FOUND);
  assert_int_equal(dead_letters(w), 1);
  world_restart(w);
  assert_int_equal(dead_letters(w), 1);
  assert_int_equal(waiting(w), 2);
}

static void turns_are_the_last_ones(void **state) {
  struct world *w = *state;
  int64_t conversation = 0;
  for (int i = 0; i < 8; i++) {
    char wamid[16];
    snprintf(wamid, sizeof wamid, "w%d", i);
    struct spool_item item = message("u", wamid);
    OK(ingest(w, &item, 1));
    conversation = item.conversation;
    if (i == 7) break;
    char text[16];
    snprintf(text, sizeof text, "say %d", i);
    w->count = 0;
    // Absent texts leave no turn.
    struct span reply = i == 6 ? (struct span){NULL, 0} : SPAN("ok");
    spool_store_answer(w->spool, item.job, NULL, 0, span_of(text), reply, T0, world_on_stored, w);
    loop_run(w->loop);
    OK(finish_as(w, item.job, SPOOL_END_DONE));
  }
  struct spool_job *job = claim(w, conversation);
  read_turns(w, job);
  assert_int_equal(job->turn_count, 10);
  assert_string_equal(job->turns[9].text, "say 6");
  assert_string_equal(job->turns[8].text, "ok");
  assert_string_equal(job->turns[7].text, "say 5");
  assert_false(job->turns[0].from_user);
  spool_job_free(job);
}

// A dead letter that is put back is answered after later messages, but has its place.
static void a_turn_has_its_message_s_place(void **state) {
  struct world *w = *state;
  struct spool_item items[] = {message("u", "a"), message("u", "b"), message("u", "c")};
  OK(ingest(w, items, 3));
  static const size_t order[] = {0, 2, 1};
  for (size_t i = 0; i < COUNT_OF(order); i++) {
    char text[] = "say 0";
    text[4] = (char)('0' + order[i]);
    spool_store_answer(w->spool, items[order[i]].job, NULL, 0, span_of(text), (struct span){NULL, 0}, T0, world_on_stored, w);
    loop_run(w->loop);
    OK(w->result);
  }
  struct spool_job *job = claim(w, items[0].conversation);
  read_turns(w, job);
  assert_int_equal(job->turn_count, 3);
  assert_string_equal(job->turns[0].text, "say 0");
  assert_string_equal(job->turns[1].text, "say 1");
  assert_string_equal(job->turns[2].text, "say 2");
  spool_job_free(job);
}

// ---------------------------------------------------------------- statuses

static enum spool_fate status(struct world *w, const char *wamid, enum spool_status status, const char *dedup) {
  struct spool_item item = status_of(wamid, status, dedup);
  OK(ingest(w, &item, 1));
  return item.fate;
}

static void statuses_never_go_backwards(void **state) {
  struct world *w = *state;
  assert_int_equal(status(w, "m", SPOOL_STATUS_SENT, "status:sent"), SPOOL_FATE_NEW);
  assert_int_equal(status(w, "m", SPOOL_STATUS_SENT, "status:sent"), SPOOL_FATE_DUPLICATE);
  assert_int_equal(status(w, "m", SPOOL_STATUS_READ, "status:read"), SPOOL_FATE_NEW);
  assert_int_equal(status(w, "m", SPOOL_STATUS_DELIVERED, "status:delivered"), SPOOL_FATE_LATE);
  assert_int_equal(status(w, "m", SPOOL_STATUS_FAILED, "status:failed"), SPOOL_FATE_LATE);
  assert_int_equal(status(w, "m", SPOOL_STATUS_PLAYED, "status:played"), SPOOL_FATE_NEW);
  assert_int_equal(status(w, "f", SPOOL_STATUS_SENT, "status:sent"), SPOOL_FATE_NEW);
  assert_int_equal(status(w, "f", SPOOL_STATUS_FAILED, "status:failed"), SPOOL_FATE_NEW);
  assert_int_equal(status(w, "f", SPOOL_STATUS_DELIVERED, "status:delivered"), SPOOL_FATE_NEW);
}

static void callback(const struct world *w, const struct spool_item *item, unsigned index, char out[64]) {
  snprintf(out, 64, "wk-%s-%lld-%u", spool_name(w->spool), (long long)item->job, index);
}

static void a_status_tells_that_it_was_sent(void **state) {
  struct world *w = *state;
  struct spool_item item = one_job(w);
  const char *bodies[] = {"{}", "{}"};
  OK(answer(w, item.job, bodies, 2));
  world_restart(w);
  // Not ours: another spool's, another number's, nonsense.
  char data[64];
  callback(w, &item, 0, data);
  struct spool_item foreign = status_of("x1", SPOOL_STATUS_SENT, "1");
  foreign.callback = span_of(data);
  foreign.phone_number_id = SPAN("1");
  const char *nonsense[] = {"wk-00000000-1-0", "wk", "wk--", "wk-x-1-0", "order 66", "wk-12345678-99999999999999999999-0"};
  OK(ingest(w, &foreign, 1));
  for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
    struct spool_item bad = status_of("x2", SPOOL_STATUS_SENT, nonsense[i]);
    bad.callback = span_of(nonsense[i]);
    OK(ingest(w, &bad, 1));
  }
  struct spool_job *job = claim(w, item.conversation);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_FLYING);
  spool_job_free(job);

  struct spool_item ours = status_of("wamid.S", SPOOL_STATUS_DELIVERED, "status:delivered");
  ours.callback = span_of(data);
  OK(ingest(w, &ours, 1));
  job = claim(w, item.conversation);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_SENT);
  assert_int_equal(job->outgoing[0].unknown_since_us, 0);
  assert_string_equal(job->outgoing[0].wamid, "wamid.S");
  assert_int_equal(job->outgoing[1].state, SPOOL_OUT_FLYING);
  spool_job_free(job);
  // What is known to be sent stays so, whatever the sender believes; its own late report does no harm.
  OK(finish(w, (struct spool_finish){.job = item.job, .end = SPOOL_END_RETRY, .outgoing = w->ids[0], .outgoing_state = SPOOL_OUT_WAITING}));
  OK(sent(w, w->ids[0], "wamid.other"));
  job = claim(w, item.conversation);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_SENT);
  assert_string_equal(job->outgoing[0].wamid, "wamid.S");
  spool_job_free(job);
}

static void a_late_status_counts_as_proof_too(void **state) {
  struct world *w = *state;
  struct spool_item item = one_job(w);
  const char *bodies[] = {"{}"};
  OK(answer(w, item.job, bodies, 1));
  assert_int_equal(status(w, "m", SPOOL_STATUS_READ, "status:read"), SPOOL_FATE_NEW); // without callback data
  char data[64];
  callback(w, &item, 0, data);
  struct spool_item late = status_of("m", SPOOL_STATUS_SENT, "status:sent");
  late.callback = span_of(data);
  OK(ingest(w, &late, 1));
  assert_int_equal(late.fate, SPOOL_FATE_LATE);
  struct spool_job *job = claim(w, item.conversation);
  assert_int_equal(job->outgoing[0].state, SPOOL_OUT_SENT);
  spool_job_free(job);
}

// ---------------------------------------------------------------- many at once

struct many {
  size_t left;
};

static void on_one(void *ctx, enum err result, bool more) {
  struct many *many = ctx;
  OK(result);
  (void)more;
  many->left--;
}

static void close_completes_what_was_asked(void **state) {
  struct world *w = *state;
  enum { N = 200 };
  struct spool_item items[N];
  char wamids[N][16];
  for (int i = 0; i < N; i++) {
    snprintf(wamids[i], sizeof wamids[i], "%d", i);
    items[i] = message(wamids[i], wamids[i]);
  }
  OK(ingest(w, items, N));
  struct many many = {.left = N};
  for (int i = 0; i < N; i++) {
    struct spool_finish f = {.job = items[i].job, .end = SPOOL_END_DONE, .now_us = T0};
    spool_finish(w->spool, &f, on_one, &many);
  }
  // Closed in the same turn: all of them are still completed.
  world_stop(w);
  assert_int_equal(many.left, 0);
  world_start(w);
  assert_int_equal(waiting(w), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(sends_the_answer_message_by_message, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(an_empty_answer_is_an_answer, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_crash_in_flight_leaves_the_outcome_unknown, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(retry_hold_dead, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(turns_are_the_last_ones, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_turn_has_its_message_s_place, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(statuses_never_go_backwards, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_status_tells_that_it_was_sent, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(a_late_status_counts_as_proof_too, world_setup, world_teardown),
      cmocka_unit_test_setup_teardown(close_completes_what_was_asked, world_setup, world_teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
