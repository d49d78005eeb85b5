// Shared by the master's files: its state and the ONE table of children.
#ifndef SUPERVISOR_MASTER_H
#define SUPERVISOR_MASTER_H

#include "supervisor/life.h"
#include "supervisor/listeners.h"
#include "supervisor/state.h"
#include "wahook/config.h"
#include "wahook/proc.h"
#include "wahook/shm.h"

#define MASTER_MAGIC   0x6d617374u
#define CHILD_NONE     (-1)
#define WORKERS_MAX    64
#define TICK_MS        100
#define MASTER_SIGNALS 10

struct master;

// One row of the table is one block of shared memory (row i has slot i + 1) and whoever lives in it now: crash after crash the same row,
// while a successor that is to be ready first (reload, recycling) gets a row of its own.
struct child {
  struct master *master;
  enum shm_state state;
  enum shm_role role;
  unsigned ordinal, generation;
  pid_t pid;
  struct proc_channel *channel;
  struct shm_slot *slot;
  struct life_backoff backoff;
  int64_t spawned_us, ready_us; // ready_us 0: never checked in
  int64_t spawn_at_us;          // BACKOFF: when its successor starts
  int64_t kill_at_us;           // SIGKILL then, 0: never
  int replaces;                 // row that is drained once this child is ready, or CHILD_NONE
  uint64_t recycle_at;          // value of HTTP_REQUESTS at which it is recycled, 0: never
  bool retire;                  // no successor when it is gone
  bool planned;                 // we told it to go: its end is no crash
  bool hung;                    // the watchdog hit it
  char fatal[320];              // what it said before it gave up
};

enum master_life { MASTER_STARTING, MASTER_RUNNING, MASTER_STOPPING };

struct master {
  uint32_t magic;
  struct loop *loop;
  int argc;
  char **argv, **environ;
  struct config *config;
  struct state state;
  struct shm shm;
  struct listeners *listeners;
  int wake_fd;
  struct child *children;
  unsigned child_count;
  unsigned workers;    // how many there shall be
  unsigned generation; // of the configuration in force
  enum master_life life;
  bool quick; // stopping without grace
  int exit_status;
  int ready_fd; // -D: tells the waiting parent, -1 otherwise
  int64_t stop_by_us;
  int64_t last_tick_us, watch_from_us;
  // A reload under way: the next generation starts beside the old one.
  struct {
    bool running, wanted, committed;
    struct config *config;
    struct listeners *listeners;
    unsigned workers, generation;
    int64_t give_up_us;
  } reload;
  struct loop_timer tick;
  struct loop_signal signals[MASTER_SIGNALS];
};

// ---- children.c

void children_init(struct master *master);
// Starts a child in an empty row with the configuration in force (or, while a reload is being tried, in the next one). NULL, and logged,
// when there is no row left; a fork that fails is a death like any other.
struct child *children_start(struct master *master, enum shm_role role, unsigned ordinal, bool next_generation);
void children_drain(struct child *child, bool retire); // graceful; killed when its grace is over
void children_quit(struct child *child);               // at once
void children_send_all(struct master *master, enum proc_message_type type);
void children_reap(struct master *master);                              // SIGCHLD
void children_tick(struct master *master, int64_t now_us);              // backoff that is over, grace that is over
bool child_is_live(const struct child *child);                          // a process exists
const char *child_name(const struct child *child, char out[static 32]); // "worker 3"

// ---- watch.c

void watch_tick(struct master *master, int64_t now_us); // watchdog and recycling
void watch_arm_recycling(struct child *child);          // at a spawn: when is it recycled?

// ---- reload.c

void reload_request(struct master *master); // SIGHUP
void reload_tick(struct master *master, int64_t now_us);
void reload_child_ready(struct child *child);
// True when the death of this child is the reload's matter: it is called off.
bool reload_child_died(struct child *child);

// ---- master.c

int master_run(struct config *config, int argc, char **argv, char **environ); // takes the configuration over; exit status
void master__child_ready(struct child *child);
void master__child_died(struct child *child); // unexpected; false start or crash
void master__settle(struct master *master);   // after any change: surplus workers go, the start or the stop may be complete
void master__stop(struct master *master, bool quick, int exit_status);
enum err master__setup_log(const struct config *config, struct why *why) MUST_CHECK;

#endif
