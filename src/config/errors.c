// Errors and warnings of a configuration, gathered one line each so that an operator sees all of them at once. Runs in the master and the
// tools.
#include "config/options.h"

static void add_line(struct buf *to, const char *where, const char *option, const char *fmt, va_list ap) {
  if (where) buf_printf(to, "%s: ", where);
  if (option) buf_printf(to, "%s: ", option);
  buf_vprintf(to, fmt, ap);
  buf_add_byte(to, '\n');
}

void config__error(struct config_errors *errors, const char *where, const char *option, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  add_line(&errors->text, where, option, fmt, ap);
  va_end(ap);
  errors->count++;
}

void config__warning(struct config_errors *errors, const char *where, const char *option, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  add_line(&errors->warnings, where, option, fmt, ap);
  va_end(ap);
  errors->warning_count++;
}

void config_errors_free(struct config_errors *errors) {
  buf_free(&errors->text);
  buf_free(&errors->warnings);
  config_free(errors->partial);
  *errors = (struct config_errors){.count = 0};
}
