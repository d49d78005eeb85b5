// The door: one address does not take all places, an operator gets in when all are taken, a crowd at once is let in turn by turn.
#include "http/world.h"

#include <limits.h>

// ---------------------------------------------------------------- one address

static bool is_reset(int fd) {
  char byte;
  return recv(fd, &byte, 1, 0) < 0;
}

static bool is_served(struct world *world, int fd) {
  world->answers[0] = '\0';
  say(fd, GET "\r\n");
  return hear(world, fd, "\r\n\r\n") > 0 && strstr(world->answers, " 200 ");
}

static void *greedy_client(void *ctx) {
  struct world *world = ctx;
  int own[3];
  for (int i = 0; i < 3; i++) {
    own[i] = dial_from(world->port, 1);
    ALWAYS(is_served(world, own[i]));
  }
  for (int i = 0; i < 5; i++) {
    int fd = dial_from(world->port, 1);
    ALWAYS(is_reset(fd)); // before it said a word
    close(fd);
  }
  for (unsigned other = 2; other < 7; other++) {
    int fd = dial_from(world->port, other);
    ALWAYS(is_served(world, fd));
    close(fd);
  }
  ALWAYS(is_served(world, own[0]));
  int admin = dial_from(world->operators_port, 1); // on the operator's listener nobody is counted
  ALWAYS(is_served(world, admin));
  close(own[1]);
  int again;
  for (again = dial_from(world->port, 1); !is_served(world, again); again = dial_from(world->port, 1))
    close(again); // the end of the other one may not have been seen yet
  return finished(world);
}

static void an_address_beyond_its_cap_is_reset_and_others_are_served(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_connections_per_address = 3;
  run(&world, &limits, false, greedy_client);
  assert_true(world.slot->counters[METRIC_HTTP_REFUSED_ADDRESS] >= 5);
  assert_int_equal(world.slot->counters[METRIC_HTTP_ACCEPT_PAUSED], 0);
}

static void *half_client(void *ctx) {
  struct world *world = ctx;
  for (int i = 0; i < 5; i++)
    ALWAYS(is_served(world, dial_from(world->port, 1)));
  ALWAYS(is_reset(dial_from(world->port, 1)));
  ALWAYS(is_served(world, dial_from(world->port, 2)));
  return finished(world);
}

static void without_a_cap_it_is_half_of_all(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_connections = 10;
  run(&world, &limits, false, half_client);
  assert_int_equal(world.slot->counters[METRIC_HTTP_REFUSED_ADDRESS], 1);
}

#define FROM(address) "PROXY TCP4 " address " 127.0.0.1 4711 80\r\n"

static void *proxy_client(void *ctx) {
  struct world *world = ctx;
  static const char *const served[] = {FROM("203.0.113.7") GET "\r\n", FROM("203.0.113.8") GET "\r\n"};
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < COUNT_OF(served); i++) {
      int fd = dial(world); // the proxy's own connections are not counted
      world->answers[0] = '\0';
      say(fd, served[i]);
      ALWAYS(hear(world, fd, "\r\n\r\n") > 0);
    }
  }
  int fd = dial(world);
  say(fd, served[0]);
  ALWAYS(is_reset(fd));
  return finished(world);
}

static void what_a_proxy_names_is_counted_not_the_proxy(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_connections_per_address = 2;
  run(&world, &limits, true, proxy_client);
  assert_int_equal(world.handled, 4);
  assert_int_equal(world.slot->counters[METRIC_HTTP_REFUSED_ADDRESS], 1);
}

// ---------------------------------------------------------------- all places are taken

static void *full_client(void *ctx) {
  struct world *world = ctx;
  int all[4];
  for (unsigned i = 0; i < 4; i++) {
    all[i] = dial_from(world->port, i + 1);
    ALWAYS(is_served(world, all[i]));
  }
  int late = dial_from(world->port, 9); // waits
  say(late, GET "\r\n");
  for (int round = 0; round < 20; round++) { // operators come and go, and leave nobody else a place
    int operators[4];
    for (int i = 0; i < 4; i++) {
      operators[i] = dial_from(world->operators_port, 1);
      ALWAYS(is_served(world, operators[i]));
    }
    for (int i = 0; i < 4; i++)
      close(operators[i]);
  }
  char byte;
  ALWAYS(recv(late, &byte, 1, MSG_DONTWAIT) < 0);
  close(all[2]);
  world->answers[0] = '\0';
  ALWAYS(hear(world, late, "\r\n\r\n") > 0);
  return finished(world);
}

static void an_operator_gets_in_when_all_places_are_taken(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_connections = 4;
  run(&world, &limits, false, full_client);
  assert_true(world.slot->counters[METRIC_HTTP_ACCEPT_PAUSED] >= 1);
}

static void *crowd_client(void *ctx) {
  struct world *world = ctx;
  int all[120], first = dial(world); // far more than are accepted in a turn
  say(first, "GET /nap HTTP/1.1\r\nHost: a\r\n\r\n");
  usleep(50000);
  for (unsigned i = 0; i < COUNT_OF(all); i++)
    all[i] = dial_from(world->port, 1 + i % 50);
  for (unsigned i = 0; i < COUNT_OF(all); i++)
    ALWAYS(is_served(world, all[i]));
  return finished(world);
}

static void a_crowd_at_once_comes_in(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, crowd_client);
  assert_int_equal(world.handled, 120);
  assert_int_equal(world.slot->counters[METRIC_HTTP_ACCEPT_PAUSED], 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_address_beyond_its_cap_is_reset_and_others_are_served),
      cmocka_unit_test(without_a_cap_it_is_half_of_all),
      cmocka_unit_test(what_a_proxy_names_is_counted_not_the_proxy),
      cmocka_unit_test(an_operator_gets_in_when_all_places_are_taken),
      cmocka_unit_test(a_crowd_at_once_comes_in),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
