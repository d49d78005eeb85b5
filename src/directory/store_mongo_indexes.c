// The indexes of the collection that look-ups need: shown, and made where they are missing. Runs in wahookctl and in the dispatcher.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"

#define BUILD_MS 3600000 // an index over a large collection takes its time

// The replaced service's.
static const struct {
  const char *name, *keys;
  enum store_query query; // that it serves
} ours[] = {
    {"webhook_lookup_idx", "whatsappPhoneNumberIds: 1, whatsappEnabled: 1, isActive: 1", STORE_QUERY_PHONE},
    {"subdomain_lookup_idx", "subDomain: 1, isActive: 1", STORE_QUERY_SUBDOMAIN},
    {"active_businesses_idx", "whatsappEnabled: 1, isActive: 1, createdAt: -1", STORE_QUERY_WARM},
};

_Static_assert(COUNT_OF(ours) <= STORE_INDEXES_MAX, "each has a note");

const char *mongo__index_for(enum store_query query) {
  for (size_t i = 0; i < COUNT_OF(ours); i++)
    if (ours[i].query == query) return ours[i].name;
  return NULL;
}

struct indexes {
  mongoc_client_t *client;
  mongoc_collection_t *businesses;
  struct found {
    char *name, *keys;
    int64_t uses;
    bool is_ours;
  } * found;
  size_t count;
};

static void keys_text(const bson_t *index, struct buf *out) {
  bson_iter_t it, key;
  if (!bson_iter_init_find(&it, index, "key") || !bson_iter_recurse(&it, &key)) return;
  while (bson_iter_next(&key)) {
    buf_printf(out, "%s%s: ", out->len ? ", " : "", bson_iter_key(&key));
    if (BSON_ITER_HOLDS_UTF8(&key))
      buf_add_text(out, bson_iter_utf8(&key, NULL));
    else
      buf_printf(out, "%lld", (long long)bson_iter_as_int64(&key));
  }
}

static enum err list(struct indexes *x, struct why *why) {
  const bson_t *index;
  bson_error_t error;
  bson_iter_t it;
  mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(x->businesses, NULL);
  while (mongoc_cursor_next(cursor, &index)) {
    struct buf keys = {0};
    const char *name = bson_iter_init_find(&it, index, "name") ? bson_iter_utf8(&it, NULL) : "";
    keys_text(index, &keys);
    // One that leaves documents out serves no look-up for sure.
    if (bson_has_field(index, "partialFilterExpression") || bson_has_field(index, "sparse")) buf_add_text(&keys, " (partial)");
    x->found = xrealloc(x->found, (x->count + 1) * sizeof *x->found);
    x->found[x->count++] = (struct found){xstrdup(name), buf_steal(&keys), -1, false};
  }
  enum err e = mongoc_cursor_error(cursor, &error) ? mongo__failed(NULL, &error, why) : ERR_OK;
  mongoc_cursor_destroy(cursor);
  return e;
}

// Needs a right that not everybody has; without it the numbers are not known.
static void count_uses(struct indexes *x) {
  static const char text[] = "{\"pipeline\":[{\"$indexStats\":{}}]}";
  bson_t *pipeline = bson_new_from_json((const uint8_t *)text, -1, NULL);
  const bson_t *document;
  bson_iter_t it, ops;
  mongoc_cursor_t *cursor = mongoc_collection_aggregate(x->businesses, MONGOC_QUERY_NONE, pipeline, NULL, NULL);
  while (mongoc_cursor_next(cursor, &document)) {
    const char *name = bson_iter_init_find(&it, document, "name") && BSON_ITER_HOLDS_UTF8(&it) ? bson_iter_utf8(&it, NULL) : "";
    if (!bson_iter_init(&it, document) || !bson_iter_find_descendant(&it, "accesses.ops", &ops)) continue;
    for (size_t i = 0; i < x->count; i++)
      if (strcmp(x->found[i].name, name) == 0) x->found[i].uses = bson_iter_as_int64(&ops);
  }
  mongoc_cursor_destroy(cursor);
  bson_destroy(pipeline);
}

static struct found *find(struct indexes *x, const char *name, const char *keys) {
  for (size_t i = 0; i < x->count; i++)
    if ((!name || strcmp(x->found[i].name, name) == 0) && (!keys || strcmp(x->found[i].keys, keys) == 0)) return &x->found[i];
  return NULL;
}

static bool make(struct indexes *x, size_t which, bson_error_t *error) {
  bson_t command = BSON_INITIALIZER, list_of, one, keys;
  struct span rest = span_of(ours[which].keys), key;
  BSON_APPEND_UTF8(&command, "createIndexes", MONGO_COLLECTION);
  BSON_APPEND_ARRAY_BEGIN(&command, "indexes", &list_of);
  BSON_APPEND_DOCUMENT_BEGIN(&list_of, "0", &one);
  BSON_APPEND_DOCUMENT_BEGIN(&one, "key", &keys);
  while (span_split(&rest, ',', &key)) {
    key = span_trim(key);
    size_t len = (size_t)((const char *)memchr(key.ptr, ':', key.len) - key.ptr);
    bson_append_int32(&keys, key.ptr, (int)len, key.ptr[key.len - 2] == '-' ? -1 : 1);
  }
  bson_append_document_end(&one, &keys);
  BSON_APPEND_UTF8(&one, "name", ours[which].name);
  bson_append_document_end(&list_of, &one);
  bson_append_array_end(&command, &list_of);
  bool good = mongoc_collection_write_command_with_opts(x->businesses, &command, NULL, NULL, error);
  bson_destroy(&command);
  return good;
}

static enum err each_of_ours(struct indexes *x, bool ensure, store_on_index *on_index, void *ctx, struct why *why) {
  enum err e = ERR_OK;
  bson_error_t error;
  for (size_t i = 0; i < COUNT_OF(ours); i++) {
    struct store_index index = {ours[i].name, ours[i].keys, STORE_INDEX_THERE, "", -1};
    struct found *same = find(x, ours[i].name, ours[i].keys), *keys = same ? same : find(x, NULL, ours[i].keys),
                 *name = find(x, ours[i].name, NULL);
    if (keys) {
      keys->is_ours = true;
      index.uses = keys->uses;
      if (!same) index.state = STORE_INDEX_RENAMED, index.note = keys->name;
    } else if (name) {
      name->is_ours = true;
      index.state = STORE_INDEX_CONFLICT;
      index.note = name->keys;
    } else if (!ensure) {
      index.state = STORE_INDEX_MISSING;
    } else if (make(x, i, &error)) {
      index.state = STORE_INDEX_MADE;
    } else {
      index.state = STORE_INDEX_CONFLICT;
      index.note = error.message;
    }
    on_index(ctx, &index);
    if (!ensure || index.state != STORE_INDEX_CONFLICT) continue;
    why_set(why, "MongoDB: the index %s cannot be made: %s", index.name, index.note);
    e = ERR_CONFLICT;
  }
  return e;
}

enum err mongo__indexes(struct store *store, bool ensure, store_on_index *on_index, void *ctx, struct why *why) {
  struct mongo_store *s = (struct mongo_store *)(void *)store;
  struct indexes x = {0};
  bson_error_t error;
  mongoc_uri_t *uri = mongoc_uri_copy(s->uri);
  if (ensure) mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, BUILD_MS);
  x.client = mongoc_client_new_from_uri_with_error(uri, &error);
  mongoc_uri_destroy(uri);
  if (!x.client) return mongo__failed(NULL, &error, why);
  mongoc_client_set_error_api(x.client, MONGOC_ERROR_API_VERSION_2);
  x.businesses = mongoc_client_get_collection(x.client, s->database, MONGO_COLLECTION);
  enum err e = list(&x, why);
  if (!e) count_uses(&x);
  if (!e) e = each_of_ours(&x, ensure, on_index, ctx, why);
  for (size_t i = 0; i < x.count; i++) {
    struct found *f = &x.found[i];
    struct store_index foreign = {f->name, f->keys, STORE_INDEX_FOREIGN, "", f->uses};
    if ((!e || e == ERR_CONFLICT) && !f->is_ours) on_index(ctx, &foreign);
    free(f->name);
    free(f->keys);
  }
  free(x.found);
  mongoc_collection_destroy(x.businesses);
  mongoc_client_destroy(x.client);
  return e;
}
