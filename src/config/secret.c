// Secrets that stand elsewhere: "file:PATH" and "env:NAME". Runs in the master (before it gives up root) and the tools.
#include "config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *config__getenv(char *const *environ, struct span name) {
  for (; environ && *environ; environ++)
    if (strncmp(*environ, name.ptr, name.len) == 0 && (*environ)[name.len] == '=') return *environ + name.len + 1;
  return NULL;
}

static enum err from_environment(char *const *environ, struct span name, char **out, struct why *why) {
  const char *value = name.len ? config__getenv(environ, name) : NULL;
  if (!value || !*value) {
    why_set(why, "the environment variable %.*s is not set", SPAN_FMT(name));
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

static enum err from_file(struct config__setting *setting, const char *path, char **out, struct why *why) {
  struct buf content = {NULL, 0, 0};
  enum err e = buf_read_file(&content, path, CONFIG__SECRET_MAX);
  if (e) {
    if (e == ERR_TOO_LARGE)
      why_set(why, "%s is larger than a secret can be (64 KiB)", path);
    else
      why_set(why, "cannot read %s: %s", path, strerror(errno));
    goto out;
  }
  if (content.len && content.data[content.len - 1] == '\n') content.len--;
  if (content.len && content.data[content.len - 1] == '\r') content.len--;
  if (!content.len || memchr(content.data, '\0', content.len)) {
    why_set(why, content.len ? "%s holds binary data, not a text" : "%s is empty", path);
    e = ERR_FORMAT;
    goto out;
  }
  warn_about_mode(setting, path);
  *out = span_dup(buf_span(&content));
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
  char *path = span_dup(span_from(text, 5));
  enum err e = from_file(setting, path, out, why);
  free(path);
  return e;
}
