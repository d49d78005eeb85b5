// Makes text from outside harmless inside a log line. Runs in every process.
#include "log/sink.h"

// Length of the valid UTF-8 sequence at s (RFC 3629 section 4), 0 when there is none; *cp is its code point.
static size_t utf8_at(const unsigned char *s, size_t len, uint32_t *cp) {
  if (s[0] < 0x80) {
    *cp = s[0];
    return 1;
  }
  size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (s[0] < 0xc2 || s[0] > 0xf4 || len < n) return 0;
  uint32_t c = s[0] & (0x7fu >> n);
  for (size_t i = 1; i < n; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (s[i] & 0x3f);
  }
  if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
  *cp = c;
  return n;
}

// C0, DEL and C1 command terminals; line and paragraph separators end lines; bidirectional controls disguise what is written.
static bool is_harmful(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void log__escape(struct buf *out, struct span text, size_t max, bool quoted) {
  const unsigned char *s = (const unsigned char *)text.ptr;
  size_t i = 0;
  while (i < text.len && i < max) {
    uint32_t c = 0;
    size_t n = utf8_at(s + i, text.len - i, &c);
    if (n == 0) {
      buf_printf(out, "\\x%02x", s[i]);
      n = 1;
    } else if (c == '\n') {
      buf_add_text(out, "\\n");
    } else if (c == '\r') {
      buf_add_text(out, "\\r");
    } else if (c == '\t') {
      buf_add_text(out, "\\t");
    } else if (is_harmful(c)) {
      buf_printf(out, c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
    } else {
      if (quoted && (c == '"' || c == '\\')) buf_add_byte(out, '\\');
      buf_add(out, text.ptr + i, n);
    }
    i += n;
  }
  if (i < text.len) buf_add_text(out, "...");
}
