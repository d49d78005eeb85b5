// What bounds a connection: deadlines, caps, draining, trusted proxies, memory.
#include "http/world.h"

// ---------------------------------------------------------------- deadlines

static void *slow_body_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
  for (int i = 0; i < 100 && !world->answered; i++) { // 100 bytes a second, where 1000 are asked for
    say(fd, "0123456789");
    usleep(100000);
  }
  hear(world, fd, NULL);
  close(fd);
  return finished(world);
}

static void a_body_must_keep_the_minimum_rate(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.body_ms = 300;
  limits.min_body_rate = 1000;
  run(&world, &limits, false, slow_body_client);
  assert_contains(world.answers, "HTTP/1.1 408 ");
  assert_int_equal(world.handled, 0);
}

static void *steady_body_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: "
          "close\r\nContent-Length: 150\r\n\r\n");
  for (int i = 0; i < 15; i++) { // slow, but faster than 50 bytes a second
    say(fd, "0123456789");
    usleep(100000);
  }
  hear(world, fd, NULL);
  close(fd);
  return finished(world);
}

static void a_slow_body_that_keeps_the_rate_is_served(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.body_ms = 300;
  limits.min_body_rate = 50;
  run(&world, &limits, false, steady_body_client);
  assert_contains(world.answers, "HTTP/1.1 200 ");
}

static void *deaf_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  usleep(1500000);
  static char sink[1 << 20];
  ssize_t n;
  while ((n = recv(fd, sink, sizeof sink, 0)) > 0) {}
  ALWAYS(n < 0); // reset: not an end that could be taken for the whole answer
  close(fd);
  return finished(world);
}

static void a_reader_without_progress_is_reset(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.write_ms = 400;
  run(&world, &limits, false, deaf_client);
  assert_int_equal(world.slot->counters[METRIC_HTTP_TIMEOUTS], 1);
}

// ---------------------------------------------------------------- caps,
// draining, proxies, memory

static void *crowd_client(void *ctx) {
  struct world *world = ctx;
  int first = dial(world), second = dial(world);
  say(first, GET "\r\n");
  hear(world, first, "\r\n\r\n");
  say(second, GET "\r\n");
  usleep(50000);
  int third = dial(world),
      fourth = dial(world); // connect, and wait in the kernel's queue
  say(third, GET "\r\n");
  say(fourth, GET "\r\n");
  usleep(100000);
  char byte;
  ALWAYS(recv(third, &byte, 1, MSG_DONTWAIT) < 0);
  close(first);
  world->answers[0] = '\0';
  ALWAYS(hear(world, third, "\r\n\r\n") > 0);
  close(second);
  world->answers[0] = '\0';
  ALWAYS(hear(world, fourth, "\r\n\r\n") > 0);
  close(third);
  close(fourth);
  return finished(world);
}

static void beyond_the_cap_clients_wait_and_are_served_in_turn(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_connections = 2;
  limits.max_connections_per_address = UINT_MAX;
  run(&world, &limits, false, crowd_client);
  assert_int_equal(world.handled, 4);
  assert_true(world.slot->counters[METRIC_HTTP_ACCEPT_PAUSED] >= 1);
}

static void *greedy_client(void *ctx) {
  struct world *world = ctx;
  int fds[2] = {dial(world), dial(world)};
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < 4; k++)
      say(fds[i], "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  for (int i = 0; i < 2; i++) {
    shutdown(fds[i], SHUT_WR);
    world->answers[0] = '\0';
    ALWAYS(hear(world, fds[i], NULL) == 0);
    ALWAYS(times(world->answers, "HTTP/1.1 202 ") == 4);
    close(fds[i]);
  }
  return finished(world);
}

static void pipelines_together_hold_no_more_than_there_may_be_connections(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_connections = 2;
  limits.max_connections_per_address = UINT_MAX;
  run(&world, &limits, false, greedy_client);
  assert_int_equal(world.handled, 8);
  assert_true(world.requests_made <= 3); // two, and the one that each connection may have
}

static void *drain_client(void *ctx) {
  struct world *world = ctx;
  int working = dial(world), idle = dial(world), fresh = dial(world), half = dial(world);
  say(idle, GET "\r\n");
  hear(world, idle, "\r\n\r\n");
  say(working, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  say(half, GET);
  usleep(100000);
  loop_waker_wake(&world->drain);
  usleep(50000);
  // What was on its way when draining began is answered, with a good-bye.
  world->answers[0] = '\0';
  say(fresh, GET "\r\n");
  ALWAYS(hear(world, fresh, NULL) == 0);
  say(half, "\r\n");
  ALWAYS(hear(world, half, NULL) == 0);
  ALWAYS(hear(world, working, NULL) == 0);
  char byte;
  ALWAYS(recv(idle, &byte, 1, 0) == 0);
  close(working);
  close(idle);
  close(fresh);
  close(half);
  for (int i = 0; i < 300 && !world->drained; i++)
    usleep(10000);
  return finished(world);
}

static void draining_answers_what_is_open_and_ends(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, drain_client);
  assert_true(world.drained);
  assert_int_equal(times(world.answers, "HTTP/1.1 200 "), 2);
  assert_int_equal(times(world.answers, "HTTP/1.1 202 "), 1);
  assert_int_equal(times(world.answers, "Connection: close"), 3);
}

static void *cut_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  usleep(50000);
  loop_waker_wake(&world->drain);
  usleep(50000);
  loop_waker_wake(&world->done); // the patience is over
  ALWAYS(hear(world, fd, NULL) < 0);
  close(fd);
  return NULL;
}

static void closing_in_the_middle_of_draining_ends_both(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, cut_client);
  assert_true(world.drained);
  assert_int_equal(world.found, 0);
}

static void *proxy_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  const char *text = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n" LAST;
  for (size_t i = 0; text[i]; i++) {
    (void)!send(fd, text + i, 1, MSG_NOSIGNAL);
    usleep(500);
  }
  hear(world, fd, NULL);
  close(fd);
  fd = dial(world);
  say(fd, LAST); // without the header that is due
  hear(world, fd, NULL);
  close(fd);
  return finished(world);
}

static void the_proxy_protocol_names_the_client(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, true, proxy_client);
  assert_int_equal(world.handled, 1);
  assert_string_equal(world.client, "203.0.113.7");
  assert_contains(world.answers, "HTTP/1.1 200 ");
  assert_contains(world.answers, "HTTP/1.1 400 ");
}

static void *steady_client(void *ctx) {
  struct world *world = ctx;
  uint64_t before = 0;
  for (int round = 0; round < 400; round++) {
    int fd = dial(world);
    world->answers[0] = '\0';
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" GET "\r\n" LAST);
    hear(world, fd, NULL);
    close(fd);
    if (round == 200) before = world->slot->counters[METRIC_HTTP_ALLOCATIONS];
  }
  ALWAYS(world->slot->counters[METRIC_HTTP_ALLOCATIONS] == before);
  return finished(world);
}

static void a_steady_state_allocates_nothing(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, steady_client);
  assert_int_equal(world.handled, 1200);
  assert_true(sizeof(struct http__conn) <= 2048); // all that an idle connection holds
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_body_must_keep_the_minimum_rate),
      cmocka_unit_test(a_slow_body_that_keeps_the_rate_is_served),
      cmocka_unit_test(a_reader_without_progress_is_reset),
      cmocka_unit_test(beyond_the_cap_clients_wait_and_are_served_in_turn),
      cmocka_unit_test(pipelines_together_hold_no_more_than_there_may_be_connections),
      cmocka_unit_test(draining_answers_what_is_open_and_ends),
      cmocka_unit_test(closing_in_the_middle_of_draining_ends_both),
      cmocka_unit_test(the_proxy_protocol_names_the_client),
      cmocka_unit_test(a_steady_state_allocates_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
