// What the sandbox's Graph API takes and refuses, its error shape, its record, and multipart uploads.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tools/sandbox/sandbox.h"

static struct arena arena;
static struct send_facts facts;
static struct meta_error error;

static bool check(const char *text) {
  const struct json *j = NULL;
  assert_int_equal(json_parse(&arena, span_of(text), NULL, &j, NULL), ERR_OK);
  return sandbox_check_send(j, &facts, &error);
}
static int set_up(void **state) {
  (void)state;
  crypto_start();
  arena_init(&arena, 4096, 0);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  arena_free(&arena);
  return 0;
}

#define WA "{\"messaging_product\":\"whatsapp\","
#define TO WA "\"to\":\"+4917\","

static void good_messages(void **state) {
  (void)state;
  assert_true(check(TO "\"type\":\"text\",\"text\":{\"body\":\"hi\"},\"biz_opaque_callback_data\":\"wk-1\"}"));
  assert_true(span_eq(facts.user, SPAN("4917")));
  assert_true(span_eq(facts.input, SPAN("+4917")));
  assert_true(span_eq(facts.callback, SPAN("wk-1")));
  assert_false(facts.is_read_mark || facts.is_dropped);
  assert_true(check(TO "\"text\":{\"body\":\"type defaults to text\"}}"));
  assert_true(check(TO "\"type\":\"image\",\"image\":{\"link\":\"https://x/y\"},\"context\":{\"message_id\":\"wamid.1\"}}"));
  assert_true(check(TO "\"type\":\"document\",\"document\":{\"id\":\"77\"}}"));
  assert_true(span_eq(facts.media_id, SPAN("77")));
  assert_true(check(TO "\"type\":\"interactive\",\"interactive\":{\"type\":\"button\",\"body\":{\"text\":\"?\"},\"action\":{\"buttons\":["
                       "{\"type\":\"reply\",\"reply\":{\"id\":\"y\",\"title\":\"Yes\"}}]}}}"));
  assert_true(check(TO
                    "\"type\":\"interactive\",\"interactive\":{\"type\":\"list\",\"body\":{\"text\":\"?\"},\"action\":{\"button\":\"Open\","
                    "\"sections\":[{\"rows\":[{\"id\":\"1\",\"title\":\"One\"}]}]}}}"));
  assert_true(check(TO "\"type\":\"reaction\",\"reaction\":{\"message_id\":\"wamid.1\",\"emoji\":\"\"}}"));
}

static void user_ids(void **state) {
  (void)state;
  assert_true(check(WA "\"recipient\":\"DE.ABC\",\"text\":{\"body\":\"hi\"}}"));
  assert_true(span_eq(facts.user, SPAN("DE.ABC")));
  assert_false(facts.is_dropped);
  assert_true(check(WA "\"to\":\"DE.ABC\",\"text\":{\"body\":\"hi\"}}")); // taken, and never delivered
  assert_true(facts.is_dropped);
}

static void read_marks(void **state) {
  (void)state;
  assert_true(check(WA "\"status\":\"read\",\"message_id\":\"wamid.1\",\"typing_indicator\":{\"type\":\"text\"}}"));
  assert_true(facts.is_read_mark);
  assert_false(check(WA "\"status\":\"read\"}"));
  assert_false(check(WA "\"status\":\"unread\",\"message_id\":\"wamid.1\"}"));
  assert_false(check(WA "\"status\":\"read\",\"message_id\":\"wamid.1\",\"typing_indicator\":{}}"));
}

static void bad_messages(void **state) {
  (void)state;
  static const char *const bad[] = {
      "[]",
      "{\"to\":\"1\",\"text\":{\"body\":\"x\"}}",
      WA "\"text\":{\"body\":\"x\"}}",
      WA "\"to\":\"+\",\"text\":{\"body\":\"x\"}}",
      TO "\"type\":\"text\"}",
      TO "\"type\":\"text\",\"text\":{\"body\":\"\"}}",
      TO "\"type\":\"text\",\"text\":{\"body\":5}}",
      TO "\"type\":\"text\",\"text\":\"x\"}",
      TO "\"type\":\"fax\",\"fax\":{\"a\":1}}",
      TO "\"type\":\"image\",\"image\":{\"caption\":\"x\"}}",
      TO "\"type\":\"text\",\"text\":{\"body\":\"x\"},\"context\":{}}",
      TO "\"type\":\"interactive\",\"interactive\":{\"type\":\"button\",\"body\":{\"text\":\"?\"},\"action\":{\"buttons\":[]}}}",
      TO "\"type\":\"interactive\",\"interactive\":{\"type\":\"button\",\"body\":{\"text\":\"?\"},\"action\":{\"buttons\":["
         "{\"reply\":{\"id\":\"1\",\"title\":\"a title of more than twenty\"}}]}}}",
      TO "\"type\":\"interactive\",\"interactive\":{\"type\":\"list\",\"body\":{\"text\":\"?\"},\"action\":{\"button\":\"b\",\"sections\":["
         "{}]}}}",
      TO "\"type\":\"template\",\"template\":{\"name\":\"x\"}}",
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    assert_false(check(bad[i]));
    assert_int_equal(error.code, 100);
    assert_int_equal(error.http_status, 400);
  }
}

static void length_counts_characters(void **state) {
  (void)state;
  struct buf text = {0};
  for (int extra = 0; extra < 2; extra++) {
    buf_clear(&text);
    buf_add_text(&text, TO "\"text\":{\"body\":\"");
    for (int i = 0; i < 4096 + extra; i++)
      buf_add_text(&text, "\xc3\xa4");
    buf_add_text(&text, "\"}}");
    assert_int_equal(check(text.data), extra == 0);
  }
  buf_free(&text);
}

static void errors_have_metas_shape(void **state) {
  (void)state;
  struct buf out = {0};
  const struct json *j = NULL;
  sandbox_error_set(&error, 190, "no such \"token\"");
  assert_int_equal(error.http_status, 401);
  sandbox_error_write(&error, &out);
  assert_int_equal(json_parse(&arena, buf_span(&out), NULL, &j, NULL), ERR_OK);
  assert_int_equal(json_i64(json_path(j, "error.code"), 0), 190);
  assert_true(span_eq(json_text(json_path(j, "error.error_data.details")), SPAN("no such \"token\"")));
  assert_true(json_text(json_path(j, "error.fbtrace_id")).len > 10);
  assert_true(span_eq(json_text(json_path(j, "error.type")), SPAN("OAuthException")));
  sandbox_error_set(&error, 987654, NULL);
  assert_int_equal(error.http_status, 400);
  buf_free(&out);
}

static unsigned lines_of(const struct record_list *list, const struct record_filter *filter) {
  struct buf out = {0};
  record_write(list, filter, &out);
  unsigned n = 0;
  for (size_t i = 0; i < out.len; i++)
    n += out.data[i] == '\n';
  buf_free(&out);
  return n;
}

static void the_record_keeps_order_and_ordinals(void **state) {
  (void)state;
  struct record_list list = {0};
  for (int i = 0; i < 3000; i++) {
    struct record_fields fields = {.kind = i % 3 == 0 ? RECORD_READ : RECORD_MESSAGE,
                                   .user = span_of(i % 2 ? "odd" : "even"),
                                   .body = SPAN("{\n\"a\":1\n}"),
                                   .time_us = 1500000};
    assert_int_equal(record_add(&list, &fields)->ordinal, i + 1);
  }
  assert_int_equal(lines_of(&list, &(struct record_filter){0}), 2000);
  assert_int_equal(lines_of(&list, &(struct record_filter){.all_kinds = true}), 3000);
  assert_int_equal(lines_of(&list, &(struct record_filter){.all_kinds = true, .after = 2990}), 10);
  assert_int_equal(lines_of(&list, &(struct record_filter){.all_kinds = true, .after = 99999}), 0);
  assert_int_equal(lines_of(&list, &(struct record_filter){.all_kinds = true, .user = SPAN("odd")}), 1500);
  assert_int_equal(lines_of(&list, &(struct record_filter){.last = 7}), 7);
  assert_int_equal(lines_of(&list, &(struct record_filter){.last = 7, .after = 2997}), 2);
  record_retain(list.items[5]);
  struct record *kept = list.items[5];
  record_forget(&list);
  assert_int_equal(lines_of(&list, &(struct record_filter){.all_kinds = true}), 0);
  assert_true(span_eq(kept->is.user, SPAN("odd")));
  record_release(kept);
  struct record_fields fields = {.kind = RECORD_MESSAGE, .body = SPAN("{}")};
  assert_int_equal(record_add(&list, &fields)->ordinal, 3001);
  assert_int_equal(lines_of(&list, &(struct record_filter){.after = 3000}), 1);
  assert_int_equal(lines_of(&list, &(struct record_filter){.after = 5}), 1);
  record_forget(&list);
}

static void multipart_forms(void **state) {
  (void)state;
  struct form_part part;
  struct span boundary = form_boundary(SPAN("multipart/form-data; boundary=\"xyz\""));
  assert_true(span_eq(boundary, SPAN("xyz")));
  assert_int_equal(form_boundary(SPAN("application/json")).len, 0);
  assert_int_equal(form_boundary(SPAN("multipart/form-data")).len, 0);
  struct span body = SPAN("--xyz\r\nContent-Disposition: form-data; name=\"messaging_product\"\r\n\r\nwhatsapp\r\n"
                          "--xyz\r\ncontent-type: image/png\r\nContent-Disposition: form-data; filename=\"a.png\"; name=\"file\"\r\n\r\n"
                          "\x89PNG\r\n\r\n--xy\r\n--xyz--\r\n");
  assert_true(form_find(body, boundary, "file", &part));
  assert_true(span_eq(part.bytes, SPAN("\x89PNG\r\n\r\n--xy")));
  assert_true(span_eq(part.type, SPAN("image/png")));
  assert_true(span_eq(part.filename, SPAN("a.png")));
  assert_true(form_find(body, boundary, "messaging_product", &part));
  assert_true(span_eq(part.bytes, SPAN("whatsapp")));
  assert_false(form_find(body, boundary, "type", &part));
  for (size_t cut = 0; cut < body.len - 9; cut++) // no byte beyond the end is read, and no half part is found
    assert_false(form_find((struct span){body.ptr, cut}, boundary, "file", &part));
}

static void media_live_in_the_store(void **state) {
  (void)state;
  struct media_store store = {0};
  struct media *a = media_add(&store, SPAN("image/png"), SPAN("abc"));
  struct media *b = media_add(&store, SPAN(""), SPAN(""));
  assert_string_equal(a->sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert_string_equal(b->mime_type, "application/octet-stream");
  assert_ptr_equal(media_find(&store, span_of(a->id)), a);
  assert_null(media_find(&store, SPAN("1")));
  media_remove(&store, a);
  assert_int_equal(store.total_bytes, 0);
  media_clear(&store);
  assert_null(store.items);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_messages),
      cmocka_unit_test(user_ids),
      cmocka_unit_test(read_marks),
      cmocka_unit_test(bad_messages),
      cmocka_unit_test(length_counts_characters),
      cmocka_unit_test(errors_have_metas_shape),
      cmocka_unit_test(the_record_keeps_order_and_ordinals),
      cmocka_unit_test(multipart_forms),
      cmocka_unit_test(media_live_in_the_store),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
