// Which conversation comes next: in order within a conversation, in parallel across them, fair between tenants. Pure: time is a parameter.
#ifndef DISPATCH_SCHEDULER_H
#define DISPATCH_SCHEDULER_H

#include "wahook/base.h"

#include <uthash.h>

// A place in the heap of times; embedded in what shall be woken.
struct scheduler_alarm {
  int64_t at_us;
  size_t index; // 1-based place in the heap, 0: not in it
  bool of_tenant;
};

enum conversation_state { CONVERSATION_READY, CONVERSATION_WORKING, CONVERSATION_DELAYED };

// A conversation that has work. It leaves memory when its last job is done.
struct conversation {
  struct scheduler_alarm alarm; // DELAYED: in the heap
  int64_t id;
  struct tenant *tenant;
  enum conversation_state state;
  bool more;                        // work came while it was working
  struct conversation *next, *prev; // READY: in its tenant's queue
  UT_hash_handle hh;
};

// A business number with work.
#define TENANT_ID_MAX 36
struct tenant {
  struct scheduler_alarm alarm; // held: in the heap
  char phone_number_id[TENANT_ID_MAX];
  struct conversation *ready; // utlist queue
  unsigned conversations, working;
  int64_t held_until_us; // 0: not held
  bool parked;           // see scheduler_park
  bool probing;          // one job at a time until one succeeds
  unsigned setbacks;     // holds since the last success, for the backoff
  bool in_ring;
  struct tenant *next, *prev; // the ring of tenants that may start a job
  struct tenant *parked_next, *parked_prev;
  UT_hash_handle hh;
};

struct scheduler;
struct scheduler *scheduler_new(unsigned concurrency, unsigned tenant_concurrency);
void scheduler_free(struct scheduler *s);

// A conversation has (more) work, not before `at_us`. Known ones keep their place: order is by arrival, a retry is not overtaken.
void scheduler_add(struct scheduler *s, int64_t conversation, const char *phone_number_id, int64_t at_us, int64_t now_us);
// The spool says at_us: a conversation that waits longer (an operator asked for another try at once) waits until then only.
void scheduler_hasten(struct scheduler *s, int64_t conversation, int64_t at_us);
// The next conversation that may start a job now, NULL for none. It is WORKING until scheduler_end.
struct conversation *scheduler_next(struct scheduler *s, int64_t now_us);
// The job ended; `more`: there is another one, not before at_us. Without more (and none added meanwhile) the conversation is forgotten.
void scheduler_end(struct scheduler *s, struct conversation *c, bool more, int64_t at_us, int64_t now_us);
// No job of this tenant starts before until_us; then one at a time until scheduler_release.
void scheduler_hold(struct scheduler *s, struct tenant *t, int64_t until_us);
// A job of this tenant succeeded: it is sound.
void scheduler_release(struct scheduler *s, struct tenant *t);

// A conversation that scheduler_next gave goes back, and nothing of its tenant starts before scheduler_unpark. Costs no alarm, however many
// wait.
void scheduler_park(struct scheduler *s, struct conversation *c, int64_t now_us);
// The tenant that was parked first and not taken yet, NULL for none. It stays parked, and its memory stays, until one of the next two.
struct tenant *scheduler_take_parked(struct scheduler *s);
void scheduler_unpark(struct scheduler *s, struct tenant *t);
void scheduler_park_again(struct scheduler *s, struct tenant *t); // behind the others

// When scheduler_next may have something that it has not now: the next alarm, INT64_MAX for none.
int64_t scheduler_wake_us(const struct scheduler *s);
unsigned scheduler_working(const struct scheduler *s);
unsigned scheduler_held(const struct scheduler *s); // tenants that are held or on probation
size_t scheduler_conversations(const struct scheduler *s);

#endif
