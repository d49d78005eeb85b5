// Who gets which of the listening sockets: workers, a new master, the service manager; and where new connections go. Runs in the master.
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/listeners.h"
#include "wahook/log.h"

#define WORKERS_MAX    64
#define NAME_MAX_BYTES 200

unsigned listeners_share(const struct listeners *l, unsigned ordinal, struct proc_fd *out, unsigned max) {
  unsigned n = 0;
  for (unsigned i = 0; i < l->count && n + 1 < max; i++) {
    const struct listener *listener = &l->items[i];
    unsigned socket = listener->shared ? 0 : ordinal;
    if (socket >= listener->count) continue;
    snprintf(out[n].name, sizeof out[n].name, "listen.%u", n);
    out[n++].fd = listener->fds[socket];
  }
  if (l->admin.count && n < max) out[n++] = (struct proc_fd){"admin", l->admin.fds[0]};
  return n;
}

unsigned listeners_workers(const struct listeners *l) {
  unsigned most = 0;
  for (unsigned i = 0; i < l->count; i++)
    if (!l->items[i].shared && l->items[i].count > most) most = l->items[i].count;
  return most;
}

unsigned listeners_waiting(const struct listeners *l, unsigned ordinal) {
  unsigned waiting = 0;
  for (unsigned i = 0; i < l->count; i++) {
    const struct listener *listener = &l->items[i];
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (listener->shared || ordinal >= listener->count) continue;
    // For a listening socket this field holds the length of its accept queue.
    if (getsockopt(listener->fds[ordinal], IPPROTO_TCP, TCP_INFO, &info, &len) == 0) waiting += info.tcpi_unacked;
  }
  return waiting;
}

// ---------------------------------------------------------------- steering
//
// SO_REUSEPORT alone gives a socket its share of new connections whether or not anybody accepts from it. A program of the classic packet
// filter (SO_ATTACH_REUSEPORT_CBPF, socket(7)) names the socket for each new connection by its number within the address:
//
//   A = random; A = A mod k; if A == 0 return socket[0]; if A == 1 return socket[1]; ...
//
// Handshakes under way and connections in a queue are not touched.

static unsigned steer_program(const unsigned *sockets, unsigned count, struct sock_filter *out) {
  unsigned n = 0;
  out[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
  out[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, count);
  for (unsigned i = 1; i < count; i++) {
    out[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, i, 0, 1);
    out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, sockets[i]);
  }
  out[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, sockets[0]);
  return n;
}

// Nobody ready: it stays as it was, since they come back to the same sockets.
static bool listener_steer(struct listener *listener, uint64_t workers) {
  unsigned sockets[WORKERS_MAX], count = 0;
  uint64_t wanted = 0;
  for (unsigned i = 0; i < listener->count && i < WORKERS_MAX; i++) {
    if (!(workers >> i & 1)) continue;
    sockets[count++] = i;
    wanted |= 1ull << i;
  }
  if (count == 0 || wanted == listener->steered) return true;
  struct sock_filter code[2 * WORKERS_MAX + 2];
  struct sock_fprog program = {.len = (unsigned short)steer_program(sockets, count, code), .filter = code};
  if (setsockopt(listener->fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) != 0) return false;
  listener->steered = wanted;
  return true;
}

bool listeners_steer(struct listeners *l, uint64_t workers) {
  bool done = true;
  for (unsigned i = 0; i < l->count; i++)
    if (!l->items[i].shared && l->items[i].count > 0) done = listener_steer(&l->items[i], workers) && done;
  return done;
}

// ---------------------------------------------------------------- from master to master, and through the service manager

static unsigned hand_over_one(const struct listener *listener, struct proc_fd *out, unsigned n, unsigned max) {
  for (unsigned s = 0; s < listener->count && n < max; s++) {
    snprintf(out[n].name, sizeof out[n].name, listener->foreign ? "foreign.%u" : "socket.%u", n);
    out[n++].fd = listener->fds[s];
  }
  return n;
}

unsigned listeners_hand_over(const struct listeners *l, struct proc_fd *out, unsigned max) {
  unsigned n = 0;
  for (unsigned i = 0; i < l->count; i++)
    n = hand_over_one(&l->items[i], out, n, max);
  return hand_over_one(&l->admin, out, n, max);
}

static void inherit_one(struct listeners *l, int fd, bool foreign) {
  struct address address;
  int listening = 0, reuse_port = 0;
  socklen_t len = sizeof listening;
  bool usable = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening && address_of_socket(fd, &address) == ERR_OK;
  if (!usable) {
    log_warning("supervisor", "descriptor %d that was passed at the start is no listening TCP or unix socket: closed", fd);
    close(fd);
    return;
  }
  len = sizeof reuse_port;
  getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse_port, &len);
  struct listener *listener = NULL;
  for (unsigned i = 0; i < l->count && !listener; i++)
    if (address_equal(&l->items[i].address, &address)) listener = &l->items[i];
  if (!listener) {
    l->items = xrealloc(l->items, (l->count + 1) * sizeof *l->items);
    listener = &l->items[l->count++];
    *listener = (struct listener){.address = address, .foreign = foreign, .shared = address_is_unix(&address) || !reuse_port};
  }
  listener__add(listener, fd);
  if (!foreign && proc_service_manager()) listener->stored = listener->count; // by the former master
}

// "wahookd_127.0.0.1_8000_3": the number at the end orders the sockets of an address; ':' would end a name.
static void store_name(const struct listener *listener, unsigned number, char out[static NAME_MAX_BYTES]) {
  snprintf(out, NAME_MAX_BYTES, "wahookd_%s_%u", listener->address.text, number);
  for (char *p = out; *p; p++)
    if (*p == ':' || *p == '/') *p = '_';
}

struct stored {
  int fd;
  unsigned number;
  bool ours;
};

static int by_number(const void *a, const void *b) {
  const struct stored *one = a, *other = b;
  return (one->number > other->number) - (one->number < other->number);
}

static void inherit_from_service(struct listeners *l) {
  unsigned count = proc_service_fds();
  struct stored *all = xcalloc(count + 1, sizeof *all);
  for (unsigned i = 0; i < count; i++) {
    struct span name = proc_service_fd_name(i), part = {NULL, 0};
    uint64_t number = 0;
    bool ours = name.ptr && span_starts(name, SPAN("wahookd_"));
    while (ours && span_split(&name, '_', &part)) {}
    ours = ours && span_u64(part, &number) == ERR_OK;
    all[i] = (struct stored){.fd = PROC_SERVICE_FD + (int)i, .number = ours ? (unsigned)number : i, .ours = ours};
  }
  qsort(all, count, sizeof *all, by_number);
  for (unsigned i = 0; i < count; i++)
    inherit_one(l, all[i].fd, !all[i].ours);
  free(all);
}

struct listeners *listeners_inherit(void) {
  struct listeners *l = xcalloc(1, sizeof *l);
  l->inherited = true;
  for (unsigned i = 0; i < PROC_FDS_MAX; i++) {
    char name[24];
    snprintf(name, sizeof name, "socket.%u", i);
    int fd = proc_inherited(name);
    bool foreign = fd < 0;
    if (foreign) {
      snprintf(name, sizeof name, "foreign.%u", i);
      fd = proc_inherited(name);
    }
    if (fd < 0) break;
    inherit_one(l, fd, foreign);
  }
  inherit_from_service(l);
  if (l->count) return l;
  listeners_leave(l);
  return NULL;
}

static void store_one(struct listener *listener) {
  char name[NAME_MAX_BYTES];
  if (listener->foreign) return; // it comes again by itself
  for (; listener->stored < listener->count; listener->stored++) {
    store_name(listener, listener->stored, name);
    proc_notify(listener->fds[listener->stored], "FDSTORE=1\nFDNAME=%s", name);
  }
}

void listener__unstore(struct listener *listener, unsigned from) {
  char name[NAME_MAX_BYTES];
  for (; listener->stored > from; listener->stored--) {
    store_name(listener, listener->stored - 1, name);
    proc_notify(-1, "FDSTOREREMOVE=1\nFDNAME=%s", name);
  }
}

static bool has_address(const struct listeners *l, const struct address *address) {
  bool has = l->admin.count && address_equal(&l->admin.address, address);
  for (unsigned i = 0; i < l->count && !has; i++)
    has = address_equal(&l->items[i].address, address);
  return has;
}

void listeners_tell_unused(const struct listeners *inherited, const struct listeners *used) {
  for (unsigned i = 0; i < inherited->count; i++)
    if (!has_address(used, &inherited->items[i].address))
      log_warning("supervisor", "the socket %s was passed at the start, but neither server.bind nor admin.bind names it: closed",
                  inherited->items[i].address.text);
}

void listeners_store(struct listeners *l, struct listeners *gone) {
  if (!proc_service_manager()) return;
  for (unsigned i = 0; gone && i < gone->count; i++)
    if (!has_address(l, &gone->items[i].address)) listener__unstore(&gone->items[i], 0);
  if (gone && gone->admin.count && !has_address(l, &gone->admin.address)) listener__unstore(&gone->admin, 0);
  for (unsigned i = 0; i < l->count; i++)
    store_one(&l->items[i]);
  if (l->admin.count) store_one(&l->admin);
}

void listeners_describe(const struct listeners *l, struct buf *out) {
  for (unsigned i = 0; i < l->count; i++)
    buf_printf(out, "%s%s", i ? ", " : "", l->items[i].address.text);
}
