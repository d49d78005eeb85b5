// The life of a child as pure rules: which state follows on which event, and how long a dead one waits for its successor.
#ifndef SUPERVISOR_LIFE_H
#define SUPERVISOR_LIFE_H

#include "wahook/shm.h"

enum life_event {
  LIFE_SPAWN,  // it was started
  LIFE_HELLO,  // it checked in
  LIFE_DRAIN,  // it was told to finish
  LIFE_EXIT,   // it is gone
  LIFE_DELAY,  // its successor has to wait
  LIFE_RETIRE, // it gets no successor
};
// False, and *state untouched, where the event cannot happen.
bool life_step(enum shm_state *state, enum life_event event);

#define LIFE_GOOD_US      (60 * 1000000ll)
#define LIFE_DELAY_MIN_MS 100
#define LIFE_DELAY_MAX_MS 30000

struct life_backoff {
  unsigned deaths; // unexpected ones in a row, 0 after a minute of good life
  int64_t last_ms; // the delay that was given last
};
// How long the successor waits after an unexpected death: `good_us` is how long it was ready, 0 when it never was.
// The first time not at all, then 100 ms, 200 ms .. 30 s. A life of ten times the last delay does not lengthen it: what works for most of
// the time, and is killed from outside, stays at work for most of the time.
int64_t life_delay_ms(struct life_backoff *backoff, int64_t good_us);

#endif
