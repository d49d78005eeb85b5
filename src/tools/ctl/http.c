// One HTTP/1.1 request to an address of the configuration, blocking with a deadline: a tool needs no loop. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX ((size_t)64 << 20)

// ---------------------------------------------------------------- answers

// The value of a header in a head block; absent when it is not there.
static struct span find_header(struct span head, struct span name) {
  struct span line;
  while (head.ptr && span_split(&head, '\n', &line)) {
    if (line.len <= name.len || line.ptr[name.len] != ':') continue;
    if (!span_eq_nocase((struct span){line.ptr, name.len}, name)) continue;
    line = span_from(line, name.len + 1);
    if (line.len && line.ptr[line.len - 1] == '\r') line.len--;
    return span_trim(line);
  }
  return (struct span){NULL, 0};
}

static enum err parse_chunks(struct span rest, struct buf *body) {
  for (;;) {
    if (!rest.ptr) return ERR_AGAIN;
    const char *end = memmem(rest.ptr, rest.len, "\r\n", 2);
    if (!end) return ERR_AGAIN;
    char *stop;
    unsigned long size = strtoul(rest.ptr, &stop, 16);
    if (stop == rest.ptr || size > ANSWER_MAX) return ERR_FORMAT;
    rest = span_from(rest, (size_t)(end + 2 - rest.ptr));
    if (size == 0) return ERR_OK;
    if (rest.len < size + 2) return ERR_AGAIN;
    buf_add(body, rest.ptr, size);
    rest = span_from(rest, size + 2);
  }
}

enum err ctl_http_parse(struct span bytes, bool ended, int *status, struct buf *body) {
  uint64_t length, code;
  const char *end = bytes.len ? memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4) : NULL;
  if (!end) return ended ? ERR_TRUNCATED : ERR_AGAIN;
  struct span head = {bytes.ptr, (size_t)(end - bytes.ptr)}, rest = span_from(bytes, head.len + 4);
  if (head.len < 12 || !span_starts(head, SPAN("HTTP/1.")) || span_u64((struct span){head.ptr + 9, 3}, &code)) return ERR_FORMAT;
  if (code >= 100 && code < 200) return ctl_http_parse(rest, ended, status, body); // 100 Continue and the like
  struct span length_text = find_header(head, SPAN("content-length"));
  enum err e = ERR_OK;
  buf_clear(body);
  if (span_eq_nocase(find_header(head, SPAN("transfer-encoding")), SPAN("chunked"))) {
    e = parse_chunks(rest, body);
  } else if (length_text.ptr) {
    if (span_u64(length_text, &length) || length > ANSWER_MAX) return ERR_FORMAT;
    if (rest.len < length)
      e = ERR_AGAIN;
    else
      buf_add(body, rest.ptr, length);
  } else if (!ended && code != 204 && code != 304) {
    e = ERR_AGAIN;
  } else {
    buf_add_span(body, rest);
  }
  if (e) return e == ERR_AGAIN && ended ? ERR_TRUNCATED : e;
  *status = (int)code;
  return ERR_OK;
}

// ---------------------------------------------------------------- connection

#define ALSO_MAX 2

struct wire {
  int fd;
  int64_t deadline_us;
  const struct ctl_wait *wait;
};

static enum err wait_for(const struct wire *wire, short events) {
  struct pollfd polled[1 + ALSO_MAX] = {{.fd = wire->fd, .events = events}};
  ALWAYS(wire->wait->also_count <= ALSO_MAX);
  for (unsigned i = 0; i < wire->wait->also_count; i++)
    polled[1 + i] = wire->wait->also[i];
  for (;;) {
    int64_t left_ms = (wire->deadline_us - clock_mono_us()) / 1000;
    if (left_ms <= 0) return ERR_TIMEOUT;
    int n = poll(polled, 1 + wire->wait->also_count, (int)left_ms);
    if (n > 0) return polled[0].revents ? ERR_OK : ERR_CANCELED;
    if (n == 0) return ERR_TIMEOUT;
    if (errno != EINTR) return ERR_IO;
  }
}

static enum err connect_to(struct wire *wire, const struct sockaddr *address, socklen_t len) {
  int error = 0;
  socklen_t error_len = sizeof error;
  wire->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (wire->fd < 0) return ERR_IO;
  if (connect(wire->fd, address, len) == 0) return ERR_OK;
  if (errno == EINPROGRESS) {
    enum err e = wait_for(wire, POLLOUT);
    if (e) return e;
    if (getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &error, &error_len) == 0 && !error) return ERR_OK;
    errno = error;
  }
  return ERR_UNAVAILABLE;
}

static enum err connect_unix(struct wire *wire, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (span_copy(span_of(path), address.sun_path, sizeof address.sun_path)) return ERR_TOO_LARGE;
  return connect_to(wire, (const struct sockaddr *)&address, sizeof address);
}

// A wildcard address is a place to listen, not one to go to.
static const char *host_of(struct span host, char *out, size_t out_size) {
  if (host.len >= 2 && host.ptr[0] == '[') host = (struct span){host.ptr + 1, host.len - 2};
  if (span_eq(host, SPAN("")) || span_eq(host, SPAN("0.0.0.0"))) return "127.0.0.1";
  if (span_eq(host, SPAN("::"))) return "::1";
  return span_copy(host, out, out_size) ? NULL : out;
}

static enum err connect_tcp(struct wire *wire, const char *address, struct why *why) {
  char host[256];
  const char *colon = strrchr(address, ':');
  const char *name = colon ? host_of((struct span){address, (size_t)(colon - address)}, host, sizeof host) : NULL;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
  if (!name || getaddrinfo(name, colon + 1, &hints, &found) != 0) {
    why_set(why, "%s: no such address", address);
    return ERR_UNAVAILABLE;
  }
  enum err e = ERR_UNAVAILABLE;
  for (struct addrinfo *a = found; a && e; a = a->ai_next) {
    if (wire->fd >= 0) close(wire->fd);
    e = connect_to(wire, a->ai_addr, a->ai_addrlen);
  }
  freeaddrinfo(found);
  return e;
}

static enum err write_all(const struct wire *wire, struct span bytes) {
  while (bytes.len) {
    ssize_t n = send(wire->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
    if (n > 0) {
      bytes = span_from(bytes, (size_t)n);
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return ERR_OK; // refused in the middle: the answer may tell why
    enum err e = wait_for(wire, POLLOUT);
    if (e) return e;
  }
  return ERR_OK;
}

static enum err read_answer(const struct wire *wire, struct ctl_answer *answer) {
  struct buf bytes = {NULL, 0, 0};
  enum err e = ERR_AGAIN;
  while (e == ERR_AGAIN) {
    ssize_t n = recv(wire->fd, buf_reserve(&bytes, 65536), 65536, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      enum err waited = wait_for(wire, POLLIN);
      if (waited) e = waited;
      continue;
    }
    if (n > 0) bytes.len += (size_t)n;
    if (n < 0 && !bytes.len)
      e = ERR_IO;
    else
      e = bytes.len > ANSWER_MAX ? ERR_TOO_LARGE : ctl_http_parse(buf_span(&bytes), n <= 0, &answer->status, &answer->body);
  }
  buf_free(&bytes);
  return e;
}

enum err ctl_http(const struct ctl_request *request, struct ctl_answer *answer, struct why *why) {
  int64_t started_us = clock_mono_us();
  struct wire wire = {.fd = -1, .deadline_us = started_us + request->wait.timeout_ms * 1000, .wait = &request->wait};
  bool local = span_starts(span_of(request->address), SPAN("unix:"));
  struct buf head = {NULL, 0, 0};
  why_set(why, "%s", "");
  *answer = (struct ctl_answer){.status = 0};
  enum err e = local ? connect_unix(&wire, request->address + 5) : connect_tcp(&wire, request->address, why);
  if (e && why && !*why->text) why_set(why, "%s: %s", request->address, e == ERR_UNAVAILABLE ? strerror(errno) : err_text(e));
  if (e) goto out;
  buf_printf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: wahookctl/" WAHOOK_VERSION "\r\nConnection: close\r\n", request->method,
             request->path, local ? "localhost" : request->address);
  if (request->body.ptr) buf_printf(&head, "Content-Length: %zu\r\n", request->body.len);
  buf_printf(&head, "%s\r\n", request->headers ? request->headers : "");
  started_us = clock_mono_us(); // the answer's time, not the connection's
  buf_add_span(&head, request->body);
  e = write_all(&wire, buf_span(&head));
  if (!e) e = read_answer(&wire, answer);
  answer->duration_us = clock_mono_us() - started_us;
  if (e)
    why_set(why, "%s: the answer %s", request->address,
            e == ERR_TIMEOUT     ? "took too long"
            : e == ERR_TRUNCATED ? "ended too early"
                                 : err_text(e));
out:
  if (e) ctl_answer_free(answer);
  if (wire.fd >= 0) close(wire.fd);
  buf_free(&head);
  return e;
}

void ctl_answer_free(struct ctl_answer *answer) {
  buf_free(&answer->body);
}
