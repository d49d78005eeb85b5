// Detaching from the terminal, with a parent that waits until the daemon is ready.
#ifndef SUPERVISOR_DAEMON_H
#define SUPERVISOR_DAEMON_H

#include "wahook/base.h"

// Returns in the detached process only; the one that was started waits, and exits with 0 when daemon_ready() was called, else with the
// status that the detached one ended with.
enum err daemon_detach(int *ready_fd, struct why *why) MUST_CHECK;
void daemon_ready(int *ready_fd); // nothing happens for -1
// Before the children inherit it: nobody stays behind to read our stderr, and whoever waits for its end shall not wait for the daemon's.
// Kept where the log goes there and it is no terminal.
void daemon_leave_stderr(const char *log_target);

#endif
