// Businesses that keep their messages for a time of their own (the field `retention`): the directory tells who they are, the spool deletes
// what is over. Runs in the dispatcher.
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define SWEEP_EVERY_S 10
#define LIST_EVERY_US INT64_C(300000000) // also when no change was noticed: a store may tell of none
#define LIST_AGAIN_US INT64_C(60000000)  // after one that failed
#define COMPLAIN_US   INT64_C(3600000000)

// A number and whose it is: of several businesses that have it, the active one, the newest.
struct claim {
  struct spool_retention row;
  bool active;
  int64_t created_ms;
};

static int best_first(const void *a, const void *b) {
  const struct claim *x = a, *y = b;
  int order = strcmp(x->row.phone_number_id, y->row.phone_number_id);
  if (order) return order;
  if (x->active != y->active) return x->active ? -1 : 1;
  return x->created_ms > y->created_ms ? -1 : x->created_ms < y->created_ms;
}

static void complain(struct dispatch *d, struct business *b) {
  struct why why = {""};
  uint64_t held_back, key = hash_keyed(b->id, strlen(b->id)) ^ hash_keyed(b->retention, strlen(b->retention));
  if (business_settle(b, &why) == ERR_OK || !log_limited(&d->retention.limit, key, dispatch__mono_us(d), COMPLAIN_US, &held_back)) return;
  log_error("dispatch", "business %s: %s; dispatch.retention is in force for it", b->id, why.text);
}

// The numbers that have a time of their own, each once.
static struct spool_retention *rows_of(struct dispatch *d, struct business *const *businesses, size_t count, size_t *row_count) {
  struct claim *claims = xcalloc(count * BUSINESS_PHONES_MAX + 1, sizeof *claims);
  size_t claim_count = 0;
  for (size_t i = 0; i < count; i++) {
    struct business *b = businesses[i];
    if (b->retention_ms == 0) complain(d, b);
    for (unsigned p = 0; p < b->phone_count && b->retention_ms > 0; p++)
      claims[claim_count++] =
          (struct claim){{b->phone_number_ids[p], b->retention_ms * 1000}, b->is_active && b->whatsapp_enabled, b->created_ms};
  }
  qsort(claims, claim_count, sizeof *claims, best_first);
  struct spool_retention *rows = xcalloc(claim_count + 1, sizeof *rows);
  *row_count = 0;
  for (size_t i = 0; i < claim_count; i++) {
    if (i == 0 || strcmp(claims[i].row.phone_number_id, claims[i - 1].row.phone_number_id) != 0) rows[(*row_count)++] = claims[i].row;
  }
  free(claims);
  return rows;
}

static void on_swept(void *ctx, enum err result, size_t rows, bool more) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  d->asks--;
  if (rows) log_debug("dispatch", "%zu messages whose business keeps them no longer were deleted", rows);
  d->retention.more = result == ERR_OK && more;
  dispatch__settle(d);
}

static void sweep(struct dispatch *d) {
  d->asks++;
  spool_expire(d->spool, dispatch__steady_us(d), on_swept, d);
}

static void on_taken(void *ctx, enum err result) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  d->asks--;
  if (result != ERR_OK) d->retention.list_at_us = 0; // with the next sweep again
  dispatch__settle(d);
}

static void on_listed(void *ctx, struct business *const *businesses, int count) {
  struct dispatch *d = ctx;
  struct retention_state *r = &d->retention;
  ALWAYS(d->magic == DISPATCH_MAGIC && !d->stopping);
  r->listing = false;
  r->listed = count >= 0;
  r->list_at_us = dispatch__mono_us(d) + (r->listed ? LIST_EVERY_US : LIST_AGAIN_US);
  if (r->listed) {
    size_t row_count = 0;
    struct spool_retention *rows = rows_of(d, businesses, (size_t)count, &row_count);
    d->asks++;
    spool_retentions(d->spool, rows, row_count, on_taken, d);
    free(rows);
    if (row_count != r->numbers) log_info("dispatch", "%zu numbers have a retention of their own", row_count);
    r->numbers = row_count;
  }
  sweep(d); // while the directory cannot be asked, by what was known last
}

void retention__second(struct dispatch *d) {
  struct retention_state *r = &d->retention;
  if (r->listing || (!r->more && r->seconds++ % SWEEP_EVERY_S)) return;
  uint64_t changes = directory_changes(d->options.directory);
  if ((!r->listed || r->changes == changes) && dispatch__mono_us(d) < r->list_at_us) {
    sweep(d);
    return;
  }
  r->listing = true;
  r->changes = changes;
  directory_retentions(d->options.directory, on_listed, d);
}

void retention__stop(struct dispatch *d) {
  if (d->retention.listing) directory_retentions_drop(d->options.directory);
}
