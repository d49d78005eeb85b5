// The daemon's condition: whether it is ready, what is wrong all the same, its processes, what came of the last reload and upgrade. From
// shared memory and the master's report. Runs in the workers.
#include "admin.h"

#include "wahook/intake.h"
#include "wahook/proc.h"

#define REPORT_MAX_BYTES (256u << 10)

const char *state__store_trouble(const struct admin *admin) {
  const struct shm_broadcast *b = admin->options.shm->broadcast;
  int64_t failed = atomic_load(&b->directory_failed_us), ok = atomic_load(&b->directory_ok_us);
  if (failed && failed >= ok) return "Database not connected";
  return NULL;
}

static double seconds_until(const struct shm_slot *slot, int64_t now_us) {
  int64_t left_us = atomic_load(&slot->next_start_us) - now_us;
  return left_us > 0 ? (double)left_us / 1e6 : 0;
}

static void describe_loop(const struct shm_slot *slot, int64_t now_us, struct why *why) {
  enum shm_role role = atomic_load(&slot->role);
  char name[32];
  snprintf(name, sizeof name, role == SHM_ROLE_WORKER ? "Worker %u" : "Dispatcher", atomic_load(&slot->ordinal));
  why_set(why, "%s is in a crash loop (%u deaths in a row, next try in %.1f s; the log has the obituaries)", name,
          atomic_load(&slot->deaths), seconds_until(slot, now_us));
}

// One that waits for its next try, NULL for none.
static const struct shm_slot *in_backoff(const struct shm *shm, enum shm_role role) {
  for (unsigned i = 0; i < shm->slot_count; i++) {
    const struct shm_slot *slot = &shm->slots[i];
    if (atomic_load(&slot->state) == SHM_BACKOFF && atomic_load(&slot->role) == role) return slot;
  }
  return NULL;
}

// One that is being replaced (a reload, an upgrade) counts as running: the master, block 0, has been ready, and nobody died.
static bool dispatcher_runs(const struct shm *shm) {
  bool was_ready = atomic_load(&shm->slots[0].state) == SHM_READY;
  for (unsigned i = 0; i < shm->slot_count; i++) {
    const struct shm_slot *slot = &shm->slots[i];
    enum shm_state state = atomic_load(&slot->state);
    if (atomic_load(&slot->role) != SHM_ROLE_DISPATCHER) continue;
    if (state == SHM_READY) return true;
    if (was_ready && (state == SHM_STARTING || state == SHM_DRAINING) && atomic_load(&slot->deaths) == 0) return true;
  }
  return false;
}

bool state__is_ready(const struct admin *admin, struct why *why) {
  const struct shm *shm = admin->options.shm;
  const char *store = state__store_trouble(admin);
  const struct shm_slot *loop = in_backoff(shm, SHM_ROLE_DISPATCHER);
  if (store)
    why_set(why, "%s", store);
  else if (atomic_load(&shm->broadcast->intake_refused))
    why_set(why, "Intake cannot write to its disk");
  else if (dispatcher_runs(shm))
    return true;
  else if (loop)
    describe_loop(loop, clock_mono_us(), why);
  else
    why_set(why, "Dispatcher is not running");
  return false;
}

bool state__is_degraded(const struct admin *admin, struct why *why) {
  const struct shm *shm = admin->options.shm;
  const struct shm_slot *loop = in_backoff(shm, SHM_ROLE_WORKER);
  uint32_t shedding = atomic_load(&shm->broadcast->shedding);
  unsigned alone = (unsigned)(metrics_total(shm, METRIC_STORE_BREAKER_OPEN) + metrics_total(shm, METRIC_STORE_BREAKER_HALF_OPEN));
  if (loop)
    describe_loop(loop, clock_mono_us(), why);
  else if (shedding & INTAKE_SHED_JOBS)
    why_set(why, "Deliveries are refused with 503: dispatch.max_waiting jobs wait in the spool");
  else if (shedding & INTAKE_SHED_BACKLOG)
    why_set(why, "Deliveries are refused with 503: intake.max_backlog is reached, the dispatcher does not keep up");
  else if (shedding)
    why_set(why, "Deliveries are refused with 503: the journal's disk is slower than intake.max_wait");
  else if (alone)
    why_set(
        why,
        "The store fails: its circuit breaker is open in %u of the processes (known businesses are answered from the cache, new ones wait)",
        alone);
  return loop || shedding || alone;
}

// ---------------------------------------------------------------- the last reload, the last upgrade

static void put_outcome(struct json_writer *w, const char *name, const struct json *entry, const char *refused) {
  if (json_i64(json_get(entry, "begun"), 0) == 0) return; // never
  struct span outcome = json_get_text(entry, "outcome");
  double ago = state__wall_seconds() - json_double(json_get(entry, "at"), 0);
  const struct json *reasons = json_get(entry, "reasons");
  json_open(w, name, '{');
  json_put_i64(w, "count", json_i64(json_get(entry, "begun"), 0));
  json_put_text(w, "outcome", span_eq(outcome, SPAN("refused")) ? span_of(refused) : outcome);
  json_put_i64(w, "generation", json_i64(json_get(entry, "generation"), 0));
  json_put_double(w, "seconds_ago", ago > 0 ? ago : 0, 1);
  json_open(w, "reasons", '[');
  for (const struct json *line = reasons ? reasons->child : NULL; line; line = line->next)
    json_put_text(w, NULL, json_text(line));
  json_close(w, ']');
  json_close(w, '}');
}

// The master writes it as a whole; one that cannot be read is not there.
static void put_report(const struct admin *admin, struct json_writer *w) {
  struct buf path = {0}, text = {0};
  struct arena arena;
  const struct json *report = NULL;
  arena_init(&arena, 8192, 0);
  buf_printf(&path, "%s/master.json", admin->options.config->server_state_dir);
  if (buf_read_file(&text, path.data, REPORT_MAX_BYTES) == ERR_OK && json_parse(&arena, buf_span(&text), NULL, &report, NULL) == ERR_OK) {
    put_outcome(w, "reload", json_get(report, "reload"), "refused");
    put_outcome(w, "upgrade", json_get(report, "upgrade"), "rolled back");
  }
  arena_free(&arena);
  buf_free(&text);
  buf_free(&path);
}

void state__put_condition(const struct admin *admin, struct json_writer *w) {
  struct why why;
  bool ready = state__is_ready(admin, &why);
  json_put_bool(w, "ready", ready);
  if (!ready) json_put_string(w, "reason", why.text);
  if (state__is_degraded(admin, &why)) json_put_string(w, "degraded", why.text);
  put_report(admin, w);
}

// ---------------------------------------------------------------- deliveries

// Answers to /ready and to operators say nothing of deliveries: these alone count.
void state__deliveries(const struct shm *shm, uint64_t *decided, uint64_t *failed) {
  static const enum metric others[] = {METRIC_WEBHOOK_ACCEPTED, METRIC_WEBHOOK_QUARANTINED, METRIC_WEBHOOK_UNSIGNED, METRIC_WEBHOOK_FORGED,
                                       METRIC_WEBHOOK_LIMITED};
  *failed = metrics_total(shm, METRIC_WEBHOOK_NOT_STORED) + metrics_total(shm, METRIC_WEBHOOK_SHED);
  *decided = 0;
  for (size_t i = 0; i < COUNT_OF(others); i++)
    *decided += metrics_total(shm, others[i]);
}

// ---------------------------------------------------------------- processes

uint64_t state__counter(const struct shm_slot *slot, enum metric metric) {
  return atomic_load_explicit(&slot->counters[metric], memory_order_relaxed);
}

double state__wall_seconds(void) {
  return (double)clock_wall_us() / 1e6;
}

double state__uptime_seconds(const struct shm *shm) {
  return (double)(clock_mono_us() - *shm->created_us) / 1e6;
}

double state__rate_of(uint64_t hits, uint64_t misses) {
  return hits + misses ? (double)hits / (double)(hits + misses) : 0;
}

static void put_process(struct json_writer *w, const struct shm_slot *slot) {
  int64_t now_us = clock_mono_us(), started = atomic_load(&slot->started_us), heartbeat = atomic_load(&slot->heartbeat_us);
  int32_t pid = atomic_load(&slot->pid);
  uint64_t hits = state__counter(slot, METRIC_CACHE_HITS), misses = state__counter(slot, METRIC_CACHE_MISSES);
  json_put_double(w, "uptime_seconds", started ? (double)(now_us - started) / 1e6 : 0, 1);
  json_put_double(w, "heartbeat_age_seconds", heartbeat ? (double)(now_us - heartbeat) / 1e6 : 0, 3);
  json_put_u64(w, "restarts", atomic_load(&slot->restarts));
  json_put_u64(w, "deaths", atomic_load(&slot->deaths));
  if (atomic_load(&slot->state) == SHM_BACKOFF) json_put_double(w, "next_start_seconds", seconds_until(slot, now_us), 1);
  json_put_i64(w, "master_pid", atomic_load(&slot->master_pid));
  json_put_u64(w, "connections", state__counter(slot, METRIC_HTTP_CONNECTIONS_OPEN));
  json_put_u64(w, "requests", state__counter(slot, METRIC_HTTP_REQUESTS));
  json_put_u64(w, "rss_bytes", pid > 0 ? proc_rss_bytes(pid) : 0);
  json_put_u64(w, "loop_lag_us", state__counter(slot, METRIC_LOOP_LAG_US));
  json_open(w, "cache", '{');
  json_put_u64(w, "size", state__counter(slot, METRIC_CACHE_SIZE));
  json_put_u64(w, "hits", hits);
  json_put_u64(w, "misses", misses);
  json_put_double(w, "hit_rate", state__rate_of(hits, misses), 4);
  json_close(w, '}');
}

void state__put_rows(const struct shm *shm, struct json_writer *w, enum shm_role from, state_put_row *put) {
  json_open(w, "processes", '[');
  for (unsigned i = 0; i < shm->slot_count; i++) {
    const struct shm_slot *slot = &shm->slots[i];
    enum shm_role role = atomic_load(&slot->role);
    if (role == SHM_ROLE_NONE || role < from || atomic_load(&slot->state) == SHM_EMPTY) continue;
    json_open(w, NULL, '{');
    json_put_string(w, "role", shm_role_name(role));
    json_put_u64(w, "ordinal", atomic_load(&slot->ordinal));
    json_put_u64(w, "generation", atomic_load(&slot->generation));
    json_put_i64(w, "pid", atomic_load(&slot->pid));
    json_put_string(w, "state", shm_state_name(atomic_load(&slot->state)));
    put(w, slot);
    json_close(w, '}');
  }
  json_close(w, ']');
}

void state__put_processes(const struct shm *shm, struct json_writer *w) {
  state__put_rows(shm, w, SHM_ROLE_MASTER, put_process);
}
