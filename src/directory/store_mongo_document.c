// Documents of the `businesses` collection and our struct business, both ways. Runs on pool threads of workers and the dispatcher, and in
// wahookctl.
//
// A document is read by way of its JSON: the same lenient reader then takes what Mongo's export and the collection itself hold.
#include <math.h>
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "store_mongo.h"

#define OID_HEX 24

// ---------------------------------------------------------------- reading

static void project(bson_t *out, const char *path) {
  char name[64];
  ALWAYS(span_copy((struct span){path, strcspn(path, ".")}, name, sizeof name) == ERR_OK);
  if (!bson_has_field(out, name)) BSON_APPEND_INT32(out, name, 1);
}

bson_t *mongo__projection(void) {
  static const char *const others[] = {"whatsappPhoneNumberIds", "whatsappTokenExpiresAt", "whatsappEnabled", "isActive", "createdAt"};
  bson_t *out = bson_new();
#define PROJECT(field, path, wiped) project(out, path);
  BUSINESS_TEXTS(PROJECT)
#undef PROJECT
  for (size_t i = 0; i < COUNT_OF(others); i++)
    project(out, others[i]);
  return out;
}

// As the shell shows it, {"_id": …}; cut off where it is long.
static void tell_unread(const bson_t *document, const char *reason) {
  bson_t id = BSON_INITIALIZER;
  bson_iter_t it;
  if (bson_iter_init_find(&it, document, "_id")) BSON_APPEND_VALUE(&id, "_id", bson_iter_value(&it));
  char *text = bson_as_relaxed_extended_json(&id, NULL);
  log_warning("directory", "MongoDB: the document %.200s of " MONGO_COLLECTION " is passed over: %s",
              text ? text : "(its _id is not UTF-8 either)", reason);
  bson_free(text);
  bson_destroy(&id);
}

struct business *mongo__business(const bson_t *document) {
  size_t len = 0;
  char *text = bson_as_relaxed_extended_json(document, &len);
  struct arena arena;
  const struct json *json;
  struct business *b = NULL;
  struct why why;
  arena_init(&arena, 4096, 0);
  enum err e = text ? json_parse(&arena, (struct span){text, len}, NULL, &json, NULL) : ERR_FORMAT;
  if (e == ERR_TOO_LARGE)
    tell_unread(document, "a field that wahookd reads is nested too deep; keep in it only what wahookd knows");
  else if (e)
    tell_unread(document, "a text in it is not UTF-8; write that anew");
  else if (store__business(json, true, &b, &why) != ERR_OK)
    tell_unread(document, "its _id is no text, number or ObjectId; insert it anew under one of these");
  arena_free(&arena);
  if (text) explicit_bzero(text, len); // it has the tokens
  bson_free(text);
  return b;
}

// ---------------------------------------------------------------- conditions

void mongo__fraction_text(double fraction, char out[static MONGO_FRACTION_TEXT]) {
  int len = snprintf(out, MONGO_FRACTION_TEXT, "%.20g", fraction);
  if (strspn(out, "-0123456789") == (size_t)len) snprintf(out + len, MONGO_FRACTION_TEXT - (size_t)len, ".0");
}

static bool is_fraction(const char *text, double *out) {
  char same[MONGO_FRACTION_TEXT], *end;
  *out = strtod(text, &end);
  if (end == text || *end || !isfinite(*out)) return false;
  mongo__fraction_text(*out, same);
  return strcmp(same, text) == 0;
}

// What else than a text may be read as this id: an ObjectId, or a number that is written so.
static bool other_form(const char *text, bson_value_t *out) {
  char same[24];
  *out = (bson_value_t){.value_type = BSON_TYPE_EOD};
  if (strlen(text) == OID_HEX && bson_oid_is_valid(text, OID_HEX)) {
    out->value_type = BSON_TYPE_OID;
    bson_oid_init_from_string(&out->value.v_oid, text);
  } else if (span_i64(span_of(text), &out->value.v_int64) == ERR_OK) {
    snprintf(same, sizeof same, "%lld", (long long)out->value.v_int64);
    if (strcmp(same, text) == 0) out->value_type = BSON_TYPE_INT64;
  } else if (is_fraction(text, &out->value.v_double)) {
    out->value_type = BSON_TYPE_DOUBLE;
  }
  return out->value_type != BSON_TYPE_EOD;
}

void mongo__match_id(bson_t *filter, const char *key, const char *text) {
  bson_t in, list;
  bson_value_t other;
  BSON_APPEND_DOCUMENT_BEGIN(filter, key, &in);
  BSON_APPEND_ARRAY_BEGIN(&in, "$in", &list);
  BSON_APPEND_UTF8(&list, "0", text);
  if (other_form(text, &other)) BSON_APPEND_VALUE(&list, "1", &other);
  bson_append_array_end(&in, &list);
  bson_append_document_end(filter, &in);
}

// One that is there keeps its type. What is new becomes an ObjectId where it can be one ($setOnInsert), and else a text.
void mongo__match_new_id(bson_t *filter, const char *id) {
  bson_value_t other;
  if (other_form(id, &other))
    mongo__match_id(filter, "_id", id);
  else
    BSON_APPEND_UTF8(filter, "_id", id);
}

// ---------------------------------------------------------------- writing

static void set_date(bson_t *set, bson_t *unset, const char *key, int64_t ms) {
  if (ms)
    BSON_APPEND_DATE_TIME(set, key, ms);
  else
    BSON_APPEND_INT32(unset, key, 1);
}

// By its path, so that what others keep in the same sub-document stays there.
static void set_path(const bson_t *document, const char *path, bson_t *set, bson_t *unset) {
  bson_iter_t it, value;
  ALWAYS(bson_iter_init(&it, document));
  if (bson_iter_find_descendant(&it, path, &value))
    BSON_APPEND_VALUE(set, path, bson_iter_value(&value));
  else
    BSON_APPEND_INT32(unset, path, 1);
}

// From the JSON of the business: all but its id and the dates, which are dates in the collection.
static void fill(const bson_t *document, const struct business *b, bson_t *set, bson_t *unset) {
  static const char *const others[] = {"whatsappPhoneNumberIds", "whatsappEnabled", "isActive"};
#define SET(field, path, wiped)                                                                                                            \
  if (strcmp(path, "_id") != 0) set_path(document, path, set, unset);
  BUSINESS_TEXTS(SET)
#undef SET
  for (size_t i = 0; i < COUNT_OF(others); i++)
    set_path(document, others[i], set, unset);
  set_date(set, unset, "whatsappTokenExpiresAt", b->token_expires_ms);
  set_date(set, unset, "createdAt", b->created_ms);
}

void mongo__touch(bson_t *update) {
  bson_t now;
  BSON_APPEND_DOCUMENT_BEGIN(update, "$currentDate", &now);
  BSON_APPEND_BOOL(&now, "updatedAt", true);
  bson_append_document_end(update, &now);
}

static void insert_id(bson_t *update, const char *id) {
  bson_t insert;
  bson_value_t other;
  if (!other_form(id, &other)) return; // the filter says it
  BSON_APPEND_DOCUMENT_BEGIN(update, "$setOnInsert", &insert);
  if (other.value_type == BSON_TYPE_OID)
    BSON_APPEND_VALUE(&insert, "_id", &other);
  else
    BSON_APPEND_UTF8(&insert, "_id", id);
  bson_append_document_end(update, &insert);
}

enum err mongo__update(const struct business *b, bson_t *update, struct why *why) {
  struct buf text = {0};
  struct json_writer w;
  bson_error_t error;
  json_start(&w, &text);
  business_to_json(b, &w, NULL);
  bson_t *document = bson_new_from_json((const uint8_t *)text.data, (ssize_t)text.len, &error);
  explicit_bzero(text.data, text.cap);
  buf_free(&text);
  if (!document) {
    why_set(why, "MongoDB: the business \"%.60s\" makes no document", b->id);
    return ERR_FORMAT;
  }
  bson_t set = BSON_INITIALIZER, unset = BSON_INITIALIZER;
  fill(document, b, &set, &unset);
  BSON_APPEND_DOCUMENT(update, "$set", &set);
  if (!bson_empty(&unset)) BSON_APPEND_DOCUMENT(update, "$unset", &unset);
  mongo__touch(update);
  insert_id(update, b->id);
  bson_destroy(&set);
  bson_destroy(&unset);
  bson_destroy(document);
  return ERR_OK;
}
