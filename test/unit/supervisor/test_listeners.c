// Tests of the listening sockets (one per worker, inherited shares, unix sockets, a port in use) and of the state directory's lock.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/listeners.h"
#include "supervisor/state.h"

static char dir[64];

static int setup(void **state) {
  (void)state;
  snprintf(dir, sizeof dir, "/tmp/wahookd-test-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  static const char *const names[] = {"admin.sock", "public.sock", "file", "s/wahookd.lock", "s/wahookd.pid", "extra.pid"};
  char path[128];
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    snprintf(path, sizeof path, "%s/%s", dir, names[i]);
    unlink(path);
  }
  snprintf(path, sizeof path, "%s/s", dir);
  rmdir(path);
  return rmdir(dir);
}

// A port that nobody uses now.
static unsigned free_port(void) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof in;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
  close(fd);
  return ntohs(in.sin_port);
}

static struct config *make_config(const char *bind, const char *admin) {
  char bind_arg[160], admin_arg[160], state_arg[160];
  snprintf(bind_arg, sizeof bind_arg, "--server-bind=%s", bind);
  snprintf(admin_arg, sizeof admin_arg, "--admin-bind=%s", admin);
  snprintf(state_arg, sizeof state_arg, "--server-state-dir=%s/s", dir);
  char *argv[] = {(char[]){"wahookd"}, bind_arg, admin_arg, state_arg, NULL}, *env[] = {NULL};
  struct config *config = NULL;
  struct config_command command = {0};
  struct config_errors errors = {0};
  enum err e = config_load(&config, &command, 4, argv, env, &errors);
  if (e != ERR_OK) fail_msg("%s", errors.text.data);
  config_errors_free(&errors);
  return config;
}

static struct listeners *open_ok(const struct config *config, unsigned workers, const struct listeners *old) {
  struct listeners *l = NULL;
  struct why why = {0};
  if (listeners_open(config, workers, old, 0, &l, &why) != ERR_OK) fail_msg("%s", why.text);
  return l;
}

static void test_every_worker_gets_its_socket_of_each_address(void **state) {
  (void)state;
  char bind[64];
  snprintf(bind, sizeof bind, "127.0.0.1:%u,[::1]:%u", free_port(), free_port());
  struct config *config = make_config(bind, "off");
  struct listeners *l = open_ok(config, 3, NULL);
  assert_int_equal(l->count, 2);
  assert_int_equal(l->items[0].count, 3);
  struct proc_fd fds[16];
  assert_int_equal(listeners_share(l, 2, fds, 16), 2);
  assert_string_equal(fds[0].name, "listen.0");
  assert_int_equal(fds[0].fd, l->items[0].fds[2]);
  assert_string_equal(fds[1].name, "listen.1");
  assert_int_equal(fds[1].fd, l->items[1].fds[2]);
  assert_int_equal(listeners_share(l, 3, fds, 16), 0); // there is none for a fourth
  assert_int_equal(listeners_grow(l, 5, NULL), ERR_OK);
  assert_int_equal(l->items[1].count, 5);
  assert_int_equal(listeners_workers(l), 5);
  listeners_shrink(l, 2);
  assert_int_equal(l->items[0].count, 2);
  assert_int_equal(l->items[1].count, 2);
  listeners_close(l, NULL);
  config_free(config);
}

// Which of the sockets `count` new connections came to; they are closed again.
static void connect_some(const struct listener *listener, unsigned count, unsigned came[static 8]) {
  memset(came, 0, 8 * sizeof *came);
  for (unsigned i = 0; i < count; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&listener->address.sa, listener->address.sa_len), 0);
    close(fd);
  }
  for (unsigned s = 0; s < listener->count; s++) {
    int fd;
    while ((fd = accept(listener->fds[s], NULL, NULL)) >= 0) {
      came[s]++;
      close(fd);
    }
  }
}

static void test_new_connections_go_where_they_are_steered(void **state) {
  (void)state;
  char bind[64];
  unsigned came[8];
  snprintf(bind, sizeof bind, "127.0.0.1:%u", free_port());
  struct config *config = make_config(bind, "off");
  struct listeners *l = open_ok(config, 4, NULL);
  struct listener *listener = &l->items[0];
  assert_true(listeners_steer(l, 0xa)); // workers 1 and 3
  connect_some(listener, 100, came);
  assert_int_equal(came[0] + came[2], 0);
  assert_true(came[1] > 10 && came[3] > 10);
  // Nobody is ready: as before. A socket more gets nothing until it is named.
  assert_true(listeners_steer(l, 0));
  assert_int_equal(listeners_grow(l, 5, NULL), ERR_OK);
  connect_some(listener, 100, came);
  assert_int_equal(came[1] + came[3], 100);
  assert_true(listeners_steer(l, 0x1f));
  connect_some(listener, 200, came);
  assert_true(came[0] && came[1] && came[2] && came[3] && came[4]);
  // What waits in the socket of one that shall go is seen; the others' numbers stay when it is closed.
  assert_true(listeners_steer(l, 0x10));
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, (const struct sockaddr *)&listener->address.sa, listener->address.sa_len), 0);
  assert_int_equal(listeners_waiting(l, 4), 1);
  assert_int_equal(listeners_waiting(l, 3), 0);
  close(fd);
  assert_true(listeners_steer(l, 0x3));
  listeners_shrink(l, 2);
  connect_some(listener, 100, came);
  assert_int_equal(came[0] + came[1], 100);
  listeners_close(l, NULL);
  config_free(config);
}

static void test_an_address_may_widen_while_its_sockets_are_open(void **state) {
  (void)state;
  char bind[64];
  unsigned port = free_port();
  snprintf(bind, sizeof bind, "127.0.0.1:%u", port);
  struct config *narrow = make_config(bind, "off");
  snprintf(bind, sizeof bind, "0.0.0.0:%u", port);
  struct config *wide = make_config(bind, "off");
  struct listeners *old = open_ok(narrow, 2, NULL), *next = open_ok(wide, 2, old);
  listeners_close(old, next);
  unsigned came[8];
  connect_some(&next->items[0], 20, came);
  assert_int_equal(came[0] + came[1], 20);
  listeners_close(next, NULL);
  config_free(narrow);
  config_free(wide);
}

// As a former master hands them over, by name; and with one that is no socket at all.
static void test_sockets_are_inherited(void **state) {
  (void)state;
  char bind[160], variable[256] = "";
  unsigned port = free_port();
  snprintf(bind, sizeof bind, "127.0.0.1:%u,unix:%s/public.sock", port, dir);
  struct config *config = make_config(bind, "off");
  struct listeners *l = open_ok(config, 3, NULL);
  struct proc_fd fds[8];
  assert_int_equal(listeners_hand_over(l, fds, 8), 4);
  for (unsigned i = 0; i < 4; i++)
    snprintf(variable + strlen(variable), sizeof variable - strlen(variable), "%s%s=%d", i ? "," : "", fds[i].name, dup(fds[i].fd));
  snprintf(variable + strlen(variable), sizeof variable - strlen(variable), ",socket.4=%d", open("/dev/null", O_RDONLY));
  setenv("WAHOOK_FDS", variable, 1);
  struct listeners *inherited = listeners_inherit();
  unsetenv("WAHOOK_FDS");
  assert_non_null(inherited);
  assert_int_equal(inherited->count, 2);
  assert_int_equal(inherited->items[0].count, 3);
  assert_true(inherited->items[1].shared);
  struct listeners *next = open_ok(config, 2, inherited); // nobody says that the port is in use
  assert_int_equal(next->items[0].count, 3);
  assert_int_equal(next->items[1].count, 1);
  listeners_leave(inherited);
  listeners_leave(l);
  struct stat st;
  snprintf(bind, sizeof bind, "%s/public.sock", dir);
  assert_int_equal(stat(bind, &st), 0);
  listeners_close(next, NULL);
  assert_int_equal(stat(bind, &st), -1);
  assert_null(listeners_inherit());
  config_free(config);
}

static void test_a_port_in_use_is_refused_in_spite_of_reuseport(void **state) {
  (void)state;
  char bind[64];
  snprintf(bind, sizeof bind, "127.0.0.1:%u", free_port());
  struct config *config = make_config(bind, "off");
  struct listeners *l = open_ok(config, 2, NULL), *second = NULL;
  struct config *same = make_config(l->items[0].address.text, "off");
  struct why why = {0};
  assert_int_equal(listeners_open(same, 2, NULL, 0, &second, &why), ERR_CONFLICT);
  assert_non_null(strstr(why.text, "in use"));
  // A reload keeps the sockets that it has.
  second = open_ok(same, 2, l);
  listeners_close(l, second);
  assert_int_equal(fcntl(second->items[0].fds[1], F_GETFD), FD_CLOEXEC);
  listeners_close(second, NULL);
  config_free(same);
  config_free(config);
}

static void test_unix_sockets(void **state) {
  (void)state;
  char public[96], admin[96];
  snprintf(public, sizeof public, "unix:%s/public.sock", dir);
  snprintf(admin, sizeof admin, "unix:%s/admin.sock", dir);
  struct config *config = make_config(public, admin);
  struct listeners *l = open_ok(config, 4, NULL), *second = NULL;
  struct why why = {0};
  struct stat st;
  assert_int_equal(l->items[0].count, 1);
  assert_int_equal(stat(admin + 5, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0660);
  struct proc_fd fds[8];
  assert_int_equal(listeners_share(l, 3, fds, 8), 2);
  assert_string_equal(fds[1].name, "admin");
  assert_int_equal(listeners_open(config, 4, NULL, 0, &second, &why), ERR_CONFLICT); // somebody listens
  assert_int_equal(stat(public + 5, &st), 0);
  // Left over from a crash: nobody answers, so it goes.
  close(l->items[0].fds[0]);
  close(l->admin.fds[0]);
  second = open_ok(config, 4, NULL);
  listeners_close(second, NULL);
  assert_int_equal(stat(public + 5, &st), -1);
  l->items[0].count = l->admin.count = 0;
  listeners_close(l, NULL);
  // A file that is no socket is not ours to remove.
  snprintf(public, sizeof public, "unix:%s/file", dir);
  close(open(public + 5, O_CREAT | O_WRONLY, 0600));
  struct config *odd = make_config(public, "off");
  assert_int_equal(listeners_open(odd, 1, NULL, 0, &second, &why), ERR_EXISTS);
  assert_int_equal(stat(public + 5, &st), 0);
  config_free(odd);
  config_free(config);
}

static void test_one_master_per_state_directory(void **state) {
  (void)state;
  struct config *config = make_config("127.0.0.1:1", "off");
  struct state first, second;
  struct why why = {0};
  assert_int_equal(state_running_pid(config->server_state_dir), 0);
  assert_int_equal(state_open(config, &first, &why), ERR_OK);
  struct stat st;
  assert_int_equal(stat(config->server_state_dir, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0750);
  assert_int_equal(state_running_pid(config->server_state_dir), getpid());
  assert_int_equal(state_open(config, &second, &why), ERR_CONFLICT);
  assert_non_null(strstr(why.text, "another wahookd"));
  state_close(&first);
  assert_int_equal(state_running_pid(config->server_state_dir), 0);
  assert_int_equal(state_open(config, &second, &why), ERR_OK); // a former lock file is no obstacle
  state_close(&second);
  config_free(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_every_worker_gets_its_socket_of_each_address, setup, teardown),
      cmocka_unit_test_setup_teardown(test_new_connections_go_where_they_are_steered, setup, teardown),
      cmocka_unit_test_setup_teardown(test_an_address_may_widen_while_its_sockets_are_open, setup, teardown),
      cmocka_unit_test_setup_teardown(test_sockets_are_inherited, setup, teardown),
      cmocka_unit_test_setup_teardown(test_a_port_in_use_is_refused_in_spite_of_reuseport, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unix_sockets, setup, teardown),
      cmocka_unit_test_setup_teardown(test_one_master_per_state_directory, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
