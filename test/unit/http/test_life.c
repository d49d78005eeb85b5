// How connections end: closing, lingering, half-closed clients, clients that are gone; and what an answer says.
#include "http/world.h"

// ---------------------------------------------------------------- ends

static void *close_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, GET "\r\n" LAST GET "\r\n" GET "\r\n");
  ALWAYS(hear(world, fd, NULL) == 0);
  close(fd);
  return finished(world);
}

static void nothing_behind_connection_close_is_a_request(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, close_client);
  assert_int_equal(world.handled, 2);
  assert_int_equal(times(world.answers, "HTTP/1.1 200 OK"), 2);
  assert_int_equal(times(world.answers, "Connection: close"), 1);
}

static void *body_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  // A client that sends all of its large body before it reads still gets to
  // read the refusal.
  static char body[900000];
  say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n");
  usleep(50000);
  for (size_t at = 0; at < sizeof body; at += 100000) {
    if (send(fd, body + at, 100000, MSG_NOSIGNAL) != 100000) break;
    usleep(1000);
  }
  ALWAYS(hear(world, fd, NULL) == 0);
  close(fd);
  return finished(world);
}

static void a_refused_body_is_lingered_over(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  limits.max_body_bytes = 1000;
  run(&world, &limits, false, body_client);
  assert_contains(world.answers, "HTTP/1.1 413 ");
  assert_contains(world.answers, "Connection: close");
  assert_int_equal(world.handled, 0);
}

static void *denied_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd,
      "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"); // too
                                                                         // long
                                                                         // to
                                                                         // be
                                                                         // worth
                                                                         // reading
  hear(world, fd, "}");
  close(fd);
  fd = dial(world);
  say(fd, "POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: "
          "100-continue\r\n\r\n"); // its body may never come
  hear(world, fd, NULL);
  close(fd);
  return finished(world);
}

static void an_answer_that_ends_the_connection_says_so(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, denied_client);
  assert_int_equal(times(world.answers, "HTTP/1.1 401 "), 2);
  assert_int_equal(times(world.answers, "Connection: close"), 2);
  assert_int_equal(times(world.answers, "{\"detail\":\"no \\\"entry\\\"\"}"), 2);
  assert_int_equal(world.answered, 2);
}

static void *half_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" GET "\r\n");
  shutdown(fd, SHUT_WR);
  ALWAYS(hear(world, fd, NULL) == 0);
  close(fd);
  fd = dial(world); // ends in the middle of a request
  say(fd, GET "X: ");
  shutdown(fd, SHUT_WR);
  ALWAYS(hear(world, fd, NULL) == 0);
  close(fd);
  return finished(world);
}

static void half_closed_clients_get_their_answers(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, half_client);
  assert_contains(world.answers, "HTTP/1.1 202 ");
  assert_contains(world.answers, "HTTP/1.1 200 ");
  assert_contains(world.answers, "HTTP/1.1 400 ");
}

static void *gone_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  usleep(50000);
  struct linger hard = {.l_onoff = 1};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  close(fd);
  usleep(500000);
  fd = dial(world); // the slot serves again; the old ticket found nothing
  say(fd, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
  hear(world, fd, "{}");
  close(fd);
  return finished(world);
}

static void a_ticket_of_a_client_that_is_gone_finds_nothing(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, gone_client);
  assert_int_equal(world.handled, 2);
  assert_int_equal(world.found, 1);
  // The handler took its time, and the answer says how much.
  const char *took = strstr(world.answers, "X-Process-Time: ");
  assert_non_null(took);
  double seconds = strtod(took + 16, NULL);
  assert_true(seconds > 0.25 && seconds < 5);
}

static void *evil_client(void *ctx) {
  struct world *world = ctx;
  int fd = dial(world);
  say(fd, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\nGET /evil HTTP/1.1\r\nHost: "
          "a\r\nConnection: close\r\n\r\n");
  hear(world, fd, NULL);
  close(fd);
  return finished(world);
}

static void a_header_value_cannot_start_another_header(void **state) {
  (void)state;
  struct world world = {0};
  struct http_limits limits = http_limits_default();
  run(&world, &limits, false, evil_client);
  assert_contains(world.answers, "HTTP/1.1 204 ");
  assert_contains(world.answers, "Allow: GET, HEAD, POST, OPTIONS\r\n");
  assert_contains(world.answers, "X-A: 1  X-B: 2    smuggled\r\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_behind_connection_close_is_a_request),    cmocka_unit_test(a_refused_body_is_lingered_over),
      cmocka_unit_test(an_answer_that_ends_the_connection_says_so),      cmocka_unit_test(half_closed_clients_get_their_answers),
      cmocka_unit_test(a_ticket_of_a_client_that_is_gone_finds_nothing), cmocka_unit_test(a_header_value_cannot_start_another_header),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
