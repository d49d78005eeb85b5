// Stored tokens: the vectors of all formats, detection, rotation, and every way in which a token can be broken.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats.h"
#include "secret.h"

#define PLAIN    "EAAJtest-access-token-123"
#define A_SECRET "test-encryption-secret-0123456789"
#define A_STORED                                                                                                                           \
  "674141414141426c555f454141414543417751464267634943516f4c4441304f443635663058567059337241466d454c454e4e643766303471585a41697663314e576"  \
  "7677565554e7938513165586e50313471394d3247327964577a597544635862364a443331734a784b735345587a356450455152773d"
#define B_KEY    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define B_STORED "000102030405060708090a0b0c0d0e0f310707a5542f63abac49279f3ec16ee4222de13c4d81395cb09eb84a30d75f9e20dc00c409a0e27177"

static struct token_keys *keys_of(const char *const *secrets, size_t secret_count, const char *const *keys, size_t key_count, bool plain) {
  struct token_key_options o = {
      .fernet_secrets = secrets, .fernet_count = secret_count, .keys = keys, .key_count = key_count, .salt = "salt", .allow_plain = plain};
  struct token_keys *out = NULL;
  struct why why;
  assert_int_equal(token_keys_new(&o, &out, &why), ERR_OK);
  return out;
}

static struct token_keys *usual_keys(bool plain) {
  const char *const secrets[] = {A_SECRET}, *const keys[] = {B_KEY};
  return keys_of(secrets, 1, keys, 1, plain);
}

static void opens(const struct token_keys *keys, const char *stored, const char *token) {
  char *out = NULL;
  struct why why = {{0}};
  enum err e = token_open(keys, span_of(stored), &out, &why);
  if (e) print_message("%s: %s\n", err_name(e), why.text);
  assert_int_equal(e, ERR_OK);
  assert_string_equal(out, token);
  secret_free(out);
}

static void refused(const struct token_keys *keys, struct span stored, enum err expected) {
  char untouched, *out = &untouched;
  struct why why = {{0}};
  assert_int_equal(token_open(keys, stored, &out, &why), expected);
  assert_ptr_equal(out, &untouched);
  assert_true(why.text[0] != '\0');
  // Neither the token nor a key may be told.
  assert_null(strstr(why.text, "EAAJ"));
  assert_null(strstr(why.text, A_SECRET));
  if (stored.len > 20) assert_null(memmem(why.text, sizeof why.text, stored.ptr, 20));
}

static void vectors(void **state) {
  (void)state;
  struct token_keys *keys = usual_keys(false);
  opens(keys, A_STORED, PLAIN);
  opens(keys, B_STORED, PLAIN);
  opens(keys, "  " B_STORED "\n", PLAIN); // white space around it, as a careless script leaves it
  token_keys_free(keys);

  // Writing makes the same bytes from the same time and IV.
  struct fernet_key fernet;
  fernet__derive(SPAN(A_SECRET), &fernet);
  uint8_t raw[256], iv[16], key[32], ascii[256];
  size_t len;
  assert_int_equal(hex_decode(SPAN(A_STORED), ascii, strlen(A_STORED) / 2), ERR_OK);
  assert_int_equal(base64_decode((struct span){(char *)ascii, strlen(A_STORED) / 2}, raw, sizeof raw, &len), ERR_OK);
  uint64_t time_s = 0;
  for (int i = 0; i < 8; i++)
    time_s = time_s << 8 | raw[1 + i];
  char *stored = fernet__encrypt(&fernet, time_s, raw + 9, SPAN(PLAIN));
  assert_string_equal(stored, A_STORED);
  free(stored);
  for (int i = 0; i < 16; i++)
    iv[i] = (uint8_t)i;
  gcm__derive(SPAN(B_KEY), "salt", key);
  stored = gcm__encrypt(key, iv, SPAN(PLAIN));
  assert_string_equal(stored, B_STORED);
  free(stored);

  char hex[65];
  gcm__derive(SPAN("not-a-hex-key"), "salt", key);
  hex_encode(key, 32, hex);
  assert_string_equal(hex, "a9e92ee12493fff5f04b7c8bbac4551512aff15aabc1c741f64df5cf72efa3e2");
}

static void gcm_in_base64(void **state) {
  (void)state;
  struct token_keys *keys = usual_keys(true);
  uint8_t raw[sizeof B_STORED / 2];
  assert_int_equal(hex_decode(SPAN(B_STORED), raw, sizeof raw), ERR_OK);
  for (int form = 0; form < 4; form++) {
    char text[128];
    base64_encode((struct span){(char *)raw, sizeof raw}, form & 1, form & 2, text, sizeof text);
    assert_int_equal(token_detect(span_of(text)), TOKEN_GCM);
    opens(keys, text, PLAIN);
  }
  // An IV that makes the text begin like one of Meta's own tokens.
  uint8_t iv[16] = {0x10, 0x00, 0x00}, blob[57];
  char text[128], *hex = gcm__encrypt(keys->keys[0].gcm, iv, SPAN(PLAIN));
  assert_int_equal(hex_decode(span_of(hex), blob, sizeof blob), ERR_OK);
  base64_encode((struct span){(char *)blob, sizeof blob}, false, true, text, sizeof text);
  assert_memory_equal(text, "EAAA", 4);
  opens(keys, text, PLAIN);
  free(hex);
  token_keys_free(keys);
}

static void detection(void **state) {
  (void)state;
  assert_int_equal(token_detect(SPAN(A_STORED)), TOKEN_FERNET_HEX);
  assert_int_equal(token_detect(SPAN(B_STORED)), TOKEN_GCM);
  assert_int_equal(token_detect(SPAN("sealed:v1:01020304:AAAA")), TOKEN_SEALED);
  assert_int_equal(token_detect(SPAN(PLAIN)), TOKEN_PLAIN);
  assert_int_equal(token_detect(SPAN("")), TOKEN_PLAIN);
  assert_int_equal(token_detect(SPAN("0123456789abcdef")), TOKEN_PLAIN); // hex, but short
  // Meta's tokens are long and all letters and digits: valid base64.
  assert_int_equal(token_detect(SPAN("EAAGm0PX4ZCpsBAKZCZAZBsomeLongMetaTokenWithManyLettersAndDigits0123456789ZD")), TOKEN_PLAIN);
  assert_int_equal(token_detect(SPAN("sandbox-access-token-for-the-business-number-0000000001")), TOKEN_PLAIN);
  for (int f = 0; f < TOKEN_FORMAT_COUNT; f++) {
    enum token_format parsed;
    assert_int_equal(token_format_parse(span_of(token_format_name((enum token_format)f)), &parsed), ERR_OK);
    assert_int_equal(parsed, f);
  }
  enum token_format none;
  assert_int_equal(token_format_parse(SPAN("rot13"), &none), ERR_NOT_FOUND);
}

static void seal_and_open(void **state) {
  (void)state;
  struct token_keys *keys = usual_keys(true);
  struct why why;
  for (int f = 0; f < TOKEN_FORMAT_COUNT; f++) {
    for (size_t len = 1; len < 70; len++) { // around the block sizes
      char token[71] = {0}, *stored;
      memset(token, 'T', len);
      assert_int_equal(token_seal(keys, (enum token_format)f, (struct span){token, len}, &stored, &why), ERR_OK);
      assert_int_equal(token_detect(span_of(stored)), f);
      opens(keys, stored, token);
      free(stored);
    }
  }
  char *a, *b;
  assert_int_equal(token_seal(keys, TOKEN_SEALED, SPAN(PLAIN), &a, &why), ERR_OK);
  assert_int_equal(token_seal(keys, TOKEN_SEALED, SPAN(PLAIN), &b, &why), ERR_OK);
  assert_string_not_equal(a, b);
  free(a);
  free(b);
  token_keys_free(keys);
}

static void rotation(void **state) {
  (void)state;
  const char *const old_secret[] = {"old-secret"}, *const old_key[] = {"old-passphrase"};
  const char *const secrets[] = {"new-secret", "old-secret"}, *const keys[] = {B_KEY, "old-passphrase"};
  struct token_keys *before = keys_of(old_secret, 1, old_key, 1, false), *after = keys_of(secrets, 2, keys, 2, false);
  struct why why;
  static const enum token_format formats[] = {TOKEN_FERNET_HEX, TOKEN_GCM, TOKEN_SEALED};
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    char *stored;
    assert_int_equal(token_seal(before, formats[i], SPAN(PLAIN), &stored, &why), ERR_OK);
    opens(after, stored, PLAIN);
    free(stored);
    // The first key writes: who only has the old one cannot read it.
    assert_int_equal(token_seal(after, formats[i], SPAN(PLAIN), &stored, &why), ERR_OK);
    refused(before, span_of(stored), ERR_KEY);
    free(stored);
  }
  token_keys_free(before);
  token_keys_free(after);
}

static void wrong_or_no_key(void **state) {
  (void)state;
  const char *const secrets[] = {"another"}, *const keys[] = {"another"};
  struct token_keys *other = keys_of(secrets, 1, keys, 1, false), *none = keys_of(NULL, 0, NULL, 0, false);
  refused(other, SPAN(A_STORED), ERR_KEY);
  refused(other, SPAN(B_STORED), ERR_KEY);
  refused(none, SPAN(A_STORED), ERR_KEY);
  refused(none, SPAN(B_STORED), ERR_KEY);
  refused(none, SPAN("sealed:v1:01020304:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), ERR_KEY);
  refused(none, SPAN(PLAIN), ERR_DENIED);
  char *out;
  struct why why;
  assert_int_equal(token_seal(none, TOKEN_GCM, SPAN(PLAIN), &out, &why), ERR_KEY);
  assert_int_equal(token_seal(none, TOKEN_FERNET_HEX, SPAN(PLAIN), &out, &why), ERR_KEY);
  assert_int_equal(token_seal(none, TOKEN_SEALED, SPAN(PLAIN), &out, &why), ERR_KEY);
  assert_int_equal(token_seal(none, TOKEN_PLAIN, SPAN(PLAIN), &out, &why), ERR_DENIED);
  token_keys_free(other);
  token_keys_free(none);
  const char *const empty[] = {""};
  struct token_key_options o = {.fernet_secrets = empty, .fernet_count = 1};
  struct token_keys *keys_out;
  assert_int_equal(token_keys_new(&o, &keys_out, &why), ERR_CONFIG);
}

// Every prefix and every flipped byte of every format: an error, never a token.
static void corrupt(void **state) {
  (void)state;
  struct token_keys *keys = usual_keys(false);
  struct why why;
  for (int f = 1; f < TOKEN_FORMAT_COUNT; f++) {
    char *stored;
    assert_int_equal(token_seal(keys, (enum token_format)f, SPAN(PLAIN), &stored, &why), ERR_OK);
    size_t len = strlen(stored);
    // Base64's padding is optional: a Fernet token without its "=" (3d) is still whole.
    size_t whole = len;
    while (f == TOKEN_FERNET_HEX && memcmp(stored + whole - 2, "3d", 2) == 0)
      whole -= 2;
    for (size_t cut = 0; cut < whole; cut++) {
      char *out;
      assert_int_not_equal(token_open(keys, (struct span){stored, cut}, &out, &why), ERR_OK);
    }
    for (size_t at = 0; at < len; at++) {
      char *out, keep = stored[at];
      stored[at] = keep == '7' ? '6' : '7';
      assert_int_not_equal(token_open(keys, (struct span){stored, len}, &out, &why), ERR_OK);
      stored[at] = keep;
    }
    opens(keys, stored, PLAIN);
    free(stored);
  }
  refused(keys, SPAN("sealed:v2:01020304:AAAA"), ERR_FORMAT);
  refused(keys, SPAN("sealed:v1:0102030"), ERR_FORMAT);
  refused(keys, SPAN(""), ERR_FORMAT);
  refused(keys, SPAN("  \t"), ERR_FORMAT);
  char *huge = xmalloc(20001);
  memset(huge, 'a', 20000);
  refused(keys, (struct span){huge, 20000}, ERR_FORMAT);
  free(huge);
  token_keys_free(keys);
}

static void blank_double_and_unprintable_contents(void **state) {
  (void)state;
  struct token_keys *keys = usual_keys(true);
  uint8_t iv[16] = {1};
  static const struct span bad[] = {{"   ", 3},       {"a\r\nX-Evil: 1", 12},          {"a\0b", 3},
                                    {"two words", 9}, {B_STORED, sizeof B_STORED - 1}, {A_STORED, sizeof A_STORED - 1}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    char *gcm = gcm__encrypt(keys->keys[0].gcm, iv, bad[i]), *fernet = fernet__encrypt(&keys->fernet[0], 1700000000, iv, bad[i]);
    refused(keys, span_of(gcm), ERR_FORMAT);
    refused(keys, span_of(fernet), ERR_FORMAT);
    free(gcm);
    free(fernet);
    char *out;
    struct why why;
    assert_int_equal(token_seal(keys, TOKEN_GCM, bad[i], &out, &why), ERR_FORMAT);
  }
  struct why why;
  char *out, *gcm = gcm__encrypt(keys->keys[0].gcm, iv, SPAN(B_STORED));
  assert_int_equal(token_open(keys, span_of(gcm), &out, &why), ERR_FORMAT);
  assert_non_null(strstr(why.text, "twice"));
  free(gcm);
  token_keys_free(keys);
}

static int no_secret_leaked(void **state) {
  (void)state;
  return (int)secret__usage().live;
}

int main(void) {
  crypto_start();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vectors),   cmocka_unit_test(gcm_in_base64),
      cmocka_unit_test(detection), cmocka_unit_test(seal_and_open),
      cmocka_unit_test(rotation),  cmocka_unit_test(wrong_or_no_key),
      cmocka_unit_test(corrupt),   cmocka_unit_test(blank_double_and_unprintable_contents),
  };
  return cmocka_run_group_tests(tests, NULL, no_secret_leaked);
}
