// -s: sends a signal to the running master and waits for what comes of it, or shows its table of processes. Runs in a short-lived process
// of its own.
#include "supervisor/command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/address.h"
#include "supervisor/report.h"
#include "supervisor/state.h"

#define STATUS_NOT_RUNNING 3 // as init scripts have it (LSB)
#define ANSWER_MAX_BYTES   (4u << 20)
#define WAIT_MARGIN_US     10000000

// ---------------------------------------------------------------- status: one GET /metrics on the operator's listener

static int connect_to(const struct address *address) {
  int fd = socket(address->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval patience = {.tv_sec = 5};
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(fd, (const struct sockaddr *)&address->sa, address->sa_len) == 0) return fd;
  close(fd);
  return -1;
}

static enum err fetch(const struct config *config, struct buf *answer, struct why *why) {
  struct buf admin = {0};
  struct address address;
  config_admin_bind(config, &admin);
  enum err e = admin.len ? address_parse(buf_span(&admin), &address, why) : ERR_NOT_FOUND;
  if (!admin.len) why_set(why, "admin.bind is off");
  buf_free(&admin);
  if (e != ERR_OK) return e;
  int fd = connect_to(&address);
  if (fd < 0) {
    why_set(why, "%s: %s", address.text, strerror(errno));
    return ERR_UNAVAILABLE;
  }
  static const char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  bool ok = send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof request - 1);
  while (ok && answer->len < ANSWER_MAX_BYTES) {
    char bytes[16384];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    ok = n >= 0;
    if (n <= 0) break;
    buf_add(answer, bytes, (size_t)n);
  }
  if (!ok) why_set(why, "%s: no answer: %s", address.text, strerror(errno));
  close(fd);
  return ok ? ERR_OK : ERR_UNAVAILABLE;
}

static void print_process(const struct json *process) {
  char age[32], name[32];
  struct span role = json_get_text(process, "role");
  if (span_eq(role, SPAN("worker")))
    snprintf(name, sizeof name, "worker %lld", (long long)json_i64(json_get(process, "ordinal"), 0));
  else
    snprintf(name, sizeof name, "%.*s", (int)(role.len < 24 ? role.len : 24), role.ptr);
  clock_format_span((int64_t)(json_double(json_get(process, "uptime_seconds"), 0) * 1e6), age, sizeof age);
  struct span state = json_get_text(process, "state");
  printf("%-12s %8lld  %-9.*s %14s %8lld %10lld\n", name, (long long)json_i64(json_get(process, "pid"), 0), SPAN_FMT(state), age,
         (long long)json_i64(json_get(process, "restarts"), 0), (long long)json_i64(json_get(process, "requests"), 0));
}

static int status(const struct config *config, pid_t pid) {
  struct buf answer = {0};
  struct why why = {0};
  struct arena arena;
  const struct json *document = NULL;
  enum err e = fetch(config, &answer, &why);
  arena_init(&arena, 65536, 0);
  printf("wahookd is running, pid %ld\n", (long)pid);
  const char *body = e == ERR_OK && answer.len ? strstr(answer.data, "\r\n\r\n") : NULL;
  if (body) e = json_parse(&arena, span_of(body + 4), NULL, &document, NULL);
  if (document && json_get(document, "processes")) {
    printf("%-12s %8s  %-9s %14s %8s %10s\n", "PROCESS", "PID", "STATE", "AGE", "RESTARTS", "REQUESTS");
    for (const struct json *p = json_get(document, "processes")->child; p; p = p->next)
      print_process(p);
  } else {
    fprintf(stderr, "wahookd: its table of processes cannot be read: %s\n",
            *why.text     ? why.text
            : e == ERR_OK ? "odd answer"
                          : err_text(e));
  }
  arena_free(&arena);
  buf_free(&answer);
  return EX_OK;
}

// ---------------------------------------------------------------- signals

enum waits_for { WAITS_NOT = -1, WAITS_RELOAD = REPORT_RELOAD, WAITS_UPGRADE = REPORT_UPGRADE };

static const struct {
  const char *name;
  int signum; // 0: no signal
  enum waits_for waits_for;
} commands[] = {
    {"reload", SIGHUP, WAITS_RELOAD}, {"upgrade", SIGUSR2, WAITS_UPGRADE}, {"stop", SIGTERM, WAITS_NOT},
    {"quit", SIGQUIT, WAITS_NOT},     {"reopen", SIGUSR1, WAITS_NOT},      {"status", 0, WAITS_NOT},
};

static int signal_master(pid_t pid, int signum) {
  if (kill(pid, signum) == 0) return EX_OK;
  fprintf(stderr, "wahookd: cannot signal pid %ld: %s\n", (long)pid, strerror(errno));
  return EX_NOPERM;
}

static int tell_outcome(const struct report_entry *entry, enum report_kind kind) {
  if (entry->outcome == REPORT_DONE) return EX_OK;
  fputs(entry->reasons.data ? entry->reasons.data : "", stderr);
  fprintf(stderr, "wahookd: %s: what ran before goes on\n",
          kind == REPORT_RELOAD ? "the reload was refused" : "the upgrade was rolled back");
  return kind == REPORT_RELOAD ? EX_CONFIG : EX_UNAVAILABLE;
}

// Waits until a run that began after the question has ended. What asks while another runs gets the one after that.
static int signal_and_wait(const struct config *config, pid_t pid, int signum, enum report_kind kind) {
  const char *dir = config->server_state_dir;
  struct report report;
  report_read(&report, dir);
  uint64_t begun = report.entries[kind].begun;
  report_close(&report);
  int status = signal_master(pid, signum);
  int64_t until_us = clock_mono_us() + 2 * config->server_timeout * 1000 + WAIT_MARGIN_US;
  while (status == EX_OK && clock_mono_us() < until_us) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    bool ended = report_read(&report, dir) && report.entries[kind].ended > begun;
    if (ended) status = tell_outcome(&report.entries[kind], kind);
    report_close(&report);
    if (ended) return status;
    if (state_running_pid(dir) > 0) continue;
    fprintf(stderr, "wahookd: it ended meanwhile; the log tells why\n");
    return EX_UNAVAILABLE;
  }
  if (status == EX_OK) fprintf(stderr, "wahookd: no outcome yet; the log tells what it waits for\n");
  return status == EX_OK ? EX_TEMPFAIL : status;
}

int command_signal(const struct config *config, const char *name) {
  const char *dir = config->server_state_dir;
  for (size_t i = 0; i < COUNT_OF(commands); i++) {
    if (strcmp(commands[i].name, name) != 0) continue;
    pid_t pid = state_running_pid(dir);
    if (pid <= 0) {
      fprintf(stderr, "wahookd: not running (no master works on %s)\n", dir);
      return STATUS_NOT_RUNNING;
    }
    if (commands[i].signum == 0) return status(config, pid);
    if (commands[i].waits_for == WAITS_NOT) return signal_master(pid, commands[i].signum);
    return signal_and_wait(config, pid, commands[i].signum, (enum report_kind)commands[i].waits_for);
  }
  fprintf(stderr, "wahookd: -s %s is not one of reload, upgrade, stop, quit, reopen, status\n", name);
  return EX_USAGE;
}
