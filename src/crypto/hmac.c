// HMAC-SHA256 (RFC 2104) whose key is hashed once, and plain SHA-256. Runs in workers (signatures) and the dispatcher.
//
// OpenSSL's EVP_MAC allocates twice for each message, and EVP_MD each time that a context is copied. Its SHA-256 proper does not, and is as
// fast: a state that has taken in the key's block is a plain struct that is copied.
#define OPENSSL_SUPPRESS_DEPRECATED // SHA256_Init() and its kind

#include <openssl/sha.h>
#include <string.h>

#include "wahook/crypto.h"

#define HMAC_MAGIC  0x484d4143u
#define BLOCK_BYTES SHA256_CBLOCK

// In secret memory: who has the states can sign.
struct hmac {
  uint32_t magic;
  SHA256_CTX inner, outer; // after the key's block
};

static void start(SHA256_CTX *state, const uint8_t key[static BLOCK_BYTES], uint8_t pad) {
  uint8_t block[BLOCK_BYTES];
  for (size_t i = 0; i < sizeof block; i++)
    block[i] = key[i] ^ pad;
  bool good = SHA256_Init(state) == 1 && SHA256_Update(state, block, sizeof block) == 1;
  if (!good) die("OpenSSL: SHA-256 does not start");
  secret_wipe(block, sizeof block);
}

struct hmac *hmac_new(struct span key) {
  struct hmac *h = secret_alloc(sizeof *h);
  h->magic = HMAC_MAGIC;
  hmac_rekey(h, key);
  return h;
}

void hmac_rekey(struct hmac *h, struct span key) {
  ALWAYS(h->magic == HMAC_MAGIC);
  uint8_t block[BLOCK_BYTES] = {0};
  if (key.len > sizeof block)
    sha256(key, block);
  else if (key.len)
    memcpy(block, key.ptr, key.len);
  start(&h->inner, block, 0x36);
  start(&h->outer, block, 0x5c);
  secret_wipe(block, sizeof block);
}

void hmac_free(struct hmac *h) {
  if (!h) return;
  ALWAYS(h->magic == HMAC_MAGIC);
  secret_free(h);
}

void hmac_sha256(struct hmac *h, struct span message, uint8_t out[static 32]) {
  ALWAYS(h->magic == HMAC_MAGIC);
  SHA256_CTX state = h->inner;
  bool good = (message.len == 0 || SHA256_Update(&state, message.ptr, message.len) == 1) && SHA256_Final(out, &state) == 1;
  if (good) {
    state = h->outer;
    good = SHA256_Update(&state, out, 32) == 1 && SHA256_Final(out, &state) == 1;
  }
  secret_wipe(&state, sizeof state);
  if (!good) die("OpenSSL: HMAC-SHA256 fails");
}

void sha256(struct span message, uint8_t out[static 32]) {
  SHA256_CTX state; // not SHA256(), which looks the algorithm up each time, and that takes longer than hashing a token
  bool good = SHA256_Init(&state) == 1 && (message.len == 0 || SHA256_Update(&state, message.ptr, message.len) == 1) &&
              SHA256_Final(out, &state) == 1;
  secret_wipe(&state, sizeof state);
  if (!good) die("OpenSSL: SHA-256 fails");
}
