// Starts this program again in a role: fork + exec with a list of descriptors by name and a small environment. Runs in the master.
#include "wahook/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/close_range.h>

#define FIRST_FD   3
#define STAGE_DUP  1
#define STAGE_EXEC 2

// What a child may know of our environment: nothing that could be a secret or change what it loads.
static const char *const env_passed[] = {"PATH",         "LANG",          "TZ",           "HOME",        "TMPDIR",
                                         "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"};

// Everything that the child needs between fork and exec, made before the fork: only async-signal-safe calls are allowed there.
struct plan {
  const char *exe;
  char *title[2];
  char *const *argv;
  char **envp; // NULL-terminated
  unsigned env_count;
  int fds[PROC_FDS_MAX];
  unsigned fd_count;
  int report_fd;
};

struct report {
  int stage;
  int error;
};

static void plan_env(struct plan *plan, char *text) {
  plan->envp = xrealloc(plan->envp, (plan->env_count + 2) * sizeof *plan->envp);
  plan->envp[plan->env_count++] = text;
  plan->envp[plan->env_count] = NULL;
}

static void plan_environment(struct plan *plan, const struct proc_spawn *spawn) {
  struct buf line = {0};
  for (char *const *e = spawn->environ; e && *e; e++)
    plan_env(plan, xstrdup(*e));
  for (size_t i = 0; i < COUNT_OF(env_passed) && !spawn->environ; i++) {
    const char *value = getenv(env_passed[i]);
    if (!value) continue;
    buf_printf(&line, "%s=%s", env_passed[i], value);
    plan_env(plan, buf_steal(&line));
  }
}

static void plan_make(struct plan *plan, const struct proc_spawn *spawn) {
  memset(plan, 0, sizeof *plan);
  plan->exe = spawn->exe ? spawn->exe : "/proc/self/exe";
  plan->title[0] = xstrdup(spawn->title ? spawn->title : "wahookd");
  plan->argv = spawn->argv ? spawn->argv : plan->title;
  struct buf line = {0};
  plan_environment(plan, spawn);
  if (spawn->role) {
    buf_printf(&line, "WAHOOK_ROLE=%s", spawn->role);
    plan_env(plan, buf_steal(&line));
  }
  buf_add_text(&line, "WAHOOK_FDS=");
  for (unsigned i = 0; i < spawn->fd_count; i++) {
    plan->fds[i] = spawn->fds[i].fd;
    buf_printf(&line, "%s%s=%u", i ? "," : "", spawn->fds[i].name, FIRST_FD + i);
  }
  plan_env(plan, buf_steal(&line));
  plan->fd_count = spawn->fd_count;
  for (const char *const *e = spawn->env; e && *e; e++)
    plan_env(plan, xstrdup(*e));
}

static void plan_free(struct plan *plan) {
  free(plan->title[0]);
  for (unsigned i = 0; i < plan->env_count; i++)
    free(plan->envp[i]);
  free(plan->envp);
}

// Runs in the forked child; never returns.
static _Noreturn void child_fail(const struct plan *plan, int stage) {
  struct report report = {stage, errno};
  ssize_t written = write(plan->report_fd, &report, sizeof report);
  (void)written;
  _exit(127);
}

static void child_close_others(unsigned first) {
  if (close_range(first, ~0u, CLOSE_RANGE_CLOEXEC) == 0) return;
  long max = sysconf(_SC_OPEN_MAX);
  for (long fd = (long)first; fd < max; fd++)
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
}

static _Noreturn void child_exec(struct plan *plan) {
  for (int s = 1; s < NSIG; s++)
    signal(s, SIG_DFL);
  // Move everything above the range of the targets first, so that no dup2 tramples on a source that is still needed.
  int base = FIRST_FD + (int)plan->fd_count;
  int moved = fcntl(plan->report_fd, F_DUPFD_CLOEXEC, base);
  if (moved < 0) child_fail(plan, STAGE_DUP);
  plan->report_fd = moved;
  for (unsigned i = 0; i < plan->fd_count; i++) {
    plan->fds[i] = fcntl(plan->fds[i], F_DUPFD_CLOEXEC, base);
    if (plan->fds[i] < 0) child_fail(plan, STAGE_DUP);
  }
  for (unsigned i = 0; i < plan->fd_count; i++)
    if (dup2(plan->fds[i], FIRST_FD + (int)i) < 0) child_fail(plan, STAGE_DUP);
  int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null_fd >= 0) dup2(null_fd, STDIN_FILENO);
  child_close_others((unsigned)base);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execve(plan->exe, plan->argv, plan->envp);
  child_fail(plan, STAGE_EXEC);
}

// Reads until the pipe closes: at a successful exec nothing comes, since the write end is close-on-exec.
static bool read_report(int fd, struct report *report) {
  size_t got = 0;
  while (got < sizeof *report) {
    ssize_t n = read(fd, (char *)report + got, sizeof *report - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += (size_t)n;
  }
  return got == sizeof *report;
}

enum err proc_spawn(const struct proc_spawn *spawn, pid_t *pid, struct why *why) {
  ALWAYS(spawn->fd_count <= PROC_FDS_MAX);
  int report_fds[2];
  if (pipe2(report_fds, O_CLOEXEC) != 0) {
    why_set(why, "cannot make a pipe for a child: %s", strerror(errno));
    return ERR_IO;
  }
  struct plan plan;
  plan_make(&plan, spawn);
  plan.report_fd = report_fds[1];
  // Blocked over the fork: the child must not run our handlers before it has reset them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t child = fork();
  if (child == 0) child_exec(&plan);
  int fork_errno = errno;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(report_fds[1]);
  struct report report = {0};
  bool failed = child > 0 && read_report(report_fds[0], &report);
  close(report_fds[0]);
  enum err result = ERR_OK;
  if (child < 0) {
    why_set(why, "cannot fork: %s", strerror(fork_errno));
    result = ERR_IO;
  } else if (failed) {
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    why_set(why, "cannot %s %s: %s", report.stage == STAGE_EXEC ? "execute" : "pass descriptors to", plan.exe, strerror(report.error));
    result = ERR_IO;
  } else {
    *pid = child;
  }
  plan_free(&plan);
  return result;
}
