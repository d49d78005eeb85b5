// The shared table: exact when four processes hammer it, keys apart from each other, full sets, and a lock that a dead process left.
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <pthread.h>
#include <unistd.h>

#include <cmocka.h>

#include "wahook/limiter.h"

#define MINUTE INT64_C(60000000)
#define NOW    INT64_C(1000000000)
#define RULES  32

static void *shared_memory(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(p, MAP_FAILED);
  return p;
}

static bool allowed(struct limiter *l, const struct limiter_rule *rule, uint32_t id, const char *key, int64_t now_us) {
  return limiter_take(l, rule, id, span_of(key), now_us).allowed;
}

struct tally {
  _Atomic int ready;
  _Atomic uint64_t allowed[RULES];
};

static void hammer(struct limiter *l, struct tally *tally, const struct limiter_rule *rule, int parties) {
  atomic_fetch_add(&tally->ready, 1);
  while (atomic_load(&tally->ready) < parties) {}
  for (uint32_t id = 0; id < RULES; id++) {
    for (uint64_t i = 0; i < rule->count; i++) {
      if (limiter_take(l, rule, id, SPAN("192.0.2.1"), NOW).allowed) atomic_fetch_add(&tally->allowed[id], 1);
    }
  }
}

static void exact_across_four_processes(void **state) {
  (void)state;
  size_t bytes = 65536;
  void *memory = shared_memory(bytes);
  struct tally *tally = shared_memory(sizeof *tally);
  struct limiter_rule rule = limiter_rule(5000, 86400 * INT64_C(1000000));
  pid_t pids[4];
  for (int p = 0; p < 4; p++) {
    pids[p] = fork();
    if (pids[p] == 0) {
      struct limiter *l = limiter_new(memory, bytes); // each its own handle, as workers have
      hammer(l, tally, &rule, 4);
      limiter_free(l);
      _exit(0);
    }
  }
  for (int p = 0; p < 4; p++) {
    int status;
    waitpid(pids[p], &status, 0);
    assert_int_equal(status, 0);
  }
  for (int id = 0; id < RULES; id++)
    assert_int_equal(tally->allowed[id], rule.count);
  munmap(memory, bytes);
  munmap(tally, sizeof *tally);
}

struct party {
  struct limiter *limiter;
  struct tally *tally;
  const struct limiter_rule *rule;
};

static void *on_thread(void *arg) {
  struct party *p = arg;
  hammer(p->limiter, p->tally, p->rule, 4);
  return NULL;
}

// The same with threads, which the thread sanitizer watches.
static void exact_across_four_threads(void **state) {
  (void)state;
  static _Alignas(128) char memory[16384];
  static struct tally tally;
  struct limiter_rule rule = limiter_rule(500, 86400 * INT64_C(1000000));
  struct limiter *l = limiter_new(memory, sizeof memory);
  struct party party = {l, &tally, &rule};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, on_thread, &party), 0);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  for (int id = 0; id < RULES; id++)
    assert_int_equal(tally.allowed[id], rule.count);
  limiter_free(l);
}

static void keys_and_rules_are_apart(void **state) {
  (void)state;
  static _Alignas(128) char memory[65536];
  struct limiter *l = limiter_new(memory, sizeof memory);
  struct limiter_rule once = limiter_rule(1, MINUTE), off = limiter_rule(0, MINUTE);
  char long_a[200], long_b[200];
  memset(long_a, 'x', sizeof long_a);
  memcpy(long_b, long_a, sizeof long_b);
  long_b[199] = 'y';
  struct span a = {long_a, 200}, b = {long_b, 200};
  assert_true(allowed(l, &once, 1, "a", NOW));
  assert_false(allowed(l, &once, 1, "a", NOW));
  assert_true(allowed(l, &once, 1, "b", NOW));
  assert_true(allowed(l, &once, 2, "a", NOW));
  assert_true(allowed(l, &once, 1, "", NOW));
  assert_true(limiter_take(l, &once, 1, a, NOW).allowed);
  assert_true(limiter_take(l, &once, 1, b, NOW).allowed);
  assert_false(limiter_take(l, &once, 1, a, NOW).allowed);
  assert_true(allowed(l, &off, 1, "a", NOW));
  assert_true(allowed(l, &once, 1, "a", NOW + MINUTE));
  limiter_free(l);
  limiter_free(NULL);
}

static void a_full_set_gives_up_who_expires_first(void **state) {
  (void)state;
  static _Alignas(128) char memory[256];
  assert_int_equal(limiter_min_bytes(), 256);
  struct limiter *l = limiter_new(memory, sizeof memory); // one set of seven
  struct limiter_rule once = limiter_rule(1, MINUTE);
  static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
  for (int i = 0; i < 7; i++)
    assert_true(allowed(l, &once, 0, names[i], NOW + i));
  for (int i = 0; i < 7; i++)
    assert_false(allowed(l, &once, 0, names[i], NOW + 10));
  assert_true(allowed(l, &once, 0, names[7], NOW + 10));
  assert_false(allowed(l, &once, 0, names[7], NOW + 10));
  for (int i = 1; i < 7; i++)
    assert_false(allowed(l, &once, 0, names[i], NOW + 10)); // only "0" went
  limiter_free(l);
}

static void a_lock_left_by_a_dead_process_is_broken(void **state) {
  (void)state;
  static _Alignas(128) char memory[256];
  struct limiter *l = limiter_new(memory, sizeof memory);
  int64_t taken = clock_mono_us();
  memcpy(memory + 128, &taken, sizeof taken); // the set's first word
  struct limiter_rule once = limiter_rule(1, MINUTE);
  assert_true(allowed(l, &once, 0, "x", NOW));
  assert_true(clock_mono_us() - taken < 5000000);
  assert_false(allowed(l, &once, 0, "x", NOW));
  assert_true(allowed(l, &once, 0, "y", NOW));
  limiter_free(l);
}

static void measured(void **state) {
  (void)state;
  enum { ROUNDS = 1000000 };
  void *memory = shared_memory(4 << 20);
  struct limiter *l = limiter_new(memory, 4 << 20);
  struct limiter_rule rule = limiter_rule(100, MINUTE);
  uint8_t key[5] = {4, 192, 0, 2, 1};
  int64_t from = clock_mono_ns();
  for (int i = 0; i < ROUNDS; i++) {
    key[4] = (uint8_t)i;
    (void)limiter_take(l, &rule, 1, (struct span){(char *)key, 5}, NOW + i);
  }
  print_message("a decision: %.0f ns\n", (double)(clock_mono_ns() - from) / ROUNDS);
  limiter_free(l);
  munmap(memory, 4 << 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(exact_across_four_processes),
      cmocka_unit_test(exact_across_four_threads),
      cmocka_unit_test(keys_and_rules_are_apart),
      cmocka_unit_test(a_full_set_gives_up_who_expires_first),
      cmocka_unit_test(a_lock_left_by_a_dead_process_is_broken),
      cmocka_unit_test(measured),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
