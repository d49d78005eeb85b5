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
  if (good_us >= LIFE_GOOD_US) backoff->deaths = 0;
  unsigned before = backoff->deaths++;
  if (before == 0) return 0;
  int64_t delay_ms = before < 16 ? (int64_t)LIFE_DELAY_MIN_MS << (before - 1) : LIFE_DELAY_MAX_MS;
  return delay_ms < LIFE_DELAY_MAX_MS ? delay_ms : LIFE_DELAY_MAX_MS;
}
