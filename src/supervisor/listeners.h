// The listening sockets: opened and kept by the master, so that no connection is lost when a worker is replaced.
#ifndef SUPERVISOR_LISTENERS_H
#define SUPERVISOR_LISTENERS_H

#include "supervisor/address.h"
#include "wahook/config.h"
#include "wahook/proc.h"

// One address. TCP: a SO_REUSEPORT socket per worker, so that the kernel spreads connections. Unix: one socket for all.
struct listener {
  struct address address;
  int *fds;
  unsigned count;
};

struct listeners {
  struct listener *items; // public ones
  unsigned count;
  struct listener admin; // count 0: none
  uid_t uid;             // owner of unix sockets, -1: nobody in particular
  gid_t gid;
};

// Opens what the configuration says, for that many workers. Sockets of addresses that `old` (may be NULL) has, too, are shared with it:
// both sets are closed on their own. Waits up to `patience_ms` for an address that is in use (children of a master that died let go of it).
enum err listeners_open(const struct config *config, unsigned workers, const struct listeners *old, int64_t patience_ms,
                        struct listeners **out, struct why *why) MUST_CHECK;
// More sockets where there are fewer than workers.
enum err listeners_grow(struct listeners *listeners, unsigned workers, struct why *why) MUST_CHECK;
// Closes; removes the files of unix sockets unless `kept` (may be NULL) has them, too.
void listeners_close(struct listeners *listeners, const struct listeners *kept);

// What worker `ordinal` of `workers` accepts from: its own socket of each address, and, after a reduction, its share of the sockets that
// nobody owns any more (closing them would reset the connections that wait in them). Named "listen.N" and "admin". Returns how many.
unsigned listeners_share(const struct listeners *listeners, unsigned ordinal, unsigned workers, struct proc_fd *out, unsigned max);
// "127.0.0.1:8000, [::1]:8000" for the log.
void listeners_describe(const struct listeners *listeners, struct buf *out);

#endif
