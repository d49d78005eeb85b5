// The memory of event ids: which (phone number, wamid, kind) was taken before. Runs on the spool's thread.
#include "spool/store.h"

// Meta delivers again for up to 7 days; 8 are promised. Ids are kept by buckets of four days: with this one and the two before it, the
// memory reaches back 8 to 12 days, a look-up costs three descents at most, and forgetting a bucket cuts off one end of the tree.
#define BUCKET_US    (INT64_C(4) * 86400 * 1000000)
#define BUCKETS_KEPT 3
#define SEEN_BYTES   16

enum err seen__load(struct store *store) {
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

enum err seen__take(struct store *store, const struct spool_item *item, int64_t now_us, bool *duplicate) {
  struct buf *key = &store->scratch;
  buf_clear(key);
  buf_add_span(key, item->phone_number_id);
  buf_add_byte(key, '\0');
  buf_add_span(key, item->wamid);
  buf_add_byte(key, '\0');
  buf_add_span(key, item->dedup);
  uint8_t hash[SEEN_BYTES];
  hash_stable128(key->data, key->len, hash);
  struct span id = {(const char *)hash, sizeof hash};

  int64_t bucket = open_bucket(&store->state, now_us / BUCKET_US);
  enum err e = ERR_OK;
  bool found = false;
  for (size_t i = 0; i < store->state.bucket_count && !found; i++) {
    if (store->state.buckets[i] == bucket) continue;
    if ((e = find(store, store->state.buckets[i], id, &found))) return e;
  }
  if (!found) {
    sqlite3_stmt *stmt = store->stmts[STMT_SEEN_ADD];
    sql__i64(stmt, 1, bucket);
    sql__blob(stmt, 2, id);
    size_t added = 0;
    if ((e = sql__change(stmt, &added))) return e;
    found = added == 0;
  }
  *duplicate = found;
  return ERR_OK;
}

enum err seen__clean(struct store *store, int64_t now_us, size_t max, size_t *rows) {
  struct store_state *s = &store->state;
  int64_t keep_from = now_us / BUCKET_US - (BUCKETS_KEPT - 1);
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
