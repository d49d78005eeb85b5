// Writing JSON (RFC 8259) into a buffer. Runs in every process.
#include "span.h"

#include <math.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD" // U+FFFD in UTF-8

void json_start(struct json_writer *w, struct buf *out) {
  *w = (struct json_writer){.out = out, .comma = false};
}

// Bytes that can be copied as they are. Zero for what must be escaped and for all that is not ASCII.
static bool plain(unsigned char c) {
  return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

static void add_escape(struct buf *out, unsigned char c) {
  switch (c) {
  case '"': buf_add(out, "\\\"", 2); break;
  case '\\': buf_add(out, "\\\\", 2); break;
  case '\n': buf_add(out, "\\n", 2); break;
  case '\r': buf_add(out, "\\r", 2); break;
  case '\t': buf_add(out, "\\t", 2); break;
  default: {
    char escape[7] = "\\u00";
    hex_encode(&c, 1, escape + 4);
    buf_add(out, escape, 6);
  }
  }
}

static void add_string(struct buf *out, struct span s) {
  const unsigned char *p = (const unsigned char *)s.ptr;
  buf_reserve(out, s.len + 2);
  buf_add_byte(out, '"');
  for (size_t i = 0; i < s.len;) {
    size_t run = i;
    while (run < s.len && plain(p[run]))
      run++;
    if (run > i) {
      buf_add(out, p + i, run - i);
      i = run;
      continue;
    }
    if (p[i] < 0x80) {
      add_escape(out, p[i++]);
      continue;
    }
    size_t len = span__utf8_sequence(p + i, s.len - i);
    if (len)
      buf_add(out, p + i, len);
    else
      buf_add_text(out, REPLACEMENT);
    i += len ? len : 1;
  }
  buf_add_byte(out, '"');
}

// What stands before every value: a comma unless it is the first, and the key.
static void begin(struct json_writer *w, const char *key) {
  if (w->comma) buf_add_byte(w->out, ',');
  w->comma = true;
  if (!key) return;
  add_string(w->out, span_of(key));
  buf_add_byte(w->out, ':');
}

void json_open(struct json_writer *w, const char *key, char bracket) {
  begin(w, key);
  buf_add_byte(w->out, bracket);
  w->comma = false;
}

void json_close(struct json_writer *w, char bracket) {
  buf_add_byte(w->out, bracket);
  w->comma = true;
}

void json_put_text(struct json_writer *w, const char *key, struct span value) {
  begin(w, key);
  if (value.ptr)
    add_string(w->out, value);
  else
    buf_add_text(w->out, "null");
}

void json_put_string(struct json_writer *w, const char *key, const char *value) {
  json_put_text(w, key, span_of(value));
}

void json_put_i64(struct json_writer *w, const char *key, int64_t value) {
  begin(w, key);
  buf_printf(w->out, "%lld", (long long)value);
}

void json_put_u64(struct json_writer *w, const char *key, uint64_t value) {
  begin(w, key);
  buf_printf(w->out, "%llu", (unsigned long long)value);
}

void json_put_double(struct json_writer *w, const char *key, double value, int decimals) {
  begin(w, key);
  // JSON has no word for infinity and not-a-number.
  if (isfinite(value))
    buf_printf(w->out, "%.*f", decimals < 0 ? 0 : decimals, value);
  else
    buf_add_text(w->out, "null");
}

void json_put_bool(struct json_writer *w, const char *key, bool value) {
  begin(w, key);
  buf_add_text(w->out, value ? "true" : "false");
}

void json_put_null(struct json_writer *w, const char *key) {
  begin(w, key);
  buf_add_text(w->out, "null");
}

void json_put_raw(struct json_writer *w, const char *key, struct span json) {
  begin(w, key);
  if (json.len)
    buf_add_span(w->out, json);
  else
    buf_add_text(w->out, "null");
}
