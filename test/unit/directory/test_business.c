// Businesses as JSON: what the replaced service's collection holds, lenient dates and ids, and documents that are refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store.h"

static enum err parse(const char *text, struct business **out, struct why *why) {
  struct arena arena;
  const struct json *j;
  arena_init(&arena, 4096, 0);
  assert_int_equal(json_parse(&arena, span_of(text), NULL, &j, NULL), ERR_OK);
  enum err e = business_from_json(j, out, why);
  arena_free(&arena);
  return e;
}

static struct business *good(const char *text) {
  struct business *b = NULL;
  struct why why = {{0}};
  enum err e = parse(text, &b, &why);
  if (e) print_message("%s\n", why.text);
  assert_int_equal(e, ERR_OK);
  return b;
}

static void a_whole_document_there_and_back(void **state) {
  (void)state;
  struct business *b =
      good("{\"_id\":{\"$oid\":\"65f0c0ffee\"},\"name\":\"Caf\\u00e9\",\"subDomain\":\"cafe\",\"wabaId\":12345,"
           "\"whatsappPhoneNumberIds\":[\"111\",222,\"111\"],\"whatsappAccessToken\":\"67414141\",\"whatsappRefreshToken\":\"r\","
           "\"whatsappTokenExpiresAt\":{\"$date\":\"2026-03-01T12:34:56.789Z\"},\"whatsappEnabled\":true,\"isActive\":true,"
           "\"createdAt\":{\"$date\":{\"$numberLong\":\"1700000000000\"}},\"verifyToken\":\"v\",\"retention\":\"12h\",\"unknown\":[1],"
           "\"responder\":{\"type\":\"openai\",\"model\":\"m\",\"systemPrompt\":\"Be kind.\"}}");
  struct business *copy = business_copy(b);
  business_free(b);
  struct buf out = {0};
  struct json_writer w;
  json_start(&w, &out);
  business_to_json(copy, &w, NULL);
  assert_string_equal(out.data,
                      "{\"_id\":\"65f0c0ffee\",\"name\":\"Caf\xc3\xa9\",\"subDomain\":\"cafe\",\"wabaId\":\"12345\","
                      "\"whatsappPhoneNumberIds\":[\"111\",\"222\"],\"whatsappAccessToken\":\"67414141\",\"whatsappRefreshToken\":\"r\","
                      "\"whatsappTokenExpiresAt\":\"2026-03-01T12:34:56.789Z\",\"whatsappEnabled\":true,\"isActive\":true,"
                      "\"createdAt\":\"2023-11-14T22:13:20.000Z\",\"verifyToken\":\"v\",\"retention\":\"12h\","
                      "\"responder\":{\"type\":\"openai\",\"model\":\"m\",\"systemPrompt\":\"Be kind.\"}}");
  struct business *again = good(out.data);
  assert_int_equal(again->token_expires_ms, copy->token_expires_ms);
  assert_int_equal(again->created_ms, 1700000000000);
  assert_string_equal(again->responder_prompt, "Be kind.");
  assert_int_equal(again->phone_count, 2);
  business_free(again);
  business_free(copy);
  buf_free(&out);
}

static void dates_are_read_leniently(void **state) {
  (void)state;
  static const struct {
    const char *json;
    int64_t ms;
  } dates[] = {{"\"2026-03-01T12:34:56Z\"", 1772368496000},
               {"\"2026-03-01T14:34:56.5+02:00\"", 1772368496500},
               {"\"2026-03-01 12:34:56\"", 1772368496000},
               {"\"2026-03-01\"", 1772323200000},
               {"1772368496", 1772368496000},
               {"1772368496789", 1772368496789},
               {"1772368496.5", 1772368496000},
               {"\"1772368496789\"", 1772368496789},
               {"{\"$date\":1772368496789}", 1772368496789},
               {"{\"$date\":{\"$date\":\"2026-03-01\"}}", 1772323200000},
               {"null", 0},
               {"\"soon\"", 0},
               {"\"2026-13-01\"", 0},
               {"[1]", 0},
               {"{}", 0}};
  for (size_t i = 0; i < COUNT_OF(dates); i++) {
    struct buf text = {0};
    buf_printf(&text, "{\"_id\":\"a\",\"whatsappTokenExpiresAt\":%s}", dates[i].json);
    struct business *b = good(text.data);
    if (b->token_expires_ms != dates[i].ms) print_message("%s\n", dates[i].json);
    assert_int_equal(b->token_expires_ms, dates[i].ms);
    assert_false(b->is_active || b->whatsapp_enabled); // absent is no, as in the old service's filter
    business_free(b);
    buf_free(&text);
  }
}

static void retentions_are_read_leniently(void **state) {
  (void)state;
  static const struct {
    const char *json;
    int64_t ms;
  } good_ones[] = {{"\"12h\"", 43200000},
                   {"\"1d12h\"", 129600000},
                   {"\" 90 d \"", 7776000000},
                   {"3600", 3600000},
                   {"3600.0", 3600000},
                   {"\"3600\"", 3600000},
                   {"{\"$numberInt\":\"60\"}", 60000},
                   {"{\"$numberLong\":\"60\"}", 60000},
                   {"{\"$numberDouble\":\"60.0\"}", 60000},
                   {"1", 1000},
                   {"\"3650d\"", 315360000000},
                   {"null", 0},
                   {"\"\"", 0}};
  for (size_t i = 0; i < COUNT_OF(good_ones); i++) {
    struct buf text = {0};
    buf_printf(&text, "{\"_id\":\"a\",\"retention\":%s}", good_ones[i].json);
    struct business *b = good(text.data);
    if (b->retention_ms != good_ones[i].ms) print_message("%s\n", good_ones[i].json);
    assert_int_equal(b->retention_ms, good_ones[i].ms);
    business_free(b);
    buf_free(&text);
  }
  // Refused by name where somebody is there to hear it; from a document of the collection, the text stays and means nothing.
  static const char *const bad[] = {"\"soon\"", "\"off\"", "0",        "\"999ms\"", "-1",   "\"3651d\"",
                                    "1e20",     "true",    "[\"1h\"]", "{\"h\":1}", "\" \""};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct buf text = {0};
    struct business *b = NULL;
    struct why why = {{0}};
    buf_printf(&text, "{\"_id\":\"a\",\"retention\":%s}", bad[i]);
    if (!parse(text.data, &b, &why)) fail_msg("taken: %s", bad[i]);
    assert_non_null(strstr(why.text, "retention"));
    struct arena arena;
    const struct json *j;
    arena_init(&arena, 4096, 0);
    assert_int_equal(json_parse(&arena, buf_span(&text), NULL, &j, NULL), ERR_OK);
    assert_int_equal(store__business(j, true, &b, &why), ERR_OK);
    assert_int_equal(b->retention_ms, 0);
    assert_true(b->retention[0] != '\0');
    business_free(b);
    arena_free(&arena);
    buf_free(&text);
  }
}

static void refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "[]",
      "{}",
      "{\"_id\":\"\"}",
      "{\"_id\":\"a\",\"whatsappPhoneNumberIds\":[\"+49\"]}",
      "{\"_id\":\"a\",\"whatsappPhoneNumberIds\":[null]}",
      "{\"_id\":\"a\",\"whatsappPhoneNumberIds\":[\"\"]}",
      "{\"_id\":\"a\",\"whatsappPhoneNumberIds\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,"
      "24,25,26,27,28,29,30,31,32,33]}"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct business *b = NULL;
    struct why why = {{0}};
    enum err e = parse(bad[i], &b, &why);
    if (!e) print_message("taken: %s\n", bad[i]);
    assert_int_not_equal(e, ERR_OK);
    assert_null(b);
    assert_true(why.text[0] != '\0');
  }
  assert_true(business_phone_id_valid(SPAN("106540352242922")));
  assert_true(business_phone_id_valid(SPAN("demo_phone-1")));
  assert_false(business_phone_id_valid(SPAN("")));
  assert_false(business_phone_id_valid(SPAN("1 2")));
  assert_false(business_phone_id_valid(SPAN("123456789012345678901234567890123")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_whole_document_there_and_back),
      cmocka_unit_test(dates_are_read_leniently),
      cmocka_unit_test(retentions_are_read_leniently),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
