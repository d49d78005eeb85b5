// Tests of proc_spawn and what the child finds: the test program itself is the child, told apart by its role.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wahook/proc.h"

// ---- the child: answers over "control" what it sees, one line each

static void child_say(int fd, const char *what, long value) {
  dprintf(fd, "%s=%ld\n", what, value);
}

static int child_main(int argc, char **argv) {
  (void)argc;
  int control = proc_inherited("control");
  if (control < 0) return 3;
  dprintf(control, "title=%s\nrole=%s\n", argv[0], proc_role());
  child_say(control, "control", control);
  child_say(control, "data", proc_inherited("data"));
  child_say(control, "missing", proc_inherited("dat"));
  child_say(control, "cloexec", fcntl(control, F_GETFD));
  child_say(control, "secret_env", getenv("TEST_SECRET") != NULL);
  child_say(control, "extra_env", getenv("TEST_EXTRA") != NULL);
  struct sigaction term;
  sigaction(SIGTERM, NULL, &term);
  child_say(control, "term_default", term.sa_handler == SIG_DFL);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, NULL, &mask);
  child_say(control, "usr1_blocked", sigismember(&mask, SIGUSR1));
  char byte = 0;
  ssize_t n = read(proc_inherited("data"), &byte, 1);
  child_say(control, "byte", n == 1 ? byte : -1);
  long open_fds = 0;
  for (int fd = 3; fd < 256; fd++)
    open_fds += fcntl(fd, F_GETFD) >= 0;
  child_say(control, "open_fds", open_fds);
  return 42;
}

static void read_all(int fd, char *out, size_t size) {
  size_t got = 0;
  ssize_t n;
  while ((n = read(fd, out + got, size - 1 - got)) > 0)
    got += (size_t)n;
  out[got] = 0;
}

static void assert_line(const char *text, const char *line) {
  if (!strstr(text, line)) fail_msg("no \"%s\" in:\n%s", line, text);
}

static void test_child_gets_what_is_named_and_nothing_else(void **state) {
  (void)state;
  int control[2], data[2], stray[2];
  assert_int_equal(pipe(control), 0);
  assert_int_equal(pipe(data), 0);
  assert_int_equal(pipe(stray), 0); // not close-on-exec, and still must not cross
  assert_int_equal(write(data[1], "x", 1), 1);
  setenv("TEST_SECRET", "hush", 1);
  signal(SIGTERM, SIG_IGN);
  sigset_t usr1, before;
  sigemptyset(&usr1);
  sigaddset(&usr1, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr1, &before);
  // The targets 3.. are taken by sources in the opposite order: nothing may be trampled on.
  struct proc_fd fds[] = {{"data", data[0]}, {"control", control[1]}};
  const char *env[] = {"TEST_EXTRA=1", NULL};
  struct proc_spawn spawn = {.role = "worker", .title = "wahookd: worker 7", .fds = fds, .fd_count = 2, .env = env};
  pid_t pid = 0;
  struct why why = {0};
  assert_int_equal(proc_spawn(&spawn, &pid, &why), ERR_OK);
  sigprocmask(SIG_SETMASK, &before, NULL);
  signal(SIGTERM, SIG_DFL);
  close(control[1]);
  char text[1024];
  read_all(control[0], text, sizeof text);
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 42);
  const char *lines[] = {"title=wahookd: worker 7\n",
                         "role=worker\n",
                         "data=3\n",
                         "control=4\n",
                         "missing=-1\n",
                         "cloexec=1\n",
                         "secret_env=0\n",
                         "extra_env=1\n",
                         "term_default=1\n",
                         "usr1_blocked=0\n",
                         "byte=120\n",
                         "open_fds=2\n"};
  for (size_t i = 0; i < COUNT_OF(lines); i++)
    assert_line(text, lines[i]);
  close(control[0]);
  close(data[0]);
  close(data[1]);
  close(stray[0]);
  close(stray[1]);
}

static void test_exec_failure_is_told_and_leaves_no_child(void **state) {
  (void)state;
  struct proc_spawn spawn = {.exe = "/nonexistent/wahookd", .role = "worker", .title = "x"};
  pid_t pid = 77;
  struct why why = {0};
  assert_int_equal(proc_spawn(&spawn, &pid, &why), ERR_IO);
  assert_int_equal(pid, 77);
  assert_non_null(strstr(why.text, "/nonexistent/wahookd"));
  assert_non_null(strstr(why.text, "No such file"));
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void test_bad_descriptor_is_told(void **state) {
  (void)state;
  struct proc_fd fds[] = {{"shm", 999}};
  struct proc_spawn spawn = {.role = "worker", .title = "x", .fds = fds, .fd_count = 1};
  pid_t pid = 0;
  struct why why = {0};
  assert_int_equal(proc_spawn(&spawn, &pid, &why), ERR_IO);
  assert_non_null(strstr(why.text, "descriptors"));
}

static void test_without_a_role_there_is_none(void **state) {
  (void)state;
  unsetenv("WAHOOK_FDS");
  setenv("WAHOOK_ROLE", "worker", 1);
  assert_null(proc_role()); // exported by mistake: no descriptors, no role
  unsetenv("WAHOOK_ROLE");
  assert_null(proc_role());
  assert_int_equal(proc_inherited("shm"), -1);
  setenv("WAHOOK_FDS", "shm=,x=99999999999,y=900", 1);
  assert_int_equal(proc_inherited("shm"), -1);
  assert_int_equal(proc_inherited("x"), -1);
  assert_int_equal(proc_inherited("y"), -1); // not open
  unsetenv("WAHOOK_FDS");
}

static void test_rss_and_limits(void **state) {
  (void)state;
  assert_true(proc_rss_bytes(getpid()) > 100000);
  assert_true(proc_rss_bytes(999999999) == 0);
  assert_true(proc_raise_nofile() >= 256);
}

static void test_unknown_user_is_refused(void **state) {
  (void)state;
  struct why why = {0};
  assert_int_equal(proc_drop_privileges("no-such-user-here", "", &why), ERR_NOT_FOUND);
  assert_non_null(strstr(why.text, "no-such-user-here"));
  assert_int_equal(proc_drop_privileges("", "no-such-group-here", &why), ERR_NOT_FOUND);
  assert_int_equal(proc_drop_privileges("", "", &why), ERR_OK);
}

static void test_drop_has_no_way_back(void **state) {
  (void)state;
  if (getuid() != 0) skip();
  pid_t pid = fork();
  if (pid == 0) {
    struct why why = {0};
    if (proc_drop_privileges("nobody", "", &why) != ERR_OK) _exit(1);
    if (getuid() == 0 || setuid(0) == 0 || seteuid(0) == 0) _exit(2);
    if (proc_drop_privileges("root", "", &why) != ERR_DENIED) _exit(3);
    _exit(0);
  }
  int status = -1;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
  if (proc_role()) return child_main(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_child_gets_what_is_named_and_nothing_else),
      cmocka_unit_test(test_exec_failure_is_told_and_leaves_no_child),
      cmocka_unit_test(test_bad_descriptor_is_told),
      cmocka_unit_test(test_without_a_role_there_is_none),
      cmocka_unit_test(test_rss_and_limits),
      cmocka_unit_test(test_unknown_user_is_refused),
      cmocka_unit_test(test_drop_has_no_way_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
