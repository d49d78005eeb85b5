// Fernet tokens as the replaced service stores them: hex of the base64url text. Runs in the dispatcher and wahookctl.
//
//   K = SHA-256(ENCRYPTION_SECRET); signing key K[0..15], AES-128 key K[16..31]
//   raw = 0x80 | u64be time | IV 16 | AES-128-CBC, PKCS#7 | HMAC-SHA256 over all before
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "formats.h"

#define HEAD_BYTES 25 // version, time, IV
#define MAC_BYTES  32
#define BLOCK      16
#define RAW_MIN    (HEAD_BYTES + BLOCK + MAC_BYTES)

#define HEX_PREFIX "674141414141" // hex of "gAAAAA": version 0x80 and a time before the year 2106

bool fernet__recognise(struct span stored) {
  if (stored.len >= TOKEN_HEX_MIN && span_starts(stored, SPAN(HEX_PREFIX)) && token__all_hex(stored)) return true;
  return stored.len >= RAW_MIN / 3 * 4 && span_starts(stored, SPAN("gAAAAA")); // not wrapped in hex
}

void fernet__derive(struct span secret, struct fernet_key *out) {
  uint8_t digest[32];
  sha256(secret, digest);
  memcpy(out->sign, digest, 16);
  memcpy(out->aes, digest + 16, 16);
  secret_wipe(digest, sizeof digest);
}

// The raw token of the stored text; plain memory.
static enum err unwrap(struct span stored, uint8_t **out, size_t *out_len) {
  uint8_t *text = NULL;
  struct span base64 = stored;
  if (token__all_hex(stored)) {
    if (stored.len % 2) return ERR_FORMAT;
    text = xmalloc(stored.len / 2);
    enum err e = hex_decode(stored, text, stored.len / 2);
    ALWAYS(e == ERR_OK);
    base64 = (struct span){(const char *)text, stored.len / 2};
  }
  uint8_t *raw = xmalloc(base64.len + 1);
  size_t len;
  enum err e = base64_decode(base64, raw, base64.len + 1, &len);
  free(text);
  if (e || len < RAW_MIN || raw[0] != 0x80 || (len - HEAD_BYTES - MAC_BYTES) % BLOCK != 0) {
    free(raw);
    return ERR_FORMAT;
  }
  *out = raw;
  *out_len = len;
  return ERR_OK;
}

static void sign(const struct fernet_key *key, struct span bytes, uint8_t out[static MAC_BYTES]) {
  struct hmac *h = hmac_new((struct span){(const char *)key->sign, sizeof key->sign});
  hmac_sha256(h, bytes, out);
  hmac_free(h);
}

// After the HMAC has been verified: a failure here means that the writer was broken.
static enum err decrypt(const struct fernet_key *key, const uint8_t *raw, size_t len, struct token_text *out) {
  size_t cipher_len = len - HEAD_BYTES - MAC_BYTES;
  unsigned char *plain = secret_alloc(cipher_len + BLOCK);
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int first = 0, last = 0;
  bool good = ctx && EVP_DecryptInit_ex2(ctx, crypto__engine()->aes_128_cbc, key->aes, raw + 9, NULL) == 1 &&
              EVP_DecryptUpdate(ctx, plain, &first, raw + HEAD_BYTES, (int)cipher_len) == 1 &&
              EVP_DecryptFinal_ex(ctx, plain + first, &last) == 1;
  EVP_CIPHER_CTX_free(ctx);
  if (!good) {
    secret_free(plain);
    return ERR_FORMAT;
  }
  size_t plain_len = (size_t)first + (size_t)last;
  secret_wipe(plain + plain_len, cipher_len + BLOCK - plain_len);
  *out = (struct token_text){(char *)plain, plain_len};
  return ERR_OK;
}

enum err fernet__open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) {
  if (keys->fernet_count == 0) {
    why_set(why, "the token is a Fernet token and no secret for these is configured: set crypto.encryption_secret (ENCRYPTION_SECRET)");
    return ERR_KEY;
  }
  uint8_t *raw;
  size_t len;
  enum err e = unwrap(stored, &raw, &len);
  if (e) {
    why_set(why, "the stored Fernet token is corrupt (cut off or altered): store it again");
    return e;
  }
  e = ERR_KEY;
  for (size_t i = 0; i < keys->fernet_count && e == ERR_KEY; i++) {
    uint8_t mac[MAC_BYTES];
    sign(&keys->fernet[i], (struct span){(const char *)raw, len - MAC_BYTES}, mac);
    struct span want = {(const char *)mac, MAC_BYTES}, have = {(const char *)raw + len - MAC_BYTES, MAC_BYTES};
    if (secret_equal(want, have)) e = decrypt(&keys->fernet[i], raw, len, out);
  }
  free(raw);
  if (e == ERR_KEY) {
    why_set(why,
            "none of the %zu configured encryption secrets fits the stored Fernet token, or it was altered: add the secret that it was "
            "written with to crypto.encryption_secret, or store the token again",
            keys->fernet_count);
  } else if (e) {
    why_set(why, "the stored Fernet token is signed rightly but not padded rightly: store it again");
  }
  return e;
}

char *fernet__encrypt(const struct fernet_key *key, uint64_t time_s, const uint8_t iv[static 16], struct span token) {
  size_t raw_max = HEAD_BYTES + token.len + BLOCK + MAC_BYTES;
  uint8_t *raw = xmalloc(raw_max);
  raw[0] = 0x80;
  for (int i = 0; i < 8; i++)
    raw[1 + i] = (uint8_t)(time_s >> (56 - 8 * i));
  memcpy(raw + 9, iv, 16);
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int first = 0, last = 0;
  bool good = ctx && EVP_EncryptInit_ex2(ctx, crypto__engine()->aes_128_cbc, key->aes, iv, NULL) == 1 &&
              EVP_EncryptUpdate(ctx, raw + HEAD_BYTES, &first, (const unsigned char *)token.ptr, (int)token.len) == 1 &&
              EVP_EncryptFinal_ex(ctx, raw + HEAD_BYTES + first, &last) == 1;
  EVP_CIPHER_CTX_free(ctx);
  if (!good) die("OpenSSL: AES-128-CBC fails");
  size_t signed_len = HEAD_BYTES + (size_t)first + (size_t)last;
  sign(key, (struct span){(const char *)raw, signed_len}, raw + signed_len);
  size_t text_size = (signed_len + MAC_BYTES) / 3 * 4 + 5;
  char *text = xmalloc(text_size);
  size_t text_len = base64_encode((struct span){(const char *)raw, signed_len + MAC_BYTES}, true, true, text, text_size);
  char *out = xmalloc(text_len * 2 + 1);
  hex_encode(text, text_len, out);
  free(text);
  free(raw);
  return out;
}

enum err fernet__seal(const struct token_keys *keys, struct span token, char **out, struct why *why) {
  if (keys->fernet_count == 0) {
    why_set(why, "no secret for Fernet tokens is configured: set crypto.encryption_secret (ENCRYPTION_SECRET)");
    return ERR_KEY;
  }
  uint8_t iv[16];
  random_bytes(iv, sizeof iv);
  *out = fernet__encrypt(&keys->fernet[0], (uint64_t)(clock_wall_us() / 1000000), iv, token);
  return ERR_OK;
}
