// The table of stores, by URI scheme. Runs on pool threads of workers and the dispatcher, and in wahookctl.
#include "store.h"

#include <string.h>

// What few need and brings a large library along is a module, loaded with the first store of its kind.
static const struct {
  const char *scheme;
  const struct store_kind *kind;
  const char *module; // where kind is NULL
} kinds[] = {
    {"sqlite:", &store__sqlite, NULL},
    {"mongodb:", NULL, "store_mongo"},
    {"mongodb+srv:", NULL, "store_mongo"},
    {"ram:", &store__ram, NULL},
};

enum err store_open_with(const struct store_options *options, struct store **out, struct why *why) {
  const char *uri = options->uri;
  for (size_t i = 0; i < COUNT_OF(kinds); i++) {
    if (!span_starts(span_of(uri), span_of(kinds[i].scheme))) continue;
    const struct store_kind *kind = kinds[i].kind;
    enum err e = kind ? ERR_OK : store__load(kinds[i].module, &kind, why);
    return e ? e : kind->open(options, uri + strlen(kinds[i].scheme), out, why);
  }
  // Only the scheme is told: the rest may hold a password.
  const char *colon = strchr(uri, ':');
  why_set(why, "directory.store: \"%.*s\" is no store that this wahookd has: use sqlite:PATH, mongodb://HOST/DATABASE, or ram: for tests",
          colon ? (int)(colon - uri + 1) : 0, uri);
  return ERR_CONFIG;
}

void store_configured(const struct config *config, unsigned processes, struct buf *uri, struct store_options *out) {
  config_store_uri(config, uri);
  *out = (struct store_options){
      .uri = uri->data,
      .database = config->directory_database,
      .pool_max = (unsigned)config->directory_pool_max,
      .pool_min = (unsigned)config->directory_pool_min,
      .processes = processes,
      .slow_query_ms = config->directory_slow_query ? config->directory_slow_query : -1,
      .make_indexes = config->directory_auto_indexes,
  };
}

enum err store_open(const char *uri, struct store **out, struct why *why) {
  return store_open_with(&(struct store_options){.uri = uri}, out, why);
}

void store_close(struct store *store) {
  if (!store) return;
  ALWAYS(store->magic == STORE_MAGIC);
  store->kind->close(store);
}

enum err store_find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  if (key.len == 0 || (kind == DIRECTORY_PHONE && !business_phone_id_valid(key))) {
    why_set(why, "no such business");
    return ERR_NOT_FOUND;
  }
  return store->kind->find(store, kind, key, out, why);
}

enum err store__find_phones(struct store *store, const struct span *keys, unsigned count, struct business **out, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC && count <= STORE_PHONES_MAX);
  return store->kind->find_phones ? store->kind->find_phones(store, keys, count, out, why) : ERR_UNSUPPORTED;
}

enum err store_each(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                    void *ctx, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC && (which != STORE_ACTIVE || !position));
  return store->kind->each(store, which, position, max, on_business, ctx, why);
}

enum err store_get(struct store *store, const char *any_name, struct business **out, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  if (any_name[0] != '\0') return store->kind->get(store, any_name, out, why);
  why_set(why, "no business has an empty name");
  return ERR_NOT_FOUND;
}

enum err store_put(struct store *store, const struct business *business, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  if (business->id[0] == '\0') {
    why_set(why, "a business needs an id");
    return ERR_RANGE;
  }
  for (unsigned i = 0; i < business->phone_count; i++) {
    if (business_phone_id_valid(span_of(business->phone_number_ids[i]))) continue;
    why_set(why, "\"%.60s\" is no phone number id (1 to 32 of 0-9 A-Z a-z _ -)", business->phone_number_ids[i]);
    return ERR_RANGE;
  }
  return store->kind->put(store, business, why);
}

enum err store_remove(struct store *store, const char *id, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  return store->kind->remove(store, id, why);
}

enum err store_swap_token(struct store *store, const char *id, enum store_token which, const char *from, const char *to, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC && from[0] != '\0');
  enum err e = store->kind->swap_token(store, id, which, from, to, why);
  if (e == ERR_CONFLICT) why_set(why, "the token was changed meanwhile, or the business removed");
  return e;
}

enum err store_begin(struct store *store, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  return store->kind->begin(store, why);
}

enum err store_end(struct store *store, bool commit, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  return store->kind->end(store, commit, why);
}

enum err store_count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  return store->kind->count(store, all, active, why);
}

enum err store__changed(struct store *store, uint64_t *version, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  return store->kind->changed(store, version, why);
}

enum err store_ping(struct store *store, struct why *why) {
  uint64_t version;
  return store__changed(store, &version, why);
}

// ---------------------------------------------------------------- indexes and statistics

const char *store_index_state_name(enum store_index_state state) {
  static const char *const names[] = {"there", "there under another name", "missing", "in conflict", "made", "not ours"};
  return names[state];
}

const char *store_cause_name(enum store_cause cause) {
  static const char *const names[STORE_CAUSES] = {"network", "timeout", "auth", "server"};
  return names[cause];
}

static enum err indexes(struct store *store, bool ensure, store_on_index *on_index, void *ctx, struct why *why) {
  ALWAYS(store->magic == STORE_MAGIC);
  if (store->kind->indexes) return store->kind->indexes(store, ensure, on_index, ctx, why);
  why_set(why, "the indexes of this store are part of its schema: there is nothing to do");
  return ERR_UNSUPPORTED;
}

enum err store_indexes_show(struct store *store, store_on_index *on_index, void *ctx, struct why *why) {
  return indexes(store, false, on_index, ctx, why);
}

enum err store_indexes_ensure(struct store *store, store_on_index *on_index, void *ctx, struct why *why) {
  return indexes(store, true, on_index, ctx, why);
}

enum err store_stats(struct store *store, struct store_stats *out) {
  ALWAYS(store->magic == STORE_MAGIC);
  if (!store->kind->stats) return ERR_UNSUPPORTED;
  store->kind->stats(store, out);
  return ERR_OK;
}
