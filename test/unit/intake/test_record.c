// Records: what goes in comes out, and nothing that was damaged does.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <endian.h>

#include "scratch.h"

static void test_round_trip(void **state) {
  (void)state;
  struct intake_event in = sample("491761", "wamid.A", "{\"id\":\"wamid.A\"}", 1234567890123456);
  in.boot_us = 987654321;
  in.boot_tag = 0xbeef;
  struct buf b = {0};
  add_record(&b, &in);
  assert_int_equal(b.len % 8, 0);
  struct intake_event out;
  size_t used = 0;
  assert_int_equal(intake_record_decode(buf_span(&b), &out, &used), ERR_OK);
  assert_int_equal(used, b.len);
  assert_int_equal(out.kind, in.kind);
  assert_true(out.received_us == in.received_us && out.boot_us == in.boot_us && out.boot_tag == in.boot_tag);
  assert_true(span_eq(out.phone_number_id, in.phone_number_id) && span_eq(out.waba_id, in.waba_id) && span_eq(out.user, in.user));
  assert_true(span_eq(out.wamid, in.wamid) && span_eq(out.type, in.type) && span_eq(out.profile_name, in.profile_name));
  assert_true(span_eq(out.raw, in.raw));
  buf_free(&b);
}

// What an earlier wahookd wrote: no clock but the wall clock, and eight bytes less.
static void test_the_first_version_is_read(void **state) {
  (void)state;
  struct intake_event in = sample("491761", "wamid.A", "{\"a\":1}", 1234567890123456), out = {.boot_us = 5};
  struct buf b = {0}, old = {0};
  add_record(&b, &in);
  buf_add(&old, b.data, 40);
  buf_add(&old, b.data + 48, b.len - 48);
  uint32_t size = htole32((uint32_t)old.len);
  memcpy(old.data + 4, &size, sizeof size);
  old.data[13] = 1;
  uint32_t sum = htole32(crc32c(crc32c(0, old.data + 4, 4), old.data + 12, old.len - 12));
  memcpy(old.data + 8, &sum, sizeof sum);
  size_t used = 0;
  assert_int_equal(intake_record_decode(buf_span(&old), &out, &used), ERR_OK);
  assert_int_equal(used, old.len);
  assert_true(out.received_us == in.received_us && out.boot_us == 0 && out.boot_tag == 0);
  assert_true(span_eq(out.raw, in.raw) && span_eq(out.wamid, in.wamid) && span_eq(out.phone_number_id, in.phone_number_id));
  buf_free(&b), buf_free(&old);
}

static void test_absent_and_long_fields(void **state) {
  (void)state;
  static char longer[70000];
  memset(longer, 'x', sizeof longer);
  struct intake_event in = {.kind = INTAKE_QUARANTINE, .type = {longer, sizeof longer}, .raw = {longer, sizeof longer}};
  struct buf b = {0};
  add_record(&b, &in);
  struct intake_event out;
  size_t used;
  assert_int_equal(intake_record_decode(buf_span(&b), &out, &used), ERR_OK);
  assert_int_equal(out.user.len, 0);
  assert_int_equal(out.type.len, 65535); // fields are cut, raw never is
  assert_int_equal(out.raw.len, sizeof longer);
  buf_free(&b);
}

static void test_every_flipped_byte_is_noticed(void **state) {
  (void)state;
  struct intake_event in = sample("491761", "wamid.A", "{\"a\":1}", 1);
  struct buf b = {0};
  add_record(&b, &in);
  for (size_t i = 0; i < b.len; i++) {
    b.data[i] ^= 0x41;
    struct intake_event out;
    size_t used = 77;
    assert_int_not_equal(intake_record_decode(buf_span(&b), &out, &used), ERR_OK);
    assert_int_equal(used, 77);
    b.data[i] ^= 0x41;
  }
  buf_free(&b);
}

static void test_every_prefix_is_truncated(void **state) {
  (void)state;
  struct intake_event in = sample("491761", "wamid.A", "{\"a\":1}", 1);
  struct buf b = {0};
  add_record(&b, &in);
  for (size_t n = 0; n < b.len; n++) {
    char *exact = xmalloc(n + 1); // so that a read beyond it is seen by a sanitizer
    memcpy(exact, b.data, n);
    struct intake_event out;
    size_t used;
    assert_int_equal(intake_record_decode((struct span){exact, n}, &out, &used), ERR_TRUNCATED);
    free(exact);
  }
  char zeroes[64] = {0};
  struct intake_event out;
  size_t used;
  assert_int_equal(intake_record_decode((struct span){zeroes, sizeof zeroes}, &out, &used), ERR_NOT_FOUND);
  buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_the_first_version_is_read),
      cmocka_unit_test(test_absent_and_long_fields),
      cmocka_unit_test(test_every_flipped_byte_is_noticed),
      cmocka_unit_test(test_every_prefix_is_truncated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
