// Finding businesses in MongoDB by what they are called: by one key, several phone numbers at once, or any name. Runs on pool threads of
// workers and the dispatcher, and in wahookctl.
#include <mongoc/mongoc.h>
#include <string.h>

#include "store_mongo.h"

#define FIND_MS    2000 // at most, for the server; the connection's own time-outs are longer
#define CLAIMS_MAX 16   // businesses that may claim one number before we stop looking for the newest
#define GET_MAX    100
#define CLAIMS_US  60000000

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

void mongo__find_options(const struct mongo_store *s, bson_t *opts, int64_t limit) {
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

// Takes the business over.
static void offer(struct best *best, struct business *b) {
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

// A document that cannot be read is passed over: one bad one among several shall not hide the good one.
static void keep_best(void *ctx, const bson_t *document) {
  struct business *b = mongo__business(document);
  if (b) offer(ctx, b);
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

enum err mongo__find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) {
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
  mongo__find_options(s, &opts, CLAIMS_MAX);
  e = mongo__ask(&call, &filter, &opts, keep_best, &best, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  if (!e && kind == DIRECTORY_PHONE && best.readable > 1) tell_claims(s, key, &best);
  return answer(&best, e ? ERR_UNAVAILABLE : ERR_OK, out, why);
}

// ---------------------------------------------------------------- several numbers at once

struct phones {
  const struct span *keys;
  unsigned count, documents;
  struct best best[STORE_PHONES_MAX];
};

static bool has_phone(const struct business *b, struct span key) {
  for (unsigned i = 0; i < b->phone_count; i++)
    if (span_eq(span_of(b->phone_number_ids[i]), key)) return true;
  return false;
}

// One document may be the answer for several: each gets a business of its own.
static void keep_best_of_each(void *ctx, const bson_t *document) {
  struct phones *phones = ctx;
  struct business *b = mongo__business(document);
  phones->documents++;
  if (!b) return;
  for (unsigned i = 0; i < phones->count; i++)
    if (has_phone(b, phones->keys[i])) offer(&phones->best[i], business_copy(b));
  business_free(b);
}

static void phones_filter(bson_t *filter, const struct span *keys, unsigned count) {
  bson_t in, list;
  bson_init(filter);
  BSON_APPEND_DOCUMENT_BEGIN(filter, "whatsappPhoneNumberIds", &in);
  BSON_APPEND_ARRAY_BEGIN(&in, "$in", &list);
  for (unsigned i = 0; i < count; i++) {
    char text[16];
    const char *index;
    size_t len = bson_uint32_to_string(i, &index, text, sizeof text);
    bson_append_utf8(&list, index, (int)len, keys[i].ptr, (int)keys[i].len);
  }
  bson_append_array_end(&in, &list);
  bson_append_document_end(filter, &in);
  BSON_APPEND_BOOL(filter, "whatsappEnabled", true);
  BSON_APPEND_BOOL(filter, "isActive", true);
}

enum err mongo__find_phones(struct store *store, const struct span *keys, unsigned count, struct business **out, struct why *why) {
  struct mongo_store *s = of(store);
  struct mongo_call call;
  struct phones phones = {.keys = keys, .count = count};
  bson_t filter, opts;
  for (unsigned i = 0; i < count; i++)
    out[i] = NULL;
  if (mongo__begin(s, STORE_QUERY_PHONE, &call, why) != ERR_OK) return ERR_UNAVAILABLE;
  phones_filter(&filter, keys, count);
  mongo__find_options(s, &opts, count * CLAIMS_MAX);
  enum err e = mongo__ask(&call, &filter, &opts, keep_best_of_each, &phones, why) == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  // One that so many claim may have left no room for another one's.
  if (e == ERR_OK && phones.documents == count * CLAIMS_MAX) e = ERR_UNSUPPORTED;
  for (unsigned i = 0; i < count; i++) {
    struct best *best = &phones.best[i];
    if (e == ERR_OK && best->readable > 1) tell_claims(s, keys[i], best);
    (void)answer(best, e, &out[i], why);
  }
  return e;
}

// ---------------------------------------------------------------- by any name

enum err mongo__get(struct store *store, const char *any_name, struct business **out, struct why *why) {
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
  mongo__find_options(s, &opts, GET_MAX);
  e = mongo__ask(&call, &filter, &opts, keep_best, &best, why);
  bson_destroy(&filter);
  bson_destroy(&opts);
  mongo__end(&call);
  return answer(&best, e, out, why);
}
