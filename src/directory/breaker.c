// The circuit breaker before the store, without clock or store. Runs in workers and the dispatcher, on the loop.
#include "breaker.h"

#define IN_A_ROW_MAX 5
#define SHARE_MIN    10 // so many outcomes at least, before half of them mean anything
#define PAUSE_MIN_US 500000
#define PAUSE_MAX_US 1000000

const char *breaker_state_name(enum breaker_state state) {
  static const char *const names[] = {"closed", "open", "half_open"};
  return names[state];
}

bool breaker_passes(const struct breaker *b) {
  return b->state == BREAKER_CLOSED;
}

bool breaker_probe(struct breaker *b, int64_t now_us) {
  if (b->state != BREAKER_OPEN || now_us < b->until_us) return false;
  b->state = BREAKER_HALF_OPEN;
  return true;
}

static void open_up(struct breaker *b, int64_t now_us) {
  b->pause_us = b->pause_us == 0 ? PAUSE_MIN_US : b->pause_us * 2 < PAUSE_MAX_US ? b->pause_us * 2 : PAUSE_MAX_US;
  b->until_us = now_us + b->pause_us;
  b->opened += b->state == BREAKER_CLOSED;
  b->state = BREAKER_OPEN;
}

static void note(struct breaker *b, bool good, int64_t now_us) {
  int64_t second = now_us / 1000000;
  unsigned at = (unsigned)(second % BREAKER_SECONDS);
  if (b->seconds[at].second != second) b->seconds[at].good = b->seconds[at].bad = 0;
  b->seconds[at].second = second;
  b->seconds[at].good += good;
  b->seconds[at].bad += !good;
  b->in_a_row = good ? 0 : b->in_a_row + 1;
}

static bool half_failed(const struct breaker *b, int64_t now_us) {
  unsigned good = 0, bad = 0;
  for (unsigned i = 0; i < BREAKER_SECONDS; i++) {
    if (b->seconds[i].second <= now_us / 1000000 - BREAKER_SECONDS) continue;
    good += b->seconds[i].good;
    bad += b->seconds[i].bad;
  }
  return good + bad >= SHARE_MIN && bad >= good;
}

bool breaker_tell(struct breaker *b, bool good, int64_t now_us) {
  if (b->state == BREAKER_CLOSED) {
    note(b, good, now_us);
    if (good || (b->in_a_row < IN_A_ROW_MAX && !half_failed(b, now_us))) return false;
    open_up(b, now_us);
    return true;
  }
  if (good) { // also a straggler's good answer: the store is there
    uint64_t opened = b->opened;
    *b = (struct breaker){.opened = opened};
    return true;
  }
  if (b->state == BREAKER_HALF_OPEN) open_up(b, now_us);
  return false;
}

void breaker_probe_lost(struct breaker *b, int64_t now_us) {
  if (b->state == BREAKER_HALF_OPEN) open_up(b, now_us);
}
