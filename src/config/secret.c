// What stands in files and variables elsewhere: the configuration file itself, secrets as "file:PATH" and "env:NAME". Runs in the master
// (before it gives up root) and the tools.
#include "config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

const char *config__getenv(char *const *environ, struct span name) {
  for (; environ && *environ; environ++)
    if (strncmp(*environ, name.ptr, name.len) == 0 && (*environ)[name.len] == '=') return *environ + name.len + 1;
  return NULL;
}

// A pipe would hold up a reload, and with it the master, until somebody writes into it.
static const char *unusable(const struct stat *st) {
  bool null = S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3); // /dev/null: a way to say "no file"
  if (S_ISREG(st->st_mode) || null) return NULL;
  return S_ISDIR(st->st_mode) ? "it is a directory" : "it is no regular file";
}

enum err config__read_file(struct buf *out, const char *path, size_t max, struct why *why) {
  struct stat st;
  if (stat(path, &st) == 0 && unusable(&st)) {
    why_set(why, "%s", unusable(&st));
    return ERR_IO;
  }
  enum err e = buf_read_file(out, path, max);
  if (e == ERR_TOO_LARGE)
    why_set(why, "it is larger than %zu KiB", max >> 10);
  else if (e)
    why_set(why, "%s", strerror(errno));
  return e;
}

// ---------------------------------------------------------------- secrets

static enum err from_environment(char *const *environ, struct span name, char **out, struct why *why) {
  const char *value = name.len ? config__getenv(environ, name) : NULL;
  if (!name.len) {
    why_set(why, "env: needs the name of a variable (write env:APP_SECRET)");
    return ERR_FORMAT;
  }
  if (!value || !*value) {
    why_set(why,
            "the environment variable " CONFIG__SHOWN " is not set (set it where wahookd is started; a reload cannot see new variables)",
            CONFIG__SHOW(name));
    return ERR_NOT_FOUND;
  }
  *out = xstrdup(value);
  return ERR_OK;
}

// Everybody on the machine could read it: told, not refused, as some secret mounts know no modes.
static void warn_about_mode(struct config__setting *setting, const char *path) {
  struct stat st;
  if (stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)) && S_ISREG(st.st_mode))
    config__warning(setting->errors, path, NULL, "a secret that every user of this machine can read or write (chmod 640 it)");
}

static void cut_line_end(struct buf *content) {
  if (content->len && content->data[content->len - 1] == '\n') content->len--;
  if (content->len && content->data[content->len - 1] == '\r') content->len--;
}

static enum err from_file(struct config__setting *setting, const char *path, char **out, struct why *why) {
  struct buf content = {NULL, 0, 0};
  struct why reason;
  struct span shown = span_of(path);
  enum err e = config__read_file(&content, path, CONFIG__SECRET_MAX, &reason);
  if (e) {
    why_set(why, "cannot read " CONFIG__SHOWN ": %s (the file must hold the secret, and be readable for the user who starts wahookd)",
            CONFIG__SHOW(shown), reason.text);
    goto out;
  }
  cut_line_end(&content);
  struct span text = buf_span(&content);
  const char *wrong = !span_trim(text).len                                                   ? "is empty"
                      : memchr(text.ptr, '\0', text.len)                                     ? "holds binary data, not a text"
                      : memchr(text.ptr, '\n', text.len) || memchr(text.ptr, '\r', text.len) ? "has several lines"
                                                                                             : NULL;
  if (wrong) {
    why_set(why, CONFIG__SHOWN " %s (write the secret into it as its only line)", CONFIG__SHOW(shown), wrong);
    e = ERR_FORMAT;
    goto out;
  }
  warn_about_mode(setting, path);
  *out = span_dup(text);
out:
  if (content.data) explicit_bzero(content.data, content.cap);
  buf_free(&content);
  return e;
}

enum err config__secret(struct config__setting *setting, struct span text, char **out, bool *reference, struct why *why) {
  bool file = span_starts(text, SPAN("file:")), env = span_starts(text, SPAN("env:"));
  *reference = file || env;
  if (env) return from_environment(setting->environ, span_from(text, 4), out, why);
  if (!file) {
    *out = span_dup(text);
    return ERR_OK;
  }
  if (text.len == 5) {
    why_set(why, "file: needs a path (write file:/etc/wahookd/app-secret)");
    return ERR_FORMAT;
  }
  char *path = span_dup(span_from(text, 5));
  enum err e = from_file(setting, path, out, why);
  free(path);
  return e;
}
