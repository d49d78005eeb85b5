// Opens, shares and closes the listening sockets. Runs in the master.
#include "supervisor/listeners.h"
#include "supervisor/state.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096

static enum err refuse(int fd, const struct address *a, const char *what, struct why *why) {
  int error = errno;
  if (fd >= 0) close(fd);
  const char *hint = error == EADDRINUSE ? " (stop the program that uses it, or set another address)"
                     : error == EACCES   ? " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
                                         : "";
  why_set(why, "cannot %s %s: %s%s", what, a->text, strerror(error), hint);
  return error == EADDRINUSE ? ERR_CONFLICT : ERR_IO;
}

static int tcp_socket(struct address *a) {
  int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 && a->dual && errno == EAFNOSUPPORT) {
    // A kernel without IPv6: ":PORT" means all of IPv4 then.
    uint16_t port = address_port(a);
    struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
    *in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_ANY)}};
    a->sa_len = sizeof *in;
    a->dual = false;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  }
  int one = 1, v6only = !a->dual;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (fd >= 0 && a->sa.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only);
  return fd;
}

// SO_REUSEPORT would let a second wahookd share the port without a word: a socket without it finds out first.
static enum err tcp_probe(struct address *a, struct why *why) {
  int fd = tcp_socket(a);
  if (fd < 0) return refuse(fd, a, "open", why);
  if (bind(fd, (struct sockaddr *)&a->sa, a->sa_len) != 0) return refuse(fd, a, "listen on", why);
  close(fd);
  return ERR_OK;
}

static enum err tcp_open(struct address *a, bool share_port, int *out, struct why *why) {
  int one = 1, fd = tcp_socket(a);
  if (fd < 0) return refuse(fd, a, "open", why);
  if (share_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) return refuse(fd, a, "share", why);
  if (bind(fd, (struct sockaddr *)&a->sa, a->sa_len) != 0 || listen(fd, BACKLOG) != 0) return refuse(fd, a, "listen on", why);
  *out = fd;
  return ERR_OK;
}

// A socket file that nobody answers on is left over from a crash and goes; a living one, or a file of another kind, stays.
static enum err unix_clear(const struct address *a, struct why *why) {
  const char *path = address_unix_path(a);
  struct stat st;
  if (lstat(path, &st) != 0) return ERR_OK;
  if (!S_ISSOCK(st.st_mode)) {
    why_set(why, "cannot listen on %s: a file that is no socket stands there", a->text);
    return ERR_EXISTS;
  }
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return refuse(fd, a, "open", why);
  bool answered = connect(fd, (const struct sockaddr *)&a->sa, a->sa_len) == 0 || errno != ECONNREFUSED;
  close(fd);
  if (answered) {
    errno = EADDRINUSE;
    return refuse(-1, a, "listen on", why);
  }
  unlink(path);
  return ERR_OK;
}

static enum err unix_open(const struct listeners *l, const struct address *a, mode_t mode, int *out, struct why *why) {
  enum err e = unix_clear(a, why);
  if (e != ERR_OK) return e;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return refuse(fd, a, "open", why);
  const char *path = address_unix_path(a);
  if (bind(fd, (const struct sockaddr *)&a->sa, a->sa_len) != 0) return refuse(fd, a, "listen on", why);
  // Before listen(): nobody can connect through rights that are too wide.
  bool owned = (l->uid == (uid_t)-1 && l->gid == (gid_t)-1) || chown(path, l->uid, l->gid) == 0;
  if (!owned || chmod(path, mode) != 0 || listen(fd, BACKLOG) != 0) {
    enum err failed = refuse(fd, a, "listen on", why);
    unlink(path);
    return failed;
  }
  *out = fd;
  return ERR_OK;
}

static void listener_add(struct listener *listener, int fd) {
  listener->fds = xrealloc(listener->fds, (listener->count + 1) * sizeof *listener->fds);
  listener->fds[listener->count++] = fd;
}

static enum err listener_grow(const struct listeners *l, struct listener *listener, unsigned wanted, bool admin, struct why *why) {
  while (listener->count < wanted) {
    int fd = -1;
    enum err e = address_is_unix(&listener->address) ? unix_open(l, &listener->address, admin ? 0660 : 0666, &fd, why)
                                                     : tcp_open(&listener->address, !admin, &fd, why);
    if (e != ERR_OK) return e;
    listener_add(listener, fd);
  }
  return ERR_OK;
}

static unsigned sockets_wanted(const struct listener *listener, bool admin, unsigned workers) {
  return admin || address_is_unix(&listener->address) ? 1 : workers;
}

// By the text as configured.
static const struct listener *find(const struct listeners *in, const char *text) {
  for (unsigned i = 0; in && i < in->count; i++)
    if (strcmp(in->items[i].address.text, text) == 0) return &in->items[i];
  return in && in->admin.count && strcmp(in->admin.address.text, text) == 0 ? &in->admin : NULL;
}

static enum err listener_share_old(struct listener *listener, const struct listener *old, struct why *why) {
  for (unsigned i = 0; i < old->count; i++) {
    int fd = fcntl(old->fds[i], F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return refuse(-1, &listener->address, "keep", why);
    listener_add(listener, fd);
  }
  listener->address = old->address;
  return ERR_OK;
}

static enum err listener_open(struct listeners *l, struct listener *listener, const char *text, bool admin, unsigned workers,
                              const struct listeners *old, int64_t patience_ms, struct why *why) {
  enum err e = address_parse(span_of(text), &listener->address, why);
  if (e != ERR_OK) return e;
  const struct listener *same = find(old, listener->address.text);
  if (same) {
    e = listener_share_old(listener, same, why);
  } else {
    int64_t until_us = clock_mono_us() + patience_ms * 1000;
    for (;;) {
      bool probe = !admin && !address_is_unix(&listener->address);
      e = probe ? tcp_probe(&listener->address, why) : ERR_OK;
      if (e == ERR_OK) e = listener_grow(l, listener, 1, admin, why);
      if (e != ERR_CONFLICT || clock_mono_us() >= until_us) break;
      nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
  }
  if (e == ERR_OK) e = listener_grow(l, listener, sockets_wanted(listener, admin, workers), admin, why);
  return e;
}

enum err listeners_open(const struct config *config, unsigned workers, const struct listeners *old, int64_t patience_ms,
                        struct listeners **out, struct why *why) {
  struct listeners *l = xcalloc(1, sizeof *l);
  state_owner(config, &l->uid, &l->gid);
  const struct config_list *bind_list = &config->server_bind;
  l->items = xcalloc(bind_list->count ? bind_list->count : 1, sizeof *l->items);
  enum err e = ERR_OK;
  for (size_t i = 0; i < bind_list->count && e == ERR_OK; i++) {
    l->count = (unsigned)i + 1;
    e = listener_open(l, &l->items[i], bind_list->items[i], false, workers, old, patience_ms, why);
  }
  struct buf admin = {0};
  config_admin_bind(config, &admin);
  if (e == ERR_OK && admin.len) e = listener_open(l, &l->admin, admin.data, true, workers, old, patience_ms, why);
  buf_free(&admin);
  if (e == ERR_OK)
    *out = l;
  else
    listeners_close(l, old);
  return e;
}

enum err listeners_grow(struct listeners *l, unsigned workers, struct why *why) {
  for (unsigned i = 0; i < l->count; i++) {
    enum err e = listener_grow(l, &l->items[i], sockets_wanted(&l->items[i], false, workers), false, why);
    if (e != ERR_OK) return e;
  }
  return ERR_OK;
}

static void listener_close(struct listener *listener, const struct listeners *kept) {
  for (unsigned i = 0; i < listener->count; i++)
    close(listener->fds[i]);
  bool stays = find(kept, listener->address.text) != NULL;
  if (listener->count && address_is_unix(&listener->address) && !stays) unlink(address_unix_path(&listener->address));
  free(listener->fds);
}

void listeners_close(struct listeners *l, const struct listeners *kept) {
  if (!l) return;
  for (unsigned i = 0; i < l->count; i++)
    listener_close(&l->items[i], kept);
  listener_close(&l->admin, kept);
  free(l->items);
  free(l);
}

unsigned listeners_share(const struct listeners *l, unsigned ordinal, unsigned workers, struct proc_fd *out, unsigned max) {
  unsigned n = 0, numbered = 0;
  for (unsigned i = 0; i < l->count; i++) {
    const struct listener *listener = &l->items[i];
    bool shared = address_is_unix(&listener->address);
    for (unsigned s = shared ? 0 : ordinal; s < listener->count && n + 1 < max; s += workers ? workers : 1) {
      snprintf(out[n].name, sizeof out[n].name, "listen.%u", numbered++);
      out[n++].fd = listener->fds[s];
      if (shared) break;
    }
  }
  if (l->admin.count && n < max) out[n++] = (struct proc_fd){"admin", l->admin.fds[0]};
  return n;
}

void listeners_describe(const struct listeners *l, struct buf *out) {
  for (unsigned i = 0; i < l->count; i++)
    buf_printf(out, "%s%s", i ? ", " : "", l->items[i].address.text);
}
