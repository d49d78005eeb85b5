// The master: opens what is shared, starts the children, reacts to signals, watches, stops. It reads no network data and no database.
#include "supervisor/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "supervisor/daemon.h"
#include "wahook/limiter.h"
#include "wahook/log.h"
#include "wahook/metrics.h"

#define LISTEN_PATIENCE_MS 3000
#define SPARE_ROWS         8
#define FIRST_START_DEATHS 5
#define TICK_MS            100
#define COUNTERS_MAX_BYTES (1u << 20)

enum err master__setup_log(const struct config *config, struct why *why) {
  struct log_options options = {.target = config->log_target, .access = "off", .role = "master"};
  if (log_level_parse(span_of(config->log_level), &options.level) != ERR_OK) options.level = LOG_LEVEL_INFO;
  options.format = strcmp(config->log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
  return log_setup(&options, why);
}

// Children write the log as server.user: the file that root has just made must be theirs.
static void hand_over_log(const struct config *config) {
  uid_t uid;
  gid_t gid;
  state_owner(config, &uid, &gid);
  bool to_file = *config->log_target == '/' || *config->log_target == '.';
  if (uid != (uid_t)-1 && to_file && chown(config->log_target, uid, gid) != 0)
    log_warning("supervisor", "cannot give %s to user %s: %s", config->log_target, config->server_user, strerror(errno));
}

// ---------------------------------------------------------------- what the children's lives mean for the whole

static bool all_ready(const struct master *master) {
  unsigned workers = 0, dispatchers = 0;
  for (unsigned i = 0; i < master->child_count; i++) {
    const struct child *child = &master->children[i];
    if (child->state != SHM_READY) continue;
    if (child->role == SHM_ROLE_WORKER)
      workers++;
    else
      dispatchers++;
  }
  return workers >= master->workers && dispatchers >= 1;
}

static void announce(struct master *master) {
  struct buf where = {0}, admin = {0};
  listeners_describe(master->listeners, &where);
  if (master->listeners->admin.count) buf_printf(&admin, ", operator's pages on %s", master->listeners->admin.address.text);
  log_info("supervisor", "wahookd %s is ready: %u worker%s and a dispatcher, webhooks on %s%s%s, state in %s", WAHOOK_VERSION,
           master->workers, master->workers == 1 ? "" : "s", where.data, master->config->webhook_path, admin.len ? admin.data : "",
           master->config->server_state_dir);
  buf_free(&where);
  buf_free(&admin);
  daemon_ready(&master->ready_fd);
}

void master__child_ready(struct child *child) {
  struct master *master = child->master;
  if (child->replaces != CHILD_NONE) {
    children_drain(&master->children[child->replaces], true);
    child->replaces = CHILD_NONE;
  }
  reload_child_ready(child);
  master__settle(master);
}

void master__child_died(struct child *child) {
  struct master *master = child->master;
  char name[32];
  if (reload_child_died(child)) return;
  // Before the first start was complete there is nothing to keep up: what a child cannot do now, an operator has to see.
  if (master->life != MASTER_STARTING) return;
  struct why why = {0};
  if (*child->fatal)
    why_set(&why, "%s: %s", child_name(child, name), child->fatal);
  else if (!child->ready_us && child->backoff.deaths >= FIRST_START_DEATHS)
    why_set(&why, "%s died %u times before it was ready", child_name(child, name), child->backoff.deaths);
  if (!*why.text) return;
  log_critical("supervisor", "cannot start: %s", why.text);
  if (master->former_channel) proc_channel_send(master->former_channel, PROC_FATAL, span_of(why.text));
  master__stop(master, true, *child->fatal ? EX_UNAVAILABLE : EX_SOFTWARE);
}

void master__settle(struct master *master) {
  if (master->life == MASTER_STOPPING) {
    for (unsigned i = 0; i < master->child_count; i++)
      if (master->children[i].state != SHM_EMPTY) return;
    if (master->upgrade.running && master->upgrade.pid > 0) return; // what we had started ends before us
    loop_stop(master->loop);
    return;
  }
  scale_steer(master, clock_mono_us());
  successor_progress(master);
  if (master->life == MASTER_STARTING && master->leading && all_ready(master)) {
    master->life = MASTER_RUNNING;
    atomic_store(&master->shm.slots[0].state, SHM_READY);
    announce(master);
    service_ready(master);
  }
}

void master__stop(struct master *master, bool quick, int exit_status) {
  if (master->life == MASTER_STOPPING && (!quick || master->quick)) return;
  if (master->life != MASTER_STOPPING) {
    master->exit_status = exit_status;
    if (master->leading) atomic_store(&master->shm.slots[0].state, SHM_DRAINING);
    service_stopping(master);
    upgrade_cancel(master);
  }
  master->life = MASTER_STOPPING;
  master->quick = quick;
  for (unsigned i = 0; i < master->child_count; i++) {
    if (quick)
      children_quit(&master->children[i]);
    else
      children_drain(&master->children[i], true);
  }
  master__settle(master);
}

// ---------------------------------------------------------------- signals

static void on_signal(void *ctx, int signum) {
  struct master *master = ctx;
  ALWAYS(master->magic == MASTER_MAGIC);
  if (signum == SIGCHLD) {
    children_reap(master);
    upgrade_reap(master);
    return;
  }
  log_info("supervisor", "signal %s", sigabbrev_np(signum));
  bool again = master->life == MASTER_STOPPING;
  switch (signum) {
  // A new master that does not lead yet has nothing to finish: the old one goes on.
  case SIGTERM: master__stop(master, !master->leading && !again, EX_OK); return;
  case SIGINT: master__stop(master, again, EX_OK); return; // a second Ctrl-C is meant
  case SIGQUIT: master__stop(master, true, EX_OK); return;
  default: break;
  }
  if (again) return;
  switch (signum) {
  case SIGHUP: reload_request(master); return;
  case SIGUSR1:
    log_reopen();
    children_send_all(master, PROC_REOPEN);
    return;
  case SIGUSR2: upgrade_request(master); return;
  default: scale_signal(master, signum);
  }
}

static const int handled_signals[MASTER_SIGNALS] = {SIGCHLD, SIGTERM, SIGINT,  SIGQUIT, SIGHUP,
                                                    SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH};

static void on_tick(void *ctx) {
  struct master *master = ctx;
  ALWAYS(master->magic == MASTER_MAGIC);
  int64_t now_us = loop_now_us(master->loop);
  if (master->leading) atomic_store(&master->shm.slots[0].heartbeat_us, now_us);
  watch_tick(master, now_us);
  children_tick(master, now_us);
  reload_tick(master, now_us);
  upgrade_tick(master, now_us);
  scale_tick(master, now_us);
  service_tick(master, now_us);
  master__settle(master);
}

// ---------------------------------------------------------------- from start to end

// The old master's segment is ours, too, where this program reads it in the same way and it has the size that is configured.
static bool share_segment(struct master *master, size_t limiter_bytes) {
  struct why why = {0};
  if (master->former.shm_fd < 0) return false;
  enum err e = shm_attach(&master->shm, master->former.shm_fd, &why);
  if (e != ERR_OK) {
    close(master->former.shm_fd);
  } else if (*master->shm.tag != metrics_tag() || master->shm.limiter_bytes != limiter_bytes) {
    why_set(&why, "it has other metrics, or another limits.table_size");
    shm_detach(&master->shm);
    e = ERR_VERSION;
  }
  if (e != ERR_OK) log_info("supervisor", "upgrade: new shared memory, limits start afresh (%s)", why.text);
  return e == ERR_OK;
}

static void restore_counters(struct master *master) {
  struct buf text = {0};
  char path[40];
  if (master->former.counters_fd < 0) return;
  snprintf(path, sizeof path, "/proc/self/fd/%d", master->former.counters_fd);
  if (buf_read_file(&text, path, COUNTERS_MAX_BYTES) == ERR_OK) metrics_restore(&master->shm.slots[0], buf_span(&text));
  buf_free(&text);
}

static enum err open_segment(struct master *master, struct why *why) {
  size_t limiter_bytes = (size_t)master->config->limits_table_size;
  if (limiter_bytes < limiter_min_bytes()) limiter_bytes = limiter_min_bytes();
  if (share_segment(master, limiter_bytes)) return ERR_OK;
  // Two generations, or two masters, side by side. A row that nobody ever had is address space and no memory.
  unsigned rows = 2 * (WORKERS_MAX + SPARE_ROWS);
  enum err e = shm_create(&master->shm, rows + 1, limiter_bytes, why);
  if (e != ERR_OK) return e;
  *master->shm.tag = metrics_tag();
  restore_counters(master);
  return ERR_OK;
}

static enum err open_shared(struct master *master, struct why *why) {
  master->workers = config_workers(master->config);
  enum err e = open_segment(master, why);
  if (e != ERR_OK) return e;
  master->wake_fd = master->former.wake_fd >= 0 ? master->former.wake_fd : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (master->wake_fd < 0) {
    why_set(why, "cannot make an eventfd: %s", strerror(errno));
    shm_detach(&master->shm);
    return ERR_IO;
  }
  return ERR_OK;
}

void master__lead(struct master *master) {
  struct shm_slot *slot = &master->shm.slots[0];
  struct why why = {0};
  master->leading = true;
  atomic_store(&slot->role, SHM_ROLE_MASTER);
  atomic_store(&slot->state, SHM_STARTING); // the whole is not ready yet
  atomic_store(&slot->pid, getpid());
  atomic_store(&slot->master_pid, getpid());
  atomic_store(&slot->generation, master->generation);
  atomic_store(&slot->started_us, clock_mono_us());
  atomic_store(&slot->heartbeat_us, clock_mono_us());
  shm_catch_panic(slot);
  if (master->former.upgrade && state_lead(&master->state, &why) != ERR_OK) log_error("supervisor", "%s", why.text);
}

static void run(struct master *master) {
  master->loop = loop_new(0);
  children_init(master);
  for (unsigned i = 0; i < MASTER_SIGNALS; i++)
    loop_signal_init(master->loop, &master->signals[i], handled_signals[i], on_signal, master);
  loop_timer_init(master->loop, &master->tick, on_tick, master);
  loop_timer_start(&master->tick, TICK_MS, TICK_MS);
  master->last_tick_us = clock_mono_us(); // a stall before the first tick is one, too
  if (master->config->webhook_allow_unsigned)
    log_warning("supervisor", "webhook.allow_unsigned is set: ANYBODY WHO REACHES THE LISTENER CAN WRITE MESSAGES. For tests only.");
  master->watchdog_us = proc_watchdog_us();
  successor_start(master);
  if (!master->former.upgrade) master__lead(master);
  children_start(master, SHM_ROLE_DISPATCHER, 0, false);
  // Sockets that were inherited and are too many get a worker, too, until nothing waits in them.
  unsigned sockets = listeners_workers(master->listeners);
  for (unsigned i = 0; i < master->workers || (i < sockets && i < WORKERS_MAX); i++)
    children_start(master, SHM_ROLE_WORKER, i, false);
  loop_run(master->loop);
  successor_end(master);
  for (unsigned i = 0; i < MASTER_SIGNALS; i++)
    loop_signal_close(&master->signals[i]);
  loop_timer_close(&master->tick, NULL);
  loop_free(master->loop);
  free(master->children);
}

static int fail(const struct master *master, const struct why *why, int status) {
  log_critical("supervisor", "cannot start: %s", why->text);
  successor_refuse(&master->former, span_of(why->text));
  // Whoever typed the command shall see it, too.
  if (strcmp(master->config->log_target, "stderr") != 0) fprintf(stderr, "wahookd: cannot start: %s\n", why->text);
  return status;
}

static void close_listeners(struct master *master) {
  // A stop may have come in the middle of a reload.
  listeners_close(master->reload.listeners, master->listeners);
  if (master->reload.config) config_free(master->reload.config);
  // Whoever goes on with the sockets, be it another master or the service manager's store, needs the files of unix sockets.
  bool others = !master->leading || master->upgrade.handed_over || proc_service_manager();
  if (others)
    listeners_leave(master->listeners);
  else
    listeners_close(master->listeners, NULL);
}

static void close_inherited(struct master *master) {
  if (!master->former.listeners) return;
  if (master->listeners) {
    listeners_tell_unused(master->former.listeners, master->listeners);
    listeners_store(master->listeners, master->former.listeners);
  }
  // Files of addresses that are configured no more go only when no other master can need them.
  if (!master->former.upgrade)
    listeners_close(master->former.listeners, master->listeners);
  else
    listeners_leave(master->former.listeners);
  master->former.listeners = NULL;
}

// With the state directory ours.
static int open_and_run(struct master *master) {
  struct why why = {0};
  if (open_shared(master, &why) != ERR_OK) return fail(master, &why, EX_OSERR);
  enum err e = listeners_open(master->config, master->workers, master->former.listeners, LISTEN_PATIENCE_MS, &master->listeners, &why);
  close_inherited(master);
  if (e == ERR_OK) {
    log_info("supervisor", "wahookd %s starts, pid %ld", WAHOOK_VERSION, (long)getpid());
    if (master->config->server_daemon && !master->former.upgrade) daemon_leave_stderr(master->config->log_target);
    report_open(&master->report, master->config);
    if (!master->former.upgrade) report_settle(&master->report);
    run(master);
    close_listeners(master);
    report_close(&master->report);
    log_info("supervisor", "wahookd has stopped");
  } else {
    master->exit_status = fail(master, &why, EX_UNAVAILABLE);
  }
  close(master->wake_fd);
  die_set_hook(NULL);
  shm_detach(&master->shm);
  return master->exit_status;
}

static enum err open_state(struct master *master, struct why *why) {
  if (master->former.upgrade) return state_inherit(master->config, master->former.lock_fd, &master->state, why);
  return state_open(master->config, &master->state, why);
}

static int open_state_and_run(struct master *master) {
  struct why why = {0};
  bool detach = master->config->server_daemon && !master->former.upgrade;
  if (detach && daemon_detach(&master->ready_fd, &why) != ERR_OK) return fail(master, &why, EX_OSERR);
  if (master__setup_log(master->config, &why) != ERR_OK) return fail(master, &why, EX_CANTCREAT);
  hand_over_log(master->config);
  proc_raise_nofile();
  proc_protect_secrets(); // the configuration holds all of them
  enum err e = open_state(master, &why);
  if (e != ERR_OK) return fail(master, &why, e == ERR_CONFLICT ? EX_UNAVAILABLE : EX_CANTCREAT);
  int status = open_and_run(master);
  state_close(&master->state);
  return status;
}

int master_run(struct config *config, const struct inheritance *former, int argc, char **argv, char **environ) {
  struct master master = {
      .magic = MASTER_MAGIC, .argc = argc, .argv = argv, .environ = environ, .config = config, .former = *former, .ready_fd = -1};
  int status = open_state_and_run(&master);
  config_free(master.config);
  return status;
}
