// The operator's pages: health, readiness, metrics, cache actions; on the admin listener, and on the public one for the admin token.
#ifndef WAHOOK_ADMIN_H
#define WAHOOK_ADMIN_H

#include "wahook/config.h"
#include "wahook/directory.h"
#include "wahook/http.h"
#include "wahook/limiter.h"
#include "wahook/shm.h"

struct admin;
struct admin_options {
  struct loop *loop;
  struct shm *shm;
  struct shm_slot *slot;
  const struct config *config;
  struct directory *directory;
  struct limiter *limiter;
};
struct admin *admin_new(const struct admin_options *options);
void admin_free(struct admin *admin);
// Fills in the routes of this folder; returns how many (never more than ADMIN_ROUTES_MAX).
#define ADMIN_ROUTES_MAX 24
unsigned admin_routes(struct admin *admin, struct http_route *out);

#endif
