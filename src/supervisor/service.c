// What the service manager (systemd) is told: ready, reloading, stopping, a line of status, a sign of life. Runs in the master.
#include "supervisor/master.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned in_state(const struct master *master, enum shm_state state) {
  unsigned n = 0;
  for (unsigned i = 0; i < master->child_count; i++)
    n += master->children[i].state == state;
  return n;
}

static void tell_status(struct master *master) {
  char text[sizeof master->status];
  unsigned waiting = in_state(master, SHM_BACKOFF);
  int n = snprintf(text, sizeof text, "%u worker%s, generation %u", master->workers, master->workers == 1 ? "" : "s", master->generation);
  if (waiting) snprintf(text + n, sizeof text - (size_t)n, "; %u process%s in a crash loop", waiting, waiting == 1 ? "" : "es");
  if (strcmp(text, master->status) == 0) return;
  memcpy(master->status, text, sizeof text);
  proc_notify(-1, "STATUS=%s", text);
}

void service_ready(struct master *master) {
  if (!proc_service_manager()) return;
  tell_status(master);
  proc_notify(-1, "READY=1\nMAINPID=%ld", (long)getpid());
  listeners_store(master->listeners, NULL);
}

void service_reloading(struct master *master) {
  (void)master;
  proc_notify(-1, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)clock_mono_us());
}

// One that was upgraded is not the service's main process any more.
void service_stopping(struct master *master) {
  if (!master->upgrade.handed_over) proc_notify(-1, "STOPPING=1\nSTATUS=finishing what is open");
}

void service_tick(struct master *master, int64_t now_us) {
  if (!master->leading || !proc_service_manager()) return;
  if (master->life == MASTER_RUNNING) tell_status(master);
  if (master->watchdog_us <= 0 || now_us < master->watchdog_at_us) return;
  master->watchdog_at_us = now_us + master->watchdog_us / 3;
  proc_notify(-1, "WATCHDOG=1");
}
