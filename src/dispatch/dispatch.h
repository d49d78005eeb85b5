// What the files of this folder share: the dispatcher's state, and a job on its way through the steps.
#ifndef DISPATCH_DISPATCH_H
#define DISPATCH_DISPATCH_H

#include "wahook/dispatch.h"
#include "wahook/intake.h"
#include "wahook/log.h"
#include "message.h"
#include "pacing.h"
#include "scheduler.h"

#define DISPATCH_MAGIC 0x64737063u
#define JOB_MAGIC      0x6a6f6277u

struct ingest;

struct dispatch {
  uint32_t magic;
  struct dispatch_options options;
  char *intake_directory; // options' own
  const struct config *config;
  struct shm_slot *slot;
  struct spool *spool;
  struct scheduler *scheduler;
  struct pacing *pacing;
  struct graph *graph;
  struct token_cache *tokens;
  struct clock_steady clock; // of all that is stored
  struct ingest *ingest;
  enum responder_type responder;
  struct loop_hook hook;    // starts jobs once a turn
  struct loop_timer alarm;  // the scheduler's next wake-up
  struct loop_timer second; // once a second: another process' changes, gauges, sweeps
  struct loop_timer grace;
  struct log_limit unknown_limit, hold_limit, store_limit;
  unsigned seconds;
  struct retention_state {
    bool listed, listing, more;
    unsigned seconds;
    uint64_t changes;   // of the directory when it was asked
    int64_t list_at_us; // the next time, unless something changes before
    size_t numbers;
    struct log_limit limit;
  } retention;
  int64_t paged_upto; // conversations read from the spool at the start or after a change, by id
  bool paging;
  unsigned asked; // businesses that parked numbers wait for
  unsigned asks;  // spool verbs and finds that will call back
  bool stopping, stopped;
  unsigned closing; // handles
  void (*on_stopped)(void *ctx);
  void *stopped_ctx;
};

// Both clocks: monotonic for everything that waits, the steady one for what is stored. Neither jumps with the wall clock.
int64_t dispatch__mono_us(const struct dispatch *d);
int64_t dispatch__steady_us(struct dispatch *d);
// A time from the spool on the monotonic clock.
int64_t dispatch__mono_of(struct dispatch *d, int64_t steady_us);
// A conversation has work (ingest, paging).
void dispatch__conversation(struct dispatch *d, int64_t conversation, const char *phone_number_id, int64_t next_us);
// Something ended: when stopping, that may have been the last.
void dispatch__settle(struct dispatch *d);

// ---- retention.c: businesses that keep their messages for a time of their own. Once a second.
void retention__second(struct dispatch *d);
void retention__stop(struct dispatch *d);

// ---- ingest.c
enum err ingest__start(struct dispatch *d, struct why *why) MUST_CHECK;
void ingest__stop(struct dispatch *d);       // no new batch
bool ingest__busy(const struct dispatch *d); // the spool will call back
uint64_t ingest__backlog_bytes(const struct dispatch *d);
void ingest__free(struct dispatch *d, void (*on_closed)(void *ctx), void *ctx);

// ---- job.c, send.c: a job on its way
struct job {
  uint32_t magic;
  struct dispatch *d;
  struct conversation *conversation;
  struct tenant *tenant;
  struct spool_job *work;
  struct business *business;
  char *token;             // secret memory
  bool token_again;        // the token was read from the store again after Graph refused it
  size_t sending;          // index of the outgoing message in work
  bool sent;               // something was sent
  struct loop_timer timer; // pacing, and a spool that refuses
  struct spool_finish end; // how it ends, kept until the spool has taken it
  char end_wamid[200], end_reason[200];
  int64_t asked_us;
  struct buf question_text;
};

// Takes a conversation from the scheduler and walks its first job through the steps:
// claim → business → token → (turns → ask → store) → send … → finish.
void job__begin(struct dispatch *d, struct conversation *conversation);
// send.c: sends the first outgoing message that was not sent yet, or finishes.
void job__send(struct job *job);
// The token was refused: forget it, read the business again once.
void job__read_token_again(struct job *job);
// Ends. `delay_ms` counts for RETRY and HOLD. What is known of the outgoing message in work goes along.
void job__finish(struct job *job, enum spool_end end, int64_t delay_ms, const char *reason);
// Ends and holds the whole tenant for a while: token, permission, throttling. Logged once a minute and tenant.
void job__hold_tenant(struct job *job, int64_t delay_ms, const char *reason);
// How long a tenant is held: 5 s doubled for each setback in a row, a minute at most.
int64_t job__hold_ms(const struct job *job);

#endif
