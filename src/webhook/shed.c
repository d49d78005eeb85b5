// Overload: whether deliveries are refused before they are read, since what is taken now would only wait. Runs in the workers.
#include "webhook.h"

// Of this worker, gathered or being written. A disk that stands still is noticed earlier by the time it takes.
#define WAITING_BYTES_MAX (64u << 20)
// Told as over when deliveries were taken for so long: at its bound, a disk changes between the two several times a second.
#define OVER_AFTER_US 1000000

void shed__init(struct webhook *webhook) {
  const struct config *config = webhook->config;
  webhook->bounds = (struct journal_bounds){.waiting_bytes = WAITING_BYTES_MAX,
                                            .waiting_us = config->intake_max_wait * 1000,
                                            .backlog_bytes = (uint64_t)config->intake_max_backlog};
}

static void tell_begin(const struct webhook *w, enum journal_room room) {
  switch (room) {
  case JOURNAL_FULL_WAITING:
    log_warning(
        "webhook",
        "%zu bytes of events wait for the disk, the first for %lld ms (intake.max_wait is %lld ms): deliveries are refused with 503 "
        "until it keeps up; server.state_dir needs a faster disk, or one with less other work",
        journal_waiting_bytes(w->journal), (long long)journal_waiting_us(w->journal) / 1000, (long long)w->config->intake_max_wait);
    break;
  case JOURNAL_FULL_BACKLOG:
    log_warning("webhook",
                "%llu bytes of journal wait for the dispatcher (intake.max_backlog is %lld): deliveries are refused with 503 until nine "
                "tenths are left; see whether the dispatcher runs and what it logs (wahookctl status)",
                (unsigned long long)journal_backlog_bytes(w->journal), (long long)w->config->intake_max_backlog);
    break;
  case JOURNAL_FULL_JOBS: // the dispatcher's line has the figures
  case JOURNAL_HAS_ROOM: break;
  }
}

enum journal_room shed__look(struct webhook *w) {
  enum journal_room room = journal_room(w->journal, &w->bounds);
  if (room == w->shedding && room == JOURNAL_HAS_ROOM) return room;
  int64_t now_us = loop_now_us(w->options.loop);
  if (room != JOURNAL_HAS_ROOM) {
    if (room != w->shedding) tell_begin(w, room);
    w->shedding = room;
    w->shed_us = now_us;
  } else if (now_us - w->shed_us > OVER_AFTER_US) {
    if (w->shedding != JOURNAL_FULL_JOBS) log_info("webhook", "deliveries are taken again: there is room for what they bring");
    w->shedding = room;
  }
  return room;
}
