// The watchdog over heartbeats, and the recycling of workers after so many requests. Runs in the master.
#include "supervisor/master.h"

#include <signal.h>
#include <stdlib.h>

#include "wahook/log.h"
#include "wahook/metrics.h"

#define STALL_US       1000000 // the master's own tick came this late: everybody was frozen, not one child hung
#define AFTER_STALL_US 2000000
#define ABORT_GRACE_US 1000000

void watch_arm_recycling(struct child *child) {
  const struct config *config = child->master->config;
  child->recycle_at = 0;
  if (child->role != SHM_ROLE_WORKER || config->server_max_requests <= 0) return;
  uint64_t jitter = config->server_max_requests_jitter > 0 ? random_u64() % ((uint64_t)config->server_max_requests_jitter + 1) : 0;
  // The block's counter goes on from its former owner's.
  uint64_t now = atomic_load(&child->slot->counters[METRIC_HTTP_REQUESTS]);
  child->recycle_at = now + (uint64_t)config->server_max_requests + jitter;
}

static void check_heartbeat(struct child *child, int64_t now_us) {
  int64_t silent_us = now_us - atomic_load(&child->slot->heartbeat_us);
  if (child->hung || silent_us <= child->master->config->server_timeout * 1000) return;
  char name[32];
  log_error("supervisor", "%s (pid %ld) hangs: no heartbeat for %.1f s", child_name(child, name), (long)child->pid,
            (double)silent_us / 1e6);
  child->hung = true;
  // ABRT leaves a core where cores are allowed; one that is stopped or stuck in the kernel gets KILL next.
  kill(child->pid, SIGABRT);
  child->kill_at_us = now_us + ABORT_GRACE_US;
}

static bool recycling(const struct master *master) {
  for (unsigned i = 0; i < master->child_count; i++)
    if (master->children[i].state != SHM_EMPTY && master->children[i].replaces != CHILD_NONE) return true;
  return false;
}

static void check_recycling(struct child *child, unsigned row) {
  struct master *master = child->master;
  if (!child->recycle_at || child->state != SHM_READY || master->life != MASTER_RUNNING || master->reload.running) return;
  if (atomic_load(&child->slot->counters[METRIC_HTTP_REQUESTS]) < child->recycle_at || recycling(master)) return;
  char name[32];
  log_info("supervisor", "%s (pid %ld) has answered its share of requests: a successor takes over", child_name(child, name),
           (long)child->pid);
  child->recycle_at = 0;
  struct child *successor = children_start(master, SHM_ROLE_WORKER, child->ordinal, false);
  if (successor) successor->replaces = (int)row;
}

void watch_tick(struct master *master, int64_t now_us) {
  if (now_us - master->last_tick_us > STALL_US) master->watch_from_us = now_us + AFTER_STALL_US;
  master->last_tick_us = now_us;
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (!child_is_live(child) || child->pid <= 0) continue;
    if (now_us >= master->watch_from_us) check_heartbeat(child, now_us);
    check_recycling(child, i);
  }
}
