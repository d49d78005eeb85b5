// What a child was started as and with: its role and its descriptors by name. Runs in workers and dispatcher (in the master: no role).
#include "wahook/proc.h"

#include <fcntl.h>
#include <stdlib.h>

const char *proc_role(void) {
  const char *role = getenv("WAHOOK_ROLE");
  // Both come together from proc_spawn; a person who exports one of them by mistake gets a master all the same.
  return role && *role && getenv("WAHOOK_FDS") ? role : NULL;
}

int proc_inherited(const char *name) {
  struct span rest = span_of(getenv("WAHOOK_FDS")), entry;
  while (span_split(&rest, ',', &entry)) {
    struct span key;
    uint64_t fd;
    if (!span_split(&entry, '=', &key) || !span_eq(key, span_of(name))) continue;
    if (span_u64(entry, &fd) != ERR_OK || fd > INT32_MAX) return -1;
    int flags = fcntl((int)fd, F_GETFD);
    if (flags < 0 || fcntl((int)fd, F_SETFD, flags | FD_CLOEXEC) != 0) return -1;
    return (int)fd;
  }
  return -1;
}
