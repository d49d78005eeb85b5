// The ids that came last, in memory. Runs on the spool's thread.
#include "spool/seen_recent.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 1024

// The ids are a hash already. In the order in which SQLite compares them, too.
static uint64_t head_of(const uint8_t id[static SEEN_BYTES]) {
  uint64_t head = 0;
  for (size_t i = 0; i < sizeof head; i++)
    head = head << 8 | id[i];
  return head;
}

static void index_one(struct seen_recent *recent, size_t at) {
  size_t mask = recent->slot_count - 1, slot = (size_t)head_of(recent->ids[at].id) & mask;
  while (recent->slots[slot])
    slot = (slot + 1) & mask;
  recent->slots[slot] = (uint32_t)at + 1;
}

static void index_all(struct seen_recent *recent, size_t slots) {
  free(recent->slots);
  recent->slots = xcalloc(slots, sizeof *recent->slots);
  recent->slot_count = slots;
  for (size_t i = 0; i < recent->count; i++)
    index_one(recent, i);
}

static void end_round(struct seen_recent *recent) {
  free(recent->order);
  recent->order = NULL;
  recent->order_count = recent->moved = 0;
}

void recent__clear(struct seen_recent *recent) {
  end_round(recent);
  recent->count = 0;
  recent->next_n = 1;
  recent->first_n = recent->moved_n = 0;
  recent->stale = false;
  index_all(recent, recent->slot_count ? recent->slot_count : SLOTS_MIN);
}

void recent__free(struct seen_recent *recent) {
  end_round(recent);
  free(recent->ids);
  free(recent->slots);
}

void recent__add(struct seen_recent *recent, const struct seen_id *id) {
  if (recent->count == recent->size) {
    recent->size = recent->size ? recent->size * 2 : SLOTS_MIN / 2;
    recent->ids = xrealloc(recent->ids, recent->size * sizeof *recent->ids);
  }
  recent->ids[recent->count++] = *id;
  recent->next_n = id->n + 1;
  if (recent->count > recent->slot_count / 2)
    index_all(recent, recent->slot_count * 2);
  else
    index_one(recent, recent->count - 1);
}

bool recent__has(const struct seen_recent *recent, const uint8_t id[static SEEN_BYTES]) {
  size_t mask = recent->slot_count - 1;
  for (size_t slot = (size_t)head_of(id) & mask; recent->slots[slot]; slot = (slot + 1) & mask)
    if (memcmp(recent->ids[recent->slots[slot] - 1].id, id, SEEN_BYTES) == 0) return true;
  return false;
}

bool recent__older(const struct seen_recent *recent, int64_t bucket) {
  for (size_t i = 0; i < recent->count; i++)
    if (recent->ids[i].bucket < bucket) return true;
  return false;
}

static int by_place(const void *a, const void *b) {
  const struct seen_place *x = a, *y = b;
  if (x->bucket != y->bucket) return x->bucket < y->bucket ? -1 : 1;
  return x->head < y->head ? -1 : x->head > y->head;
}

bool recent__sort(struct seen_recent *recent) {
  if (recent->count < SEEN_RECENT_MANY) return false;
  recent->order = xcalloc(recent->count, sizeof *recent->order);
  recent->order_count = recent->count;
  for (size_t i = 0; i < recent->count; i++)
    recent->order[i] = (struct seen_place){recent->ids[i].bucket, head_of(recent->ids[i].id), (uint32_t)i};
  qsort(recent->order, recent->order_count, sizeof *recent->order, by_place);
  return true;
}

void recent__drop_moved(struct seen_recent *recent) {
  size_t gone = recent->order_count;
  recent->first_n = recent->ids[0].n - 1;
  recent->moved_n = recent->ids[gone - 1].n;
  recent->count -= gone;
  memmove(recent->ids, recent->ids + gone, recent->count * sizeof *recent->ids);
  end_round(recent);
  index_all(recent, recent->slot_count);
}
