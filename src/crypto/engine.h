// The algorithms of OpenSSL that this folder uses, fetched once per process by crypto_start().
#ifndef WAHOOK_CRYPTO_ENGINE_H
#define WAHOOK_CRYPTO_ENGINE_H

#include <openssl/evp.h>

struct crypto_engine {
  EVP_CIPHER *aes_128_cbc, *aes_256_gcm;
};
// Dies when crypto_start() has not run.
const struct crypto_engine *crypto__engine(void);

#endif
