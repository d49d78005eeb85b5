// Shared by the master's files: its state and the ONE table of children.
#ifndef SUPERVISOR_MASTER_H
#define SUPERVISOR_MASTER_H

#include "supervisor/life.h"
#include "supervisor/listeners.h"
#include "supervisor/report.h"
#include "supervisor/state.h"
#include "supervisor/successor.h"
#include "wahook/config.h"
#include "wahook/proc.h"
#include "wahook/shm.h"

#define MASTER_MAGIC   0x6d617374u
#define CHILD_NONE     (-1)
#define WORKERS_MAX    64
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
  int64_t leave_at_us;          // one too many: drains then, 0: it stays
  int replaces;                 // row that is drained once this child is ready, or CHILD_NONE
  uint64_t recycle_at;          // value of HTTP_REQUESTS at which it is recycled, 0: never
  int64_t recycle_at_us;        // when it is too old, 0: never
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
  bool leading; // false in a new master until the old one gives way: it touches nothing that is shared
  bool quick;   // stopping without grace
  bool steering_failed, none_later;
  int more_later; // TTIN and TTOU that wait for the end of a reload or an upgrade
  int exit_status;
  int ready_fd; // -D: tells the waiting parent, -1 otherwise
  int64_t stop_by_us;
  int64_t last_tick_us, watch_from_us, memory_at_us;
  bool look_at_memory; // in this tick
  // A reload under way: the next generation starts beside the old one.
  struct {
    bool running, wanted, committed;
    struct config *config;
    struct listeners *listeners;
    unsigned workers, generation;
    int64_t give_up_us;
  } reload;
  // An upgrade under way, in the old master: its successor starts beside it.
  struct {
    bool running, wanted, handed_over, gave_dispatcher;
    pid_t pid;
    struct proc_channel *channel;
    int64_t give_up_us;
    struct buf reasons; // what the new master said
  } upgrade;
  // In a new master: the one before it.
  struct inheritance former;
  struct proc_channel *former_channel; // NULL: there is none, or it is gone
  bool former_asked;                   // it was asked for its dispatcher
  struct report report;
  int64_t watchdog_us, watchdog_at_us; // of the service manager
  char status[160];                    // told to it last
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
void children_reap(struct master *master);                 // SIGCHLD
void children_tick(struct master *master, int64_t now_us); // backoff that is over, grace that is over
void children_reclaim(struct master *master);              // rows that a dead master's children left behind
unsigned children_free_rows(const struct master *master);
bool child_is_live(const struct child *child);                          // a process exists
const char *child_name(const struct child *child, char out[static 32]); // "worker 3"

// ---- watch.c

void watch_tick(struct master *master, int64_t now_us);        // watchdog and recycling
void watch_arm_recycling(struct child *child, int64_t now_us); // at a spawn: when is it recycled?

// ---- reload.c

void reload_request(struct master *master); // SIGHUP
void reload_tick(struct master *master, int64_t now_us);
void reload_child_ready(struct child *child);
// True when the death of this child is the reload's matter: it is called off.
bool reload_child_died(struct child *child);

// ---- scale.c

void scale_signal(struct master *master, int signum);    // TTIN, TTOU, WINCH
void scale_tick(struct master *master, int64_t now_us);  // workers too many leave
void scale_steer(struct master *master, int64_t now_us); // new connections go to workers that take them

// ---- upgrade.c: the old master's side

void upgrade_request(struct master *master); // SIGUSR2
void upgrade_tick(struct master *master, int64_t now_us);
void upgrade_reap(struct master *master);   // SIGCHLD
void upgrade_cancel(struct master *master); // a stop came in between

// ---- successor.c: the new master's side (its first steps are in successor.h)

void successor_start(struct master *master);    // the channel to the old one
void successor_progress(struct master *master); // after any change: asks for the dispatcher, then for the lead
void successor_end(struct master *master);

// ---- service.c: what the service manager is told

void service_ready(struct master *master);
void service_reloading(struct master *master);
void service_stopping(struct master *master);
void service_tick(struct master *master, int64_t now_us);

// ---- master.c

// Takes the configuration and what was inherited over; exit status.
int master_run(struct config *config, const struct inheritance *former, int argc, char **argv, char **environ);
void master__lead(struct master *master); // from now on it is this one that the pid file, the block and the sockets belong to
void master__child_ready(struct child *child);
void master__child_died(struct child *child); // unexpected; false start or crash
void master__settle(struct master *master);   // after any change: surplus workers go, the start or the stop may be complete
void master__stop(struct master *master, bool quick, int exit_status);
enum err master__setup_log(const struct config *config, struct why *why) MUST_CHECK;

#endif
