// Businesses in memory, for tests: "ram:" and "ram:NAME" are shared by all who open the same name in one process. Any thread.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

struct items {
  struct business **at; // by id
  size_t count;
};
// One name's businesses.
struct ram {
  char *name;
  unsigned refs;
  uint64_t version;
  struct items items, before; // before: what an open transaction goes back to
  bool open;
  struct ram *next;
};
struct ram_store {
  struct store store;
  struct ram *ram;
};

// Process-wide by purpose: a test fills the store that the directory under test opens by name.
static pthread_mutex_t ram_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ram *rams;

static struct ram *enter(struct store *store) {
  ALWAYS(pthread_mutex_lock(&ram_lock) == 0);
  return ((struct ram_store *)(void *)store)->ram;
}

static enum err leave(enum err e, struct why *why) {
  ALWAYS(pthread_mutex_unlock(&ram_lock) == 0);
  if (e == ERR_NOT_FOUND) why_set(why, "no such business");
  return e;
}

static void items_free(struct items *items) {
  for (size_t i = 0; i < items->count; i++)
    business_free(items->at[i]);
  free(items->at);
  *items = (struct items){0};
}

static enum err ram_open(const struct store_options *options, const char *rest, struct store **out, struct why *why) {
  (void)options;
  (void)why;
  struct ram_store *s = xcalloc(1, sizeof *s);
  s->store = (struct store){STORE_MAGIC, &store__ram};
  ALWAYS(pthread_mutex_lock(&ram_lock) == 0);
  struct ram *ram = rams;
  while (ram && strcmp(ram->name, rest) != 0)
    ram = ram->next;
  if (!ram) {
    ram = xcalloc(1, sizeof *ram);
    ram->name = xstrdup(rest);
    ram->next = rams;
    rams = ram;
  }
  ram->refs++;
  s->ram = ram;
  *out = &s->store;
  return leave(ERR_OK, NULL);
}

static void ram_close(struct store *store) {
  struct ram *ram = enter(store);
  if (--ram->refs == 0) {
    struct ram **at = &rams;
    while (*at != ram)
      at = &(*at)->next;
    *at = ram->next;
    items_free(&ram->items);
    items_free(&ram->before);
    free(ram->name);
    free(ram);
  }
  (void)leave(ERR_OK, NULL);
  store->magic = 0;
  free(store);
}

static bool has_phone(const struct business *b, struct span phone) {
  for (unsigned i = 0; i < b->phone_count; i++) {
    if (span_eq(span_of(b->phone_number_ids[i]), phone)) return true;
  }
  return false;
}

static bool matches(const struct business *b, enum directory_key kind, struct span key) {
  if (!b->is_active) return false;
  if (kind == DIRECTORY_SUBDOMAIN) return span_eq(span_of(b->sub_domain), key);
  if (!b->whatsapp_enabled) return false;
  return kind == DIRECTORY_WABA ? span_eq(span_of(b->waba_id), key) : has_phone(b, key);
}

// created first, then by id
static bool older(const struct business *a, const struct business *b) {
  return a->created_ms != b->created_ms ? a->created_ms < b->created_ms : strcmp(a->id, b->id) < 0;
}

static const struct business *newest(const struct ram *ram, enum directory_key kind, struct span key) {
  const struct business *found = NULL;
  for (size_t i = 0; i < ram->items.count; i++) {
    const struct business *b = ram->items.at[i];
    if (matches(b, kind, key) && (!found || older(found, b))) found = b;
  }
  return found;
}

static enum err ram_find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) {
  const struct business *found = newest(enter(store), kind, key);
  if (found) *out = business_copy(found);
  return leave(found ? ERR_OK : ERR_NOT_FOUND, why);
}

static struct business *with_own_phones(const struct ram *ram, const struct business *b) {
  struct business *copy = business_copy(b);
  unsigned kept = 0;
  for (unsigned i = 0; i < copy->phone_count; i++) {
    if (newest(ram, DIRECTORY_PHONE, span_of(copy->phone_number_ids[i])) == b) {
      copy->phone_number_ids[kept++] = copy->phone_number_ids[i];
    } else {
      free(copy->phone_number_ids[i]);
    }
  }
  copy->phone_count = kept;
  return copy;
}

static int newest_first(const void *a, const void *b) {
  const struct business *const *x = a, *const *y = b;
  return older(*x, *y) ? 1 : -1;
}

// A position is the id of the last one that was told.
static enum err ram_each(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                         void *ctx, struct why *why) {
  (void)why;
  struct ram *ram = enter(store);
  const struct business **list = xcalloc(ram->items.count + 1, sizeof *list);
  const char *after = position && position->len ? position->data : "";
  size_t count = 0;
  for (size_t i = 0; i < ram->items.count; i++) {
    const struct business *b = ram->items.at[i];
    if (which == STORE_ACTIVE ? !b->is_active || !b->whatsapp_enabled : strcmp(b->id, after) <= 0) continue;
    if (which != STORE_RETENTION || b->retention[0]) list[count++] = b;
  }
  if (which == STORE_ACTIVE) qsort(list, count, sizeof *list, newest_first);
  if (count > max) count = max;
  struct business **copies = xcalloc(count + 1, sizeof *copies);
  for (size_t i = 0; i < count; i++)
    copies[i] = which == STORE_ACTIVE ? with_own_phones(ram, list[i]) : business_copy(list[i]);
  free(list);
  if (position && count) {
    buf_clear(position);
    buf_add_text(position, copies[count - 1]->id);
  }
  enum err e = leave(ERR_OK, NULL);
  for (size_t i = 0; i < count; i++) { // without the lock: the callback may use the store
    on_business(ctx, copies[i]);
    business_free(copies[i]);
  }
  free(copies);
  return e;
}

static enum err ram_get(struct store *store, const char *any_name, struct business **out, struct why *why) {
  struct ram *ram = enter(store);
  const struct business *best = NULL;
  int best_rank = 0;
  for (size_t i = 0; i < ram->items.count; i++) {
    const struct business *b = ram->items.at[i];
    int rank = strcmp(b->id, any_name) == 0 ? 6 : strcmp(b->sub_domain, any_name) == 0 ? 4 : has_phone(b, span_of(any_name)) ? 2 : 0;
    if (rank) rank += b->is_active;
    if (rank > best_rank || (rank && rank == best_rank && older(best, b))) best = b, best_rank = rank;
  }
  if (best) *out = business_copy(best);
  return leave(best ? ERR_OK : ERR_NOT_FOUND, why);
}

// The place of an id: where it is, or where it belongs.
static size_t place(const struct items *items, const char *id, bool *there) {
  size_t i = 0;
  while (i < items->count && strcmp(items->at[i]->id, id) < 0)
    i++;
  *there = i < items->count && strcmp(items->at[i]->id, id) == 0;
  return i;
}

static enum err ram_put(struct store *store, const struct business *business, struct why *why) {
  struct ram *ram = enter(store);
  struct items *items = &ram->items;
  bool there;
  size_t i = place(items, business->id, &there);
  if (there) {
    business_free(items->at[i]);
  } else {
    items->at = xrealloc(items->at, (items->count + 1) * sizeof *items->at);
    memmove(items->at + i + 1, items->at + i, (items->count - i) * sizeof *items->at);
    items->count++;
  }
  items->at[i] = business_copy(business);
  (void)business_settle(items->at[i], NULL); // as if it were read from somewhere
  ram->version++;
  return leave(ERR_OK, why);
}

static enum err ram_remove(struct store *store, const char *id, struct why *why) {
  struct ram *ram = enter(store);
  struct items *items = &ram->items;
  bool there;
  size_t i = place(items, id, &there);
  if (there) {
    business_free(items->at[i]);
    items->count--;
    memmove(items->at + i, items->at + i + 1, (items->count - i) * sizeof *items->at);
    ram->version++;
  }
  return leave(there ? ERR_OK : ERR_NOT_FOUND, why);
}

static enum err ram_swap_token(struct store *store, const char *id, enum store_token which, const char *from, const char *to,
                               struct why *why) {
  struct ram *ram = enter(store);
  bool there;
  size_t i = place(&ram->items, id, &there);
  struct business *b = there ? ram->items.at[i] : NULL;
  char **token = !b ? NULL : which == STORE_ACCESS_TOKEN ? &b->access_token : &b->refresh_token;
  if (!token || strcmp(*token, from) != 0) return leave(ERR_CONFLICT, why);
  free(*token);
  *token = xstrdup(to);
  ram->version++;
  return leave(ERR_OK, why);
}

static enum err ram_begin(struct store *store, struct why *why) {
  struct ram *ram = enter(store);
  ALWAYS(!ram->open);
  ram->open = true;
  ram->before.at = xcalloc(ram->items.count + 1, sizeof *ram->before.at);
  ram->before.count = ram->items.count;
  for (size_t i = 0; i < ram->items.count; i++)
    ram->before.at[i] = business_copy(ram->items.at[i]);
  return leave(ERR_OK, why);
}

static enum err ram_end(struct store *store, bool commit, struct why *why) {
  struct ram *ram = enter(store);
  ALWAYS(ram->open);
  ram->open = false;
  if (!commit) {
    struct items undone = ram->items;
    ram->items = ram->before;
    ram->before = undone;
    ram->version++;
  }
  items_free(&ram->before);
  return leave(ERR_OK, why);
}

static enum err ram_count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) {
  struct ram *ram = enter(store);
  *all = ram->items.count;
  *active = 0;
  for (size_t i = 0; i < ram->items.count; i++)
    *active += ram->items.at[i]->is_active && ram->items.at[i]->whatsapp_enabled;
  return leave(ERR_OK, why);
}

static enum err ram_changed(struct store *store, uint64_t *version, struct why *why) {
  *version = enter(store)->version;
  return leave(ERR_OK, why);
}

const struct store_kind store__ram = {
    .open = ram_open,
    .close = ram_close,
    .find = ram_find,
    .each = ram_each,
    .get = ram_get,
    .put = ram_put,
    .remove = ram_remove,
    .swap_token = ram_swap_token,
    .begin = ram_begin,
    .end = ram_end,
    .count = ram_count,
    .changed = ram_changed,
};
