// Buffers, arenas, errors, panics.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "wahook/base.h"

static void test_buf_grows_and_ends_with_nul(void **state) {
  (void)state;
  struct buf b = {0};
  assert_int_equal(buf_span(&b).len, 0);
  buf_clear(&b);
  for (int i = 0; i < 1000; i++)
    buf_printf(&b, "%d,", i);
  assert_int_equal(b.len, 3890);
  assert_int_equal(strlen(b.data), 3890);
  buf_consume(&b, 3886);
  assert_string_equal(b.data, "999,");
  buf_consume(&b, 99);
  assert_string_equal(b.data, "");
  char *before = b.data;
  buf_add_text(&b, "x");
  buf_add_byte(&b, '\0');
  buf_add_span(&b, SPAN("y"));
  assert_ptr_equal(b.data, before);
  assert_memory_equal(b.data, "x\0y\0", 4);
  char *mine = buf_steal(&b);
  assert_null(b.data);
  free(mine);
  mine = buf_steal(&b);
  assert_string_equal(mine, "");
  free(mine);
  buf_free(&b);
}

static void test_buf_long_printf(void **state) {
  (void)state;
  struct buf b = {0};
  char text[300];
  memset(text, 'a', sizeof text);
  text[299] = '\0';
  buf_printf(&b, "<%s>", text);
  assert_int_equal(b.len, 301);
  assert_int_equal(b.data[300], '>');
  buf_free(&b);
}

static void test_read_file(void **state) {
  (void)state;
  char path[] = "/tmp/test_memory_XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, "0123456789", 10), 10);
  struct buf b = {0};
  buf_add_text(&b, ">");
  assert_int_equal(buf_read_file(&b, path, 10), ERR_OK);
  assert_string_equal(b.data, ">0123456789");
  assert_int_equal(buf_read_file(&b, path, 9), ERR_TOO_LARGE);
  assert_string_equal(b.data, ">0123456789");
  assert_int_equal(buf_read_file(&b, "/nowhere/at/all", 9), ERR_NOT_FOUND);
  assert_int_equal(errno, ENOENT);
  assert_int_equal(buf_read_file(&b, "/tmp", 9), ERR_IO);
  buf_free(&b);
  close(fd);
  unlink(path);
}

static void test_arena(void **state) {
  (void)state;
  struct arena a;
  arena_init(&a, 100, 10000);
  void *first = arena_alloc(&a, 1);
  assert_int_equal((uintptr_t)first % 16, 0);
  for (int i = 0; i < 60; i++) {
    unsigned char *p = arena_alloc(&a, 100);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    memset(p, i, 100);
  }
  assert_null(arena_alloc(&a, 5000));
  assert_null(arena_alloc(&a, SIZE_MAX));
  assert_null(arena_alloc(&a, SIZE_MAX - 8));
  assert_non_null(arena_alloc(&a, 2000));
  struct span copy = arena_copy(&a, SPAN("text"));
  assert_string_equal(copy.ptr, "text");
  assert_null(arena_copy(&a, (struct span){NULL, 0}).ptr);
  arena_reset(&a);
  assert_ptr_equal(arena_alloc(&a, 1), first);
  arena_free(&a);
}

// The beginning of what arena.c hides: enough to count blocks.
struct arena_block {
  struct arena_block *next;
};
static size_t block_count(const struct arena *a) {
  size_t n = 0;
  for (const struct arena_block *block = a->blocks; block; block = block->next)
    n++;
  return n;
}

static void test_arena_keeps_little_and_reuses_it(void **state) {
  (void)state;
  struct arena a;
  arena_init(&a, 4096, 0);
  assert_non_null(arena_alloc(&a, 3u << 20));
  assert_int_equal(block_count(&a), 2);
  arena_reset(&a);
  assert_int_equal(block_count(&a), 1);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 200; i++)
      assert_non_null(arena_alloc(&a, 1000));
    size_t blocks = block_count(&a);
    arena_reset(&a);
    assert_int_equal(block_count(&a), blocks);
  }
  arena_free(&a);
}

static void test_errors(void **state) {
  (void)state;
  assert_string_equal(err_name(ERR_NOT_FOUND), "not_found");
  assert_string_equal(err_text(ERR_NOT_FOUND), "not found");
  assert_string_equal(err_name((enum err)999), "unknown");
  struct why why;
  why_set(&why, "line %d", 3);
  why_set(&why, "file: %s", why.text);
  assert_string_equal(why.text, "file: line 3");
  why_set(NULL, "nobody listens");
  char text[1000];
  memset(text, 'x', sizeof text - 1);
  text[999] = '\0';
  why_set(&why, "%s", text);
  assert_int_equal(strlen(why.text), sizeof why.text - 1);
}

static void leave_word(const char *text) {
  if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(1);
}

static void test_panic_calls_the_hook_and_aborts(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    die_set_hook(leave_word);
    ALWAYS(1 + 1 == 3);
  }
  close(ends[1]);
  char text[256] = "";
  size_t len = 0;
  for (ssize_t n; (n = read(ends[0], text + len, sizeof text - 1 - len)) > 0;)
    len += (size_t)n;
  close(ends[0]);
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  assert_non_null(strstr(text, "1 + 1 == 3wahookd: panic: "));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_buf_grows_and_ends_with_nul),
      cmocka_unit_test(test_buf_long_printf),
      cmocka_unit_test(test_read_file),
      cmocka_unit_test(test_arena),
      cmocka_unit_test(test_arena_keeps_little_and_reuses_it),
      cmocka_unit_test(test_errors),
      cmocka_unit_test(test_panic_calls_the_hook_and_aborts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
