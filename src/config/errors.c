// Errors and warnings of a configuration, gathered one line each so that an operator sees all of them at once. Runs in the master and the
// tools.
#include "config/options.h"

// A file that is none of ours (a program, an archive) would have an error in each line.
enum { LINES_MAX = 100 };

// What is quoted may be anything: a line of it must not look like one of ours, nor steer a terminal.
static void add_clean(struct buf *to, struct span text) {
  bool utf8 = span_utf8(text);
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    if (c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8))
      buf_printf(to, "\\x%02x", c);
    else
      buf_add_byte(to, (char)c);
  }
}

static void add_line(struct buf *to, unsigned number, const char *where, const char *option, const char *fmt, va_list ap) {
  if (number == LINES_MAX) buf_add_text(to, "more of them are not shown; correct these first\n");
  if (number >= LINES_MAX) return;
  struct buf line = {NULL, 0, 0};
  if (where) buf_printf(&line, "%s: ", where);
  if (option) buf_printf(&line, "%s: ", option);
  buf_vprintf(&line, fmt, ap);
  add_clean(to, buf_span(&line));
  buf_add_byte(to, '\n');
  buf_free(&line);
}

void config__error(struct config_errors *errors, const char *where, const char *option, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  add_line(&errors->text, errors->count++, where, option, fmt, ap);
  va_end(ap);
}

void config__warning(struct config_errors *errors, const char *where, const char *option, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  add_line(&errors->warnings, errors->warning_count++, where, option, fmt, ap);
  va_end(ap);
}

struct span config__clip(struct span text) {
  enum { SHOWN_MAX = 160 };
  if (text.len <= SHOWN_MAX) return text;
  text.len = SHOWN_MAX;
  while (text.len && ((unsigned char)text.ptr[text.len] & 0xC0) == 0x80)
    text.len--; // not through the middle of a character
  return text;
}

void config_errors_free(struct config_errors *errors) {
  buf_free(&errors->text);
  buf_free(&errors->warnings);
  config_free(errors->partial);
  *errors = (struct config_errors){.count = 0};
}

void config_place(const struct config *config, enum config_option_id id, struct buf *out) {
  char name[CONFIG__NAME_MAX];
  const char *where = config->origins ? config->origins[id].where : NULL;
  buf_printf(out, "%s%s%s", where ? where : "", where ? ": " : "", config__dotted(id, name));
}
