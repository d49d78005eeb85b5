// Views of bytes: comparing, cutting, reading numbers, UTF-8, globs. Runs in every process.
#include "span.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static char fold(char c) {
  return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool span_eq_nocase(struct span a, struct span b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++)
    if (fold(a.ptr[i]) != fold(b.ptr[i])) return false;
  return true;
}

bool span_starts(struct span s, struct span prefix) {
  return s.len >= prefix.len && span_eq((struct span){s.ptr, prefix.len}, prefix);
}

bool span_ends(struct span s, struct span suffix) {
  return s.len >= suffix.len && span_eq(span_from(s, s.len - suffix.len), suffix);
}

static bool blank(char c) {
  return c == ' ' || c == '\t';
}

struct span span_trim(struct span s) {
  while (s.len && blank(s.ptr[0]))
    s = span_from(s, 1);
  while (s.len && blank(s.ptr[s.len - 1]))
    s.len--;
  return s;
}

bool span_split(struct span *rest, char at, struct span *head) {
  if (!rest->ptr) return false;
  const char *found = rest->len ? memchr(rest->ptr, at, rest->len) : NULL;
  if (!found) {
    // The last piece, which may be empty ("a," has two): afterwards `rest` is absent, not empty.
    *head = *rest;
    *rest = (struct span){NULL, 0};
    return true;
  }
  size_t len = (size_t)(found - rest->ptr);
  *head = (struct span){rest->ptr, len};
  *rest = span_from(*rest, len + 1);
  return true;
}

enum err span_u64(struct span s, uint64_t *out) {
  if (!s.len) return ERR_FORMAT;
  uint64_t value = 0;
  bool over = false;
  for (size_t i = 0; i < s.len; i++) {
    if (s.ptr[i] < '0' || s.ptr[i] > '9') return ERR_FORMAT;
    over |= __builtin_mul_overflow(value, 10u, &value);
    over |= __builtin_add_overflow(value, (uint64_t)(s.ptr[i] - '0'), &value);
  }
  if (over) return ERR_RANGE;
  *out = value;
  return ERR_OK;
}

enum err span_i64(struct span s, int64_t *out) {
  bool negative = s.len && s.ptr[0] == '-';
  uint64_t value = 0;
  enum err e = span_u64(negative ? span_from(s, 1) : s, &value);
  if (e) return e;
  if (value > (uint64_t)INT64_MAX + negative) return ERR_RANGE;
  // -(value - 1) - 1 reaches INT64_MIN without ever overflowing.
  *out = !negative ? (int64_t)value : value ? -(int64_t)(value - 1) - 1 : 0;
  return ERR_OK;
}

char *span_dup(struct span s) {
  char *copy = xmalloc(s.len + 1);
  if (s.len) memcpy(copy, s.ptr, s.len);
  copy[s.len] = '\0';
  return copy;
}

enum err span_copy(struct span s, char *out, size_t out_size) {
  ALWAYS(out_size > 0);
  out[0] = '\0';
  if (s.len >= out_size) return ERR_TOO_LARGE;
  if (s.len) memmove(out, s.ptr, s.len);
  out[s.len] = '\0';
  return ERR_OK;
}

size_t span__utf8_sequence(const unsigned char *p, size_t left) {
  unsigned char c = p[0];
  unsigned char low = 0x80, high = 0xBF;
  size_t len;
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF)
    len = 2;
  else if (c >= 0xE0 && c <= 0xEF)
    len = 3;
  else if (c >= 0xF0 && c <= 0xF4)
    len = 4;
  else
    return 0;
  if (c == 0xE0) low = 0xA0;
  if (c == 0xED) high = 0x9F;
  if (c == 0xF0) low = 0x90;
  if (c == 0xF4) high = 0x8F;
  if (left < len || p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < len; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  return len;
}

#ifdef __SSE2__
static inline int high_bits_16(const unsigned char *p) {
  return _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)p));
}
#endif

size_t span__utf8_prefix(struct span s) {
  const unsigned char *p = (const unsigned char *)s.ptr;
  size_t i = 0;
  while (i < s.len) {
    // Most of what we see is ASCII: 64 bytes a step where that can be.
#ifdef __SSE2__
    if (s.len - i >= 64 && !(high_bits_16(p + i) | high_bits_16(p + i + 16) | high_bits_16(p + i + 32) | high_bits_16(p + i + 48))) {
      i += 64;
      continue;
    }
#endif
    uint64_t word;
    if (s.len - i >= sizeof word) {
      memcpy(&word, p + i, sizeof word);
      if (!(word & WORD_BYTES(0x80))) {
        i += sizeof word;
        continue;
      }
    }
    size_t len = span__utf8_sequence(p + i, s.len - i);
    if (!len) break;
    i += len;
  }
  return i;
}

bool span_utf8(struct span s) {
  return span__utf8_prefix(s) == s.len;
}

bool span_glob(struct span s, struct span pattern) {
  // Greedy with one restart point: the last '*' seen. Linear memory, at most quadratic time.
  size_t i = 0, p = 0, star = SIZE_MAX, mark = 0;
  while (i < s.len) {
    if (p < pattern.len && pattern.ptr[p] == '*') {
      star = p++;
      mark = i;
    } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == s.ptr[i])) {
      p++;
      i++;
    } else if (star != SIZE_MAX) {
      p = star + 1;
      i = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.len && pattern.ptr[p] == '*')
    p++;
  return p == pattern.len;
}
