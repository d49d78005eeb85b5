// Addresses and networks as operators write them: whether they make sense, whether two of them go together, whether a name leads anywhere.
// Runs in the master and the tools.
#include "config/options.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define ADDRESS_FORMS "write HOST:PORT, [IPv6]:PORT, :PORT or unix:PATH"

// The two halves of HOST:PORT; the host without its brackets.
struct endpoint {
  struct span host, port;
  bool brackets;
};

static bool split(struct span address, struct endpoint *out) {
  const char *colon = address.len ? memrchr(address.ptr, ':', address.len) : NULL;
  if (!colon) return false;
  *out = (struct endpoint){.host = {address.ptr, (size_t)(colon - address.ptr)}};
  out->port = span_from(address, out->host.len + 1);
  out->brackets = out->host.len > 2 && out->host.ptr[0] == '[' && out->host.ptr[out->host.len - 1] == ']';
  if (out->brackets) out->host = (struct span){out->host.ptr + 1, out->host.len - 2};
  return true;
}

static bool to_ip(struct span host, int family, void *out) {
  char text[INET6_ADDRSTRLEN];
  return !span_copy(host, text, sizeof text) && inet_pton(family, text, out) == 1;
}

// ---------------------------------------------------------------- one address

static bool consists_of(struct span text, const char *chars) {
  for (size_t i = 0; i < text.len; i++)
    if (!text.ptr[i] || !strchr(chars, text.ptr[i])) return false;
  return true;
}

static enum err check_host(const struct endpoint *e, struct span address, struct why *why) {
  struct in_addr in;
  struct in6_addr in6;
  if (e->brackets ? to_ip(e->host, AF_INET6, &in6) : !e->host.len || to_ip(e->host, AF_INET, &in)) return ERR_OK;
  if (e->brackets)
    why_set(why, "\"" CONFIG__SHOWN "\" is not an IPv6 address (write it like [::1]:8000)", CONFIG__SHOW(e->host));
  else if (memchr(e->host.ptr, ':', e->host.len) && consists_of(e->host, "0123456789abcdefABCDEF:.[]"))
    why_set(why, "\"" CONFIG__SHOWN "\" is not an address (write an IPv6 address in brackets: [::1]:8000)", CONFIG__SHOW(address));
  else if (consists_of(e->host, "0123456789."))
    why_set(why, "\"" CONFIG__SHOWN "\" is not an IPv4 address (write four numbers from 0 to 255, as in 192.0.2.1:8000)",
            CONFIG__SHOW(e->host));
  else if (e->host.len > 253 || !consists_of(e->host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"))
    why_set(why, "\"" CONFIG__SHOWN "\" is not an address (" ADDRESS_FORMS ")", CONFIG__SHOW(address));
  else
    return ERR_OK;
  return ERR_FORMAT;
}

static enum err check_port(struct span port, struct span address, struct why *why) {
  uint64_t number = 0;
  if (!span_u64(port, &number) && number >= 1 && number <= 65535) return ERR_OK;
  why_set(why, "\"" CONFIG__SHOWN "\" has no usable port (end it with a number from 1 to 65535, as in 127.0.0.1:8000)",
          CONFIG__SHOW(address));
  return ERR_RANGE;
}

static bool is_loopback(struct span host) {
  struct in_addr in;
  struct in6_addr in6;
  if (span_eq_nocase(host, SPAN("localhost"))) return true;
  if (to_ip(host, AF_INET, &in)) return ntohl(in.s_addr) >> 24 == 127;
  return to_ip(host, AF_INET6, &in6) && IN6_IS_ADDR_LOOPBACK(&in6);
}

static enum err check_unix(char **item, struct why *why) {
  config__complete_path(item, 5);
  const char *path = *item + 5;
  const size_t max = sizeof((struct sockaddr_un *)0)->sun_path - 1;
  if (!*path)
    why_set(why, "unix: needs a path (write unix:/run/wahookd/wahookd.sock)");
  else if (path[strlen(path) - 1] == '/')
    why_set(why, "\"" CONFIG__SHOWN "\" is a directory (write the path of a socket in it)", CONFIG__SHOW(span_of(*item)));
  else if (strlen(path) > max)
    why_set(why, "the path of a unix socket is at most %zu bytes long, this one is %zu (choose a shorter one)", max, strlen(path));
  else
    return ERR_OK;
  return ERR_FORMAT;
}

enum err config__check_address(char **item, bool only_loopback, struct why *why) {
  if (span_starts(span_of(*item), SPAN("unix:"))) return check_unix(item, why);
  struct span address = span_of(*item);
  struct endpoint endpoint;
  if (!split(address, &endpoint)) {
    why_set(why, "\"" CONFIG__SHOWN "\" is not an address (" ADDRESS_FORMS ")", CONFIG__SHOW(address));
    return ERR_FORMAT;
  }
  enum err e = check_host(&endpoint, address, why);
  if (!e) e = check_port(endpoint.port, address, why);
  if (e || !only_loopback || is_loopback(endpoint.host)) return e;
  why_set(why, "\"" CONFIG__SHOWN "\" can be reached from other machines (write unix:PATH, 127.0.0.1:PORT or [::1]:PORT)",
          CONFIG__SHOW(address));
  return ERR_DENIED;
}

// ---------------------------------------------------------------- two addresses

// What a good address stands for, as the listeners take it: "localhost" is 127.0.0.1, no host is all of both families.
struct meaning {
  int family; // AF_UNSPEC: a name, or all of both
  bool any;
  unsigned char ip[sizeof(struct in6_addr)];
  struct span host;
  uint64_t port;
};

static struct meaning meaning_of(const char *address) {
  struct meaning m = {.family = AF_UNSPEC};
  struct endpoint e = {.brackets = false};
  ALWAYS(split(span_of(address), &e) && !span_u64(e.port, &m.port));
  m.host = span_eq_nocase(e.host, SPAN("localhost")) ? SPAN("127.0.0.1") : e.host;
  if (to_ip(m.host, AF_INET, m.ip))
    m.family = AF_INET;
  else if (to_ip(m.host, AF_INET6, m.ip))
    m.family = AF_INET6;
  static const unsigned char zero[sizeof m.ip];
  m.any = !m.host.len || (m.family != AF_UNSPEC && memcmp(m.ip, zero, sizeof zero) == 0);
  return m;
}

bool config__addresses_clash(const char *a, const char *b) {
  bool unix_a = span_starts(span_of(a), SPAN("unix:")), unix_b = span_starts(span_of(b), SPAN("unix:"));
  if (unix_a || unix_b) return strcmp(a, b) == 0;
  struct meaning x = meaning_of(a), y = meaning_of(b);
  if (x.port != y.port) return false;
  if (!x.host.len || !y.host.len) return true;
  if (x.family != y.family) return false;
  if (x.family == AF_UNSPEC) return span_eq_nocase(x.host, y.host);
  return x.any || y.any || memcmp(x.ip, y.ip, sizeof x.ip) == 0;
}

// ---------------------------------------------------------------- names

enum err config__resolve(const char *address, struct why *why) {
  if (span_starts(span_of(address), SPAN("unix:"))) return ERR_OK;
  struct meaning m = meaning_of(address);
  if (!m.host.len || m.family != AF_UNSPEC) return ERR_OK;
  char *name = span_dup(m.host);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
  int code = getaddrinfo(name, NULL, &hints, &found);
  if (code == 0) freeaddrinfo(found);
  free(name);
  if (code == 0) return ERR_OK;
  why_set(why, "the host name of \"" CONFIG__SHOWN "\" does not resolve: %s (correct it, or write an address)",
          CONFIG__SHOW(span_of(address)), gai_strerror(code));
  return ERR_NOT_FOUND;
}

// ---------------------------------------------------------------- networks

enum err config__check_network(const char *item, struct why *why) {
  unsigned char address[sizeof(struct in6_addr)];
  struct span rest = span_of(item), host = {NULL, 0};
  if (strcmp(item, "unix") == 0 || !span_split(&rest, '/', &host)) return ERR_OK;
  bool v4 = to_ip(host, AF_INET, address), v6 = !v4 && to_ip(host, AF_INET6, address);
  uint64_t bits = 0;
  if ((v4 || v6) && (!rest.ptr || (!span_u64(rest, &bits) && bits <= (v4 ? 32 : 128)))) return ERR_OK;
  if (strcmp(item, "*") == 0)
    why_set(why, "\"*\" is neither an address nor a network (for everybody write 0.0.0.0/0 and ::/0)");
  else
    why_set(why, "\"" CONFIG__SHOWN "\" is neither an address nor a network (write 10.0.0.0/8, 192.0.2.1, 2001:db8::/32 or unix)",
            CONFIG__SHOW(span_of(item)));
  return ERR_FORMAT;
}
