// The service manager's side channel: state and descriptors as datagrams to $NOTIFY_SOCKET, sockets by $LISTEN_FDS. Runs in the master.
//
// The protocol is systemd's documented and stable interface (sd_notify(3), "Standalone implementations"; sd_listen_fds(3)). A few lines
// here keep the library, and the four others that it loads, out of processes that hold secrets.
#include "wahook/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// False: nobody wants to know.
static bool notify_address(struct sockaddr_un *un, socklen_t *len) {
  const char *path = getenv("NOTIFY_SOCKET");
  if (!path || (path[0] != '/' && path[0] != '@') || !path[1]) return false;
  *un = (struct sockaddr_un){.sun_family = AF_UNIX};
  size_t n = strlen(path);
  if (n >= sizeof un->sun_path) return false;
  memcpy(un->sun_path, path, n);
  if (path[0] == '@') un->sun_path[0] = 0; // the abstract name space
  *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/'));
  return true;
}

bool proc_service_manager(void) {
  struct sockaddr_un un;
  socklen_t len;
  return notify_address(&un, &len);
}

void proc_notify(int fd, const char *fmt, ...) {
  struct sockaddr_un un;
  socklen_t len;
  if (!notify_address(&un, &len)) return;
  struct buf text = {0};
  va_list ap;
  va_start(ap, fmt);
  buf_vprintf(&text, fmt, ap);
  va_end(ap);
  struct iovec part = {text.data, text.len};
  struct msghdr message = {.msg_name = &un, .msg_namelen = len, .msg_iov = &part, .msg_iovlen = 1};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  if (fd >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  int to = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (to >= 0) {
    ssize_t sent = sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; // a manager that does not listen is no reason to stop
    close(to);
  }
  buf_free(&text);
}

// Variables that are meant for another process of the same environment do not count.
static bool is_for_us(const char *variable) {
  const char *text = getenv(variable);
  uint64_t pid;
  return text && span_u64(span_of(text), &pid) == ERR_OK && pid == (uint64_t)getpid();
}

int64_t proc_watchdog_us(void) {
  uint64_t us;
  if (getenv("WATCHDOG_PID") && !is_for_us("WATCHDOG_PID")) return 0;
  if (span_u64(span_of(getenv("WATCHDOG_USEC")), &us) != ERR_OK || us > INT64_MAX) return 0;
  return (int64_t)us;
}

unsigned proc_service_fds(void) {
  uint64_t count;
  if (!is_for_us("LISTEN_PID") || span_u64(span_of(getenv("LISTEN_FDS")), &count) != ERR_OK || count > PROC_FDS_MAX) return 0;
  for (unsigned i = 0; i < count; i++)
    fcntl(PROC_SERVICE_FD + (int)i, F_SETFD, FD_CLOEXEC);
  return (unsigned)count;
}

struct span proc_service_fd_name(unsigned i) {
  struct span rest = span_of(getenv("LISTEN_FDNAMES")), name = {NULL, 0};
  for (unsigned at = 0; at <= i; at++)
    if (!span_split(&rest, ':', &name)) return (struct span){NULL, 0};
  return name;
}
