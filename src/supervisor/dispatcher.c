// The dispatcher: journals into the spool, conversations in order, responder, Graph. There is one at work at a time.
#include <string.h>

#include "supervisor/process.h"
#include "supervisor/roles.h"
#include "supervisor/state.h"
#include "wahook/crypto.h"
#include "wahook/dispatch.h"
#include "wahook/log.h"

#define DISPATCHER_MAGIC   0x64697370u
#define DISPATCHER_THREADS 4
#define LOCK_RETRY_MS      100

struct dispatcher {
  uint32_t magic;
  struct process process;
  struct directory *directory;
  struct token_keys *keys;
  struct spool *spool;
  struct outbound *outbound;
  struct dispatch *dispatch; // NULL before the lock is ours
  struct loop_timer lock_timer;
  int lock_fd;
  bool waited;
};

// ---------------------------------------------------------------- the end: work, then connections, then the spool

static void finish(struct dispatcher *dispatcher) {
  loop_timer_close(&dispatcher->lock_timer, NULL);
  process_done(&dispatcher->process);
}

static void on_spool_closed(void *ctx) {
  struct dispatcher *dispatcher = ctx;
  directory_close(dispatcher->directory);
  dispatcher->directory = NULL;
  finish(dispatcher);
}

static void on_outbound_closed(void *ctx) {
  struct dispatcher *dispatcher = ctx;
  spool_close(dispatcher->spool, on_spool_closed, dispatcher);
}

static void on_stopped(void *ctx) {
  struct dispatcher *dispatcher = ctx;
  ALWAYS(dispatcher->magic == DISPATCHER_MAGIC);
  outbound_close(dispatcher->outbound, on_outbound_closed, dispatcher);
}

static void on_drain(void *ctx) {
  struct dispatcher *dispatcher = ctx;
  ALWAYS(dispatcher->magic == DISPATCHER_MAGIC);
  shm_stage(dispatcher->process.slot, "draining", "");
  if (dispatcher->dispatch)
    dispatch_stop(dispatcher->dispatch, process_grace_ms(&dispatcher->process), on_stopped, dispatcher);
  else
    finish(dispatcher); // still waiting for the lock
}

// ---------------------------------------------------------------- wiring

static void make_keys(struct dispatcher *dispatcher) {
  const struct config *config = dispatcher->process.config;
  struct why why = {0};
  struct token_key_options options = {
      .fernet_secrets = (const char *const *)config->crypto_encryption_secret.items,
      .fernet_count = config->crypto_encryption_secret.count,
      .keys = (const char *const *)config->crypto_encryption_key.items,
      .key_count = config->crypto_encryption_key.count,
      .salt = config->crypto_encryption_key_salt,
      .allow_plain = config->crypto_allow_plain_tokens,
  };
  if (token_keys_new(&options, &dispatcher->keys, &why) != ERR_OK) process_fatal(&dispatcher->process, "keys: %s", why.text);
}

static void make_spool(struct dispatcher *dispatcher) {
  struct process *process = &dispatcher->process;
  struct why why = {0};
  struct buf path = {0};
  buf_printf(&path, "%s/spool.db", process->config->server_state_dir);
  struct spool_options options = {.loop = process->loop, .slot = process->slot, .path = path.data};
  shm_stage(process->slot, "spool.open", "");
  if (spool_open(&options, &dispatcher->spool, &why) != ERR_OK) process_fatal(process, "spool: %s", why.text);
  buf_free(&path);
}

static void on_warm(void *ctx) {
  struct dispatcher *dispatcher = ctx;
  ALWAYS(dispatcher->magic == DISPATCHER_MAGIC);
  process_ready(&dispatcher->process);
}

static void start_work(struct dispatcher *dispatcher) {
  struct process *process = &dispatcher->process;
  const struct config *config = process->config;
  struct why why = {0};
  make_keys(dispatcher);
  make_spool(dispatcher); // before a directory that is SQLite, too: what the spool sets for all of SQLite counts only before its first use
  dispatcher->directory = process_directory(process);
  struct outbound_options outbound = {.loop = process->loop, .max_connections = (unsigned)config->graph_connections};
  dispatcher->outbound = outbound_new(&outbound);
  struct buf intake = {0};
  buf_printf(&intake, "%s/intake", config->server_state_dir);
  struct dispatch_options options = {
      .loop = process->loop,
      .shm = &process->shm,
      .slot = process->slot,
      .config = config,
      .directory = dispatcher->directory,
      .keys = dispatcher->keys,
      .spool = dispatcher->spool,
      .outbound = dispatcher->outbound,
      .intake_directory = intake.data,
      .wake_fd = proc_inherited("wake"),
  };
  if (dispatch_start(&options, &dispatcher->dispatch, &why) != ERR_OK) process_fatal(process, "dispatch: %s", why.text);
  buf_free(&intake);
  process_warm(process, dispatcher->directory, on_warm);
}

// A dispatcher whose master died may still be finishing: two at work would send the same answers twice.
static void on_lock_time(void *ctx) {
  struct dispatcher *dispatcher = ctx;
  struct process *process = &dispatcher->process;
  ALWAYS(dispatcher->magic == DISPATCHER_MAGIC);
  struct buf path = {0};
  struct why why = {0};
  buf_printf(&path, "%s/dispatcher.lock", process->config->server_state_dir);
  enum err e = state_lock(path.data, &dispatcher->lock_fd, &why);
  buf_free(&path);
  if (e == ERR_OK) {
    start_work(dispatcher);
  } else if (e == ERR_AGAIN) {
    if (!dispatcher->waited) log_info("supervisor", "waiting for the former dispatcher to finish");
    dispatcher->waited = true;
    loop_timer_start(&dispatcher->lock_timer, LOCK_RETRY_MS, 0);
  } else {
    process_fatal(process, "%s", why.text);
  }
}

int dispatcher_main(void) {
  static struct dispatcher dispatcher = {.magic = DISPATCHER_MAGIC, .lock_fd = -1};
  struct process *process = &dispatcher.process;
  process_start(process, SHM_ROLE_DISPATCHER, DISPATCHER_THREADS, on_drain, &dispatcher);
  crypto_start();
  shm_stage(process->slot, "waiting for lock", "");
  loop_timer_init(process->loop, &dispatcher.lock_timer, on_lock_time, &dispatcher);
  loop_timer_start(&dispatcher.lock_timer, 0, 0);
  loop_run(process->loop);
  token_keys_free(dispatcher.keys);
  return process_end(process);
}
