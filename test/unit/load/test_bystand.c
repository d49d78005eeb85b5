// Who stands about: idle ones say nothing, slow ones a byte each second; one that the server ends comes back.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

#define MS      INT64_C(1000000)
#define REQUEST "POST / HTTP/1.1\r\n"

struct world {
  int listener;
  struct target target;
  struct bystand *bystand;
  int64_t now_ns;
};

static void start(struct world *w, uint64_t slow, uint64_t idle) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof at;
  struct why why;
  char text[32];
  *w = (struct world){.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .now_ns = 5000 * MS};
  assert_int_equal(bind(w->listener, (struct sockaddr *)&at, sizeof at), 0);
  assert_int_equal(listen(w->listener, 16), 0);
  assert_int_equal(getsockname(w->listener, (struct sockaddr *)&at, &len), 0);
  snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(at.sin_port));
  assert_int_equal(target_parse(text, &w->target, &why), ERR_OK);
  w->bystand = bystand_new(&w->target, SPAN(REQUEST), slow, idle);
}

static void stop(struct world *w) {
  bystand_free(w->bystand);
  close(w->listener);
}

static void pass(struct world *w, int64_t ms) {
  for (int64_t i = 0; i < ms; i++, w->now_ns += MS)
    bystand_visit(w->bystand, w->now_ns);
}

// Bytes that came on all connections together.
static size_t heard(const int *fds, unsigned count) {
  char in[64];
  size_t all = 0;
  for (unsigned i = 0; i < count; i++) {
    ssize_t n = recv(fds[i], in, sizeof in, MSG_DONTWAIT);
    if (n > 0) all += (size_t)n;
  }
  return all;
}

static void test_slow_ones_send_a_byte_a_second(void **state) {
  (void)state;
  struct world w;
  int fds[5];
  start(&w, 3, 2);
  for (unsigned i = 0; i < COUNT_OF(fds); i++)
    assert_true((fds[i] = accept(w.listener, NULL, NULL)) >= 0);
  assert_int_equal(heard(fds, 5), 0);
  pass(&w, 1000);
  assert_int_equal(heard(fds, 5), 3);
  pass(&w, 4000);
  assert_int_equal(heard(fds, 5), 12);
  struct bystand_figures f = bystand_figures(w.bystand);
  assert_true(f.slow == 3 && f.idle == 2 && f.open == 5 && f.opened == 5 && f.ended == 0);
  for (unsigned i = 0; i < COUNT_OF(fds); i++)
    close(fds[i]);
  stop(&w);
}

static void test_one_that_is_ended_comes_back(void **state) {
  (void)state;
  struct world w;
  char in[sizeof REQUEST];
  start(&w, 1, 0);
  int fd = accept(w.listener, NULL, NULL);
  pass(&w, 3000);
  assert_int_equal(recv(fd, in, sizeof in, 0), 3);
  assert_memory_equal(in, REQUEST, 3);
  close(fd);
  bystand_on_events(w.bystand);
  assert_true(bystand_figures(w.bystand).open == 0 && bystand_figures(w.bystand).ended == 1);
  pass(&w, 2000);
  // It begins anew.
  assert_true((fd = accept(w.listener, NULL, NULL)) >= 0);
  assert_int_equal(recv(fd, in, sizeof in, 0), 1);
  assert_int_equal(in[0], REQUEST[0]);
  close(fd);
  stop(&w);
}

static void test_nobody_is_never_due(void **state) {
  (void)state;
  struct world w;
  start(&w, 0, 0);
  assert_int_equal(bystand_due(w.bystand), INT64_MAX);
  pass(&w, 10);
  assert_int_equal(bystand_figures(w.bystand).opened, 0);
  stop(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_slow_ones_send_a_byte_a_second),
      cmocka_unit_test(test_one_that_is_ended_comes_back),
      cmocka_unit_test(test_nobody_is_never_due),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
