// The names and texts of the one list of errors. Runs in every process.
#include "wahook/base.h"

#include <stdio.h>

// Names are written in capitals in the list; people and metrics read them in small letters.
#define ERR_UPPER(name, text) #name,
static const char *const upper_names[] = {ERR_LIST(ERR_UPPER)};
#define ERR_TEXT(name, text) text,
static const char *const texts[] = {ERR_LIST(ERR_TEXT)};

// Lower-cased once, before main() and so before any thread can ask.
static char names[ERR_COUNT][24];

__attribute__((constructor)) static void fill_names(void) {
  for (size_t i = 0; i < ERR_COUNT; i++) {
    size_t n = 0;
    for (const char *p = upper_names[i]; *p && n + 1 < sizeof names[i]; p++, n++)
      names[i][n] = (char)(*p >= 'A' && *p <= 'Z' ? *p + ('a' - 'A') : *p);
    names[i][n] = '\0';
  }
}

const char *err_name(enum err e) {
  return (unsigned)e < ERR_COUNT ? names[e] : "unknown";
}

const char *err_text(enum err e) {
  return (unsigned)e < ERR_COUNT ? texts[e] : "unknown error";
}

void why_set(struct why *why, const char *fmt, ...) {
  if (!why) return;
  // Through a local buffer: the new sentence may quote the old one.
  char text[sizeof why->text];
  va_list ap;
  va_start(ap, fmt);
  int n = vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  if (n < 0) text[0] = '\0';
  for (size_t i = 0; i < sizeof text; i++) {
    why->text[i] = text[i];
    if (!text[i]) break;
  }
}
