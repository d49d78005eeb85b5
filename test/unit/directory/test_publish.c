// What processes tell of their store in shared memory: sums that never go back, gauges, the last slow query, the threshold they hear of.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inside.h"

static struct shm shm;
static struct loop *loop;
static struct directory *dir;

static void open_in(unsigned slot, const char *uri) {
  struct why why = {{0}};
  loop = loop_new(4);
  atomic_store(&shm.slots[slot].role, SHM_ROLE_WORKER);
  atomic_store(&shm.slots[slot].state, SHM_READY);
  struct directory_options o = {
      .loop = loop, .shm = &shm, .slot = &shm.slots[slot], .store.uri = uri, .cache_size = 7, .cache_ttl_ms = 1000};
  assert_int_equal(directory_open(&o, &dir, &why), ERR_OK);
  // The first look at the store's version is over: it clears what was cached before it.
  int64_t deadline = clock_mono_us() + 60000000;
  while (!dir->version_known && !dir->failing && clock_mono_us() < deadline)
    uv_run(loop_uv(loop), UV_RUN_ONCE);
}

static void close_it(void) {
  directory_close(dir);
  loop_free(loop);
}

static void on_answer(void *ctx, enum directory_answer answer, const struct business *business) {
  (void)answer;
  (void)business;
  *(bool *)ctx = true;
}

static void ask(const char *phone) {
  bool answered = false;
  int64_t deadline = clock_mono_us() + 60000000;
  directory_find(dir, DIRECTORY_PHONE, span_of(phone), on_answer, &answered);
  while (!answered && clock_mono_us() < deadline)
    uv_run(loop_uv(loop), UV_RUN_ONCE);
  assert_true(answered);
}

static void put(const char *id, const char *phone) {
  struct store *store;
  struct business *b = business_new();
  struct why why;
  assert_int_equal(store_open("ram:", &store, &why), ERR_OK);
  free(b->id);
  b->id = xstrdup(id);
  b->phone_number_ids[b->phone_count++] = xstrdup(phone);
  b->is_active = b->whatsapp_enabled = true;
  assert_int_equal(store_put(store, b, &why), ERR_OK);
  business_free(b);
  store_close(store);
}

static uint64_t answered(enum store_query query) {
  struct histogram_summary sum;
  histogram_summarize(&shm, store_query_metrics[query].durations, &sum);
  return sum.count;
}

static int start(void **state) {
  struct why why;
  (void)state;
  return shm_create(&shm, 3, 4096, &why) == ERR_OK ? 0 : -1;
}

static int end(void **state) {
  (void)state;
  shm_detach(&shm);
  return 0;
}

// ---------------------------------------------------------------- a store that keeps no figures

static void queries_of_all_processes_and_of_those_that_are_gone(void **state) {
  (void)state;
  for (unsigned life = 0; life < 3; life++) { // two processes, and a successor in the first one's block
    open_in(life % 2, "ram:");
    put("one", "111");
    ask("111");
    ask("999");
    ask("111"); // the cache's
    close_it(); // tells the rest
    assert_int_equal(answered(STORE_QUERY_PHONE), 2 * (life + 1));
    assert_int_equal(metrics_total(&shm, METRIC_STORE_PHONE_DOCUMENTS), life + 1);
  }
  assert_int_equal(metrics_total(&shm, METRIC_CACHE_CAPACITY), 14);
  assert_int_equal(answered(STORE_QUERY_WABA), 0);
  struct store_state told;
  assert_true(shm_note_read(&shm.slots[1], STORE_NOTE_STATE, &told, sizeof told));
  assert_true(told.ok_us > 0 && told.failed_us == 0);
}

static void failures(void **state) {
  (void)state;
  open_in(0, "sqlite:/nonexistent/folder/businesses.db");
  for (unsigned i = 0; i < 30 && dir->breaker.state == BREAKER_CLOSED; i++) {
    char phone[8];
    snprintf(phone, sizeof phone, "%u", i);
    ask(phone);
  }
  publish__tick(dir, true);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_BREAKER_OPEN) + metrics_total(&shm, METRIC_STORE_BREAKER_HALF_OPEN), 1);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_BREAKER_OPENED), 1);
  assert_true(metrics_total(&shm, METRIC_STORE_PHONE_SERVER) > 0);
  assert_int_equal(answered(STORE_QUERY_PHONE), 0);
  struct store_state told;
  assert_true(shm_note_read(&shm.slots[0], STORE_NOTE_STATE, &told, sizeof told));
  assert_true(told.failed_us > 0);
  assert_non_null(strstr(told.failure, "/nonexistent/folder"));
  close_it();
}

static void what_is_slow_can_be_changed(void **state) {
  (void)state;
  open_in(0, "ram:");
  assert_int_equal(dir->slow_us, 1000000);
  shm_set_threshold(&shm, STORE_THRESHOLD_SLOW, 5);
  publish__tick(dir, true);
  assert_int_equal(dir->slow_us, 5);
  publish__asked(dir, &(struct asked){.query = STORE_QUERY_PHONE, .took_us = 5});
  publish__asked(dir, &(struct asked){.query = STORE_QUERY_PHONE, .took_us = 6});
  shm_set_threshold(&shm, STORE_THRESHOLD_SLOW, 0);
  publish__tick(dir, true);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_PHONE_SLOW), 1);
  publish__asked(dir, &(struct asked){.query = STORE_QUERY_PHONE, .took_us = 1000000000});
  shm_set_threshold(&shm, STORE_THRESHOLD_SLOW, -1);
  publish__tick(dir, true);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_PHONE_SLOW), 1);
  assert_int_equal(dir->slow_us, 1000000);
  close_it();
}

// ---------------------------------------------------------------- a store that keeps them

static struct store_stats figures;
static int64_t heard_slow_us;

static void stats(struct store *store, struct store_stats *out) {
  (void)store;
  *out = figures;
}

static void set_slow(struct store *store, int64_t slow_us) {
  (void)store;
  heard_slow_us = slow_us;
}

static void answered_in(enum store_query query, uint64_t us) {
  figures.queries[query].count++;
  figures.queries[query].sum_us += us;
  figures.queries[query].buckets[histogram_bucket(us)]++;
}

static void figures_of_a_server(void **state) {
  (void)state;
  static struct store_kind kind;
  open_in(0, "ram:");
  kind = *dir->store->kind;
  kind.stats = stats;
  kind.set_slow = set_slow;
  dir->store->kind = &kind;
  struct store_query_stats *q = &figures.queries[STORE_QUERY_SUBDOMAIN];
  answered_in(STORE_QUERY_SUBDOMAIN, 1000);
  answered_in(STORE_QUERY_SUBDOMAIN, 3000);
  q->errors[STORE_CAUSE_TIMEOUT] = 2;
  q->retried = 4;
  figures.pool_max = 33, figures.pool_open = 5, figures.pool_idle = 3, figures.pool_lent = 10, figures.pool_reused = 9;
  figures.heartbeats = 7, figures.heartbeats_failed = 2, figures.heartbeat_us = 800;
  publish__tick(dir, true);
  publish__tick(dir, true); // nothing twice
  struct histogram_summary sum;
  histogram_summarize(&shm, HISTOGRAM_STORE_SUBDOMAIN, &sum);
  assert_int_equal(sum.count, 2);
  assert_true(sum.mean_us > 1999 && sum.mean_us < 2001);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_SUBDOMAIN_TIMEOUT), 2);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_SUBDOMAIN_RETRIED), 4);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_POOL_MAX), 33);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_POOL_REUSED), 9);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_HEARTBEATS), 5);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_HEARTBEATS_FAILED), 2);
  answered_in(STORE_QUERY_SUBDOMAIN, 50);
  figures.pool_open = 4;
  publish__tick(dir, true);
  assert_int_equal(answered(STORE_QUERY_SUBDOMAIN), 3);
  assert_int_equal(metrics_total(&shm, METRIC_STORE_POOL_OPEN), 4);
  // What the facade counts for others is not counted here.
  publish__asked(dir, &(struct asked){.query = STORE_QUERY_SUBDOMAIN, .took_us = 5});
  shm_set_threshold(&shm, STORE_THRESHOLD_SLOW, 123);
  publish__tick(dir, true);
  assert_int_equal(answered(STORE_QUERY_SUBDOMAIN), 3);
  assert_int_equal(heard_slow_us, 123);
  shm_set_threshold(&shm, STORE_THRESHOLD_SLOW, -1);
  close_it();
}

static void tell_slow(unsigned slot, int64_t at_us, const char *plan) {
  static struct store_kind kind;
  open_in(slot, "ram:");
  kind = *dir->store->kind;
  kind.stats = stats;
  dir->store->kind = &kind;
  struct store_query_stats *q = &figures.queries[STORE_QUERY_PHONE];
  q->slow_at_us = at_us;
  q->slow_us = at_us * 10;
  q->examined = 4711;
  snprintf(q->plan, sizeof q->plan, "%s", plan);
  snprintf(q->advice, sizeof q->advice, "make the index");
  close_it();
}

static void the_last_slow_query_of_all(void **state) {
  (void)state;
  struct store_slow slow;
  memset(&figures, 0, sizeof figures);
  assert_false(store_slow_last(&shm, STORE_QUERY_PHONE, &slow));
  tell_slow(1, 2000, "COLLSCAN");
  tell_slow(0, 1000, "IXSCAN older");
  assert_true(store_slow_last(&shm, STORE_QUERY_PHONE, &slow));
  assert_string_equal(slow.plan, "COLLSCAN");
  assert_string_equal(slow.advice, "make the index");
  assert_int_equal(slow.took_us, 20000);
  assert_int_equal(slow.examined, 4711);
  tell_slow(0, 3000, "IXSCAN newer");
  assert_true(store_slow_last(&shm, STORE_QUERY_PHONE, &slow));
  assert_string_equal(slow.plan, "IXSCAN newer");
  assert_false(store_slow_last(&shm, STORE_QUERY_WABA, &slow));
}

// metrics.def has the kinds and causes once more, since it stands below the directory.
static void kinds_and_causes_have_one_name(void **state) {
  (void)state;
  struct buf out = {0};
  struct json_writer w;
  struct arena arena;
  const struct json *document;
  static const char *const names[] = {
#define NAME(id, name, shape) name,
      STORE_QUERIES(NAME)
#undef NAME
  };
  atomic_store(&shm.slots[0].role, SHM_ROLE_WORKER);
  for (enum store_query query = 0; query < STORE_QUERY_COUNT_OF; query++) {
    for (unsigned n = 0; n <= (unsigned)query; n++)
      metrics_observe(&shm.slots[0], store_query_metrics[query].durations, 1);
    for (unsigned cause = 0; cause < STORE_CAUSES; cause++)
      metrics_add(&shm.slots[0], store_query_metrics[query].errors[cause], query * 10 + cause + 1);
  }
  json_start(&w, &out);
  json_open(&w, NULL, '{');
  metrics_render_json(&shm, &w);
  json_close(&w, '}');
  arena_init(&arena, 65536, 0);
  assert_int_equal(json_parse(&arena, buf_span(&out), NULL, &document, NULL), ERR_OK);
  for (unsigned query = 0; query < STORE_QUERY_COUNT_OF; query++) {
    const struct json *durations = json_get(json_get(document, "store_answer_duration_seconds"), names[query]);
    assert_int_equal(json_i64(json_get(durations, "count"), -1), query + 1);
    for (unsigned cause = 0; cause < STORE_CAUSES; cause++) {
      char label[64];
      snprintf(label, sizeof label, "%s/%s", names[query], store_cause_name(cause));
      assert_int_equal(json_i64(json_get(json_get(document, "store_query_errors_total"), label), -1), query * 10 + cause + 1);
    }
  }
  arena_free(&arena);
  buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(queries_of_all_processes_and_of_those_that_are_gone, start, end),
      cmocka_unit_test_setup_teardown(failures, start, end),
      cmocka_unit_test_setup_teardown(what_is_slow_can_be_changed, start, end),
      cmocka_unit_test_setup_teardown(figures_of_a_server, start, end),
      cmocka_unit_test_setup_teardown(the_last_slow_query_of_all, start, end),
      cmocka_unit_test_setup_teardown(kinds_and_causes_have_one_name, start, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
