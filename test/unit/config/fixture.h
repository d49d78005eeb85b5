// Loads a configuration from texts: a temporary file, environment entries, flags.
#ifndef TEST_CONFIG_FIXTURE_H
#define TEST_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "wahook/config.h"

struct fixture {
  struct config *config;
  struct config_command command;
  struct config_errors errors;
  char path[64]; // of the file
};

static inline void fixture_write(char path[static 64], const char *content, size_t len) {
  strncpy(path, "/tmp/wahook-config-XXXXXX", 64);
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, content, len), (ssize_t)len);
  close(fd);
}

// `flags` and `env` end with NULL; either may be NULL.
static inline enum err fixture_load(struct fixture *f, const char *file, char *const *flags, char *const *env) {
  static char *const nothing[] = {NULL};
  char *argv[32] = {(char *)(uintptr_t) "wahookd", (char *)(uintptr_t) "-c", f->path};
  int argc = 3;
  memset(f, 0, sizeof *f);
  fixture_write(f->path, file, strlen(file));
  for (; flags && *flags; flags++)
    argv[argc++] = *flags;
  return config_load(&f->config, &f->command, argc, argv, env ? env : nothing, &f->errors);
}

static inline void fixture_free(struct fixture *f) {
  config_free(f->config);
  config_errors_free(&f->errors);
  unlink(f->path);
}

#define TEXTS(...) ((char *const[]){__VA_ARGS__, NULL})

#endif
