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
  bool muted;           // this line has been told already
  unsigned *lines;      // of an array's values; NULL when nobody asks
  void (*on_item)(void *ctx, const struct config__item *item);
  void *ctx;
};

// Values of one array at most: a list of proxies or secrets is far below.
enum { VALUES_MAX = 1024 };

static void complain(struct parser *p, unsigned line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void complain(struct parser *p, unsigned line, const char *fmt, ...) {
  struct buf text = {NULL, 0, 0}, where = {NULL, 0, 0};
  va_list ap;
  if (p->muted) return;
  va_start(ap, fmt);
  buf_vprintf(&text, fmt, ap);
  va_end(ap);
  buf_printf(&where, "%s:%u", p->file, line);
  config__error(p->errors, where.data, NULL, "%s", text.data);
  buf_free(&text);
  buf_free(&where);
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
static bool end_line(struct parser *p, const char *after, const char *advice) {
  skip_blanks(p);
  bool clean = at_eol(p) || *p->at == '#';
  if (!clean) complain(p, p->line, "unexpected text after %s (%s)", after, advice);
  skip_line(p);
  return clean;
}

// UTF-8 without control characters but tabs: others hide in an editor, and in our messages.
static bool is_plain(struct span text) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    if ((c < 0x20 && c != '\t') || c == 0x7F) return false;
  }
  return span_utf8(text);
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

// TOML's long strings: their other lines are no entries. Begins behind the first quote.
static void skip_long_string(struct parser *p, char quote) {
  const char three[] = {quote, quote, quote};
  const char *from = p->at + 2, *end = memmem(from, (size_t)(p->end - from), three, sizeof three);
  if (!end) return;
  for (; p->at < end; p->at++)
    p->line += *p->at == '\n';
}

// "..." with escapes or '...' as it stands; both on one line.
static bool cut_string(struct parser *p, struct span *value) {
  char quote = *p->at++;
  const char *from = p->at;
  struct buf text = {NULL, 0, 0};
  bool ok = false;
  if (p->end - p->at >= 2 && p->at[0] == quote && p->at[1] == quote) {
    complain(p, p->line, "strings over several lines are not supported (write \\n in a \"...\" string)");
    skip_long_string(p, quote);
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
  ok = is_plain((struct span){from, (size_t)(p->at - 1 - from)}); // else its line has been told
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
  bool ascii = true;
  for (size_t i = 0; i < value->len; i++)
    ascii &= (unsigned char)value->ptr[i] < 0x80;
  if (!value->len)
    complain(p, p->line, "a value is missing (write key = value; \"\" for an empty text)");
  else if (!ascii && is_plain(*value))
    complain(p, p->line, "odd characters in a value without quotes (a typographic quote or blank? write texts as \"...\")");
  return value->len && ascii && is_plain(*value);
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
      complain(p, p->line, "a list has at most %d values (remove some)", (int)VALUES_MAX);
      return false;
    }
    if (p->lines) p->lines[*count] = p->line;
    if (!cut_scalar(p, &values[*count], &bare)) return false;
    ++*count;
    skip_space(p);
    if (!at_end(p) && *p->at == ',')
      p->at++;
    else if (!at_end(p) && *p->at != ']' && !(p->line != first_line && looks_like_entry(p))) {
      complain(p, p->line, "a ',' is missing between two values of a list (write [\"a\", \"b\"])");
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

// The keys below a heading with a slip in it are judged as those of the section that was meant.
static void suggest_section(struct parser *p, struct span name) {
  struct config__suggestion s;
  config__suggest_start(&s, name);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    config__suggest_offer(&s, config__options[id].section);
  const char *best = config__suggest_best(&s);
  for (enum config_option_id id = 0; best && id < OPT_COUNT; id++)
    if (strcmp(best, config__options[id].section) == 0) p->section = span_of(config__options[id].section);
  p->section_unknown = !best;
  if (best)
    complain(p, p->line, "unknown section [" CONFIG__SHOWN "] (did you mean [%s]?)", CONFIG__SHOW(name), best);
  else
    complain(p, p->line, "unknown section [" CONFIG__SHOWN "] (wahookd.conf(5) lists all sections)", CONFIG__SHOW(name));
}

static void read_section(struct parser *p) {
  p->at++;
  bool twice = !at_eol(p) && *p->at == '['; // TOML's array of tables
  if (twice) p->at++;
  skip_blanks(p);
  struct span name = cut_name(p);
  skip_blanks(p);
  p->section = name;
  p->section_unknown = !config__section_exists(name);
  if (twice || at_eol(p) || *p->at != ']' || !name.len) {
    complain(p, p->line, "this is no section (write [name] on a line of its own)");
    skip_line(p);
    return;
  }
  p->at++;
  if (p->section_unknown) suggest_section(p, name);
  (void)end_line(p, "a section", "write [name] on a line of its own, comments behind '#'");
}

// What stands where an option should.
static void complain_about_entry(struct parser *p, struct span key) {
  if (key.len && !at_eol(p) && *p->at == '.')
    complain(p, p->line, "a name with a dot (write [" CONFIG__SHOWN "] on a line of its own, and the option below it)", CONFIG__SHOW(key));
  else if (key.len)
    complain(p, p->line, "'=' is missing (write " CONFIG__SHOWN " = value)", CONFIG__SHOW(key));
  else
    complain(p, p->line, "neither a section nor an option (write [section], key = value or a # comment)");
}

static void complain_about_place(struct parser *p, const struct config__item *item) {
  const char *section = config__options[0].section;
  for (enum config_option_id id = OPT_COUNT; id-- > 0;)
    if (span_eq(item->key, span_of(config__options[id].key))) section = config__options[id].section;
  complain(p, item->line, CONFIG__SHOWN " stands before the first [section] (write [%s] above it)", CONFIG__SHOW(item->key), section);
}

static void read_entry(struct parser *p, struct span *values) {
  struct config__item item = {.section = p->section, .line = p->line, .values = values, .lines = p->lines, .count = 1};
  item.key = cut_name(p);
  skip_blanks(p);
  if (!item.key.len || at_eol(p) || *p->at != '=') {
    complain_about_entry(p, item.key);
    skip_line(p);
    return;
  }
  p->at++;
  skip_blanks(p);
  p->lines[0] = p->line;
  item.array = !at_eol(p) && *p->at == '[';
  bool good = item.array ? cut_array(p, values, &item.count) : cut_scalar(p, &values[0], &item.bare);
  if (good)
    good = end_line(p, "the value", "put values with spaces in quotes, comments behind '#'");
  else if (item.array)
    skip_array(p, item.line);
  else
    skip_line(p);
  item.broken = !good || p->muted;
  if (p->section_unknown) return;
  if (item.section.ptr)
    p->on_item(p->ctx, &item);
  else
    complain_about_place(p, &item);
}

// ---------------------------------------------------------------- the file

// Complains about each line that is no plain text; a file with zero bytes is none at all.
static bool check_lines(struct parser *p, struct span text) {
  unsigned line = 1;
  for (struct span rest = text, head; rest.len && span_split(&rest, '\n', &head); line++) {
    if (rest.ptr && head.len && head.ptr[head.len - 1] == '\r') head.len--;
    if (is_plain(head)) continue;
    if (memchr(head.ptr, '\0', head.len)) {
      complain(p, line, "a zero byte: this is not a text (save the file as UTF-8)");
      return false;
    }
    if (!span_utf8(head))
      complain(p, line, "not a text in UTF-8 (save the file as UTF-8, or remove the odd bytes)");
    else if (memchr(head.ptr, '\r', head.len))
      complain(p, line, "a carriage return inside of the line (end lines with \\n or \\r\\n)");
    else
      complain(p, line, "a control character (remove it; in a \"...\" string it is written \\uXXXX)");
  }
  return true;
}

static bool line_is_plain(const struct parser *p) {
  struct parser end = *p;
  while (!at_eol(&end))
    end.at++;
  return is_plain((struct span){p->at, (size_t)(end.at - p->at)});
}

bool config__parse(struct span text, const char *file, struct arena *arena, struct config_errors *errors,
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
  if (!check_lines(&p, text)) return false;
  struct span *values = xcalloc(VALUES_MAX, sizeof *values);
  p.lines = xcalloc(VALUES_MAX, sizeof *p.lines);
  for (;;) {
    skip_space(&p);
    if (at_end(&p)) break;
    p.muted = !line_is_plain(&p);
    if (*p.at == '[')
      read_section(&p);
    else
      read_entry(&p, values);
    p.muted = false;
  }
  free(values);
  free(p.lines);
  return true;
}
