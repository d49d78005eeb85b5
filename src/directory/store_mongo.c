// Businesses in MongoDB, in the collection of the replaced service. A module (see store_module.c): runs on pool threads of workers and the
// dispatcher, and in wahookctl; processes with another store never load it.
//
// The collection is shared with other programs: writing leaves alone what we do not know, and reading takes what it finds.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"

#define PATH_NOT_VIABLE 28 // the server's code: a field cannot be set in what is no document

static struct mongo_store *of(struct store *store) {
  return (struct mongo_store *)(void *)store;
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

static void pass_over(void *ctx, const bson_t *document) {
  (void)ctx;
  (void)document;
}

// The collection has no number that moves: who watches it is told (store_mongo_watch.c). That it answers is worth knowing; and a real
// question, unlike a ping, needs the rights that look-ups need.
static enum err probe(struct mongo_store *s, struct mongo_call *call, struct why *why) {
  bson_t filter = BSON_INITIALIZER, opts;
  BSON_APPEND_NULL(&filter, "_id");
  mongo__find_options(s, &opts, 1);
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
    .find = mongo__find,
    .find_phones = mongo__find_phones,
    .each = mongo__each,
    .get = mongo__get,
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
