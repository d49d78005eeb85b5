// Shared memory: layout, attaching, foreign builds, what a panic leaves, and the broadcast's reader against lapping, holes and writers.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wahook/shm.h"

struct seen {
  unsigned clears, warms, keys;
  char last[SHM_KEY_MAX];
};
static void on_clear(void *ctx) {
  ((struct seen *)ctx)->clears++;
}
static void on_warm(void *ctx) {
  ((struct seen *)ctx)->warms++;
}
static void on_key(void *ctx, struct span key) {
  struct seen *seen = ctx;
  seen->keys++;
  assert_int_equal(span_copy(key, seen->last, sizeof seen->last), ERR_OK);
}
static const struct shm_events events = {on_clear, on_warm, on_key};

static struct shm make(void) {
  struct shm shm;
  struct why why;
  assert_int_equal(shm_create(&shm, 4, 8192, &why), ERR_OK);
  return shm;
}

static void two_maps_show_the_same(void **state) {
  (void)state;
  struct shm a = make(), b;
  assert_int_equal((uintptr_t)a.slots % 64, 0);
  assert_int_equal((uintptr_t)a.broadcast % 64, 0);
  assert_int_equal((uintptr_t)a.limiter % 64, 0);
  for (size_t i = 0; i < a.limiter_bytes; i++)
    assert_int_equal(((char *)a.limiter)[i], 0);
  int fd = dup(a.fd);
  assert_int_equal(shm_attach(&b, fd, NULL), ERR_OK);
  assert_int_equal(b.slot_count, 4);
  assert_int_equal(b.limiter_bytes, 8192);
  assert_int_equal(*a.created_us, *b.created_us);
  shm_count(&a.slots[3], SHM_COUNTERS - 1, 5);
  shm_count(&a.slots[3], SHM_COUNTERS - 1, 2);
  assert_int_equal(b.slots[3].counters[SHM_COUNTERS - 1], 7);
  shm_gauge(&a.slots[3], 0, 9);
  assert_int_equal(b.slots[3].counters[0], 9);
  assert_int_equal(ftruncate(a.fd, 0), -1); // sealed
  shm_detach(&b);
  shm_detach(&b);
  shm_detach(&a);
}

static void strange_segments_are_refused(void **state) {
  (void)state;
  struct shm a = make(), b = {.magic = 42};
  struct why why;
  ((uint32_t *)(void *)((char *)(void *)a.slots - 64))[3]++; // another sizeof(struct shm_slot)
  assert_int_equal(shm_attach(&b, a.fd, &why), ERR_VERSION);
  assert_int_equal(b.magic, 42);
  shm_detach(&a);
  int fd = memfd_create("short", 0);
  assert_int_equal(shm_attach(&b, fd, &why), ERR_VERSION);
  assert_int_equal(ftruncate(fd, 1 << 20), 0);
  assert_int_equal(shm_attach(&b, fd, &why), ERR_VERSION);
  close(fd);
  assert_int_equal(shm_attach(&b, -1, &why), ERR_IO);
  assert_int_equal(shm_create(&b, 0, 0, &why), ERR_RANGE);
}

static void last_words_are_kept(void **state) {
  (void)state;
  struct shm a = make();
  shm_stage(&a.slots[1], "webhook.signature", "a-request-id-that-is-much-longer-than-its-field-can-hold");
  assert_string_equal(a.slots[1].stage, "webhook.signature");
  assert_int_equal(strlen(a.slots[1].request), sizeof a.slots[1].request - 1);
  shm_stage(&a.slots[1], "idle", NULL);
  assert_string_equal(a.slots[1].request, "");
  pid_t child = fork();
  if (child == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(2);
    shm_catch_panic(&a.slots[1]);
    die("broken promise %d", 7);
  }
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_non_null(strstr(a.slots[1].panic, "broken promise 7"));
  assert_string_equal(shm_role_name(SHM_ROLE_DISPATCHER), "dispatcher");
  assert_string_equal(shm_state_name(SHM_BACKOFF), "backoff");
  shm_detach(&a);
}

static void a_reader_hears_what_is_new(void **state) {
  (void)state;
  struct shm a = make();
  struct shm_reader reader;
  struct seen seen = {0};
  assert_int_equal(shm_invalidate(&a, SPAN("phone:old")), ERR_OK);
  shm_reader_start(&reader, &a);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.keys + seen.clears + seen.warms, 0);
  assert_int_equal(shm_invalidate(&a, SPAN("phone:1")), ERR_OK);
  assert_int_equal(shm_invalidate(&a, SPAN("phone:2*")), ERR_OK);
  shm_warm_caches(&a);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.keys, 2);
  assert_int_equal(seen.warms, 1);
  assert_string_equal(seen.last, "phone:2*");
  shm_clear_caches(&a);
  assert_int_equal(shm_invalidate(&a, SPAN("phone:3")), ERR_OK); // part of the clearing
  shm_reader_poll(&reader, &a, &events, &seen);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.clears, 1);
  assert_int_equal(seen.keys, 2);
  char key[SHM_KEY_MAX];
  memset(key, 'k', sizeof key);
  assert_int_equal(shm_invalidate(&a, (struct span){key, SHM_KEY_MAX}), ERR_TOO_LARGE);
  assert_int_equal(shm_invalidate(&a, (struct span){"a\0b", 3}), ERR_FORMAT);
  assert_int_equal(shm_invalidate(&a, (struct span){key, SHM_KEY_MAX - 1}), ERR_OK);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(strlen(seen.last), SHM_KEY_MAX - 1);
  shm_detach(&a);
}

static void who_lags_a_lap_clears(void **state) {
  (void)state;
  struct shm a = make();
  struct shm_reader reader;
  struct seen seen = {0};
  shm_reader_start(&reader, &a);
  for (int i = 0; i < SHM_RING; i++)
    assert_int_equal(shm_invalidate(&a, SPAN("x")), ERR_OK);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.keys, SHM_RING);
  for (int i = 0; i < SHM_RING + 1; i++)
    assert_int_equal(shm_invalidate(&a, SPAN("x")), ERR_OK);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.keys, SHM_RING);
  assert_int_equal(seen.clears, 1);
  shm_detach(&a);
}

static void a_dead_writer_does_not_stop_the_ring(void **state) {
  (void)state;
  struct shm a = make();
  struct shm_reader reader;
  struct seen seen = {0};
  shm_reader_start(&reader, &a);
  atomic_fetch_add(&a.broadcast->ring_head, 1); // took its position and died
  assert_int_equal(shm_invalidate(&a, SPAN("x")), ERR_OK);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.keys + seen.clears, 0);
  for (int i = 0; i < 5; i++)
    shm_reader_poll(&reader, &a, &events, &seen);
  assert_int_equal(seen.clears, 1);
  assert_int_equal(shm_invalidate(&a, SPAN("y")), ERR_OK);
  shm_reader_poll(&reader, &a, &events, &seen);
  assert_string_equal(seen.last, "y");
  shm_detach(&a);
}

static void *write_many(void *arg) {
  for (int i = 0; i < 20000; i++) {
    char key[SHM_KEY_MAX];
    snprintf(key, sizeof key, "%0*d", 10 + i % 40, i % 10);
    if (shm_invalidate(arg, span_of(key)) != ERR_OK) die("not written");
    if (i % 64 == 0) usleep(100); // lets the reader keep up on a busy machine
  }
  return NULL;
}
static void on_whole_key(void *ctx, struct span key) {
  ((struct seen *)ctx)->keys++;
  for (size_t i = 0; i + 1 < key.len; i++)
    assert_int_equal(key.ptr[i], '0');
  assert_in_range(key.ptr[key.len - 1] - '0', key.len % 10, key.len % 10); // length and digit belong together
}
static void two_writers_and_a_reader(void **state) {
  (void)state;
  struct shm a = make();
  struct shm_reader reader;
  struct seen seen = {0};
  const struct shm_events whole = {on_clear, on_warm, on_whole_key};
  shm_reader_start(&reader, &a);
  pthread_t writers[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&writers[i], NULL, write_many, &a), 0);
  while (atomic_load(&a.broadcast->ring_head) < 40000)
    shm_reader_poll(&reader, &a, &whole, &seen);
  for (int i = 0; i < 2; i++)
    pthread_join(writers[i], NULL);
  shm_reader_poll(&reader, &a, &whole, &seen);
  assert_int_equal(reader.ring_tail, 40000);
  assert_true(seen.keys > 0);
  shm_detach(&a);
}

static void notes(void **state) {
  (void)state;
  struct shm a = make();
  char text[SHM_NOTE_MAX] = "", long_one[SHM_NOTE_MAX];
  assert_false(shm_note_read(&a.slots[1], 3, text, sizeof text));
  memset(long_one, 'x', sizeof long_one);
  shm_note(&a.slots[1], 3, long_one, sizeof long_one);
  shm_note(&a.slots[1], 3, "short", 6);
  assert_true(shm_note_read(&a.slots[1], 3, text, sizeof text));
  assert_string_equal(text, "short");
  assert_false(shm_note_read(&a.slots[1], 2, text, sizeof text));
  assert_false(shm_note_read(&a.slots[2], 3, text, sizeof text));
  atomic_fetch_add(&a.slots[1].notes[3].sequence, 1); // its writer died while it wrote
  assert_false(shm_note_read(&a.slots[1], 3, text, sizeof text));
  shm_note(&a.slots[1], 3, "successor", 10);
  assert_true(shm_note_read(&a.slots[1], 3, text, sizeof text));
  assert_string_equal(text, "successor");
  shm_detach(&a);
}

enum { NOTES = 20000 };

static void *write_notes(void *arg) {
  for (int i = 0; i < NOTES; i++) {
    char text[SHM_NOTE_MAX];
    memset(text, 'a' + i % 26, sizeof text);
    shm_note(arg, 0, text, sizeof text);
    if (i % 64 == 0) usleep(100); // so that a reader finds a quiet moment on a busy machine
  }
  return NULL;
}

static void notes_are_read_whole(void **state) {
  (void)state;
  struct shm a = make();
  pthread_t writer;
  unsigned whole = 0;
  char text[SHM_NOTE_MAX];
  assert_int_equal(pthread_create(&writer, NULL, write_notes, &a.slots[0]), 0);
  while (atomic_load(&a.slots[0].notes[0].sequence) < 2 * NOTES) {
    if (!shm_note_read(&a.slots[0], 0, text, sizeof text)) continue;
    whole++;
    for (size_t i = 1; i < sizeof text; i++)
      assert_int_equal(text[i], text[0]);
  }
  pthread_join(writer, NULL);
  assert_true(whole > 0);
  shm_detach(&a);
}

static void thresholds(void **state) {
  (void)state;
  struct shm a = make();
  assert_true(shm_threshold(&a, 0) < 0);
  shm_set_threshold(&a, 0, 0);
  shm_set_threshold(&a, SHM_THRESHOLDS - 1, 1500);
  assert_int_equal(shm_threshold(&a, 0), 0);
  assert_int_equal(shm_threshold(&a, SHM_THRESHOLDS - 1), 1500);
  shm_set_threshold(&a, 0, -1);
  assert_true(shm_threshold(&a, 0) < 0);
  shm_detach(&a);
}

static void unknown_keys(void **state) {
  (void)state;
  struct shm shm = make();
  int64_t now_us = clock_mono_us();
  assert_int_equal(shm_unknown_asked(&shm, 7), 0);
  shm_unknown_add(&shm, 7, now_us);
  assert_int_equal(shm_unknown_asked(&shm, 7), now_us);
  assert_int_equal(shm_unknown_asked(&shm, 7 + SHM_UNKNOWN), 0);
  shm_unknown_add(&shm, 7 + SHM_UNKNOWN, now_us); // takes its place
  assert_int_equal(shm_unknown_asked(&shm, 7), 0);
  shm_unknown_forget(&shm);
  assert_int_equal(shm_unknown_asked(&shm, 7 + SHM_UNKNOWN), 0);
  shm_unknown_add(&shm, 8, now_us); // an answer from before the change that comes late
  assert_int_equal(shm_unknown_asked(&shm, 8), 0);
  shm_detach(&shm);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(two_maps_show_the_same),
      cmocka_unit_test(strange_segments_are_refused),
      cmocka_unit_test(last_words_are_kept),
      cmocka_unit_test(a_reader_hears_what_is_new),
      cmocka_unit_test(who_lags_a_lap_clears),
      cmocka_unit_test(a_dead_writer_does_not_stop_the_ring),
      cmocka_unit_test(unknown_keys),
      cmocka_unit_test(two_writers_and_a_reader),
      cmocka_unit_test(notes),
      cmocka_unit_test(notes_are_read_whole),
      cmocka_unit_test(thresholds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
