// Outages of MongoDB, as a proxy and signals make them: what is known is answered at once and however old, what is not known stays "not
// known yet", and all comes back by itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inside.h"
#include "mongo_server.h"

static struct mongo_server server;
static pid_t proxy_pid;
static int proxy_port, control_port;
static struct loop *loop;
static struct directory *dir;

static void order(const char *command) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                .sin_port = htons((uint16_t)control_port)};
  char answer[8] = "";
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(write(fd, command, strlen(command)), (ssize_t)strlen(command));
  assert_int_equal(write(fd, "\n", 1), 1);
  assert_int_equal(read(fd, answer, sizeof answer), 3);
  close(fd);
}

static void turn(int ms) {
  int64_t deadline = clock_mono_us() + ms * INT64_C(1000);
  do {
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    usleep(1000);
  } while (clock_mono_us() < deadline);
}

struct heard {
  bool any;
  enum directory_answer answer;
};

static void on_answer(void *ctx, enum directory_answer answer, const struct business *b) {
  (void)b;
  *(struct heard *)ctx = (struct heard){true, answer};
}

static enum directory_answer ask(const char *phone) {
  static struct heard h;
  int64_t deadline = clock_mono_us() + 60000000;
  h.any = false;
  directory_find(dir, DIRECTORY_PHONE, span_of(phone), on_answer, &h);
  while (!h.any && clock_mono_us() < deadline)
    turn(1);
  assert_true(h.any);
  return h.answer;
}

static void open_directory(const char *options) {
  char uri[300];
  struct why why;
  snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/%s?directConnection=true%s", proxy_port, server.database, options);
  loop = loop_new(4);
  struct directory_options o = {
      .loop = loop, .store.uri = uri, .cache_size = 1000, .cache_ttl_ms = 50, .negative_ttl_ms = 60000, .stale_max_ms = 86400000};
  assert_int_equal(directory_open(&o, &dir, &why), ERR_OK);
  turn(1500);
  assert_int_equal(ask("11"), DIRECTORY_FOUND);
  assert_int_equal(ask("99"), DIRECTORY_UNKNOWN);
}

static void close_directory(void) {
  directory_close(dir);
  loop_free(loop);
}

// In the outage for some seconds: the known one, whose time to live is long over, is answered from the cache; new ones are LATER.
static void live_through(const char *what) {
  static int serial;
  int64_t from = clock_mono_us(), worst_us = 0, until = from + 4000000;
  unsigned later = 0, gets = 0;
  while (clock_mono_us() < until) {
    char phone[16];
    const struct business *b = NULL;
    int64_t before = clock_mono_us();
    assert_int_equal(directory_get(dir, DIRECTORY_PHONE, SPAN("11"), DIRECTORY_NOW, &b), DIRECTORY_FOUND);
    int64_t took = clock_mono_us() - before;
    worst_us = took > worst_us ? took : worst_us;
    gets++;
    if (gets % 100 == 0) {
      snprintf(phone, sizeof phone, "5%d", serial++);
      assert_int_equal(ask(phone), DIRECTORY_LATER);
      later++;
    }
    turn(1);
  }
  struct directory_stats stats;
  directory_stats(dir, &stats);
  assert_false(stats.healthy);
  print_message("%s: %u look-ups from the cache, the slowest %d us; %u new ones not known yet; breaker %s, opened %u times\n", what, gets,
                (int)worst_us, later, stats.breaker, (unsigned)stats.breaker_opened);
}

static void comes_back(void) {
  int64_t from = clock_mono_us();
  for (; ask("12") != DIRECTORY_FOUND; turn(5))
    if (clock_mono_us() - from > 60000000) fail_msg("it does not come back");
  print_message("  known again %d ms after its return\n", (int)((clock_mono_us() - from) / 1000));
  directory_clear(dir);
  assert_int_equal(ask("51"), DIRECTORY_UNKNOWN);
  assert_int_equal(ask("11"), DIRECTORY_FOUND);
  struct directory_stats stats;
  directory_stats(dir, &stats);
  assert_true(stats.healthy);
  assert_string_equal(stats.breaker, "closed");
}

static void the_network_fails(void **state) {
  (void)state;
  NEED_SERVER();
  static const char *const faults[] = {"stall", "reset", "garbage", "half-open"};
  for (size_t i = 0; i < COUNT_OF(faults); i++) {
    open_directory("");
    order(faults[i]);
    turn(1100); // a poll meets it
    live_through(faults[i]);
    order("pass");
    comes_back();
    close_directory();
  }
}

static void the_server_fails(void **state) {
  (void)state;
  NEED_SERVER();
  open_directory("");
  kill(server.pid, SIGSTOP);
  turn(1100);
  live_through("stopped");
  kill(server.pid, SIGCONT);
  comes_back();
  server_end(&server, SIGKILL);
  turn(1100);
  live_through("killed");
  server_run(&server);
  comes_back();
  close_directory();
}

// Slow is not down: it is asked, and answers late or not at all, and nobody who is known waits for it.
static void the_server_is_slow(void **state) {
  (void)state;
  NEED_SERVER();
  open_directory("");
  order("delay 2000");
  for (int i = 0; i < 1000; i++) {
    const struct business *b;
    assert_int_equal(directory_get(dir, DIRECTORY_PHONE, SPAN("11"), DIRECTORY_NOW, &b), DIRECTORY_FOUND);
    turn(5);
  }
  enum directory_answer answer = ask("61");
  assert_true(answer == DIRECTORY_LATER || answer == DIRECTORY_UNKNOWN);
  order("pass");
  comes_back();
  close_directory();
}

// One failure that the driver can mend by asking again costs nobody anything (retryReads).
static void one_cut_connection(void **state) {
  (void)state;
  NEED_SERVER();
  open_directory("");
  assert_int_equal(python(&server,
                          "c.admin.command('configureFailPoint', 'failCommand', mode={'times': 1}, data={'failCommands': ['find'],\n"
                          " 'closeConnection': True, 'appName': 'wahookd'})",
                          NULL, 0),
                   0);
  assert_int_equal(ask("12"), DIRECTORY_FOUND);
  // A change of the primary likewise; and a query that takes too long is an outage, not an unknown business.
  assert_int_equal(python(&server,
                          "c.admin.command('configureFailPoint', 'failCommand', mode={'times': 1}, data={'failCommands': ['find'],\n"
                          " 'errorCode': 10107})",
                          NULL, 0),
                   0);
  assert_int_equal(ask("21"), DIRECTORY_FOUND);
  assert_int_equal(python(&server,
                          "c.admin.command('configureFailPoint', 'failCommand', mode={'times': 30}, data={'failCommands': ['find'],\n"
                          " 'errorCode': 50})",
                          NULL, 0),
                   0);
  assert_int_equal(ask("22"), DIRECTORY_LATER);
  assert_int_equal(python(&server, "c.admin.command('configureFailPoint', 'failCommand', mode='off')", NULL, 0), 0);
  comes_back();
  close_directory();
}

static int start(void **state) {
  (void)state;
  if (no_server()) return 0;
  char port[8], control[8], target[32], log[80];
  server_make(&server);
  server_run(&server);
  proxy_port = free_port();
  do
    control_port = free_port();
  while (control_port == proxy_port);
  snprintf(port, sizeof port, "%d", proxy_port);
  snprintf(control, sizeof control, "%d", control_port);
  snprintf(target, sizeof target, "127.0.0.1:%d", server.port);
  snprintf(log, sizeof log, "%s/proxy.log", server.folder);
  const char *const argv[] = {"/usr/bin/python3", "test/system/fault_proxy.py", port, target, control, NULL};
  proxy_pid = start_program(argv, log);
  wait_for_port(control_port);
  return python(&server,
                "db.businesses.insert_many([{'_id': 'b%d' % i, 'whatsappPhoneNumberIds': ['%d1' % i, '%d2' % i], 'whatsappEnabled': True,\n"
                "  'isActive': True} for i in range(1, 4)])",
                NULL, 0);
}

static int stop(void **state) {
  (void)state;
  uv_library_shutdown(); // the pool's threads end while the libraries that they used are still there
  if (no_server()) return 0;
  kill(proxy_pid, SIGKILL);
  waitpid(proxy_pid, NULL, 0);
  server_remove(&server);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_network_fails),
      cmocka_unit_test(the_server_fails),
      cmocka_unit_test(the_server_is_slow),
      cmocka_unit_test(one_cut_connection),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
