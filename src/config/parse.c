// Reads our TOML-shaped file: [section], key = value; "..." and '...' strings, bare words, arrays over lines, comments. Written here
// because a TOML library stops at the first error and forgets the lines, and an operator wants all errors at once, each with its line. Runs
// in the master and the tools.
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

struct parser {
  const char *at, *end;
  unsigned line;
  const char *file;
  struct arena *arena;
  struct config_errors *errors;
  struct span section;
  bool section_unknown; // its keys are not reported one by one
  void (*on_item)(void *ctx, const struct config__item *item);
  void *ctx;
};

// Values of one array at most: a list of proxies or secrets is far below.
enum { VALUES_MAX = 1024 };

static void complain(struct parser *p, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void complain(struct parser *p, unsigned line, const char *fmt, ...) {
  struct why text, where;
  va_list ap;
  va_start(ap, fmt);
  struct buf b = {NULL, 0, 0};
  buf_vprintf(&b, fmt, ap);
  va_end(ap);
  why_set(&text, "%s", b.data);
  buf_free(&b);
  why_set(&where, "%s:%u", p->file, line);
  config__error(p->errors, where.text, NULL, "%s", text.text);
}

static bool at_end(const struct parser *p) {
  return p->at == p->end;
}

static bool at_eol(const struct parser *p) {
  return at_end(p) || *p->at == '\n' || (*p->at == '\r' && p->at + 1 < p->end && p->at[1] == '\n');
}

static void skip_blanks(struct parser *p) {
  while (!at_end(p) && (*p->at == ' ' || *p->at == '\t'))
    p->at++;
}

static void skip_line(struct parser *p) {
  while (!at_end(p) && *p->at != '\n')
    p->at++;
  if (at_end(p)) return;
  p->at++;
  p->line++;
}

// Blanks, comments and line ends.
static void skip_space(struct parser *p) {
  for (;;) {
    skip_blanks(p);
    if (at_end(p)) return;
    if (*p->at != '#' && !at_eol(p)) return;
    skip_line(p);
  }
}

static bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static struct span cut_name(struct parser *p) {
  const char *from = p->at;
  while (!at_end(p) && is_name_char(*p->at))
    p->at++;
  return (struct span){from, (size_t)(p->at - from)};
}

// Nothing but a comment may follow; the line is left behind.
static bool end_line(struct parser *p, const char *after) {
  skip_blanks(p);
  bool clean = at_eol(p) || *p->at == '#';
  if (!clean) complain(p, p->line, "unexpected text after %s (put values with spaces in quotes, comments behind '#')", after);
  skip_line(p);
  return clean;
}

// ---------------------------------------------------------------- strings

static void add_utf8(struct buf *out, unsigned code) {
  if (code < 0x80) {
    buf_add_byte(out, (char)code);
  } else if (code < 0x800) {
    buf_add_byte(out, (char)(0xC0 | code >> 6));
    buf_add_byte(out, (char)(0x80 | (code & 0x3F)));
  } else {
    buf_add_byte(out, (char)(0xE0 | code >> 12));
    buf_add_byte(out, (char)(0x80 | (code >> 6 & 0x3F)));
    buf_add_byte(out, (char)(0x80 | (code & 0x3F)));
  }
}

static bool cut_unicode_escape(struct parser *p, struct buf *out) {
  uint8_t code[2];
  if (p->end - p->at < 4 || hex_decode((struct span){p->at, 4}, code, 2)) return false;
  unsigned value = (unsigned)code[0] << 8 | code[1];
  if (value == 0 || (value >= 0xD800 && value <= 0xDFFF)) return false; // NUL and surrogates are no characters
  add_utf8(out, value);
  p->at += 4;
  return true;
}

static bool cut_escape(struct parser *p, struct buf *out) {
  static const char letters[] = "\"\\nrtbf", meanings[] = "\"\\\n\r\t\b\f";
  if (at_end(p)) return false;
  char c = *p->at++;
  if (c == 'u') return cut_unicode_escape(p, out);
  const char *found = c ? strchr(letters, c) : NULL;
  if (found) buf_add_byte(out, meanings[found - letters]);
  return found;
}

// "..." with escapes or '...' as it stands; both on one line.
static bool cut_string(struct parser *p, struct span *value) {
  char quote = *p->at++;
  struct buf text = {NULL, 0, 0};
  bool ok = false;
  if (p->end - p->at >= 2 && p->at[0] == quote && p->at[1] == quote) {
    complain(p, p->line, "strings over several lines are not supported (write \\n in a \"...\" string)");
    return false;
  }
  while (!at_eol(p) && *p->at != quote) {
    if (*p->at != '\\' || quote == '\'') {
      buf_add_byte(&text, *p->at++);
      continue;
    }
    p->at++;
    if (!cut_escape(p, &text)) {
      complain(p, p->line, "unknown escape in a string (known: \\\" \\\\ \\n \\r \\t \\b \\f \\uXXXX; or use '...', which has none)");
      goto out;
    }
  }
  if (at_eol(p)) {
    complain(p, p->line, "the string is not closed (%c is missing at its end)", quote);
    goto out;
  }
  p->at++;
  *value = arena_copy(p->arena, buf_span(&text));
  ok = true;
out:
  buf_free(&text);
  return ok;
}

static bool cut_scalar(struct parser *p, struct span *value, bool *bare) {
  *bare = *p->at != '"' && *p->at != '\'';
  if (!*bare) return cut_string(p, value);
  const char *from = p->at;
  while (!at_eol(p) && !strchr(" \t,]#\"'=[", *p->at))
    p->at++;
  *value = (struct span){from, (size_t)(p->at - from)};
  if (value->len) return true;
  complain(p, p->line, "a value is missing (write key = value; \"\" for an empty text)");
  return false;
}

// ---------------------------------------------------------------- arrays

// Whether a line begins like a new entry: then an array before it was never closed.
static bool looks_like_entry(const struct parser *p) {
  struct parser look = *p;
  skip_blanks(&look);
  if (!at_end(&look) && *look.at == '[') return true;
  if (!cut_name(&look).len) return false;
  skip_blanks(&look);
  return !at_end(&look) && *look.at == '=';
}

// After an error in an array: go on behind its end, so that its other lines are not taken for entries.
static void skip_array(struct parser *p, unsigned first_line) {
  if (p->line != first_line && looks_like_entry(p)) return;
  for (;;) {
    while (!at_eol(p) && *p->at != ']')
      p->at++;
    bool closed = !at_end(p) && *p->at == ']';
    skip_line(p);
    if (closed || at_end(p) || looks_like_entry(p)) return;
  }
}

// Leaves the parser behind the ']'.
static bool cut_array(struct parser *p, struct span *values, size_t *count) {
  unsigned first_line = p->line;
  *count = 0;
  p->at++;
  for (;;) {
    bool bare;
    skip_space(p);
    if (at_end(p) || (p->line != first_line && looks_like_entry(p))) {
      complain(p, first_line, "the list is not closed (']' is missing)");
      return false;
    }
    if (*p->at == ']') break;
    if (*count == VALUES_MAX) {
      complain(p, p->line, "a list has at most %d values", (int)VALUES_MAX);
      return false;
    }
    if (!cut_scalar(p, &values[*count], &bare)) return false;
    ++*count;
    skip_space(p);
    if (!at_end(p) && *p->at == ',')
      p->at++;
    else if (!at_end(p) && *p->at != ']' && !(p->line != first_line && looks_like_entry(p))) {
      complain(p, p->line, "a ',' is missing between two values of a list");
      return false;
    }
  }
  p->at++;
  return true;
}

bool config__parse_array(struct span text, struct arena *arena, const struct span **values, size_t *count) {
  struct config_errors ignored = {.count = 0};
  struct parser p = {.at = text.ptr, .end = text.ptr + text.len, .line = 1, .file = "", .arena = arena, .errors = &ignored};
  struct span *list = arena_alloc(arena, VALUES_MAX * sizeof *list);
  size_t found = 0;
  bool ok = text.len && *p.at == '[' && cut_array(&p, list, &found);
  if (ok) skip_blanks(&p);
  ok = ok && at_end(&p);
  config_errors_free(&ignored);
  if (!ok) return false;
  *values = list;
  *count = found;
  return true;
}

// ---------------------------------------------------------------- lines

static void suggest_section(struct parser *p, struct span name) {
  struct config__suggestion s;
  config__suggest_start(&s, name);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    config__suggest_offer(&s, config__options[id].section);
  const char *best = config__suggest_best(&s);
  if (best)
    complain(p, p->line, "unknown section [%.*s] (did you mean [%s]?)", SPAN_FMT(name), best);
  else
    complain(p, p->line, "unknown section [%.*s] (wahookd.conf(5) lists all sections)", SPAN_FMT(name));
}

static void read_section(struct parser *p) {
  p->at++;
  skip_blanks(p);
  struct span name = cut_name(p);
  skip_blanks(p);
  p->section = name;
  p->section_unknown = true;
  if (at_eol(p) || *p->at != ']' || !name.len) {
    complain(p, p->line, "a section is written [name]");
    skip_line(p);
    return;
  }
  p->at++;
  p->section_unknown = !config__section_exists(name);
  if (p->section_unknown) suggest_section(p, name);
  (void)end_line(p, "a section");
}

static void read_entry(struct parser *p, struct span *values) {
  struct config__item item = {.section = p->section, .line = p->line, .values = values, .count = 1};
  item.key = cut_name(p);
  skip_blanks(p);
  if (!item.key.len || at_eol(p) || *p->at != '=') {
    complain(p, p->line, "expected [section], key = value or a # comment");
    skip_line(p);
    return;
  }
  p->at++;
  skip_blanks(p);
  if (!at_eol(p) && *p->at == '[') {
    item.array = true;
    if (!cut_array(p, values, &item.count)) {
      skip_array(p, item.line);
      return;
    }
  } else if (!cut_scalar(p, &values[0], &item.bare)) {
    skip_line(p);
    return;
  }
  if (!end_line(p, "the value") || p->section_unknown) return;
  if (!item.section.ptr) {
    complain(p, item.line, "%.*s stands before the first [section]", SPAN_FMT(item.key));
    return;
  }
  p->on_item(p->ctx, &item);
}

// NUL or bytes that are no UTF-8, with their line: they would hide in messages otherwise.
static bool readable(struct parser *p, struct span text) {
  unsigned line = 1;
  for (struct span rest = text, head; rest.len && span_split(&rest, '\n', &head); line++) {
    if (span_utf8(head) && !(head.len && memchr(head.ptr, '\0', head.len))) continue;
    complain(p, line, "not a text in UTF-8 (convert the file, or remove the odd bytes)");
    return false;
  }
  return true;
}

void config__parse(struct span text, const char *file, struct arena *arena, struct config_errors *errors,
                   void (*on_item)(void *ctx, const struct config__item *item), void *ctx) {
  if (span_starts(text, SPAN("\xEF\xBB\xBF"))) text = span_from(text, 3);
  struct parser p = {.at = text.ptr,
                     .end = text.ptr + text.len,
                     .line = 1,
                     .file = file,
                     .arena = arena,
                     .errors = errors,
                     .on_item = on_item,
                     .ctx = ctx};
  if (!readable(&p, text)) return;
  struct span *values = xcalloc(VALUES_MAX, sizeof *values);
  for (;;) {
    skip_space(&p);
    if (at_end(&p)) break;
    if (*p.at == '[')
      read_section(&p);
    else
      read_entry(&p, values);
  }
  free(values);
}
