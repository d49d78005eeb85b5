// One business: made, copied, freed. Runs in workers, the dispatcher and wahookctl, also on pool threads.
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "store.h"

struct business *business_new(void) {
  struct business *b = xcalloc(1, sizeof *b);
#define NEW(field, path, wiped) b->field = xstrdup("");
  BUSINESS_TEXTS(NEW)
#undef NEW
  return b;
}

struct business *business_copy(const struct business *b) {
  struct business *copy = xmalloc(sizeof *copy);
  *copy = *b;
#define COPY(field, path, wiped) copy->field = xstrdup(b->field);
  BUSINESS_TEXTS(COPY)
#undef COPY
  for (unsigned i = 0; i < b->phone_count; i++)
    copy->phone_number_ids[i] = xstrdup(b->phone_number_ids[i]);
  return copy;
}

bool business__settle(struct business *b) {
  b->rate = (struct config_rate){0};
  return !b->rate_limit[0] || config_parse_rate(span_of(b->rate_limit), &b->rate) == ERR_OK;
}

static void free_text(char *text, bool wiped) {
  if (wiped && text) explicit_bzero(text, strlen(text));
  free(text);
}

void business_free(struct business *b) {
  if (!b) return;
#define FREE(field, path, wiped) free_text(b->field, wiped);
  BUSINESS_TEXTS(FREE)
#undef FREE
  for (unsigned i = 0; i < b->phone_count; i++)
    free(b->phone_number_ids[i]);
  free(b);
}

bool business_phone_id_valid(struct span id) {
  if (id.len < 1 || id.len > 32) return false;
  for (size_t i = 0; i < id.len; i++) {
    char c = id.ptr[i];
    bool good = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
    if (!good) return false;
  }
  return true;
}
