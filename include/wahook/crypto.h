// Cryptography: webhook signatures, the token formats found in the wild, our own sealed format, locked memory for secrets.
#ifndef WAHOOK_CRYPTO_H
#define WAHOOK_CRYPTO_H

#include "wahook/base.h"

// Once per process, before anything else of this folder. Dies when the libraries cannot work.
void crypto_start(void);

// ---- memory for secrets: locked, not dumped, guarded, wiped when freed
char *secret_dup(struct span text); // NUL-terminated
void *secret_alloc(size_t size);
void secret_free(void *secret);                  // NULL is fine
void secret_wipe(void *memory, size_t size);     // for memory of others
bool secret_equal(struct span a, struct span b); // constant time in the contents, not in the lengths

// ---- HMAC-SHA256: one keyed context per secret, re-initialised per message. Not thread-safe: one per thread.
struct hmac;
struct hmac *hmac_new(struct span key);
void hmac_free(struct hmac *hmac);
void hmac_rekey(struct hmac *hmac, struct span key); // secret memory costs several system calls; a key, two blocks of SHA-256
void hmac_sha256(struct hmac *hmac, struct span message, uint8_t out[static 32]);
void sha256(struct span message, uint8_t out[static 32]);
size_t base64_encode(struct span in, bool url, bool pad, char *out, size_t out_size);           // bytes written without the NUL
enum err base64_decode(struct span in, void *out, size_t out_size, size_t *out_len) MUST_CHECK; // both alphabets, padding optional

// ---- tokens
enum token_format { TOKEN_PLAIN, TOKEN_FERNET_HEX, TOKEN_GCM, TOKEN_SEALED, TOKEN_FORMAT_COUNT };
const char *token_format_name(enum token_format format); // "plain", "fernet", "gcm", "sealed"
enum err token_format_parse(struct span name, enum token_format *out) MUST_CHECK;

// Keys of all formats, several each for rotation; the first of each writes.
struct token_keys;
struct token_key_options {
  const char *const *fernet_secrets; // ENCRYPTION_SECRET...
  size_t fernet_count;
  const char *const *keys; // ENCRYPTION_KEY...: 64 hex digits, or a passphrase for PBKDF2 with the salt
  size_t key_count;
  const char *salt;
  bool allow_plain;
};
enum err token_keys_new(const struct token_key_options *options, struct token_keys **out, struct why *why) MUST_CHECK;
void token_keys_free(struct token_keys *keys);

// The format of a stored token, by one table of recognisers.
enum token_format token_detect(struct span stored);
// Decrypts a stored token of any format. *out is secret memory (secret_free). ERR_KEY: no key fits; ERR_FORMAT: corrupt, blank, or
// encrypted twice; ERR_DENIED: plain and not allowed. *why names the reason and what to do, never the token.
enum err token_open(const struct token_keys *keys, struct span stored, char **out, struct why *why) MUST_CHECK;
// Encrypts with the first key of that format; *out is plain memory (free).
enum err token_seal(const struct token_keys *keys, enum token_format format, struct span token, char **out, struct why *why) MUST_CHECK;

// LRU of decrypted tokens by stored text (its SHA-256, never the text), in locked memory, wiped on eviction.
struct token_cache;
struct token_cache *token_cache_new(size_t capacity);
void token_cache_free(struct token_cache *cache);
// The decrypted token, valid until the next call on this cache; NULL with *error and *why. *hit (may be NULL) tells whether it was cached.
const char *token_cache_open(struct token_cache *cache, const struct token_keys *keys, struct span stored, bool *hit, enum err *error,
                             struct why *why);
void token_cache_forget(struct token_cache *cache, struct span stored);

#endif
