// Which conversation a job in work belongs to, in memory: a tool may drop the job's row meanwhile, and finishing it must still tell
// whether its conversation has more to do. Runs on the spool's thread.
#include "spool/store.h"

#include <stdlib.h>
#include <uthash.h>

struct store_claim {
  int64_t job, conversation;
  UT_hash_handle hh;
};

void claim__note(struct store *store, int64_t job, int64_t conversation) {
  struct store_claim *claim = NULL;
  HASH_FIND(hh, store->claims, &job, sizeof job, claim);
  if (claim) return;
  claim = xcalloc(1, sizeof *claim);
  claim->job = job;
  claim->conversation = conversation;
  HASH_ADD(hh, store->claims, job, sizeof claim->job, claim);
}

int64_t claim__conversation(struct store *store, int64_t job, bool over) {
  struct store_claim *claim = NULL;
  HASH_FIND(hh, store->claims, &job, sizeof job, claim);
  if (!claim) return 0;
  int64_t conversation = claim->conversation;
  if (over) {
    HASH_DEL(store->claims, claim);
    free(claim);
  }
  return conversation;
}

void claim__forget_all(struct store *store) {
  struct store_claim *claim = NULL, *next = NULL;
  HASH_ITER(hh, store->claims, claim, next) {
    HASH_DEL(store->claims, claim);
    free(claim);
  }
}
