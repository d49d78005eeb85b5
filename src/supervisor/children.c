// The table of children: starting, draining, burying and replacing them. Runs in the master.
//
//   EMPTY ─▶ STARTING ─HELLO─▶ READY ─DRAIN─▶ DRAINING ─▶ DEAD ─▶ EMPTY          (retired)
//              ▲  └───────────────┴─── exit, crash ───────▶ DEAD ─▶ STARTING      (the first time at once)
//              └──────────────── BACKOFF ◀──────────────────┘                     (after that)
#include "supervisor/master.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wahook/intake.h"
#include "wahook/log.h"
#include "wahook/metrics.h"

#define QUIT_GRACE_US 1000000
#define CHILD_FDS_MAX 64

bool child_is_live(const struct child *child) {
  return child->state == SHM_STARTING || child->state == SHM_READY || child->state == SHM_DRAINING;
}

const char *child_name(const struct child *child, char out[static 32]) {
  if (child->role == SHM_ROLE_WORKER)
    snprintf(out, 32, "worker %u", child->ordinal);
  else
    snprintf(out, 32, "%s", shm_role_name(child->role));
  return out;
}

// The row is free for others from the moment that its slot says so.
static void set_state(struct child *child, enum life_event event) {
  ALWAYS(life_step(&child->state, event));
  if (child->state == SHM_EMPTY) {
    metrics_reset_gauges(child->slot);
    atomic_store(&child->slot->pid, 0);
  }
  atomic_store(&child->slot->state, child->state);
}

void children_init(struct master *master) {
  master->child_count = master->shm.slot_count - 1;
  master->children = xcalloc(master->child_count, sizeof *master->children);
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    child->master = master;
    child->state = SHM_EMPTY;
    child->slot = &master->shm.slots[i + 1];
    child->replaces = CHILD_NONE;
    // A former master's generations are not used again.
    unsigned generation = atomic_load(&child->slot->generation);
    if (generation > master->generation) master->generation = generation;
  }
  master->generation++;
}

// ---------------------------------------------------------------- what they say

static void on_message(void *ctx, uint32_t type, struct span body) {
  struct child *child = ctx;
  char name[32];
  ALWAYS(child->master->magic == MASTER_MAGIC);
  switch (type) {
  case PROC_HELLO:
    if (child->state != SHM_STARTING) return; // told to drain in the meantime
    child->ready_us = clock_mono_us();
    set_state(child, LIFE_HELLO);
    log_debug("supervisor", "%s (pid %ld) is ready", child_name(child, name), (long)child->pid);
    master__child_ready(child);
    return;
  case PROC_STATUS: log_info("supervisor", "%s: %.*s", child_name(child, name), SPAN_FMT(body)); return;
  case PROC_FATAL: snprintf(child->fatal, sizeof child->fatal, "%.*s", SPAN_FMT(body)); return;
  default: log_warning("supervisor", "%s sent a message of unknown type %u", child_name(child, name), (unsigned)type);
  }
}

// The process is at its end, or has lost its mind: SIGCHLD tells the rest, the watchdog sees to one that stays.
static void on_closed(void *ctx) {
  struct child *child = ctx;
  proc_channel_close(child->channel);
  child->channel = NULL;
}

static const struct proc_channel_events channel_events = {on_message, on_closed};

// ---------------------------------------------------------------- starting

static void clear_slot(struct child *child, int64_t now_us) {
  struct shm_slot *slot = child->slot;
  metrics_reset_gauges(slot);
  memset(slot->stage, 0, sizeof slot->stage);
  memset(slot->request, 0, sizeof slot->request);
  memset(slot->panic, 0, sizeof slot->panic);
  atomic_store(&slot->role, child->role);
  atomic_store(&slot->ordinal, child->ordinal);
  atomic_store(&slot->generation, child->generation);
  atomic_store(&slot->master_pid, getpid());
  atomic_store(&slot->next_start_us, 0);
  atomic_store(&slot->started_us, now_us);
  atomic_store(&slot->heartbeat_us, now_us); // the watchdog's time begins now: a start that hangs is a hang
  atomic_store(&slot->state, child->state);
}

static int make_snapshot(const struct config *config, enum shm_role role, struct why *why) {
  int fd = memfd_create("wahookd-config", MFD_CLOEXEC);
  enum config_role config_role = role == SHM_ROLE_WORKER ? CONFIG_ROLE_WORKER : CONFIG_ROLE_DISPATCHER;
  if (fd >= 0 && config_write_snapshot(config, config_role, fd) == ERR_OK && lseek(fd, 0, SEEK_SET) == 0) return fd;
  why_set(why, "cannot hand over the configuration: %s", strerror(errno));
  if (fd >= 0) close(fd);
  return -1;
}

static void env_entry(char *out, size_t size, const char *name, const char *text, long number) {
  if (text)
    snprintf(out, size, "%s=%s", name, text);
  else
    snprintf(out, size, "%s=%ld", name, number);
}

static enum err spawn_process(struct child *child, const struct listeners *listeners, int control_fd, int config_fd, struct why *why) {
  struct master *master = child->master;
  struct proc_fd fds[CHILD_FDS_MAX] = {{"shm", master->shm.fd}, {"config", config_fd}, {"control", control_fd}, {"wake", master->wake_fd}};
  unsigned fd_count = 4;
  if (child->role == SHM_ROLE_WORKER) fd_count += listeners_share(listeners, child->ordinal, fds + 4, COUNT_OF(fds) - 4);
  // What a first start or a reload demands is no condition for a successor after a crash.
  bool check = master->life == MASTER_STARTING || (master->reload.running && child->generation == master->reload.generation);
  char env[5][160], name[32], title[48];
  env_entry(env[0], sizeof env[0], "WAHOOK_SLOT", NULL, child->slot - master->shm.slots);
  env_entry(env[1], sizeof env[1], "WAHOOK_ORDINAL", NULL, child->ordinal);
  env_entry(env[2], sizeof env[2], "WAHOOK_USER", geteuid() == 0 ? master->config->server_user : "", 0);
  env_entry(env[3], sizeof env[3], "WAHOOK_GROUP", geteuid() == 0 ? master->config->server_group : "", 0);
  env_entry(env[4], sizeof env[4], "WAHOOK_CHECK", NULL, check);
  const char *const env_list[] = {env[0], env[1], env[2], env[3], env[4], NULL};
  snprintf(title, sizeof title, "wahookd: %s", child_name(child, name));
  struct proc_spawn spawn = {.role = shm_role_name(child->role), .title = title, .fds = fds, .fd_count = fd_count, .env = env_list};
  return proc_spawn(&spawn, &child->pid, why);
}

static void bury(struct child *child, int64_t now_us);

// From EMPTY, DEAD or BACKOFF to STARTING.
static void spawn(struct child *child) {
  struct master *master = child->master;
  bool next = master->reload.running && !master->reload.committed && child->generation == master->reload.generation;
  const struct config *config = next ? master->reload.config : master->config;
  const struct listeners *listeners = next ? master->reload.listeners : master->listeners;
  int64_t now_us = clock_mono_us();
  int control[2] = {-1, -1};
  struct why why = {0};
  ALWAYS(life_step(&child->state, LIFE_SPAWN));
  child->pid = 0;
  child->spawned_us = now_us;
  child->ready_us = child->kill_at_us = child->leave_at_us = 0;
  child->planned = child->hung = false;
  child->fatal[0] = 0;
  clear_slot(child, now_us);
  int config_fd = make_snapshot(config, child->role, &why);
  enum err e = config_fd < 0 ? ERR_IO : proc_channel_pair(control);
  if (e == ERR_OK) e = spawn_process(child, listeners, control[1], config_fd, &why);
  if (config_fd >= 0) close(config_fd);
  if (control[1] >= 0) close(control[1]);
  if (e != ERR_OK) {
    char name[32];
    log_error("supervisor", "cannot start %s: %s", child_name(child, name), *why.text ? why.text : err_text(e));
    snprintf(child->fatal, sizeof child->fatal, "%s", why.text);
    if (control[0] >= 0) close(control[0]);
    set_state(child, LIFE_EXIT);
    bury(child, now_us);
    return;
  }
  atomic_store(&child->slot->pid, child->pid);
  child->channel = proc_channel_open(master->loop, control[0], &channel_events, child);
  watch_arm_recycling(child, now_us);
}

// The slot is claimed in shared memory: during an upgrade two masters take rows from the same table.
static bool claim_row(struct child *child) {
  uint32_t empty = SHM_EMPTY;
  return child->state == SHM_EMPTY && atomic_compare_exchange_strong(&child->slot->state, &empty, SHM_STARTING);
}

struct child *children_start(struct master *master, enum shm_role role, unsigned ordinal, bool next_generation) {
  struct child *child = NULL;
  for (unsigned i = 0; i < master->child_count && !child; i++)
    if (claim_row(&master->children[i])) child = &master->children[i];
  if (!child) {
    log_error("supervisor", "no room for one more %s: %u processes at most", shm_role_name(role), master->child_count);
    return NULL;
  }
  child->role = role;
  child->ordinal = ordinal;
  child->generation = next_generation ? master->reload.generation : master->generation;
  child->backoff = (struct life_backoff){0};
  child->replaces = CHILD_NONE;
  child->retire = false;
  atomic_store(&child->slot->restarts, 0);
  atomic_store(&child->slot->deaths, 0);
  spawn(child);
  return child;
}

unsigned children_free_rows(const struct master *master) {
  unsigned n = 0;
  for (unsigned i = 0; i < master->child_count; i++)
    n += atomic_load(&master->children[i].slot->state) == SHM_EMPTY;
  return n;
}

static bool is_gone(pid_t pid) {
  return pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH);
}

void children_reclaim(struct master *master) {
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (child->state != SHM_EMPTY || atomic_load(&child->slot->state) == SHM_EMPTY) continue;
    pid_t owner = atomic_load(&child->slot->master_pid);
    if (owner == getpid() || !is_gone(owner) || !is_gone(atomic_load(&child->slot->pid))) continue;
    metrics_reset_gauges(child->slot);
    atomic_store(&child->slot->pid, 0);
    atomic_store(&child->slot->state, SHM_EMPTY);
  }
}

// ---------------------------------------------------------------- ending

static void kill_child(struct child *child, int signum) {
  if (child->pid > 0 && child_is_live(child)) kill(child->pid, signum);
}

void children_drain(struct child *child, bool retire) {
  if (retire) child->retire = true;
  if (child->state == SHM_BACKOFF && retire) {
    set_state(child, LIFE_RETIRE);
    return;
  }
  if (child->state != SHM_STARTING && child->state != SHM_READY) return;
  set_state(child, LIFE_DRAIN);
  child->planned = true;
  int64_t grace_us = child->master->config->server_graceful_timeout * 1000;
  child->kill_at_us = clock_mono_us() + (grace_us > QUIT_GRACE_US / 2 ? grace_us : QUIT_GRACE_US / 2);
  if (child->channel) proc_channel_send(child->channel, PROC_DRAIN, SPAN(""));
}

void children_quit(struct child *child) {
  child->retire = true;
  if (child->state == SHM_BACKOFF) {
    set_state(child, LIFE_RETIRE);
    return;
  }
  if (!child_is_live(child)) return;
  if (child->state != SHM_DRAINING) set_state(child, LIFE_DRAIN);
  child->planned = true;
  child->kill_at_us = clock_mono_us() + QUIT_GRACE_US;
  if (child->channel) proc_channel_send(child->channel, PROC_QUIT, SPAN(""));
}

void children_send_all(struct master *master, enum proc_message_type type) {
  for (unsigned i = 0; i < master->child_count; i++)
    if (master->children[i].channel) proc_channel_send(master->children[i].channel, type, SPAN(""));
}

// The slot's texts were written by a process that died in the middle of anything: bounded, printable.
static const char *slot_text(const char *text, size_t size, char *out) {
  size_t n = 0;
  for (; n < size - 1 && text[n]; n++)
    out[n] = text[n] >= 0x20 && text[n] < 0x7f ? text[n] : '?';
  out[n] = 0;
  return out;
}

static void obituary(const struct child *child, int status, int64_t now_us) {
  char name[32], stage[32], request[40], panic[SHM_PANIC_MAX], how[80];
  if (WIFSIGNALED(status))
    snprintf(how, sizeof how, "signal %d (%s)%s", WTERMSIG(status), strsignal(WTERMSIG(status)), WCOREDUMP(status) ? ", core dumped" : "");
  else
    snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
  slot_text(child->slot->stage, sizeof child->slot->stage, stage);
  slot_text(child->slot->request, sizeof child->slot->request, request);
  slot_text(child->slot->panic, sizeof child->slot->panic, panic);
  bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  double age_s = (double)(now_us - child->spawned_us) / 1e6;
  // On its own, too: whoever signals all processes of a service at once tells the children before the master.
  if (clean) {
    log_info("supervisor", "%s (pid %ld) has finished after %.1f s", child_name(child, name), (long)child->pid, age_s);
    return;
  }
  log_error("supervisor", "%s (pid %ld) died: %s; age %.1f s, %s, stage %s, request %s%s%s%s%s%s", child_name(child, name),
            (long)child->pid, how, age_s, child->ready_us ? "was ready" : "was never ready", *stage ? stage : "-", *request ? request : "-",
            *panic ? ", panic: " : "", panic, *child->fatal ? ", it said: " : "", child->fatal,
            child->hung                             ? ", killed since its loop hung"
            : child->planned && WIFSIGNALED(status) ? ", its grace was over"
                                                    : "");
}

// Whether another worker's bit, of so many that ordinals share, is the same as this one's.
static bool shares_bit(const struct child *child, unsigned bits) {
  const struct master *master = child->master;
  for (unsigned i = 0; i < master->child_count; i++) {
    const struct child *other = &master->children[i];
    if (other->role == SHM_ROLE_WORKER && child_is_live(other) && other->ordinal % bits == child->ordinal % bits) return true;
  }
  return false;
}

// A worker that could not write its journal, or refused deliveries, said so in a bit that it shares with its successor; without one nobody
// would clear it.
static void clear_bits(const struct child *child) {
  struct shm_broadcast *broadcast = child->master->shm.broadcast;
  if (child->role != SHM_ROLE_WORKER) return;
  if (!shares_bit(child, 32)) atomic_fetch_and(&broadcast->intake_refused, ~(1u << (child->ordinal % 32)));
  if (!shares_bit(child, INTAKE_SHED_WAITING_BITS)) atomic_fetch_and(&broadcast->shedding, ~INTAKE_SHED_WAITING(child->ordinal));
}

// DEAD: who follows, and when.
static void bury(struct child *child, int64_t now_us) {
  struct master *master = child->master;
  if (child->retire || master->life == MASTER_STOPPING) {
    set_state(child, LIFE_RETIRE);
  } else if (child->planned && !child->hung) {
    child->backoff = (struct life_backoff){0}; // drained to be replaced (the dispatcher at a reload)
    child->generation = master->generation;
    spawn(child);
  } else {
    atomic_fetch_add(&child->slot->restarts, 1);
    int64_t delay_ms = life_delay_ms(&child->backoff, child->ready_us ? now_us - child->ready_us : 0);
    atomic_store(&child->slot->deaths, child->backoff.deaths);
    metrics_add(&master->shm.slots[0], child->role == SHM_ROLE_WORKER ? METRIC_DEATHS_WORKER : METRIC_DEATHS_DISPATCHER, 1);
    master__child_died(child);
    if (child->state != SHM_DEAD) return; // the reload or the stop that followed has taken care of it
    if (child->retire || master->life == MASTER_STOPPING) {
      set_state(child, LIFE_RETIRE);
    } else if (delay_ms == 0) {
      spawn(child);
    } else {
      char name[32];
      log_warning("supervisor", "%s is started again in %.1f s (%u deaths)", child_name(child, name), (double)delay_ms / 1000,
                  child->backoff.deaths);
      child->spawn_at_us = now_us + delay_ms * 1000;
      atomic_store(&child->slot->next_start_us, child->spawn_at_us);
      set_state(child, LIFE_DELAY);
    }
  }
}

void children_reap(struct master *master) {
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    int status = 0;
    if (!child_is_live(child) || child->pid <= 0 || waitpid(child->pid, &status, WNOHANG) != child->pid) continue;
    int64_t now_us = clock_mono_us();
    // Its last words may still be in the channel: they are read before it is closed.
    if (child->channel) proc_channel_finish(child->channel);
    proc_channel_close(child->channel);
    child->channel = NULL;
    obituary(child, status, now_us);
    set_state(child, LIFE_EXIT);
    atomic_store(&child->slot->pid, 0);
    clear_bits(child);
    bury(child, now_us);
  }
  master__settle(master);
}

void children_tick(struct master *master, int64_t now_us) {
  children_reclaim(master);
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (child->state == SHM_READY && child->backoff.deaths && now_us - child->ready_us >= LIFE_GOOD_US) {
      child->backoff.deaths = 0;
      atomic_store(&child->slot->deaths, 0);
    }
    if (child->state == SHM_BACKOFF && now_us >= child->spawn_at_us) spawn(child);
    if (child_is_live(child) && child->kill_at_us && now_us >= child->kill_at_us) {
      kill_child(child, SIGKILL);
      child->kill_at_us = now_us + 1000000;
    }
  }
}
