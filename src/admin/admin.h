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
double state__rate_of(uint64_t hits, uint64_t misses);

// views.c, actions.c: the pages
void view__health(struct admin *admin, struct http_request *request);
void view__ready(struct admin *admin, struct http_request *request);
void view__metrics(struct admin *admin, struct http_request *request);
void view__prometheus(struct admin *admin, struct http_request *request);
void action__cache_clear(struct admin *admin, struct http_request *request);
void action__cache_warmup(struct admin *admin, struct http_request *request);
void action__cache_invalidate(struct admin *admin, struct http_request *request);

#endif
