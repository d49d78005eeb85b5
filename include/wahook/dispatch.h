// The dispatcher's work: journal → spool → conversations in order → responder → Graph.
#ifndef WAHOOK_DISPATCH_H
#define WAHOOK_DISPATCH_H

#include "wahook/config.h"
#include "wahook/crypto.h"
#include "wahook/directory.h"
#include "wahook/outbound.h"
#include "wahook/shm.h"
#include "wahook/spool.h"

struct dispatch;
struct dispatch_options {
  struct loop *loop;
  struct shm *shm;
  struct shm_slot *slot;
  const struct config *config;
  struct directory *directory;
  const struct token_keys *keys;
  struct spool *spool;
  struct outbound *outbound;
  const char *intake_directory; // STATE_DIR/intake
  int wake_fd;                  // eventfd that workers write when there are new records, -1: none (polling alone)
};
// Opens the journals behind their stored positions and begins to work with the loop's next turn. All parts are borrowed and outlive it.
enum err dispatch_start(const struct dispatch_options *options, struct dispatch **out, struct why *why) MUST_CHECK;
// Takes no new work, lets what is in work come to its end (answers that are stored are sent at most `grace_ms` long; what remains is taken
// up again after the next start), then frees all; on_done on the loop.
void dispatch_stop(struct dispatch *dispatch, int64_t grace_ms, void (*on_done)(void *ctx), void *ctx);

#endif
