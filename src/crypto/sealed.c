// Our own token format, which names its key: sealed:v1:<key id>:<base64url of nonce 24 | box>. Runs in the dispatcher and wahookctl.
//
// XChaCha20-Poly1305 of libsodium with the text before the box as associated data: a key id or version that was swapped is a forgery.
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "formats.h"

#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES   crypto_aead_xchacha20poly1305_ietf_ABYTES
#define PREFIX      "sealed:v1:"
#define HEAD_LEN    (sizeof PREFIX - 1 + SEALED_KEY_ID + 1) // to and with the colon after the key id

_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == 32, "a sealed key has 32 bytes");
_Static_assert(crypto_kdf_KEYBYTES == 32, "a sealed key is derived from 32 bytes");

bool sealed__recognise(struct span stored) {
  return span_starts(stored, SPAN("sealed:"));
}

void sealed__derive(struct symmetric_key *key) {
  if (crypto_kdf_derive_from_key(key->sealed, sizeof key->sealed, 1, "whsealed", key->gcm) != 0) die("libsodium: key derivation fails");
  uint8_t digest[32];
  sha256((struct span){(const char *)key->sealed, sizeof key->sealed}, digest);
  hex_encode(digest, SEALED_KEY_ID / 2, key->sealed_id);
}

static enum err unwrap(struct span stored, uint8_t **out, size_t *out_len) {
  if (stored.len <= HEAD_LEN || stored.ptr[HEAD_LEN - 1] != ':') return ERR_FORMAT;
  struct span text = span_from(stored, HEAD_LEN);
  uint8_t *raw = xmalloc(text.len);
  enum err e = base64_decode(text, raw, text.len, out_len);
  if (e || *out_len <= NONCE_BYTES + TAG_BYTES) {
    free(raw);
    return ERR_FORMAT;
  }
  *out = raw;
  return ERR_OK;
}

enum err sealed__open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) {
  if (!span_starts(stored, SPAN(PREFIX))) {
    why_set(why, "the stored token is of a sealed version that this wahookd does not know: a newer one wrote it");
    return ERR_FORMAT;
  }
  uint8_t *raw;
  size_t len;
  enum err e = unwrap(stored, &raw, &len);
  if (e) {
    why_set(why, "the stored sealed token is corrupt (cut off or altered): store it again");
    return e;
  }
  struct span id = {stored.ptr + sizeof PREFIX - 1, SEALED_KEY_ID};
  bool known = false;
  unsigned char *plain = secret_alloc(len - NONCE_BYTES - TAG_BYTES + 1);
  unsigned long long plain_len = 0;
  e = ERR_KEY;
  for (size_t i = 0; i < keys->key_count && e; i++) {
    if (!span_eq(id, span_of(keys->keys[i].sealed_id))) continue;
    known = true;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(plain, &plain_len, NULL, raw + NONCE_BYTES, len - NONCE_BYTES,
                                                   (const unsigned char *)stored.ptr, HEAD_LEN, raw, keys->keys[i].sealed) == 0) {
      e = ERR_OK;
    }
  }
  free(raw);
  if (e) {
    secret_free(plain);
    if (!known) {
      why_set(why, "the token was sealed with a key that is not configured: add it to crypto.encryption_key, or store the token again");
      return ERR_KEY;
    }
    why_set(why, "the stored sealed token was altered: store it again");
    return ERR_FORMAT;
  }
  *out = (struct token_text){(char *)plain, (size_t)plain_len};
  return ERR_OK;
}

enum err sealed__seal(const struct token_keys *keys, struct span token, char **out, struct why *why) {
  if (keys->key_count == 0) {
    why_set(why, "no key for sealed tokens is configured: set crypto.encryption_key (ENCRYPTION_KEY)");
    return ERR_KEY;
  }
  size_t len = NONCE_BYTES + token.len + TAG_BYTES;
  size_t text_size = HEAD_LEN + (len + 2) / 3 * 4 + 1;
  char *text = xmalloc(text_size);
  memcpy(text, PREFIX, sizeof PREFIX - 1);
  memcpy(text + sizeof PREFIX - 1, keys->keys[0].sealed_id, SEALED_KEY_ID);
  text[HEAD_LEN - 1] = ':';
  uint8_t *raw = xmalloc(len);
  random_bytes(raw, NONCE_BYTES);
  crypto_aead_xchacha20poly1305_ietf_encrypt(raw + NONCE_BYTES, NULL, (const unsigned char *)token.ptr, token.len,
                                             (const unsigned char *)text, HEAD_LEN, NULL, raw, keys->keys[0].sealed);
  base64_encode((struct span){(const char *)raw, len}, true, false, text + HEAD_LEN, text_size - HEAD_LEN);
  free(raw);
  *out = text;
  return ERR_OK;
}
