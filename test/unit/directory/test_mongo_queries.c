// What the MongoDB store tells of its queries and connections: durations, errors by cause, plans of slow queries, the pool; and the indexes
// that it shows and makes.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mongo_server.h"
#include "store.h"
#include "wahook/log.h"

static struct mongo_server server;
static struct store_stats stats;

static struct store *opened(const struct store_options *with) {
  struct store *store = NULL;
  struct why why = {{0}};
  struct store_options o = *with;
  o.uri = o.uri ? o.uri : server.uri;
  o.database = server.database;
  assert_int_equal(store_open_with(&o, &store, &why), ERR_OK);
  return store;
}

static enum err find(struct store *store, const char *phone) {
  struct business *b = NULL;
  struct why why;
  enum err e = store_find(store, DIRECTORY_PHONE, span_of(phone), &b, &why);
  business_free(b);
  return e;
}

static void fill(void) {
  assert_int_equal(python(&server,
                          "db.businesses.drop()\n"
                          "db.businesses.insert_many([{'_id': 'b%d' % i, 'whatsappPhoneNumberIds': [str(i)], 'subDomain': 's%d' % i,\n"
                          "  'whatsappEnabled': True, 'isActive': True, 'createdAt': datetime.datetime(2024, 1, 1)} for i in range(3000)])",
                          NULL, 0),
                   0);
}

static void counted_by_kind(void **state) {
  (void)state;
  NEED_SERVER();
  fill();
  struct store *store = opened(&(struct store_options){.pool_max = 36, .pool_min = 20, .processes = 10, .takes_rest = true});
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  assert_int_equal(stats.pool_max, 9); // nine have three each
  store_close(store);
  store = opened(&(struct store_options){.pool_max = 30, .pool_min = 20, .processes = 10});
  for (int i = 0; i < 10; i++)
    assert_int_equal(find(store, "7"), ERR_OK);
  assert_int_equal(find(store, "none"), ERR_NOT_FOUND);
  uint64_t all, active;
  struct why why;
  assert_int_equal(store_count(store, &all, &active, &why), ERR_OK);
  assert_int_equal(active, 3000);
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  const struct store_query_stats *q = &stats.queries[STORE_QUERY_PHONE];
  assert_string_equal(q->name, "phone");
  assert_int_equal(q->count, 11);
  assert_int_equal(q->documents, 10);
  assert_true(q->max_us > 0 && q->sum_us >= q->max_us);
  uint64_t in_buckets = 0;
  for (int i = 0; i < SHM_BUCKETS; i++)
    in_buckets += q->buckets[i];
  assert_int_equal(in_buckets, 11);
  assert_int_equal(q->errors[STORE_CAUSE_NETWORK] + q->slow, 0);
  assert_true(stats.queries[STORE_QUERY_COUNT].count >= 2);
  // One connection did it all; the poll makes it two, as many as shall be warm.
  assert_int_equal(stats.pool_max, 3);
  assert_int_equal(stats.pool_min, 2);
  assert_int_equal(stats.pool_open, 1);
  assert_int_equal(stats.pool_idle, 1);
  assert_int_equal(stats.pool_lent, 12);
  assert_int_equal(stats.pool_reused, 11);
  assert_int_equal(store_ping(store, &why), ERR_OK);
  assert_int_equal(store_ping(store, &why), ERR_OK);
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  assert_int_equal(stats.pool_open, 2);
  assert_int_equal(stats.queries[STORE_QUERY_PROBE].count, 3);
  assert_true(stats.heartbeats > 0 && stats.heartbeats_failed == 0 && stats.heartbeat_us >= 0);
  store_close(store);
}

static void idle_connections_are_closed(void **state) {
  (void)state;
  NEED_SERVER();
  char uri[600];
  struct why why;
  snprintf(uri, sizeof uri, "%s%cmaxIdleTimeMS=200&minPoolSize=2", server.uri, strchr(server.uri, '?') ? '&' : '?');
  struct store *store = opened(&(struct store_options){.uri = uri, .processes = 2}), *more = NULL;
  // Two at once, of which one is kept: minPoolSize is shared by two processes.
  assert_int_equal(store_begin(store, &why), ERR_OK);
  more = store;
  assert_int_equal(find(more, "7"), ERR_OK);
  assert_int_equal(store_end(store, false, &why), ERR_OK);
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  assert_int_equal(stats.pool_min, 1);
  assert_int_equal(stats.pool_open, 2);
  for (int i = 0; i < 4; i++) {
    usleep(100000);
    assert_int_equal(find(store, "7"), ERR_OK);
  }
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  assert_int_equal(stats.pool_open, 1);
  store_close(store);
}

static void errors_by_cause(void **state) {
  (void)state;
  NEED_SERVER();
  struct store *store = opened(&(struct store_options){0});
  static const struct {
    int code;
    enum store_cause cause;
  } cases[] = {{50, STORE_CAUSE_TIMEOUT}, {13, STORE_CAUSE_AUTH}, {8000, STORE_CAUSE_SERVER}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    char code[200];
    snprintf(code, sizeof code,
             "c.admin.command('configureFailPoint', 'failCommand', mode={'times': 1}, data={'failCommands': ['find'], 'errorCode': %d})",
             cases[i].code);
    assert_int_equal(python(&server, code, NULL, 0), 0);
    assert_int_equal(find(store, "7"), ERR_UNAVAILABLE);
    assert_int_equal(store_stats(store, &stats), ERR_OK);
    assert_int_equal(stats.queries[STORE_QUERY_PHONE].errors[cases[i].cause], 1);
  }
  assert_int_equal(stats.queries[STORE_QUERY_PHONE].retried, 3);
  store_close(store);
  store = opened(&(struct store_options){.uri = "mongodb://127.0.0.1:1/"});
  assert_int_equal(find(store, "7"), ERR_UNAVAILABLE);
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  assert_int_equal(stats.queries[STORE_QUERY_PHONE].errors[STORE_CAUSE_NETWORK], 1);
  assert_int_equal(stats.pool_open, 0);
  store_close(store);
  store = NULL;
  struct why why;
  assert_int_equal(store_open("ram:", &store, &why), ERR_OK);
  assert_int_equal(store_stats(store, &stats), ERR_UNSUPPORTED);
  assert_int_equal(store_indexes_show(store, NULL, NULL, &why), ERR_UNSUPPORTED);
  store_close(store);
}

static void on_index(void *ctx, const struct store_index *index) {
  buf_printf(ctx, "%s{%s} %s %s\n", index->name, index->keys, store_index_state_name(index->state), index->note);
}

static const char *indexes(struct store *store, bool ensure, enum err want) {
  static struct buf out;
  struct why why = {{0}};
  buf_clear(&out);
  buf_add_text(&out, "");
  enum err e = ensure ? store_indexes_ensure(store, on_index, &out, &why) : store_indexes_show(store, on_index, &out, &why);
  if (e != want) print_message("%s\n%s", why.text, out.data ? out.data : "");
  assert_int_equal(e, want);
  return out.data ? out.data : "";
}

static void indexes_are_shown_and_made(void **state) {
  (void)state;
  NEED_SERVER();
  assert_int_equal(python(&server, "db.businesses.drop()", NULL, 0), 0);
  struct store *store = opened(&(struct store_options){0});
  assert_string_equal(indexes(store, false, ERR_OK), // also where the collection is not there
                      "webhook_lookup_idx{whatsappPhoneNumberIds: 1, whatsappEnabled: 1, isActive: 1} missing \n"
                      "subdomain_lookup_idx{subDomain: 1, isActive: 1} missing \n"
                      "active_businesses_idx{whatsappEnabled: 1, isActive: 1, createdAt: -1} missing \n");
  fill();
  assert_int_equal(python(&server,
                          "db.businesses.create_index([('subDomain', 1), ('isActive', 1)], name='mine')\n"
                          "db.businesses.create_index([('name', -1)], name='active_businesses_idx')",
                          NULL, 0),
                   0);
  static const char made[] = "webhook_lookup_idx{whatsappPhoneNumberIds: 1, whatsappEnabled: 1, isActive: 1} made \n"
                             "subdomain_lookup_idx{subDomain: 1, isActive: 1} there under another name mine\n"
                             "active_businesses_idx{whatsappEnabled: 1, isActive: 1, createdAt: -1} in conflict name: -1\n"
                             "_id_{_id: 1} not ours \n";
  assert_string_equal(indexes(store, true, ERR_CONFLICT), made);
  const char *shown = indexes(store, false, ERR_OK);
  assert_non_null(strstr(shown, "webhook_lookup_idx{whatsappPhoneNumberIds: 1, whatsappEnabled: 1, isActive: 1} there \n"));
  // Nothing was dropped.
  assert_int_equal(python(&server, "assert db.businesses.index_information()['active_businesses_idx']['key'] == [('name', -1)]", NULL, 0),
                   0);
  store_close(store);
}

static void slow_queries_are_told_with_their_plans(void **state) {
  (void)state;
  NEED_SERVER();
  fill(); // without indexes
  char path[100];
  struct why why;
  struct buf said = {0};
  snprintf(path, sizeof path, "%s/slow", server.folder);
  struct log_options log = {.level = LOG_LEVEL_INFO, .target = path, .access = "off", .role = "test"};
  assert_int_equal(log_setup(&log, &why), ERR_OK);
  struct store *store = opened(&(struct store_options){.slow_query_ms = 1}); // a scan of 3000 takes some
  for (int i = 0; i < 5; i++)
    assert_int_equal(find(store, "2999"), ERR_OK);
  assert_int_equal(store_ping(store, &why), ERR_OK); // explains
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  const struct store_query_stats *q = &stats.queries[STORE_QUERY_PHONE];
  assert_true(q->slow > 0);
  assert_string_equal(q->plan, "COLLSCAN");
  assert_int_equal(q->examined, 3000);
  assert_non_null(strstr(q->advice, "webhook_lookup_idx"));
  log.target = "stderr";
  assert_int_equal(log_setup(&log, &why), ERR_OK);
  assert_int_equal(buf_read_file(&said, path, 100000), ERR_OK);
  char *line = strstr(said.data, "slow query \"phone\" took");
  assert_non_null(line);
  assert_non_null(strstr(line, "plan COLLSCAN, 3000 documents examined; the index webhook_lookup_idx is missing"));
  assert_null(strstr(line + 1, "slow query \"phone\"")); // once a minute
  buf_free(&said);
  store_close(store);
  // With the index none is slow, and where nothing is slow nothing is explained.
  store = opened(&(struct store_options){.slow_query_ms = -1});
  (void)indexes(store, true, ERR_OK);
  assert_int_equal(find(store, "2999"), ERR_OK);
  assert_int_equal(store_stats(store, &stats), ERR_OK);
  assert_int_equal(stats.queries[STORE_QUERY_PHONE].slow, 0);
  store_close(store);
  char plan[400];
  assert_int_equal(
      python(&server,
             "p = db.businesses.find({'whatsappPhoneNumberIds': '2999', 'whatsappEnabled': True, 'isActive': True}).explain()\n"
             "print(p['queryPlanner']['winningPlan'])",
             plan, sizeof plan),
      0);
  assert_non_null(strstr(plan, "webhook_lookup_idx"));
}

static int start(void **state) {
  (void)state;
  if (no_server()) return 0;
  server_make(&server);
  server_run(&server);
  return 0;
}

static int stop(void **state) {
  (void)state;
  if (!no_server()) server_remove(&server);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(counted_by_kind),
      cmocka_unit_test(idle_connections_are_closed),
      cmocka_unit_test(errors_by_cause),
      cmocka_unit_test(indexes_are_shown_and_made),
      cmocka_unit_test(slow_queries_are_told_with_their_plans),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
