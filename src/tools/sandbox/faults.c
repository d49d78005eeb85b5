// Faults on demand: reading, showing, and the pair limit's counters. Runs in wahook-sandbox.
#include "tools/sandbox/faults.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum field_type { FIELD_INT, FIELD_RATE, FIELD_SWITCH };

// The one table of faults.
static const struct {
  const char *name;
  enum field_type type;
  size_t offset;
  int64_t max;
} fields[] = {
    {"latency_ms", FIELD_INT, offsetof(struct faults, latency_ms), 600000},
    {"error_code", FIELD_INT, offsetof(struct faults, error_code), INT32_MAX},
    {"http_status", FIELD_INT, offsetof(struct faults, http_status), 599},
    {"error_rate", FIELD_RATE, offsetof(struct faults, error_rate), 0},
    {"pair_limit", FIELD_INT, offsetof(struct faults, pair_limit), 1000000},
    {"drop_rate", FIELD_RATE, offsetof(struct faults, drop_rate), 0},
    {"statuses", FIELD_SWITCH, offsetof(struct faults, statuses), 0},
};

static enum err read_int(const struct json *j, const char *name, int64_t max, int64_t *out, struct why *why) {
  int64_t n = j->type == JSON_NULL || j->type == JSON_FALSE ? 0 : j->type == JSON_TRUE ? 1 : json_i64(j, -1);
  if (n < 0 || n > max) {
    why_set(why, "%s must be a number from 0 to %lld", name, (long long)max);
    return ERR_RANGE;
  }
  *out = n;
  return ERR_OK;
}

static enum err read_rate(const struct json *j, const char *name, double *out, struct why *why) {
  double rate = j->type == JSON_NULL ? 0 : json_double(j, -1);
  if (!(rate >= 0 && rate <= 1)) {
    why_set(why, "%s must be a number from 0 to 1", name);
    return ERR_RANGE;
  }
  *out = rate;
  return ERR_OK;
}

static enum err read_switch(const struct json *j, const char *name, bool *out, struct why *why) {
  struct span text = json_text(j);
  if (j->type == JSON_TRUE || span_eq(text, SPAN("on"))) {
    *out = true;
  } else if (j->type == JSON_FALSE || span_eq(text, SPAN("off"))) {
    *out = false;
  } else {
    why_set(why, "%s must be true, false, \"on\" or \"off\"", name);
    return ERR_FORMAT;
  }
  return ERR_OK;
}

static enum err read_member(const struct json *j, struct faults *faults, struct why *why) {
  for (size_t i = 0; i < COUNT_OF(fields); i++) {
    if (!span_eq(j->key, span_of(fields[i].name))) continue;
    void *at = (char *)faults + fields[i].offset;
    switch (fields[i].type) {
    case FIELD_INT: return read_int(j, fields[i].name, fields[i].max, at, why);
    case FIELD_RATE: return read_rate(j, fields[i].name, at, why);
    case FIELD_SWITCH: return read_switch(j, fields[i].name, at, why);
    }
  }
  why_set(why, "there is no fault \"%.*s\"", SPAN_FMT(j->key));
  return ERR_FORMAT;
}

enum err faults_parse(const struct json *object, bool statuses, struct faults *out, struct why *why) {
  if (!object || object->type != JSON_OBJECT) {
    why_set(why, "faults are a JSON object");
    return ERR_FORMAT;
  }
  struct faults faults = {.statuses = statuses, .error_rate = -1};
  for (const struct json *j = object->child; j; j = j->next) {
    enum err err = read_member(j, &faults, why);
    if (err != ERR_OK) return err;
  }
  if (faults.http_status != 0 && faults.http_status < 400) {
    why_set(why, "http_status must be 400 to 599");
    return ERR_RANGE;
  }
  bool has_error = faults.error_code != 0 || faults.http_status != 0;
  if (faults.error_rate < 0) faults.error_rate = has_error ? 1 : 0;
  if (faults.error_rate > 0 && !has_error) faults.error_code = 131000; // "something went wrong"
  *out = faults;
  return ERR_OK;
}

void faults_write(const struct faults *faults, struct buf *out) {
  struct json_writer w;
  json_start(&w, out);
  json_open(&w, NULL, '{');
  for (size_t i = 0; i < COUNT_OF(fields); i++) {
    const void *at = (const char *)faults + fields[i].offset;
    switch (fields[i].type) {
    case FIELD_INT: json_put_i64(&w, fields[i].name, *(const int64_t *)at); break;
    case FIELD_RATE: json_put_double(&w, fields[i].name, *(const double *)at, 6); break;
    case FIELD_SWITCH: json_put_bool(&w, fields[i].name, *(const bool *)at); break;
    }
  }
  json_close(&w, '}');
}

bool faults_hit(double rate, uint64_t random) {
  return (double)(random >> 11) * 0x1p-53 < rate;
}

struct pair {
  UT_hash_handle hh;
  int64_t window_us;
  int64_t count;
  char key[];
};

bool pair_allow(struct pair_table *table, struct span phone_number_id, struct span user, int64_t limit, int64_t now_us) {
  if (limit <= 0) return true;
  char key[192];
  size_t len = 0;
  if (phone_number_id.len + user.len + 1 > sizeof key) return true; // no such number
  memcpy(key, phone_number_id.ptr, phone_number_id.len);
  len = phone_number_id.len;
  key[len++] = ' ';
  if (user.len > 0) memcpy(key + len, user.ptr, user.len);
  len += user.len;
  struct pair *pair = NULL;
  HASH_FIND(hh, table->pairs, key, len, pair);
  if (!pair) {
    pair = xcalloc(1, sizeof *pair + len);
    memcpy(pair->key, key, len);
    pair->window_us = now_us;
    HASH_ADD_KEYPTR(hh, table->pairs, pair->key, len, pair);
  }
  if (now_us - pair->window_us >= PAIR_WINDOW_US) {
    pair->window_us = now_us;
    pair->count = 0;
  }
  if (pair->count >= limit) return false;
  pair->count++;
  return true;
}

void pair_clear(struct pair_table *table) {
  struct pair *pair, *next;
  HASH_ITER(hh, table->pairs, pair, next) {
    HASH_DEL(table->pairs, pair);
    free(pair);
  }
}
