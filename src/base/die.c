// Panics and the allocations that never fail. Runs in every process.
#include "wahook/base.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Process-wide by nature: there is one obituary per process.
static void (*_Atomic panic_hook)(const char *text);

void die_set_hook(void (*hook)(const char *text)) {
  atomic_store(&panic_hook, hook);
}

void die(const char *fmt, ...) {
  char line[512] = "wahookd: panic: ";
  size_t at = strlen(line);
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(line + at, sizeof line - at - 1, fmt, ap);
  va_end(ap);
  size_t len = at + (n > 0 ? (size_t)n : 0);
  if (len > sizeof line - 2) len = sizeof line - 2;
  line[len] = '\0';

  // Taken out first: a hook that panics itself must not be called again.
  void (*hook)(const char *text) = atomic_exchange(&panic_hook, NULL);
  if (hook) hook(line + at);
  line[len] = '\n';
  // write(2), not stdio: the heap or a stdio lock may be what is broken.
  if (write(STDERR_FILENO, line, len + 1) < 0) abort();
  abort();
}

void *xmalloc(size_t size) {
  void *p = malloc(size ? size : 1);
  if (!p) die("out of memory (%zu bytes)", size);
  return p;
}

void *xcalloc(size_t n, size_t size) {
  void *p = calloc(n ? n : 1, size ? size : 1);
  if (!p) die("out of memory (%zu times %zu bytes)", n, size);
  return p;
}

void *xrealloc(void *p, size_t size) {
  void *grown = realloc(p, size ? size : 1);
  if (!grown) die("out of memory (%zu bytes)", size);
  return grown;
}

char *xstrdup(const char *s) {
  size_t size = strlen(s) + 1;
  return memcpy(xmalloc(size), s, size);
}
