// What a new master gets from the one that it replaces, or from the service manager, before it has read its configuration.
#ifndef SUPERVISOR_SUCCESSOR_H
#define SUPERVISOR_SUCCESSOR_H

#include "supervisor/listeners.h"

struct inheritance {
  bool upgrade;                                          // an old master is at work and waits for us
  int shm_fd, wake_fd, lock_fd, counters_fd, channel_fd; // -1: none
  struct listeners *listeners;                           // NULL: none
};

// Takes descriptors and their names out of the environment: what is left there is configuration only.
void successor_inherit(struct inheritance *out);
// Tells the old master why nothing comes of it; for a start without one nothing happens.
void successor_refuse(const struct inheritance *inheritance, struct span reasons);

#endif
