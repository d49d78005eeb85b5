// The verbs: each is asked on the loop, run on the spool's thread inside a transaction, and completed on the loop.
#ifndef SPOOL_VERBS_H
#define SPOOL_VERBS_H

#include "spool/store.h"

// id, name of its functions, whether it may write
#define VERB_LIST(X)                                                                                                                       \
  X(INGEST, ingest, true)                                                                                                                  \
  X(POSITIONS, positions, false)                                                                                                           \
  X(FORGET, forget, true)                                                                                                                  \
  X(PAGE, page, false)                                                                                                                     \
  X(CHANGED, changed, false)                                                                                                               \
  X(CLAIM, claim, true)                                                                                                                    \
  X(TURNS, turns, false)                                                                                                                   \
  X(ANSWER, answer, true)                                                                                                                  \
  X(SENT, sent, true)                                                                                                                      \
  X(FINISH, finish, true)                                                                                                                  \
  X(RETENTIONS, retentions, true)                                                                                                          \
  X(EXPIRE, expire, true)                                                                                                                  \
  X(CLEAN, clean, true)                                                                                                                    \
  X(CLOCK, clock, true)

#define VERB_ENUM(id, name, writes) VERB_##id,
enum verb_id { VERB_LIST(VERB_ENUM) VERB_COUNT };
#undef VERB_ENUM

// First member of every verb's own struct.
struct verb {
  enum verb_id id;
  enum err result;
  struct verb *next;
  void *ctx;
};

// run: an error returned is the store's and fails the whole transaction; an outcome of the verb alone goes to verb->result.
// complete: reports verb->result, which may have become an error after run, and frees the verb.
struct verb_kind {
  const char *name;
  bool writes;
  enum err (*run)(struct store *store, struct verb *verb);
  void (*complete)(struct verb *verb);
};
extern const struct verb_kind verb__kinds[VERB_COUNT]; // verbs.c

#define VERB_DECLARE(id, name, writes)                                                                                                     \
  enum err verb__run_##name(struct store *store, struct verb *verb) MUST_CHECK;                                                            \
  void verb__complete_##name(struct verb *verb);
VERB_LIST(VERB_DECLARE)
#undef VERB_DECLARE

// A zeroed verb of its own size.
void *verb__new(enum verb_id id, size_t size, void *ctx);
// spool.c: gathers it for this turn's hand-over.
void spool__ask(struct spool *spool, struct verb *verb);
// Hands over at once and waits until it was run; the verb is completed on the loop later.
void spool__ask_and_wait(struct spool *spool, struct verb *verb);

#endif
