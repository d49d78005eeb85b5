// Signatures of deliveries: the documented vector, and everything that must not fit.
#include "wahook/base.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#include "wahook/crypto.h"
#include "webhook.h"

#define BODY                                                                                                                               \
  "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"1\",\"changes\":[{\"value\":{\"text\":\"\\u00e4\\u00f6\\u00e5 \\/ "      \
  "\\ud83d\\ude0a\"},\"field\":\"messages\"}]}]}"
#define FITS "37ca8536aae3cb0bf764bf8a7e39524c035a8b454eb1dff9fddceb5d8d599bf2"

static enum signature check(const char *header, const char *body, const char *first, const char *second) {
  struct hmac *secrets[2] = {hmac_new(span_of(first)), second ? hmac_new(span_of(second)) : NULL};
  enum signature result = signature__check(span_of(header), span_of(body), secrets, second ? 2 : 1);
  hmac_free(secrets[0]);
  hmac_free(secrets[1]);
  return result;
}

static void the_documented_vector_fits(void **state) {
  (void)state;
  assert_int_equal(check("sha256=" FITS, BODY, "app-secret-123", NULL), SIGNATURE_OK);
  // Any of several secrets: another app, or a rotation.
  assert_int_equal(check("sha256=" FITS, BODY, "app-secret-123", "newer"), SIGNATURE_OK);
  assert_int_equal(check("sha256=" FITS, BODY, "newer", "app-secret-123"), SIGNATURE_OK);
}

static void everything_else_does_not(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "sha256=cb3d1f4e4f40c28dba641015b62e70a493aebef2f1cf0d018870250d35dea8fa", // over the unescaped form
      "sha256=37CA8536AAE3CB0BF764BF8A7E39524C035A8B454EB1DFF9FDDCEB5D8D599BF2",
      "SHA256=" FITS,
      "sha1=" FITS,
      FITS,
      "sha256=" FITS "0",
      "sha256=37ca8536",
      "sha256=",
      "sha256= " FITS,
      "sha256=" FITS ",sha256=" FITS,
      "sha256=zzca8536aae3cb0bf764bf8a7e39524c035a8b454eb1dff9fddceb5d8d599bf2",
  };
  for (size_t i = 0; i < COUNT_OF(wrong); i++)
    assert_int_equal(check(wrong[i], BODY, "app-secret-123", NULL), SIGNATURE_WRONG);
  assert_int_equal(check("sha256=" FITS, BODY " ", "app-secret-123", NULL), SIGNATURE_WRONG);
  assert_int_equal(check("sha256=" FITS, BODY, "app-secret-124", NULL), SIGNATURE_WRONG);
}

static void no_header_is_missing(void **state) {
  (void)state;
  assert_int_equal(check(NULL, BODY, "app-secret-123", NULL), SIGNATURE_MISSING);
  assert_int_equal(check("", BODY, "app-secret-123", NULL), SIGNATURE_MISSING);
}

int main(void) {
  crypto_start();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_documented_vector_fits),
      cmocka_unit_test(everything_else_does_not),
      cmocka_unit_test(no_header_is_missing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
