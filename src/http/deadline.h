// Deadlines of connections: one list per kind, ordered since all entries of a kind wait equally long; swept by one coarse timer.
#ifndef WAHOOK_HTTP_DEADLINE_H
#define WAHOOK_HTTP_DEADLINE_H

#include "wahook/base.h"

enum http__deadline_kind {
  HTTP__D_NONE,
  HTTP__D_FRESH,  // accepted, not a byte yet
  HTTP__D_HEAD,   // a head has begun: absolute
  HTTP__D_BODY,   // grace of a body
  HTTP__D_RATE,   // then looked at every second
  HTTP__D_IDLE,   // between requests
  HTTP__D_LINGER, // after the last answer: reading and dropping
  HTTP__D_WRITE,  // an answer waits for its reader: looked at every quarter of write_ms
  HTTP__D_COUNT
};

struct http__deadline {
  struct http__deadline *previous, *next;
  enum http__deadline_kind kind;
  int64_t at_us;
};

struct http__deadlines {
  struct http__deadline lists[HTTP__D_COUNT]; // ring heads
};

void http__deadlines_init(struct http__deadlines *all);
// Moves the entry to the end of a list; taken off with HTTP__D_NONE.
void http__deadline_set(struct http__deadlines *all, struct http__deadline *entry, enum http__deadline_kind kind, int64_t at_us);
// The first entry of a list if its time has come, else NULL.
struct http__deadline *http__deadline_due(struct http__deadlines *all, enum http__deadline_kind kind, int64_t now_us);

#endif
