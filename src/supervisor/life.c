// The life of a child as pure rules: transitions and backoff. Runs in the master.
#include "supervisor/life.h"

#define NO ((signed char)-1)

static const signed char next_state[][6] = {
    //                SPAWN         HELLO         DRAIN         EXIT      DELAY        RETIRE
    [SHM_EMPTY] = {SHM_STARTING, NO, NO, NO, NO, NO},
    [SHM_STARTING] = {NO, SHM_READY, SHM_DRAINING, SHM_DEAD, NO, NO},
    [SHM_READY] = {NO, NO, SHM_DRAINING, SHM_DEAD, NO, NO},
    [SHM_DRAINING] = {NO, SHM_DRAINING, SHM_DRAINING, SHM_DEAD, NO, NO},
    [SHM_DEAD] = {SHM_STARTING, NO, NO, NO, SHM_BACKOFF, SHM_EMPTY},
    [SHM_BACKOFF] = {SHM_STARTING, NO, NO, NO, NO, SHM_EMPTY},
};

bool life_step(enum shm_state *state, enum life_event event) {
  signed char next = next_state[*state][event];
  if (next == NO) return false;
  *state = (enum shm_state)next;
  return true;
}

int64_t life_delay_ms(struct life_backoff *backoff, int64_t good_us) {
  if (good_us >= LIFE_GOOD_US) *backoff = (struct life_backoff){0};
  int64_t delay_ms;
  if (backoff->deaths == 0)
    delay_ms = 0;
  else if (backoff->last_ms == 0)
    delay_ms = LIFE_DELAY_MIN_MS;
  else if (good_us >= backoff->last_ms * 1000 * 10)
    delay_ms = backoff->last_ms;
  else
    delay_ms = backoff->last_ms * 2 < LIFE_DELAY_MAX_MS ? backoff->last_ms * 2 : LIFE_DELAY_MAX_MS;
  backoff->deaths++;
  backoff->last_ms = delay_ms;
  return delay_ms;
}
