// The server's address, and sockets to it. Runs in wahook-load.
//
// Who closes a connection first keeps its port for a minute (TIME_WAIT, RFC 9293 section 3.6.1). Half of the new connections are closed by
// us: at 500 a second these are 15,000 ports of the kernel's usual 28,000. Cutting them short with a reset (SO_LINGER 0) would free the
// ports, but the server would see its clients die. Linux may take such a port again for a loopback connection after a second
// (tcp_tw_reuse), yet that is a setting of the machine. So new connections to a loopback address go out from 127.0.0.2 to .17 in turn, each
// with ports of its own: good for 16 times as many. With IP_BIND_ADDRESS_NO_PORT the port is chosen at connect(), where it need only be
// free towards this one target. Steady connections keep the usual address, so that a server that counts by address sees both kinds.
#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define SPREAD 16 // source addresses

static enum err parse_unix(struct span path, struct target *t, struct why *why) {
  struct sockaddr_un *un = (struct sockaddr_un *)&t->address;
  un->sun_family = AF_UNIX;
  if (!path.len || span_copy(path, un->sun_path, sizeof un->sun_path) != ERR_OK) {
    why_set(why, "the path of a unix socket must have 1 to %zu bytes", sizeof un->sun_path - 1);
    return ERR_CONFIG;
  }
  t->length = sizeof *un;
  return span_copy(SPAN("localhost"), t->host, sizeof t->host);
}

static enum err parse_tcp(struct span text, struct target *t, struct why *why) {
  char host[256], port[8];
  size_t colon = text.len;
  while (colon > 0 && text.ptr[colon - 1] != ':')
    colon--;
  struct span name = {text.ptr, colon ? colon - 1 : 0};
  bool brackets = name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']';
  if (brackets) name = (struct span){name.ptr + 1, name.len - 2};
  if (!name.len || (!brackets && memchr(name.ptr, ':', name.len)) || span_copy(name, host, sizeof host) != ERR_OK ||
      span_copy(span_from(text, colon), port, sizeof port) != ERR_OK || span_copy(text, t->host, sizeof t->host) != ERR_OK) {
    why_set(why, "--target must be HOST:PORT, [IPv6]:PORT or unix:PATH");
    return ERR_CONFIG;
  }
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
  int code = getaddrinfo(host, port, &hints, &found);
  if (code != 0) {
    why_set(why, "--target %s: %s", t->host, gai_strerror(code));
    return ERR_CONFIG;
  }
  memcpy(&t->address, found->ai_addr, found->ai_addrlen);
  t->length = found->ai_addrlen;
  freeaddrinfo(found);
  return ERR_OK;
}

enum err target_parse(const char *text, struct target *out, struct why *why) {
  struct target t = {0};
  struct span s = span_of(text);
  enum err e = span_starts(s, SPAN("unix:")) ? parse_unix(span_from(s, 5), &t, why) : parse_tcp(s, &t, why);
  if (e == ERR_OK) *out = t;
  return e;
}

static bool is_loopback(const struct target *t) {
  const struct sockaddr_in *in = (const struct sockaddr_in *)&t->address;
  return in->sin_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

// Where it fails (a machine whose loopback is one address only) the kernel's choice is as good.
static void bind_source(struct target *t, int fd) {
  int one = 1;
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK + 1 + t->turn++ % SPREAD)}};
  if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) == 0) (void)bind(fd, (struct sockaddr *)&from, sizeof from);
}

int target_connect(struct target *t, bool spread, bool *ours) {
  int fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  *ours = true;
  if (fd < 0) return -1;
  if (t->address.ss_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (spread && is_loopback(t)) bind_source(t, fd);
  if (connect(fd, (struct sockaddr *)&t->address, t->length) == 0 || errno == EINPROGRESS) return fd;
  int error = errno;
  *ours = error == EADDRNOTAVAIL || error == ENOBUFS || error == ENOMEM || error == EADDRINUSE;
  close(fd);
  errno = error;
  return -1;
}
