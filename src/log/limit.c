// Keeps a repeating line from flooding the log. Runs in every process; a limit belongs to one thread.
#include "wahook/log.h"

bool log_limited(struct log_limit *limit, uint64_t key, int64_t now_us, int64_t every_us, uint64_t *suppressed) {
  unsigned free_slot = COUNT_OF(limit->slots);
  unsigned at = free_slot;
  for (unsigned i = 0; i < COUNT_OF(limit->slots); i++) {
    bool over = limit->slots[i].next_us <= now_us;
    if (limit->slots[i].next_us != 0 && limit->slots[i].key == key) {
      at = i;
      break;
    }
    // Of the slots whose time is over, rather one that holds no count.
    if (over && (free_slot == COUNT_OF(limit->slots) || (limit->slots[free_slot].suppressed > 0 && limit->slots[i].suppressed == 0)))
      free_slot = i;
  }
  if (at == COUNT_OF(limit->slots)) at = free_slot;
  // All slots speak for other keys: the flood is one of keys, and it is held back too. Its count goes to whom chance picks.
  if (at == COUNT_OF(limit->slots)) at = (unsigned)(key % COUNT_OF(limit->slots));
  if (limit->slots[at].next_us > now_us) {
    limit->slots[at].suppressed++;
    return false;
  }
  *suppressed = limit->slots[at].suppressed;
  limit->slots[at].key = key;
  limit->slots[at].suppressed = 0;
  limit->slots[at].next_us = now_us + every_us > 0 ? now_us + every_us : 1;
  return true;
}
