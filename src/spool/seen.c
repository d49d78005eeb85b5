// The memory of event ids: which (phone number, wamid, kind) was taken before. Runs on the spool's thread.
//
// Ids are random: each that went straight into its place in the tree would change a page of its own, and a transaction would cost as many
// pages as it has ids. So they are first appended to a table that is in the order of their coming, and remembered (seen_recent.c); when
// there are many, they go into the tree in its order, some with each transaction, so that a page takes many of them at once.
#include "spool/store.h"

#include <string.h>

// Meta delivers again for up to 7 days; 8 are promised. Ids are kept by buckets of four days: with this one and the two before it, the
// memory reaches back 8 to 12 days, a look-up costs three descents at most, and forgetting a bucket cuts off one end of the tree.
#define BUCKET_US    (INT64_C(4) * 86400 * 1000000)
#define BUCKETS_KEPT 3
// For each new id two are moved on, so that a round ends before the next one is due.
#define MOVED_EACH 2

static enum err load_buckets(struct store *store) {
  struct store_state *s = &store->state;
  sqlite3_stmt *stmt = store->stmts[STMT_SEEN_NEXT_BUCKET];
  int64_t bucket = INT64_MIN;
  s->bucket_count = 0;
  for (bool row = true; row && s->bucket_count < STORE_BUCKETS;) {
    sql__i64(stmt, 1, bucket);
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) break;
    bucket = sqlite3_column_int64(stmt, 0);
    sqlite3_reset(stmt);
    s->buckets[s->bucket_count++] = bucket;
  }
  return ERR_OK;
}

static enum err load_recent(struct store *store) {
  struct seen_recent *recent = &store->recent;
  recent__clear(recent);
  sqlite3_stmt *stmt = store->stmts[STMT_RECENT_LIST];
  for (;;) {
    bool row = false;
    enum err e = sql__row(stmt, &row);
    if (e) return e;
    if (!row) return ERR_OK;
    struct seen_id id = {.n = sqlite3_column_int64(stmt, 0), .bucket = sqlite3_column_int64(stmt, 1)};
    struct span bytes = sql__span(stmt, 2);
    if (bytes.len == sizeof id.id) memcpy(id.id, bytes.ptr, sizeof id.id);
    recent__add(recent, &id);
  }
}

enum err seen__load(struct store *store) {
  enum err e = load_buckets(store);
  return e ? e : load_recent(store);
}

// The bucket to add to. Every one that exists is searched, also one of a future that a clock which was set back has seen.
static int64_t open_bucket(struct store_state *s, int64_t bucket) {
  for (size_t i = 0; i < s->bucket_count; i++) {
    if (s->buckets[i] == bucket) return bucket;
  }
  // Nobody has cleaned for half a year: go on in the last one rather than forget.
  if (s->bucket_count == STORE_BUCKETS) return s->buckets[STORE_BUCKETS - 1];
  s->buckets[s->bucket_count++] = bucket;
  return bucket;
}

static enum err find(struct store *store, int64_t bucket, struct span id, bool *found) {
  sqlite3_stmt *stmt = store->stmts[STMT_SEEN_FIND];
  sql__i64(stmt, 1, bucket);
  sql__blob(stmt, 2, id);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  if (row) sqlite3_reset(stmt);
  *found = row;
  return ERR_OK;
}

static enum err add(struct store *store, const struct seen_id *id) {
  sqlite3_stmt *stmt = store->stmts[STMT_RECENT_ADD];
  sql__i64(stmt, 1, id->n);
  sql__i64(stmt, 2, id->bucket);
  sql__blob(stmt, 3, (struct span){(const char *)id->id, sizeof id->id});
  enum err e = sql__run(stmt);
  if (!e) recent__add(&store->recent, id);
  return e;
}

enum err seen__take(struct store *store, const struct spool_item *item, int64_t now_us, bool *duplicate) {
  struct buf *key = &store->scratch;
  buf_clear(key);
  buf_add_span(key, item->phone_number_id);
  buf_add_byte(key, '\0');
  buf_add_span(key, item->wamid);
  buf_add_byte(key, '\0');
  buf_add_span(key, item->dedup);
  struct seen_id id = {.n = store->recent.next_n, .bucket = now_us / BUCKET_US};
  hash_stable128(key->data, key->len, id.id);

  bool found = recent__has(&store->recent, id.id);
  for (size_t i = 0; i < store->state.bucket_count && !found; i++) {
    enum err e = find(store, store->state.buckets[i], (struct span){(const char *)id.id, sizeof id.id}, &found);
    if (e) return e;
  }
  enum err e = found ? ERR_OK : add(store, &id);
  if (!e) *duplicate = found;
  return e;
}

static enum err move_one(struct store *store, const struct seen_id *id) {
  sqlite3_stmt *stmt = store->stmts[STMT_SEEN_ADD];
  sql__i64(stmt, 1, open_bucket(&store->state, id->bucket));
  sql__blob(stmt, 2, (struct span){(const char *)id->id, sizeof id->id});
  return sql__run(stmt);
}

// What a round has moved is forgotten here, and its rows go, too, a piece at a time. Until they are gone a restart begins the round anew.
static enum err delete_moved(struct store *store, size_t max) {
  struct seen_recent *recent = &store->recent;
  int64_t upto = recent->first_n + (int64_t)max < recent->moved_n ? recent->first_n + (int64_t)max : recent->moved_n;
  sqlite3_stmt *stmt = store->stmts[STMT_RECENT_DELETE];
  sql__i64(stmt, 1, upto);
  recent->first_n = upto;
  return sql__run(stmt);
}

enum err seen__move(struct store *store, size_t taken) {
  struct seen_recent *recent = &store->recent;
  size_t max = taken * MOVED_EACH;
  if (recent->first_n < recent->moved_n) return delete_moved(store, max);
  if (!recent->order_count && !recent__sort(recent)) return ERR_OK;
  for (; max > 0 && recent->moved < recent->order_count; max--) {
    enum err e = move_one(store, &recent->ids[recent->order[recent->moved].index]);
    if (e) return e;
    recent->moved++;
  }
  if (recent->moved == recent->order_count) recent__drop_moved(recent);
  return ERR_OK;
}

static enum err clean_tree(struct store *store, int64_t keep_from, size_t max, size_t *rows) {
  struct store_state *s = &store->state;
  size_t i = 0;
  while (i < s->bucket_count && s->buckets[i] >= keep_from)
    i++;
  if (i == s->bucket_count) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_SEEN_CLEAN];
  sql__i64(stmt, 1, s->buckets[i]);
  sql__i64(stmt, 2, (int64_t)max - 1);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  if (e) return e;
  *rows += gone;
  if (gone == max) return ERR_OK; // there may be more
  s->bucket_count--;
  for (; i < s->bucket_count; i++)
    s->buckets[i] = s->buckets[i + 1];
  return ERR_OK;
}

// Those of a bucket that is over go all at once: there are not many, and it is once in four days.
static enum err clean_recent(struct store *store, int64_t keep_from, size_t *rows) {
  if (!recent__older(&store->recent, keep_from)) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_RECENT_CLEAN];
  sql__i64(stmt, 1, keep_from);
  size_t gone = 0;
  enum err e = sql__change(stmt, &gone);
  if (e) return e;
  *rows += gone;
  return load_recent(store);
}

enum err seen__clean(struct store *store, int64_t now_us, size_t max, size_t *rows) {
  int64_t keep_from = now_us / BUCKET_US - (BUCKETS_KEPT - 1);
  enum err e = clean_recent(store, keep_from, rows);
  return e ? e : clean_tree(store, keep_from, max, rows);
}
