// The circuit breaker before the store: who fails again and again is not asked for a while. Pure: time is a parameter. One thread.
#ifndef WAHOOK_DIRECTORY_BREAKER_H
#define WAHOOK_DIRECTORY_BREAKER_H

#include "wahook/base.h"

#define BREAKER_SECONDS 10 // of memory

//   CLOSED ── 5 failures in a row, or half of the last 10 s' ──▶ OPEN ── pause over ──▶ HALF_OPEN ── probe answered ──▶ CLOSED
//                                                                ▲  (0.5 s, doubled up to 2 s)  │
//                                                                └──────── probe failed ────────┘
enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
  enum breaker_state state;
  unsigned in_a_row;
  struct {
    int64_t second;
    unsigned good, bad;
  } seconds[BREAKER_SECONDS];
  int64_t pause_us, until_us;
  uint64_t opened; // times
};

// Ordinary questions.
bool breaker_passes(const struct breaker *b);
// Whether a probe may be sent now; it is then out, and its outcome must be told.
bool breaker_probe(struct breaker *b, int64_t now_us);
// An outcome. True: the breaker has just opened or closed.
bool breaker_tell(struct breaker *b, bool good, int64_t now_us);
// The probe came to nothing that tells (canceled).
void breaker_probe_lost(struct breaker *b, int64_t now_us);
const char *breaker_state_name(enum breaker_state state);

#endif
