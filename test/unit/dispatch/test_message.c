// What a text model is given of each message type, and which types a bot answers.
#include "wahook/base.h"

#include <setjmp.h>
#include <cmocka.h>

#include "message.h"

static const struct {
  const char *json, *text;
} texts[] = {
    {"{\"type\":\"text\",\"text\":{\"body\":\"hello \\u00e4\"}}", "hello \xc3\xa4"},
    {"{\"type\":\"image\",\"image\":{\"id\":\"1\",\"caption\":\"my cat\"}}", "my cat"},
    {"{\"type\":\"document\",\"document\":{\"id\":\"1\",\"caption\":\"the bill\",\"filename\":\"bill.pdf\"}}", "the bill bill.pdf"},
    {"{\"type\":\"audio\",\"audio\":{\"id\":\"1\"}}", ""},
    {"{\"type\":\"interactive\",\"interactive\":{\"type\":\"button_reply\",\"button_reply\":{\"id\":\"y\",\"title\":\"Yes\"}}}", "Yes"},
    {"{\"type\":\"interactive\",\"interactive\":{\"type\":\"list_reply\",\"list_reply\":{\"id\":\"y\",\"title\":\"Blue\"}}}", "Blue"},
    {"{\"type\":\"interactive\",\"errors\":[{\"code\":131000}]}", ""},
    {"{\"type\":\"button\",\"button\":{\"text\":\"Stop\",\"payload\":\"p\"}}", "Stop"},
    {"{\"type\":\"location\",\"location\":{\"latitude\":52.5,\"longitude\":13.4,\"name\":\"Home\"}}", "Location: 52.5,13.4 Home"},
    {"{\"type\":\"contacts\",\"contacts\":[{\"name\":{\"formatted_name\":\"Ada\"},\"phones\":[{\"phone\":\"+1\"}]}]}", "Contact: Ada +1"},
    {"{\"type\":\"order\",\"order\":{\"product_items\":[{\"product_retailer_id\":\"sku\",\"quantity\":2}]}}", "Order: 2 x sku"},
    {"{\"type\":\"hologram\",\"hologram\":{\"body\":\"x\"}}", ""},
    {"{}", ""},
};

static void words_of_each_type(void **state) {
  (void)state;
  struct arena arena;
  arena_init(&arena, 4096, 0);
  for (size_t i = 0; i < COUNT_OF(texts); i++) {
    const struct json *message = NULL;
    assert_int_equal(json_parse(&arena, span_of(texts[i].json), NULL, &message, NULL), ERR_OK);
    struct buf out = {0};
    message_text(message, &out);
    assert_string_equal(out.data ? out.data : "", texts[i].text);
    buf_free(&out);
  }
  arena_free(&arena);
}

static void a_bot_answers_no_reactions_and_nothing_unknown(void **state) {
  (void)state;
  static const char *const answered[] = {"text", "image", "audio", "interactive", "button", "order", "sticker", "location", "contacts"};
  static const char *const silent[] = {"reaction", "system", "unsupported", "edit", "revoke", "hologram", ""};
  for (size_t i = 0; i < COUNT_OF(answered); i++)
    assert_true(message_answerable(span_of(answered[i])));
  for (size_t i = 0; i < COUNT_OF(silent); i++)
    assert_false(message_answerable(span_of(silent[i])));
}

static int64_t stamp(const char *text) {
  struct arena arena;
  arena_init(&arena, 4096, 0);
  const struct json *message = NULL;
  assert_int_equal(json_parse(&arena, span_of(text), NULL, &message, NULL), ERR_OK);
  int64_t us = message_sent_us(message);
  arena_free(&arena);
  return us;
}

static void stamps_are_seconds_or_milliseconds_or_missing(void **state) {
  (void)state;
  assert_int_equal(stamp("{\"timestamp\":\"1700000000\"}"), INT64_C(1700000000000000));
  assert_int_equal(stamp("{\"timestamp\":1700000000}"), INT64_C(1700000000000000));
  assert_int_equal(stamp("{\"timestamp\":\"1700000000123\"}"), INT64_C(1700000000123000));
  assert_int_equal(stamp("{\"timestamp\":\"soon\"}"), 0);
  assert_int_equal(stamp("{\"timestamp\":\"-5\"}"), 0);
  assert_int_equal(stamp("{\"timestamp\":\"99999999999999999\"}"), 0);
  assert_int_equal(stamp("{}"), 0);
}

// Steady and wall clock agree, one of them is a day off, or the message was delivered late.
static void late_is_what_is_late_by_both_clocks(void **state) {
  (void)state;
  const int64_t t = INT64_C(1700000000000000), second = 1000000, day = 86400 * second;
  assert_true(message_sent_steady_us(0, t, t) == 0);
  assert_true(message_sent_steady_us(t - second, t, t) == t - second);
  assert_true(message_sent_steady_us(t - 2 * day, t, t) == t - 2 * day);
  assert_true(message_sent_steady_us(t + second, t, t) == t); // a sender that is ahead
  // The wall clock jumped.
  assert_true(message_sent_steady_us(t - second, t + day, t) == t - second);
  assert_true(message_sent_steady_us(t - second, t - day, t) == t);
  // The steady clock began under a wrong one, the wall clock was set right.
  assert_true(message_sent_steady_us(t - second, t, t + 9 * day) == t + 9 * day - second);
  assert_true(message_sent_steady_us(t - second, t, t - 9 * day) == t - 9 * day);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(words_of_each_type),
      cmocka_unit_test(a_bot_answers_no_reactions_and_nothing_unknown),
      cmocka_unit_test(stamps_are_seconds_or_milliseconds_or_missing),
      cmocka_unit_test(late_is_what_is_late_by_both_clocks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
