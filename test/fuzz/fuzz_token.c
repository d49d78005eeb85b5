// Fuzz target: any bytes as a stored token. Opening must end in a clean token or an error, and never touch what it must not.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wahook/crypto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct token_keys *keys;

static void start(void) {
  static const char *const secrets[] = {"test-encryption-secret-0123456789", "another"};
  static const char *const symmetric[] = {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};
  struct token_key_options options = {
      .fernet_secrets = secrets, .fernet_count = 2, .keys = symmetric, .key_count = 1, .salt = "salt", .allow_plain = true};
  crypto_start();
  if (token_keys_new(&options, &keys, NULL)) die("no keys");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!keys) start();
  struct span stored = {(const char *)data, size};
  struct why why;
  char *token;
  ALWAYS(token_detect(stored) < TOKEN_FORMAT_COUNT);
  if (token_open(keys, stored, &token, &why) == ERR_OK) {
    ALWAYS(strlen(token) > 0);
    ALWAYS(strpbrk(token, " \t\r\n") == NULL);
    char *sealed;
    if (token_seal(keys, TOKEN_SEALED, span_of(token), &sealed, &why) == ERR_OK) {
      char *again;
      ALWAYS(token_open(keys, span_of(sealed), &again, &why) == ERR_OK);
      ALWAYS(strcmp(again, token) == 0);
      secret_free(again);
      free(sealed);
    }
    secret_free(token);
  }
  char *raw = xmalloc(size + 1);
  size_t raw_len;
  if (base64_decode(stored, raw, size, &raw_len) == ERR_OK) ALWAYS(raw_len <= size);
  free(raw);
  return 0;
}
