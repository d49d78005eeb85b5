// The watchdog over heartbeats, and the recycling of workers by requests, memory and age. Runs in the master.
#include "supervisor/master.h"

#include <signal.h>
#include <stdlib.h>

#include "wahook/log.h"
#include "wahook/metrics.h"

#define STALL_US       1000000 // the master's own tick came this late: everybody was frozen, not one child hung
#define AFTER_STALL_US 2000000
#define ABORT_GRACE_US 1000000
#define MEMORY_US      1000000 // between two looks at resident sets

void watch_arm_recycling(struct child *child, int64_t now_us) {
  const struct config *config = child->master->config;
  child->recycle_at = 0;
  child->recycle_at_us = 0;
  if (child->role != SHM_ROLE_WORKER) return;
  // Spread, so that those that started together do not all go together.
  int64_t age_us = config->server_max_age * 1000;
  if (age_us > 0) child->recycle_at_us = now_us + age_us - (int64_t)(random_u64() % (uint64_t)(age_us / 10 + 1));
  if (config->server_max_requests <= 0) return;
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
  metrics_add(&child->master->shm.slots[0], METRIC_HANGS, 1);
  // ABRT leaves a core where cores are allowed; one that is stopped or stuck in the kernel gets KILL next.
  kill(child->pid, SIGABRT);
  child->kill_at_us = now_us + ABORT_GRACE_US;
}

static bool recycling(const struct master *master) {
  for (unsigned i = 0; i < master->child_count; i++)
    if (master->children[i].state != SHM_EMPTY && master->children[i].replaces != CHILD_NONE) return true;
  return false;
}

// Why a worker shall be replaced, NULL for none.
static const char *past_its_best(const struct child *child, int64_t now_us) {
  if (child->recycle_at && atomic_load(&child->slot->counters[METRIC_HTTP_REQUESTS]) >= child->recycle_at)
    return "answered its share of requests";
  if (child->recycle_at_us && now_us >= child->recycle_at_us) return "reached its age";
  int64_t max_rss = child->master->config->server_max_rss;
  if (max_rss > 0 && child->master->look_at_memory && proc_rss_bytes(child->pid) > (uint64_t)max_rss) return "grown beyond server.max_rss";
  return NULL;
}

static void check_recycling(struct child *child, unsigned row, int64_t now_us) {
  struct master *master = child->master;
  if (child->role != SHM_ROLE_WORKER || child->state != SHM_READY || child->ordinal >= master->workers || child->retire) return;
  if (master->life != MASTER_RUNNING || master->reload.running || master->upgrade.running || recycling(master)) return;
  const char *reason = past_its_best(child, now_us);
  if (!reason) return;
  char name[32];
  log_info("supervisor", "%s (pid %ld) has %s: a successor takes over", child_name(child, name), (long)child->pid, reason);
  child->recycle_at = 0;
  child->recycle_at_us = 0;
  metrics_add(&master->shm.slots[0], METRIC_RECYCLED, 1);
  struct child *successor = children_start(master, SHM_ROLE_WORKER, child->ordinal, false);
  if (successor) successor->replaces = (int)row;
}

void watch_tick(struct master *master, int64_t now_us) {
  if (now_us - master->last_tick_us > STALL_US) master->watch_from_us = now_us + AFTER_STALL_US;
  master->last_tick_us = now_us;
  master->look_at_memory = now_us >= master->memory_at_us;
  if (master->look_at_memory) master->memory_at_us = now_us + MEMORY_US;
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (!child_is_live(child) || child->pid <= 0) continue;
    if (now_us >= master->watch_from_us) check_heartbeat(child, now_us);
    check_recycling(child, i, now_us);
  }
}
