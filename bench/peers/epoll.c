// The limit that the kernel sets: reads whole requests with raw epoll and answers each with a constant. A program of its own, made by
// the bench; what it saves itself is all that a server does for its user.
//   bench-epoll PORT WORKERS
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#define EVENTS   256
#define PEER_MAX 65536
#define BUFFER   16384

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}";

// What a connection has sent of a request that is not whole yet. Nearly always all of it comes at once and this stays empty.
struct peer {
  size_t len;
  char *bytes;
};
static struct peer *peers[PEER_MAX];

// Bytes of the first request; 0: it is not whole yet.
static size_t request_size(const char *bytes, size_t len) {
  const char *end = memmem(bytes, len, "\r\n\r\n", 4);
  if (!end) return 0;
  size_t head = (size_t)(end - bytes) + 4, body = 0;
  const char *field = memmem(bytes, head, "Content-Length: ", 16);
  if (field) body = strtoul(field + 16, NULL, 10);
  return len - head < body ? 0 : head + body;
}

// False when the connection is over.
static bool serve(int fd, const char *bytes, size_t len) {
  struct peer *p = peers[fd];
  if (p->len) {
    if (p->len + len > BUFFER) return false;
    memcpy(p->bytes + p->len, bytes, len);
    bytes = p->bytes;
    len += p->len;
  }
  size_t size;
  while (len && (size = request_size(bytes, len)) > 0) {
    if (send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) != sizeof answer - 1) return false;
    bytes += size;
    len -= size;
  }
  if (len && !p->bytes && !(p->bytes = malloc(BUFFER))) return false;
  if (len > BUFFER) return false;
  if (len) memmove(p->bytes, bytes, len);
  p->len = len;
  return true;
}

static void add(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) exit(1);
}

static void take_in(int epoll, int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd < PEER_MAX && !peers[fd]) peers[fd] = calloc(1, sizeof *peers[fd]);
    if (fd >= PEER_MAX || !peers[fd]) {
      close(fd);
      continue;
    }
    peers[fd]->len = 0;
    add(epoll, fd);
  }
}

static int listen_at(unsigned port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) return -1;
  if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4096) != 0) return -1;
  return fd;
}

static int work(unsigned port) {
  static char in[65536];
  int epoll = epoll_create1(EPOLL_CLOEXEC), listener = listen_at(port);
  if (epoll < 0 || listener < 0) return 1;
  add(epoll, listener);
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        take_in(epoll, listener);
        continue;
      }
      ssize_t got = recv(fd, in, sizeof in, 0);
      if (got <= 0 || !serve(fd, in, (size_t)got)) close(fd);
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: bench-epoll PORT WORKERS\n");
    return 64;
  }
  unsigned port = (unsigned)strtoul(argv[1], NULL, 10);
  for (unsigned long i = strtoul(argv[2], NULL, 10); i > 1; i--)
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      break;
    }
  return work(port);
}
