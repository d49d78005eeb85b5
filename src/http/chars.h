// What bytes may be part of (RFC 9110 section 5.6.2, RFC 3986): ONE table for all who look at heads byte by byte.
#ifndef WAHOOK_HTTP_CHARS_H
#define WAHOOK_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>

enum {
  HTTP__DIGIT = 1,
  HTTP__HEX = 2,     // a digit or a letter of a hexadecimal number
  HTTP__ALPHA = 4,   //
  HTTP__TOKEN = 8,   // tchar: method and field names
  HTTP__NAME = 16,   // of a host: a letter, a digit or one of "-._~"
  HTTP__UPPER = 32,  // a capital letter; what makes it a small one when added
  HTTP__TARGET = 64, // visible ASCII but '#' and '\'
};

extern const uint8_t http__chars[256];

static inline bool http__is(char c, unsigned classes) {
  return http__chars[(unsigned char)c] & classes;
}

#endif
