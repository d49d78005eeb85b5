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

enum err business_settle(struct business *b, struct why *why) {
  enum err e = ERR_OK;
  b->rate = (struct config_rate){0};
  if (b->rate_limit[0] && config_parse_rate(span_of(b->rate_limit), &b->rate)) {
    e = ERR_FORMAT;
    if (why) why_set(why, "rateLimit: \"%.60s\" is no rate (write \"100/minute\", \"5 per 10 seconds\" or \"off\")", b->rate_limit);
  }
  int64_t ms = 0;
  b->retention_ms = 0;
  if (!b->retention[0]) return e;
  if (!config_parse_duration(span_of(b->retention), &ms) && ms >= BUSINESS_RETENTION_MIN_MS && ms <= BUSINESS_RETENTION_MAX_MS) {
    b->retention_ms = ms;
    return e;
  }
  if (why)
    why_set(why, "retention: \"%.60s\" is no duration from 1s to %lldd (write \"12h\", \"90d\" or plain seconds)", b->retention,
            (long long)(BUSINESS_RETENTION_MAX_MS / 86400000));
  return ERR_FORMAT;
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
  static const bool good[256] = {['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['_'] = true, ['-'] = true};
  for (size_t i = 0; i < id.len; i++)
    if (!good[(unsigned char)id.ptr[i]]) return false;
  return true;
}
