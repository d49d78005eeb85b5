// wahookctl token: seals, opens and names stored tokens. A token is read from stdin, a file or a variable, never from the command line,
// where every user would see it. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "wahook/crypto.h"
#include "wahook/log.h"

#define TOKEN_MAX ((size_t)65536)

// ---------------------------------------------------------------- reading

static bool set_echo(bool on) {
  struct termios t;
  if (tcgetattr(STDIN_FILENO, &t)) return false;
  t.c_lflag = on ? t.c_lflag | ECHO : t.c_lflag & ~(tcflag_t)ECHO;
  return tcsetattr(STDIN_FILENO, TCSAFLUSH, &t) == 0;
}

static enum err read_stdin(struct buf *out, struct why *why) {
  bool hidden = isatty(STDIN_FILENO) && set_echo(false);
  if (hidden) fputs("Token: ", stderr);
  enum err e = ERR_OK;
  for (ssize_t n = 1; n > 0 && !e;) {
    n = read(STDIN_FILENO, buf_reserve(out, 4096), 4096);
    if (n < 0) e = ERR_IO;
    if (n > 0) out->len += (size_t)n;
    if (out->len > TOKEN_MAX) e = ERR_TOO_LARGE;
    if (hidden && n > 0 && out->data[out->len - 1] == '\n') break;
  }
  if (hidden) {
    set_echo(true);
    fputc('\n', stderr);
  }
  if (e) why_set(why, "stdin: %s", err_text(e));
  return e;
}

static enum err read_from(const char *from, struct buf *out, struct why *why) {
  if (!from || strcmp(from, "-") == 0) return read_stdin(out, why);
  if (span_starts(span_of(from), SPAN("env:"))) {
    const char *value = getenv(from + 4);
    buf_add_text(out, value ? value : "");
    if (!value) why_set(why, "the environment variable %s is not set", from + 4);
    return value ? ERR_OK : ERR_NOT_FOUND;
  }
  if (!span_starts(span_of(from), SPAN("file:"))) {
    why_set(why, "a token is not given on the command line, where others can see it (write -, file:PATH or env:NAME)");
    return ERR_DENIED;
  }
  enum err e = buf_read_file(out, from + 5, TOKEN_MAX);
  if (e) why_set(why, "%s: %s", from + 5, err_text(e));
  return e;
}

enum err token_read(const char *from, char **out, struct why *why) {
  struct buf text = {NULL, 0, 0};
  enum err e = read_from(from, &text, why);
  struct span token = e ? (struct span){NULL, 0} : span_trim(buf_span(&text));
  while (token.len && strchr("\r\n \t", token.ptr[token.len - 1]))
    token.len--;
  if (!e && (!token.len || memchr(token.ptr, '\0', token.len) || memchr(token.ptr, '\n', token.len))) {
    why_set(why, token.len ? "that is more than one line, so it is no token" : "the token is empty");
    e = ERR_FORMAT;
  }
  if (!e) *out = span_dup(token);
  if (text.data) explicit_bzero(text.data, text.cap);
  buf_free(&text);
  return e;
}

void token_forget(char *token) {
  if (token) explicit_bzero(token, strlen(token));
  free(token);
}

// ---------------------------------------------------------------- keys

#define KEYS_MAX 16

static enum err keys_of(const struct config *c, size_t max, bool allow_plain, struct token_keys **out, struct why *why) {
  const char *fernet[KEYS_MAX], *keys[KEYS_MAX];
  struct token_key_options options = {.fernet_secrets = fernet,
                                      .keys = keys,
                                      .salt = c->crypto_encryption_key_salt,
                                      .allow_plain = allow_plain};
  for (size_t i = 0; i < c->crypto_encryption_secret.count && i < max; i++)
    fernet[options.fernet_count++] = c->crypto_encryption_secret.items[i];
  for (size_t i = 0; i < c->crypto_encryption_key.count && i < max; i++)
    keys[options.key_count++] = c->crypto_encryption_key.items[i];
  return token_keys_new(&options, out, why);
}

enum err token_keys_for(const struct ctl *ctl, struct token_keys **out, struct why *why) {
  return keys_of(ctl->config, KEYS_MAX, ctl->config->crypto_allow_plain_tokens, out, why);
}

enum err token_keys_opening(const struct ctl *ctl, struct token_keys **out, struct why *why) {
  return keys_of(ctl->config, KEYS_MAX, false, out, why);
}

enum err token_keys_writing(const struct ctl *ctl, struct token_keys **out, struct why *why) {
  return keys_of(ctl->config, 1, false, out, why);
}

#define NO_KEY "no key is set to encrypt the token with (set crypto.encryption_key)"

// The format that this deployment writes: the best one that it has a key for.
static enum err default_format(const struct config *config, enum token_format *out, struct why *why) {
  if (config->crypto_encryption_key.count)
    *out = TOKEN_SEALED;
  else if (config->crypto_encryption_secret.count)
    *out = TOKEN_FERNET_HEX;
  else if (config->crypto_allow_plain_tokens)
    *out = TOKEN_PLAIN;
  else {
    why_set(why, NO_KEY);
    return ERR_KEY;
  }
  return ERR_OK;
}

enum err token_for_store(const struct ctl *ctl, const char *token, char **out, struct why *why) {
  struct token_keys *keys;
  char *opened = NULL;
  enum err e = token_keys_for(ctl, &keys, why);
  if (e) return e;
  enum token_format format;
  if (token_detect(span_of(token)) != TOKEN_PLAIN) {
    // Encrypted already: stored as it is, if this deployment can open it.
    e = token_open(keys, span_of(token), &opened, why);
    secret_free(opened);
    if (!e) *out = xstrdup(token);
  } else {
    e = default_format(ctl->config, &format, why);
    if (!e && format == TOKEN_PLAIN)
      *out = xstrdup(token);
    else if (!e)
      e = token_seal(keys, format, span_of(token), out, why);
  }
  token_keys_free(keys);
  return e;
}

// ---------------------------------------------------------------- verbs

static void print_fields(const struct ctl *ctl, const char *const *pairs, size_t count) {
  struct buf out = {NULL, 0, 0};
  struct json_writer w;
  json_start(&w, &out);
  if (ctl->json) json_open(&w, NULL, '{');
  for (size_t i = 0; i < count; i++) {
    if (ctl->json)
      json_put_string(&w, pairs[2 * i], pairs[2 * i + 1]);
    else
      buf_printf(&out, "%s%s", i ? "  " : "", pairs[2 * i + 1]);
  }
  if (ctl->json) json_close(&w, '}');
  printf("%s\n", out.data ? out.data : "");
  if (out.data) explicit_bzero(out.data, out.cap);
  buf_free(&out);
}

enum err token_format_for(const struct ctl *ctl, enum token_format *out, struct why *why) {
  const char *name = ctl_flag(ctl, "--format");
  enum token_format format;
  enum err e = name ? token_format_parse(span_of(name), &format) : default_format(ctl->config, &format, why);
  if (name && (e || format == TOKEN_PLAIN)) {
    why_set(why, "--format takes sealed, gcm or fernet, not \"%s\"", name);
    return ERR_RANGE;
  }
  if (!e && format == TOKEN_PLAIN) {
    why_set(why, NO_KEY);
    e = ERR_KEY;
  }
  if (!e) *out = format;
  return e;
}

int token_seal_run(struct ctl *ctl) {
  struct why why = {""};
  char *token = NULL, *sealed = NULL;
  struct token_keys *keys = NULL;
  enum token_format format;
  enum err e = token_format_for(ctl, &format, &why);
  if (e == ERR_RANGE) {
    ctl_complain("%s", why.text);
    return EX_USAGE;
  }
  if (!e) e = token_read(ctl_argument(ctl, 0), &token, &why);
  if (!e) e = token_keys_for(ctl, &keys, &why);
  if (!e) e = token_seal(keys, format, span_of(token), &sealed, &why);
  if (!e) print_fields(ctl, (const char *const[]){"token", sealed}, 1);
  token_keys_free(keys);
  token_forget(token);
  free(sealed);
  return e ? ctl_fail(e, "token seal", &why) : EX_OK;
}

int token_open_run(struct ctl *ctl) {
  struct why why = {""};
  char *stored = NULL, *token = NULL, redacted[LOG_REDACTED_MAX];
  struct token_keys *keys = NULL;
  enum err e = token_read(ctl_argument(ctl, 0), &stored, &why);
  if (!e) e = token_keys_for(ctl, &keys, &why);
  if (!e) e = token_open(keys, span_of(stored), &token, &why);
  if (!e) {
    const char *format = token_format_name(token_detect(span_of(stored)));
    bool show = ctl_flag(ctl, "--yes-show-secret");
    const char *shown = show ? token : log_redact_secret(span_of(token), redacted);
    if (show && !ctl->json) // alone on its line, for scripts
      print_fields(ctl, (const char *const[]){"token", shown}, 1);
    else
      print_fields(ctl, (const char *const[]){"format", format, show ? "token" : "redacted", shown}, 2);
  }
  secret_free(token);
  token_keys_free(keys);
  token_forget(stored);
  return e ? ctl_fail(e, "token open", &why) : EX_OK;
}

int token_detect_run(struct ctl *ctl) {
  struct why why = {""};
  char *stored = NULL;
  enum err e = token_read(ctl_argument(ctl, 0), &stored, &why);
  if (!e) print_fields(ctl, (const char *const[]){"format", token_format_name(token_detect(span_of(stored)))}, 1);
  token_forget(stored);
  return e ? ctl_fail(e, "token detect", &why) : EX_OK;
}
