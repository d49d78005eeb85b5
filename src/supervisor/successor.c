// The new master of an upgrade: what it inherits, and how it asks the old one for the dispatcher and for the lead. Runs in the new master;
// upgrade.c has the picture and the other side.
#include "supervisor/successor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/master.h"
#include "wahook/log.h"
#include "wahook/metrics.h"

void successor_inherit(struct inheritance *out) {
  const char *role = proc_role();
  *out = (struct inheritance){.shm_fd = -1, .wake_fd = -1, .lock_fd = -1, .counters_fd = -1, .channel_fd = -1};
  if (role && strcmp(role, shm_role_name(SHM_ROLE_MASTER)) == 0) {
    out->shm_fd = proc_inherited("shm");
    out->wake_fd = proc_inherited("wake");
    out->lock_fd = proc_inherited("lock");
    out->counters_fd = proc_inherited("counters");
    out->channel_fd = proc_inherited("master");
    out->upgrade = out->shm_fd >= 0 && out->wake_fd >= 0 && out->lock_fd >= 0 && out->channel_fd >= 0;
  }
  out->listeners = listeners_inherit();
  unsetenv("WAHOOK_ROLE");
  unsetenv("WAHOOK_FDS");
}

// Before there is a loop: the frame of proc/channel.c, written at once.
void successor_refuse(const struct inheritance *inheritance, struct span reasons) {
  if (!inheritance->upgrade) return;
  proc_channel_say(inheritance->channel_fd, PROC_FATAL, reasons);
}

static void on_message(void *ctx, uint32_t type, struct span body) {
  (void)ctx;
  (void)body;
  log_warning("supervisor", "the old master sent a message of unknown type %u", (unsigned)type);
}

// Before it gave way: it died, its children finish by themselves, and the lead is ours as soon as we are ready.
static void on_closed(void *ctx) {
  struct master *master = ctx;
  ALWAYS(master->magic == MASTER_MAGIC);
  proc_channel_close(master->former_channel);
  master->former_channel = NULL;
  if (master->leading)
    log_info("supervisor", "upgrade: the old master has finished");
  else
    log_warning("supervisor", "upgrade: the old master died before it gave way");
  master__settle(master);
}

void successor_start(struct master *master) {
  static const struct proc_channel_events events = {on_message, on_closed};
  if (master->former.upgrade) master->former_channel = proc_channel_open(master->loop, master->former.channel_fd, &events, master);
}

static unsigned ready_ones(const struct master *master, enum shm_role role) {
  unsigned n = 0;
  for (unsigned i = 0; i < master->child_count; i++)
    n += master->children[i].role == role && master->children[i].state == SHM_READY;
  return n;
}

void successor_progress(struct master *master) {
  if (!master->former.upgrade || master->leading || master->life != MASTER_STARTING) return;
  if (ready_ones(master, SHM_ROLE_WORKER) < master->workers) return;
  if (!master->former_asked && master->former_channel) proc_channel_send(master->former_channel, PROC_TAKEOVER, SPAN(""));
  master->former_asked = true;
  if (ready_ones(master, SHM_ROLE_DISPATCHER) < 1) return;
  master__lead(master);
  report_load(&master->report);
  report_end(&master->report, REPORT_UPGRADE, REPORT_DONE, master->generation);
  metrics_add(&master->shm.slots[0], METRIC_UPGRADES_DONE, 1);
  if (master->former_channel) proc_channel_send(master->former_channel, PROC_HELLO, SPAN(""));
}

void successor_end(struct master *master) {
  proc_channel_close(master->former_channel);
  master->former_channel = NULL;
}
