// Keyed and stable hashing, random bytes. Runs in every process.
#include "wahook/base.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == 8, "SipHash-2-4");
_Static_assert(crypto_shorthash_siphashx24_BYTES == 16, "SipHash-2-4-128");

// The process's key. Made before main(), so that every thread sees the same one; a forked child that does not exec keeps it, which
// is what tables inherited over the fork need.
static unsigned char process_key[crypto_shorthash_KEYBYTES];

__attribute__((constructor)) static void make_key(void) {
  random_bytes(process_key, sizeof process_key);
}

uint64_t hash_keyed(const void *data, size_t len) {
  unsigned char out[crypto_shorthash_BYTES];
  crypto_shorthash(out, len ? data : (const void *)"", len, process_key);
  uint64_t value;
  memcpy(&value, out, sizeof value);
  return value;
}

void hash_stable128(const void *data, size_t len, uint8_t out[static 16]) {
  // Never change these bytes: ids of seen events on disk were hashed under them.
  static const unsigned char stable_key[crypto_shorthash_siphashx24_KEYBYTES] = "wahookd seen ids";
  crypto_shorthash_siphashx24(out, len ? data : (const void *)"", len, stable_key);
}

void random_bytes(void *out, size_t len) {
  unsigned char *p = out;
  while (len) {
    ssize_t n = getrandom(p, len, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) die("getrandom: %s", strerror(errno));
    p += n;
    len -= (size_t)n;
  }
}

uint64_t random_u64(void) {
  uint64_t value;
  random_bytes(&value, sizeof value);
  return value;
}
