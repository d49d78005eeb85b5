// The ids that came last, in memory: those of the table seen_recent, in its order, and a hash index. Pure: SQLite is seen.c's.
#ifndef SPOOL_SEEN_RECENT_H
#define SPOOL_SEEN_RECENT_H

#include "wahook/base.h"

#define SEEN_BYTES 16
// So many are gathered before they are moved to the tree: 2 MiB here, a fraction of a second at a start.
#define SEEN_RECENT_MANY 65536

struct seen_id {
  int64_t n, bucket; // n: in the order of their coming
  uint8_t id[SEEN_BYTES];
};

struct seen_place; // one in the tree's order

struct seen_recent {
  struct seen_id *ids;
  size_t count, size;
  uint32_t *slots; // open addressing: index + 1, 0: free
  size_t slot_count;
  int64_t next_n;
  bool stale; // a transaction failed: what is here is to be read again
  // A round that moves ids to the tree: those that were there at its beginning, in the tree's order.
  struct seen_place {
    int64_t bucket;
    uint64_t head; // of the id, as it is compared
    uint32_t index;
  } * order;
  size_t order_count, moved;
  int64_t first_n, moved_n; // rows behind first_n and up to moved_n are in the tree, and to be deleted
};

void recent__clear(struct seen_recent *recent);
void recent__free(struct seen_recent *recent);
// Ids come with growing n.
void recent__add(struct seen_recent *recent, const struct seen_id *id);
bool recent__has(const struct seen_recent *recent, const uint8_t id[static SEEN_BYTES]);
// Whether there is one of a bucket before that one.
bool recent__older(const struct seen_recent *recent, int64_t bucket);
// Begins a round, once there are many; false: there are not.
bool recent__sort(struct seen_recent *recent);
// Ends it: they are in the tree.
void recent__drop_moved(struct seen_recent *recent);

#endif
