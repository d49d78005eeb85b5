// Lists of deadlines in order. Runs in workers and tools.
#include "deadline.h"

void http__deadlines_init(struct http__deadlines *all) {
  for (int kind = 0; kind < HTTP__D_COUNT; kind++)
    all->lists[kind].previous = all->lists[kind].next = &all->lists[kind];
}

void http__deadline_set(struct http__deadlines *all, struct http__deadline *entry, enum http__deadline_kind kind, int64_t at_us) {
  if (entry->kind != HTTP__D_NONE) {
    entry->previous->next = entry->next;
    entry->next->previous = entry->previous;
  }
  entry->kind = kind;
  entry->at_us = at_us;
  if (kind == HTTP__D_NONE) return;
  struct http__deadline *list = &all->lists[kind];
  entry->previous = list->previous;
  entry->next = list;
  list->previous->next = entry;
  list->previous = entry;
}

struct http__deadline *http__deadline_due(struct http__deadlines *all, enum http__deadline_kind kind, int64_t now_us) {
  struct http__deadline *first = all->lists[kind].next;
  return first != &all->lists[kind] && first->at_us <= now_us ? first : NULL;
}
