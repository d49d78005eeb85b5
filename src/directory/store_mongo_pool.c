// Connections to MongoDB: what the URI says and what we add, one pool per process, the driver's errors and log lines in our words. Runs on
// pool threads of workers and the dispatcher, and in wahookctl.
//
// The pool is made at the first question and not at the start: a mongodb+srv URI asks DNS, and a server that is down fails no start.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>

#include "store_mongo.h"

#define POOL_MAX_DEFAULT     100 // of the whole daemon
#define CONNECT_MS           5000
#define SOCKET_MS            5000
#define WAIT_QUEUE_MS        10000
#define WIRE_WITH_STABLE_API 13 // MongoDB 5.0

// Options that the driver takes and does nothing with. (Those that it does not know it names itself.)
static const char *const ignored[] = {"maxidletimems", "waitqueuemultiple"};

// ---------------------------------------------------------------- what the driver says

// At the driver's levels; under its lock, so nothing of the driver may be called. It says nothing that is secret.
static void on_driver_log(mongoc_log_level_t level, const char *domain, const char *message, void *ctx) {
  (void)ctx;
  if (level <= MONGOC_LOG_LEVEL_WARNING)
    log_warning("directory", "MongoDB driver (%s): %s", domain, message);
  else
    log_debug("directory", "MongoDB driver (%s): %s", domain, message);
}

enum err mongo__failed(const bson_error_t *error, struct why *why) {
  why_set(why, "MongoDB: %s", error->message);
  if (error->domain == MONGOC_ERROR_SERVER && error->code == MONGOC_ERROR_DUPLICATE_KEY) return ERR_CONFLICT;
  return ERR_UNAVAILABLE;
}

bool mongo__transient(const bson_error_t *error) {
  // host unreachable, not found, network time-out, shutting down, not primary, interrupted by a change of the primary, exceeded time
  static const uint32_t codes[] = {6, 7, 89, 91, 189, 10107, 13435, 13436, 11600, 11602, 9001, 50, 262, 63, 150, 133};
  if (error->domain != MONGOC_ERROR_SERVER) return true;
  for (size_t i = 0; i < COUNT_OF(codes); i++)
    if (error->code == codes[i]) return true;
  return false;
}

// ---------------------------------------------------------------- the URI

static void set_default(mongoc_uri_t *uri, const char *option, int32_t value) {
  if (!mongoc_uri_has_option(uri, option)) mongoc_uri_set_option_as_int32(uri, option, value);
}

// The driver quotes what it does not like, and that may be a part of the password.
static enum err bad_uri(const char *uri, const bson_error_t *error, struct why *why) {
  if (strchr(uri, '@'))
    why_set(why, "directory.store: this is no MongoDB URI (in user and password, write : / ? # [ ] @ %% as %%3A and so on)");
  else
    why_set(why, "directory.store: this is no MongoDB URI: %s", error->message);
  return ERR_CONFIG;
}

static enum err choose_database(struct mongo_store *s, const char *option, struct why *why) {
  const char *database = option && *option ? option : mongoc_uri_get_database(s->uri);
  if (!database || !*database) {
    why_set(why, "directory.store: the URI names no database (write mongodb://HOST/DATABASE, or set directory.database)");
    return ERR_CONFIG;
  }
  if (strlen(database) > 63 || strpbrk(database, "/\\. \"$*<>:|?")) {
    why_set(why, "directory.database: \"%.70s\" can be no database's name", database);
    return ERR_CONFIG;
  }
  s->database = xstrdup(database);
  return ERR_OK;
}

// The old service's numbers were of one process that did all; here each process gets its part.
static void share_pool(struct mongo_store *s, const struct store_options *o) {
  unsigned processes = o->processes ? o->processes : 1;
  int32_t all = o->pool_max ? (int32_t)o->pool_max : mongoc_uri_get_option_as_int32(s->uri, MONGOC_URI_MAXPOOLSIZE, POOL_MAX_DEFAULT);
  s->pool_max = all > 0 && (unsigned)all > processes ? (unsigned)all / processes : 1;
  mongoc_uri_set_option_as_int32(s->uri, MONGOC_URI_MAXPOOLSIZE, (int32_t)s->pool_max);
}

enum err mongo__uri(struct mongo_store *s, const struct store_options *o, struct why *why) {
  bson_error_t error;
  mongoc_log_set_handler(on_driver_log, NULL); // it prints to stdout otherwise
  s->uri = mongoc_uri_new_with_error(o->uri, &error);
  if (!s->uri) return bad_uri(o->uri, &error, why);
  for (size_t i = 0; i < COUNT_OF(ignored); i++)
    if (mongoc_uri_has_option(s->uri, ignored[i])) log_warning("directory", "directory.store: the MongoDB driver ignores %s", ignored[i]);
  set_default(s->uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_MS);
  set_default(s->uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, CONNECT_MS);
  set_default(s->uri, MONGOC_URI_SOCKETTIMEOUTMS, SOCKET_MS);
  set_default(s->uri, MONGOC_URI_WAITQUEUETIMEOUTMS, WAIT_QUEUE_MS);
  if (!mongoc_uri_get_appname(s->uri)) mongoc_uri_set_appname(s->uri, "wahookd");
  share_pool(s, o);
  return choose_database(s, o->database, why);
}

// ---------------------------------------------------------------- the pool

// What the server can do decides how the pool is made, and that cannot be changed later. A single client asks, and tries once only.
static enum err ask_wire_version(struct mongo_store *s, int32_t *wire, struct why *why) {
  bson_error_t error;
  mongoc_client_t *client = mongoc_client_new_from_uri_with_error(s->uri, &error);
  if (!client) return mongo__failed(&error, why);
  mongoc_server_description_t *server = mongoc_client_select_server(client, false, NULL, &error);
  enum err e = server ? ERR_OK : mongo__failed(&error, why);
  bson_iter_t it;
  if (server && bson_iter_init_find(&it, mongoc_server_description_hello_response(server), "maxWireVersion"))
    *wire = (int32_t)bson_iter_as_int64(&it);
  if (server) mongoc_server_description_destroy(server);
  mongoc_client_destroy(client);
  return e;
}

static enum err make_pool(struct mongo_store *s, struct why *why) {
  bson_error_t error;
  int32_t wire = 0;
  enum err e = ask_wire_version(s, &wire, why);
  if (e) return e;
  mongoc_client_pool_t *pool = mongoc_client_pool_new_with_error(s->uri, &error);
  if (!pool) return mongo__failed(&error, why);
  mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2);
  if (wire >= WIRE_WITH_STABLE_API) {
    mongoc_server_api_t *api = mongoc_server_api_new(MONGOC_SERVER_API_V1);
    mongoc_client_pool_set_server_api(pool, api, &error);
    mongoc_server_api_destroy(api);
  }
  s->pool = pool;
  return ERR_OK;
}

// Those who waited for the lock while it could not be made need not try once more, one after the other.
static enum err need_pool(struct mongo_store *s, struct why *why) {
  unsigned seen = __atomic_load_n(&s->failures, __ATOMIC_RELAXED);
  enum err e = ERR_OK;
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  if (!s->pool && s->failures != seen) {
    why_set(why, "MongoDB: no server answers");
    e = ERR_UNAVAILABLE;
  } else if (!s->pool) {
    e = make_pool(s, why);
    if (e) __atomic_fetch_add(&s->failures, 1, __ATOMIC_RELAXED);
  }
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  return e;
}

enum err mongo__begin(struct mongo_store *s, struct mongo_call *call, struct why *why) {
  enum err e = need_pool(s, why);
  if (e) return e;
  mongoc_client_t *client = mongoc_client_pool_pop(s->pool);
  if (!client) {
    why_set(why, "MongoDB: all %u connections of this process are in use", s->pool_max);
    return ERR_UNAVAILABLE;
  }
  *call = (struct mongo_call){s, client, mongoc_client_get_collection(client, s->database, MONGO_COLLECTION)};
  return ERR_OK;
}

void mongo__end(struct mongo_call *call) {
  mongoc_collection_destroy(call->businesses);
  mongoc_client_pool_push(call->store->pool, call->client);
}

void mongo__close_pool(struct mongo_store *s) {
  if (s->pool) mongoc_client_pool_destroy(s->pool);
  s->pool = NULL;
}
