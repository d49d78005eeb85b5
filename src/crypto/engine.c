// Starts libsodium and fetches OpenSSL's algorithms once: a fetch takes longer than the HMAC it is for. Runs in every process.
#include "engine.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <sodium.h>

#include "wahook/crypto.h"

// OpenSSL keeps HMAC keys in its secure heap when there is one. 64 KiB hold some hundred secrets.
#define OPENSSL_SECURE_HEAP_BYTES 65536
#define OPENSSL_SECURE_HEAP_MIN   32

// Process-wide, written once under pthread_once and read-only from then on.
static struct crypto_engine engine;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void start(void) {
  if (sodium_init() < 0) die("libsodium does not start");
  // Returns 2 when it could not lock the heap (RLIMIT_MEMLOCK): it works all the same. 0: keys live in ordinary memory.
  (void)CRYPTO_secure_malloc_init(OPENSSL_SECURE_HEAP_BYTES, OPENSSL_SECURE_HEAP_MIN);
  engine.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  engine.aes_128_cbc = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
  engine.aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
  if (!engine.hmac || !engine.aes_128_cbc || !engine.aes_256_gcm) die("OpenSSL lacks HMAC, AES-128-CBC or AES-256-GCM");
}

void crypto_start(void) {
  int failed = pthread_once(&engine_once, start);
  ALWAYS(failed == 0);
}

const struct crypto_engine *crypto__engine(void) {
  ALWAYS(engine.hmac != NULL);
  return &engine;
}
