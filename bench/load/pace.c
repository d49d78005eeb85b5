// When the next request of a lane is due, and what has to be sent again. Pure; runs in wahook-load.
//
// At a constant rate request k is due at start + k / rate, whatever became of those before it: an open loop. Latency counts from that
// moment, so that a server that stops for a second is charged with all requests of this second, not with those that happened to be out
// (what load generators hide is known as coordinated omission). Without a rate a request is due whenever a connection is free.
#include "load.h"

#include <stdlib.h>

#define RETRY_PAUSE_NS 100000000

static int64_t due_at(const struct pace *p, uint64_t k) {
  return p->start_ns + (int64_t)((double)k * (LOAD_NS_PER_SECOND / p->rate));
}

uint64_t pace_retries(const struct pace *p) {
  return p->again_tail - p->again_head;
}

static const struct request *oldest(const struct pace *p) {
  return pace_retries(p) ? &p->again[p->again_head & (p->again_room - 1)] : NULL;
}

int64_t pace_due(const struct pace *p, bool fresh, int64_t now_ns) {
  const struct request *again = oldest(p);
  int64_t due_ns = again ? again->due_ns : INT64_MAX;
  if (!fresh) return due_ns;
  int64_t new_ns = p->rate > 0 ? due_at(p, p->taken) : now_ns;
  return new_ns < due_ns ? new_ns : due_ns;
}

bool pace_take(struct pace *p, bool fresh, int64_t now_ns, struct request *out) {
  const struct request *again = oldest(p);
  if (again && again->due_ns <= now_ns) {
    *out = *again;
    p->again_head++;
    return true;
  }
  if (!fresh) return false;
  int64_t due_ns = p->rate > 0 ? due_at(p, p->taken) : now_ns;
  if (due_ns > now_ns) return false;
  p->taken++;
  *out = (struct request){.due_ns = due_ns};
  return true;
}

void pace_retry(struct pace *p, uint64_t number, int64_t now_ns) {
  if (pace_retries(p) == p->again_room) {
    uint64_t room = p->again_room ? 2 * p->again_room : 1024, count = 0;
    struct request *ring = xmalloc(room * sizeof *ring);
    for (uint64_t i = p->again_head; i != p->again_tail; i++)
      ring[count++] = p->again[i & (p->again_room - 1)];
    free(p->again);
    p->again = ring;
    p->again_room = room;
    p->again_head = 0;
    p->again_tail = count;
  }
  p->again[p->again_tail++ & (p->again_room - 1)] = (struct request){number, now_ns + RETRY_PAUSE_NS, true};
}

uint64_t pace_behind(const struct pace *p, int64_t now_ns) {
  if (p->rate <= 0 || now_ns <= p->start_ns) return 0;
  uint64_t due = (uint64_t)((double)(now_ns - p->start_ns) * p->rate / LOAD_NS_PER_SECOND);
  return due > p->taken ? due - p->taken : 0;
}

void pace_free(struct pace *p) {
  free(p->again);
}
