// How many workers there are, and to whom new connections go. Runs in the master.
//
// A worker too many does not simply go: new connections are steered to the others at once, it accepts what is still on its way to its own
// socket for a while, drains, and only then its socket is closed.
#include "supervisor/master.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "wahook/log.h"
#include "wahook/metrics.h"

#define LINGER_US  3000000 // a handshake that was begun before may take a retransmission
#define SILENCE_US 1500000 // six heartbeats: whoever is silent gets no new connections until it beats again

// ---------------------------------------------------------------- TTIN, TTOU, WINCH

static struct child *worker_of(struct master *master, unsigned ordinal) {
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    bool here = child->role == SHM_ROLE_WORKER && child->state != SHM_EMPTY && child->state != SHM_DRAINING && !child->retire;
    if (here && child->ordinal == ordinal) return child;
  }
  return NULL;
}

static void one_more(struct master *master) {
  struct why why = {0};
  if (master->workers >= WORKERS_MAX) {
    log_warning("supervisor", "TTIN: there are %u workers already", master->workers);
    return;
  }
  if (listeners_grow(master->listeners, master->workers + 1, &why) != ERR_OK) {
    log_error("supervisor", "TTIN: %s", why.text);
    return;
  }
  // One that was about to leave stays.
  if (!worker_of(master, master->workers) && !children_start(master, SHM_ROLE_WORKER, master->workers, false)) return;
  master->workers++;
  listeners_store(master->listeners, NULL);
  log_info("supervisor", "TTIN: %u workers", master->workers);
}

static void one_less(struct master *master) {
  if (master->workers <= 1) {
    log_warning("supervisor", "TTOU: the last worker stays");
    return;
  }
  master->workers--;
  log_info("supervisor", "TTOU: %u workers", master->workers);
}

static void none(struct master *master) {
  log_warning("supervisor", "WINCH: all workers drain; HUP brings them back");
  master->workers = 0;
}

void scale_signal(struct master *master, int signum) {
  if (signum == SIGWINCH && isatty(STDIN_FILENO)) return; // a terminal sends it whenever its window is resized
  if (master->life == MASTER_STOPPING) return;
  // A generation is counted as a whole: what comes while one starts is done afterwards.
  if (master->life != MASTER_RUNNING || master->reload.running || master->upgrade.running) {
    master->more_later += signum == SIGTTIN ? 1 : signum == SIGTTOU ? -1 : 0;
    if (signum == SIGWINCH) master->none_later = true;
    return;
  }
  if (signum == SIGTTIN) one_more(master);
  if (signum == SIGTTOU) one_less(master);
  if (signum == SIGWINCH) none(master);
  master__settle(master);
}

static void do_what_waited(struct master *master) {
  int more = master->more_later;
  bool rest = master->none_later;
  master->more_later = 0;
  master->none_later = false;
  for (; more > 0; more--)
    one_more(master);
  for (; more < 0; more++)
    one_less(master);
  if (rest) none(master);
}

// ---------------------------------------------------------------- steering

static bool takes_connections(const struct child *child, int64_t now_us) {
  const struct master *master = child->master;
  return child->role == SHM_ROLE_WORKER && child->state == SHM_READY && !child->retire && !child->hung &&
         child->ordinal < master->workers && now_us - atomic_load(&child->slot->heartbeat_us) < SILENCE_US;
}

void scale_steer(struct master *master, int64_t now_us) {
  if (master->life == MASTER_STOPPING || !master->leading) return;
  uint64_t workers = 0;
  for (unsigned i = 0; i < master->child_count; i++)
    if (takes_connections(&master->children[i], now_us)) workers |= 1ull << master->children[i].ordinal;
  if (listeners_steer(master->listeners, workers) || master->steering_failed) return;
  master->steering_failed = true;
  log_warning("supervisor", "the kernel cannot steer new connections (SO_ATTACH_REUSEPORT_CBPF): a worker less may cost some");
}

// ---------------------------------------------------------------- the surplus

static void see_off(struct child *child, int64_t now_us) {
  struct master *master = child->master;
  int64_t grace_us = master->config->server_graceful_timeout * 1000;
  if (child->ordinal < master->workers) {
    child->leave_at_us = 0;
  } else if (master->workers == 0) {
    children_drain(child, true); // its socket stays, connections wait in it
  } else if (child->leave_at_us == 0) {
    child->leave_at_us = now_us + LINGER_US;
  } else if (now_us >= child->leave_at_us) {
    bool waiting = listeners_waiting(master->listeners, child->ordinal) > 0 && now_us < child->leave_at_us + grace_us;
    if (!waiting) children_drain(child, true);
  }
}

void scale_tick(struct master *master, int64_t now_us) {
  if (master->life != MASTER_RUNNING || master->upgrade.running || (master->reload.running && !master->reload.committed)) return;
  if (!master->reload.running) do_what_waited(master);
  bool surplus = false;
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (child->role != SHM_ROLE_WORKER || child->state == SHM_EMPTY) continue;
    if (child->ordinal >= master->workers) surplus = true;
    if (child->state != SHM_DRAINING && !child->retire && child->replaces == CHILD_NONE) see_off(child, now_us);
  }
  if (!surplus && master->workers > 0) listeners_shrink(master->listeners, master->workers);
}
