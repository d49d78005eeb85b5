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

#define LISTEN_PATIENCE_MS 3000
#define SPARE_ROWS         8
#define FIRST_START_DEATHS 5

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
  if (*child->fatal) {
    log_critical("supervisor", "cannot start: %s: %s", child_name(child, name), child->fatal);
    master__stop(master, true, EX_UNAVAILABLE);
  } else if (!child->ready_us && child->backoff.deaths >= FIRST_START_DEATHS) {
    log_critical("supervisor", "cannot start: %s died %u times before it was ready", child_name(child, name), child->backoff.deaths);
    master__stop(master, true, EX_SOFTWARE);
  }
}

// Workers beyond the wanted number go once no successor is on its way that has to take over their sockets.
static void drain_surplus(struct master *master) {
  for (unsigned i = 0; i < master->child_count; i++)
    if (master->children[i].state != SHM_EMPTY && master->children[i].replaces != CHILD_NONE) return;
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (child->role == SHM_ROLE_WORKER && child->state != SHM_EMPTY && child->ordinal >= master->workers) children_drain(child, true);
  }
}

void master__settle(struct master *master) {
  if (master->life == MASTER_STOPPING) {
    for (unsigned i = 0; i < master->child_count; i++)
      if (master->children[i].state != SHM_EMPTY) return;
    loop_stop(master->loop);
    return;
  }
  if (!master->reload.running) drain_surplus(master);
  if (master->life == MASTER_STARTING && all_ready(master)) {
    master->life = MASTER_RUNNING;
    announce(master);
  }
}

void master__stop(struct master *master, bool quick, int exit_status) {
  if (master->life == MASTER_STOPPING && (!quick || master->quick)) return;
  if (master->life != MASTER_STOPPING) master->exit_status = exit_status;
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

static void one_worker_more(struct master *master) {
  struct why why = {0};
  if (master->workers >= WORKERS_MAX) {
    log_warning("supervisor", "TTIN: there are %u workers already", master->workers);
    return;
  }
  if (listeners_grow(master->listeners, master->workers + 1, &why) != ERR_OK) {
    log_error("supervisor", "TTIN: %s", why.text);
    return;
  }
  struct child *child = children_start(master, SHM_ROLE_WORKER, master->workers, false);
  if (!child) return;
  master->workers++;
  log_info("supervisor", "TTIN: %u workers", master->workers);
}

// The socket of the one that goes is taken over by a successor of another: only then it drains (see drain_surplus).
static void one_worker_less(struct master *master) {
  if (master->workers <= 1) {
    log_warning("supervisor", "TTOU: the last worker stays");
    return;
  }
  unsigned gone = --master->workers, heir = gone % master->workers;
  log_info("supervisor", "TTOU: %u workers", master->workers);
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (child->role != SHM_ROLE_WORKER || child->ordinal != heir || child->state != SHM_READY || child->retire) continue;
    struct child *successor = children_start(master, SHM_ROLE_WORKER, heir, false);
    if (successor) successor->replaces = (int)i;
    break;
  }
  master__settle(master);
}

static void drain_workers(struct master *master) {
  if (isatty(STDIN_FILENO)) return; // a terminal sends it whenever its window is resized
  log_warning("supervisor", "WINCH: all workers drain; HUP brings them back");
  master->workers = 0;
  master__settle(master);
}

static void on_signal(void *ctx, int signum) {
  struct master *master = ctx;
  ALWAYS(master->magic == MASTER_MAGIC);
  if (signum == SIGCHLD) {
    children_reap(master);
    return;
  }
  log_info("supervisor", "signal %s", sigabbrev_np(signum));
  bool again = master->life == MASTER_STOPPING;
  switch (signum) {
  case SIGTERM: master__stop(master, false, EX_OK); return;
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
  case SIGUSR2: log_warning("supervisor", "USR2: this version cannot replace its own program; restart it"); return;
  default: break;
  }
  // The number of workers only changes between reloads: a generation is counted as a whole.
  if (master->life != MASTER_RUNNING || master->reload.running) {
    log_warning("supervisor", "%s is ignored while a start or a reload is under way", sigabbrev_np(signum));
    return;
  }
  if (signum == SIGTTIN) one_worker_more(master);
  if (signum == SIGTTOU) one_worker_less(master);
  if (signum == SIGWINCH) drain_workers(master);
}

static const int handled_signals[MASTER_SIGNALS] = {SIGCHLD, SIGTERM, SIGINT,  SIGQUIT, SIGHUP,
                                                    SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH};

static void on_tick(void *ctx) {
  struct master *master = ctx;
  ALWAYS(master->magic == MASTER_MAGIC);
  int64_t now_us = loop_now_us(master->loop);
  atomic_store(&master->shm.slots[0].heartbeat_us, now_us);
  watch_tick(master, now_us);
  children_tick(master, now_us);
  reload_tick(master, now_us);
  master__settle(master);
}

// ---------------------------------------------------------------- from start to end

static enum err open_shared(struct master *master, struct why *why) {
  const struct config *config = master->config;
  master->workers = config_workers(config);
  // Two generations side by side at a reload, and some that TTIN or a larger number of workers may add.
  unsigned rows = 2 * (master->workers + SPARE_ROWS) + 2;
  size_t limiter_bytes = (size_t)config->limits_table_size;
  if (limiter_bytes < limiter_min_bytes()) limiter_bytes = limiter_min_bytes();
  enum err e = shm_create(&master->shm, rows + 1, limiter_bytes, why);
  if (e != ERR_OK) return e;
  struct shm_slot *slot = &master->shm.slots[0];
  atomic_store(&slot->role, SHM_ROLE_MASTER);
  atomic_store(&slot->state, SHM_READY);
  atomic_store(&slot->pid, getpid());
  atomic_store(&slot->started_us, clock_mono_us());
  shm_catch_panic(slot);
  master->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (master->wake_fd < 0) {
    why_set(why, "cannot make an eventfd: %s", strerror(errno));
    shm_detach(&master->shm);
    return ERR_IO;
  }
  return ERR_OK;
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
  master->generation = 1;
  children_start(master, SHM_ROLE_DISPATCHER, 0, false);
  for (unsigned i = 0; i < master->workers; i++)
    children_start(master, SHM_ROLE_WORKER, i, false);
  loop_run(master->loop);
  for (unsigned i = 0; i < MASTER_SIGNALS; i++)
    loop_signal_close(&master->signals[i]);
  loop_timer_close(&master->tick, NULL);
  loop_free(master->loop);
  free(master->children);
}

static int fail(const struct master *master, const struct why *why, int status) {
  log_critical("supervisor", "cannot start: %s", why->text);
  // Whoever typed the command shall see it, too.
  if (strcmp(master->config->log_target, "stderr") != 0) fprintf(stderr, "wahookd: cannot start: %s\n", why->text);
  return status;
}

// With the state directory ours.
static int open_and_run(struct master *master) {
  struct why why = {0};
  if (open_shared(master, &why) != ERR_OK) return fail(master, &why, EX_OSERR);
  enum err e = listeners_open(master->config, master->workers, NULL, LISTEN_PATIENCE_MS, &master->listeners, &why);
  if (e == ERR_OK) {
    log_info("supervisor", "wahookd %s starts, pid %ld", WAHOOK_VERSION, (long)getpid());
    if (master->config->server_daemon) daemon_leave_stderr(master->config->log_target);
    run(master);
    // A stop may have come in the middle of a reload.
    listeners_close(master->reload.listeners, master->listeners);
    if (master->reload.config) config_free(master->reload.config);
    listeners_close(master->listeners, NULL);
    log_info("supervisor", "wahookd has stopped");
  } else {
    master->exit_status = fail(master, &why, EX_UNAVAILABLE);
  }
  close(master->wake_fd);
  die_set_hook(NULL);
  shm_detach(&master->shm);
  return master->exit_status;
}

static int open_state_and_run(struct master *master) {
  struct why why = {0};
  if (master->config->server_daemon && daemon_detach(&master->ready_fd, &why) != ERR_OK) return fail(master, &why, EX_OSERR);
  if (master__setup_log(master->config, &why) != ERR_OK) return fail(master, &why, EX_CANTCREAT);
  hand_over_log(master->config);
  proc_raise_nofile();
  proc_protect_secrets(); // the configuration holds all of them
  enum err e = state_open(master->config, &master->state, &why);
  if (e != ERR_OK) return fail(master, &why, e == ERR_CONFLICT ? EX_UNAVAILABLE : EX_CANTCREAT);
  int status = open_and_run(master);
  state_close(&master->state);
  return status;
}

int master_run(struct config *config, int argc, char **argv, char **environ) {
  struct master master = {.magic = MASTER_MAGIC, .argc = argc, .argv = argv, .environ = environ, .config = config, .ready_fd = -1};
  int status = open_state_and_run(&master);
  config_free(master.config);
  return status;
}
