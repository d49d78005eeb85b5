// The Graph API: bodies, verdicts, calls against a server on a thread, media.
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "outbound/world.h"
#include "graph.h"

static struct graph *graph;

static int set_up_graph(void **state) {
  set_up(state);
  char base[64];
  snprintf(base, sizeof base, "http://127.0.0.1:%u/", server.port);
  graph = graph_new(&(struct graph_options){.outbound = outbound, .base_url = base, .version = "v21.0"});
  return 0;
}

static int tear_down_graph(void **state) {
  tear_down(state);
  graph_free(graph);
  return 0;
}

#define TEXT "{\"type\":\"text\",\"text\":{\"body\":\"hi \\u00e4\"}}"

static void assert_body(struct graph_send send, const char *want) {
  struct buf out = {0};
  assert_int_equal(graph_body(&send, &out), ERR_OK);
  assert_string_equal(out.data, want);
  buf_free(&out);
}

static void test_bodies(void **state) {
  (void)state;
  assert_body((struct graph_send){.user = SPAN("358401234567"), .message = SPAN(TEXT)},
              "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":\"+358401234567\",\"type\":\"text\","
              "\"text\":{\"body\":\"hi \\u00e4\"}}");
  assert_body(
      (struct graph_send){.user = SPAN("+1650"), .message = SPAN(TEXT), .reply_to = SPAN("wamid.1"), .callback = SPAN("c\"1")},
      "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":\"+1650\",\"context\":{\"message_id\":\"wamid.1\"},"
      "\"type\":\"text\",\"text\":{\"body\":\"hi \\u00e4\"},\"biz_opaque_callback_data\":\"c\\\"1\"}");
  assert_body((struct graph_send){.user = SPAN("FI.12ab"), .message = SPAN("{\"type\":\"x\"}")},
              "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"recipient\":\"FI.12ab\",\"type\":\"x\"}");
}

static void test_a_message_cannot_choose_its_recipient(void **state) {
  (void)state;
  assert_body(
      (struct graph_send){
          .user = SPAN("1"),
          .message =
              SPAN("{\"to\":\"666\",\"t\\u006f\":\"667\",\"recipient\":\"X.1\",\"messaging_product\":\"m\",\"recipient_type\":\"group\","
                   "\"biz_opaque_callback_data\":\"z\",\"type\":\"a\",\"type\":\"b\",\"context\":{\"message_id\":\"own\"}}"),
          .reply_to = SPAN("wamid.1")},
      "{\"messaging_product\":\"whatsapp\",\"recipient_type\":\"individual\",\"to\":\"+1\",\"type\":\"b\",\"context\":{\"message_id\":"
      "\"own\"}}");
}

static void test_what_is_no_message(void **state) {
  (void)state;
  static const struct span bad[] = {
      {NULL, 0}, {"[]", 2}, {"{}", 2}, {"{\"type\":{}}", 11}, {"{\"type\":\"\"}", 11}, {"{\"type\":\"a\"", 11}};
  struct buf out = {0};
  for (size_t i = 0; i < COUNT_OF(bad); i++)
    assert_int_equal(graph_body(&(struct graph_send){.user = SPAN("1"), .message = bad[i]}, &out), ERR_FORMAT);
  assert_int_equal(graph_body(&(struct graph_send){.message = SPAN(TEXT)}, &out), ERR_FORMAT);
  assert_int_equal(out.len, 0);
}

static struct graph_verdict verdict_of(struct outbound_response response, char *wamid, size_t size) {
  struct arena arena;
  arena_init(&arena, 0, 0);
  struct graph_verdict v;
  if (!response.error) response.error = "";
  graph__read_verdict(&response, true, &arena, &v);
  snprintf(wamid, size, "%.*s", SPAN_FMT(v.wamid));
  arena_free(&arena);
  return v;
}

static void test_verdicts(void **state) {
  (void)state;
  char id[64];
  struct graph_verdict v =
      verdict_of((struct outbound_response){.status = 200, .body = SPAN("{\"messages\":[{\"id\":\"wamid.X\"}]}"), .maybe_received = true},
                 id, sizeof id);
  assert_int_equal(v.class, GRAPH_OK);
  assert_string_equal(id, "wamid.X");

  v = verdict_of((struct outbound_response){.status = 400,
                                            .retry_after_ms = 5,
                                            .body = SPAN("{\"error\":{\"message\":\"Re-engagement\\nmessage\",\"code\":131047,"
                                                         "\"error_data\":{\"details\":\"24 hours\"},\"fbtrace_id\":\"T1\"}}")},
                 id, sizeof id);
  assert_int_equal(v.class, GRAPH_DEAD);
  assert_int_equal(v.code, 131047);
  assert_int_equal(v.http_status, 400);
  assert_int_equal(v.retry_after_ms, 5);
  assert_string_equal(v.text, "HTTP 400 (#131047) Re-engagement message: 24 hours [T1]");

  v = verdict_of((struct outbound_response){.status = 400,
                                            .body = SPAN("{\"error\":{\"message\":\"m\",\"code\":4242,\"is_transient\":true}}")},
                 id, sizeof id);
  assert_int_equal(v.class, GRAPH_TRANSIENT);
  v = verdict_of((struct outbound_response){.status = 200, .body = SPAN("{\"error\":{\"code\":190}}")}, id, sizeof id);
  assert_int_equal(v.class, GRAPH_TOKEN);
  v = verdict_of((struct outbound_response){.status = 401, .body = SPAN("{\"error\":{\"code\":0}}")}, id, sizeof id);
  assert_int_equal(v.class, GRAPH_TOKEN);
  v = verdict_of((struct outbound_response){.status = 503, .body = SPAN("{\"error\":{\"message\":\"x\"}}")}, id, sizeof id);
  assert_int_equal(v.class, GRAPH_TRANSIENT);
  v = verdict_of((struct outbound_response){.status = 503, .body = SPAN("<html>")}, id, sizeof id);
  assert_int_equal(v.class, GRAPH_TRANSIENT);
}

static void test_unknown_outcomes(void **state) {
  (void)state;
  char id[64];
  static const struct span odd[] = {{"", 0}, {"<html>", 6}, {"{}", 2}, {"{\"messages\":[]}", 15}, {"{\"messages\":[{\"id\":\"\"}]}", 24}};
  for (size_t i = 0; i < COUNT_OF(odd); i++)
    assert_int_equal(verdict_of((struct outbound_response){.status = 200, .body = odd[i]}, id, sizeof id).class, GRAPH_UNKNOWN);
  assert_int_equal(verdict_of((struct outbound_response){.status = 502, .body = SPAN("bad gateway")}, id, sizeof id).class, GRAPH_UNKNOWN);
  struct graph_verdict v =
      verdict_of((struct outbound_response){.result = ERR_TIMEOUT, .maybe_received = true, .error = "slow"}, id, sizeof id);
  assert_int_equal(v.class, GRAPH_UNKNOWN);
  assert_string_equal(v.text, "slow");
  assert_int_equal(verdict_of((struct outbound_response){.result = ERR_CANCELED, .maybe_received = true}, id, sizeof id).class,
                   GRAPH_UNKNOWN);
  assert_int_equal(verdict_of((struct outbound_response){.result = ERR_CANCELED}, id, sizeof id).class, GRAPH_TRANSIENT);
  assert_int_equal(verdict_of((struct outbound_response){.result = ERR_UNAVAILABLE}, id, sizeof id).class, GRAPH_TRANSIENT);
}

// ---------------------------------------------------------------- calls

struct kept {
  unsigned calls;
  enum graph_class class;
  char wamid[64], text[256];
};

static void keep_verdict(void *ctx, const struct graph_verdict *v) {
  struct kept *kept = ctx;
  kept->calls++;
  kept->class = v->class;
  snprintf(kept->wamid, sizeof kept->wamid, "%.*s", SPAN_FMT(v->wamid));
  snprintf(kept->text, sizeof kept->text, "%s", v->text);
  loop_stop(loop);
}

static struct kept sent(struct graph_send send) {
  struct kept kept = {0};
  graph_send(graph, &send, keep_verdict, &kept);
  assert_int_equal(kept.calls, 0);
  loop_run(loop);
  assert_int_equal(kept.calls, 1);
  return kept;
}

static void test_send(void **state) {
  (void)state;
  server_set_answer(&server, "200 OK", "{\"messages\":[{\"id\":\"wamid.OK\"}]}");
  struct kept kept = sent((struct graph_send){.phone_number_id = "1234", .token = "EAAtoken", .user = SPAN("1"), .message = SPAN(TEXT)});
  assert_int_equal(kept.class, GRAPH_OK);
  assert_string_equal(kept.wamid, "wamid.OK");
  assert_non_null(strstr(server.head, "POST /v21.0/1234/messages HTTP/1.1\r\n"));
  assert_non_null(strstr(server.head, "Authorization: Bearer EAAtoken\r\n"));
  assert_non_null(strstr(server.body, "\"to\":\"+1\""));

  server_set_answer(&server, "400 Bad Request", "{\"error\":{\"message\":\"Malformed access token EAAtoken\",\"code\":190}}");
  kept = sent((struct graph_send){.phone_number_id = "1234", .token = "EAAtoken", .user = SPAN("1"), .message = SPAN(TEXT)});
  assert_int_equal(kept.class, GRAPH_TOKEN);
  assert_null(strstr(kept.text, "EAAtoken"));
}

static void test_refused_without_a_call(void **state) {
  (void)state;
  unsigned before = server_requests(&server);
  struct graph_send send = {.phone_number_id = "1234", .token = "t", .user = SPAN("1"), .message = SPAN("nonsense")};
  assert_int_equal(sent(send).class, GRAPH_DEAD);
  send.message = SPAN(TEXT);
  send.token = "";
  assert_int_equal(sent(send).class, GRAPH_TOKEN);
  send.token = "a\r\nb";
  assert_int_equal(sent(send).class, GRAPH_TOKEN);
  send.token = "t";
  static const char *const ids[] = {"", "..", "1/../2", "1?x=", "1#", "1 2", "%2e"};
  for (size_t i = 0; i < COUNT_OF(ids); i++) {
    send.phone_number_id = ids[i];
    assert_int_equal(sent(send).class, GRAPH_TENANT);
  }
  assert_int_equal(server_requests(&server), before);
}

static void test_mark_read(void **state) {
  (void)state;
  struct kept kept = {0};
  server_set_answer(&server, "200 OK", "{\"success\":true}");
  graph_mark_read(graph, "1234", "t", SPAN("wamid.9"), true, keep_verdict, &kept);
  loop_run(loop);
  assert_int_equal(kept.class, GRAPH_OK);
  assert_string_equal(
      server.body,
      "{\"messaging_product\":\"whatsapp\",\"status\":\"read\",\"message_id\":\"wamid.9\",\"typing_indicator\":{\"type\":\"text\"}}");
}

struct media {
  enum err result;
  char type[64], bytes[64];
};

static void keep_media(void *ctx, enum err result, struct span mime_type, struct span bytes, const char *error) {
  (void)error;
  struct media *media = ctx;
  media->result = result;
  snprintf(media->type, sizeof media->type, "%.*s", SPAN_FMT(mime_type));
  snprintf(media->bytes, sizeof media->bytes, "%.*s", SPAN_FMT(bytes));
  loop_stop(loop);
}

static struct media fetched(const char *id, size_t max) {
  struct media media = {0};
  graph_media_get(graph, "EAAtoken", span_of(id), max, keep_media, &media);
  loop_run(loop);
  return media;
}

static void test_media(void **state) {
  (void)state;
  char answer[256];
  // The address leads to /any again: the bytes are then the same answer.
  snprintf(answer, sizeof answer, "{\"url\":\"http:\\/\\/127.0.0.1:%u/any\",\"mime_type\":\"image/jpeg\",\"file_size\":10}", server.port);
  server_set_answer(&server, "200 OK", answer);
  struct media media = fetched("77", 1000);
  assert_int_equal(media.result, ERR_OK);
  assert_string_equal(media.type, "image/jpeg");
  assert_memory_equal(media.bytes, answer, 20);
  assert_non_null(strstr(server.head, "Authorization: Bearer EAAtoken\r\n"));
  assert_non_null(strstr(server.head, "GET /any HTTP/1.1\r\n"));
  assert_int_equal(fetched("77", 5).result, ERR_TOO_LARGE);
  assert_int_equal(fetched("../x", 1000).result, ERR_FORMAT);
  server_set_answer(&server, "200 OK", "{\"url\":\"ftp://x/\"}");
  assert_int_equal(fetched("77", 1000).result, ERR_FORMAT);
  server_set_answer(&server, "404 Not Found", "{}");
  assert_int_equal(fetched("77", 1000).result, ERR_NOT_FOUND);
  server_set_answer(&server, "401 Unauthorized", "{}");
  assert_int_equal(fetched("77", 1000).result, ERR_DENIED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_bodies),
      cmocka_unit_test(test_a_message_cannot_choose_its_recipient),
      cmocka_unit_test(test_what_is_no_message),
      cmocka_unit_test(test_verdicts),
      cmocka_unit_test(test_unknown_outcomes),
      cmocka_unit_test(test_send),
      cmocka_unit_test(test_refused_without_a_call),
      cmocka_unit_test(test_mark_read),
      cmocka_unit_test(test_media),
  };
  return cmocka_run_group_tests(tests, set_up_graph, tear_down_graph);
}
