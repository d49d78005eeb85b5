// Locked memory: packed, wiped, not dumped, and still there when the limit of locked memory is nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "secret.h"
#include "wahook/crypto.h"

static void ten_thousand_secrets_share_few_chunks(void **state) {
  (void)state;
  enum { N = 10000 };
  static char *secrets[N];
  struct secret_usage before = secret__usage();
  char text[210];
  memset(text, 'x', sizeof text);
  for (int i = 0; i < N; i++)
    secrets[i] = secret_dup((struct span){text, sizeof text});
  struct secret_usage full = secret__usage();
  assert_int_equal(full.live - before.live, N);
  assert_true(full.chunks - before.chunks < 100); // 3.2 MB, not 160
  for (int i = 0; i < N; i++) {
    assert_int_equal(strlen(secrets[i]), sizeof text);
    assert_int_equal((uintptr_t)secrets[i] % 16, 0);
    secret_free(secrets[i]);
  }
  assert_int_equal(secret__usage().live, before.live);
  for (int i = 0; i < N; i++)
    secrets[i] = secret_dup((struct span){text, sizeof text});
  assert_int_equal(secret__usage().chunks, full.chunks); // memory comes back
  for (int i = 0; i < N; i++)
    secret_free(secrets[i]);
}

static void every_size_is_zeroed_and_its_own(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 31, 32, 33, 128, 4096, 4097, 100000};
  unsigned char *p[COUNT_OF(sizes)];
  for (int round = 0; round < 2; round++) { // the second round gets what the first one filled
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
      p[i] = secret_alloc(sizes[i]);
      for (size_t k = 0; k < sizes[i]; k++)
        assert_int_equal(p[i][k], 0);
      if (sizes[i]) memset(p[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
      for (size_t k = 0; k < sizes[i]; k++)
        assert_int_equal(p[i][k], i + 1);
      secret_free(p[i]);
    }
  }
  secret_free(NULL);
}

static void freed_memory_is_wiped(void **state) {
  (void)state;
  char *secret = secret_dup(SPAN("EAAJtest-access-token-123"));
  secret_free(secret);
  // The block stays mapped in its chunk: what is left of the secret can be looked at.
  assert_null(memmem(secret, 32, "EAAJ", 4));
  assert_int_equal(secret[0], 0);
}

// "dd" (do not dump) stands in the flags of the mapping.
static void left_out_of_core_dumps(void **state) {
  (void)state;
  char *secret = secret_dup(SPAN("x"));
  FILE *maps = fopen("/proc/self/smaps", "re");
  assert_non_null(maps);
  char line[512];
  bool inside = false, checked = false;
  while (fgets(line, sizeof line, maps)) {
    unsigned long from, to;
    if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = (uintptr_t)secret >= from && (uintptr_t)secret < to;
    if (!inside || strncmp(line, "VmFlags:", 8) != 0) continue;
    assert_non_null(strstr(line, " dd"));
    checked = true;
  }
  fclose(maps);
  assert_true(checked);
  secret_free(secret);
}

static void works_without_a_single_locked_page(void **state) {
  (void)state;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (getuid() == 0 && setuid(65534) != 0)) _exit(2);
    for (int i = 0; i < 1000; i++) {
      char *s = secret_alloc(5000);
      s[4999] = 1;
    }
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

static int status_of(void (*act)(void)) {
  pid_t pid = fork();
  if (pid == 0) {
    fclose(stderr);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    act();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

static void free_twice(void) {
  char *s = secret_dup(SPAN("x"));
  secret_free(s);
  secret_free(s);
}

static void overrun(void) {
  char *a = secret_alloc(32), *b = secret_alloc(32);
  char *low = a < b ? a : b;
  if (labs(a - b) == 48) memset(low, 'A', 40); // into the neighbour's header
  secret_free(a);
  secret_free(b);
}

static void misuse_is_a_panic(void **state) {
  (void)state;
  assert_true(WIFSIGNALED(status_of(free_twice)));
  assert_true(WIFSIGNALED(status_of(overrun)));
}

static void equal_compares_contents(void **state) {
  (void)state;
  assert_true(secret_equal(SPAN("abc"), SPAN("abc")));
  assert_false(secret_equal(SPAN("abc"), SPAN("abd")));
  assert_false(secret_equal(SPAN("abc"), SPAN("ab")));
  assert_true(secret_equal(SPAN(""), (struct span){NULL, 0}));
}

int main(void) {
  crypto_start();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ten_thousand_secrets_share_few_chunks),
      cmocka_unit_test(every_size_is_zeroed_and_its_own),
      cmocka_unit_test(freed_memory_is_wiped),
      cmocka_unit_test(left_out_of_core_dumps),
      cmocka_unit_test(works_without_a_single_locked_page),
      cmocka_unit_test(misuse_is_a_panic),
      cmocka_unit_test(equal_compares_contents),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
