// USR2: another program takes over while this one serves. Runs in the old master; successor.c is the other side.
//
//      old master                                   new master (our child, with the sockets, the shared memory, the lock)
//   USR2 ─▶ pid files put aside, fork + exec ─────▶ reads its configuration, starts its workers on the same sockets
//           our dispatcher drains ◀── TAKEOVER ──── all workers READY
//                       └─ lets go of its lock ───▶ its dispatcher READY, pid files written
//   our workers drain, exit ◀────────── HELLO ───── it leads
//
//   It ends, or is not ready in time: pid files back, our dispatcher again; the workers have never stopped.
#include "supervisor/master.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "wahook/log.h"
#include "wahook/metrics.h"

#define QUIT_GRACE_US 5000000

// The program as it was called, so that what stands there now is taken (a package's new file, a link that was moved). The running file
// itself may be gone from the disk.
static char *find_program(const char *name) {
  struct buf path = {0};
  if (strchr(name, '/')) return xstrdup(name);
  struct span rest = span_of(getenv("PATH")), dir;
  while (span_split(&rest, ':', &dir)) {
    buf_clear(&path);
    buf_printf(&path, "%.*s/%s", SPAN_FMT(dir), name);
    if (dir.len && access(path.data, X_OK) == 0) return buf_steal(&path);
  }
  buf_free(&path);
  return xstrdup("/proc/self/exe");
}

// For a program whose shared memory is laid out in another way.
static int save_counters(const struct master *master) {
  struct buf text = {0};
  metrics_save(&master->shm, &text);
  int fd = memfd_create("wahookd-counters", MFD_CLOEXEC);
  bool ok = fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len && lseek(fd, 0, SEEK_SET) == 0;
  buf_free(&text);
  if (ok) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static enum err spawn_successor(struct master *master, int channel_fd, struct why *why) {
  struct proc_fd *fds = xcalloc(PROC_FDS_MAX, sizeof *fds);
  unsigned n = 0;
  int counters_fd = save_counters(master);
  char *program = find_program(master->argv[0]);
  fds[n++] = (struct proc_fd){"shm", master->shm.fd};
  fds[n++] = (struct proc_fd){"wake", master->wake_fd};
  fds[n++] = (struct proc_fd){"lock", master->state.lock_fd};
  fds[n++] = (struct proc_fd){"master", channel_fd};
  if (counters_fd >= 0) fds[n++] = (struct proc_fd){"counters", counters_fd};
  n += listeners_hand_over(master->listeners, fds + n, PROC_FDS_MAX - n);
  struct proc_spawn spawn = {
      .exe = program, .role = shm_role_name(SHM_ROLE_MASTER), .argv = master->argv, .environ = master->environ, .fds = fds, .fd_count = n};
  enum err e = proc_spawn(&spawn, &master->upgrade.pid, why);
  if (counters_fd >= 0) close(counters_fd);
  free(program);
  free(fds);
  return e;
}

// ---------------------------------------------------------------- both ends of it

static void close_channel(struct master *master) {
  proc_channel_close(master->upgrade.channel);
  master->upgrade.channel = NULL;
}

static void over(struct master *master) {
  close_channel(master);
  buf_free(&master->upgrade.reasons);
  master->upgrade.running = false;
  master->upgrade.pid = 0;
}

static void roll_back(struct master *master, const char *reason) {
  struct span rest = buf_span(&master->upgrade.reasons), line;
  log_error("supervisor", "upgrade rolled back: %s; this program goes on", reason);
  report_reason(&master->report, REPORT_UPGRADE, span_of(reason));
  while (rest.len && span_split(&rest, '\n', &line)) {
    if (!line.len) continue;
    log_error("supervisor", "the new program said: %.*s", SPAN_FMT(line));
    report_reason(&master->report, REPORT_UPGRADE, line);
  }
  report_end(&master->report, REPORT_UPGRADE, REPORT_REFUSED, master->generation);
  metrics_add(&master->shm.slots[0], METRIC_UPGRADES_REFUSED, 1);
  state_put_back(&master->state);
  bool give_back = master->upgrade.gave_dispatcher;
  over(master);
  master->upgrade.gave_dispatcher = false;
  // When the old one is still draining, its successor waits for the lock.
  if (give_back && master->life != MASTER_STOPPING) children_start(master, SHM_ROLE_DISPATCHER, 0, false);
  master__settle(master);
}

static void hand_over(struct master *master) {
  log_info("supervisor", "upgrade: the new master (pid %ld) leads, this one finishes what is open", (long)master->upgrade.pid);
  proc_notify(-1, "MAINPID=%ld", (long)master->upgrade.pid);
  master->upgrade.handed_over = true;
  master->leading = false;
  over(master);
  master__stop(master, false, EX_OK);
}

static void give_dispatcher(struct master *master) {
  log_info("supervisor", "upgrade: the new workers are ready, the dispatcher finishes");
  master->upgrade.gave_dispatcher = true;
  for (unsigned i = 0; i < master->child_count; i++)
    if (master->children[i].role == SHM_ROLE_DISPATCHER) children_drain(&master->children[i], true);
}

static void on_message(void *ctx, uint32_t type, struct span body) {
  struct master *master = ctx;
  ALWAYS(master->magic == MASTER_MAGIC);
  switch (type) {
  case PROC_TAKEOVER: give_dispatcher(master); return;
  case PROC_HELLO: hand_over(master); return;
  case PROC_FATAL: buf_printf(&master->upgrade.reasons, "%.*s\n", SPAN_FMT(body)); return;
  default: log_warning("supervisor", "the new master sent a message of unknown type %u", (unsigned)type);
  }
}

static void on_closed(void *ctx) {
  close_channel(ctx); // SIGCHLD tells the rest
}

// ---------------------------------------------------------------- beginning, watching

static void begin(struct master *master) {
  static const struct proc_channel_events events = {on_message, on_closed};
  int channel[2] = {-1, -1};
  struct why why = {0};
  log_info("supervisor", "upgrade: starting %s beside this program", master->argv[0]);
  report_begin(&master->report, REPORT_UPGRADE);
  master->upgrade.running = true;
  master->upgrade.give_up_us = clock_mono_us() + master->config->server_timeout * 1000;
  if (getpid() == 1) {
    roll_back(master, "process 1 of a container cannot be replaced, since the container ends with it: start a new container");
    return;
  }
  enum err e = proc_channel_pair(channel);
  if (e == ERR_OK) {
    state_put_aside(&master->state);
    e = spawn_successor(master, channel[1], &why);
    close(channel[1]);
  }
  if (e != ERR_OK) {
    if (channel[0] >= 0) close(channel[0]);
    roll_back(master, *why.text ? why.text : err_text(e));
    return;
  }
  master->upgrade.channel = proc_channel_open(master->loop, channel[0], &events, master);
}

void upgrade_request(struct master *master) {
  bool busy = master->life != MASTER_RUNNING || master->reload.running || master->upgrade.running || master->former_channel;
  if (busy)
    master->upgrade.wanted = true;
  else
    begin(master);
}

void upgrade_reap(struct master *master) {
  int status;
  char reason[120];
  if (!master->upgrade.running || master->upgrade.pid <= 0 || waitpid(master->upgrade.pid, &status, WNOHANG) != master->upgrade.pid) return;
  if (master->upgrade.channel) proc_channel_finish(master->upgrade.channel); // its last words
  if (!master->upgrade.running) return;                                      // which were that it leads
  if (WIFSIGNALED(status))
    snprintf(reason, sizeof reason, "the new master ended with signal %d (%s) before it was ready", WTERMSIG(status),
             strsignal(WTERMSIG(status)));
  else
    snprintf(reason, sizeof reason, "the new master ended with status %d before it was ready", WEXITSTATUS(status));
  roll_back(master, reason);
}

void upgrade_cancel(struct master *master) {
  master->upgrade.wanted = false;
  if (master->upgrade.running && master->upgrade.pid > 0) kill(master->upgrade.pid, SIGQUIT);
  master->upgrade.give_up_us = 0; // by force, should it not listen
}

void upgrade_tick(struct master *master, int64_t now_us) {
  if (master->upgrade.running && master->upgrade.pid > 0 && now_us >= master->upgrade.give_up_us) {
    bool first = master->upgrade.give_up_us > 0 && master->life != MASTER_STOPPING;
    if (first) buf_printf(&master->upgrade.reasons, "not ready within server.timeout\n");
    kill(master->upgrade.pid, first ? SIGQUIT : SIGKILL);
    master->upgrade.give_up_us = now_us + QUIT_GRACE_US;
    if (!first) master->upgrade.give_up_us = INT64_MAX;
  }
  if (!master->upgrade.wanted || master->upgrade.running) return;
  master->upgrade.wanted = false;
  upgrade_request(master);
}
