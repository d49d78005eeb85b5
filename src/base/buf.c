// Growing byte buffers. Runs in every process.
#include "wahook/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void buf_free(struct buf *b) {
  free(b->data);
  *b = (struct buf){NULL, 0, 0};
}

void buf_clear(struct buf *b) {
  b->len = 0;
  if (b->data) b->data[0] = '\0';
}

char *buf_reserve(struct buf *b, size_t more) {
  size_t need;
  if (__builtin_add_overflow(b->len, more, &need) || need > SIZE_MAX / 4) die("buffer of %zu + %zu bytes", b->len, more);
  if (need + 1 > b->cap || !b->data) {
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need + 1)
      cap *= 2;
    b->data = xrealloc(b->data, cap);
    b->cap = cap;
    b->data[b->len] = '\0';
  }
  return b->data + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len) {
  char *to = buf_reserve(b, len);
  if (len) memcpy(to, data, len);
  b->len += len;
  b->data[b->len] = '\0';
}

void buf_add_span(struct buf *b, struct span s) {
  buf_add(b, s.ptr, s.len);
}

void buf_add_text(struct buf *b, const char *text) {
  buf_add(b, text, strlen(text));
}

void buf_add_byte(struct buf *b, char c) {
  buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  buf_vprintf(b, fmt, ap);
  va_end(ap);
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  char *to = buf_reserve(b, 64);
  size_t room = b->cap - b->len;
  int n = vsnprintf(to, room, fmt, ap);
  if (n < 0) die("printf format \"%s\"", fmt);
  if ((size_t)n >= room) n = vsnprintf(buf_reserve(b, (size_t)n), (size_t)n + 1, fmt, again);
  va_end(again);
  b->len += (size_t)n;
}

void buf_consume(struct buf *b, size_t len) {
  if (len >= b->len) {
    buf_clear(b);
    return;
  }
  b->len -= len;
  memmove(b->data, b->data + len, b->len + 1);
}

struct span buf_span(const struct buf *b) {
  return b->data ? (struct span){b->data, b->len} : SPAN("");
}

char *buf_steal(struct buf *b) {
  buf_reserve(b, 0);
  char *data = b->data;
  *b = (struct buf){NULL, 0, 0};
  return data;
}

// Reads up to `max` + 1 bytes, so that a file of exactly `max` can be told from a larger one.
static enum err read_all(int fd, struct buf *b, size_t max) {
  for (size_t total = 0;;) {
    size_t want = max - total < 65536 ? max - total + 1 : 65536;
    ssize_t n = read(fd, buf_reserve(b, want), want);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ERR_IO;
    if (n == 0) return ERR_OK;
    b->len += (size_t)n;
    b->data[b->len] = '\0';
    total += (size_t)n;
    if (total > max) return ERR_TOO_LARGE;
  }
}

enum err buf_read_file(struct buf *b, const char *path, size_t max) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
  size_t before = b->len;
  enum err e = read_all(fd, b, max);
  int saved = errno;
  if (e) {
    b->len = before;
    if (b->data) b->data[before] = '\0';
  }
  close(fd);
  errno = saved;
  return e;
}
