// One job as JSON, with its outgoing messages and their delivery statuses, for the operator. Runs in tools.
#include "spool/view.h"

#define SHOW_JSON_BYTES (16u << 20)

static void put_time(const struct spool_view *view, struct json_writer *w, const char *key, int64_t stored_us) {
  if (stored_us == 0) {
    json_put_null(w, key);
    return;
  }
  char text[25];
  clock_format_iso(view__wall_us(view, stored_us), text);
  json_put_string(w, key, text);
}

// As JSON where it is JSON, else as text.
static void put_json(struct json_writer *w, const char *key, struct span text) {
  struct arena arena;
  arena_init(&arena, 4096, SHOW_JSON_BYTES);
  const struct json *json = NULL;
  if (json_parse(&arena, text, NULL, &json, NULL))
    json_put_text(w, key, text);
  else
    json_put_raw(w, key, text);
  arena_free(&arena);
}

static void put_status(const struct spool_view *view, struct json_writer *w, sqlite3_stmt *stmt) {
  if (sqlite3_column_type(stmt, 6) == SQLITE_NULL) {
    json_put_null(w, "status");
    return;
  }
  json_open(w, "status", '{');
  json_put_string(w, "status", status__name(sqlite3_column_int64(stmt, 6)));
  put_time(view, w, "at", sqlite3_column_int64(stmt, 7));
  if (sqlite3_column_int64(stmt, 6) == SPOOL_STATUS_FAILED) {
    json_put_i64(w, "error_code", sqlite3_column_int64(stmt, 8));
    json_put_text(w, "error", sql__span(stmt, 9));
  }
  json_close(w, '}');
}

static enum err show_outgoing(struct spool_view *view, int64_t job, struct json_writer *w, struct why *why) {
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view,
                             "SELECT o.id, o.state, o.unknown_since_us, o.sent_us, o.wamid, o.body, s.status, s.at_us, s.error_code,"
                             " s.error_text FROM outgoing o LEFT JOIN statuses s ON o.wamid <> '' AND s.wamid = o.wamid"
                             " WHERE o.id >= ?1 AND o.id <= ?2 ORDER BY o.id",
                             &stmt, why);
  if (e) return e;
  sql__i64(stmt, 1, STORE_OUT_FIRST(job));
  sql__i64(stmt, 2, STORE_OUT_LAST(job));
  json_open(w, "outgoing", '[');
  for (;;) {
    bool row = false;
    e = sql__row(stmt, &row);
    if (e || !row) break;
    json_open(w, NULL, '{');
    json_put_i64(w, "index", sqlite3_column_int64(stmt, 0) - STORE_OUT_FIRST(job));
    json_put_string(w, "state", out__state_name(sqlite3_column_int64(stmt, 1)));
    put_time(view, w, "unknown_since", sqlite3_column_int64(stmt, 2));
    put_time(view, w, "sent", sqlite3_column_int64(stmt, 3));
    json_put_text(w, "wamid", sql__span(stmt, 4));
    put_status(view, w, stmt);
    put_json(w, "body", sql__span(stmt, 5));
    json_close(w, '}');
  }
  json_close(w, ']');
  if (e) view__fail(view, e, why);
  sqlite3_finalize(stmt);
  return e;
}

static void put_job(const struct spool_view *view, struct json_writer *w, sqlite3_stmt *stmt) {
  json_put_i64(w, "id", sqlite3_column_int64(stmt, 0));
  json_put_i64(w, "conversation", sqlite3_column_int64(stmt, 1));
  json_put_string(w, "state", spool_job_state_name((enum spool_job_state)sqlite3_column_int(stmt, 2)));
  json_put_i64(w, "attempts", sqlite3_column_int64(stmt, 3));
  json_put_bool(w, "answered", sqlite3_column_int(stmt, 4) != 0);
  put_time(view, w, "received", sqlite3_column_int64(stmt, 5));
  put_time(view, w, "message_time", sqlite3_column_int64(stmt, 6));
  put_time(view, w, "next", sqlite3_column_int64(stmt, 7));
  put_time(view, w, "finished", sqlite3_column_int64(stmt, 8));
  put_time(view, w, "last_inbound", sqlite3_column_int64(stmt, 9));
  static const char *const names[] = {"phone_number_id", "user", "wamid", "type", "profile_name", "reason"};
  for (size_t i = 0; i < COUNT_OF(names); i++)
    json_put_text(w, names[i], sql__span(stmt, 10 + (int)i));
  put_json(w, "raw", sql__span(stmt, 16));
}

enum err spool_view_show(struct spool_view *view, int64_t job, struct json_writer *w, struct why *why) {
  sqlite3_stmt *stmt = NULL;
  enum err e = view__prepare(view,
                             "SELECT j.id, j.conversation, j.state, j.attempts, " JOB_IS_ANSWERED ", j.received_us, j.sent_us, j.next_us,"
                             " j.finished_us, c.last_inbound_us, c.phone_number_id, c.user, j.wamid, j.type, j.profile_name, j.reason,"
                             " j.raw FROM jobs j JOIN conversations c ON c.id = j.conversation WHERE j.id = ?1",
                             &stmt, why);
  if (e) return e;
  sql__i64(stmt, 1, job);
  bool row = false;
  e = sql__row(stmt, &row);
  if (e) view__fail(view, e, why);
  if (!e && row) put_job(view, w, stmt);
  sqlite3_finalize(stmt);
  if (e) return e;
  if (!row) {
    why_set(why, "there is no job %lld", (long long)job);
    return ERR_NOT_FOUND;
  }
  return show_outgoing(view, job, w, why);
}
