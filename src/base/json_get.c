// Finding and reading values of a parsed JSON tree. Runs in every process.
#include "wahook/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct json *json_get_span(const struct json *object, struct span key) {
  if (!object || object->type != JSON_OBJECT) return NULL;
  const struct json *found = NULL;
  for (const struct json *child = object->child; child; child = child->next)
    if (span_eq(child->key, key)) found = child;
  return found;
}

static const struct json *get_index(const struct json *array, struct span index) {
  uint64_t i;
  if (span_u64(index, &i)) return NULL;
  const struct json *child = i < array->count ? array->child : NULL;
  while (child && i--)
    child = child->next;
  return child;
}

const struct json *json_path(const struct json *j, const char *path) {
  struct span rest = span_of(path), step;
  while (j && span_split(&rest, '.', &step))
    j = j->type == JSON_ARRAY ? get_index(j, step) : json_get_span(j, step);
  return j;
}

struct span json_text(const struct json *j) {
  return j && (j->type == JSON_STRING || j->type == JSON_NUMBER) ? j->text : (struct span){NULL, 0};
}

bool json_bool(const struct json *j, bool otherwise) {
  if (!j || (j->type != JSON_TRUE && j->type != JSON_FALSE)) return otherwise;
  return j->type == JSON_TRUE;
}

int64_t json_i64(const struct json *j, int64_t otherwise) {
  int64_t value;
  return span_i64(json_text(j), &value) == ERR_OK ? value : otherwise;
}

double json_double(const struct json *j, double otherwise) {
  // strtod wants a NUL behind the number; no sensible number is longer than this.
  char copy[512];
  if (!j || j->type != JSON_NUMBER || span_copy(j->text, copy, sizeof copy)) return otherwise;
  return strtod(copy, NULL);
}
