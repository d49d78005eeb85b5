// Starts libsodium and fetches OpenSSL's algorithms once: a fetch takes longer than the token it is for. Runs in every process.
#include "engine.h"

#include <pthread.h>
#include <sodium.h>

#include "wahook/crypto.h"

// Process-wide, written once under pthread_once and read-only from then on.
static struct crypto_engine engine;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void start(void) {
  if (sodium_init() < 0) die("libsodium does not start");
  engine.aes_128_cbc = EVP_CIPHER_fetch(NULL, "AES-128-CBC", NULL);
  engine.aes_256_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
  if (!engine.aes_128_cbc || !engine.aes_256_gcm) die("OpenSSL lacks AES-128-CBC or AES-256-GCM");
}

void crypto_start(void) {
  int failed = pthread_once(&engine_once, start);
  ALWAYS(failed == 0);
}

const struct crypto_engine *crypto__engine(void) {
  ALWAYS(engine.aes_128_cbc != NULL);
  return &engine;
}
