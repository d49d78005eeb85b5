// What worker and dispatcher have in common: what they inherit, their loop, their heartbeat, the channel to the master, their end.
#ifndef SUPERVISOR_PROCESS_H
#define SUPERVISOR_PROCESS_H

#include "wahook/config.h"
#include "wahook/directory.h"
#include "wahook/proc.h"
#include "wahook/shm.h"

struct process {
  uint32_t magic;
  enum shm_role role;
  unsigned ordinal;
  struct config *config;
  struct shm shm;
  struct shm_slot *slot;
  struct loop *loop;
  struct proc_channel *control; // NULL once the master is gone
  struct loop_timer heartbeat;
  int64_t expected_us; // when the next heartbeat is due
  struct loop_hook turn;
  struct loop_signal term;
  bool draining;
  // Asked to end: stop taking work, finish what is open, then call process_done(). Called once.
  void (*on_drain)(void *ctx);
  void *ctx;
  // Warming up (process_warm).
  struct loop_timer warm_timer;
  void (*on_warm)(void *ctx);
};

// Everything from exec to a running loop's eve. On an error the process cannot work at all: says so and exits.
void process_start(struct process *process, enum shm_role role, unsigned threads, void (*on_drain)(void *ctx), void *ctx);
// Checks in. Nothing is sent when it is draining already.
void process_ready(struct process *process);
// Opens the directory as the configuration says; the caller closes it.
struct directory *process_directory(struct process *process);
// Loads the first businesses into the cache, then calls on_warm; a store that is slow or down is not waited for longer than a moment.
void process_warm(struct process *process, struct directory *directory, void (*on_warm)(void *ctx));
// Tells the master why this process cannot work, and exits.
_Noreturn void process_fatal(struct process *process, const char *fmt, ...) PRINTF_LIKE(2, 3);
// How long the draining may take: a little less than what the master waits.
int64_t process_grace_ms(const struct process *process);
// Everything is finished: leaves the loop.
void process_done(struct process *process);
// After loop_run: closes what process_start opened; the exit status.
int process_end(struct process *process);

#endif
