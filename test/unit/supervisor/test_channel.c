// Tests of the framed channel (proc): order, fragmentation, more than a socket buffer, end of file, garbage, closing inside a callback.
// They stand here since they need a loop, which the programs of test/unit/proc are not linked with.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wahook/proc.h"

struct end {
  struct loop *loop;
  struct proc_channel *channel;
  unsigned messages, closed;
  uint32_t last_type;
  char last[32];
  size_t bytes;
  unsigned stop_after; // messages
  bool close_at_first;
};

static void on_message(void *ctx, uint32_t type, struct span body) {
  struct end *end = ctx;
  end->messages++;
  end->last_type = type;
  end->bytes += body.len;
  snprintf(end->last, sizeof end->last, "%.*s", (int)(body.len < 31 ? body.len : 31), body.ptr);
  if (end->close_at_first) {
    proc_channel_close(end->channel);
    end->channel = NULL;
    loop_stop(end->loop);
  }
  if (end->messages == end->stop_after) loop_stop(end->loop);
}

static void on_closed(void *ctx) {
  struct end *end = ctx;
  end->closed++;
  loop_stop(end->loop);
}

static const struct proc_channel_events events = {on_message, on_closed};

static void setup(struct end *a, int *raw) {
  int fds[2];
  assert_int_equal(proc_channel_pair(fds), ERR_OK);
  memset(a, 0, sizeof *a);
  a->loop = loop_new(1);
  a->channel = proc_channel_open(a->loop, fds[0], &events, a);
  *raw = fds[1];
}

static void teardown(struct end *a) {
  proc_channel_close(a->channel);
  loop_free(a->loop);
}

static void put_frame(int fd, uint32_t type, uint32_t length, const char *body, size_t body_len) {
  char bytes[256];
  memcpy(bytes, &type, 4);
  memcpy(bytes + 4, &length, 4);
  memcpy(bytes + 8, body, body_len);
  assert_int_equal(write(fd, bytes, 8 + body_len), 8 + body_len);
}

static void test_last_word_of_a_process_that_exits(void **state) {
  (void)state;
  struct end a;
  int raw;
  setup(&a, &raw);
  put_frame(raw, PROC_STATUS, 2, "hi", 2);
  put_frame(raw, PROC_FATAL, 7, "no disk", 7);
  close(raw);
  loop_run(a.loop);
  assert_int_equal(a.messages, 2);
  assert_int_equal(a.last_type, PROC_FATAL);
  assert_string_equal(a.last, "no disk");
  assert_int_equal(a.closed, 1);
  proc_channel_send(a.channel, PROC_DRAIN, SPAN("")); // into the void: no signal, no second report
  teardown(&a);
}

static void test_frames_may_come_in_pieces(void **state) {
  (void)state;
  struct end a;
  int raw;
  setup(&a, &raw);
  char frame[12] = {PROC_HELLO, 0, 0, 0, 4, 0, 0, 0, 'a', 'b', 'c', 'd'};
  a.stop_after = 1;
  for (size_t i = 0; i < sizeof frame; i++) {
    assert_int_equal(a.messages, 0);
    assert_int_equal(write(raw, frame + i, 1), 1);
    if (i + 1 < sizeof frame) uv_run(loop_uv(a.loop), UV_RUN_NOWAIT);
  }
  loop_run(a.loop);
  assert_string_equal(a.last, "abcd");
  close(raw);
  teardown(&a);
}

static void test_more_than_a_socket_holds_is_queued(void **state) {
  (void)state;
  struct end a, b;
  int raw;
  setup(&a, &raw);
  memset(&b, 0, sizeof b);
  b.loop = a.loop;
  b.channel = proc_channel_open(a.loop, raw, &events, &b);
  b.stop_after = 64;
  static char big[65536];
  for (int i = 0; i < 64; i++)
    proc_channel_send(a.channel, PROC_STATUS, (struct span){big, sizeof big});
  loop_run(a.loop);
  assert_int_equal(b.bytes, 64 * sizeof big);
  proc_channel_close(b.channel);
  teardown(&a);
}

static void test_garbage_ends_the_channel(void **state) {
  (void)state;
  struct end a;
  int raw;
  setup(&a, &raw);
  put_frame(raw, PROC_STATUS, 0xffffffffu, "", 0);
  loop_run(a.loop);
  assert_int_equal(a.messages, 0);
  assert_int_equal(a.closed, 1);
  close(raw);
  teardown(&a);
}

static void test_closing_inside_a_callback_stops_delivery(void **state) {
  (void)state;
  struct end a;
  int raw;
  setup(&a, &raw);
  a.close_at_first = true;
  put_frame(raw, PROC_DRAIN, 0, "", 0);
  put_frame(raw, PROC_QUIT, 0, "", 0);
  loop_run(a.loop);
  assert_int_equal(a.messages, 1);
  assert_int_equal(a.closed, 0);
  close(raw);
  teardown(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_last_word_of_a_process_that_exits),        cmocka_unit_test(test_frames_may_come_in_pieces),
      cmocka_unit_test(test_more_than_a_socket_holds_is_queued),       cmocka_unit_test(test_garbage_ends_the_channel),
      cmocka_unit_test(test_closing_inside_a_callback_stops_delivery),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
