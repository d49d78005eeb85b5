// Businesses in MongoDB, in the collection of the replaced service. A module (see store_module.c): runs on pool threads of workers and the
// dispatcher, and in wahookctl; processes with another store never load it.
//
// The collection is shared with other programs: writing leaves alone what we do not know, and reading takes what it finds.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"

#include <uthash.h>

#define FIND_MS    2000 // at most, for the server; the connection's own time-outs are longer
#define LIST_MS    4000
#define CLAIMS_MAX 16 // businesses that may claim one number before we stop looking for the newest
#define GET_MAX    100
#define CLAIMS_US  60000000

static struct mongo_store *of(struct store *store) {
  return (struct mongo_store *)(void *)store;
}

// ---------------------------------------------------------------- asking

typedef void on_document(void *ctx, const bson_t *document);

static enum err ask(struct mongo_call *call, const bson_t *filter, const bson_t *opts, on_document *on, void *ctx, struct why *why) {
  const bson_t *document;
  bson_error_t error;
  enum err e = ERR_OK;
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->businesses, filter, opts, NULL);
  while (mongoc_cursor_next(cursor, &document))
    on(ctx, document);
  if (mongoc_cursor_error(cursor, &error)) e = mongo__failed(&error, why);
  mongoc_cursor_destroy(cursor);
  return e;
}

static void find_options(const struct mongo_store *s, bson_t *opts, int64_t limit) {
  bson_init(opts);
  BSON_APPEND_DOCUMENT(opts, "projection", s->projection);
  BSON_APPEND_INT64(opts, "limit", limit);
  BSON_APPEND_BOOL(opts, "singleBatch", true);
  BSON_APPEND_INT64(opts, "maxTimeMS", FIND_MS);
}

// ---------------------------------------------------------------- one business

struct best {
  const char *name; // rank by what it is called, NULL: all alike
  struct business *business;
  int rank;
  unsigned readable;
};

static bool newer(const struct business *a, const struct business *b) {
  return a->created_ms != b->created_ms ? a->created_ms > b->created_ms : strcmp(a->id, b->id) > 0;
}

static int rank_of(const struct business *b, const char *name) {
  if (!name) return 0;
  int rank = strcmp(b->id, name) == 0 ? 4 : strcmp(b->sub_domain, name) == 0 ? 2 : 0;
  return rank + b->is_active;
}

// A document that cannot be read is passed over: one bad one among several shall not hide the good one.
static void keep_best(void *ctx, const bson_t *document) {
  struct best *best = ctx;
  struct business *b;
  struct why why;
  if (mongo__business(document, &b, &why) != ERR_OK) {
    log_warning("directory", "%s", why.text);
    return;
  }
  best->readable++;
  int rank = rank_of(b, best->name);
  if (best->business && (rank < best->rank || (rank == best->rank && !newer(b, best->business)))) {
    business_free(b);
    return;
  }
  business_free(best->business);
  best->business = b;
  best->rank = rank;
}

static void tell_claims(struct mongo_store *s, struct span phone, const struct best *best) {
  uint64_t held_back;
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  bool told = log_limited(&s->claims_limit, hash_keyed(phone.ptr, phone.len), clock_mono_us(), CLAIMS_US, &held_back);
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  if (told)
    log_error("directory", "%u active businesses have the phone number id %.*s: the newest one, %s, gets its messages", best->readable,
              SPAN_FMT(phone), best->business->id);
}

// The replaced service's own filters, for which the collection has its indexes.
static void key_filter(bson_t *filter, enum directory_key kind, struct span key) {
  static const char *const fields[] = {"whatsappPhoneNumberIds", "subDomain", "wabaId"};
  bson_init(filter);
  bson_append_utf8(filter, fields[kind], -1, key.ptr, (int)key.len);
  if (kind != DIRECTORY_SUBDOMAIN) BSON_APPEND_BOOL(filter, "whatsappEnabled", true);
  BSON_APPEND_BOOL(filter, "isActive", true);
}

static enum err answer(struct best *best, struct business **out, struct why *why) {
  if (!best->business) {
    why_set(why, "no such business");
    return ERR_NOT_FOUND;
  }
  *out = best->business;
  return ERR_OK;
}

static enum err mongo_find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call;
  struct best best = {0};
  bson_t filter, opts;
  if (!span_utf8(key)) { // the driver would refuse it, and no document can have it
    why_set(why, "no such business");
    return ERR_NOT_FOUND;
  }
  enum err e = mongo__begin(s, &call, why);
  if (e) return ERR_UNAVAILABLE;
  key_filter(&filter, kind, key);
  find_options(s, &opts, CLAIMS_MAX);
  e = ask(&call, &filter, &opts, keep_best, &best, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  if (e) {
    business_free(best.business);
    return ERR_UNAVAILABLE;
  }
  if (kind == DIRECTORY_PHONE && best.readable > 1) tell_claims(s, key, &best);
  return answer(&best, out, why);
}

static enum err mongo_get(struct store *store, const char *any_name, struct business **out, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call;
  struct best best = {.name = any_name};
  bson_t filter = BSON_INITIALIZER, opts, any, one;
  enum err e = mongo__begin(s, &call, why);
  if (e) return e;
  BSON_APPEND_ARRAY_BEGIN(&filter, "$or", &any);
  BSON_APPEND_DOCUMENT_BEGIN(&any, "0", &one);
  mongo__match_id(&one, "_id", any_name);
  bson_append_document_end(&any, &one);
  BSON_APPEND_DOCUMENT_BEGIN(&any, "1", &one);
  BSON_APPEND_UTF8(&one, "subDomain", any_name);
  bson_append_document_end(&any, &one);
  BSON_APPEND_DOCUMENT_BEGIN(&any, "2", &one);
  BSON_APPEND_UTF8(&one, "whatsappPhoneNumberIds", any_name);
  bson_append_document_end(&any, &one);
  bson_append_array_end(&filter, &any);
  find_options(s, &opts, GET_MAX);
  e = ask(&call, &filter, &opts, keep_best, &best, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  if (!e) return answer(&best, out, why);
  business_free(best.business);
  return e;
}

// ---------------------------------------------------------------- many

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

static enum err mongo_each(struct store *store, bool active_only, const char *after_id, unsigned max,
                           void (*on_business)(void *ctx, const struct business *business), void *ctx, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call;
  struct listing l = {.on_business = on_business, .ctx = ctx, .own = active_only};
  bson_t filter = BSON_INITIALIZER, opts, sort;
  enum err e = mongo__begin(s, &call, why);
  if (e) return e;
  if (active_only)
    active_filter(&filter);
  else if (*after_id)
    after_filter(&filter, after_id);
  bson_init(&opts);
  BSON_APPEND_DOCUMENT(&opts, "projection", s->projection);
  BSON_APPEND_INT64(&opts, "limit", max);
  BSON_APPEND_INT64(&opts, "maxTimeMS", LIST_MS);
  BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &sort);
  if (active_only)
    BSON_APPEND_INT32(&sort, "createdAt", -1);
  else
    BSON_APPEND_INT32(&sort, "_id", 1);
  bson_append_document_end(&opts, &sort);
  e = ask(&call, &filter, &opts, list_one, &l, why);
  forget_claims(&l);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  return e;
}

static enum err mongo_count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) {
  struct mongo_call call;
  bson_error_t error;
  bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
  enum err e = mongo__begin(of(store), &call, why);
  if (e) return e;
  active_filter(&filter);
  BSON_APPEND_INT64(&opts, "maxTimeMS", LIST_MS);
  int64_t n = mongoc_collection_estimated_document_count(call.businesses, &opts, NULL, NULL, &error), m = -1;
  if (n >= 0) m = mongoc_collection_count_documents(call.businesses, &filter, &opts, NULL, NULL, &error);
  if (m < 0) {
    e = mongo__failed(&error, why);
  } else {
    *all = (uint64_t)n;
    *active = (uint64_t)m;
  }
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  return e;
}

// ---------------------------------------------------------------- writing

static enum err write_one(struct mongo_call *call, mongoc_bulk_operation_t *bulk, const struct business *b, struct why *why) {
  bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, upsert = BSON_INITIALIZER;
  bson_error_t error;
  enum err e = mongo__update(b, &update, why);
  mongo__match_new_id(&filter, b->id);
  BSON_APPEND_BOOL(&upsert, "upsert", true);
  bool good = true;
  if (!e && bulk)
    good = mongoc_bulk_operation_update_one_with_opts(bulk, &filter, &update, &upsert, &error);
  else if (!e)
    good = mongoc_collection_update_one(call->businesses, &filter, &update, &upsert, NULL, &error);
  if (!good) e = mongo__failed(&error, why);
  bson_destroy(&filter);
  bson_destroy(&update);
  bson_destroy(&upsert);
  return e;
}

static enum err mongo_put(struct store *store, const struct business *business, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call;
  if (s->bulk) {
    s->gathered++;
    return write_one(&s->transaction, s->bulk, business, why);
  }
  enum err e = mongo__begin(s, &call, why);
  if (e) return e;
  e = write_one(&call, NULL, business, why);
  mongo__end(&call);
  return e;
}

static enum err mongo_remove(struct store *store, const char *id, struct why *why) {
  struct mongo_call call;
  bson_t filter = BSON_INITIALIZER, reply;
  bson_error_t error;
  bson_iter_t it;
  enum err e = mongo__begin(of(store), &call, why);
  if (e) return e;
  mongo__match_id(&filter, "_id", id);
  if (!mongoc_collection_delete_one(call.businesses, &filter, NULL, &reply, &error)) {
    e = mongo__failed(&error, why);
  } else if (!bson_iter_init_find(&it, &reply, "deletedCount") || bson_iter_as_int64(&it) == 0) {
    why_set(why, "no such business");
    e = ERR_NOT_FOUND;
  }
  bson_destroy(&reply);
  bson_destroy(&filter);
  mongo__end(&call);
  return e;
}

static enum err mongo_begin(struct store *store, struct why *why) {
  struct mongo_store *s = of(store);
  bson_t opts = BSON_INITIALIZER;
  ALWAYS(!s->bulk);
  enum err e = mongo__begin(s, &s->transaction, why);
  if (e) return e;
  BSON_APPEND_BOOL(&opts, "ordered", false);
  s->bulk = mongoc_collection_create_bulk_operation_with_opts(s->transaction.businesses, &opts);
  s->gathered = 0;
  bson_destroy(&opts);
  return ERR_OK;
}

static enum err mongo_end(struct store *store, bool commit, struct why *why) {
  struct mongo_store *s = of(store);
  bson_t reply;
  bson_error_t error;
  enum err e = ERR_OK;
  ALWAYS(s->bulk);
  if (commit && s->gathered) { // the driver refuses an empty one
    if (!mongoc_bulk_operation_execute(s->bulk, &reply, &error)) e = mongo__failed(&error, why);
    bson_destroy(&reply);
  }
  mongoc_bulk_operation_destroy(s->bulk);
  s->bulk = NULL;
  mongo__end(&s->transaction);
  return e;
}

// The collection has no number that moves: who watches it is told (store_mongo_watch.c). That it answers is worth knowing.
static enum err mongo_changed(struct store *store, uint64_t *version, struct why *why) {
  struct mongo_call call;
  bson_t ping = BSON_INITIALIZER;
  bson_error_t error;
  enum err e = mongo__begin(of(store), &call, why);
  if (e) return e;
  BSON_APPEND_INT32(&ping, "ping", 1);
  if (mongoc_client_command_simple(call.client, "admin", &ping, NULL, NULL, &error))
    *version = 1;
  else
    e = mongo__failed(&error, why);
  bson_destroy(&ping);
  mongo__end(&call);
  return e;
}

// ---------------------------------------------------------------- beginning and end

static void mongo_close(struct store *store) {
  struct mongo_store *s = of(store);
  if (s->bulk) (void)mongo_end(store, false, NULL);
  mongo__close_pool(s);
  if (s->uri) mongoc_uri_destroy(s->uri);
  if (s->projection) bson_destroy(s->projection);
  pthread_mutex_destroy(&s->lock);
  free(s->database);
  store->magic = 0;
  free(s);
}

static enum err mongo_open(const struct store_options *options, const char *rest, struct store **out, struct why *why);

static const struct store_kind kind = {
    .open = mongo_open,
    .close = mongo_close,
    .find = mongo_find,
    .each = mongo_each,
    .get = mongo_get,
    .put = mongo_put,
    .remove = mongo_remove,
    .begin = mongo_begin,
    .end = mongo_end,
    .count = mongo_count,
    .changed = mongo_changed,
};

static enum err mongo_open(const struct store_options *options, const char *rest, struct store **out, struct why *why) {
  (void)rest; // the driver reads the URI whole
  struct mongo_store *s = xcalloc(1, sizeof *s);
  s->store = (struct store){STORE_MAGIC, &kind};
  ALWAYS(pthread_mutex_init(&s->lock, NULL) == 0);
  s->projection = mongo__projection();
  enum err e = mongo__uri(s, options, why);
  if (e)
    mongo_close(&s->store);
  else
    *out = &s->store;
  return e;
}

extern const struct store_module store_module;
const struct store_module store_module = {WAHOOK_VERSION, sizeof(struct store_kind), &kind};
