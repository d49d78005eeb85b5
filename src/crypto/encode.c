// Base64 in both alphabets (RFC 4648 sections 4 and 5). Runs in every process.
#include "wahook/crypto.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t base64_encode(struct span in, bool url, bool pad, char *out, size_t out_size) {
  const char *alphabet = url ? url_safe : standard;
  const uint8_t *bytes = (const uint8_t *)in.ptr;
  size_t tail = in.len % 3;
  size_t need = in.len / 3 * 4 + (tail ? (pad ? 4 : tail + 1) : 0);
  ALWAYS(need < out_size);
  char *at = out;
  size_t i = 0;
  for (; i + 3 <= in.len; i += 3) {
    uint32_t v = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];
    for (int shift = 18; shift >= 0; shift -= 6)
      *at++ = alphabet[v >> shift & 63];
  }
  if (tail) {
    uint32_t v = (uint32_t)bytes[i] << 16 | (tail == 2 ? (uint32_t)bytes[i + 1] << 8 : 0);
    *at++ = alphabet[v >> 18];
    *at++ = alphabet[v >> 12 & 63];
    if (tail == 2) *at++ = alphabet[v >> 6 & 63];
    while (pad && (size_t)(at - out) < need)
      *at++ = '=';
  }
  *at = '\0';
  return need;
}

static int digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

enum err base64_decode(struct span in, void *out, size_t out_size, size_t *out_len) {
  // Padding is optional, but where there is some it must be the right amount.
  size_t digits = in.len;
  while (digits > 0 && in.len - digits < 2 && in.ptr[digits - 1] == '=')
    digits--;
  if (digits != in.len && in.len % 4 != 0) return ERR_FORMAT;
  if (digits % 4 == 1) return ERR_FORMAT;
  // All is checked before the first byte is written: the output stays untouched on failure.
  for (size_t i = 0; i < digits; i++) {
    if (digit(in.ptr[i]) < 0) return ERR_FORMAT;
  }
  // Left-over bits must be zero (RFC 4648 section 3.5): one value, one text.
  unsigned spare = digits % 4 == 2 ? 15 : digits % 4 == 3 ? 3 : 0;
  if (spare && (unsigned)digit(in.ptr[digits - 1]) & spare) return ERR_FORMAT;
  size_t need = digits / 4 * 3 + (digits % 4 ? digits % 4 - 1 : 0);
  if (need > out_size) return ERR_TOO_LARGE;

  uint8_t *at = out;
  uint32_t bits = 0;
  unsigned held = 0;
  for (size_t i = 0; i < digits; i++) {
    bits = bits << 6 | (uint32_t)digit(in.ptr[i]);
    held += 6;
    if (held >= 8) {
      held -= 8;
      *at++ = (uint8_t)(bits >> held);
      bits &= (1u << held) - 1;
    }
  }
  *out_len = need;
  return ERR_OK;
}
