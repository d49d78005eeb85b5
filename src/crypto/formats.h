// The formats of stored tokens: what token.c's table is made of.
#ifndef WAHOOK_CRYPTO_FORMATS_H
#define WAHOOK_CRYPTO_FORMATS_H

#include "wahook/crypto.h"

#define TOKEN_STORED_MAX 16384 // longer than any token: refused before work is spent on it
#define TOKEN_HEX_MIN    64    // shorter hex is plain text (FACTS: the replaced service's rule)
#define SEALED_KEY_ID    8     // hex digits

struct fernet_key {
  uint8_t sign[16], aes[16];
};
struct symmetric_key {
  uint8_t gcm[32];
  uint8_t sealed[32]; // derived from it, so that one configured key never serves two algorithms
  char sealed_id[SEALED_KEY_ID + 1];
};
struct token_keys {
  uint32_t magic;
  bool allow_plain;
  size_t fernet_count, key_count;
  struct fernet_key *fernet;  // secret memory
  struct symmetric_key *keys; // secret memory
};

// A decrypted token: secret memory, NUL behind len bytes.
struct token_text {
  char *secret;
  size_t len;
};

bool token__all_hex(struct span s);
// Like "ab3…": hex or base64 of a stored token as bytes; *out is plain memory for the caller to free.
enum err token__decode(struct span stored, uint8_t **out, size_t *out_len) MUST_CHECK;

// Each: recognise (token_detect), open (authenticated first), seal with the first key.
bool fernet__recognise(struct span stored);
enum err fernet__open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) MUST_CHECK;
enum err fernet__seal(const struct token_keys *keys, struct span token, char **out, struct why *why) MUST_CHECK;
void fernet__derive(struct span secret, struct fernet_key *out);
// The whole of sealing but its time and randomness.
char *fernet__encrypt(const struct fernet_key *key, uint64_t time_s, const uint8_t iv[static 16], struct span token);

bool gcm__recognise(struct span stored);
enum err gcm__open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) MUST_CHECK;
enum err gcm__seal(const struct token_keys *keys, struct span token, char **out, struct why *why) MUST_CHECK;
// 64 hex digits are the key itself, all else a passphrase (PBKDF2-HMAC-SHA512, 100,000 rounds: some 50 ms).
void gcm__derive(struct span text, const char *salt, uint8_t out[static 32]);
char *gcm__encrypt(const uint8_t key[static 32], const uint8_t iv[static 16], struct span token);

bool sealed__recognise(struct span stored);
enum err sealed__open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) MUST_CHECK;
enum err sealed__seal(const struct token_keys *keys, struct span token, char **out, struct why *why) MUST_CHECK;
void sealed__derive(struct symmetric_key *key); // from key->gcm

#endif
