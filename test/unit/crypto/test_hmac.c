// HMAC-SHA256: RFC 4231, Meta's signature over escaped bytes, and a context that is used again.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wahook/crypto.h"

static void expect(struct span key, struct span message, const char *hex) {
  struct hmac *h = hmac_new(key);
  for (int again = 0; again < 3; again++) {
    uint8_t mac[32];
    char text[65];
    hmac_sha256(h, message, mac);
    hex_encode(mac, sizeof mac, text);
    assert_string_equal(text, hex);
  }
  hmac_free(h);
}

static void published_vectors(void **state) {
  (void)state;
  // RFC 4231, test cases 2 and 6 (a key longer than the block)
  expect(SPAN("Jefe"), SPAN("what do ya want for nothing?"), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  char key[131];
  memset(key, 0xaa, sizeof key);
  expect((struct span){key, sizeof key}, SPAN("Test Using Larger Than Block-Size Key - Hash Key First"),
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  // Keys around the block: padded, as it is, hashed.
  char edge[65];
  memset(edge, 'k', sizeof edge);
  expect((struct span){edge, 63}, SPAN("edge"), "b414a00a80bac00c2788dccec9c37cacbc5c5d5fa019ab850f2a05f396448b87");
  expect((struct span){edge, 64}, SPAN("edge"), "01aff17ef5e74f80ba23ab0da9066302e79e7f1190c82e30e2f6efb9d4e400e7");
  expect((struct span){edge, 65}, SPAN("edge"), "636761aa0aca084843194250bab59077582294b3d305e5803b81af095596492a");
  expect(SPAN(""), SPAN(""), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void metas_signature_is_over_the_escaped_bytes(void **state) {
  (void)state;
  struct span body = SPAN("{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"value\":{\"text\":"
                          "\"\\u00e4\\u00f6\\u00e5 \\/ \\ud83d\\ude0a\"},\"field\":\"messages\"}]}]}");
  expect(SPAN("app-secret-123"), body, "37ca8536aae3cb0bf764bf8a7e39524c035a8b454eb1dff9fddceb5d8d599bf2");
  // What somebody who unescapes first would get: it must not be the same.
  struct span unescaped = SPAN("{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"value\":{\"text\":"
                               "\"\xc3\xa4\xc3\xb6\xc3\xa5 / \xf0\x9f\x98\x8a\"},\"field\":\"messages\"}]}]}");
  expect(SPAN("app-secret-123"), unescaped, "cb3d1f4e4f40c28dba641015b62e70a493aebef2f1cf0d018870250d35dea8fa");
}

static void messages_do_not_leak_into_each_other(void **state) {
  (void)state;
  struct hmac *h = hmac_new(SPAN("k"));
  uint8_t a[32], b[32], c[32];
  hmac_sha256(h, SPAN("first"), a);
  hmac_sha256(h, SPAN("second"), b);
  hmac_sha256(h, SPAN("first"), c);
  assert_memory_equal(a, c, 32);
  assert_memory_not_equal(a, b, 32);
  hmac_free(h);
  hmac_free(NULL);
}

static void nothing_is_left_of_a_former_key(void **state) {
  (void)state;
  const struct span keys[] = {SPAN("a key of more than sixty-four bytes, which is hashed before it is used at all"), SPAN("k"), SPAN("")};
  struct hmac *reused = hmac_new(SPAN("another"));
  uint8_t a[32], b[32];
  for (size_t i = 0; i < COUNT_OF(keys); i++) {
    struct hmac *fresh = hmac_new(keys[i]);
    hmac_rekey(reused, keys[i]);
    hmac_sha256(fresh, SPAN("message"), a);
    hmac_sha256(reused, SPAN("message"), b);
    assert_memory_equal(a, b, 32);
    hmac_free(fresh);
  }
  hmac_free(reused);
}

static void plain_sha256(void **state) {
  (void)state;
  uint8_t digest[32];
  char text[65];
  sha256(SPAN("abc"), digest);
  hex_encode(digest, 32, text);
  assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void measured(void **state) {
  (void)state;
  enum { ROUNDS = 200000 };
  char body[700];
  memset(body, 'x', sizeof body);
  struct hmac *h = hmac_new(SPAN("app-secret-123"));
  uint8_t mac[32];
  int64_t from = clock_mono_ns();
  for (int i = 0; i < ROUNDS; i++)
    hmac_sha256(h, (struct span){body, sizeof body}, mac);
  print_message("hmac of 700 bytes: %.2f us\n", (double)(clock_mono_ns() - from) / ROUNDS / 1000);
  hmac_free(h);
}

int main(void) {
  crypto_start();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(published_vectors),
      cmocka_unit_test(metas_signature_is_over_the_escaped_bytes),
      cmocka_unit_test(messages_do_not_leak_into_each_other),
      cmocka_unit_test(nothing_is_left_of_a_former_key),
      cmocka_unit_test(plain_sha256),
      cmocka_unit_test(measured),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
