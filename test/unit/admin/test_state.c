// What the pages say of the daemon's condition, and which thresholds it is over.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "admin.h"

static struct shm shm;
static struct config config = {.server_state_dir = "/nonexistent", .directory_slow_query = 1500};
static struct admin admin = {.magic = ADMIN_MAGIC, .options = {.shm = &shm, .config = &config}};

static void process(unsigned slot, enum shm_role role, enum shm_state is) {
  atomic_store(&shm.slots[slot].role, role);
  atomic_store(&shm.slots[slot].state, is);
}

static int start(void **state) {
  struct why why;
  (void)state;
  if (shm_create(&shm, 4, 4096, &why) != ERR_OK) return -1;
  admin.options.slot = &shm.slots[2];
  process(0, SHM_ROLE_MASTER, SHM_READY);
  process(1, SHM_ROLE_DISPATCHER, SHM_READY);
  process(2, SHM_ROLE_WORKER, SHM_READY);
  return 0;
}

static int end(void **state) {
  (void)state;
  shm_detach(&shm);
  return 0;
}

static void an_open_breaker_is_told(void **state) {
  struct why why;
  (void)state;
  assert_true(state__is_ready(&admin, &why));
  assert_false(state__is_degraded(&admin, &why));
  metrics_set(&shm.slots[2], METRIC_STORE_BREAKER_HALF_OPEN, 1);
  assert_true(state__is_ready(&admin, &why)); // some process has got an answer all the same
  assert_true(state__is_degraded(&admin, &why));
  assert_non_null(strstr(why.text, "breaker is open in 1 of"));
  process(2, SHM_ROLE_WORKER, SHM_DEAD); // what it said goes with it
  assert_false(state__is_degraded(&admin, &why));
  atomic_store(&shm.broadcast->directory_failed_us, 5);
  assert_false(state__is_ready(&admin, &why));
  assert_string_equal(why.text, "Database not connected");
}

static unsigned over(char *first, size_t size) {
  struct buf out = {0};
  struct json_writer w;
  struct arena arena;
  const struct json *document;
  json_start(&w, &out);
  json_open(&w, NULL, '{');
  threshold__put_over(&admin, &w);
  json_close(&w, '}');
  arena_init(&arena, 4096, 0);
  assert_int_equal(json_parse(&arena, buf_span(&out), NULL, &document, NULL), ERR_OK);
  const struct json *list = json_get(document, "over_thresholds");
  assert_non_null(list);
  unsigned count = list->count;
  if (count) assert_int_equal(span_copy(json_get_text(list->child, "threshold"), first, size), ERR_OK);
  arena_free(&arena);
  buf_free(&out);
  return count;
}

static void thresholds(void **state) {
  char first[32] = "";
  (void)state;
  assert_true(threshold__of(&admin, THRESHOLD_SLOW_QUERY) == 1500); // as configured
  assert_int_equal(over(first, sizeof first), 0);
  metrics_set(&shm.slots[1], METRIC_JOBS_WAITING, 20);
  shm_set_threshold(&shm, THRESHOLD_QUEUE_LENGTH, 20);
  assert_int_equal(over(first, sizeof first), 0); // over, not at
  shm_set_threshold(&shm, THRESHOLD_QUEUE_LENGTH, 19);
  assert_int_equal(over(first, sizeof first), 1);
  assert_string_equal(first, "queue_length");
  metrics_add(&shm.slots[2], METRIC_WEBHOOK_ACCEPTED, 9);
  metrics_add(&shm.slots[2], METRIC_WEBHOOK_SHED, 1);
  assert_int_equal(over(first, sizeof first), 2);
  assert_string_equal(first, "error_rate");
  shm_set_threshold(&shm, THRESHOLD_ERROR_RATE, 0); // never
  assert_int_equal(over(first, sizeof first), 1);
  shm_set_threshold(&shm, THRESHOLD_ERROR_RATE, 150000);
  assert_true(threshold__of(&admin, THRESHOLD_ERROR_RATE) == 0.15);
  assert_int_equal(over(first, sizeof first), 1);
  metrics_observe(&shm.slots[2], HISTOGRAM_REQUEST, 2000000);
  assert_int_equal(over(first, sizeof first), 2);
  assert_string_equal(first, "request_p99_ms");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(an_open_breaker_is_told, start, end),
      cmocka_unit_test_setup_teardown(thresholds, start, end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
