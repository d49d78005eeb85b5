// The MongoDB store against a real server: the contract of all stores, documents as other programs leave them, who gets a number, wrong
// URIs, SCRAM, TLS. Skipped with a reason where there is no server.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "contract.h"
#include "mongo_server.h"
#include "wahook/log.h"

static struct mongo_server server;

static struct store *opened(const char *which) {
  struct store *store = NULL;
  struct why why = {{0}};
  // A server that was given has its own database in its URI; ours stands beside it.
  struct store_options o = {.uri = which, .database = server.database};
  if (store_open_with(&o, &store, &why) != ERR_OK) print_message("%s\n", why.text);
  assert_non_null(store);
  return store;
}

static void empty(void) {
  assert_int_equal(python(&server, "db.businesses.drop()", NULL, 0), 0);
}

static void as_all_stores(void **state) {
  (void)state;
  NEED_SERVER();
  struct store *store = opened(server.uri);
  struct why why;
  uint64_t version;
  lookups(store);
  tokens(store);
  lists(store);
  assert_int_equal(store_ping(store, &why), ERR_OK);
  assert_int_equal(store__changed(store, &version, &why), ERR_OK);
  // Gathered, and written at the end; or not at all.
  assert_int_equal(store_begin(store, &why), ERR_OK);
  put(store, business("e", "5", 1));
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "-");
  assert_int_equal(store_end(store, false, &why), ERR_OK);
  assert_int_equal(store_begin(store, &why), ERR_OK);
  assert_int_equal(store_end(store, true, &why), ERR_OK);
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "-");
  assert_int_equal(store_begin(store, &why), ERR_OK);
  put(store, business("e", "5", 1));
  put(store, business("f", "6", 1));
  assert_int_equal(store_end(store, true, &why), ERR_OK);
  assert_string_equal(found(store, DIRECTORY_PHONE, "6"), "f");
  store_close(store);
  empty();
}

static void the_driver_comes_with_the_first_store(void **state) {
  (void)state;
  struct buf maps = {0};
  assert_int_equal(buf_read_file(&maps, "/proc/self/maps", 1 << 22), ERR_OK);
  assert_null(strstr(maps.data, "libmongoc"));
  buf_clear(&maps);
  store_close(opened("mongodb://127.0.0.1:1/x"));
  assert_int_equal(buf_read_file(&maps, "/proc/self/maps", 1 << 22), ERR_OK);
  assert_non_null(strstr(maps.data, "libmongoc"));
  assert_null(strstr(maps.data, "/dev/shm/mongoc")); // its counters
  buf_free(&maps);
}

// Several numbers in one question: two of one business, one that two claim, one that nobody has, one that is twenty's.
static void several_numbers(void **state) {
  (void)state;
  NEED_SERVER();
  struct store *store = opened(server.uri);
  struct why why;
  static const char insert[] =
      "rows = [('a', ['11', '12'], 1), ('b', ['13'], 1), ('c', ['13'], 2)] + [('m%d' % n, ['14'], n) for n in range(argv_count)]\n"
      "db.businesses.insert_many([{'_id': i, 'subDomain': i, 'whatsappPhoneNumberIds': p, 'whatsappAccessToken': 't',\n"
      "  'whatsappEnabled': True, 'isActive': True, 'createdAt': datetime.datetime(2024, 1, 1 + at)} for i, p, at in rows])";
  struct span keys[] = {SPAN("12"), SPAN("13"), SPAN("99"), SPAN("11"), SPAN("14")};
  struct business *found[COUNT_OF(keys)];
  static const char *const wanted[] = {"a", "c", NULL, "a", "m2"};
  char few[2048], many[2048];
  snprintf(few, sizeof few, "argv_count = 3\n%s", insert);
  assert_int_equal(python(&server, few, NULL, 0), 0);
  assert_int_equal(store__find_phones(store, keys, COUNT_OF(keys), found, &why), ERR_OK);
  for (size_t i = 0; i < COUNT_OF(keys); i++) {
    if (wanted[i])
      assert_string_equal(found[i]->id, wanted[i]);
    else
      assert_null(found[i]);
    business_free(found[i]);
  }
  // So many that others' might be missing from the answer.
  empty();
  snprintf(many, sizeof many, "argv_count = 20\n%s", insert);
  assert_int_equal(python(&server, many, NULL, 0), 0);
  assert_int_equal(store__find_phones(store, keys + 4, 1, found, &why), ERR_UNSUPPORTED);
  assert_null(found[0]);
  store_close(store);
  store = opened("mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=50");
  assert_int_equal(store__find_phones(store, keys, 2, found, &why), ERR_UNAVAILABLE);
  assert_true(found[0] == NULL && found[1] == NULL);
  store_close(store);
  empty();
}

// Those that can be read, numbers, among those that cannot; in the order of the collection.
static const char ids_of_all_types[] =
    "ids = [bson.MinKey(), None, -3, bson.Int64(7), 7.5, bson.Decimal128('8'), {'a': 1}, b'x', True, datetime.datetime(2024, 1, 1),\n"
    "       bson.Timestamp(1, 1), bson.MaxKey()]\n"
    "db.businesses.insert_many([{'_id': i, 'type': 1} for i in ids])";

// ids of any kind, pages across all of them
static void pages(void **state) {
  (void)state;
  NEED_SERVER();
  struct store *store = opened(server.uri);
  struct why why;
  struct buf out = {0};
  put(store, business("shop", "1", 1));
  put(store, business("65f0c0ffee65f0c0ffee0001", "2", 2));
  put(store, business("65f0c0ffee65f0c0ffee0002", "3", 3));
  put(store, business("zoo", "4", 4));
  assert_int_equal(python(&server, "assert db.businesses.count_documents({'_id': bson.ObjectId('65f0c0ffee65f0c0ffee0001')}) == 1", NULL,
                          0),
                   0);
  assert_int_equal(python(&server, ids_of_all_types, NULL, 0), 0);
  struct buf position = {0};
  for (int page = 0; page < 8; page++, buf_add_text(&out, "| "))
    assert_int_equal(store_each(store, STORE_ALL, &position, 1, on_each, &out, &why), ERR_OK);
  assert_string_equal(out.data, "-3(0) | 7(0) | 7.5(0) | shop(1) | zoo(1) | "
                                "65f0c0ffee65f0c0ffee0001(1) | 65f0c0ffee65f0c0ffee0002(1) | | ");
  buf_free(&out);
  buf_free(&position);
  assert_int_equal(python(&server, "db.businesses.delete_many({'type': 1})", NULL, 0), 0);
  struct business *b;
  assert_int_equal(store_get(store, "65f0c0ffee65f0c0ffee0002", &b, &why), ERR_OK);
  set(&b->name, "renamed");
  put(store, b);
  uint64_t all, active;
  assert_int_equal(store_count(store, &all, &active, &why), ERR_OK);
  assert_int_equal(all, 4);
  assert_int_equal(store_remove(store, "65f0c0ffee65f0c0ffee0002", &why), ERR_OK);
  assert_string_equal(found(store, DIRECTORY_PHONE, "3"), "-");
  store_close(store);
  empty();
}

static void documents_as_others_leave_them(void **state) {
  (void)state;
  NEED_SERVER();
  static const char code[] =
      "both = {'whatsappEnabled': True, 'isActive': True}\n"
      "db.businesses.insert_many([\n"
      " {'_id': bson.ObjectId('65f0c0ffee65f0c0ffee0001'), 'name': 'Date', 'whatsappPhoneNumberIds': ['1', 'a b', 22], 'wabaId': '7',\n"
      "  'whatsappTokenExpiresAt': datetime.datetime(2026, 3, 1), 'createdAt': datetime.datetime(2023, 1, 1), 'other': {'x': [1]}, "
      "**both},\n"
      " {'_id': 'sub', 'whatsappPhoneNumberIds': ['2'], 'whatsappTokenExpiresAt': bson.raw_bson.RawBSONDocument(bson.encode({'$date':\n"
      "  '2026-03-01T00:00:00Z'})), **both},\n"
      " {'_id': 'text', 'whatsappPhoneNumberIds': ['3'], 'whatsappTokenExpiresAt': '1772323200000', 'name': 5, **both},\n"
      " {'_id': 'long', 'whatsappPhoneNumberIds': ['4'], 'whatsappTokenExpiresAt': bson.Int64(1772323200000), 'subDomain': None, **both},\n"
      " {'_id': 'bare', 'whatsappPhoneNumberIds': '5', **both}, {'_id': 'void', **both},\n"
      " {'_id': 'odd', 'whatsappPhoneNumberIds': ['6'], 'whatsappAccessToken': {'a': 1}, 'responder': 'none', 'createdAt': 'soon', "
      "**both},\n"
      " {'_id': 8, 'whatsappPhoneNumberIds': ['8'], **both}])";
  assert_int_equal(python(&server, code, NULL, 0), 0);
  struct store *store = opened(server.uri);
  struct why why = {{0}};
  for (const char *phone = "1234"; *phone; phone++) {
    struct business *b = NULL;
    assert_int_equal(store_find(store, DIRECTORY_PHONE, (struct span){phone, 1}, &b, &why), ERR_OK);
    assert_int_equal(b->token_expires_ms, 1772323200000);
    business_free(b);
  }
  assert_string_equal(found(store, DIRECTORY_PHONE, "5"), "bare");
  assert_string_equal(found(store, DIRECTORY_PHONE, "6"), "odd");
  assert_string_equal(found(store, DIRECTORY_PHONE, "8"), "8");
  assert_string_equal(found(store, DIRECTORY_WABA, "7"), "65f0c0ffee65f0c0ffee0001");
  assert_string_equal(found(store, DIRECTORY_SUBDOMAIN, "\xff\xfe"), "-");
  // Written back, what we do not know stays, and dates are dates.
  struct business *b;
  assert_int_equal(store_get(store, "1", &b, &why), ERR_OK);
  assert_string_equal(b->phone_number_ids[1], "22"); // "a b" can be no number's id
  b->token_expires_ms = 0;
  put(store, b);
  assert_int_equal(python(&server,
                          "d = db.businesses.find_one({'wabaId': '7'})\n"
                          "assert d['other'] == {'x': [1]} and d['createdAt'] == datetime.datetime(2023, 1, 1), d\n"
                          "assert 'whatsappTokenExpiresAt' not in d and isinstance(d['updatedAt'], datetime.datetime), d\n"
                          "assert db.businesses.count_documents({}) == 8",
                          NULL, 0),
                   0);
  store_close(store);
  empty();
}

static void two_claim_one_number(void **state) {
  (void)state;
  NEED_SERVER();
  struct store *store = opened(server.uri);
  put(store, business("old", "1", 1000));
  put(store, business("new", "1", 3000));
  put(store, business("mid", "1", 2000));
  char path[80];
  snprintf(path, sizeof path, "%s/claims", server.folder);
  struct log_options log = {.level = LOG_LEVEL_INFO, .target = path, .access = "off", .role = "test"};
  struct why why;
  assert_int_equal(log_setup(&log, &why), ERR_OK);
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "new");
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "new");
  log.target = "stderr";
  assert_int_equal(log_setup(&log, &why), ERR_OK);
  struct buf said = {0};
  assert_int_equal(buf_read_file(&said, path, 100000), ERR_OK);
  char *line = strstr(said.data, "3 active documents of businesses have the phone number id 1: the newest one, new,");
  assert_non_null(line);
  assert_non_null(strstr(line, "take it out of whatsappPhoneNumberIds of all but one of "));
  assert_null(strstr(line + 1, "3 active")); // once a minute
  buf_free(&said);
  store_close(store);
  empty();
}

static void wrong_uris(void **state) {
  (void)state;
  static const char *const bad[] = {"mongodb://u:secret@", "mongodb://u:sec:ret@h/db", "mongodb://u:secret@h/",
                                    "mongodb://u:secret@h/db?tls=maybe&x", "mongodb://"};
  struct why why = {{0}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    struct store *none;
    assert_int_equal(store_open(bad[i], &none, &why), ERR_CONFIG);
    assert_null(strstr(why.text, "sec"));
    assert_non_null(strstr(why.text, "directory.store"));
  }
  struct store_options o = {.uri = "mongodb://u:secret@127.0.0.1:1/admin?connectTimeoutMS=200", .database = "a/b"};
  struct store *store;
  assert_int_equal(store_open_with(&o, &store, &why), ERR_CONFIG);
  o.database = "shop"; // beside what the URI names, which is then for authentication
  assert_int_equal(store_open_with(&o, &store, &why), ERR_OK);
  struct business *b;
  assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why), ERR_UNAVAILABLE);
  assert_null(strstr(why.text, "secret"));
  store_close(store);
}

// What the driver does nothing with is named, and never a password.
static void ignored_options(void **state) {
  (void)state;
  char path[80];
  struct why why;
  struct buf said = {0};
  snprintf(path, sizeof path, "%s/ignored", server.folder);
  struct log_options log = {.level = LOG_LEVEL_INFO, .target = path, .access = "off", .role = "test"};
  assert_int_equal(log_setup(&log, &why), ERR_OK);
  store_close(opened("mongodb://u:secret@127.0.0.1:1/x?waitQueueMultiple=4&maxConnecting=3&maxIdleTimeMS=1000&maxPoolSize=7"));
  log.target = "stderr";
  assert_int_equal(log_setup(&log, &why), ERR_OK);
  assert_int_equal(buf_read_file(&said, path, 100000), ERR_OK);
  assert_non_null(strstr(said.data, "the MongoDB driver ignores waitqueuemultiple"));
  assert_non_null(strcasestr(said.data, "\"maxConnecting\""));
  assert_null(strstr(said.data, "axIdle")); // ours does it
  assert_null(strstr(said.data, "secret"));
  buf_free(&said);
}

// ---------------------------------------------------------------- SCRAM and TLS

static void scram(void **state) {
  (void)state;
  NEED_SERVER();
  struct mongo_server s = {.args = {NULL}};
  server_make(&s);
  server_run(&s);
  assert_int_equal(python(&s,
                          "for user, mechanism in (('one', 'SCRAM-SHA-1'), ('two', 'SCRAM-SHA-256')):\n"
                          " c.admin.command('createUser', user, pwd='p@ss:w/rd', roles=['readWriteAnyDatabase'], mechanisms=[mechanism])",
                          NULL, 0),
                   0);
  server_end(&s, SIGTERM);
  s.args[0] = "--auth";
  server_run(&s);
  static const char *const users[] = {"one", "two"};
  char uri[300];
  struct why why = {{0}};
  for (int i = 0; i < 2; i++) {
    snprintf(uri, sizeof uri, "mongodb://%s:p%%40ss%%3Aw%%2Frd@127.0.0.1:%d/%s?authSource=admin", users[i], s.port, s.database);
    struct store *store = opened(uri);
    put(store, business("b", "1", 1));
    assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "b");
    store_close(store);
  }
  snprintf(uri, sizeof uri, "mongodb://one:geheim@127.0.0.1:%d/%s?authSource=admin", s.port, s.database);
  struct store *store = opened(uri);
  struct business *b;
  assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why), ERR_UNAVAILABLE); // never: no such business
  assert_non_null(strstr(why.text, "uthentication"));
  assert_null(strstr(why.text, "geheim"));
  store_close(store);
  server_remove(&s);
}

static void openssl(const char *const argv[]) {
  int status = -1;
  waitpid(start_program(argv, "/dev/null"), &status, 0);
  assert_int_equal(status, 0);
}

static void tls(void **state) {
  (void)state;
  NEED_SERVER();
  struct mongo_server s = {.args = {NULL}};
  server_make(&s);
  char cert[80], key[80], uri[300];
  snprintf(cert, sizeof cert, "%s/cert.pem", s.folder);
  snprintf(key, sizeof key, "%s/key.pem", s.folder);
  const char *const make[] = {"/usr/bin/openssl",
                              "req",
                              "-x509",
                              "-newkey",
                              "rsa:2048",
                              "-nodes",
                              "-keyout",
                              key,
                              "-out",
                              cert,
                              "-days",
                              "2",
                              "-subj",
                              "/CN=127.0.0.1",
                              "-addext",
                              "subjectAltName=IP:127.0.0.1",
                              NULL};
  openssl(make);
  const char *const args[] = {"--tls-cert-file", cert, "--tls-key-file", key};
  memcpy(s.args, args, sizeof args);
  server_run(&s);
  snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/%s?tls=true&tlsCAFile=%s", s.port, s.database, cert);
  struct store *store = opened(uri);
  put(store, business("b", "1", 1));
  assert_string_equal(found(store, DIRECTORY_PHONE, "1"), "b");
  store_close(store);
  // A certificate that nobody we trust has signed, and no TLS where it is wanted: an outage, told.
  static const char *const bad[] = {"?tls=true", "?connectTimeoutMS=500&socketTimeoutMS=500"};
  for (int i = 0; i < 2; i++) {
    snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/%s%s", s.port, s.database, bad[i]);
    struct business *b;
    struct why why = {{0}};
    store = opened(uri);
    assert_int_equal(store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why), ERR_UNAVAILABLE);
    assert_true(why.text[0]);
    store_close(store);
  }
  server_remove(&s);
}

// ---------------------------------------------------------------- many threads, figures

enum { THREADS = 4, ROUNDS = 200 };

static void *reader(void *arg) {
  struct store *store = arg;
  for (int i = 0; i < ROUNDS; i++) {
    struct business *b = NULL;
    struct why why;
    if (store_find(store, DIRECTORY_PHONE, SPAN("1"), &b, &why) != ERR_OK) return "not found";
    business_free(b);
  }
  return NULL;
}

static void many_threads(void **state) {
  (void)state;
  NEED_SERVER();
  struct store_options o = {.uri = server.uri,
                            .database = server.database,
                            .pool_max = 20,
                            .processes = 10}; // two connections for four threads
  struct store *store;
  struct why why;
  assert_int_equal(store_open_with(&o, &store, &why), ERR_OK);
  put(store, business("b", "1", 1));
  pthread_t threads[THREADS];
  int64_t from = clock_mono_us();
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, reader, store), 0);
  for (int i = 0; i < THREADS; i++) {
    void *failure;
    pthread_join(threads[i], &failure);
    assert_null(failure);
  }
  print_message("%d look-ups by %d threads over 2 connections: %.0f us each\n", THREADS * ROUNDS, THREADS,
                (double)(clock_mono_us() - from) / (THREADS * ROUNDS));
  store_close(store);
  empty();
}

static int start(void **state) {
  (void)state;
  server_make(&server);
  const char *given = getenv("MONGODB_URI");
  if (given)
    snprintf(server.uri, sizeof server.uri, "%s", given);
  else if (!no_server())
    server_run(&server);
  return 0;
}

static int end(void **state) {
  (void)state;
  server_remove(&server);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_driver_comes_with_the_first_store),
      cmocka_unit_test(as_all_stores),
      cmocka_unit_test(several_numbers),
      cmocka_unit_test(pages),
      cmocka_unit_test(documents_as_others_leave_them),
      cmocka_unit_test(two_claim_one_number),
      cmocka_unit_test(wrong_uris),
      cmocka_unit_test(ignored_options),
      cmocka_unit_test(scram),
      cmocka_unit_test(tls),
      cmocka_unit_test(many_threads),
  };
  return cmocka_run_group_tests(tests, start, end);
}
