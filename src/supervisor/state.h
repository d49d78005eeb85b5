// The state directory: made, locked against a second master, with the master's process id in it.
#ifndef SUPERVISOR_STATE_H
#define SUPERVISOR_STATE_H

#include <sys/types.h>

#include "wahook/config.h"

struct state {
  int lock_fd;
  char *pid_path;       // STATE_DIR/wahookd.pid, always
  char *extra_pid_path; // server.pid_file, NULL for none
};

// Makes the directory (0750, owned by server.user), takes the lock, writes the pid files.
// ERR_CONFLICT when another master works on it.
enum err state_open(const struct config *config, struct state *out, struct why *why) MUST_CHECK;
void state_close(struct state *state); // removes the pid files that hold our own pid, also those that were put aside

// An upgrade, with the pid files as nginx has them: the lock is handed over as a descriptor, the old master keeps its number in
// FILE.oldbin as long as it lives, and FILE names the one that leads.
// ERR_CONFLICT when the lock is that of another directory.
enum err state_inherit(const struct config *config, int lock_fd, struct state *out, struct why *why) MUST_CHECK;
enum err state_lead(const struct state *state, struct why *why) MUST_CHECK; // the new one: its number goes into the pid files
void state_put_aside(const struct state *state);                            // the old one, before
void state_put_back(const struct state *state);                             // the old one, when nothing came of it

// The master that works on a state directory; 0 when none does.
pid_t state_running_pid(const char *state_dir);
// server.user and server.group as numbers, (uid_t)-1 and (gid_t)-1 when there is nothing to change (not root, not set, not known).
void state_owner(const struct config *config, uid_t *uid, gid_t *gid);

// A lock that goes with the process: for the dispatcher, of which there is never more than one at work.
// ERR_AGAIN while somebody else holds it. The descriptor is the lock; close-on-exec.
enum err state_lock(const char *path, int *fd, struct why *why) MUST_CHECK;

#endif
