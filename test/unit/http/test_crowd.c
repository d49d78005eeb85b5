// Connections counted by address: what is one address, how many it may have, and that counting costs no memory for long.
#include "http/world.h"

static struct sockaddr_storage address(const char *text) {
  struct sockaddr_storage out;
  assert_true(http__address_parse(span_of(text), &out));
  return out;
}

static struct http__place *enter(struct http__crowd *crowd, struct http__pool *pool, const char *text) {
  struct sockaddr_storage from = address(text);
  return http__crowd_enter(crowd, pool, (const struct sockaddr *)&from);
}

static void an_address_has_so_many_places(void **state) {
  (void)state;
  struct http__pool pool = {0};
  struct http__crowd crowd = {.most = 3};
  struct http__place *places[3];
  http__crowd_init(&crowd);
  for (int i = 0; i < 3; i++) {
    places[i] = enter(&crowd, &pool, "192.0.2.1");
    assert_non_null(places[i]);
  }
  assert_null(enter(&crowd, &pool, "192.0.2.1"));
  struct http__place *other = enter(&crowd, &pool, "192.0.2.2");
  assert_non_null(other);
  http__crowd_leave(&crowd, places[1]);
  places[1] = enter(&crowd, &pool, "192.0.2.1");
  assert_non_null(places[1]);
  assert_null(enter(&crowd, &pool, "192.0.2.1"));
  for (int i = 0; i < 3; i++)
    http__crowd_leave(&crowd, places[i]);
  assert_non_null(enter(&crowd, &pool, "192.0.2.1"));
  http__crowd_free(&crowd); // also with places that are taken
}

static void what_counts_as_one_address(void **state) {
  (void)state;
  static const struct {
    const char *a, *b;
    bool same;
  } pairs[] = {
      {"192.0.2.1", "192.0.2.1", true},
      {"192.0.2.1", "192.0.2.2", false},
      {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true}, // one /64
      {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
      {"::ffff:192.0.2.1", "192.0.2.1", true}, // a dual-stack socket's IPv4
      {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
      {"c000:201::", "192.0.2.1", false}, // the same bytes in another family
      {"::", "0.0.0.0", false},
  };
  struct http__pool pool = {0};
  for (size_t i = 0; i < COUNT_OF(pairs); i++) {
    struct http__crowd crowd = {.most = 1};
    http__crowd_init(&crowd);
    assert_non_null(enter(&crowd, &pool, pairs[i].a));
    bool refused = !enter(&crowd, &pool, pairs[i].b);
    if (refused != pairs[i].same) fail_msg("%s and %s", pairs[i].a, pairs[i].b);
    http__crowd_free(&crowd);
  }
}

static void addresses_come_and_go_without_memory(void **state) {
  (void)state;
  static struct shm_slot slot;
  struct http__pool pool = {.slot = &slot};
  struct http__crowd crowd = {.most = 1};
  static struct http__place *places[1000];
  http__crowd_init(&crowd);
  for (int round = 0; round < 20; round++) {
    for (int i = 0; i < 1000; i++) {
      char text[32];
      snprintf(text, sizeof text, "10.%d.%d.%d", round, i / 250, i % 250);
      places[i] = enter(&crowd, &pool, text);
      assert_non_null(places[i]);
    }
    for (int i = 0; i < 1000; i++)
      http__crowd_leave(&crowd, places[i]);
    assert_int_equal(HASH_COUNT(crowd.places), 1); // nobody's
  }
  assert_int_equal(slot.counters[METRIC_HTTP_ALLOCATIONS], 1000);
  http__crowd_free(&crowd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_address_has_so_many_places),
      cmocka_unit_test(what_counts_as_one_address),
      cmocka_unit_test(addresses_come_and_go_without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
