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

void listener__add(struct listener *listener, int fd) {
  listener->fds = xrealloc(listener->fds, (listener->count + 1) * sizeof *listener->fds);
  listener->fds[listener->count++] = fd;
}

static enum err listener_grow(const struct listeners *l, struct listener *listener, unsigned workers, bool admin, struct why *why) {
  unsigned wanted = listener->shared ? 1 : workers;
  while (listener->count < wanted) {
    int fd = -1;
    enum err e = address_is_unix(&listener->address) ? unix_open(l, &listener->address, admin ? 0660 : 0666, &fd, why)
                                                     : tcp_open(&listener->address, !listener->shared, &fd, why);
    if (e != ERR_OK) return e;
    listener__add(listener, fd);
  }
  return ERR_OK;
}

static const struct listener *find(const struct listeners *in, const struct address *address, bool admin) {
  if (!in) return NULL;
  if (admin && !in->inherited) return in->admin.count && address_equal(&in->admin.address, address) ? &in->admin : NULL;
  for (unsigned i = 0; i < in->count; i++)
    if (in->items[i].count && address_equal(&in->items[i].address, address)) return &in->items[i];
  return NULL;
}

static enum err listener_share_old(struct listener *listener, const struct listener *old, struct why *why) {
  for (unsigned i = 0; i < old->count; i++) {
    int fd = fcntl(old->fds[i], F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return refuse(-1, &listener->address, "keep", why);
    listener__add(listener, fd);
  }
  listener->shared |= old->shared;
  listener->foreign = old->foreign;
  listener->steered = old->steered;
  listener->stored = old->stored;
  listener->address.dual = old->address.dual;
  return ERR_OK;
}

// An address may widen or narrow in a reload (127.0.0.1:8000 to 0.0.0.0:8000): it is we who are in its way then.
static bool port_is_ours(const struct listeners *old, const struct address *address) {
  for (unsigned i = 0; old && i < old->count; i++)
    if (!address_is_unix(&old->items[i].address) && address_port(&old->items[i].address) == address_port(address)) return true;
  return false;
}

static enum err listener_open_first(struct listeners *l, struct listener *listener, bool admin, const struct listeners *old,
                                    int64_t patience_ms, struct why *why) {
  bool probe = !listener->shared && !port_is_ours(old, &listener->address);
  int64_t until_us = clock_mono_us() + patience_ms * 1000;
  for (;;) {
    enum err e = probe ? tcp_probe(&listener->address, why) : ERR_OK;
    if (e == ERR_OK) e = listener_grow(l, listener, 1, admin, why);
    if (e != ERR_CONFLICT || clock_mono_us() >= until_us) return e;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
}

static enum err listener_open(struct listeners *l, struct listener *listener, const char *text, bool admin, unsigned workers,
                              const struct listeners *old, int64_t patience_ms, struct why *why) {
  enum err e = address_parse(span_of(text), &listener->address, why);
  if (e != ERR_OK) return e;
  listener->shared = admin || address_is_unix(&listener->address);
  const struct listener *same = find(old, &listener->address, admin);
  e = same ? listener_share_old(listener, same, why) : listener_open_first(l, listener, admin, old, patience_ms, why);
  if (e == ERR_OK) e = listener_grow(l, listener, workers, admin, why);
  return e;
}

// "wahookd.conf:3: server.bind: cannot listen on ..."
static void name_place(const struct config *config, enum config_option_id id, struct why *why) {
  struct buf text = {0};
  config_place(config, id, &text);
  buf_printf(&text, ": %s", why->text);
  why_set(why, "%s", text.data);
  buf_free(&text);
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
  if (e == ERR_OK)
    *out = l;
  else {
    name_place(config, admin.len && l->admin.address.sa_len ? OPT_admin_bind : OPT_server_bind, why);
    listeners_close(l, old);
  }
  buf_free(&admin);
  return e;
}

enum err listeners_grow(struct listeners *l, unsigned workers, struct why *why) {
  for (unsigned i = 0; i < l->count; i++) {
    enum err e = listener_grow(l, &l->items[i], workers, false, why);
    if (e != ERR_OK) return e;
  }
  return ERR_OK;
}

// The last first: the kernel numbers the sockets of an address in the order of their listen(), and fills a gap with the last one.
void listeners_shrink(struct listeners *l, unsigned workers) {
  for (unsigned i = 0; i < l->count; i++) {
    struct listener *listener = &l->items[i];
    if (listener->shared || listener->count <= workers || listener->count == 1) continue;
    listener__unstore(listener, workers ? workers : 1);
    while (listener->count > workers && listener->count > 1)
      close(listener->fds[--listener->count]);
  }
}

static void listener_close(struct listener *listener, bool remove_file) {
  while (listener->count > 0)
    close(listener->fds[--listener->count]);
  if (remove_file && !listener->foreign && address_is_unix(&listener->address)) unlink(address_unix_path(&listener->address));
  free(listener->fds);
}

void listeners_close(struct listeners *l, const struct listeners *kept) {
  if (!l) return;
  for (unsigned i = 0; i < l->count; i++)
    listener_close(&l->items[i], l->items[i].count && !find(kept, &l->items[i].address, false) && !find(kept, &l->items[i].address, true));
  listener_close(&l->admin, l->admin.count && !find(kept, &l->admin.address, true));
  free(l->items);
  free(l);
}

void listeners_leave(struct listeners *l) {
  if (!l) return;
  for (unsigned i = 0; i < l->count; i++)
    listener_close(&l->items[i], false);
  listener_close(&l->admin, false);
  free(l->items);
  free(l);
}
