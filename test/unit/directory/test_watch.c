// Freshness: a change in MongoDB reaches the caches of all processes, by a change stream or by asking for updates; a watch that was
// interrupted misses nothing.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "inside.h"
#include "mongo_server.h"

static struct mongo_server server;
static struct shm shm;
static struct loop *loop;
static struct directory *dispatcher, *worker; // two processes of one daemon
static char position[100];

static struct directory *open_one(unsigned slot, enum shm_role role) {
  struct directory *d = NULL;
  struct why why;
  atomic_store(&shm.slots[slot].role, role);
  struct directory_options o = {.loop = loop, .shm = &shm, .slot = &shm.slots[slot], .store.uri = server.uri, .position_path = position};
  o.store.database = server.database;
  o.cache_size = 100;
  o.cache_ttl_ms = o.negative_ttl_ms = o.stale_max_ms = 3600000;
  assert_int_equal(directory_open(&o, &d, &why), ERR_OK);
  return d;
}

static void turn(int ms) {
  int64_t deadline = clock_mono_us() + ms * INT64_C(1000);
  do {
    uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    usleep(1000);
  } while (clock_mono_us() < deadline);
}

struct heard {
  bool any;
  char text[64];
};

static void on_answer(void *ctx, enum directory_answer answer, const struct business *b) {
  struct heard *h = ctx;
  h->any = true;
  snprintf(h->text, sizeof h->text, "%s", b ? b->access_token : answer == DIRECTORY_UNKNOWN ? "unknown" : "later");
}

static const char *token(struct directory *d, const char *phone) {
  static struct heard h;
  int64_t deadline = clock_mono_us() + 30000000;
  do {
    h.any = false;
    directory_find(d, DIRECTORY_PHONE, span_of(phone), on_answer, &h);
    while (!h.any && clock_mono_us() < deadline)
      turn(1);
  } while (strcmp(h.text, "later") == 0 && clock_mono_us() < deadline);
  return h.text;
}

static bool cached(struct directory *d, const char *phone) {
  const struct business *b;
  return directory_get(d, DIRECTORY_PHONE, span_of(phone), DIRECTORY_LEAVE, &b) != DIRECTORY_PENDING;
}

// How long until it says so; fails after a while. A timing is printed, never judged.
static int64_t until_token(struct directory *d, const char *phone, const char *want) {
  int64_t from = clock_mono_us();
  while (strcmp(token(d, phone), want) != 0) {
    if (clock_mono_us() - from > 30000000) fail_msg("%s is still %s, not %s", phone, token(d, phone), want);
    turn(5);
  }
  return (clock_mono_us() - from) / 1000;
}

static int python_code(const char *code) {
  return python(&server, code, NULL, 0);
}

static void begin(void) {
  struct why why;
  server_run(&server);
  assert_int_equal(python_code("both = {'whatsappEnabled': True, 'isActive': True, 'updatedAt': datetime.datetime.utcnow()}\n"
                               "db.businesses.insert_many([{'_id': 'b%d' % i, 'whatsappPhoneNumberIds': ['%d1' % i, '%d2' % i],\n"
                               "  'whatsappAccessToken': 'old', **both} for i in range(1, 4)])"),
                   0);
  assert_int_equal(shm_create(&shm, 4, 65536, &why), ERR_OK);
  loop = loop_new(4);
  dispatcher = open_one(0, SHM_ROLE_DISPATCHER);
  worker = open_one(1, SHM_ROLE_WORKER);
  assert_non_null(dispatcher->watch);
  assert_null(worker->watch);
  turn(1500); // the first polls are over: they clear what was cached before them
}

static void end(void) {
  directory_close(dispatcher);
  directory_close(worker);
  loop_free(loop);
  shm_detach(&shm);
  server_end(&server, SIGTERM);
  unlink(position);
}

static void load_all(void) {
  static const char *const phones[] = {"11", "12", "21", "31"};
  for (size_t i = 0; i < COUNT_OF(phones); i++) {
    assert_string_equal(token(worker, phones[i]), "old");
    assert_string_equal(token(dispatcher, phones[i]), "old");
  }
  assert_string_equal(token(worker, "77"), "unknown");
  assert_string_equal(token(worker, "78"), "unknown");
}

// What both ways of watching do.
static void changes(bool stream) {
  load_all();
  assert_int_equal(python_code(
                       "db.businesses.update_one({'_id': 'b1'}, {'$set': {'whatsappAccessToken': 'new'}, '$currentDate': {'updatedAt': "
                       "True}})"),
                   0);
  int64_t first = until_token(worker, "11", "new"), second = until_token(dispatcher, "12", "new");
  print_message("a new token is in use %d ms after Python has ended, %d ms later in the other process\n", (int)first, (int)second);
  assert_string_equal(token(worker, "12"), "new");
  assert_true(cached(worker, "21")); // others stay
  // A new business under a number that was unknown; one number moves; one business is disabled.
  assert_int_equal(python_code(
                       "now = {'updatedAt': datetime.datetime.utcnow()}\n"
                       "db.businesses.insert_one({'_id': bson.ObjectId(), 'whatsappPhoneNumberIds': ['77'], 'whatsappEnabled': True, "
                       "'isActive': True, 'whatsappAccessToken': '77', **now})\n"
                       "db.businesses.update_one({'_id': 'b2'}, {'$set': {'whatsappPhoneNumberIds': ['22', '78'], **now}})\n"
                       "db.businesses.update_one({'_id': 'b3'}, {'$set': {'isActive': False, **now}})"),
                   0);
  until_token(worker, "77", "77");
  until_token(worker, "78", "old");
  until_token(worker, "21", "unknown");
  until_token(worker, "31", "unknown");
  if (!stream) return;
  assert_int_equal(python_code("db.businesses.delete_one({'_id': 'b2'})"), 0); // leaves no updatedAt behind
  until_token(worker, "22", "unknown");
  assert_true(cached(worker, "11"));
  assert_int_equal(python_code("db.businesses.drop()"), 0);
  until_token(worker, "11", "unknown");
}

static void by_a_change_stream(void **state) {
  (void)state;
  NEED_SERVER();
  begin();
  changes(true);
  end();
}

static void by_asking_for_updates(void **state) {
  (void)state;
  NEED_SERVER();
  struct mongo_server with = server;
  server.port = free_port();
  snprintf(server.uri, sizeof server.uri, "mongodb://127.0.0.1:%d/x", server.port);
  snprintf(server.database, sizeof server.database, "standalone");
  server.args[0] = "--standalone";
  begin();
  changes(false);
  end();
  server = with;
}

static void an_interrupted_watch(void **state) {
  (void)state;
  NEED_SERVER();
  begin();
  load_all();
  *shm.created_us -= 60000000; // no young daemon: a gap would be told
  // The dispatcher ends, and its successor goes on where it was.
  turn(500);
  directory_close(dispatcher);
  turn(100);
  assert_int_equal(access(position, R_OK), 0);
  assert_int_equal(python_code("db.businesses.update_one({'_id': 'b1'}, {'$set': {'whatsappAccessToken': 'new'}})"), 0);
  turn(300);
  assert_string_equal(token(worker, "11"), "old");
  dispatcher = open_one(0, SHM_ROLE_DISPATCHER);
  until_token(worker, "11", "new");
  assert_true(cached(worker, "21")); // without a gap
  // So does the watch when the server goes away and comes back.
  server_end(&server, SIGTERM);
  turn(1500);
  assert_string_equal(token(worker, "21"), "old"); // from the cache
  server_run(&server);
  assert_int_equal(python_code("db.businesses.update_one({'_id': 'b2'}, {'$set': {'whatsappAccessToken': 'new'}})"), 0);
  until_token(worker, "21", "new");
  assert_true(cached(worker, "31"));
  end();
}

static void a_position_that_is_worth_nothing(void **state) {
  (void)state;
  NEED_SERVER();
  for (int round = 0; round < 2; round++) {
    begin();
    load_all();
    *shm.created_us -= 60000000;
    directory_close(dispatcher);
    turn(100);
    FILE *f = fopen(position, "w");
    // Not a document at all, or a token that no server has made.
    static const char token_bytes[] = "\x20\0\0\0\x02_data\0\x10\0\0\0826512345678901\0\0";
    fwrite(round ? token_bytes : "garbage", 1, round ? 0x20 : 7, f);
    fclose(f);
    assert_int_equal(python_code("db.businesses.update_one({'_id': 'b1'}, {'$set': {'whatsappAccessToken': 'new'}})"), 0);
    dispatcher = open_one(0, SHM_ROLE_DISPATCHER);
    until_token(worker, "11", "new");
    end();
    assert_true(true);
    server_run(&server);
    assert_int_equal(python_code("db.businesses.drop()"), 0);
    server_end(&server, SIGTERM);
  }
}

static int start(void **state) {
  (void)state;
  server_make(&server);
  snprintf(position, sizeof position, "%s/position", server.folder);
  return 0;
}

static int stop(void **state) {
  (void)state;
  uv_library_shutdown(); // the pool's threads end while the libraries that they used are still there
  server_remove(&server);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(by_a_change_stream),
      cmocka_unit_test(by_asking_for_updates),
      cmocka_unit_test(a_position_that_is_worth_nothing),
      cmocka_unit_test(an_interrupted_watch),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
