// What single values must look like beyond their type: addresses, paths, URLs, schemes. Relative paths are completed, as a daemon changes
// its directory. Runs in the master and the tools.
#include "config/options.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

// Replaces "<prefix>relative" by "<prefix>/current/directory/relative".
static void complete_path(char **text, size_t prefix_len) {
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

static enum err check_port(struct span port, struct span address, struct why *why) {
  uint64_t number = 0;
  if (!span_u64(port, &number) && number >= 1 && number <= 65535) return ERR_OK;
  why_set(why, "\"%.*s\": the port must be a number from 1 to 65535", SPAN_FMT(address));
  return ERR_RANGE;
}

static bool is_host_name(struct span host) {
  for (size_t i = 0; i < host.len; i++) {
    char c = host.ptr[i];
    bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '-') return false;
  }
  return true;
}

// Splits HOST:PORT or [IPv6]:PORT; the host comes back without brackets.
static enum err split_address(struct span address, struct span *host, struct span *port, struct why *why) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr in6;
  const char *colon = address.len ? memrchr(address.ptr, ':', address.len) : NULL;
  if (!colon) {
    why_set(why, "\"%.*s\" is not an address (write HOST:PORT, [IPv6]:PORT, :PORT or unix:PATH)", SPAN_FMT(address));
    return ERR_FORMAT;
  }
  *host = (struct span){address.ptr, (size_t)(colon - address.ptr)};
  *port = span_from(address, host->len + 1);
  if (host->len > 2 && host->ptr[0] == '[' && host->ptr[host->len - 1] == ']') {
    *host = (struct span){host->ptr + 1, host->len - 2};
    if (!span_copy(*host, text, sizeof text) && inet_pton(AF_INET6, text, &in6) == 1) return ERR_OK;
    why_set(why, "\"%.*s\" is not an IPv6 address", SPAN_FMT(*host));
    return ERR_FORMAT;
  }
  if (is_host_name(*host)) return ERR_OK;
  why_set(why, "\"%.*s\" is not an address (write HOST:PORT; an IPv6 address in brackets: [::1]:8000)", SPAN_FMT(address));
  return ERR_FORMAT;
}

static bool is_loopback(struct span host) {
  char text[INET6_ADDRSTRLEN];
  struct in_addr in;
  struct in6_addr in6;
  if (span_eq_nocase(host, SPAN("localhost"))) return true;
  if (span_copy(host, text, sizeof text)) return false;
  if (inet_pton(AF_INET, text, &in) == 1) return ntohl(in.s_addr) >> 24 == 127;
  return inet_pton(AF_INET6, text, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6);
}

static enum err check_address(char **item, bool only_loopback, struct why *why) {
  struct span host, port;
  if (span_starts(span_of(*item), SPAN("unix:"))) {
    complete_path(item, 5);
    size_t len = strlen(*item + 5);
    if (len && len < sizeof((struct sockaddr_un *)0)->sun_path) return ERR_OK;
    why_set(why, len ? "the path of a unix socket is at most 107 bytes long" : "unix: needs a path (write unix:/run/wahookd/wahookd.sock)");
    return ERR_FORMAT;
  }
  struct span address = span_of(*item);
  enum err e = split_address(address, &host, &port, why);
  if (!e) e = check_port(port, address, why);
  if (e || !only_loopback || is_loopback(host)) return e;
  why_set(why, "\"%s\" can be reached from other machines (write unix:PATH, 127.0.0.1:PORT or [::1]:PORT)", *item);
  return ERR_DENIED;
}

static enum err check_binds(struct config *config, void *field, struct why *why) {
  struct config_list *list = field;
  (void)config;
  for (size_t i = 0; i < list->count; i++) {
    enum err e = check_address(&list->items[i], false, why);
    if (e) return e;
    for (size_t j = 0; j < i; j++) {
      if (strcmp(list->items[i], list->items[j]) != 0) continue;
      why_set(why, "%s stands there twice", list->items[i]);
      return ERR_CONFLICT;
    }
  }
  return ERR_OK;
}

static enum err check_admin_bind(struct config *config, void *field, struct why *why) {
  char **text = field;
  (void)config;
  return !**text || strcmp(*text, "off") == 0 ? ERR_OK : check_address(text, true, why);
}

static enum err check_network(const char *item, struct why *why) {
  char text[INET6_ADDRSTRLEN];
  unsigned char address[sizeof(struct in6_addr)];
  struct span rest = span_of(item), host = {NULL, 0};
  if (strcmp(item, "unix") == 0 || !span_split(&rest, '/', &host)) return ERR_OK;
  bool v4 = !span_copy(host, text, sizeof text) && inet_pton(AF_INET, text, address) == 1;
  bool v6 = !v4 && text[0] && inet_pton(AF_INET6, text, address) == 1;
  uint64_t bits = 0;
  if ((v4 || v6) && (!rest.ptr || (!span_u64(rest, &bits) && bits <= (v4 ? 32 : 128)))) return ERR_OK;
  why_set(why, "\"%s\" is neither an address nor a network (write 10.0.0.0/8, 192.0.2.1, 2001:db8::/32 or unix)%s", item,
          strcmp(item, "*") == 0 ? "; for everybody: 0.0.0.0/0 and ::/0" : "");
  return ERR_FORMAT;
}

static enum err check_networks(struct config *config, void *field, struct why *why) {
  const struct config_list *list = field;
  (void)config;
  for (size_t i = 0; i < list->count; i++) {
    enum err e = check_network(list->items[i], why);
    if (e) return e;
  }
  return ERR_OK;
}

// ---------------------------------------------------------------- paths

static enum err check_directory(struct config *config, void *field, struct why *why) {
  char **text = field;
  (void)config;
  if (!**text) {
    why_set(why, "must not be empty (write a directory, such as /var/lib/wahookd)");
    return ERR_FORMAT;
  }
  complete_path(text, 0);
  return ERR_OK;
}

static enum err check_file(struct config *config, void *field, struct why *why) {
  char **text = field;
  (void)config;
  complete_path(text, 0);
  if (!**text || (*text)[strlen(*text) - 1] != '/') return ERR_OK;
  why_set(why, "%s is a directory, not a file", *text);
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

// The router matches bytes: a path that it would never see is a mistake, one of the operator's pages would hide them.
static enum err check_web_path(struct config *config, void *field, struct why *why) {
  static const char *const taken[] = {"/", "/health", "/ready", "/metrics", "/dashboard", "/live"};
  static const char *const taken_below[] = {"/admin/", "/api/", "/prometheus/"};
  struct span path = span_of(*(char **)field);
  (void)config;
  if (!path.len || path.ptr[0] != '/' || strpbrk(path.ptr, "?#% \\") || strstr(path.ptr, "//") || strstr(path.ptr, "/.") ||
      path.ptr[path.len - 1] == '/') {
    why_set(why, "\"%s\" is not a plain path (write it like /whatsapp_response)", path.ptr);
    return ERR_FORMAT;
  }
  bool conflict = false;
  for (size_t i = 0; i < COUNT_OF(taken); i++)
    conflict |= span_eq(path, span_of(taken[i]));
  for (size_t i = 0; i < COUNT_OF(taken_below); i++)
    conflict |= span_starts(path, span_of(taken_below[i]));
  if (!conflict) return ERR_OK;
  why_set(why, "\"%s\" is one of the daemon's own pages (choose another path)", path.ptr);
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

// SQLite is the one store for real use; see the table of stores in directory/.
static enum err check_store(struct config *config, void *field, struct why *why) {
  char **text = field;
  struct span uri = span_of(*text);
  (void)config;
  if (!uri.len || span_eq(uri, SPAN("ram:"))) return ERR_OK;
  if (span_starts(uri, SPAN("mongodb:")) || span_starts(uri, SPAN("mongodb+srv:"))) {
    why_set(why, "a MongoDB store is not part of this version (export the businesses and use sqlite:PATH)");
    return ERR_UNSUPPORTED;
  }
  if (!span_starts(uri, SPAN("sqlite:"))) {
    why_set(why, "unknown kind of store \"%.*s\" (write sqlite:PATH)", (int)strcspn(*text, ":"), *text); // a URI may hold a password
    return ERR_FORMAT;
  }
  if (uri.len == 7) {
    why_set(why, "sqlite: needs a path (write sqlite:/var/lib/wahookd/businesses.db)");
    return ERR_FORMAT;
  }
  complete_path(text, 7);
  return ERR_OK;
}

static enum err check_url(struct config *config, void *field, struct why *why) {
  char *text = *(char **)field;
  struct span url = span_of(text);
  (void)config;
  if (!url.len) return ERR_OK;
  size_t scheme = span_starts(url, SPAN("https://")) ? 8 : span_starts(url, SPAN("http://")) ? 7 : 0;
  const char *host = text + scheme;
  if (!scheme || !*host || strchr("/:?#@", *host) || strchr(text, ' ') || strchr(host, '#')) {
    why_set(why, "is not a URL (write https://host/path or http://host:port/path)"); // not shown: it may hold a password
    return ERR_FORMAT;
  }
  return ERR_OK;
}

static enum err check_base_url(struct config *config, void *field, struct why *why) {
  char *text = *(char **)field;
  while (*text && text[strlen(text) - 1] == '/')
    text[strlen(text) - 1] = '\0';
  if (!*text) {
    why_set(why, "must not be empty (write https://graph.facebook.com)");
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
  why_set(why, "\"%s\" is not a version of the Graph API (write it like v21.0)", text);
  return ERR_FORMAT;
}

// As business_phone_id_valid has it.
static enum err check_phone_id(struct config *config, void *field, struct why *why) {
  const char *text = *(char **)field;
  (void)config;
  if (strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-") == strlen(text) && strlen(text) <= 32) return ERR_OK;
  why_set(why, "\"%s\" is not a phone number id (at most 32 letters, digits, '_' or '-')", text);
  return ERR_FORMAT;
}

static const struct {
  enum config_option_id id;
  enum err (*check)(struct config *config, void *field, struct why *why);
} checks[] = {
    {OPT_server_bind, check_binds},
    {OPT_server_state_dir, check_directory},
    {OPT_server_max_rss, check_rss},
    {OPT_server_max_age, check_age},
    {OPT_server_trusted_proxies, check_networks},
    {OPT_server_pid_file, check_file},
    {OPT_webhook_path, check_web_path},
    {OPT_directory_store, check_store},
    {OPT_directory_default_phone_number_id, check_phone_id},
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
