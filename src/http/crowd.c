// How many connections each client address has, so that none takes all there are. Runs in workers and tools.
#include "crowd.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static void make_key(const struct sockaddr *address, uint8_t key[static HTTP__CROWD_KEY]) {
  memset(key, 0, HTTP__CROWD_KEY);
  if (address->sa_family == AF_INET) {
    key[0] = 4;
    memcpy(key + 1, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
  } else if (address->sa_family == AF_INET6) {
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    bool mapped = IN6_IS_ADDR_V4MAPPED(six); // a dual-stack listener shows IPv4 clients this way
    key[0] = mapped ? 4 : 6;
    memcpy(key + 1, six->s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
  }
}

// The key that no address has stays in the table: uthash gives an empty table's memory back, and would take it again with each client.
void http__crowd_init(struct http__crowd *crowd) {
  struct http__place *nobody = xcalloc(1, sizeof *nobody);
  HASH_ADD(hh, crowd->places, key, HTTP__CROWD_KEY, nobody);
}

void http__crowd_free(struct http__crowd *crowd) {
  struct http__place *place, *next;
  HASH_ITER(hh, crowd->places, place, next) {
    HASH_DEL(crowd->places, place);
    free(place);
  }
  while ((place = crowd->free)) {
    crowd->free = place->next;
    free(place);
  }
}

struct http__place *http__crowd_enter(struct http__crowd *crowd, struct http__pool *pool, const struct sockaddr *address) {
  uint8_t key[HTTP__CROWD_KEY];
  struct http__place *place;
  make_key(address, key);
  HASH_FIND(hh, crowd->places, key, HTTP__CROWD_KEY, place);
  if (place) {
    if (place->count >= crowd->most) return NULL;
    place->count++;
    return place;
  }
  place = crowd->free;
  if (place)
    crowd->free = place->next;
  else
    place = http__pool_new(pool, sizeof *place);
  memcpy(place->key, key, sizeof key);
  place->count = 1;
  HASH_ADD(hh, crowd->places, key, HTTP__CROWD_KEY, place);
  return place;
}

void http__crowd_leave(struct http__crowd *crowd, struct http__place *place) {
  if (--place->count) return;
  HASH_DEL(crowd->places, place);
  place->next = crowd->free;
  crowd->free = place;
}
