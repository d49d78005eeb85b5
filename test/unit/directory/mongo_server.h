// A MongoDB for the tests: the one of MONGODB_URI, or SecantusDB from the tests' Python environment; and Python's driver beside ours, to
// put into the database what ours would not, and to look. Include after <cmocka.h>.
#ifndef TEST_DIRECTORY_MONGO_SERVER_H
#define TEST_DIRECTORY_MONGO_SERVER_H

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wahook/base.h"

#define SERVER_ARGS 24

struct mongo_server {
  pid_t pid; // 0: not ours
  int port;
  char folder[64], uri[512], database[40];
  const char *args[SERVER_ARGS]; // further arguments of secantusd-py
};

static const char *venv(void) {
  const char *set = getenv("WAHOOK_TEST_VENV");
  return set ? set : "build/test-venv";
}

// Why there is no server to test against; NULL: there is one.
static inline const char *no_server(void) {
  static char text[200];
  char path[300];
  snprintf(path, sizeof path, "%s/bin/python", venv());
  if (access(path, X_OK) == 0) return NULL;
  snprintf(text, sizeof text, "no MongoDB to test against: %s is not there (make test makes it; see vendor/make-venv)", venv());
  return text;
}

#define NEED_SERVER()                                                                                                                      \
  do {                                                                                                                                     \
    if (no_server()) {                                                                                                                     \
      print_message("%s\n", no_server());                                                                                                  \
      skip();                                                                                                                              \
    }                                                                                                                                      \
  } while (0)

static inline pid_t start_program(const char *const argv[], const char *log) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid > 0) return pid;
  prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that ends early leaves nothing running
  if (freopen("/dev/null", "r", stdin) && freopen(log, "a", stdout)) dup2(STDOUT_FILENO, STDERR_FILENO);
  execv(argv[0], (char *const *)(uintptr_t)argv);
  _exit(127);
}

static inline int free_port(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof address;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
  close(fd);
  return ntohs(address.sin_port);
}

static inline void wait_for_port(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
  int64_t deadline = clock_mono_us() + 60000000;
  for (;;) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    if (rc == 0) return;
    assert_true(clock_mono_us() < deadline);
    usleep(20000);
  }
}

// Starts it (again: with the same data on the same port).
static inline void server_run(struct mongo_server *s) {
  char program[300], port[8], data[80], log[80];
  snprintf(program, sizeof program, "%s/bin/secantusd-py", venv());
  snprintf(port, sizeof port, "%d", s->port);
  snprintf(data, sizeof data, "%s/data", s->folder);
  snprintf(log, sizeof log, "%s/log", s->folder);
  const char *argv[SERVER_ARGS + 10] = {program, "--host", "127.0.0.1", "--port", port, "--storage-path", data, "--enable-test-commands"};
  for (unsigned i = 0; s->args[i]; i++)
    argv[8 + i] = s->args[i];
  s->pid = start_program(argv, log);
  wait_for_port(s->port);
}

static inline void server_make(struct mongo_server *s) {
  snprintf(s->folder, sizeof s->folder, "/tmp/wahook-test-XXXXXX");
  assert_non_null(mkdtemp(s->folder));
  snprintf(s->database, sizeof s->database, "wahook_test_%d", (int)getpid());
  s->port = free_port();
  snprintf(s->uri, sizeof s->uri, "mongodb://127.0.0.1:%d/%s", s->port, s->database);
}

static inline void server_end(struct mongo_server *s, int signum) {
  if (s->pid <= 0) return;
  kill(s->pid, SIGCONT);
  kill(s->pid, signum);
  assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
  s->pid = 0;
}

static inline void server_remove(struct mongo_server *s) {
  char command[100];
  server_end(s, SIGKILL);
  snprintf(command, sizeof command, "%s", s->folder);
  const char *argv[] = {"/bin/rm", "-rf", command, NULL};
  waitpid(start_program(argv, "/dev/null"), NULL, 0);
}

// Runs Python with `db` (the test's database) and `c` (the client); returns its exit status, 0 for good. What it prints goes to `out`.
static inline int python(const struct mongo_server *s, const char *code, char *out, size_t out_size) {
  char program[300], path[100], uri[600];
  struct buf text = {0}, printed = {0};
  snprintf(program, sizeof program, "%s/bin/python", venv());
  snprintf(path, sizeof path, "%s/printed", s->folder);
  snprintf(uri, sizeof uri, "%s", s->uri);
  unlink(path);
  buf_printf(&text, "import pymongo, bson, datetime, sys\nc = pymongo.MongoClient(sys.argv[1])\ndb = c['%s']\n%s\n", s->database, code);
  const char *argv[] = {program, "-c", text.data, uri, NULL};
  int status = -1;
  waitpid(start_program(argv, path), &status, 0);
  if (buf_read_file(&printed, path, 1 << 20) == ERR_OK && printed.data && (status || !out)) print_message("%s", printed.data);
  if (out) snprintf(out, out_size, "%s", printed.data ? printed.data : "");
  buf_free(&printed);
  buf_free(&text);
  return status;
}

#endif
