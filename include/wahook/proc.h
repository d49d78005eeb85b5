// Processes: spawning oneself in a role with a list of inherited descriptors, framed messages between master and child, privileges, title.
#ifndef WAHOOK_PROC_H
#define WAHOOK_PROC_H

#include <sys/types.h>

#include "wahook/loop.h"

// Descriptors travel by name: the child asks for "shm", "config", "control", "listen.0", "admin", "wake".
#define PROC_FDS_MAX 1024 // a master that is upgraded hands over every listening socket
struct proc_fd {
  char name[24];
  int fd;
};

struct proc_spawn {
  const char *exe;   // NULL: /proc/self/exe
  const char *role;  // "worker", "dispatcher"
  const char *title; // argv[0] of the child, what ps shows: "wahookd: worker 0"
  char *const *argv; // the child's whole command line instead of a title (NULL-terminated, may be NULL)
  const struct proc_fd *fds;
  unsigned fd_count;
  const char *const *env; // extra NAME=value, NULL-terminated (may be NULL); the child gets PATH, LANG, TZ, HOME, TMPDIR and *_OPTIONS of
                          // sanitizers besides
  char *const *environ;   // instead of that selection: all of it (NULL-terminated, may be NULL)
};
// fork + exec. Only the named descriptors cross (numbered from 3 in the child); everything else is closed. Signal mask and dispositions are
// reset. The child gets PR_SET_PDEATHSIG-independent notice of the master's death through its control socket.
enum err proc_spawn(const struct proc_spawn *spawn, pid_t *pid, struct why *why) MUST_CHECK;

// In the child: the role it was started in, NULL for a process that a person started.
const char *proc_role(void);
// The descriptor inherited under that name, -1 when there is none; close-on-exec is set on it.
int proc_inherited(const char *name);

// A channel of framed messages over a SOCK_STREAM socketpair end.
enum proc_message_type {
  PROC_HELLO = 1, // child -> master: checked in (ready)
  PROC_STATUS,    // child -> master: a line for the operator
  PROC_DRAIN,     // master -> child: stop accepting, finish, exit
  PROC_QUIT,      // master -> child: exit now
  PROC_REOPEN,    // master -> child: reopen logs
  PROC_FATAL,     // child -> master: cannot work, text says why; then it exits
  PROC_TAKEOVER,  // new master -> old one: my workers are ready, stop your dispatcher
};
struct proc_channel;
struct proc_channel_events {
  void (*on_message)(void *ctx, uint32_t type, struct span body);
  void (*on_closed)(void *ctx); // the other end is gone
};
enum err proc_channel_pair(int fds[2]) MUST_CHECK; // close-on-exec, non-blocking
struct proc_channel *proc_channel_open(struct loop *loop, int fd, const struct proc_channel_events *events, void *ctx);
void proc_channel_send(struct proc_channel *channel, uint32_t type, struct span body); // at most 64 KiB; queued
// One message from a process that has no loop yet; what does not fit into the socket's buffer is lost.
void proc_channel_say(int fd, uint32_t type, struct span body);
// Delivers at once what has arrived already: the last words of a process whose death was told by a signal. May call on_closed.
void proc_channel_finish(struct proc_channel *channel);
void proc_channel_close(struct proc_channel *channel); // NULL is fine; the descriptor is closed with the loop's next turn

// The service manager (sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3)), by its documented datagrams and variables. Nothing happens
// where there is none (NOTIFY_SOCKET is not set).
bool proc_service_manager(void);
// "READY=1\nSTATUS=...": what systemd is told. `fd` travels with it (FDSTORE=1), -1 for none.
void proc_notify(int fd, const char *fmt, ...) PRINTF_LIKE(2, 3);
// How often WATCHDOG=1 is expected, 0: never.
int64_t proc_watchdog_us(void);
// Sockets that the service manager passed to this very process: number i has descriptor PROC_SERVICE_FD + i. Close-on-exec is set.
#define PROC_SERVICE_FD 3
unsigned proc_service_fds(void);
struct span proc_service_fd_name(unsigned i); // its FileDescriptorName=, absent when there is none

// Drops to user and group (names or numbers; NULL group: the user's own); verifies that there is no way back.
enum err proc_drop_privileges(const char *user, const char *group, struct why *why) MUST_CHECK;
// No core dump, no ptrace of a process that holds secrets.
void proc_protect_secrets(void);
// Raises RLIMIT_NOFILE to its hard limit; returns what is in force.
uint64_t proc_raise_nofile(void);
// Resident set of a process in bytes, 0 when unknown.
uint64_t proc_rss_bytes(pid_t pid);

#endif
