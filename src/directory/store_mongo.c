// Businesses in MongoDB, in the collection of the replaced service. A module (see store_module.c): runs on pool threads of workers and the
// dispatcher, and in wahookctl; processes with another store never load it.
//
// The collection is shared with other programs: writing leaves alone what we do not know, and reading takes what it finds.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"

#define FIND_MS    2000 // at most, for the server; the connection's own time-outs are longer
#define CLAIMS_MAX 16   // businesses that may claim one number before we stop looking for the newest
#define GET_MAX    100
#define CLAIMS_US  60000000

#define PATH_NOT_VIABLE 28 // the server's code: a field cannot be set in what is no document

static struct mongo_store *of(struct store *store) {
  return (struct mongo_store *)(void *)store;
}

// ---------------------------------------------------------------- asking

enum err mongo__ask(struct mongo_call *call, const bson_t *filter, const bson_t *opts, mongo_document *on, void *ctx, struct why *why) {
  const bson_t *document;
  bson_error_t error;
  enum err e = ERR_OK;
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(call->businesses, filter, opts, NULL);
  uint64_t documents = 0;
  for (; mongoc_cursor_next(cursor, &document); documents++)
    on(ctx, document);
  if (mongoc_cursor_error(cursor, &error)) e = mongo__failed(call, &error, why);
  mongoc_cursor_destroy(cursor);
  mongo__count_documents(call, documents);
  if (call->slow_us) mongo__slow(call, filter, opts);
  return e;
}

static void pass_over(void *ctx, const bson_t *document) {
  (void)ctx;
  (void)document;
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
  struct buf ids; // of all that were read
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
  struct business *b = mongo__business(document);
  if (!b) return;
  buf_printf(&best->ids, "%s%.60s", best->readable ? ", " : "", b->id);
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
    log_error("directory",
              "MongoDB: %u active documents of " MONGO_COLLECTION " have the phone number id %.*s: the newest one, %s, gets its messages;"
              " take it out of whatsappPhoneNumberIds of all but one of %s",
              best->readable, SPAN_FMT(phone), best->business->id, best->ids.data);
}

// The replaced service's own filters, for which the collection has its indexes.
static void key_filter(bson_t *filter, enum directory_key kind, struct span key) {
  static const char *const fields[] = {"whatsappPhoneNumberIds", "subDomain", "wabaId"};
  bson_init(filter);
  bson_append_utf8(filter, fields[kind], -1, key.ptr, (int)key.len);
  if (kind != DIRECTORY_SUBDOMAIN) BSON_APPEND_BOOL(filter, "whatsappEnabled", true);
  BSON_APPEND_BOOL(filter, "isActive", true);
}

static enum err answer(struct best *best, enum err e, struct business **out, struct why *why) {
  buf_free(&best->ids);
  if (e) {
    business_free(best->business);
    return e;
  }
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
  enum err e = mongo__begin(s, (enum store_query)(STORE_QUERY_PHONE + (int)kind), &call, why);
  if (e) return ERR_UNAVAILABLE;
  key_filter(&filter, kind, key);
  find_options(s, &opts, CLAIMS_MAX);
  e = mongo__ask(&call, &filter, &opts, keep_best, &best, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  if (!e && kind == DIRECTORY_PHONE && best.readable > 1) tell_claims(s, key, &best);
  return answer(&best, e ? ERR_UNAVAILABLE : ERR_OK, out, why);
}

static enum err mongo_get(struct store *store, const char *any_name, struct business **out, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call;
  struct best best = {.name = any_name};
  bson_t filter = BSON_INITIALIZER, opts, any, one;
  enum err e = mongo__begin(s, STORE_QUERY_NAME, &call, why);
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
  e = mongo__ask(&call, &filter, &opts, keep_best, &best, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  return answer(&best, e, out, why);
}

// ---------------------------------------------------------------- writing

// Where others keep something in place of a sub-document of ours, nothing can be set in it: it gives way.
static bool make_way(struct mongo_call *call, const bson_t *filter, bson_error_t *error) {
  bson_t *which = BCON_NEW("$or", "[", "{", "responder", "{", "$not", "{", "$type", BCON_UTF8("object"), "}", "}", "}", "{", "responder",
                           "{", "$type", BCON_UTF8("array"), "}", "}", "]");
  bson_t *update = BCON_NEW("$unset", "{", "responder", BCON_INT32(1), "}");
  ALWAYS(bson_concat(which, filter));
  bool good = mongoc_collection_update_one(call->businesses, which, update, NULL, NULL, error);
  bson_destroy(update);
  bson_destroy(which);
  return good;
}

static bool update_one(struct mongo_call *call, const bson_t *filter, const bson_t *update, const bson_t *opts, bson_error_t *error) {
  if (mongoc_collection_update_one(call->businesses, filter, update, opts, NULL, error)) return true;
  if (error->domain != MONGOC_ERROR_SERVER || error->code != PATH_NOT_VIABLE || !make_way(call, filter, error)) return false;
  return mongoc_collection_update_one(call->businesses, filter, update, opts, NULL, error);
}

// Of those that are gathered, one that is refused is refused for good: who gathers puts each for itself then.
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
    good = update_one(call, &filter, &update, &upsert, &error);
  if (!good) e = mongo__failed(call, &error, why);
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
  enum err e = mongo__begin(s, STORE_QUERY_WRITE, &call, why);
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
  enum err e = mongo__begin(of(store), STORE_QUERY_WRITE, &call, why);
  if (e) return e;
  mongo__match_id(&filter, "_id", id);
  if (!mongoc_collection_delete_one(call.businesses, &filter, NULL, &reply, &error)) {
    e = mongo__failed(&call, &error, why);
  } else if (!bson_iter_init_find(&it, &reply, "deletedCount") || bson_iter_as_int64(&it) == 0) {
    why_set(why, "no such business");
    e = ERR_NOT_FOUND;
  }
  bson_destroy(&reply);
  bson_destroy(&filter);
  mongo__end(&call);
  return e;
}

static enum err mongo_swap_token(struct store *store, const char *id, enum store_token which, const char *from, const char *to,
                                 struct why *why) {
  const char *field = which == STORE_ACCESS_TOKEN ? "whatsappAccessToken" : "whatsappRefreshToken";
  struct mongo_store *s = of(store);
  struct mongo_call own, *call = s->bulk ? &s->transaction : &own; // the pool may have but one connection
  bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, set, reply;
  bson_error_t error;
  bson_iter_t it;
  enum err e = s->bulk ? ERR_OK : mongo__begin(s, STORE_QUERY_WRITE, &own, why);
  if (e) return e;
  mongo__match_id(&filter, "_id", id);
  BSON_APPEND_UTF8(&filter, field, from);
  BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
  BSON_APPEND_UTF8(&set, field, to);
  bson_append_document_end(&update, &set);
  mongo__touch(&update);
  if (!mongoc_collection_update_one(call->businesses, &filter, &update, NULL, &reply, &error))
    e = mongo__failed(call, &error, why);
  else if (!bson_iter_init_find(&it, &reply, "matchedCount") || bson_iter_as_int64(&it) == 0)
    e = ERR_CONFLICT;
  bson_destroy(&reply);
  bson_destroy(&update);
  bson_destroy(&filter);
  if (!s->bulk) mongo__end(&own);
  return e;
}

static enum err mongo_begin(struct store *store, struct why *why) {
  struct mongo_store *s = of(store);
  bson_t opts = BSON_INITIALIZER;
  ALWAYS(!s->bulk);
  enum err e = mongo__begin(s, STORE_QUERY_WRITE, &s->transaction, why);
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
    if (!mongoc_bulk_operation_execute(s->bulk, &reply, &error)) e = mongo__failed(&s->transaction, &error, why);
    bson_destroy(&reply);
  }
  mongoc_bulk_operation_destroy(s->bulk);
  s->bulk = NULL;
  mongo__end(&s->transaction);
  return e;
}

// The collection has no number that moves: who watches it is told (store_mongo_watch.c). That it answers is worth knowing; and a real
// question, unlike a ping, needs the rights that look-ups need.
static enum err probe(struct mongo_store *s, struct mongo_call *call, struct why *why) {
  bson_t filter = BSON_INITIALIZER, opts;
  BSON_APPEND_NULL(&filter, "_id");
  find_options(s, &opts, 1);
  enum err e = mongo__ask(call, &filter, &opts, pass_over, NULL, why);
  bson_destroy(&opts);
  bson_destroy(&filter);
  return e;
}

static enum err mongo_changed(struct store *store, uint64_t *version, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call, another;
  enum err e = mongo__begin(s, STORE_QUERY_PROBE, &call, why);
  if (e) return e;
  e = probe(s, &call, why);
  // While it holds one, another one is a new connection, until there are as many as shall be warm.
  if (!e && mongo__wants_more(s) && mongo__begin(s, STORE_QUERY_PROBE, &another, NULL) == ERR_OK) {
    (void)probe(s, &another, NULL);
    mongo__end(&another);
  }
  if (!e) mongo__explain_slow(&call);
  if (!e) *version = 1;
  mongo__end(&call);
  return e;
}

// ---------------------------------------------------------------- beginning and end

static void mongo_close(struct store *store) {
  struct mongo_store *s = of(store);
  if (s->bulk) (void)mongo_end(store, false, NULL);
  mongo__close_pool(s);
  mongo__stats_free(s);
  if (s->uri) mongoc_uri_destroy(s->uri);
  if (s->projection) bson_destroy(s->projection);
  pthread_mutex_destroy(&s->lock);
  pthread_cond_destroy(&s->returned);
  free(s->database);
  store->magic = 0;
  free(s);
}

static enum err mongo_open(const struct store_options *options, const char *rest, struct store **out, struct why *why);

static const struct store_kind kind = {
    .open = mongo_open,
    .close = mongo_close,
    .find = mongo_find,
    .each = mongo__each,
    .get = mongo_get,
    .put = mongo_put,
    .remove = mongo_remove,
    .swap_token = mongo_swap_token,
    .begin = mongo_begin,
    .end = mongo_end,
    .count = mongo__count,
    .changed = mongo_changed,
    .watch = mongo__watch,
    .indexes = mongo__indexes,
    .stats = mongo__stats,
    .set_slow = mongo__set_slow,
};

static enum err mongo_open(const struct store_options *options, const char *rest, struct store **out, struct why *why) {
  (void)rest; // the driver reads the URI whole
  struct mongo_store *s = xcalloc(1, sizeof *s);
  s->store = (struct store){STORE_MAGIC, &kind};
  ALWAYS(pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->returned, NULL) == 0);
  s->projection = mongo__projection();
  mongo__stats_init(s, options->slow_query_ms);
  enum err e = mongo__uri(s, options, why);
  if (e)
    mongo_close(&s->store);
  else
    *out = &s->store;
  return e;
}

extern const struct store_module store_module;
const struct store_module store_module = {WAHOOK_VERSION, sizeof(struct store_kind), &kind};
