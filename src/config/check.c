// What single values must look like beyond their type: addresses, paths, URLs, schemes. Relative paths are completed, as a file means the
// same wherever it is read from. Runs in the master and the tools.
#include "config/options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void config__complete_path(char **text, size_t prefix_len) {
  const char *path = *text + prefix_len;
  if (*path == '/' || !*path) return;
  char *here = getcwd(NULL, 0);
  if (!here) return; // a directory that is gone: opening the path will tell
  struct buf full = {NULL, 0, 0};
  buf_printf(&full, "%.*s%s/%s", (int)prefix_len, *text, strcmp(here, "/") == 0 ? "" : here, path);
  free(here);
  free(*text);
  *text = buf_steal(&full);
}

// ---------------------------------------------------------------- addresses

static enum err check_bind(const struct config_list *list, char **item, struct why *why) {
  enum err e = config__check_address(item, false, why);
  for (size_t i = 0; !e && i < list->count; i++) {
    if (!config__addresses_clash(*item, list->items[i])) continue;
    if (strcmp(*item, list->items[i]) == 0)
      why_set(why, "\"%s\" stands there twice (remove one)", *item);
    else
      why_set(why, "\"" CONFIG__SHOWN "\" and \"" CONFIG__SHOWN "\" cannot both be listened on: one includes the other (remove one)",
              CONFIG__SHOW(span_of(list->items[i])), CONFIG__SHOW(span_of(*item)));
    e = ERR_CONFLICT;
  }
  return e;
}

static enum err check_proxy(const struct config_list *list, char **item, struct why *why) {
  (void)list;
  return config__check_network(*item, why);
}

static enum err check_admin_bind(struct config *config, void *field, struct why *why) {
  char **text = field;
  (void)config;
  return !**text || strcmp(*text, "off") == 0 ? ERR_OK : config__check_address(text, true, why);
}

// ---------------------------------------------------------------- paths

// Names of files are added behind a directory.
enum { PATH_LEN_MAX = 4000 };

static enum err complete_checked(char **text, size_t prefix_len, struct why *why) {
  config__complete_path(text, prefix_len);
  if (strlen(*text) <= PATH_LEN_MAX) return ERR_OK;
  why_set(why, "the path is longer than %d bytes (choose a shorter one)", (int)PATH_LEN_MAX);
  return ERR_TOO_LARGE;
}

static enum err check_directory(struct config *config, void *field, struct why *why) {
  char **text = field;
  (void)config;
  if (**text) return complete_checked(text, 0, why);
  why_set(why, "must not be empty (write a directory, such as /var/lib/wahookd)");
  return ERR_FORMAT;
}

static enum err check_file(struct config *config, void *field, struct why *why) {
  char **text = field;
  (void)config;
  enum err e = complete_checked(text, 0, why);
  if (e || !**text || (*text)[strlen(*text) - 1] != '/') return e;
  why_set(why, "\"" CONFIG__SHOWN "\" is a directory (write the path of a file)", CONFIG__SHOW(span_of(*text)));
  return ERR_FORMAT;
}

static enum err check_log(struct config *config, void *field, struct why *why) {
  char **text = field;
  if (strcmp(*text, "-") == 0) { // gunicorn's word
    free(*text);
    *text = xstrdup("stderr");
  }
  bool access = field == (void *)&config->log_access;
  if (strcmp(*text, "stderr") == 0 || strcmp(*text, "syslog") == 0 || (access && strcmp(*text, "off") == 0)) return ERR_OK;
  if (**text) return check_file(config, field, why);
  why_set(why, "must not be empty (write stderr, syslog%s or a file's path)", access ? ", off" : "");
  return ERR_FORMAT;
}

enum { WEB_PATH_MAX = 1024 }; // far below what a request line may have

// The router matches bytes: a path that it would never see is a mistake, one of the operator's pages would hide them.
static enum err check_web_path(struct config *config, void *field, struct why *why) {
  static const char *const taken[] = {"/", "/health", "/ready", "/metrics", "/dashboard", "/live"};
  static const char *const taken_below[] = {"/admin/", "/api/", "/prometheus/"};
  // RFC 3986's pchar without escapes, and slashes.
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/";
  struct span path = span_of(*(char **)field);
  (void)config;
  if (path.len && path.ptr[0] != '/') {
    why_set(why, "\"" CONFIG__SHOWN "\" does not begin with a slash (write it like /whatsapp_response)", CONFIG__SHOW(path));
    return ERR_FORMAT;
  }
  bool odd =
      !path.len || path.len > WEB_PATH_MAX || strspn(path.ptr, plain) != path.len || strstr(path.ptr, "//") || strstr(path.ptr, "/.");
  if (odd || (path.len > 1 && path.ptr[path.len - 1] == '/')) {
    why_set(why, "\"" CONFIG__SHOWN "\" is not a plain path (write it like /whatsapp_response)", CONFIG__SHOW(path));
    return ERR_FORMAT;
  }
  bool conflict = false;
  for (size_t i = 0; i < COUNT_OF(taken); i++)
    conflict |= span_eq(path, span_of(taken[i]));
  for (size_t i = 0; i < COUNT_OF(taken_below); i++)
    conflict |= span_starts(path, span_of(taken_below[i]));
  if (!conflict) return ERR_OK;
  why_set(why, "\"" CONFIG__SHOWN "\" is one of the daemon's own pages (choose another path)", CONFIG__SHOW(path));
  return ERR_CONFLICT;
}

// ---------------------------------------------------------------- numbers of which 0 means never

static enum err check_rss(struct config *config, void *field, struct why *why) {
  const int64_t bytes = *(int64_t *)field;
  (void)config;
  if (bytes == 0 || bytes >= 16 << 20) return ERR_OK;
  why_set(why, "a worker needs more than that to start, so it would be recycled without end (write 16MiB or more, or 0 for never)");
  return ERR_RANGE;
}

static enum err check_age(struct config *config, void *field, struct why *why) {
  const int64_t ms = *(int64_t *)field;
  (void)config;
  if (ms == 0 || ms >= 1000) return ERR_OK;
  why_set(why, "a worker would be recycled without end (write 1s or more, or 0 for never)");
  return ERR_RANGE;
}

// ---------------------------------------------------------------- stores, URLs, the rest

// The driver has the last word on a MongoDB URI. Nothing of it is shown: it may hold a password.
static enum err check_mongo(struct span uri, struct why *why) {
  struct span rest = uri, scheme, host;
  (void)span_split(&rest, ':', &scheme);
  if (span_starts(rest, SPAN("//"))) {
    rest = span_from(rest, 2);
    host = (struct span){rest.ptr, strcspn(rest.ptr, "/?")};
    const char *at = memrchr(host.ptr, '@', host.len);
    if (at) host = span_from(host, (size_t)(at + 1 - host.ptr));
    if (host.len) return ERR_OK;
  }
  why_set(why, "names no host (write mongodb://HOST/DATABASE)");
  return ERR_FORMAT;
}

// See the table of stores in directory/.
static enum err check_store(struct config *config, void *field, struct why *why) {
  char **text = field;
  struct span uri = span_of(*text);
  (void)config;
  if (!uri.len || span_eq(uri, SPAN("ram:"))) return ERR_OK;
  if (span_starts(uri, SPAN("mongodb:")) || span_starts(uri, SPAN("mongodb+srv:"))) return check_mongo(uri, why);
  struct span kind = {uri.ptr, strcspn(uri.ptr, ":")};
  if (!span_starts(uri, SPAN("sqlite:"))) {
    why_set(why, "unknown kind of store \"" CONFIG__SHOWN "\" (write sqlite:PATH or mongodb://HOST/DATABASE)",
            CONFIG__SHOW(kind)); // a URI may hold a password
    return ERR_FORMAT;
  }
  if (uri.len == 7) {
    why_set(why, "sqlite: needs a path (write sqlite:/var/lib/wahookd/businesses.db)");
    return ERR_FORMAT;
  }
  return complete_checked(text, 7, why);
}

// "host", "host:8080", "[::1]:8080", all of them behind "user:password@".
static bool is_authority(struct span authority) {
  const char *at = authority.len ? memrchr(authority.ptr, '@', authority.len) : NULL;
  if (at) authority = span_from(authority, (size_t)(at + 1 - authority.ptr));
  bool brackets = span_starts(authority, SPAN("["));
  const char *end = brackets ? memchr(authority.ptr, ']', authority.len) : memchr(authority.ptr, ':', authority.len);
  if (brackets && !end) return false;
  size_t host_len = end ? (size_t)(end - authority.ptr) + brackets : authority.len;
  struct span port = span_from(authority, host_len);
  uint64_t number;
  if (host_len <= 2 * (size_t)brackets) return false;
  return !port.len || (port.ptr[0] == ':' && !span_u64(span_from(port, 1), &number) && number >= 1 && number <= 65535);
}

static enum err check_url(struct config *config, void *field, struct why *why) {
  char *text = *(char **)field;
  struct span url = span_of(text);
  (void)config;
  if (!url.len) return ERR_OK;
  size_t scheme = span_starts(url, SPAN("https://")) ? 8 : span_starts(url, SPAN("http://")) ? 7 : 0;
  struct span authority = {text + scheme, strcspn(text + scheme, "/?")};
  if (scheme && is_authority(authority) && !strpbrk(text, " #\\\"<>")) return ERR_OK;
  why_set(why, "is not a URL (write https://host/path or http://host:port/path)"); // not shown: it may hold a password
  return ERR_FORMAT;
}

static enum err check_base_url(struct config *config, void *field, struct why *why) {
  char *text = *(char **)field;
  while (*text && text[strlen(text) - 1] == '/')
    text[strlen(text) - 1] = '\0';
  if (!*text) {
    why_set(why, "must not be empty (write https://graph.facebook.com)");
    return ERR_FORMAT;
  }
  if (strchr(*(char **)field, '?')) {
    why_set(why, "paths are added to it, so it must end without a '?' (write it like https://graph.facebook.com)");
    return ERR_FORMAT;
  }
  return check_url(config, field, why);
}

static enum err check_version(struct config *config, void *field, struct why *why) {
  const char *text = *(char **)field;
  size_t major = *text == 'v' ? strspn(text + 1, "0123456789") : 0;
  const char *dot = text + 1 + major;
  (void)config;
  if (major && *dot == '.' && dot[1] && !dot[1 + strspn(dot + 1, "0123456789")]) return ERR_OK;
  why_set(why, "\"" CONFIG__SHOWN "\" is not a version of the Graph API (write it like v21.0)", CONFIG__SHOW(span_of(text)));
  return ERR_FORMAT;
}

// As business_phone_id_valid has it.
static enum err check_phone_id(struct config *config, void *field, struct why *why) {
  const char *text = *(char **)field;
  (void)config;
  if (strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") == strlen(text) && strlen(text) <= 32) return ERR_OK;
  why_set(why, "\"" CONFIG__SHOWN "\" is not a phone number id (write at most 32 letters, digits, '_' or '-')",
          CONFIG__SHOW(span_of(text)));
  return ERR_FORMAT;
}

// Tokens that were encrypted with another salt could not be opened, and nobody encrypts with none.
static enum err check_salt(struct config *config, void *field, struct why *why) {
  (void)config;
  if (**(char **)field) return ERR_OK;
  why_set(why, "must not be empty (leave it out for \"salt\")");
  return ERR_FORMAT;
}

static const struct {
  enum config_option_id id;
  enum err (*check)(struct config *config, void *field, struct why *why);
} checks[] = {
    {OPT_server_state_dir, check_directory},
    {OPT_server_max_rss, check_rss},
    {OPT_server_max_age, check_age},
    {OPT_server_pid_file, check_file},
    {OPT_webhook_path, check_web_path},
    {OPT_directory_store, check_store},
    {OPT_directory_default_phone_number_id, check_phone_id},
    {OPT_crypto_encryption_key_salt, check_salt},
    {OPT_responder_url, check_url},
    {OPT_graph_base_url, check_base_url},
    {OPT_graph_version, check_version},
    {OPT_admin_bind, check_admin_bind},
    {OPT_log_target, check_log},
    {OPT_log_access, check_log},
};

enum err config__check_value(struct config *config, enum config_option_id id, struct why *why) {
  for (size_t i = 0; i < COUNT_OF(checks); i++)
    if (checks[i].id == id) return checks[i].check(config, config__field(config, id), why);
  return ERR_OK;
}

static const struct {
  enum config_option_id id;
  enum err (*check)(const struct config_list *list, char **item, struct why *why);
} item_checks[] = {
    {OPT_server_bind, check_bind},
    {OPT_server_trusted_proxies, check_proxy},
};

enum err config__check_item(const struct config_list *list, enum config_option_id id, char **item, struct why *why) {
  for (size_t i = 0; i < COUNT_OF(item_checks); i++)
    if (item_checks[i].id == id) return item_checks[i].check(list, item, why);
  return ERR_OK;
}
