// AES-256-GCM tokens as the Node back end stores them: hex or base64 of IV 16 | TAG 16 | ciphertext. Runs in the dispatcher and wahookctl.
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "formats.h"

#define IV_BYTES      16
#define TAG_BYTES     16
#define RAW_MIN       (IV_BYTES + TAG_BYTES + 1)
#define PBKDF2_ROUNDS 100000

static const char associated[] = "facebook-token";

// Base64 is also what a plain token's letters could be. Meta's own tokens begin with EAA, and 33 random bytes have both upper and lower
// case but once in 10^10.
bool gcm__recognise(struct span stored) {
  if (token__all_hex(stored)) return stored.len >= TOKEN_HEX_MIN;
  if (stored.len < (RAW_MIN * 4 + 2) / 3 || span_starts(stored, SPAN("EAA"))) return false;
  bool upper = false, lower = false;
  for (size_t i = 0; i < stored.len; i++) {
    upper |= stored.ptr[i] >= 'A' && stored.ptr[i] <= 'Z';
    lower |= stored.ptr[i] >= 'a' && stored.ptr[i] <= 'z';
  }
  uint8_t *raw;
  size_t len;
  if (!upper || !lower || token__decode(stored, &raw, &len)) return false;
  free(raw);
  return true;
}

void gcm__derive(struct span text, const char *salt, uint8_t out[static 32]) {
  if (text.len == 64 && hex_decode(text, out, 32) == ERR_OK) return;
  const char *bytes = text.len ? text.ptr : "";
  if (PKCS5_PBKDF2_HMAC(bytes, (int)text.len, (const unsigned char *)salt, (int)strlen(salt), PBKDF2_ROUNDS, EVP_sha512(), 32, out) != 1) {
    die("OpenSSL: PBKDF2 fails");
  }
}

// ERR_KEY when the tag does not fit: GCM cannot tell a wrong key from an altered token.
static enum err decrypt(const uint8_t key[static 32], const uint8_t *raw, size_t len, struct token_text *out) {
  size_t text_len = len - IV_BYTES - TAG_BYTES;
  unsigned char *plain = secret_alloc(text_len + 1);
  uint8_t tag[TAG_BYTES];
  memcpy(tag, raw + IV_BYTES, TAG_BYTES);
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int n = 0, last = 0;
  if (!ctx || EVP_DecryptInit_ex2(ctx, crypto__engine()->aes_256_gcm, NULL, NULL, NULL) != 1 ||
      EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, IV_BYTES, NULL) != 1 || EVP_DecryptInit_ex2(ctx, NULL, key, raw, NULL) != 1) {
    die("OpenSSL: AES-256-GCM does not start");
  }
  bool good = EVP_DecryptUpdate(ctx, NULL, &n, (const unsigned char *)associated, sizeof associated - 1) == 1 &&
              EVP_DecryptUpdate(ctx, plain, &n, raw + IV_BYTES + TAG_BYTES, (int)text_len) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 && EVP_DecryptFinal_ex(ctx, plain + n, &last) == 1;
  EVP_CIPHER_CTX_free(ctx);
  if (!good) {
    secret_free(plain);
    return ERR_KEY;
  }
  *out = (struct token_text){(char *)plain, text_len};
  return ERR_OK;
}

enum err gcm__open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) {
  if (keys->key_count == 0) {
    why_set(why, "the token is an AES-256-GCM token and no key for these is configured: set crypto.encryption_key (ENCRYPTION_KEY)");
    return ERR_KEY;
  }
  uint8_t *raw;
  size_t len;
  enum err e = token__decode(stored, &raw, &len);
  if (e == ERR_OK && len < RAW_MIN) {
    free(raw);
    e = ERR_FORMAT;
  }
  if (e) {
    why_set(why, "the stored AES-256-GCM token is corrupt (cut off or altered): store it again");
    return ERR_FORMAT;
  }
  e = ERR_KEY;
  for (size_t i = 0; i < keys->key_count && e == ERR_KEY; i++)
    e = decrypt(keys->keys[i].gcm, raw, len, out);
  free(raw);
  if (e) {
    why_set(why,
            "none of the %zu configured encryption keys fits the stored AES-256-GCM token, or it was altered: add the key that it was "
            "written with to crypto.encryption_key, or store the token again",
            keys->key_count);
  }
  return e;
}

char *gcm__encrypt(const uint8_t key[static 32], const uint8_t iv[static 16], struct span token) {
  size_t len = IV_BYTES + TAG_BYTES + token.len;
  uint8_t *raw = xmalloc(len);
  memcpy(raw, iv, IV_BYTES);
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int n = 0, last = 0;
  bool good = ctx && EVP_EncryptInit_ex2(ctx, crypto__engine()->aes_256_gcm, NULL, NULL, NULL) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, IV_BYTES, NULL) == 1 &&
              EVP_EncryptInit_ex2(ctx, NULL, key, iv, NULL) == 1 &&
              EVP_EncryptUpdate(ctx, NULL, &n, (const unsigned char *)associated, sizeof associated - 1) == 1 &&
              EVP_EncryptUpdate(ctx, raw + IV_BYTES + TAG_BYTES, &n, (const unsigned char *)token.ptr, (int)token.len) == 1 &&
              EVP_EncryptFinal_ex(ctx, raw + IV_BYTES + TAG_BYTES + n, &last) == 1 &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, raw + IV_BYTES) == 1;
  EVP_CIPHER_CTX_free(ctx);
  if (!good) die("OpenSSL: AES-256-GCM fails");
  char *out = xmalloc(len * 2 + 1);
  hex_encode(raw, len, out);
  free(raw);
  return out;
}

enum err gcm__seal(const struct token_keys *keys, struct span token, char **out, struct why *why) {
  if (keys->key_count == 0) {
    why_set(why, "no key for AES-256-GCM tokens is configured: set crypto.encryption_key (ENCRYPTION_KEY)");
    return ERR_KEY;
  }
  uint8_t iv[IV_BYTES];
  random_bytes(iv, sizeof iv);
  *out = gcm__encrypt(keys->keys[0].gcm, iv, token);
  return ERR_OK;
}
