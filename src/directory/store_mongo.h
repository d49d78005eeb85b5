// What the files of the MongoDB store share. Each of them includes <mongoc/mongoc.h> before this; nobody else may.
#ifndef WAHOOK_DIRECTORY_STORE_MONGO_H
#define WAHOOK_DIRECTORY_STORE_MONGO_H

#include <pthread.h>

#include "store.h"
#include "wahook/log.h"

#define MONGO_COLLECTION "businesses"

// One question: a client of the pool, and the collection.
struct mongo_call {
  struct mongo_store *store;
  struct mongo_client *own;
  mongoc_client_t *client;
  mongoc_collection_t *businesses;
  enum store_query query;
  bool broken;     // the connection is not to be used again
  int64_t slow_us; // 0: it was not
  struct mongo_call *outer;
};

// A slow query that waits to be explained.
struct mongo_slow {
  bson_t *explain; // the command, NULL: none
  int64_t took_us, next_us;
};

struct mongo_client {
  mongoc_client_t *client;
  int64_t used_us;
  struct mongo_client *next;
};

struct mongo_store {
  struct store store;
  mongoc_uri_t *uri; // with our defaults for what it does not say
  char *database;
  bson_t *projection;
  unsigned pool_max, pool_min;
  int64_t wait_queue_ms, max_idle_ms;
  int32_t wire_version; // atomic; 0: not known yet
  pthread_mutex_t lock; // guards what follows
  pthread_cond_t returned;
  struct mongo_client *idle; // the last used first
  unsigned open, waiting;    // clients, also those at work; who waits for one
  uint64_t lent, reused;
  int64_t slow_us; // -1: nothing is slow
  struct mongo_slow slow[STORE_QUERY_COUNT_OF];
  struct store_stats stats; // but for the pool's
  struct log_limit claims_limit;
  // between begin and end: one caller's
  struct mongo_call transaction;
  mongoc_bulk_operation_t *bulk; // NULL: none
  unsigned gathered;
};

// store_mongo_find.c
typedef void mongo_document(void *ctx, const bson_t *document);
enum err mongo__ask(struct mongo_call *call, const bson_t *filter, const bson_t *opts, mongo_document *on, void *ctx,
                    struct why *why) MUST_CHECK;
void mongo__find_options(const struct mongo_store *s, bson_t *opts, int64_t limit); // initialises it
enum err mongo__find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) MUST_CHECK;
enum err mongo__find_phones(struct store *store, const struct span *keys, unsigned count, struct business **out,
                            struct why *why) MUST_CHECK;
enum err mongo__get(struct store *store, const char *any_name, struct business **out, struct why *why) MUST_CHECK;

// store_mongo_list.c
enum err mongo__each(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                     void *ctx, struct why *why) MUST_CHECK;
enum err mongo__count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) MUST_CHECK;

// store_mongo_pool.c
enum err mongo__uri(struct mongo_store *s, const struct store_options *options, struct why *why) MUST_CHECK;
enum err mongo__begin(struct mongo_store *s, enum store_query query, struct mongo_call *call, struct why *why) MUST_CHECK;
void mongo__end(struct mongo_call *call);
void mongo__close_pool(struct mongo_store *s);
bool mongo__wants_more(struct mongo_store *s);
// What the driver's error is to us, and the sentence. `call` may be NULL.
enum err mongo__failed(struct mongo_call *call, const bson_error_t *error, struct why *why);
// What another server of the replica set, or the same one a moment later, may answer.
bool mongo__transient(const bson_error_t *error);

// store_mongo_events.c
void mongo__stats_init(struct mongo_store *s, int64_t slow_ms);
void mongo__stats_free(struct mongo_store *s);
void mongo__stats(struct store *store, struct store_stats *out);
void mongo__set_slow(struct store *store, int64_t slow_us);
void mongo__listen(struct mongo_store *s, mongoc_client_t *client);
void mongo__enter(struct mongo_call *call);
void mongo__leave(struct mongo_call *call);
void mongo__count_error(struct mongo_store *s, enum store_query query, const bson_error_t *error);
void mongo__count_documents(struct mongo_call *call, uint64_t documents);
void mongo__slow(struct mongo_call *call, const bson_t *filter, const bson_t *opts);
void mongo__explain_slow(struct mongo_call *call);

// store_mongo_indexes.c
const char *mongo__index_for(enum store_query query); // NULL: none
enum err mongo__indexes(struct store *store, bool ensure, store_on_index *on_index, void *ctx, struct why *why) MUST_CHECK;

// store_mongo_watch.c
enum err mongo__watch(struct store *store, struct store_watch *watch, struct why *why) MUST_CHECK;

// store_mongo_document.c
bson_t *mongo__projection(void);
struct business *mongo__business(const bson_t *document); // NULL: it cannot be read, which was logged
// As the driver writes one in JSON, and so as it is read.
#define MONGO_FRACTION_TEXT 48
void mongo__fraction_text(double fraction, char out[static MONGO_FRACTION_TEXT]);
// Appends a condition: `key` is this text, or what it may have been stored as instead (a number, an ObjectId).
void mongo__match_id(bson_t *filter, const char *key, const char *text);
void mongo__match_new_id(bson_t *filter, const char *id); // of one that is inserted if it is not there
// The update that makes a document this business, leaving alone what we do not know.
enum err mongo__update(const struct business *b, bson_t *update, struct why *why) MUST_CHECK;
void mongo__touch(bson_t *update); // updatedAt: others look for what has changed

#endif
