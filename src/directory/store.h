// What a back end of the directory implements: one row of the table in store.c.
#ifndef WAHOOK_DIRECTORY_STORE_H
#define WAHOOK_DIRECTORY_STORE_H

#include "wahook/directory.h"

#define STORE_MAGIC 0x53544f52u

// Watching a store for changes, in a thread of its own.
struct store_watch {
  // The watch is on: from `position` on when it was `resumed`, else from some seconds before now on.
  void (*on_open)(void *ctx, bool resumed);
  // What a cache may hold of a business that has changed: "id:...", "phone:...", "subdomain:...", "waba:...".
  void (*on_key)(void *ctx, struct span key);
  void (*on_gap)(void *ctx);      // changes were missed: anything may have changed
  void (*on_position)(void *ctx); // `position` has moved
  bool (*stopped)(void *ctx);     // asked several times a second
  void *ctx;
  struct buf position; // where to go on, also after a restart; empty: nowhere
};
#define STORE_WATCH_BACK_S 10

// All verbs block and may be called from several threads at once, but for begin..end, which is one caller's.
struct store_kind {
  // `rest` is what follows the scheme in options->uri. Touches nothing yet.
  enum err (*open)(const struct store_options *options, const char *rest, struct store **out, struct why *why);
  void (*close)(struct store *store);
  enum err (*find)(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why);
  // See store__find_phones(). NULL: one by one costs no more.
  enum err (*find_phones)(struct store *store, const struct span *keys, unsigned count, struct business **out, struct why *why);
  enum err (*each)(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                   void *ctx, struct why *why);
  enum err (*get)(struct store *store, const char *any_name, struct business **out, struct why *why);
  enum err (*put)(struct store *store, const struct business *business, struct why *why);
  enum err (*remove)(struct store *store, const char *id, struct why *why);
  enum err (*swap_token)(struct store *store, const char *id, enum store_token which, const char *from, const char *to, struct why *why);
  enum err (*begin)(struct store *store, struct why *why);
  enum err (*end)(struct store *store, bool commit, struct why *why);
  enum err (*count)(struct store *store, uint64_t *all, uint64_t *active, struct why *why);
  // A number that is another one whenever businesses may have changed since the last call; one that never moves tells only that the
  // store answers.
  enum err (*changed)(struct store *store, uint64_t *version, struct why *why);
  // Tells changes until it is stopped (ERR_CLOSED) or the store fails. NULL: what `changed` tells is enough.
  enum err (*watch)(struct store *store, struct store_watch *watch, struct why *why);
  // NULL where there is nothing to tell.
  enum err (*indexes)(struct store *store, bool ensure, store_on_index *on_index, void *ctx, struct why *why);
  void (*stats)(struct store *store, struct store_stats *out);
  void (*set_slow)(struct store *store, int64_t slow_us); // from now on; -1: nothing is slow
};
// What `slow_query_ms` of the options means; -1: nothing is slow.
static inline int64_t store__slow_us(int64_t slow_query_ms) {
  return slow_query_ms < 0 ? -1 : (slow_query_ms ? slow_query_ms : 1000) * 1000;
}

// Embedded first in each back end's own struct.
struct store {
  uint32_t magic;
  const struct store_kind *kind;
};

extern const struct store_kind store__sqlite, store__ram;

// A back end that is loaded when it is first used: the shared object's one symbol, "store_module".
struct store_module {
  const char *version; // of the wahookd that it was built with
  size_t kind_bytes;   // as a guard: sizeof(struct store_kind)
  const struct store_kind *kind;
};
enum err store__load(const char *name, const struct store_kind **out, struct why *why) MUST_CHECK;

// As business_from_json; leniently, a phone number that none can have is passed over instead of costing the business.
enum err store__business(const struct json *document, bool lenient, struct business **out, struct why *why) MUST_CHECK;

enum err store__changed(struct store *store, uint64_t *version, struct why *why) MUST_CHECK;

// Several phone numbers (valid ones) in one question: out[i] is NULL where no business has keys[i]. ERR_UNSUPPORTED: ask one by one.
#define STORE_PHONES_MAX 32
enum err store__find_phones(struct store *store, const struct span *keys, unsigned count, struct business **out,
                            struct why *why) MUST_CHECK;

#endif
