// Connections to MongoDB: what the URI says and what we add, one pool per process, the driver's errors and log lines in our words. Runs on
// pool threads of workers and the dispatcher, and in wahookctl.
//
// The pool is our own, of the driver's single-threaded clients. The driver's pool knows neither maxIdleTimeMS nor how to keep some
// connections warm, and the thread with which it watches the servers ends the process when one of them answers nonsense (1.23).
// Nothing is connected before the first question: a mongodb+srv URI asks DNS, and a server that is down fails no start.
#include <mongoc/mongoc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store_mongo.h"

#define POOL_MAX_DEFAULT     100 // of the whole daemon
#define POOL_MIN_DEFAULT     10
#define CONNECT_MS           5000
#define SOCKET_MS            5000
#define WAIT_QUEUE_MS        10000
#define MAX_IDLE_MS          60000
#define WIRE_WITH_STABLE_API 13 // MongoDB 5.0

// Options that the driver takes and does nothing with. (Those that it does not know it names itself.)
static const char *const ignored[] = {"waitqueuemultiple", "localthresholdms"};

// ---------------------------------------------------------------- what the driver says

// Its warnings while it reads a URI name the options that it does not know. At other times they come with errors that we tell ourselves.
static _Thread_local bool reading_uri;

// Called under the driver's lock, so nothing of the driver may be called.
static void on_driver_log(mongoc_log_level_t level, const char *domain, const char *message, void *ctx) {
  (void)ctx;
  if (level < MONGOC_LOG_LEVEL_WARNING || (reading_uri && level == MONGOC_LOG_LEVEL_WARNING))
    log_warning("directory", "MongoDB driver (%s): %s", domain, message);
  else
    log_debug("directory", "MongoDB driver (%s): %s", domain, message);
}

enum err mongo__failed(struct mongo_call *call, const bson_error_t *error, struct why *why) {
  why_set(why, "MongoDB: %s", error->message);
  // After an error on its way a client is not used again: it would rest for five seconds before it looks for the server.
  if (call && error->domain != MONGOC_ERROR_SERVER) call->broken = true;
  if (call) mongo__count_error(call->store, call->query, error);
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

static unsigned share(unsigned option, const struct mongo_store *s, const char *in_uri, int32_t otherwise, const struct store_options *o) {
  unsigned processes = o->processes ? o->processes : 1;
  int64_t all = option ? (int64_t)option : mongoc_uri_get_option_as_int32(s->uri, in_uri, otherwise);
  if (all <= processes) return 1;
  return (unsigned)all / processes + (o->takes_rest ? (unsigned)all % processes : 0);
}

// The old service's numbers were of one process that did all; here each process gets its part.
static void share_pool(struct mongo_store *s, const struct store_options *o) {
  s->pool_max = share(o->pool_max, s, MONGOC_URI_MAXPOOLSIZE, POOL_MAX_DEFAULT, o);
  s->pool_min = share(o->pool_min, s, "minpoolsize", POOL_MIN_DEFAULT, o);
  if (s->pool_min > s->pool_max) s->pool_min = s->pool_max;
  s->wait_queue_ms = mongoc_uri_get_option_as_int32(s->uri, MONGOC_URI_WAITQUEUETIMEOUTMS, WAIT_QUEUE_MS);
  s->max_idle_ms = mongoc_uri_get_option_as_int32(s->uri, MONGOC_URI_MAXIDLETIMEMS, MAX_IDLE_MS);
}

enum err mongo__uri(struct mongo_store *s, const struct store_options *o, struct why *why) {
  bson_error_t error;
  mongoc_log_set_handler(on_driver_log, NULL); // it prints to stdout otherwise
  reading_uri = true;
  s->uri = mongoc_uri_new_with_error(o->uri, &error);
  reading_uri = false;
  if (!s->uri) return bad_uri(o->uri, &error, why);
  for (size_t i = 0; i < COUNT_OF(ignored); i++)
    if (mongoc_uri_has_option(s->uri, ignored[i])) log_warning("directory", "directory.store: the MongoDB driver ignores %s", ignored[i]);
  set_default(s->uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_MS);
  set_default(s->uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, CONNECT_MS);
  set_default(s->uri, MONGOC_URI_SOCKETTIMEOUTMS, SOCKET_MS);
  if (!mongoc_uri_get_appname(s->uri)) mongoc_uri_set_appname(s->uri, "wahookd");
  share_pool(s, o);
  return choose_database(s, o->database, why);
}

// ---------------------------------------------------------------- the pool

// What the server can do decides how clients are made. One asks, once.
static enum err ask_wire_version(struct mongo_store *s, enum store_query query, int32_t *wire, struct why *why) {
  bson_error_t error;
  mongoc_client_t *client = mongoc_client_new_from_uri_with_error(s->uri, &error);
  if (!client) return mongo__failed(NULL, &error, why);
  mongo__listen(s, client);
  mongoc_server_description_t *server = mongoc_client_select_server(client, false, NULL, &error);
  enum err e = server ? ERR_OK : mongo__failed(NULL, &error, why);
  if (e) mongo__count_error(s, query, &error);
  bson_iter_t it;
  if (server && bson_iter_init_find(&it, mongoc_server_description_hello_response(server), "maxWireVersion"))
    *wire = (int32_t)bson_iter_as_int64(&it);
  if (server) mongoc_server_description_destroy(server);
  mongoc_client_destroy(client);
  return e;
}

static enum err connect_one(struct mongo_store *s, enum store_query query, mongoc_client_t **out, struct why *why) {
  bson_error_t error;
  int32_t wire = __atomic_load_n(&s->wire_version, __ATOMIC_RELAXED);
  enum err e = wire ? ERR_OK : ask_wire_version(s, query, &wire, why);
  if (e) return e;
  __atomic_store_n(&s->wire_version, wire, __ATOMIC_RELAXED);
  mongoc_client_t *client = mongoc_client_new_from_uri_with_error(s->uri, &error);
  if (!client) return mongo__failed(NULL, &error, why);
  mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
  mongo__listen(s, client);
  if (wire >= WIRE_WITH_STABLE_API) {
    mongoc_server_api_t *api = mongoc_server_api_new(MONGOC_SERVER_API_V1);
    mongoc_client_set_server_api(client, api, &error);
    mongoc_server_api_destroy(api);
  }
  *out = client;
  return ERR_OK;
}

// Under the lock: a place, and a client when one is idle.
static enum err take_place(struct mongo_store *s, struct mongo_client **out, struct why *why) {
  int64_t end_us = clock_wall_us() + s->wait_queue_ms * 1000;
  struct timespec until = {.tv_sec = end_us / 1000000, .tv_nsec = end_us % 1000000 * 1000};
  int rc = 0;
  s->waiting++;
  while (!s->idle && s->open >= s->pool_max && rc == 0)
    rc = pthread_cond_timedwait(&s->returned, &s->lock, &until);
  s->waiting--;
  if (!s->idle && s->open >= s->pool_max) {
    why_set(why, "MongoDB: all %u connections of this process have been in use for %lld ms", s->pool_max, (long long)s->wait_queue_ms);
    return ERR_UNAVAILABLE;
  }
  *out = s->idle;
  if (*out)
    s->idle = (*out)->next;
  else
    s->open++;
  return ERR_OK;
}

// The one that was idle longest stands at the end.
static struct mongo_client *take_tired(struct mongo_store *s, int64_t now_us) {
  struct mongo_client **at = &s->idle, *last;
  if (!s->idle || s->open <= s->pool_min) return NULL;
  while ((*at)->next)
    at = &(*at)->next;
  last = *at;
  if (now_us - last->used_us < s->max_idle_ms * 1000) return NULL;
  *at = NULL;
  s->open--;
  return last;
}

static void discard(struct mongo_client *c) {
  if (!c) return;
  mongoc_client_destroy(c->client);
  free(c);
}

static void give_back(struct mongo_store *s, struct mongo_client *c, bool good) {
  int64_t now_us = clock_mono_us();
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  if (good) {
    c->used_us = now_us;
    c->next = s->idle;
    s->idle = c;
  } else {
    s->open--;
  }
  struct mongo_client *tired = take_tired(s, now_us);
  ALWAYS(pthread_cond_signal(&s->returned) == 0);
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  discard(tired);
  if (!good) discard(c);
}

enum err mongo__begin(struct mongo_store *s, enum store_query query, struct mongo_call *call, struct why *why) {
  struct mongo_client *c = NULL;
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  enum err e = take_place(s, &c, why);
  s->lent += !e;
  s->reused += !e && c;
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  if (e) return e;
  if (!c) {
    c = xcalloc(1, sizeof *c);
    e = connect_one(s, query, &c->client, why);
  }
  if (e) {
    free(c);
    ALWAYS(pthread_mutex_lock(&s->lock) == 0);
    s->open--;
    ALWAYS(pthread_cond_signal(&s->returned) == 0);
    ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
    return e;
  }
  *call = (struct mongo_call){.store = s, .own = c, .client = c->client, .query = query};
  call->businesses = mongoc_client_get_collection(c->client, s->database, MONGO_COLLECTION);
  mongo__enter(call);
  return ERR_OK;
}

void mongo__end(struct mongo_call *call) {
  mongo__leave(call);
  mongoc_collection_destroy(call->businesses);
  give_back(call->store, call->own, !call->broken);
}

// One more connection when there are fewer than the least number: whoever polls asks for that now and then.
bool mongo__wants_more(struct mongo_store *s) {
  ALWAYS(pthread_mutex_lock(&s->lock) == 0);
  bool more = s->open < s->pool_min;
  ALWAYS(pthread_mutex_unlock(&s->lock) == 0);
  return more;
}

void mongo__close_pool(struct mongo_store *s) {
  while (s->idle) {
    struct mongo_client *c = s->idle;
    s->idle = c->next;
    discard(c);
    s->open--;
  }
  ALWAYS(s->open == 0);
}
