// Several processes' directories on one shared segment: broadcasts, and what one need not ask since another one was told.
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "directory_world.h"

// As if it were another process'.
static struct directory *another(struct shm *shm) {
  struct directory *d;
  struct why why;
  struct directory_options o = {.loop = loop, .shm = shm, .slot = &shm->slots[1], .store = {.uri = "ram:"}, .cache_size = 100};
  o.cache_ttl_ms = o.stale_max_ms = 300000;
  o.negative_ttl_ms = 60000;
  assert_int_equal(directory_open(&o, &d, &why), ERR_OK);
  return d;
}

static void broadcasts(void **state) {
  (void)state;
  struct shm shm;
  struct why why;
  assert_int_equal(shm_create(&shm, 2, 65536, &why), ERR_OK);
  open_with((struct directory_options){.shm = &shm, .slot = &shm.slots[0]});
  put("one", "111", "t");
  put("two", "122", "t");
  ask(DIRECTORY_PHONE, "111");
  ask(DIRECTORY_PHONE, "122");
  assert_int_equal(shm_invalidate(&shm, SPAN("phone:111")), ERR_OK);
  assert_int_equal(get("111"), DIRECTORY_PENDING); // at once, not a turn later
  assert_int_equal(get("122"), DIRECTORY_FOUND);
  shm_clear_caches(&shm);
  assert_int_equal(get("122"), DIRECTORY_PENDING);
  shm_warm_caches(&shm);
  turn_for(100);
  assert_int_equal(get("111"), DIRECTORY_FOUND);
  assert_int_equal(get("122"), DIRECTORY_FOUND);
  close_all();
  shm_detach(&shm);
}

// What one process was told in vain, another one does not ask for.
static void unknown_is_shared(void **state) {
  (void)state;
  struct shm shm;
  struct why why;
  assert_int_equal(shm_create(&shm, 2, 65536, &why), ERR_OK);
  open_with((struct directory_options){.shm = &shm, .slot = &shm.slots[0]});
  assert_int_equal(ask(DIRECTORY_PHONE, "111").answer, DIRECTORY_UNKNOWN);
  struct directory *first = dir;
  dir = another(&shm);
  assert_true(directory_knows(dir, DIRECTORY_PHONE, SPAN("111")));
  assert_int_equal(get("111"), DIRECTORY_UNKNOWN);
  assert_int_equal(get("112"), DIRECTORY_PENDING);
  put("one", "111", "t");
  assert_int_equal(shm_invalidate(&shm, SPAN("phone:111")), ERR_OK);
  assert_int_equal(get("111"), DIRECTORY_PENDING);
  assert_int_equal(ask(DIRECTORY_PHONE, "111").answer, DIRECTORY_FOUND);
  directory_close(first);
  close_all();
  shm_detach(&shm);
}

// A question that nobody waits for is put a moment later, and not at all when another process was told meanwhile.
static void soon(void **state) {
  (void)state;
  struct shm shm;
  struct why why;
  const struct business *b;
  assert_int_equal(shm_create(&shm, 2, 65536, &why), ERR_OK);
  open_with((struct directory_options){.shm = &shm, .slot = &shm.slots[0]});
  struct directory *worker = dir;
  dir = another(&shm);
  put("one", "111", "t");
  turn_for(1500); // both have looked at the store's version
  uint64_t asked = atomic_load(&shm.slots[0].counters[METRIC_STORE_QUERIES]);
  assert_int_equal(directory_get(worker, DIRECTORY_PHONE, SPAN("111"), DIRECTORY_SOON, &b), DIRECTORY_PENDING);
  assert_int_equal(directory_get(worker, DIRECTORY_PHONE, SPAN("222"), DIRECTORY_SOON, &b), DIRECTORY_PENDING);
  assert_int_equal(ask(DIRECTORY_PHONE, "222").answer, DIRECTORY_UNKNOWN);
  turn_for(1000);
  assert_int_equal(directory_get(worker, DIRECTORY_PHONE, SPAN("111"), DIRECTORY_LEAVE, &b), DIRECTORY_FOUND);
  assert_int_equal(directory_get(worker, DIRECTORY_PHONE, SPAN("222"), DIRECTORY_LEAVE, &b), DIRECTORY_UNKNOWN);
  assert_int_equal(atomic_load(&shm.slots[0].counters[METRIC_STORE_QUERIES]) - asked, 1);
  directory_close(worker);
  close_all();
  shm_detach(&shm);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(broadcasts),
      cmocka_unit_test(unknown_is_shared),
      cmocka_unit_test(soon),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
