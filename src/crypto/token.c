// Stored tokens: one table of formats, recognised, opened and sealed. Runs in the dispatcher and wahookctl (workers have no keys).
#include <stdlib.h>
#include <string.h>

#include "formats.h"

#define KEYS_MAGIC 0x544b4559u

static bool plain_recognise(struct span stored) {
  (void)stored;
  return true;
}

static enum err plain_open(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why) {
  // A base64 AES-GCM token begins with EAA once in 260,000 times, as Meta's own do. Its tag tells for certain.
  uint8_t *raw;
  size_t len;
  if (keys->key_count && span_starts(stored, SPAN("EAA")) && token__decode(stored, &raw, &len) == ERR_OK) {
    free(raw);
    if (len > 32 && gcm__open(keys, stored, out, NULL) == ERR_OK) return ERR_OK;
  }
  if (!keys->allow_plain) {
    why_set(why, "the token is stored as plain text, which is not allowed: encrypt it (wahookctl business set-token), or set "
                 "crypto.allow_plain_tokens");
    return ERR_DENIED;
  }
  *out = (struct token_text){secret_dup(stored), stored.len};
  return ERR_OK;
}

static enum err plain_seal(const struct token_keys *keys, struct span token, char **out, struct why *why) {
  if (!keys->allow_plain) {
    why_set(why, "plain tokens are not allowed (crypto.allow_plain_tokens)");
    return ERR_DENIED;
  }
  *out = span_dup(token);
  return ERR_OK;
}

// In the order in which they are recognised.
static const struct format {
  enum token_format format;
  const char *name;
  bool (*recognise)(struct span stored);
  enum err (*open)(const struct token_keys *keys, struct span stored, struct token_text *out, struct why *why);
  enum err (*seal)(const struct token_keys *keys, struct span token, char **out, struct why *why);
} formats[] = {
    {TOKEN_SEALED, "sealed", sealed__recognise, sealed__open, sealed__seal},
    {TOKEN_FERNET_HEX, "fernet", fernet__recognise, fernet__open, fernet__seal},
    {TOKEN_GCM, "gcm", gcm__recognise, gcm__open, gcm__seal},
    {TOKEN_PLAIN, "plain", plain_recognise, plain_open, plain_seal},
};
_Static_assert(COUNT_OF(formats) == TOKEN_FORMAT_COUNT, "every format has its row");

static const struct format *row_of(enum token_format format) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    if (formats[i].format == format) return &formats[i];
  }
  die("no token format %d", (int)format);
}

static const struct format *recognise(struct span stored) {
  for (size_t i = 0;; i++) {
    if (formats[i].recognise(stored)) return &formats[i]; // the last row takes all
  }
}

const char *token_format_name(enum token_format format) {
  return row_of(format)->name;
}

enum err token_format_parse(struct span name, enum token_format *out) {
  for (size_t i = 0; i < COUNT_OF(formats); i++) {
    if (!span_eq(name, span_of(formats[i].name))) continue;
    *out = formats[i].format;
    return ERR_OK;
  }
  return ERR_NOT_FOUND;
}

bool token__all_hex(struct span s) {
  for (size_t i = 0; i < s.len; i++) {
    char c = s.ptr[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) return false;
  }
  return s.len > 0;
}

enum err token__decode(struct span stored, uint8_t **out, size_t *out_len) {
  uint8_t *raw = xmalloc(stored.len + 1);
  bool hex = token__all_hex(stored);
  size_t len = stored.len / 2;
  enum err e = hex ? hex_decode(stored, raw, len) : base64_decode(stored, raw, stored.len + 1, &len);
  if (e) {
    free(raw);
    return ERR_FORMAT;
  }
  *out = raw;
  *out_len = len;
  return ERR_OK;
}

static struct span trimmed(struct span s) {
  while (s.len && strchr(" \t\r\n", s.ptr[0]))
    s = span_from(s, 1);
  while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1]))
    s.len--;
  return s;
}

enum token_format token_detect(struct span stored) {
  return recognise(trimmed(stored))->format;
}

// What a token must be, whoever wrote it. It goes into an HTTP header, so control characters (also NUL) are refused.
static enum err check_token(struct span token, struct why *why) {
  if (trimmed(token).len == 0) {
    why_set(why, "the token is blank: store the business's access token");
    return ERR_FORMAT;
  }
  if ((token.len >= TOKEN_HEX_MIN && token__all_hex(token)) || sealed__recognise(token) || fernet__recognise(token)) {
    why_set(why, "the token was encrypted twice: what is inside is an encrypted token again; store the access token itself");
    return ERR_FORMAT;
  }
  for (size_t i = 0; i < token.len; i++) {
    if ((unsigned char)token.ptr[i] > ' ' && token.ptr[i] != 0x7f) continue;
    why_set(why, "the token has white space or control characters in it: store the access token itself");
    return ERR_FORMAT;
  }
  return ERR_OK;
}

enum err token_open(const struct token_keys *keys, struct span stored, char **out, struct why *why) {
  ALWAYS(keys->magic == KEYS_MAGIC);
  stored = trimmed(stored);
  if (stored.len == 0) {
    why_set(why, "there is no token: store the business's access token");
    return ERR_FORMAT;
  }
  if (stored.len > TOKEN_STORED_MAX) {
    why_set(why, "the stored token is longer than %d characters: it is no token", TOKEN_STORED_MAX);
    return ERR_FORMAT;
  }
  struct token_text text;
  enum err e = recognise(stored)->open(keys, stored, &text, why);
  if (e) return e;
  e = check_token((struct span){text.secret, text.len}, why);
  if (e) {
    secret_free(text.secret);
    return e;
  }
  *out = text.secret;
  return ERR_OK;
}

enum err token_seal(const struct token_keys *keys, enum token_format format, struct span token, char **out, struct why *why) {
  ALWAYS(keys->magic == KEYS_MAGIC);
  token = trimmed(token);
  enum err e = check_token(token, why);
  if (e) return e;
  if (token.len > TOKEN_STORED_MAX / 4) {
    why_set(why, "the token is longer than %d characters", TOKEN_STORED_MAX / 4);
    return ERR_TOO_LARGE;
  }
  return row_of(format)->seal(keys, token, out, why);
}

enum err token_keys_new(const struct token_key_options *options, struct token_keys **out, struct why *why) {
  for (size_t i = 0; i < options->fernet_count + options->key_count; i++) {
    bool fernet = i < options->fernet_count;
    const char *text = fernet ? options->fernet_secrets[i] : options->keys[i - options->fernet_count];
    if (text && *text) continue;
    why_set(why, "%s: a key is empty", fernet ? "crypto.encryption_secret" : "crypto.encryption_key");
    return ERR_CONFIG;
  }
  struct token_keys *keys = xcalloc(1, sizeof *keys);
  keys->magic = KEYS_MAGIC;
  keys->allow_plain = options->allow_plain;
  keys->fernet_count = options->fernet_count;
  keys->key_count = options->key_count;
  keys->fernet = secret_alloc((options->fernet_count + 1) * sizeof *keys->fernet);
  keys->keys = secret_alloc((options->key_count + 1) * sizeof *keys->keys);
  for (size_t i = 0; i < keys->fernet_count; i++)
    fernet__derive(span_of(options->fernet_secrets[i]), &keys->fernet[i]);
  for (size_t i = 0; i < keys->key_count; i++) {
    gcm__derive(span_of(options->keys[i]), options->salt ? options->salt : "salt", keys->keys[i].gcm);
    sealed__derive(&keys->keys[i]);
  }
  *out = keys;
  return ERR_OK;
}

void token_keys_free(struct token_keys *keys) {
  if (!keys) return;
  ALWAYS(keys->magic == KEYS_MAGIC);
  keys->magic = 0;
  secret_free(keys->fernet);
  secret_free(keys->keys);
  free(keys);
}
