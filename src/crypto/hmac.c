// HMAC-SHA256 with a context that stays keyed, and plain SHA-256. Runs in workers (signatures) and the dispatcher.
#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include "engine.h"
#include "wahook/crypto.h"

#define HMAC_MAGIC 0x484d4143u

struct hmac {
  uint32_t magic;
  EVP_MAC_CTX *ctx;
};

struct hmac *hmac_new(struct span key) {
  struct hmac *h = xmalloc(sizeof *h);
  h->magic = HMAC_MAGIC;
  h->ctx = EVP_MAC_CTX_new(crypto__engine()->hmac);
  char digest[] = "SHA256";
  OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  // A key of no bytes must not look like "no key", which would mean "the one from before".
  const char *bytes = key.len ? key.ptr : "";
  if (!h->ctx || EVP_MAC_init(h->ctx, (const unsigned char *)bytes, key.len, params) != 1) die("OpenSSL: HMAC-SHA256 does not start");
  return h;
}

void hmac_free(struct hmac *h) {
  if (!h) return;
  ALWAYS(h->magic == HMAC_MAGIC);
  h->magic = 0;
  EVP_MAC_CTX_free(h->ctx);
  free(h);
}

void hmac_sha256(struct hmac *h, struct span message, uint8_t out[static 32]) {
  ALWAYS(h->magic == HMAC_MAGIC);
  size_t len = 0;
  // A NULL key keeps the one of hmac_new(), with its inner and outer block already hashed: half the cost of HMAC() for a webhook.
  bool good = EVP_MAC_init(h->ctx, NULL, 0, NULL) == 1 &&
              (message.len == 0 || EVP_MAC_update(h->ctx, (const unsigned char *)message.ptr, message.len) == 1) &&
              EVP_MAC_final(h->ctx, out, &len, 32) == 1;
  if (!good || len != 32) die("OpenSSL: HMAC-SHA256 fails");
}

void sha256(struct span message, uint8_t out[static 32]) {
  const char *bytes = message.len ? message.ptr : "";
  if (!SHA256((const unsigned char *)bytes, message.len, out)) die("OpenSSL: SHA-256 fails");
}
