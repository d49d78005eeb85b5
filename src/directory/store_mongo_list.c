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
  void (*on_business)(void *ctx, const struct business *business);
  void *ctx;
  bool own; // each number only with the first one that has it: the newest
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

static void list_one(void *ctx, const bson_t *document) {
  struct listing *l = ctx;
  struct business *b;
  struct why why;
  if (mongo__business(document, &b, &why) != ERR_OK) {
    log_warning("directory", "%s", why.text);
    return;
  }
  unsigned kept = 0;
  for (unsigned i = 0; i < b->phone_count; i++) {
    if (!l->own || claim(l, b->phone_number_ids[i]))
      b->phone_number_ids[kept++] = b->phone_number_ids[i];
    else
      free(b->phone_number_ids[i]);
  }
  b->phone_count = kept;
  l->on_business(l->ctx, b);
  business_free(b);
}

// Behind an id in the order of the collection: numbers, texts, ObjectIds. A text of 24 hex digits is taken for an ObjectId, as in put.
static void after_filter(bson_t *filter, const char *after_id) {
  bson_t any, one, condition, types;
  bson_oid_t oid;
  bool is_oid = strlen(after_id) == 24 && bson_oid_is_valid(after_id, 24);
  BSON_APPEND_ARRAY_BEGIN(filter, "$or", &any);
  BSON_APPEND_DOCUMENT_BEGIN(&any, "0", &one);
  BSON_APPEND_DOCUMENT_BEGIN(&one, "_id", &condition);
  if (is_oid) {
    bson_oid_init_from_string(&oid, after_id);
    BSON_APPEND_OID(&condition, "$gt", &oid);
  } else {
    BSON_APPEND_UTF8(&condition, "$gt", after_id);
  }
  bson_append_document_end(&one, &condition);
  bson_append_document_end(&any, &one);
  if (!is_oid) {
    BSON_APPEND_DOCUMENT_BEGIN(&any, "1", &one);
    BSON_APPEND_DOCUMENT_BEGIN(&one, "_id", &condition);
    BSON_APPEND_ARRAY_BEGIN(&condition, "$type", &types);
    BSON_APPEND_UTF8(&types, "0", "objectId");
    bson_append_array_end(&condition, &types);
    bson_append_document_end(&one, &condition);
    bson_append_document_end(&any, &one);
  }
  bson_append_array_end(filter, &any);
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

enum err mongo__each(struct store *store, enum store_which which, const char *after_id, unsigned max,
                     void (*on_business)(void *ctx, const struct business *business), void *ctx, struct why *why) {
  struct mongo_store *s = (struct mongo_store *)(void *)store;
  struct mongo_call call;
  struct listing l = {.on_business = on_business, .ctx = ctx, .own = which == STORE_ACTIVE};
  bson_t filter = BSON_INITIALIZER, opts, sort;
  enum err e = mongo__begin(s, which == STORE_ACTIVE ? STORE_QUERY_WARM : STORE_QUERY_LIST, &call, why);
  if (e) return e;
  if (which == STORE_ACTIVE)
    active_filter(&filter);
  else if (*after_id)
    after_filter(&filter, after_id);
  if (which == STORE_RETENTION) retention_filter(&filter);
  bson_init(&opts);
  append_projection(&opts, s, which);
  BSON_APPEND_INT64(&opts, "limit", max);
  BSON_APPEND_INT64(&opts, "maxTimeMS", LIST_MS);
  BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sort);
  if (which == STORE_ACTIVE)
    BSON_APPEND_INT32(&sort, "createdAt", -1);
  else
    BSON_APPEND_INT32(&sort, "_id", 1);
  bson_append_document_end(&opts, &sort);
  e = mongo__ask(&call, &filter, &opts, list_one, &l, why);
  forget_claims(&l);
  bson_destroy(&filter);
  bson_destroy(&opts);
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
