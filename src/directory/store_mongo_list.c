// Many businesses of MongoDB: pages for an operator, the newest ones for a warm-up, counts. Runs on pool threads of workers and the
// dispatcher, and in wahookctl.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"

#include <uthash.h>

#define LIST_MS 4000

struct claimed {
  char *phone;
  UT_hash_handle hh;
};
struct listing {
  enum store_which which; // of the active ones, each number only with the first one that has it
  struct buf *position;   // may be NULL
  store_on_business *on_business;
  void *ctx;
  unsigned read, told; // documents of the last query, businesses of all
  struct claimed *claimed;
};

static bool claim(struct listing *l, const char *phone) {
  struct claimed *c;
  HASH_FIND_STR(l->claimed, phone, c);
  if (c) return false;
  c = xcalloc(1, sizeof *c);
  c->phone = xstrdup(phone);
  HASH_ADD_KEYPTR(hh, l->claimed, c->phone, strlen(c->phone), c);
  return true;
}

static void forget_claims(struct listing *l) {
  struct claimed *c, *next;
  HASH_ITER(hh, l->claimed, c, next) {
    HASH_DEL(l->claimed, c);
    free(c->phone);
    free(c);
  }
}

// ---------------------------------------------------------------- positions

// A position is a document {_id: …}, the last one that was read, as BSON. The server sorts ids of all types, but a condition such as $gt
// matches only those of the type that it names: whole types come behind it. Here are all that an id may have, in the server's order.
static const struct {
  const char *name;
  bson_type_t types[4]; // that are compared with each other
} in_order[] = {
    {"minKey", {BSON_TYPE_MINKEY}},
    {"null", {BSON_TYPE_NULL}},
    {"number", {BSON_TYPE_INT32, BSON_TYPE_INT64, BSON_TYPE_DOUBLE, BSON_TYPE_DECIMAL128}},
    {"string", {BSON_TYPE_UTF8, BSON_TYPE_SYMBOL}},
    {"object", {BSON_TYPE_DOCUMENT}},
    {"binData", {BSON_TYPE_BINARY}},
    {"objectId", {BSON_TYPE_OID}},
    {"bool", {BSON_TYPE_BOOL}},
    {"date", {BSON_TYPE_DATE_TIME}},
    {"timestamp", {BSON_TYPE_TIMESTAMP}},
    {"javascript", {BSON_TYPE_CODE}},
    {"javascriptWithScope", {BSON_TYPE_CODEWSCOPE}},
    {"maxKey", {BSON_TYPE_MAXKEY}},
};

static size_t place_of(bson_type_t type) {
  size_t i = 0;
  for (; i < COUNT_OF(in_order); i++)
    for (size_t t = 0; t < COUNT_OF(in_order[i].types); t++)
      if (in_order[i].types[t] == type) return i;
  return i;
}

static void add_alternative(bson_t *any, const char *key, const bson_t *condition) {
  bson_t one = BSON_INITIALIZER;
  BSON_APPEND_DOCUMENT(&one, "_id", condition);
  BSON_APPEND_DOCUMENT(any, key, &one);
  bson_destroy(&one);
}

static void behind_filter(bson_t *filter, const struct buf *position) {
  bson_t last, any, types, behind = BSON_INITIALIZER, of_types = BSON_INITIALIZER;
  bson_iter_t id;
  char key[8];
  if (!position->len) return;
  ALWAYS(bson_init_static(&last, (const uint8_t *)position->data, position->len) && bson_iter_init_find(&id, &last, "_id"));
  BSON_APPEND_VALUE(&behind, "$gt", bson_iter_value(&id));
  BSON_APPEND_ARRAY_BEGIN(&of_types, "$type", &types);
  size_t first = place_of(bson_iter_type(&id)) + 1;
  for (size_t i = first; i < COUNT_OF(in_order); i++) {
    snprintf(key, sizeof key, "%zu", i - first);
    BSON_APPEND_UTF8(&types, key, in_order[i].name);
  }
  bson_append_array_end(&of_types, &types);
  BSON_APPEND_ARRAY_BEGIN(filter, "$or", &any);
  add_alternative(&any, "0", &behind);
  if (first < COUNT_OF(in_order)) add_alternative(&any, "1", &of_types); // the server refuses an empty list
  bson_append_array_end(filter, &any);
  bson_destroy(&behind);
  bson_destroy(&of_types);
}

// False: it has no id (of a view), behind which nobody can go on.
static bool keep_position(struct buf *position, const bson_t *document) {
  bson_t id = BSON_INITIALIZER;
  bson_iter_t it;
  if (!bson_iter_init_find(&it, document, "_id")) return false;
  BSON_APPEND_VALUE(&id, "_id", bson_iter_value(&it));
  buf_clear(position);
  buf_add(position, bson_get_data(&id), id.len);
  bson_destroy(&id);
  return true;
}

// ---------------------------------------------------------------- asking

static void list_one(void *ctx, const bson_t *document) {
  struct listing *l = ctx;
  if (l->position && keep_position(l->position, document)) l->read++;
  struct business *b = mongo__business(document);
  if (!b) return;
  unsigned kept = 0;
  for (unsigned i = 0; i < b->phone_count; i++) {
    if (l->which != STORE_ACTIVE || claim(l, b->phone_number_ids[i]))
      b->phone_number_ids[kept++] = b->phone_number_ids[i];
    else
      free(b->phone_number_ids[i]);
  }
  b->phone_count = kept;
  l->told++;
  l->on_business(l->ctx, b);
  business_free(b);
}

static void active_filter(bson_t *filter) {
  BSON_APPEND_BOOL(filter, "whatsappEnabled", true);
  BSON_APPEND_BOOL(filter, "isActive", true);
}

// {retention: {$nin: [null, ""]}}: there, with something in it.
static void retention_filter(bson_t *filter) {
  bson_t condition, none;
  BSON_APPEND_DOCUMENT_BEGIN(filter, "retention", &condition);
  BSON_APPEND_ARRAY_BEGIN(&condition, "$nin", &none);
  BSON_APPEND_NULL(&none, "0");
  BSON_APPEND_UTF8(&none, "1", "");
  bson_append_array_end(&condition, &none);
  bson_append_document_end(filter, &condition);
}

// Of thousands with a retention, asked for again and again, the tokens stay where they are.
static void append_projection(bson_t *opts, const struct mongo_store *s, enum store_which which) {
  static const char *const few[] = {"whatsappPhoneNumberIds", "retention", "whatsappEnabled", "isActive", "createdAt"};
  bson_t fields;
  if (which != STORE_RETENTION) {
    BSON_APPEND_DOCUMENT(opts, "projection", s->projection);
    return;
  }
  BSON_APPEND_DOCUMENT_BEGIN(opts, "projection", &fields);
  for (size_t i = 0; i < COUNT_OF(few); i++)
    BSON_APPEND_INT32(&fields, few[i], 1);
  bson_append_document_end(opts, &fields);
}

// One query: the next `limit` documents.
static enum err ask(struct mongo_call *call, struct listing *l, unsigned limit, struct why *why) {
  bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sort;
  if (l->which == STORE_ACTIVE) active_filter(&filter);
  if (l->which == STORE_RETENTION) retention_filter(&filter);
  if (l->position) behind_filter(&filter, l->position);
  append_projection(&opts, call->store, l->which);
  BSON_APPEND_INT64(&opts, "limit", limit);
  BSON_APPEND_INT64(&opts, "maxTimeMS", LIST_MS);
  BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sort);
  if (l->which != STORE_ACTIVE)
    BSON_APPEND_INT32(&sort, "_id", 1);
  else
    BSON_APPEND_INT32(&sort, "createdAt", -1);
  bson_append_document_end(&opts, &sort);
  l->read = 0;
  enum err e = mongo__ask(call, &filter, &opts, list_one, l, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  return e;
}

// A page that documents which cannot be read have left short is filled up: fewer than `max` are the last ones.
enum err mongo__each(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                     void *ctx, struct why *why) {
  struct mongo_store *s = (struct mongo_store *)(void *)store;
  struct mongo_call call;
  struct listing l = {.which = which, .position = position, .on_business = on_business, .ctx = ctx};
  enum err e = mongo__begin(s, which == STORE_ACTIVE ? STORE_QUERY_WARM : STORE_QUERY_LIST, &call, why);
  if (e) return e;
  unsigned wanted;
  do {
    wanted = max - l.told;
    e = ask(&call, &l, wanted, why);
  } while (!e && position && l.read == wanted && l.told < max);
  forget_claims(&l);
  mongo__end(&call);
  return e;
}

enum err mongo__count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) {
  struct mongo_call call;
  bson_error_t error;
  bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
  enum err e = mongo__begin((struct mongo_store *)(void *)store, STORE_QUERY_COUNT, &call, why);
  if (e) return e;
  active_filter(&filter);
  BSON_APPEND_INT64(&opts, "maxTimeMS", LIST_MS);
  int64_t n = mongoc_collection_estimated_document_count(call.businesses, &opts, NULL, NULL, &error), m = -1;
  if (n >= 0) m = mongoc_collection_count_documents(call.businesses, &filter, &opts, NULL, NULL, &error);
  if (m < 0) {
    e = mongo__failed(&call, &error, why);
  } else {
    *all = (uint64_t)n;
    *active = (uint64_t)m;
  }
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  return e;
}
