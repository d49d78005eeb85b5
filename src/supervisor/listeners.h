// The listening sockets: opened and kept by the master, so that no connection is lost when a worker is replaced.
#ifndef SUPERVISOR_LISTENERS_H
#define SUPERVISOR_LISTENERS_H

#include "supervisor/address.h"
#include "wahook/config.h"
#include "wahook/proc.h"

// One address. TCP: a SO_REUSEPORT socket per worker, so that the kernel spreads connections; socket i belongs to worker i.
struct listener {
  struct address address;
  int *fds;
  unsigned count;
  bool shared;      // one socket for all workers: unix, the operator's, one from outside that was made without SO_REUSEPORT
  bool foreign;     // somebody else made it (socket activation): a unix socket's file is theirs
  uint64_t steered; // workers that get its new connections, 0: not known, or all
  unsigned stored;  // the first so many are known to the service manager
};

struct listeners {
  struct listener *items; // public ones
  unsigned count;
  struct listener admin; // count 0: none
  bool inherited;        // a former master's or the service manager's: which one is the operator's is not known
  uid_t uid;             // owner of unix sockets, -1: nobody in particular
  gid_t gid;
};

// ---- listeners.c: opening and closing

// Opens what the configuration says, for that many workers. Sockets of addresses that `old` (may be NULL) has, too, are shared with it:
// both sets are closed on their own. Waits up to `patience_ms` for an address that is in use (children of a master that died let go of it).
enum err listeners_open(const struct config *config, unsigned workers, const struct listeners *old, int64_t patience_ms,
                        struct listeners **out, struct why *why) MUST_CHECK;
// More sockets where there are fewer than workers.
enum err listeners_grow(struct listeners *listeners, unsigned workers, struct why *why) MUST_CHECK;
// Closes the sockets of workers from `workers` on: nobody accepts from them and no new connection is sent there (listeners_steer).
void listeners_shrink(struct listeners *listeners, unsigned workers);
// Closes; removes the files of unix sockets of our own unless `kept` (may be NULL) has them, too.
void listeners_close(struct listeners *listeners, const struct listeners *kept);
// Closes, and leaves the files of unix sockets where they are: a successor, or the service manager, has the sockets.
void listeners_leave(struct listeners *listeners);

// ---- share.c: who gets which

// What worker `ordinal` accepts from: its own socket of each address, and those that are shared. Named "listen.N" and "admin".
// Returns how many.
unsigned listeners_share(const struct listeners *listeners, unsigned ordinal, struct proc_fd *out, unsigned max);
// How many workers have sockets: more than there shall be after a reduction, until the surplus has drained.
unsigned listeners_workers(const struct listeners *listeners);
// New connections go to the sockets of these workers only (bit i: worker i), also when more sockets are opened later; 0: as before.
// Connections that are there already stay where they are. False when the kernel cannot do it (before Linux 4.6): it spreads over all then.
bool listeners_steer(struct listeners *listeners, uint64_t workers);
// Connections that wait to be accepted in the sockets of worker `ordinal`.
unsigned listeners_waiting(const struct listeners *listeners, unsigned ordinal);
// All sockets under names that listeners_inherit() understands, for a new master. Returns how many.
unsigned listeners_hand_over(const struct listeners *listeners, struct proc_fd *out, unsigned max);
// Sockets that were handed over by a former master or the service manager, as an "old" set for listeners_open(). Takes the descriptors
// over; those of them that cannot be used are named in the log and closed. NULL when there is none.
struct listeners *listeners_inherit(void);
void listeners_tell_unused(const struct listeners *inherited, const struct listeners *used); // in the log
// Gives what is new to the service manager's descriptor store, so that a restart loses no connection; and takes `gone` (may be NULL) out.
void listeners_store(struct listeners *listeners, struct listeners *gone);
// "127.0.0.1:8000, [::1]:8000" for the log.
void listeners_describe(const struct listeners *listeners, struct buf *out);

// ---- shared by both files

void listener__add(struct listener *listener, int fd);
// Takes the sockets from number `from` on out of the service manager's store.
void listener__unstore(struct listener *listener, unsigned from);

#endif
