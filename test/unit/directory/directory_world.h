// A directory on a real loop, and what tests ask of it.
#ifndef TEST_DIRECTORY_WORLD_H
#define TEST_DIRECTORY_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"

static struct loop *loop;
static struct directory *dir;
static struct store *store; // the test's own hand on the same businesses

static void set(char **field, const char *text) {
  free(*field);
  *field = xstrdup(text);
}

static void put(const char *id, const char *phone, const char *token) {
  struct business *b = business_new();
  struct why why;
  set(&b->id, id);
  set(&b->sub_domain, id);
  set(&b->access_token, token);
  b->phone_number_ids[b->phone_count++] = xstrdup(phone);
  b->is_active = b->whatsapp_enabled = true;
  assert_int_equal(store_put(store, b, &why), ERR_OK);
  business_free(b);
}

static void open_with(struct directory_options o) {
  struct why why = {{0}};
  loop = loop_new(4);
  o.loop = loop;
  if (!o.store.uri) o.store.uri = "ram:";
  if (!o.cache_size) o.cache_size = 100;
  if (!o.cache_ttl_ms) o.cache_ttl_ms = 300000;
  if (!o.negative_ttl_ms) o.negative_ttl_ms = 60000;
  if (!o.stale_max_ms) o.stale_max_ms = 3600000;
  if (!store) assert_int_equal(store_open(o.store.uri, &store, &why), ERR_OK);
  assert_int_equal(directory_open(&o, &dir, &why), ERR_OK);
  // The first look at the store's version is over: it clears what was cached before it.
  int64_t deadline = clock_mono_us() + 60000000;
  while (!dir->version_known && !dir->failing && clock_mono_us() < deadline)
    uv_run(loop_uv(loop), UV_RUN_ONCE);
}

static void close_all(void) {
  directory_close(dir);
  loop_free(loop);
  store_close(store);
  loop = NULL;
  dir = NULL;
  store = NULL;
}

// Turns of the loop until *what, or a minute: sanitizers are slow, and this is for hangs only.
static bool turn_until(const bool *what) {
  int64_t deadline = clock_mono_us() + 60000000;
  while (!*what && clock_mono_us() < deadline)
    uv_run(loop_uv(loop), UV_RUN_ONCE);
  return *what;
}

static void turn_for(int ms) {
  int64_t deadline = clock_mono_us() + ms * INT64_C(1000);
  while (clock_mono_us() < deadline) {
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    usleep(1000);
  }
}

struct heard {
  int times;
  bool any;
  enum directory_answer answer;
  char id[32], token[32];
};

static void on_answer(void *ctx, enum directory_answer answer, const struct business *b) {
  struct heard *h = ctx;
  h->times++;
  h->any = true;
  h->answer = answer;
  snprintf(h->id, sizeof h->id, "%s", b ? b->id : "-");
  snprintf(h->token, sizeof h->token, "%s", b ? b->access_token : "-");
}

static struct heard ask(enum directory_key kind, const char *key) {
  struct heard h = {0};
  directory_find(dir, kind, span_of(key), on_answer, &h);
  assert_true(turn_until(&h.any));
  assert_int_equal(h.times, 1);
  return h;
}

static enum directory_answer get(const char *phone) {
  const struct business *b;
  return directory_get(dir, DIRECTORY_PHONE, span_of(phone), DIRECTORY_LEAVE, &b);
}

#endif
