// Delivery statuses: recorded by the wamid they are about, never going backwards, and proof that a message in doubt was sent. Runs on the
// spool's thread.
#include "spool/store.h"

#include <string.h>

// read > delivered > sent, and a voice message that was played was read. A failure comes after "sent", but what a phone has shown did not
// fail: delivered, read and played overtake it, and it never overtakes them.
static const struct status_kind {
  const char *name;
  int rank;
} kinds[] = {
    [SPOOL_STATUS_NONE] = {"none", 0},           [SPOOL_STATUS_SENT] = {"sent", 1}, [SPOOL_STATUS_FAILED] = {"failed", 2},
    [SPOOL_STATUS_DELIVERED] = {"delivered", 3}, [SPOOL_STATUS_READ] = {"read", 4}, [SPOOL_STATUS_PLAYED] = {"played", 5},
};

const char *status__name(int64_t status) {
  return status >= 0 && status < (int64_t)COUNT_OF(kinds) ? kinds[status].name : "unknown";
}

// "wk-<spool name>-<job>-<index>": the callback data of a message that this spool has sent.
static bool parse_callback(const struct store *store, struct span callback, int64_t *job, uint64_t *index) {
  struct span head = {0};
  if (!span_split(&callback, '-', &head) || !span_eq(head, SPAN("wk"))) return false;
  if (!span_split(&callback, '-', &head) || !span_eq(head, span_of(store->name))) return false;
  if (!span_split(&callback, '-', &head)) return false;
  uint64_t number = 0;
  if (span_u64(head, &number) || number >= (UINT64_C(1) << (63 - STORE_OUT_BITS))) return false;
  if (span_u64(callback, index) || *index >= STORE_OUT_MAX) return false;
  *job = (int64_t)number;
  return true;
}

// Whatever the status says: Graph has accepted the message, or there would be none.
static enum err mark_sent(struct store *store, const struct spool_item *item, int64_t now_us) {
  int64_t job = 0;
  uint64_t index = 0;
  if (!parse_callback(store, item->callback, &job, &index)) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_STATUS_MARKS_SENT];
  sql__i64(stmt, 1, STORE_OUT_FIRST(job) | (int64_t)index);
  sql__text(stmt, 2, item->wamid);
  sql__i64(stmt, 3, now_us);
  sql__i64(stmt, 4, job);
  sql__text(stmt, 5, item->phone_number_id);
  return sql__run(stmt);
}

enum err status__take(struct store *store, const struct spool_item *item, int64_t now_us, bool *late) {
  enum err e = mark_sent(store, item, now_us);
  if (e || item->wamid.len == 0) return e;
  ALWAYS((size_t)item->status < COUNT_OF(kinds));
  sqlite3_stmt *stmt = store->stmts[STMT_STATUS_PUT];
  sql__text(stmt, 1, item->wamid);
  sql__text(stmt, 2, item->phone_number_id);
  sql__text(stmt, 3, item->user);
  sql__i64(stmt, 4, item->status);
  sql__i64(stmt, 5, kinds[item->status].rank);
  sql__i64(stmt, 6, item->sent_us ? item->sent_us : item->received_us);
  sql__i64(stmt, 7, item->error_code);
  sql__text(stmt, 8, item->error_text);
  size_t changed = 0;
  if ((e = sql__change(stmt, &changed))) return e;
  *late = changed == 0;
  return ERR_OK;
}
