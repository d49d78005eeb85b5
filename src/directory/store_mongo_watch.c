// Changes in the collection: by a change stream where the server has them, else by asking what was updated. Runs in a thread of the
// dispatcher (watch.c), on a connection of its own.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store_mongo.h"

#define AWAIT_MS     200  // a stream's answer waits so long for a change; as long a stop may take
#define POLL_MS      500  // where there are no streams: sooner than within a second
#define POLL_COST    10   // and never more than a tenth of the time
#define POLL_LIMIT   1000 // changes a poll
#define POLL_BACK_MS 2000 // others' clocks, and writes that came to an end later than they began
#define SEEN_MAX     4096

// The server says by these that it has no change streams, or not for us: unauthorized, no such command, no replica set, an engine without.
static const uint32_t without_streams[] = {13, 59, 40573, 40324, 238, 303};

struct watcher {
  struct mongo_store *s;
  struct store_watch *w;
  mongoc_client_t *client;
  mongoc_collection_t *businesses;
};

// ---------------------------------------------------------------- telling

static void tell(struct watcher *x, const char *prefix, struct span text) {
  char key[SHM_KEY_MAX];
  int n = snprintf(key, sizeof key, "%s%.*s", prefix, SPAN_FMT(text));
  if (n < (int)sizeof key)
    x->w->on_key(x->w->ctx, span_of(key));
  else
    x->w->on_gap(x->w->ctx); // no key that a cache has is so long, but a business' id may be
}

static void tell_texts(struct watcher *x, const bson_t *document, const char *field, const char *prefix) {
  bson_iter_t it, item;
  if (!bson_iter_init_find(&it, document, field)) return;
  if (BSON_ITER_HOLDS_UTF8(&it) && *bson_iter_utf8(&it, NULL)) tell(x, prefix, span_of(bson_iter_utf8(&it, NULL)));
  if (!BSON_ITER_HOLDS_ARRAY(&it) || !bson_iter_recurse(&it, &item)) return;
  while (bson_iter_next(&item))
    if (BSON_ITER_HOLDS_UTF8(&item)) tell(x, prefix, span_of(bson_iter_utf8(&item, NULL)));
}

static void tell_id(struct watcher *x, const bson_t *document) {
  bson_iter_t it;
  char text[MONGO_FRACTION_TEXT];
  if (!bson_iter_init_find(&it, document, "_id")) return;
  if (BSON_ITER_HOLDS_UTF8(&it)) {
    tell(x, "id:", span_of(bson_iter_utf8(&it, NULL)));
  } else if (BSON_ITER_HOLDS_OID(&it)) {
    bson_oid_to_string(bson_iter_oid(&it), text);
    tell(x, "id:", span_of(text));
  } else if (BSON_ITER_HOLDS_DOUBLE(&it)) {
    mongo__fraction_text(bson_iter_double(&it), text);
    tell(x, "id:", span_of(text));
  } else {
    snprintf(text, sizeof text, "%lld", (long long)bson_iter_as_int64(&it));
    tell(x, "id:", span_of(text));
  }
}

// The id covers what it was known under until now, the rest what it may be known under from now on.
static void tell_document(struct watcher *x, const bson_t *document) {
  tell_texts(x, document, "whatsappPhoneNumberIds", "phone:");
  tell_texts(x, document, "subDomain", "subdomain:");
  tell_texts(x, document, "wabaId", "waba:");
}

static bool inner(const bson_t *document, const char *field, bson_t *out) {
  bson_iter_t it;
  uint32_t len;
  const uint8_t *data;
  if (!bson_iter_init_find(&it, document, field) || !BSON_ITER_HOLDS_DOCUMENT(&it)) return false;
  bson_iter_document(&it, &len, &data);
  return bson_init_static(out, data, len);
}

// A collection that is dropped or renamed ends its stream with an event of its own: false.
static bool on_event(struct watcher *x, const bson_t *event) {
  bson_t part;
  bson_iter_t it;
  if (inner(event, "documentKey", &part)) tell_id(x, &part);
  if (inner(event, "fullDocument", &part)) tell_document(x, &part);
  if (!bson_iter_init_find(&it, event, "operationType") || !BSON_ITER_HOLDS_UTF8(&it)) return true;
  if (strcmp(bson_iter_utf8(&it, NULL), "invalidate") != 0) return true;
  x->w->on_gap(x->w->ctx);
  return false;
}

// ---------------------------------------------------------------- the change stream

// Only what is told: no token of a business goes over this wire.
static bson_t *pipeline(void) {
  static const char text[] = "{\"pipeline\":[{\"$project\":{\"operationType\":1,\"documentKey\":1,\"fullDocument._id\":1,"
                             "\"fullDocument.whatsappPhoneNumberIds\":1,\"fullDocument.subDomain\":1,\"fullDocument.wabaId\":1}}]}";
  bson_t *p = bson_new_from_json((const uint8_t *)text, -1, NULL);
  ALWAYS(p);
  return p;
}

// The server's time of operations, some seconds back.
static bool start_time(struct watcher *x, bson_t *opts) {
  bson_t ping = BSON_INITIALIZER, reply;
  bson_iter_t it;
  uint32_t seconds = 0, increment;
  BSON_APPEND_INT32(&ping, "ping", 1);
  bool good = mongoc_client_command_simple(x->client, "admin", &ping, NULL, &reply, NULL) &&
              bson_iter_init_find(&it, &reply, "operationTime") && BSON_ITER_HOLDS_TIMESTAMP(&it);
  if (good) {
    bson_iter_timestamp(&it, &seconds, &increment);
    BSON_APPEND_TIMESTAMP(opts, "startAtOperationTime", seconds - STORE_WATCH_BACK_S, 1);
  }
  bson_destroy(&ping);
  bson_destroy(&reply);
  return good;
}

static bool resume(struct watcher *x, bson_t *opts) {
  bson_t token;
  struct buf *p = &x->w->position;
  if (!p->len || !bson_init_static(&token, (const uint8_t *)p->data, p->len) || !bson_validate(&token, BSON_VALIDATE_NONE, NULL))
    return false;
  BSON_APPEND_DOCUMENT(opts, "startAfter", &token); // unlike resumeAfter, also behind the end of a collection that was dropped
  return true;
}

static void keep_position(struct watcher *x, mongoc_change_stream_t *stream) {
  const bson_t *token = mongoc_change_stream_get_resume_token(stream);
  struct buf *p = &x->w->position;
  if (!token || (p->len == token->len && memcmp(p->data, bson_get_data(token), p->len) == 0)) return;
  buf_clear(p);
  buf_add(p, bson_get_data(token), token->len);
  x->w->on_position(x->w->ctx);
}

static mongoc_change_stream_t *open_stream(struct watcher *x, bool *resumed) {
  bson_t opts = BSON_INITIALIZER, *stages = pipeline();
  BSON_APPEND_UTF8(&opts, "fullDocument", "updateLookup");
  BSON_APPEND_INT64(&opts, "maxAwaitTimeMS", AWAIT_MS);
  *resumed = resume(x, &opts);
  if (!*resumed) start_time(x, &opts);
  mongoc_change_stream_t *stream = mongoc_collection_watch(x->businesses, stages, &opts);
  bson_destroy(stages);
  bson_destroy(&opts);
  return stream;
}

static bool has_no_streams(const bson_error_t *error) {
  for (size_t i = 0; error->domain == MONGOC_ERROR_SERVER && i < COUNT_OF(without_streams); i++)
    if (error->code == without_streams[i]) return true;
  return false;
}

// ERR_UNSUPPORTED: the server has none. ERR_AGAIN: the stream has ended, a new one goes on behind it.
static enum err follow_stream(struct watcher *x, struct why *why) {
  bson_error_t error;
  const bson_t *event, *reply;
  bool resumed, told = false;
  mongoc_change_stream_t *stream = open_stream(x, &resumed);
  enum err e = ERR_OK;
  while (!e) {
    if (x->w->stopped(x->w->ctx)) {
      e = ERR_CLOSED;
    } else if (mongoc_change_stream_next(stream, &event)) {
      if (!told) x->w->on_open(x->w->ctx, resumed);
      told = true;
      if (!on_event(x, event)) e = ERR_AGAIN; // the driver would try to resume it, in vain
      keep_position(x, stream);
    } else if (mongoc_change_stream_error_document(stream, &error, &reply)) {
      e = has_no_streams(&error) ? ERR_UNSUPPORTED : mongo__failed(NULL, &error, why);
      // A position that the server does not know any more: begin anew. What came between is missed, and on_open tells so.
      if (error.domain == MONGOC_ERROR_SERVER && !mongo__transient(&error)) buf_clear(&x->w->position);
    } else {
      if (!told) x->w->on_open(x->w->ctx, resumed);
      told = true;
      keep_position(x, stream);
    }
  }
  mongoc_change_stream_destroy(stream);
  return e;
}

// ---------------------------------------------------------------- asking for updates

struct poll {
  struct watcher *x;
  bson_value_t last; // the newest updatedAt; 0 (BSON_TYPE_EOD): none yet
  uint64_t seen[SEEN_MAX];
  size_t seen_count;
};

static bool seen_before(struct poll *p, const bson_t *document) {
  uint64_t h = hash_keyed(bson_get_data(document), document->len);
  for (size_t i = 0; i < SEEN_MAX && i < p->seen_count; i++)
    if (p->seen[i] == h) return true;
  p->seen[p->seen_count++ % SEEN_MAX] = h;
  return false;
}

static void take_last(struct poll *p, const bson_t *document) {
  bson_iter_t it;
  if (!bson_iter_init_find(&it, document, "updatedAt")) return;
  if (p->last.value_type) bson_value_destroy(&p->last);
  bson_value_copy(bson_iter_value(&it), &p->last);
}

static void poll_filter(const struct poll *p, bson_t *filter) {
  bson_t condition;
  if (!p->last.value_type) return;
  BSON_APPEND_DOCUMENT_BEGIN(filter, "updatedAt", &condition);
  if (p->last.value_type == BSON_TYPE_DATE_TIME)
    BSON_APPEND_DATE_TIME(&condition, "$gte", p->last.value.v_datetime - POLL_BACK_MS);
  else
    BSON_APPEND_VALUE(&condition, "$gte", &p->last);
  bson_append_document_end(filter, &condition);
}

// The first time only where the end is.
static enum err poll_once(struct poll *p, bool first, struct why *why) {
  static const char first_text[] = "{\"sort\":{\"updatedAt\":-1},\"limit\":1,\"projection\":{\"updatedAt\":1},\"maxTimeMS\":4000}";
  static const char text[] = "{\"sort\":{\"updatedAt\":1},\"limit\":1000,\"maxTimeMS\":4000,\"projection\":{\"updatedAt\":1,"
                             "\"whatsappPhoneNumberIds\":1,\"subDomain\":1,\"wabaId\":1}}";
  bson_t filter = BSON_INITIALIZER, *opts = bson_new_from_json((const uint8_t *)(first ? first_text : text), -1, NULL);
  const bson_t *document;
  bson_error_t error;
  enum err e = ERR_OK;
  ALWAYS(opts);
  poll_filter(p, &filter);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(p->x->businesses, &filter, opts, NULL);
  while (mongoc_cursor_next(cursor, &document)) {
    take_last(p, document);
    if (first || seen_before(p, document)) continue;
    tell_id(p->x, document);
    tell_document(p->x, document);
  }
  if (mongoc_cursor_error(cursor, &error)) e = mongo__failed(NULL, &error, why);
  mongoc_cursor_destroy(cursor);
  bson_destroy(opts);
  bson_destroy(&filter);
  return e;
}

static enum err follow_updates(struct watcher *x, struct why *why) {
  struct poll *p = xcalloc(1, sizeof *p);
  p->x = x;
  enum err e = poll_once(p, true, why);
  if (!e) log_info("directory", "the store has no change streams: it is asked every %d ms for what was updated (updatedAt)", POLL_MS);
  if (!e) x->w->on_open(x->w->ctx, false);
  while (!e) {
    int64_t from = clock_mono_us();
    e = poll_once(p, false, why);
    int64_t pause_us = (clock_mono_us() - from) * POLL_COST;
    if (pause_us < POLL_MS * 1000) pause_us = POLL_MS * 1000;
    for (int64_t until = clock_mono_us() + pause_us; !e && clock_mono_us() < until; usleep(50000))
      if (x->w->stopped(x->w->ctx)) e = ERR_CLOSED;
  }
  if (p->last.value_type) bson_value_destroy(&p->last);
  free(p);
  return e;
}

enum err mongo__watch(struct store *store, struct store_watch *watch, struct why *why) {
  struct watcher x = {.s = (struct mongo_store *)(void *)store, .w = watch};
  bson_error_t error;
  x.client = mongoc_client_new_from_uri_with_error(x.s->uri, &error);
  if (!x.client) return mongo__failed(NULL, &error, why);
  mongoc_client_set_error_api(x.client, MONGOC_ERROR_API_VERSION_2);
  x.businesses = mongoc_client_get_collection(x.client, x.s->database, MONGO_COLLECTION);
  enum err e = ERR_AGAIN;
  while (e == ERR_AGAIN)
    e = follow_stream(&x, why);
  if (e == ERR_UNSUPPORTED) e = follow_updates(&x, why);
  mongoc_collection_destroy(x.businesses);
  mongoc_client_destroy(x.client);
  return e;
}
