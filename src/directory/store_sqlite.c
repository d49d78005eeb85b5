// Businesses in an SQLite file. Runs on pool threads of workers and the dispatcher, and in wahookctl.
//
// Each caller borrows one of a few connections, so that several pool threads read at once; one more connection only watches for
// changes by others. The file is made when it is first needed. A file that was replaced (a backup put back) is noticed and opened
// anew; one that disappeared is an outage, never an empty directory.
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"
#include "store_sqlite_file.h"
#include "store_sqlite_sql.h"

#define CONNECTIONS 4

struct connection {
  sqlite3 *db; // NULL: not open
  sqlite3_stmt *statements[STATEMENTS];
  uint64_t generation; // of the file
  dev_t device;
  ino_t inode;
  bool lent;
};

struct sqlite_store {
  struct store store;
  char *path;
  pthread_mutex_t lock; // guards `lent` and `generation`; a lent connection is its borrower's alone
  pthread_cond_t returned;
  struct connection connections[CONNECTIONS];
  uint64_t generation;
  bool made;                      // the file was there once: if it is not now, that is an outage
  struct connection *transaction; // between begin and end
  pthread_mutex_t watch_lock;     // guards what follows
  struct connection watch;
  int data_version;
  uint64_t version;
};

static struct sqlite_store *of(struct store *store) {
  return (struct sqlite_store *)(void *)store;
}

// ---------------------------------------------------------------- connections

static void disconnect(struct connection *c) {
  for (int i = 0; i < STATEMENTS; i++)
    sqlite3_finalize(c->statements[i]);
  memset(c->statements, 0, sizeof c->statements);
  sqlite3_close(c->db);
  c->db = NULL;
}

static enum err connect_to(struct sqlite_store *s, struct connection *c, bool made, struct why *why) {
  struct stat st;
  if (!made) sqlite__make_file(s->path);
  enum err e = ERR_UNAVAILABLE;
  (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); // a lock for each allocation; refused once SQLite is in use
  if (stat(s->path, &st) != 0) {
    why_set(why, "%s: %s", s->path, strerror(errno));
    return e;
  }
  if (sqlite3_open_v2(s->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
    e = sqlite__failed(s->path, c->db, why);
  } else {
    e = sqlite__prepare(s->path, c->db, why);
  }
  if (e) {
    disconnect(c);
    return e == ERR_VERSION ? e : ERR_UNAVAILABLE;
  }
  c->device = st.st_dev;
  c->inode = st.st_ino;
  return ERR_OK;
}

static enum err borrow(struct sqlite_store *s, struct connection **out, struct why *why) {
  if (s->transaction) {
    *out = s->transaction;
    return ERR_OK;
  }
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  struct connection *c = NULL;
  while (!c) {
    for (int i = 0; i < CONNECTIONS; i++) { // an open one if there is any
      struct connection *each = &s->connections[i];
      if (!each->lent && (!c || (!c->db && each->db))) c = each;
    }
    if (!c) ALWAYS(pthread_cond_wait(&s->returned, &s->lock) == 0);
  }
  c->lent = true;
  uint64_t generation = s->generation;
  bool made = s->made;
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);

  if (c->db && c->generation != generation) disconnect(c);
  enum err e = c->db ? ERR_OK : connect_to(s, c, made, why);
  c->generation = generation;
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  if (e) {
    c->lent = false;
    pthread_cond_signal(&s->returned);
  } else {
    s->made = true;
    *out = c;
  }
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  return e;
}

// A connection that met an error other than a full queue at the lock is not trusted again.
static enum err give_back(struct sqlite_store *s, struct connection *c, enum err e) {
  if (c == s->transaction) return e;
  int code = sqlite3_errcode(c->db) & 0xff;
  if (e == ERR_UNAVAILABLE && code != SQLITE_BUSY && code != SQLITE_LOCKED) disconnect(c);
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  c->lent = false;
  pthread_cond_signal(&s->returned);
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  return e;
}

// ---------------------------------------------------------------- statements

static sqlite3_stmt *statement(struct connection *c, enum statement which) {
  if (!c->statements[which]) sqlite3_prepare_v3(c->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[which], NULL);
  return c->statements[which]; // NULL: binding and stepping then answer SQLITE_MISUSE, and errmsg() tells why
}

static void bind_text(sqlite3_stmt *stmt, int at, struct span text) {
  sqlite3_bind_text(stmt, at, text.ptr, (int)text.len, SQLITE_STATIC);
}

static void done_with(sqlite3_stmt *stmt) {
  sqlite3_reset(stmt);
  sqlite3_clear_bindings(stmt);
}

// One that answers nothing.
static enum err run(struct sqlite_store *s, struct connection *c, enum statement which, struct why *why) {
  sqlite3_stmt *stmt = statement(c, which);
  enum err e = sqlite3_step(stmt) == SQLITE_DONE ? ERR_OK : sqlite__failed(s->path, c->db, why);
  done_with(stmt);
  return e;
}

static char *column(sqlite3_stmt *stmt, int at) {
  const unsigned char *text = sqlite3_column_text(stmt, at);
  return xstrdup(text ? (const char *)text : "");
}

// The row under `stmt`, which stays open meanwhile: both statements see the same state of the file.
static enum err read_business(struct sqlite_store *s, struct connection *c, sqlite3_stmt *stmt, enum statement phones,
                              struct business **out, struct why *why) {
  struct business *b = xcalloc(1, sizeof *b);
  int at = 0;
#define READ(field, path, wiped) b->field = column(stmt, at++);
  BUSINESS_TEXTS(READ)
#undef READ
  b->token_expires_ms = sqlite3_column_int64(stmt, at++);
  b->whatsapp_enabled = sqlite3_column_int(stmt, at++) != 0;
  b->is_active = sqlite3_column_int(stmt, at++) != 0;
  b->created_ms = sqlite3_column_int64(stmt, at++);
  (void)business_settle(b, NULL); // who uses a field tells when it means nothing
  sqlite3_stmt *list = statement(c, phones);
  bind_text(list, 1, span_of(b->id));
  int rc = SQLITE_DONE;
  while (b->phone_count < BUSINESS_PHONES_MAX && (rc = sqlite3_step(list)) == SQLITE_ROW) {
    b->phone_number_ids[b->phone_count++] = column(list, 0);
  }
  enum err e = rc == SQLITE_ROW || rc == SQLITE_DONE ? ERR_OK : sqlite__failed(s->path, c->db, why);
  done_with(list);
  if (e) {
    business_free(b);
    return e;
  }
  *out = b;
  return ERR_OK;
}

static enum err one(struct sqlite_store *s, struct connection *c, enum statement which, struct span key, struct business **out,
                    struct why *why) {
  sqlite3_stmt *stmt = statement(c, which);
  bind_text(stmt, 1, key);
  int rc = sqlite3_step(stmt);
  enum err e = ERR_NOT_FOUND;
  if (rc == SQLITE_ROW) {
    e = read_business(s, c, stmt, PHONES, out, why);
  } else if (rc != SQLITE_DONE) {
    e = sqlite__failed(s->path, c->db, why);
  }
  done_with(stmt);
  if (e == ERR_NOT_FOUND) why_set(why, "no such business");
  return e;
}

// ---------------------------------------------------------------- verbs

static enum err sqlite_open(const struct store_options *options, const char *rest, struct store **out, struct why *why) {
  (void)options;
  if (rest[0] == '\0' || rest[0] == ':') {
    why_set(why, "directory.store: sqlite: needs the path of a file (for a store in memory: ram:)");
    return ERR_CONFIG;
  }
  struct sqlite_store *s = xcalloc(1, sizeof *s);
  s->store = (struct store){STORE_MAGIC, &store__sqlite};
  s->path = xstrdup(rest);
  ALWAYS(pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->returned, NULL) == 0);
  ALWAYS(pthread_mutex_init(&s->watch_lock, NULL) == 0);
  *out = &s->store;
  return ERR_OK;
}

static void sqlite_close(struct store *store) {
  struct sqlite_store *s = of(store);
  for (int i = 0; i < CONNECTIONS; i++) {
    ALWAYS(!s->connections[i].lent || &s->connections[i] == s->transaction);
    disconnect(&s->connections[i]);
  }
  disconnect(&s->watch);
  pthread_mutex_destroy(&s->lock);
  pthread_mutex_destroy(&s->watch_lock);
  pthread_cond_destroy(&s->returned);
  free(s->path);
  store->magic = 0;
  free(s);
}

static enum err sqlite_find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum err e = borrow(s, &c, why);
  if (e) return ERR_UNAVAILABLE;
  e = one(s, c, (enum statement)(FIND_PHONE + (int)kind), key, out, why);
  return give_back(s, c, e == ERR_OK || e == ERR_NOT_FOUND ? e : ERR_UNAVAILABLE);
}

// A position is the id of the last one that was told.
static enum err sqlite_each(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                            void *ctx, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum err e = borrow(s, &c, why);
  if (e) return e;
  static const enum statement statements[] = {[STORE_ALL] = EACH_ALL, [STORE_ACTIVE] = EACH_ACTIVE, [STORE_RETENTION] = EACH_RETENTION};
  sqlite3_stmt *stmt = statement(c, statements[which]);
  bind_text(stmt, 1, position ? buf_span(position) : SPAN(""));
  sqlite3_bind_int64(stmt, 2, max);
  int rc;
  while (!e && (rc = sqlite3_step(stmt)) != SQLITE_DONE) {
    struct business *b = NULL;
    e = rc == SQLITE_ROW ? read_business(s, c, stmt, which == STORE_ACTIVE ? PHONES_OWN : PHONES, &b, why)
                         : sqlite__failed(s->path, c->db, why);
    if (!e) on_business(ctx, b);
    if (!e && position) {
      buf_clear(position);
      buf_add_text(position, b->id);
    }
    business_free(b);
  }
  done_with(stmt);
  return give_back(s, c, e);
}

static enum err sqlite_get(struct store *store, const char *any_name, struct business **out, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum err e = borrow(s, &c, why);
  if (e) return e;
  e = ERR_NOT_FOUND;
  for (int which = GET_ID; which <= GET_PHONE && e == ERR_NOT_FOUND; which++)
    e = one(s, c, (enum statement)which, span_of(any_name), out, why);
  return give_back(s, c, e);
}

static enum err put_rows(struct sqlite_store *s, struct connection *c, const struct business *b, struct why *why) {
  sqlite3_stmt *stmt = statement(c, PUT);
  int at = 1;
#define BIND(field, path, wiped) bind_text(stmt, at++, span_of(b->field));
  BUSINESS_TEXTS(BIND)
#undef BIND
  sqlite3_bind_int64(stmt, at++, b->token_expires_ms);
  sqlite3_bind_int(stmt, at++, b->whatsapp_enabled);
  sqlite3_bind_int(stmt, at++, b->is_active);
  sqlite3_bind_int64(stmt, at++, b->created_ms);
  enum err e = run(s, c, PUT, why);
  if (e) return e;
  bind_text(statement(c, CLEAR_PHONES), 1, span_of(b->id));
  e = run(s, c, CLEAR_PHONES, why);
  for (unsigned i = 0; i < b->phone_count && !e; i++) {
    stmt = statement(c, PUT_PHONE);
    bind_text(stmt, 1, span_of(b->phone_number_ids[i]));
    bind_text(stmt, 2, span_of(b->id));
    sqlite3_bind_int(stmt, 3, (int)i);
    e = run(s, c, PUT_PHONE, why);
  }
  return e;
}

// In a transaction of its own, unless the caller has one open.
static enum err sqlite_put(struct store *store, const struct business *business, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum err e = borrow(s, &c, why);
  if (e) return e;
  bool own = c != s->transaction;
  if (own) e = run(s, c, BEGIN, why);
  if (!e) e = put_rows(s, c, business, why);
  if (own && !e) e = run(s, c, COMMIT, why);
  if (own && !sqlite3_get_autocommit(c->db)) (void)run(s, c, ROLLBACK, NULL);
  return give_back(s, c, e);
}

static enum err sqlite_remove(struct store *store, const char *id, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum err e = borrow(s, &c, why);
  if (e) return e;
  bind_text(statement(c, REMOVE), 1, span_of(id));
  e = run(s, c, REMOVE, why);
  if (!e && sqlite3_changes(c->db) == 0) {
    why_set(why, "no such business");
    e = ERR_NOT_FOUND;
  }
  return give_back(s, c, e);
}

static enum err sqlite_swap_token(struct store *store, const char *id, enum store_token which, const char *from, const char *to,
                                  struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum statement swap = which == STORE_ACCESS_TOKEN ? SWAP_ACCESS_TOKEN : SWAP_REFRESH_TOKEN;
  enum err e = borrow(s, &c, why);
  if (e) return e;
  sqlite3_stmt *stmt = statement(c, swap);
  bind_text(stmt, 1, span_of(id));
  bind_text(stmt, 2, span_of(from));
  bind_text(stmt, 3, span_of(to));
  e = run(s, c, swap, why);
  if (!e && sqlite3_changes(c->db) == 0) e = ERR_CONFLICT;
  return give_back(s, c, e);
}

static enum err sqlite_begin(struct store *store, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  ALWAYS(!s->transaction);
  enum err e = borrow(s, &c, why);
  if (e) return e;
  e = run(s, c, BEGIN, why);
  if (e) return give_back(s, c, e);
  s->transaction = c;
  return ERR_OK;
}

static enum err sqlite_end(struct store *store, bool commit, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c = s->transaction;
  ALWAYS(c);
  enum err e = commit ? run(s, c, COMMIT, why) : ERR_OK;
  if (!sqlite3_get_autocommit(c->db)) (void)run(s, c, ROLLBACK, NULL);
  s->transaction = NULL;
  return give_back(s, c, e);
}

static enum err sqlite_count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) {
  struct sqlite_store *s = of(store);
  struct connection *c;
  enum err e = borrow(s, &c, why);
  if (e) return e;
  sqlite3_stmt *stmt = statement(c, COUNT);
  if (sqlite3_step(stmt) == SQLITE_ROW) {
    *all = (uint64_t)sqlite3_column_int64(stmt, 0);
    *active = (uint64_t)sqlite3_column_int64(stmt, 1);
  } else {
    e = sqlite__failed(s->path, c->db, why);
  }
  done_with(stmt);
  return give_back(s, c, e);
}

// data_version is a connection's own number, which moves when another connection commits: so it is always asked on the same one.
static enum err watch(struct sqlite_store *s, bool made, struct why *why) {
  struct connection *c = &s->watch;
  struct stat st;
  if (c->db && (stat(s->path, &st) != 0 || st.st_ino != c->inode || st.st_dev != c->device)) disconnect(c); // replaced or gone
  if (!c->db) {
    enum err e = connect_to(s, c, made, why);
    // Also after a failure: the others open the file again before they use it, and do not go on with one that is no longer there.
    ALWAYS(pthread_mutex_lock(&s->lock) == 0);
    s->made |= e == ERR_OK;
    s->generation++;
    ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
    if (e) return e;
    s->data_version = -1;
  }
  sqlite3_stmt *stmt = statement(c, VERSION);
  int version = sqlite3_step(stmt) == SQLITE_ROW ? sqlite3_column_int(stmt, 0) : -1;
  enum err e = version < 0 ? sqlite__failed(s->path, c->db, why) : ERR_OK;
  done_with(stmt);
  if (e) {
    disconnect(c);
    return e;
  }
  s->version += version != s->data_version;
  s->data_version = version;
  return ERR_OK;
}

static enum err sqlite_changed(struct store *store, uint64_t *version, struct why *why) {
  struct sqlite_store *s = of(store);
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  bool made = s->made;
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  ALWAYS(pthread_mutex_lock(&s->watch_lock) == 0);
  enum err e = watch(s, made, why);
  if (!e) *version = s->version;
  ALWAYS(pthread_mutex_unlock(&s->watch_lock) == 0);
  return e;
}

const struct store_kind store__sqlite = {
    .open = sqlite_open,
    .close = sqlite_close,
    .find = sqlite_find,
    .each = sqlite_each,
    .get = sqlite_get,
    .put = sqlite_put,
    .remove = sqlite_remove,
    .swap_token = sqlite_swap_token,
    .begin = sqlite_begin,
    .end = sqlite_end,
    .count = sqlite_count,
    .changed = sqlite_changed,
};
