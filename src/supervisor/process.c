// What worker and dispatcher have in common. Runs in both.
//
//   exec ─▶ snapshot, log, privileges, shared memory, loop ─▶ (wiring) ─▶ warm-up ─▶ HELLO ─▶ work ─▶ DRAIN ─▶ finish ─▶ exit 0
//                                                                                  the master is gone ──▶┘
#include "supervisor/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "wahook/log.h"
#include "wahook/metrics.h"

#define PROCESS_MAGIC   0x70726f63u
#define HEARTBEAT_MS    250
#define WARM_MAX        100
#define WARM_TIMEOUT_MS 3000

_Noreturn void process_fatal(struct process *process, const char *fmt, ...) {
  char text[320];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  log_critical("supervisor", "%s", text);
  if (process->control) proc_channel_send(process->control, PROC_FATAL, span_of(text));
  _exit(EX_UNAVAILABLE);
}

static void drain(struct process *process) {
  if (process->draining) return;
  process->draining = true;
  // For a loop that hangs while nobody is left to kill it: the signal's default action ends the process.
  alarm((unsigned)(process->config->server_graceful_timeout / 1000) + 5);
  process->on_drain(process->ctx);
}

static void on_message(void *ctx, uint32_t type, struct span body) {
  struct process *process = ctx;
  ALWAYS(process->magic == PROCESS_MAGIC);
  (void)body;
  switch (type) {
  case PROC_DRAIN: drain(process); return;
  case PROC_QUIT: _exit(EX_OK);
  case PROC_REOPEN: log_reopen(); return;
  default: log_warning("supervisor", "the master sent a message of unknown type %u", (unsigned)type);
  }
}

static void on_master_gone(void *ctx) {
  struct process *process = ctx;
  log_error("supervisor", "the master is gone: finishing what is open");
  proc_channel_close(process->control);
  process->control = NULL;
  drain(process);
}

static void on_term(void *ctx, int signum) {
  struct process *process = ctx;
  log_info("supervisor", "signal %s: finishing what is open", sigabbrev_np(signum));
  drain(process);
}

static void on_heartbeat(void *ctx) {
  struct process *process = ctx;
  ALWAYS(process->magic == PROCESS_MAGIC);
  int64_t now_us = loop_now_us(process->loop), late_us = now_us - process->expected_us;
  atomic_store_explicit(&process->slot->heartbeat_us, now_us, memory_order_relaxed);
  metrics_set(process->slot, METRIC_LOOP_LAG_US, late_us > 0 ? (uint64_t)late_us : 0);
  process->expected_us = now_us + HEARTBEAT_MS * 1000;
}

static void on_turn(void *ctx) {
  struct process *process = ctx;
  metrics_add(process->slot, METRIC_LOOP_TURNS, 1);
}

static uint64_t env_number(const char *name, uint64_t max) {
  uint64_t n;
  if (span_u64(span_of(getenv(name)), &n) != ERR_OK || n > max) die("%s is missing: this role is started by the master only", name);
  return n;
}

static const char *role_text(const struct process *process, char *out, size_t size) {
  if (process->role == SHM_ROLE_WORKER)
    snprintf(out, size, "worker %u", process->ordinal);
  else
    snprintf(out, size, "%s", shm_role_name(process->role));
  return out;
}

static void setup_log(struct process *process) {
  const struct config *config = process->config;
  char role[32];
  struct why why = {0};
  struct log_options options = {
      .target = config->log_target,
      .access = *config->log_access ? config->log_access : "off",
      .role = role_text(process, role, sizeof role),
      .format = strcmp(config->log_format, "json") == 0 ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT,
  };
  if (log_level_parse(span_of(config->log_level), &options.level) != ERR_OK) options.level = LOG_LEVEL_INFO;
  if (log_setup(&options, &why) != ERR_OK) process_fatal(process, "%s", why.text);
}

static void inherit(struct process *process) {
  struct why why = {0};
  int config_fd = proc_inherited("config"), shm_fd = proc_inherited("shm");
  if (config_fd < 0 || shm_fd < 0) die("descriptors are missing: this role is started by the master only");
  if (config_read_snapshot(&process->config, config_fd, &why) != ERR_OK) process_fatal(process, "configuration: %s", why.text);
  close(config_fd);
  setup_log(process);
  if (shm_attach(&process->shm, shm_fd, &why) != ERR_OK) process_fatal(process, "shared memory: %s", why.text);
  unsigned slot = (unsigned)env_number("WAHOOK_SLOT", process->shm.slot_count - 1);
  process->slot = &process->shm.slots[slot];
  shm_catch_panic(process->slot);
  shm_stage(process->slot, "starting", "");
  const char *user = getenv("WAHOOK_USER"), *group = getenv("WAHOOK_GROUP");
  if (proc_drop_privileges(user, group, &why) != ERR_OK) process_fatal(process, "%s", why.text);
}

static void warm_over(struct process *process) {
  void (*on_warm)(void *ctx) = process->on_warm;
  process->on_warm = NULL;
  loop_timer_stop(&process->warm_timer);
  if (on_warm) on_warm(process->ctx);
}

// At a start or a reload that shall be refused then; one that follows on a crash takes what there is.
static void demand_directory(struct process *process) {
  if (process->config->directory_check && env_number("WAHOOK_CHECK", 1) == 1)
    process_fatal(process, "the directory's store does not answer (directory.check asks for it; see directory.store)");
}

static void on_warm_timeout(void *ctx) {
  struct process *process = ctx;
  demand_directory(process);
  log_warning("supervisor", "the directory's store is slow: starting with a cold cache");
  warm_over(process);
}

void process_start(struct process *process, enum shm_role role, unsigned threads, void (*on_drain)(void *ctx), void *ctx) {
  static const struct proc_channel_events events = {on_message, on_master_gone};
  // Ctrl-C and the like reach the whole foreground group; it is the master that decides what they mean.
  static const int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH, SIGTTIN, SIGTTOU, SIGPIPE};
  for (size_t i = 0; i < COUNT_OF(ignored); i++)
    signal(ignored[i], SIG_IGN);
  *process = (struct process){.magic = PROCESS_MAGIC, .role = role, .on_drain = on_drain, .ctx = ctx};
  process->ordinal = (unsigned)env_number("WAHOOK_ORDINAL", 4096);
  process->loop = loop_new(threads);
  int control_fd = proc_inherited("control");
  if (control_fd < 0) die("descriptors are missing: this role is started by the master only");
  process->control = proc_channel_open(process->loop, control_fd, &events, process);
  inherit(process);
  prctl(PR_SET_NAME, role == SHM_ROLE_WORKER ? "wahookd-worker" : "wahookd-dispatch");
  proc_raise_nofile();
  proc_protect_secrets();
  loop_signal_init(process->loop, &process->term, SIGTERM, on_term, process);
  process->turn = (struct loop_hook){.on_turn = on_turn, .ctx = process};
  loop_hook_add(process->loop, &process->turn);
  process->expected_us = clock_mono_us() + HEARTBEAT_MS * 1000;
  loop_timer_init(process->loop, &process->heartbeat, on_heartbeat, process);
  loop_timer_start(&process->heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
  loop_timer_init(process->loop, &process->warm_timer, on_warm_timeout, process);
}

// ---------------------------------------------------------------- warming up

static void on_warmed(void *ctx, int count) {
  struct process *process = ctx;
  if (process->draining) return;
  if (count < 0) demand_directory(process);
  if (count >= 0)
    log_info("supervisor", "Cache warmed up with %d businesses", count);
  else
    log_warning("supervisor", "the cache could not be warmed up: the directory's store does not answer");
  warm_over(process);
}

struct directory *process_directory(struct process *process) {
  const struct config *config = process->config;
  struct why why = {0};
  struct buf uri = {0};
  struct buf position = {0};
  buf_printf(&position, "%s/directory.position", config->server_state_dir);
  struct directory_options options = {
      .loop = process->loop,
      .shm = &process->shm,
      .slot = process->slot,
      .position_path = position.data,
      .cache_ttl_ms = config->directory_cache_ttl,
      .negative_ttl_ms = config->directory_negative_ttl,
      .stale_max_ms = config->directory_stale_max,
      .cache_size = (size_t)config->directory_cache_size,
      .default_phone_number_id = config->directory_default_phone_number_id,
      .default_token = config->directory_default_token,
  };
  struct directory *directory = NULL;
  store_configured(config, config_workers(config) + 1, &uri, &options.store);
  options.store.takes_rest = process->role == SHM_ROLE_DISPATCHER; // there is one
  if (directory_open(&options, &directory, &why) != ERR_OK) process_fatal(process, "directory: %s", why.text);
  buf_free(&uri);
  buf_free(&position);
  return directory;
}

void process_warm(struct process *process, struct directory *directory, void (*on_warm)(void *ctx)) {
  const struct config *config = process->config;
  process->on_warm = on_warm;
  if (!config->directory_warmup && !config->directory_check) {
    warm_over(process);
    return;
  }
  loop_timer_start(&process->warm_timer, WARM_TIMEOUT_MS, 0);
  directory_warm(directory, config->directory_warmup ? WARM_MAX : 1, on_warmed, process);
}

// ---------------------------------------------------------------- checking in and ending

void process_ready(struct process *process) {
  shm_stage(process->slot, "idle", "");
  if (process->control && !process->draining) proc_channel_send(process->control, PROC_HELLO, SPAN(""));
}

int64_t process_grace_ms(const struct process *process) {
  int64_t grace_ms = process->config->server_graceful_timeout;
  int64_t margin_ms = grace_ms / 10 < 1000 ? grace_ms / 10 : 1000;
  return grace_ms - margin_ms;
}

void process_done(struct process *process) {
  loop_stop(process->loop);
}

int process_end(struct process *process) {
  loop_hook_remove(process->loop, &process->turn);
  loop_timer_close(&process->heartbeat, NULL);
  loop_timer_close(&process->warm_timer, NULL);
  loop_signal_close(&process->term);
  proc_channel_close(process->control);
  loop_free(process->loop);
  die_set_hook(NULL);
  shm_detach(&process->shm);
  config_free(process->config);
  return EX_OK;
}
