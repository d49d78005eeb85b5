// -D: becomes a session of its own in the background; the shell gets its prompt back when the start has succeeded or failed. Runs in the
// master and in the process that waits for it.
#include "supervisor/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static void point_at_null(int fd) {
  int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null_fd < 0) return;
  dup2(null_fd, fd);
  close(null_fd);
}

static _Noreturn void wait_for(pid_t child, int fd) {
  char byte;
  ssize_t n;
  do
    n = read(fd, &byte, 1);
  while (n < 0 && errno == EINTR);
  if (n == 1) _exit(EX_OK);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  dprintf(STDERR_FILENO, "wahookd: not started (the reason stands above or in the log)\n");
  _exit(WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : EX_SOFTWARE);
}

enum err daemon_detach(int *ready_fd, struct why *why) {
  int fds[2];
  pid_t child = -1;
  if (pipe2(fds, O_CLOEXEC) == 0) child = fork();
  if (child < 0) {
    why_set(why, "cannot go to the background: %s", strerror(errno));
    return ERR_IO;
  }
  if (child > 0) {
    close(fds[1]);
    wait_for(child, fds[0]);
  }
  close(fds[0]);
  setsid();
  point_at_null(STDIN_FILENO);
  point_at_null(STDOUT_FILENO);
  *ready_fd = fds[1];
  return ERR_OK;
}

void daemon_ready(int *ready_fd) {
  if (*ready_fd < 0) return;
  ssize_t written = write(*ready_fd, "1", 1);
  (void)written;
  close(*ready_fd);
  *ready_fd = -1;
}

void daemon_leave_stderr(const char *log_target) {
  if (strcmp(log_target, "stderr") != 0 || isatty(STDERR_FILENO)) point_at_null(STDERR_FILENO);
}
