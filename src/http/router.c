// Which row of the table serves a request. Runs in workers and tools.
#include <string.h>

#include "internal.h"

// How well a row's path fits: 0 not at all, SIZE_MAX exactly, else the length of the prefix.
static size_t fit(const struct http_route *route, struct span path) {
  size_t len = strlen(route->path);
  if (len > path.len || memcmp(route->path, path.ptr, len) != 0) return 0;
  if (len == path.len) return SIZE_MAX;
  return len && route->path[len - 1] == '/' ? len : 0;
}

const struct http_route *http__route_find(const struct http_route *routes, unsigned count, struct span path, enum http_method method,
                                          int *status, unsigned *allowed) {
  // GET and POST of a path may be two rows: all rows that fit equally well are one resource.
  const struct http_route *found = NULL;
  size_t best = 0;
  unsigned methods = 0;
  for (unsigned i = 0; i < count; i++) {
    size_t how = fit(&routes[i], path);
    if (how == 0 || how < best) continue;
    unsigned row = routes[i].methods;
    if (row & HTTP_ALLOW(HTTP_M_GET)) row |= HTTP_ALLOW(HTTP_M_HEAD);
    if (how > best) {
      best = how;
      methods = 0;
      found = NULL;
    }
    methods |= row;
    if (!found && (row & HTTP_ALLOW(method))) found = &routes[i];
  }
  if (found) return found;
  *status = best ? 405 : 404;
  *allowed = methods;
  return NULL;
}

void http__allow_text(unsigned allowed, char out[static HTTP__ALLOW_TEXT]) {
  size_t n = 0;
  out[0] = '\0';
  for (enum http_method method = HTTP_M_GET; method < HTTP_M_COUNT; method++) {
    if (!(allowed & HTTP_ALLOW(method))) continue;
    int written = snprintf(out + n, HTTP__ALLOW_TEXT - n, "%s%s", n ? ", " : "", http_method_name(method));
    n += (size_t)written;
  }
}
