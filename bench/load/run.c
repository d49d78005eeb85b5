// The run: opens the steady connections, starts the clock, sends until time or messages are used up, waits for the last answers. Runs in
// wahook-load.
//
//   OPENING ──▶ SENDING ──▶ DRAINING ──▶ report
//
// One thread with raw epoll. Its timeouts are those of epoll_pwait2(), which has nanoseconds, and the kernel's leave to be late (50 us
// by default) is given up. Signals come as a descriptor: epoll_pwait() delivers none while there is always something to do.
#include "load.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <utlist.h>

#define EVENTS        64 // at once: between two looks at the clock for what is due
#define FILES_BESIDES 16 // descriptors that are not connections
#define FRESH_SPARE   64
#define FILE_BUFFER   1048576
#define SETTLE_NS     1000000000 // that those who stand about get before the clock starts: the server has to take them in

static double seconds_of(int64_t ns) {
  return (double)ns / LOAD_NS_PER_SECOND;
}

static int64_t ns_of(double seconds) {
  return (int64_t)(seconds * LOAD_NS_PER_SECOND);
}

// ---------------------------------------------------------------- opening and closing

static uint64_t files_max(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return 0;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
  return getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > FILES_BESIDES ? files.rlim_cur - FILES_BESIDES : 0;
}

static void lane_open(struct lane *lane, struct run *run, bool keeps, uint64_t count, double rate) {
  *lane = (struct lane){.run = run, .keeps = keeps, .conns = xcalloc(count ? count : 1, sizeof *lane->conns), .conn_count = count};
  lane->pace.rate = rate;
  for (size_t i = 0; i < count; i++) {
    struct conn *c = &lane->conns[i];
    c->lane = lane;
    c->fd = -1;
    c->state = CONN_CLOSED;
    if (!keeps) DL_APPEND(lane->free, c);
  }
}

// New connections: as many as there can be at once, each of which may last for the whole timeout.
static enum err lanes_open(struct run *run, struct why *why) {
  const struct load_options *o = run->options;
  uint64_t room = files_max(), steady = o->connections + o->slow + o->idle, fresh = 0;
  if (steady > room) {
    why_set(why, "--connections, --slow and --idle: the system gives this process %llu descriptors at most (ulimit -n)",
            (unsigned long long)room);
    return ERR_CONFIG;
  }
  if (o->new_rate > 0) {
    double wanted = o->new_rate * o->timeout + FRESH_SPARE;
    fresh = wanted < (double)(room - steady) ? (uint64_t)wanted : room - steady;
  }
  lane_open(&run->kept, run, true, o->connections, o->rate);
  lane_open(&run->fresh, run, false, fresh, o->new_rate);
  return ERR_OK;
}

static void lane_close(struct lane *lane) {
  for (size_t i = 0; i < lane->conn_count; i++)
    if (lane->conns[i].fd >= 0) close(lane->conns[i].fd);
  free(lane->conns);
  pace_free(&lane->pace);
}

// An event without a connection is of the signals, one with the bystanders' own address of theirs.
static void watch_bystanders(struct run *run) {
  const struct load_options *o = run->options;
  run->bystand = bystand_new(&run->target, messages_request(run->messages, 0, false), o->slow, o->idle);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = run->bystand};
  if (epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, bystand_fd(run->bystand), &event) != 0) die("epoll_ctl: error %d", errno);
}

static void watch_signals(struct run *run) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  run->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  run->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (run->epoll_fd < 0 || run->signal_fd < 0 || epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, run->signal_fd, &event) != 0)
    die("no descriptor for epoll or signals: error %d", errno);
}

static enum err acknowledged_open(struct run *run, struct why *why) {
  const char *path = run->options->acknowledged;
  if (!path) return ERR_OK;
  run->acknowledged = fopen(path, "we");
  if (!run->acknowledged) {
    why_set(why, "cannot write %s: %s", path, strerror(errno));
    return ERR_IO;
  }
  setvbuf(run->acknowledged, NULL, _IOFBF, FILE_BUFFER);
  return ERR_OK;
}

static enum err acknowledged_close(struct run *run, struct why *why) {
  if (!run->acknowledged) return ERR_OK;
  bool bad = ferror(run->acknowledged) != 0;
  if (fclose(run->acknowledged) == 0 && !bad) return ERR_OK;
  why_set(why, "%s is not complete: it could not be written", run->options->acknowledged);
  return ERR_IO;
}

// ---------------------------------------------------------------- telling

static double cpu_seconds(void) {
  struct rusage usage;
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct figures_frame frame_of(const struct run *run, int64_t from_ns, int64_t now_ns) {
  int64_t due_ns = now_ns < run->end_ns ? now_ns : run->end_ns;
  bool full = run->next_number >= run->limit; // what is due beyond the count is not wanted
  return (struct figures_frame){
      .at_seconds = seconds_of(now_ns - run->start_ns),
      .seconds = seconds_of(now_ns - from_ns),
      .open = run->busy,
      .unsent = full ? 0 : pace_behind(&run->kept.pace, due_ns) + pace_behind(&run->fresh.pace, due_ns),
      .unacknowledged = pace_retries(&run->kept.pace) + pace_retries(&run->fresh.pace),
  };
}

static void close_interval(struct run *run) {
  figures_merge(run->total, run->now);
  memset(run->now, 0, sizeof *run->now);
}

static void tell_interval(struct run *run, int64_t now_ns) {
  int64_t step_ns = ns_of(run->options->interval);
  struct figures_frame frame = frame_of(run, run->told_ns, now_ns);
  figures_write(run->now, &frame, stderr);
  close_interval(run);
  run->told_ns = now_ns;
  while (run->interval_ns <= now_ns)
    run->interval_ns += step_ns;
}

// ---------------------------------------------------------------- the loop

static void start_sending(struct run *run, int64_t now_ns) {
  const struct load_options *o = run->options;
  run->phase = PHASE_SENDING;
  run->start_ns = run->told_ns = run->kept.pace.start_ns = run->fresh.pace.start_ns = now_ns;
  run->end_ns = o->duration > 0 ? now_ns + ns_of(o->duration) : INT64_MAX;
  run->interval_ns = o->interval > 0 ? now_ns + ns_of(o->interval) : INT64_MAX;
  run->cpu_seconds = cpu_seconds();
  run->started_us = clock_wall_us();
}

static void start_draining(struct run *run, int64_t now_ns) {
  run->phase = PHASE_DRAINING;
  if (now_ns < run->end_ns) run->end_ns = now_ns;
  run->drain_ns = now_ns + run->timeout_ns;
}

// Does what time brings; false at the end of the run.
static bool on_time(struct run *run, int64_t now_ns) {
  conn_expire(run, now_ns);
  bystand_visit(run->bystand, now_ns);
  bool ready = !run->connecting && now_ns >= run->settled_ns;
  if (run->phase == PHASE_OPENING && (ready || run->stops)) start_sending(run, now_ns);
  if (run->phase == PHASE_SENDING && (now_ns >= run->end_ns || run->next_number >= run->limit || run->stops)) start_draining(run, now_ns);
  if (run->phase == PHASE_DRAINING) {
    bool waits = run->busy || pace_retries(&run->kept.pace) || pace_retries(&run->fresh.pace);
    if (!waits || now_ns >= run->drain_ns || run->stops > 1) return false;
  }
  if (run->phase != PHASE_OPENING) {
    conn_start_due(&run->fresh, now_ns);
    conn_start_due(&run->kept, now_ns);
  }
  if (now_ns >= run->interval_ns) tell_interval(run, now_ns);
  return true;
}

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t next_time(const struct run *run, int64_t now_ns) {
  int64_t next = sooner(run->interval_ns, bystand_due(run->bystand));
  bool more = run->phase == PHASE_SENDING && run->next_number < run->limit;
  if (run->open) next = sooner(next, run->open->until_ns);
  if (run->resting) next = sooner(next, run->resting->until_ns);
  if (run->phase == PHASE_SENDING) next = sooner(next, run->end_ns);
  if (run->phase == PHASE_DRAINING) next = sooner(next, run->drain_ns);
  if (run->phase == PHASE_OPENING) return run->settled_ns > now_ns ? sooner(next, run->settled_ns) : next;
  if (run->kept.free) next = sooner(next, pace_due(&run->kept.pace, more, now_ns));
  if (run->fresh.free) next = sooner(next, pace_due(&run->fresh.pace, more, now_ns));
  return next;
}

static void on_signal(struct run *run) {
  struct signalfd_siginfo info;
  while (read(run->signal_fd, &info, sizeof info) == sizeof info)
    run->stops++;
}

static void turn(struct run *run, int64_t now_ns) {
  struct epoll_event events[EVENTS];
  int64_t wait_ns = next_time(run, now_ns) - now_ns;
  if (wait_ns < 0) wait_ns = 0;
  struct timespec timeout = {wait_ns / LOAD_NS_PER_SECOND, wait_ns % LOAD_NS_PER_SECOND};
  int n = epoll_pwait2(run->epoll_fd, events, EVENTS, &timeout, NULL);
  if (n < 0 && errno != EINTR) die("epoll_pwait2: error %d", errno);
  for (int i = 0; i < n; i++)
    if (events[i].data.ptr == run->bystand)
      bystand_on_events(run->bystand);
    else if (events[i].data.ptr)
      conn_on_event(events[i].data.ptr, events[i].events, clock_mono_ns());
    else
      on_signal(run);
}

static void run_loop(struct run *run) {
  int64_t now_ns = clock_mono_ns();
  run->phase = PHASE_OPENING;
  run->interval_ns = INT64_MAX;
  if (run->options->slow || run->options->idle) run->settled_ns = now_ns + SETTLE_NS;
  for (size_t i = 0; i < run->kept.conn_count; i++)
    conn_open_ahead(&run->kept.conns[i], now_ns);
  while (on_time(run, now_ns)) {
    turn(run, now_ns);
    now_ns = clock_mono_ns();
  }
}

static void report(struct run *run) {
  int64_t now_ns = clock_mono_ns();
  if (run->options->interval > 0) tell_interval(run, now_ns);
  close_interval(run);
  struct figures_frame frame = frame_of(run, run->start_ns, run->end_ns);
  frame.whole = true;
  frame.started_us = run->started_us;
  frame.bystand = bystand_figures(run->bystand);
  if (now_ns > run->start_ns) frame.cpu = (cpu_seconds() - run->cpu_seconds) / seconds_of(now_ns - run->start_ns);
  figures_write(run->total, &frame, stdout);
}

enum err load_run(const struct load_options *options, struct messages *messages, const struct target *target, bool *any, struct why *why) {
  struct run *run = xcalloc(1, sizeof *run);
  run->options = options;
  run->messages = messages;
  run->target = *target;
  run->timeout_ns = ns_of(options->timeout);
  run->limit = options->count ? options->count : LOAD_MESSAGES_MAX;
  run->now = xcalloc(1, sizeof *run->now);
  run->total = xcalloc(1, sizeof *run->total);
  prctl(PR_SET_TIMERSLACK, 1ul);
  watch_signals(run);
  enum err e = lanes_open(run, why);
  if (e == ERR_OK) e = acknowledged_open(run, why);
  if (e == ERR_OK) {
    watch_bystanders(run);
    run_loop(run);
    report(run);
    bystand_free(run->bystand);
    *any = run->total->opened > 0;
    e = acknowledged_close(run, why);
  }
  lane_close(&run->kept);
  lane_close(&run->fresh);
  close(run->epoll_fd);
  close(run->signal_fd);
  free(run->now);
  free(run->total);
  free(run);
  return e;
}
