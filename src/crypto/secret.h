// What tests of this folder ask the pool of secret memory: a leak checker does not see inside it.
#ifndef WAHOOK_CRYPTO_SECRET_H
#define WAHOOK_CRYPTO_SECRET_H

#include <stddef.h>

struct secret_usage {
  size_t live;   // secrets not yet freed
  size_t chunks; // locked chunks of 32 KiB
};
struct secret_usage secret__usage(void);

#endif
