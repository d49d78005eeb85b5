// What every store promises, for the tests of all of them. Include after <cmocka.h>.
#ifndef TEST_DIRECTORY_CONTRACT_H
#define TEST_DIRECTORY_CONTRACT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

static void set(char **field, const char *text) {
  free(*field);
  *field = xstrdup(text);
}

static struct business *business(const char *id, const char *phone, int64_t created_ms) {
  struct business *b = business_new();
  set(&b->id, id);
  if (phone) b->phone_number_ids[b->phone_count++] = xstrdup(phone);
  b->created_ms = created_ms;
  b->is_active = b->whatsapp_enabled = true;
  return b;
}

// Puts and frees.
static void put(struct store *store, struct business *b) {
  struct why why = {{0}};
  enum err e = store_put(store, b, &why);
  if (e) print_message("%s\n", why.text);
  assert_int_equal(e, ERR_OK);
  business_free(b);
}

// The id that is found, "-" for none.
static const char *found(struct store *store, enum directory_key kind, const char *key) {
  static char id[64];
  struct business *b = NULL;
  struct why why = {{0}};
  enum err e = store_find(store, kind, span_of(key), &b, &why);
  if (e == ERR_NOT_FOUND) return "-";
  if (e) print_message("%s\n", why.text);
  assert_int_equal(e, ERR_OK);
  snprintf(id, sizeof id, "%s", b->id);
  business_free(b);
  return id;
}

static void lookups(struct store *store) {
  struct business *b = business("b1", "111", 1000);
  set(&b->name, "Caf\xc3\xa9 'One'; --");
  set(&b->sub_domain, "cafe");
  set(&b->waba_id, "w1");
  set(&b->access_token, "tok");
  set(&b->responder_prompt, "Be kind.");
  b->token_expires_ms = 42;
  b->phone_number_ids[b->phone_count++] = xstrdup("112");
  put(store, business_copy(b));
  struct business *read = NULL;
  struct why why;
  assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("112"), &read, &why), ERR_OK);
  struct buf one = {0}, two = {0};
  struct json_writer w;
  json_start(&w, &one);
  business_to_json(b, &w, NULL);
  json_start(&w, &two);
  business_to_json(read, &w, NULL);
  assert_string_equal(one.data, two.data);
  buf_free(&one);
  buf_free(&two);
  business_free(read);
  assert_string_equal(found(store, DIRECTORY_PHONE, "111"), "b1");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "cafe"), "b1");
  assert_string_equal(found(store, DIRECTORY_WABA, "w1"), "b1");
  assert_string_equal(found(store, DIRECTORY_PHONE, "113"), "-");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, ""), "-");
  assert_string_equal(found(store, DIRECTORY_PHONE, "1' OR '1'='1"), "-");
  // Not enabled: gone for messages, there for the verification of its address; not active: gone.
  b->whatsapp_enabled = false;
  put(store, business_copy(b));
  assert_string_equal(found(store, DIRECTORY_PHONE, "111"), "-");
  assert_string_equal(found(store, DIRECTORY_WABA, "w1"), "-");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "cafe"), "b1");
  b->is_active = false;
  put(store, business_copy(b));
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "cafe"), "-");
  // An operator finds it all the same, by any of its names.
  static const char *const names[] = {"b1", "cafe", "112"};
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    assert_int_equal(store_get(store, names[i], &read, &why), ERR_OK);
    assert_string_equal(read->id, "b1");
    business_free(read);
  }
  assert_int_equal(store_get(store, "nobody", &read, &why), ERR_NOT_FOUND);
  // A number that was taken away is nobody's.
  b->is_active = b->whatsapp_enabled = true;
  free(b->phone_number_ids[--b->phone_count]);
  put(store, b);
  assert_string_equal(found(store, DIRECTORY_PHONE, "112"), "-");
  assert_int_equal(store_remove(store, "b1", &why), ERR_OK);
  assert_int_equal(store_remove(store, "b1", &why), ERR_NOT_FOUND);
  assert_string_equal(found(store, DIRECTORY_PHONE, "111"), "-");
  struct business *bad = business("", "1", 0);
  assert_int_equal(store_put(store, bad, &why), ERR_RANGE);
  set(&bad->id, "x");
  set(&bad->phone_number_ids[0], "+49");
  assert_int_equal(store_put(store, bad, &why), ERR_RANGE);
  business_free(bad);
}

static enum err swapped(struct store *store, const char *id, enum store_token which, const char *from, const char *to) {
  struct why why;
  return store_swap_token(store, id, which, from, to, &why);
}

// A token is replaced only if it is still the one that was read, and nothing else is.
static void tokens(struct store *store) {
  struct business *b = business("t1", "71", 1000), *read = NULL;
  struct why why;
  set(&b->access_token, "a1");
  set(&b->refresh_token, "r1");
  set(&b->name, "Tokens");
  b->token_expires_ms = 42;
  put(store, b);
  put(store, business("t2", "72", 1000));
  assert_int_equal(swapped(store, "t1", STORE_ACCESS_TOKEN, "a1", "a2"), ERR_OK);
  assert_int_equal(swapped(store, "t1", STORE_ACCESS_TOKEN, "a1", "a3"), ERR_CONFLICT);
  assert_int_equal(swapped(store, "t1", STORE_ACCESS_TOKEN, "r1", "a3"), ERR_CONFLICT);
  assert_int_equal(swapped(store, "t1", STORE_REFRESH_TOKEN, "r1", "r2"), ERR_OK);
  assert_int_equal(swapped(store, "t2", STORE_REFRESH_TOKEN, "r1", "r2"), ERR_CONFLICT); // it has none
  assert_int_equal(swapped(store, "t3", STORE_ACCESS_TOKEN, "a1", "a2"), ERR_CONFLICT);  // nor is there such a business
  assert_int_equal(store_begin(store, &why), ERR_OK);
  assert_int_equal(swapped(store, "t1", STORE_ACCESS_TOKEN, "a2", "a4"), ERR_OK);
  assert_int_equal(store_end(store, true, &why), ERR_OK);
  assert_int_equal(store_get(store, "t1", &read, &why), ERR_OK);
  assert_string_equal(read->access_token, "a4");
  assert_string_equal(read->refresh_token, "r2");
  assert_string_equal(read->name, "Tokens");
  assert_int_equal(read->token_expires_ms, 42);
  assert_int_equal(read->phone_count, 1);
  business_free(read);
  assert_int_equal(store_get(store, "t3", &read, &why), ERR_NOT_FOUND);
  assert_int_equal(store_remove(store, "t1", &why), ERR_OK);
  assert_int_equal(store_remove(store, "t2", &why), ERR_OK);
}

static void on_each(void *ctx, const struct business *b) {
  buf_printf(ctx, "%s(%u) ", b->id, b->phone_count);
}

static void on_retention(void *ctx, const struct business *b) {
  buf_printf(ctx, "%s:%s:%lld:%d(%s) ", b->id, b->retention, (long long)b->retention_ms, b->is_active, b->phone_number_ids[0]);
}

static void lists(struct store *store) {
  struct business *b;
  put(store, business("c", "1", 1000));
  put(store, business("a", "1", 2000)); // the newer one has the number
  put(store, business("b", "2", 500));
  struct business *off = business("d", "1", 9000);
  off->is_active = false;
  put(store, off);
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "a");
  struct buf out = {0};
  struct why why;
  assert_int_equal(store_each(store, STORE_ACTIVE, NULL, 100, on_each, &out, &why), ERR_OK);
  assert_string_equal(out.data, "a(1) c(0) b(1) "); // newest first; c's number is not c's to answer
  buf_clear(&out);
  struct buf position = {0};
  for (int page = 0; page < 3; page++, buf_add_text(&out, "| "))
    assert_int_equal(store_each(store, STORE_ALL, &position, 2, on_each, &out, &why), ERR_OK);
  assert_string_equal(out.data, "a(1) b(1) | c(1) d(1) | | ");
  // Those with a retention of their own, whatever it says, active or not.
  b = business("e", "5", 3000);
  set(&b->retention, "soon");
  put(store, b);
  off = business("d", "1", 9000);
  set(&off->retention, "1h");
  off->is_active = false;
  put(store, off);
  buf_clear(&out);
  assert_int_equal(store_each(store, STORE_RETENTION, NULL, 100, on_retention, &out, &why), ERR_OK);
  assert_string_equal(out.data, "d:1h:3600000:0(1) e:soon:0:1(5) ");
  assert_int_equal(store_remove(store, "e", &why), ERR_OK);
  off = business("d", "1", 9000);
  off->is_active = false;
  put(store, off); // what has none any more is not among them
  buf_clear(&out);
  assert_int_equal(store_each(store, STORE_RETENTION, NULL, 100, on_retention, &out, &why), ERR_OK);
  assert_int_equal(out.len, 0);
  buf_free(&out);
  buf_free(&position);
  uint64_t all, active;
  assert_int_equal(store_count(store, &all, &active, &why), ERR_OK);
  assert_int_equal(all, 4);
  assert_int_equal(active, 3);
}

#endif
