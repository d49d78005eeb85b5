// Requests by libcurl on the loop, against a server on a thread; private addresses.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <netdb.h>
#include "outbound/world.h"
#include "transfer.h"

// What a request came to.
struct result {
  unsigned calls;
  enum err result;
  bool maybe_received;
  int status;
  int64_t retry_after_ms;
  char body[256], error[256], type[64];
};

static void keep(void *ctx, const struct outbound_response *r) {
  struct result *out = ctx;
  out->calls++;
  out->result = r->result;
  out->maybe_received = r->maybe_received;
  out->status = r->status;
  out->retry_after_ms = r->retry_after_ms;
  snprintf(out->body, sizeof out->body, "%.*s", SPAN_FMT(r->body));
  snprintf(out->type, sizeof out->type, "%.*s", SPAN_FMT(r->content_type));
  snprintf(out->error, sizeof out->error, "%s", r->error);
}

static void keep_and_stop(void *ctx, const struct outbound_response *r) {
  keep(ctx, r);
  if (outbound_running(outbound) <= 1) loop_stop(loop);
}

static struct result run(const char *path, struct outbound_request request) {
  char url[256];
  struct result out = {0};
  if (!request.url) {
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", server.port, path);
    request.url = url;
  }
  outbound_start(outbound, &request, keep_and_stop, &out);
  assert_int_equal(out.calls, 0);
  assert_int_equal(outbound_running(outbound), 1);
  loop_run(loop);
  assert_int_equal(out.calls, 1);
  assert_int_equal(outbound_running(outbound), 0);
  return out;
}

static void test_post(void **state) {
  (void)state;
  const char *headers[] = {"X-One: 1", NULL};
  struct result r =
      run("/echo?secret=1", (struct outbound_request){.bearer = "token-0123456789", .headers = headers, .body = SPAN("{\"a\":1}")});
  assert_int_equal(r.result, ERR_OK);
  assert_true(r.maybe_received);
  assert_int_equal(r.status, 200);
  assert_string_equal(r.body, "{\"a\":1}");
  assert_string_equal(r.type, "application/json");
  assert_string_equal(r.error, "");
  assert_non_null(strstr(server.head, "POST /echo?secret=1 HTTP/1.1\r\n"));
  assert_non_null(strstr(server.head, "Authorization: Bearer token-0123456789\r\n"));
  assert_non_null(strstr(server.head, "Content-Type: application/json\r\n"));
  assert_non_null(strstr(server.head, "X-One: 1\r\n"));
  assert_null(strstr(server.head, "Expect"));
}

static void test_get_and_methods(void **state) {
  (void)state;
  assert_int_equal(run("/echo", (struct outbound_request){.url = NULL}).status, 200);
  assert_non_null(strstr(server.head, "GET /echo HTTP/1.1\r\n"));
  assert_null(strstr(server.head, "Content-Type"));
  assert_null(strstr(server.head, "Authorization"));
  assert_string_equal(run("/echo", (struct outbound_request){.method = "PUT", .body = SPAN("x")}).body, "x");
  assert_non_null(strstr(server.head, "PUT /echo HTTP/1.1\r\n"));
  assert_int_equal(run("/echo", (struct outbound_request){.method = "POST"}).status, 200);
  assert_non_null(strstr(server.head, "POST /echo HTTP/1.1\r\n"));
  assert_non_null(strstr(server.head, "Content-Length: 0\r\n"));
  assert_int_equal(run("/echo", (struct outbound_request){.method = "DELETE"}).status, 200);
  assert_non_null(strstr(server.head, "DELETE /echo HTTP/1.1\r\n"));
}

static void test_connections_are_kept_alive(void **state) {
  (void)state;
  assert_int_equal(run("/echo", (struct outbound_request){.body = SPAN("1")}).status, 200);
  unsigned before = server_connections(&server);
  for (int i = 0; i < 20; i++)
    assert_int_equal(run("/echo", (struct outbound_request){.body = SPAN("1")}).status, 200);
  assert_int_equal(server_connections(&server), before);
}

static void count_turn(void *ctx) {
  ++*(unsigned *)ctx;
}

static void stop(void *ctx) {
  (void)ctx;
  loop_stop(loop);
}

// Its socket is watched while nobody uses it: the end is noticed once, and not in each turn of the loop.
static void test_a_kept_connection_that_the_server_ends(void **state) {
  (void)state;
  unsigned turns = 0;
  struct loop_hook hook = {.on_turn = count_turn, .ctx = &turns};
  struct loop_timer timer;
  assert_int_equal(run("/then-ends", (struct outbound_request){.body = SPAN("1")}).status, 200);
  loop_hook_add(loop, &hook);
  loop_timer_init(loop, &timer, stop, NULL);
  loop_timer_start(&timer, 200, 0);
  loop_run(loop);
  assert_true(turns < 50);
  loop_hook_remove(loop, &hook);
  loop_timer_close(&timer, stop);
  loop_run(loop);
  unsigned before = server_connections(&server);
  assert_int_equal(run("/echo", (struct outbound_request){.body = SPAN("1")}).status, 200);
  assert_int_equal(server_connections(&server), before + 1);
}

static void test_limits(void **state) {
  (void)state;
  struct result r = run("/endless", (struct outbound_request){.max_response_bytes = 100000});
  assert_int_equal(r.result, ERR_TOO_LARGE);
  r = run("/echo", (struct outbound_request){.max_response_bytes = 4, .body = SPAN("12345")}); // by its Content-Length
  assert_int_equal(r.result, ERR_TOO_LARGE);
  assert_true(r.maybe_received);
  r = run("/echo", (struct outbound_request){.max_response_bytes = 5, .body = SPAN("12345")});
  assert_string_equal(r.body, "12345");
  r = run("/silence", (struct outbound_request){.timeout_ms = 150, .body = SPAN("1")});
  assert_int_equal(r.result, ERR_TIMEOUT);
  assert_true(r.maybe_received);
  r = run("/redirect", (struct outbound_request){.url = NULL});
  assert_int_equal(r.result, ERR_OK);
  assert_int_equal(r.status, 302);
  assert_int_equal(run("/busy", (struct outbound_request){.url = NULL}).retry_after_ms, 7000);
  assert_int_equal(run("/until", (struct outbound_request){.url = NULL}).retry_after_ms, 90000);
  assert_int_equal(run("/usage", (struct outbound_request){.url = NULL}).retry_after_ms, 300000);
}

// libcurl asks us instead of the C library: one name whose address moves.
static const char *moving_address;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
  static struct sockaddr_in address;
  static struct addrinfo info;
  (void)hints;
  address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(service ? service : "0", NULL, 10))};
  info = (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_addrlen = sizeof address, .ai_addr = (void *)&address};
  if (strcmp(name, "moving.test") != 0 || inet_pton(AF_INET, moving_address, &address.sin_addr) != 1) return EAI_NONAME;
  *out = &info;
  return 0;
}

void freeaddrinfo(struct addrinfo *info) {
  (void)info;
}

// The next attempt looks the name up again: that of a host that moved must not wait until a remembered address is too old.
static void test_an_address_that_does_not_answer_is_forgotten(void **state) {
  (void)state;
  char url[64];
  snprintf(url, sizeof url, "http://moving.test:%u/echo", server.port);
  moving_address = "127.0.0.2"; // where nobody listens
  assert_int_equal(run(NULL, (struct outbound_request){.url = url, .body = SPAN("1")}).result, ERR_UNAVAILABLE);
  moving_address = "127.0.0.1";
  assert_int_equal(run(NULL, (struct outbound_request){.url = url, .body = SPAN("1")}).result, ERR_OK);
}

static void test_a_lost_answer_is_not_sent_again(void **state) {
  (void)state;
  unsigned before = server_requests(&server);
  struct result r = run("/drop", (struct outbound_request){.body = SPAN("1")});
  assert_int_equal(r.result, ERR_IO);
  assert_true(r.maybe_received);
  assert_int_equal(server_requests(&server), before + 1);

  // The same on a connection that was kept alive, where curl by itself would repeat the request.
  assert_int_equal(run("/second-drops", (struct outbound_request){.body = SPAN("1")}).status, 200);
  r = run("/second-drops", (struct outbound_request){.body = SPAN("2")});
  assert_int_equal(r.result, ERR_IO);
  assert_true(r.maybe_received);
  assert_int_equal(server_requests(&server), before + 3);

  // One that is too large to leave with its head.
  char large[48 * 1024];
  memset(large, 'x', sizeof large);
  assert_int_equal(run("/second-drops", (struct outbound_request){.body = {large, sizeof large}}).status, 200);
  r = run("/second-drops", (struct outbound_request){.body = {large, sizeof large}});
  assert_int_equal(r.result, ERR_IO);
  assert_true(r.maybe_received);
  assert_int_equal(server_requests(&server), before + 5);
}

static void test_no_connection(void **state) {
  (void)state;
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof in;
  int fd = socket(AF_INET, SOCK_STREAM, 0); // bound, but nobody listens
  assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
  char url[128];
  snprintf(url, sizeof url, "http://127.0.0.1:%u/x?key=hidden", ntohs(in.sin_port));
  struct result r = run(NULL, (struct outbound_request){.url = url, .body = SPAN("1")});
  assert_int_equal(r.result, ERR_UNAVAILABLE);
  assert_false(r.maybe_received);
  assert_true(strlen(r.error) > 0);
  assert_null(strstr(r.error, "hidden"));
  close(fd);
}

static void test_bad_requests(void **state) {
  (void)state;
  static const char *const urls[] = {"", "ftp://127.0.0.1/", "file:///etc/passwd", "example.org", "http://", "http://a b/"};
  for (size_t i = 0; i < COUNT_OF(urls); i++) {
    struct result r = run(NULL, (struct outbound_request){.url = urls[i]});
    if (r.result != ERR_FORMAT) fail_msg("%s: %s", urls[i], err_name(r.result));
    assert_false(r.maybe_received);
  }
  assert_int_equal(run("/echo", (struct outbound_request){.bearer = "a\r\nX: y"}).result, ERR_FORMAT);
  const char *headers[] = {"A: b\nC: d", NULL};
  assert_int_equal(run("/echo", (struct outbound_request){.headers = headers}).result, ERR_FORMAT);
}

static void test_foreign_urls_do_not_lead_inside(void **state) {
  (void)state;
  unsigned before = server_connections(&server);
  char url[128];
  static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "2130706433", "10.0.0.1", "169.254.169.254"};
  for (size_t i = 0; i < COUNT_OF(hosts); i++) {
    snprintf(url, sizeof url, "https://%s:%u/echo", hosts[i], server.port);
    struct result r = run(NULL, (struct outbound_request){.url = url, .foreign = true, .body = SPAN("1")});
    if (r.result != ERR_DENIED) fail_msg("%s: %s (%s)", url, err_name(r.result), r.error);
    assert_false(r.maybe_received);
  }
  assert_int_equal(run("/echo", (struct outbound_request){.foreign = true}).result, ERR_DENIED); // http
  assert_int_equal(server_connections(&server), before);
}

static void test_tokens_are_not_echoed(void **state) {
  (void)state;
  server_set_answer(&server, "401 Unauthorized", "{\"m\":\"Malformed access token EAAsecret-1 EAAsecret-1.\"}");
  struct result r = run("/any", (struct outbound_request){.bearer = "EAAsecret-1"});
  assert_int_equal(r.status, 401);
  assert_string_equal(r.body, "{\"m\":\"Malformed access token *********** ***********.\"}");
}

static void test_many_at_once(void **state) {
  (void)state;
  static struct result results[100];
  memset(results, 0, sizeof results);
  char url[128];
  snprintf(url, sizeof url, "http://127.0.0.1:%u/echo", server.port);
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    char body[16];
    snprintf(body, sizeof body, "%zu", i);
    struct outbound_request request = {.url = url, .body = span_of(body)};
    outbound_start(outbound, &request, keep_and_stop, &results[i]);
  }
  assert_int_equal(outbound_running(outbound), 100);
  loop_run(loop);
  for (size_t i = 0; i < COUNT_OF(results); i++) {
    assert_int_equal(results[i].calls, 1);
    assert_int_equal(results[i].status, 200);
    assert_int_equal(strtol(results[i].body, NULL, 10), i);
  }
}

static void start_another(void *ctx, const struct outbound_response *r) {
  struct result *out = ctx;
  keep(&out[0], r);
  struct outbound_request request = {.url = "http://127.0.0.1:1/"};
  outbound_start(outbound, &request, keep, &out[1]);
}

static void test_close_cancels(void **state) {
  (void)state;
  struct result out[3] = {0};
  char url[128];
  snprintf(url, sizeof url, "http://127.0.0.1:%u/silence", server.port);
  struct outbound_request request = {.url = url, .body = SPAN("1")}, bad = {.url = "nonsense"};
  unsigned before = server_requests(&server);
  outbound_start(outbound, &request, start_another, &out[0]);
  while (server_requests(&server) == before)
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
  outbound_start(outbound, &bad, keep, &out[2]);
  outbound_close(outbound, stop_loop, NULL);
  loop_run(loop);
  outbound = NULL;
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(out[i].calls, 1);
    assert_int_equal(out[i].result, ERR_CANCELED);
  }
  assert_true(out[0].maybe_received);
  assert_false(out[1].maybe_received);
}

static bool private_address(const char *text) {
  struct sockaddr_in in = {.sin_family = AF_INET};
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
  if (inet_pton(AF_INET, text, &in.sin_addr) == 1) return address__private((struct sockaddr *)&in);
  assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
  return address__private((struct sockaddr *)&in6);
}

static void test_private_addresses(void **state) {
  (void)state;
  static const char *const inside[] = {"0.0.0.0",
                                       "10.255.255.255",
                                       "100.64.0.1",
                                       "100.127.255.255",
                                       "127.9.9.9",
                                       "169.254.169.254",
                                       "172.16.0.1",
                                       "172.31.255.255",
                                       "192.168.1.1",
                                       "198.18.0.1",
                                       "224.0.0.1",
                                       "255.255.255.255",
                                       "::",
                                       "::1",
                                       "::7f00:1",
                                       "::ffff:10.0.0.1",
                                       "fc00::1",
                                       "fdff::1",
                                       "fe80::1",
                                       "fec0::1",
                                       "ff02::1",
                                       "64:ff9b::7f00:1",
                                       "2002:7f00:1::",
                                       "2001::1",
                                       "2001:db8::1",
                                       "64:ff9b:1::1",
                                       "100::1"};
  static const char *const outside[] = {"1.1.1.1",     "9.255.255.255", "11.0.0.1",        "100.63.255.255",
                                        "100.128.0.1", "172.15.0.1",    "172.32.0.1",      "192.167.1.1",
                                        "198.17.0.1",  "198.20.0.1",    "223.255.255.255", "2606:4700::1111",
                                        "2a03:2880::", "2001:4860::8",  "::ffff:8.8.8.8",  "64:ff9b::808:808"};
  for (size_t i = 0; i < COUNT_OF(inside); i++)
    if (!private_address(inside[i])) fail_msg("%s is inside", inside[i]);
  for (size_t i = 0; i < COUNT_OF(outside); i++)
    if (private_address(outside[i])) fail_msg("%s is outside", outside[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_post),
      cmocka_unit_test(test_get_and_methods),
      cmocka_unit_test(test_connections_are_kept_alive),
      cmocka_unit_test(test_a_kept_connection_that_the_server_ends),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_an_address_that_does_not_answer_is_forgotten),
      cmocka_unit_test(test_a_lost_answer_is_not_sent_again),
      cmocka_unit_test(test_no_connection),
      cmocka_unit_test(test_bad_requests),
      cmocka_unit_test(test_foreign_urls_do_not_lead_inside),
      cmocka_unit_test(test_tokens_are_not_echoed),
      cmocka_unit_test(test_many_at_once),
      cmocka_unit_test(test_private_addresses),
      cmocka_unit_test(test_close_cancels), // last: it closes what the others use
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
