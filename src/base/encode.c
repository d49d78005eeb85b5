// Hex, percent-encoding and query strings. Runs in every process.
#include "wahook/base.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

void hex_encode(const void *in, size_t len, char *out) {
  static const char digits[] = "0123456789abcdef";
  const unsigned char *at = in, *end = at + len;
#ifdef __SSE2__
  for (; end - at >= 8; at += 8, out += 16) { // a webhook has a digest and an id
    __m128i eight = _mm_loadl_epi64((const __m128i *)(const void *)at), low_half = _mm_set1_epi8(0x0f);
    __m128i high = _mm_and_si128(_mm_srli_epi16(eight, 4), low_half), low = _mm_and_si128(eight, low_half);
    __m128i nibbles = _mm_unpacklo_epi8(high, low), letters = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));
    __m128i digit = _mm_add_epi8(nibbles, _mm_set1_epi8('0')), shift = _mm_and_si128(letters, _mm_set1_epi8('a' - '0' - 10));
    _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi8(digit, shift));
  }
#endif
  for (; at < end; at++) {
    *out++ = digits[*at >> 4];
    *out++ = digits[*at & 15];
  }
  *out = '\0';
}

// clang-format off
const signed char hex_values[256] = {
    [0 ... '0' - 1] = -1, ['0'] = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ['9' + 1 ... 'A' - 1] = -1, ['A'] = 10, 11, 12, 13, 14, 15,
    ['F' + 1 ... 'a' - 1] = -1, ['a'] = 10, 11, 12, 13, 14, 15,
    ['f' + 1 ... 255] = -1,
};
// clang-format on

enum err hex_decode(struct span in, void *out, size_t out_len) {
  if (in.len != 2 * out_len) return ERR_FORMAT;
  // Two passes, because outputs stay untouched on failure.
  for (size_t i = 0; i < in.len; i++)
    if (hex_value(in.ptr[i]) < 0) return ERR_FORMAT;
  unsigned char *bytes = out;
  for (size_t i = 0; i < out_len; i++)
    bytes[i] = (unsigned char)(hex_value(in.ptr[2 * i]) << 4 | hex_value(in.ptr[2 * i + 1]));
  return ERR_OK;
}

// Decodes the character at *at and moves past it; -1 on a bad escape or NUL (RFC 3986 section 2.1).
static int percent_next(struct span in, bool plus, size_t *at) {
  char c = in.ptr[(*at)++];
  if (c == '+' && plus) return ' ';
  if (c != '%') return c ? (unsigned char)c : -1;
  if (in.len - *at < 2) return -1;
  int high = hex_value(in.ptr[*at]), low = hex_value(in.ptr[*at + 1]);
  if (high < 0 || low < 0) return -1;
  *at += 2;
  int value = high << 4 | low;
  return value ? value : -1;
}

enum err percent_decode(struct span in, bool plus, char *out, size_t out_size, size_t *out_len) {
  size_t n = 0;
  for (size_t at = 0; at < in.len; n++)
    if (percent_next(in, plus, &at) < 0) return ERR_FORMAT;
  if (n > out_size) return ERR_TOO_LARGE;
  n = 0;
  for (size_t at = 0; at < in.len;)
    out[n++] = (char)percent_next(in, plus, &at);
  // A NUL behind the text where there is room, for callers that pass it on to libc.
  if (n < out_size) out[n] = '\0';
  *out_len = n;
  return ERR_OK;
}

static bool decodes_to(struct span name, struct span key) {
  size_t n = 0;
  for (size_t at = 0; at < name.len; n++) {
    int c = percent_next(name, true, &at);
    if (c < 0 || n >= key.len || (unsigned char)key.ptr[n] != c) return false;
  }
  return n == key.len;
}

bool query_find(struct span query, struct span key, struct span *value) {
  struct span pair;
  while (span_split(&query, '&', &pair)) {
    if (!pair.len) continue;
    struct span name = {NULL, 0}, rest = pair;
    if (!span_split(&rest, '=', &name)) continue;
    if (!decodes_to(name, key)) continue;
    *value = rest.ptr ? rest : SPAN("");
    return true;
  }
  return false;
}
