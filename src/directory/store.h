// What a back end of the directory implements: one row of the table in store.c.
#ifndef WAHOOK_DIRECTORY_STORE_H
#define WAHOOK_DIRECTORY_STORE_H

#include "wahook/directory.h"

#define STORE_MAGIC 0x53544f52u

// All verbs block and may be called from several threads at once, but for begin..end, which is one caller's.
struct store_kind {
  const char *scheme;
  enum err (*open)(const char *rest, struct store **out, struct why *why); // what follows the scheme; touches nothing yet
  void (*close)(struct store *store);
  enum err (*find)(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why);
  enum err (*each)(struct store *store, bool active_only, const char *after_id, unsigned max,
                   void (*on_business)(void *ctx, const struct business *business), void *ctx, struct why *why);
  enum err (*get)(struct store *store, const char *any_name, struct business **out, struct why *why);
  enum err (*put)(struct store *store, const struct business *business, struct why *why);
  enum err (*remove)(struct store *store, const char *id, struct why *why);
  enum err (*begin)(struct store *store, struct why *why);
  enum err (*end)(struct store *store, bool commit, struct why *why);
  enum err (*count)(struct store *store, uint64_t *all, uint64_t *active, struct why *why);
  // A number that is another one whenever businesses may have changed since the last call.
  enum err (*changed)(struct store *store, uint64_t *version, struct why *why);
};
// Embedded first in each back end's own struct.
struct store {
  uint32_t magic;
  const struct store_kind *kind;
};

extern const struct store_kind store__sqlite, store__ram;

// Makes the file with mode 0640 before SQLite makes it with the umask's, unless it is there. Made by root, it goes to whom the folder
// belongs to: the daemon's processes, which are not root, must be able to write to it.
void store__make_file(const char *path);
enum err store__changed(struct store *store, uint64_t *version, struct why *why) MUST_CHECK;

#endif
