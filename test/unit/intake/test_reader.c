// The reader: order over files, checkpoints, torn tails at every byte, damage in the middle, finished files.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/file.h>

#include "scratch.h"

#define FILE_A "w0.a-000001.log"
#define FILE_B "w1.b-000001.log"

static struct shm_slot slot;

static struct intake_reader *reader_on(const struct scratch *s, const struct intake_position *positions, size_t count) {
  struct intake_reader_options o = {.directory = s->path, .slot = &slot, .positions = positions, .position_count = count};
  struct intake_reader *reader;
  struct why why;
  assert_int_equal(intake_reader_open(&o, &reader, &why), ERR_OK);
  return reader;
}

static int setup(void **state) {
  struct scratch *s = xcalloc(1, sizeof *s);
  scratch_make(s);
  atomic_store(&slot.counters[METRIC_INTAKE_CORRUPT], 0);
  *state = s;
  return 0;
}

static int teardown(void **state) {
  scratch_remove(*state);
  free(*state);
  return 0;
}

// Reads until nothing is left; wamids (or "!" for quarantine) separated by spaces. Finished files are deleted.
static void drain(struct intake_reader *reader, size_t max, struct buf *out) {
  struct intake_batch batch;
  buf_clear(out);
  while (intake_reader_next(reader, max, &batch) == ERR_OK) {
    assert_true(batch.count <= max && (batch.count > 0 || batch.finished));
    for (size_t i = 0; i < batch.count; i++) {
      if (batch.events[i].kind == INTAKE_QUARANTINE)
        buf_add_text(out, "! ");
      else
        buf_printf(out, "%.*s ", SPAN_FMT(batch.events[i].wamid));
    }
    if (batch.finished) intake_reader_delete(reader, batch.upto.file);
  }
  if (out->data == NULL) buf_add_text(out, "");
}

static unsigned files_left(const struct scratch *s) {
  char names[8][80];
  return scratch_list(s, names, 8);
}

static void test_two_files_in_order_of_arrival(void **state) {
  struct scratch *s = *state;
  struct buf a = {0}, b = {0}, got = {0};
  struct intake_event e;
  e = sample("u1", "1", "{}", 1000), add_record(&a, &e);
  e = sample("u1", "2", "{}", 2000), add_record(&b, &e);
  e = sample("u1", "3", "{}", 3000), add_record(&a, &e);
  e = sample("u1", "4", "{}", 4000), add_record(&b, &e);
  scratch_write(s, FILE_A, buf_span(&a));
  scratch_write(s, FILE_B, buf_span(&b));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  drain(reader, 100, &got);
  assert_string_equal(got.data, "1 2 3 4 ");
  assert_int_equal(files_left(s), 0); // nobody writes them: finished and deleted
  intake_reader_close(reader);
  buf_free(&a), buf_free(&b), buf_free(&got);
}

static struct intake_event stamped(const char *wamid, int64_t wall_us, int64_t boot_us, uint16_t boot_tag) {
  struct intake_event e = sample("u1", wamid, "{}", wall_us);
  e.boot_us = boot_us;
  e.boot_tag = boot_tag;
  return e;
}

// The order of arrival is that of the clock that never jumps: one writer's wall clock stood a day behind, the other's a day ahead. What was
// written before the machine's last start comes first, by the wall clock, and says nothing about that other clock.
static void test_order_of_arrival_when_the_wall_clock_jumps(void **state) {
  struct scratch *s = *state;
  const int64_t day = INT64_C(86400) * 1000000, wall = clock_wall_us(), boot = clock_boot_us();
  const uint16_t here = (uint16_t)clock_boot_id(), there = (uint16_t)(here + 1);
  struct buf a = {0}, b = {0}, got = {0};
  struct intake_event e;
  e = stamped("before 1", wall + 9 * day, boot * 2, there), add_record(&a, &e);
  e = stamped("before 2", wall + 9 * day + 1, boot, there), add_record(&b, &e);
  e = stamped("1", wall + day, boot - 4000, here), add_record(&a, &e);
  e = stamped("2", wall - day, boot - 3000, here), add_record(&b, &e);
  e = stamped("3", wall + day, boot - 2000, here), add_record(&a, &e);
  e = stamped("4", wall - 2 * day, boot - 1000, here), add_record(&b, &e);
  scratch_write(s, FILE_A, buf_span(&a));
  scratch_write(s, FILE_B, buf_span(&b));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  struct intake_batch batch;
  assert_int_equal(intake_reader_next(reader, 1, &batch), ERR_OK);
  assert_true(batch.events[0].boot_us == 0);
  drain(reader, 100, &got);
  assert_string_equal(got.data, "before 2 1 2 3 4 ");
  intake_reader_close(reader);
  buf_free(&a), buf_free(&b), buf_free(&got);
}

// A file that is still to get its name is removed when nobody holds it, and left alone while somebody does.
static void test_what_a_dead_writer_left_half_made(void **state) {
  struct scratch *s = *state;
  struct buf got = {0};
  char path[160];
  snprintf(path, sizeof path, "%s/%s.new", s->path, FILE_B);
  scratch_write(s, FILE_A ".new", SPAN(""));
  scratch_write(s, FILE_B ".new", SPAN(""));
  int fd = open(path, O_RDWR | O_CLOEXEC);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  struct intake_reader *reader = reader_on(s, NULL, 0);
  drain(reader, 10, &got);
  assert_int_equal(files_left(s), 1);
  assert_int_equal(access(path, F_OK), 0);
  close(fd);
  drain(reader, 10, &got);
  assert_int_equal(files_left(s), 0);
  intake_reader_close(reader);
  buf_free(&got);
}

// Other conversations do not cut a batch: file A's whole run comes at once though B's head is earlier than its second record.
static void test_other_conversations_do_not_cut_a_batch(void **state) {
  struct scratch *s = *state;
  struct buf a = {0}, b = {0};
  for (int i = 0; i < 50; i++) {
    struct intake_event e = sample("ann", "a", "{}", 1000 + 10 * i);
    add_record(&a, &e);
    e = sample("bob", "b", "{}", 1005 + 10 * i);
    add_record(&b, &e);
  }
  scratch_write(s, FILE_A, buf_span(&a));
  scratch_write(s, FILE_B, buf_span(&b));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  struct intake_batch batch;
  assert_int_equal(intake_reader_next(reader, 1000, &batch), ERR_OK);
  assert_int_equal(batch.count, 50);
  assert_true(batch.finished);
  intake_reader_close(reader);
  buf_free(&a), buf_free(&b);
}

static void test_checkpoint_is_continued(void **state) {
  struct scratch *s = *state;
  struct buf a = {0}, got = {0};
  for (int i = 0; i < 5; i++) {
    char id[24];
    snprintf(id, sizeof id, "%d", i);
    struct intake_event e = sample("u", id, "{}", 1000 + i);
    add_record(&a, &e);
  }
  scratch_write(s, FILE_A, buf_span(&a));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  struct intake_batch batch;
  assert_int_equal(intake_reader_next(reader, 2, &batch), ERR_OK);
  assert_int_equal(batch.count, 2);
  assert_false(batch.finished);
  struct intake_position kept = batch.upto;
  intake_reader_close(reader);

  reader = reader_on(s, &kept, 1);
  assert_true(intake_reader_backlog_bytes(reader) == 0); // nothing looked at yet
  drain(reader, 1, &got);
  assert_string_equal(got.data, "2 3 4 ");
  intake_reader_close(reader);

  // Everything was stored, but the file was not deleted any more before a crash.
  scratch_write(s, FILE_A, buf_span(&a));
  kept.offset = a.len;
  reader = reader_on(s, &kept, 1);
  assert_int_equal(intake_reader_next(reader, 10, &batch), ERR_OK);
  assert_int_equal(batch.count, 0);
  assert_true(batch.finished);
  intake_reader_delete(reader, batch.upto.file);
  assert_int_equal(files_left(s), 0);
  intake_reader_close(reader);
  buf_free(&a), buf_free(&got);
}

static void test_torn_tail_at_every_byte(void **state) {
  struct scratch *s = *state;
  struct buf whole = {0}, got = {0};
  struct intake_event e = sample("u", "1", "{\"n\":1}", 1000);
  add_record(&whole, &e);
  size_t first = whole.len;
  e = sample("u", "2", "{\"n\":2}", 2000);
  add_record(&whole, &e);
  for (size_t cut = first; cut < whole.len; cut++) {
    for (int preallocated = 0; preallocated < 2; preallocated++) {
      struct buf torn = {0};
      buf_add(&torn, whole.data, cut);
      if (preallocated) {
        memset(buf_reserve(&torn, 4096), 0, 4096);
        torn.len += 4096;
      }
      scratch_write(s, FILE_A, buf_span(&torn));
      struct intake_reader *reader = reader_on(s, NULL, 0);
      drain(reader, 10, &got);
      // The last bytes of a record may be padding zeroes: then nothing of it is missing.
      if (!preallocated || strcmp(got.data, "1 2 ") != 0) assert_string_equal(got.data, "1 ");
      assert_int_equal(files_left(s), 0);
      intake_reader_close(reader);
      buf_free(&torn);
    }
  }
  assert_int_equal(atomic_load(&slot.counters[METRIC_INTAKE_CORRUPT]), 0);
  buf_free(&whole), buf_free(&got);
}

static void test_every_flipped_byte_in_the_middle_costs_one_record(void **state) {
  struct scratch *s = *state;
  struct buf whole = {0}, got = {0};
  struct intake_event e = sample("u", "1", "{\"n\":1}", 1000);
  add_record(&whole, &e);
  size_t from = whole.len;
  e = sample("u", "2", "{\"n\":2}", 2000);
  add_record(&whole, &e);
  size_t upto = whole.len;
  e = sample("u", "3", "{\"n\":3}", 3000);
  add_record(&whole, &e);
  for (size_t i = from; i < upto; i++) {
    atomic_store(&slot.counters[METRIC_INTAKE_CORRUPT], 0);
    whole.data[i] ^= 0x5a;
    scratch_write(s, FILE_A, buf_span(&whole));
    whole.data[i] ^= 0x5a;
    struct intake_reader *reader = reader_on(s, NULL, 0);
    drain(reader, 10, &got);
    assert_string_equal(got.data, "1 ! 3 ");
    assert_int_equal(atomic_load(&slot.counters[METRIC_INTAKE_CORRUPT]), 1);
    intake_reader_close(reader);
  }
  buf_free(&whole), buf_free(&got);
}

// A page that never reached the disk is not the end of the file.
static void test_zeroes_before_a_record_are_damage(void **state) {
  struct scratch *s = *state;
  struct buf whole = {0}, got = {0};
  struct intake_event e = sample("u", "1", "{}", 1000);
  add_record(&whole, &e);
  memset(buf_reserve(&whole, 4096), 0, 4096);
  whole.len += 4096;
  e = sample("u", "2", "{}", 2000);
  add_record(&whole, &e);
  scratch_write(s, FILE_A, buf_span(&whole));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  drain(reader, 10, &got);
  assert_string_equal(got.data, "1 ! 2 ");
  intake_reader_close(reader);
  buf_free(&whole), buf_free(&got);
}

static void test_a_living_writers_tail_is_waited_for(void **state) {
  struct scratch *s = *state;
  struct buf whole = {0}, got = {0};
  struct intake_event e = sample("u", "1", "{}", 1000);
  add_record(&whole, &e);
  size_t first = whole.len;
  e = sample("u", "2", "{}", 2000);
  add_record(&whole, &e);
  scratch_write(s, FILE_A, (struct span){whole.data, first + 20});
  char path[160];
  snprintf(path, sizeof path, "%s/%s", s->path, FILE_A);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  assert_int_equal(flock(fd, LOCK_EX), 0);
  struct intake_reader *reader = reader_on(s, NULL, 0);
  drain(reader, 10, &got);
  assert_string_equal(got.data, "1 ");
  assert_int_equal(files_left(s), 1);
  assert_int_equal(pwrite(fd, whole.data + first, whole.len - first, (off_t)first), (ssize_t)(whole.len - first));
  drain(reader, 10, &got);
  assert_string_equal(got.data, "2 ");
  assert_int_equal(files_left(s), 1);
  close(fd);
  drain(reader, 10, &got);
  assert_string_equal(got.data, "");
  assert_int_equal(files_left(s), 0);
  intake_reader_close(reader);
  buf_free(&whole), buf_free(&got);
}

// Segments of one writer are read one after the other, whatever their number; strangers' files are left alone.
static void test_many_segments(void **state) {
  struct scratch *s = *state;
  struct buf got = {0}, want = {0};
  for (int i = 1; i <= 30; i++) {
    struct buf one = {0};
    char name[40], id[24];
    snprintf(name, sizeof name, "w0.a-%06d.log", i);
    for (int k = 0; k < 3; k++) {
      snprintf(id, sizeof id, "%d.%d", i, k);
      struct intake_event e = sample("u", id, "{}", 1000 + i * 10 + k);
      add_record(&one, &e);
      buf_printf(&want, "%s ", id);
    }
    scratch_write(s, name, buf_span(&one));
    buf_free(&one);
  }
  scratch_write(s, "notes.txt", SPAN("mine"));
  scratch_write(s, "no-number.log", SPAN("mine"));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  drain(reader, 2, &got);
  assert_string_equal(got.data, want.data);
  assert_int_equal(files_left(s), 2);
  intake_reader_close(reader);
  buf_free(&got), buf_free(&want);
}

static void test_a_record_larger_than_the_window(void **state) {
  struct scratch *s = *state;
  struct buf whole = {0}, body = {0};
  memset(buf_reserve(&body, 9 << 20), 'x', 9 << 20);
  body.len = 9 << 20;
  struct intake_event e = {.kind = INTAKE_QUARANTINE, .received_us = 5, .type = SPAN("big"), .raw = buf_span(&body)};
  add_record(&whole, &e);
  scratch_write(s, FILE_A, buf_span(&whole));
  struct intake_reader *reader = reader_on(s, NULL, 0);
  struct intake_batch batch;
  assert_int_equal(intake_reader_next(reader, 10, &batch), ERR_OK);
  assert_int_equal(batch.count, 1);
  assert_true(span_eq(batch.events[0].raw, buf_span(&body)));
  intake_reader_close(reader);
  buf_free(&whole), buf_free(&body);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {
      T(test_two_files_in_order_of_arrival),
      T(test_order_of_arrival_when_the_wall_clock_jumps),
      T(test_what_a_dead_writer_left_half_made),
      T(test_other_conversations_do_not_cut_a_batch),
      T(test_checkpoint_is_continued),
      T(test_torn_tail_at_every_byte),
      T(test_every_flipped_byte_in_the_middle_costs_one_record),
      T(test_zeroes_before_a_record_are_damage),
      T(test_a_living_writers_tail_is_waited_for),
      T(test_many_segments),
      T(test_a_record_larger_than_the_window),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
