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

#define LIFE_GOOD_US      100000ll
#define LIFE_DELAY_MIN_MS 100
#define LIFE_DELAY_MAX_MS 30000

struct life_backoff {
  unsigned deaths; // in a row without a good life in between
};
// How long the successor waits after an unexpected death: `good_us` is how long it was ready, 0 when it never was.
// Not at all after a good life (a tenth of a second at work: something killed it from outside, or a rare fault; the successor is worth
// its start) and the first time otherwise; then 100 ms, 200 ms .. 30 s, so that what cannot start does not spin.
int64_t life_delay_ms(struct life_backoff *backoff, int64_t good_us);

#endif
