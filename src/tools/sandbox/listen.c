// The listening socket. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

// Cuts "host:port" in place; brackets around an IPv6 address go. An empty host is every address.
static bool cut(char *text, char **host, char **port) {
  char *colon = strrchr(text, ':');
  if (!colon || !colon[1]) return false;
  *colon = '\0';
  *port = colon + 1;
  *host = text;
  size_t len = strlen(text);
  if (text[0] == '[') {
    if (text[len - 1] != ']') return false;
    text[len - 1] = '\0';
    *host = text + 1;
  } else if (strchr(text, ':')) {
    return false; // an IPv6 address without brackets: where does the port begin?
  }
  return true;
}

static int open_socket(const struct addrinfo *a) {
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, zero = 0;
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
  if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static void describe(int fd, char text[static 64]) {
  struct sockaddr_storage sa;
  socklen_t len = sizeof sa;
  char host[48], port[8];
  if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
      getnameinfo((struct sockaddr *)&sa, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    snprintf(text, 64, "?");
    return;
  }
  snprintf(text, 64, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

enum err sandbox_listen(const char *address, int *fd, char text[static 64], struct why *why) {
  char *copy = xstrdup(address), *host, *port;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found = NULL;
  enum err err = ERR_CONFIG;
  int opened = -1, rc;
  if (!cut(copy, &host, &port)) {
    why_set(why, "--bind %s: expected HOST:PORT, [IPv6]:PORT or :PORT", address);
    goto out;
  }
  rc = getaddrinfo(*host ? host : NULL, port, &hints, &found);
  if (rc != 0) {
    why_set(why, "--bind %s: %s", address, gai_strerror(rc));
    goto out;
  }
  for (const struct addrinfo *a = found; a && opened < 0; a = a->ai_next)
    opened = open_socket(a);
  if (opened < 0) {
    why_set(why, "cannot listen on %s: %s", address, strerror(errno));
    err = ERR_UNAVAILABLE;
    goto out;
  }
  describe(opened, text);
  *fd = opened;
  err = ERR_OK;
out:
  if (found) freeaddrinfo(found);
  free(copy);
  return err;
}
