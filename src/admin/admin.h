// What the files of this folder share.
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "wahook/admin.h"
#include "wahook/metrics.h"

#define ADMIN_MAGIC 0x61646d6eu

enum admin_limit { ADMIN_LIMIT_HEALTH, ADMIN_LIMIT_METRICS, ADMIN_LIMIT_ADMIN, ADMIN_LIMIT_COUNT };

struct admin;
struct admin_page; // a row of the table in routes.c

// One page as its handler is called.
struct admin_route {
  struct admin *admin;
  const struct admin_page *page;
};

struct admin {
  uint32_t magic;
  struct admin_options options;
  struct limiter_rule limits[ADMIN_LIMIT_COUNT];
  struct admin_route routes[ADMIN_ROUTES_MAX];
};

// auth.c: whether this caller may see operator's pages; answers 401 or 404 and returns false when not.
bool auth__admit(struct admin *admin, struct http_request *request);

// state.c: the daemon's condition
const char *state__store_trouble(const struct admin *admin);                 // NULL: none
bool state__is_ready(const struct admin *admin, struct why *why);            // else why events are not taken or not answered now
bool state__is_degraded(const struct admin *admin, struct why *why);         // what is wrong although it may be ready
void state__put_condition(const struct admin *admin, struct json_writer *w); // members of an open object
void state__put_processes(const struct shm *shm, struct json_writer *w);
// An object by process, those of `role` and above only: opens it, says who it is; `put` adds the rest.
typedef void state_put_row(struct json_writer *w, const struct shm_slot *slot);
void state__put_rows(const struct shm *shm, struct json_writer *w, enum shm_role from, state_put_row *put);
double state__rate_of(uint64_t hits, uint64_t misses);
// Deliveries that were decided upon, and those that could not be taken (503).
void state__deliveries(const struct shm *shm, uint64_t *decided, uint64_t *failed);
uint64_t state__counter(const struct shm_slot *slot, enum metric metric);
double state__wall_seconds(void);
double state__uptime_seconds(const struct shm *shm);

// performance.c: what a histogram says, as members of an open object, in milliseconds
void performance__put_spread(struct json_writer *w, const struct histogram_summary *sum);
// A page: a JSON object with the time, and what `put` adds.
void performance__respond(struct admin *admin, struct http_request *request, void (*put)(const struct admin *admin, struct json_writer *w));

// thresholds.c: what an operator wants to be warned of. Name, what one is in shared memory, where it is without being set, the most.
#define THRESHOLDS(X)                                                                                                                      \
  X(SLOW_QUERY, "slow_query_ms", 1000, 0 /* directory.slow_query */, 3600000)                                                              \
  X(QUERY_P99, "query_p99_ms", 1000, 250, 3600000)                                                                                         \
  X(REQUEST_P99, "request_p99_ms", 1000, 1000, 3600000)                                                                                    \
  X(ERROR_RATE, "error_rate", 1000000, 0.05, 1)                                                                                            \
  X(QUEUE_LENGTH, "queue_length", 1, 1000, 1e12)
#define THRESHOLD_ENUM(id, key, unit, standard, max) THRESHOLD_##id,
enum threshold { THRESHOLDS(THRESHOLD_ENUM) THRESHOLD_COUNT };
#undef THRESHOLD_ENUM
double threshold__of(const struct admin *admin, enum threshold threshold);  // in force; 0: none
void threshold__put_over(const struct admin *admin, struct json_writer *w); // those that the daemon as a whole is over

// views.c, performance.c, daemon.c, actions.c: the pages
void view__respond(struct http_request *request, int status, struct buf *body); // JSON; frees the body
void view__health(struct admin *admin, struct http_request *request);
void view__ready(struct admin *admin, struct http_request *request);
void view__metrics(struct admin *admin, struct http_request *request);
void view__prometheus(struct admin *admin, struct http_request *request);
void performance__queries(struct admin *admin, struct http_request *request);
void performance__database(struct admin *admin, struct http_request *request);
void performance__cache(struct admin *admin, struct http_request *request);
void daemon__metrics(struct admin *admin, struct http_request *request);
void daemon__application(struct admin *admin, struct http_request *request);
void daemon__system(struct admin *admin, struct http_request *request);
void threshold__page(struct admin *admin, struct http_request *request);
void action__cache_clear(struct admin *admin, struct http_request *request);
void action__cache_warmup(struct admin *admin, struct http_request *request);
void action__cache_invalidate(struct admin *admin, struct http_request *request);
void action__cache_invalidate_pattern(struct admin *admin, struct http_request *request);

#endif
