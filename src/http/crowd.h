// How many connections each client address has.
#ifndef WAHOOK_HTTP_CROWD_H
#define WAHOOK_HTTP_CROWD_H

#include "pool.h"

#include <sys/socket.h>
#include <uthash.h>

// An IPv4 address, or the /64 of an IPv6 address: a subscriber has that much at least.
#define HTTP__CROWD_KEY 9
struct http__place {
  uint8_t key[HTTP__CROWD_KEY]; // 4 or 6, then the address
  unsigned count;
  struct http__place *next; // of the free ones
  UT_hash_handle hh;
};

struct http__crowd {
  unsigned most; // connections of one address
  struct http__place *places, *free;
};

void http__crowd_init(struct http__crowd *crowd);
void http__crowd_free(struct http__crowd *crowd);
// One connection more of this address. NULL: it has as many as it may.
struct http__place *http__crowd_enter(struct http__crowd *crowd, struct http__pool *pool, const struct sockaddr *address);
void http__crowd_leave(struct http__crowd *crowd, struct http__place *place);

#endif
