// Watches the store for changes and tells all processes which keys to forget. One process of a daemon does: the dispatcher.
#ifndef WAHOOK_DIRECTORY_WATCH_H
#define WAHOOK_DIRECTORY_WATCH_H

#include "store.h"

struct watch;
struct watch_options {
  const struct store_options *store;
  struct shm *shm;
  struct shm_slot *slot;     // is told the state of the store's indexes
  const char *position_path; // file that keeps the position over a restart; NULL: none
};
// NULL when the store needs no watching.
struct watch *watch_start(const struct watch_options *options);
// Nothing is told any more afterwards. Waits a moment for the thread; one that hangs in the network ends by itself.
void watch_stop(struct watch *watch);

#endif
