// Parses the addresses that operators write. Runs in the master.
#include "supervisor/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static enum err parse_unix(struct span path, struct address *a, struct why *why) {
  struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;
  un->sun_family = AF_UNIX;
  if (path.len == 0 || span_copy(path, un->sun_path, sizeof un->sun_path) != ERR_OK) {
    why_set(why, "the path of a unix socket must have 1 to %zu bytes", sizeof un->sun_path - 1);
    return ERR_FORMAT;
  }
  a->sa_len = sizeof *un;
  return ERR_OK;
}

static void set_v4(struct address *a, struct in_addr host, uint16_t port) {
  struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
  in->sin_family = AF_INET;
  in->sin_addr = host;
  in->sin_port = htons(port);
  a->sa_len = sizeof *in;
}

static void set_v6(struct address *a, struct in6_addr host, uint16_t port) {
  struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a->sa;
  in->sin6_family = AF_INET6;
  in->sin6_addr = host;
  in->sin6_port = htons(port);
  a->sa_len = sizeof *in;
}

static enum err resolve(const char *host, uint16_t port, struct address *a, struct why *why) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
  int code = getaddrinfo(host, NULL, &hints, &found);
  if (code != 0 || !found) {
    why_set(why, "\"%s\" is neither an address nor a host name that resolves (%s)", host, gai_strerror(code));
    return ERR_NOT_FOUND;
  }
  memcpy(&a->sa, found->ai_addr, found->ai_addrlen);
  a->sa_len = found->ai_addrlen;
  freeaddrinfo(found);
  if (a->sa.ss_family == AF_INET6)
    ((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
  else
    ((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
  return ERR_OK;
}

static enum err parse_host(struct span host, uint16_t port, struct address *a, struct why *why) {
  char name[256];
  struct in_addr v4;
  struct in6_addr v6;
  bool brackets = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
  if (brackets) host = (struct span){host.ptr + 1, host.len - 2};
  if (span_copy(host, name, sizeof name) != ERR_OK) {
    why_set(why, "the host name is too long");
    return ERR_FORMAT;
  }
  if (brackets) {
    if (inet_pton(AF_INET6, name, &v6) != 1) {
      why_set(why, "\"[%s]\" is no IPv6 address", name);
      return ERR_FORMAT;
    }
    set_v6(a, v6, port);
  } else if (host.len == 0) {
    set_v6(a, in6addr_any, port);
    a->dual = true;
  } else if (strchr(name, ':')) {
    why_set(why, "an IPv6 address is written in brackets: [%s]:%u", name, port);
    return ERR_FORMAT;
  } else if (strcmp(name, "localhost") == 0) {
    set_v4(a, (struct in_addr){htonl(INADDR_LOOPBACK)}, port);
  } else if (inet_pton(AF_INET, name, &v4) == 1) {
    set_v4(a, v4, port);
  } else {
    return resolve(name, port, a, why);
  }
  return ERR_OK;
}

enum err address_parse(struct span text, struct address *out, struct why *why) {
  struct address a = {0};
  text = span_trim(text);
  if (span_copy(text, a.text, sizeof a.text) != ERR_OK) {
    why_set(why, "the address is too long");
    return ERR_FORMAT;
  }
  enum err e;
  if (span_starts(text, SPAN("unix:"))) {
    e = parse_unix(span_from(text, 5), &a, why);
  } else {
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
      colon--;
    uint64_t port;
    if (colon == 0 || span_u64(span_from(text, colon), &port) != ERR_OK || port > 65535) {
      why_set(why, "\"%s\" is not HOST:PORT, [IPv6]:PORT, :PORT or unix:PATH", a.text);
      return ERR_FORMAT;
    }
    e = parse_host((struct span){text.ptr, colon - 1}, (uint16_t)port, &a, why);
  }
  if (e == ERR_OK) *out = a;
  return e;
}

enum err address_of_socket(int fd, struct address *out) {
  struct address a = {.sa_len = sizeof a.sa};
  char host[INET6_ADDRSTRLEN];
  int v6only = 1;
  socklen_t len = sizeof v6only;
  if (getsockname(fd, (struct sockaddr *)&a.sa, &a.sa_len) != 0) return ERR_IO;
  switch (a.sa.ss_family) {
  case AF_UNIX:
    if (a.sa_len <= offsetof(struct sockaddr_un, sun_path)) return ERR_UNSUPPORTED; // no name
    snprintf(a.text, sizeof a.text, "unix:%s", address_unix_path(&a));
    break;
  case AF_INET:
    inet_ntop(AF_INET, &((const struct sockaddr_in *)&a.sa)->sin_addr, host, sizeof host);
    snprintf(a.text, sizeof a.text, "%s:%u", host, address_port(&a));
    break;
  case AF_INET6:
    getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &len);
    a.dual = !v6only;
    inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)&a.sa)->sin6_addr, host, sizeof host);
    if (a.dual)
      snprintf(a.text, sizeof a.text, ":%u", address_port(&a));
    else
      snprintf(a.text, sizeof a.text, "[%s]:%u", host, address_port(&a));
    break;
  default: return ERR_UNSUPPORTED;
  }
  *out = a;
  return ERR_OK;
}

bool address_equal(const struct address *a, const struct address *b) {
  if (a->sa.ss_family != b->sa.ss_family) return false;
  if (address_is_unix(a)) return strcmp(address_unix_path(a), address_unix_path(b)) == 0;
  if (address_port(a) != address_port(b)) return false;
  if (a->sa.ss_family == AF_INET)
    return ((const struct sockaddr_in *)&a->sa)->sin_addr.s_addr == ((const struct sockaddr_in *)&b->sa)->sin_addr.s_addr;
  return a->dual == b->dual && memcmp(&((const struct sockaddr_in6 *)&a->sa)->sin6_addr, &((const struct sockaddr_in6 *)&b->sa)->sin6_addr,
                                      sizeof(struct in6_addr)) == 0;
}

bool address_is_unix(const struct address *address) {
  return address->sa.ss_family == AF_UNIX;
}

const char *address_unix_path(const struct address *address) {
  return ((const struct sockaddr_un *)&address->sa)->sun_path;
}

uint16_t address_port(const struct address *address) {
  if (address->sa.ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)&address->sa)->sin6_port);
  if (address->sa.ss_family == AF_INET) return ntohs(((const struct sockaddr_in *)&address->sa)->sin_port);
  return 0;
}
