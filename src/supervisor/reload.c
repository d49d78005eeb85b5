// SIGHUP: a new configuration is tried beside the old one, and only when all its workers have checked in do the old ones go. Runs in the
// master.
//
//   HUP ─▶ read, check, open listeners ─▶ next workers STARTING ─all READY─▶ in force: old workers drain, the dispatcher is replaced
//              │ error                          │ one dies, or time is over
//              └────────────▶ nothing changes ◀─┘ (the next workers are stopped, their listeners closed)
#include "supervisor/master.h"

#include <stdio.h>
#include <string.h>

#include "wahook/log.h"
#include "wahook/metrics.h"

static void log_lines(enum log_level level, const struct buf *text) {
  struct span rest = buf_span(text), line;
  while (span_split(&rest, '\n', &line))
    if (line.len) log_write(level, "supervisor", "%.*s", SPAN_FMT(line));
}

// Nothing has changed: for the log, and for whoever asked.
static void refuse(struct master *master, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void refuse(struct master *master, const char *fmt, ...) {
  struct buf reason = {0};
  va_list ap;
  va_start(ap, fmt);
  buf_vprintf(&reason, fmt, ap);
  va_end(ap);
  log_error("supervisor", "reload refused: %s; the old configuration stays in force", reason.data);
  report_reason(&master->report, REPORT_RELOAD, buf_span(&reason));
  report_end(&master->report, REPORT_RELOAD, REPORT_REFUSED, master->generation);
  metrics_add(&master->shm.slots[0], METRIC_RELOADS_REFUSED, 1);
  buf_free(&reason);
  service_ready(master);
}

static bool is_next(const struct child *child) {
  const struct master *master = child->master;
  return master->reload.running && child->role == SHM_ROLE_WORKER && child->state != SHM_EMPTY &&
         child->generation == master->reload.generation;
}

// What only a restart can change.
static const struct {
  enum config_option_id id;
  size_t offset;
  bool is_text;
} fixed[] = {
    {OPT_server_state_dir, offsetof(struct config, server_state_dir), true},
    {OPT_server_user, offsetof(struct config, server_user), true},
    {OPT_server_group, offsetof(struct config, server_group), true},
    {OPT_server_pid_file, offsetof(struct config, server_pid_file), true},
    {OPT_server_daemon, offsetof(struct config, server_daemon), false},
    {OPT_limits_table_size, offsetof(struct config, limits_table_size), false},
};

static bool differs(const struct config *now, const struct config *next, size_t f) {
  const char *a = (const char *)now + fixed[f].offset, *b = (const char *)next + fixed[f].offset;
  if (fixed[f].is_text) return strcmp(*(char *const *)(const void *)a, *(char *const *)(const void *)b) != 0;
  return memcmp(a, b, fixed[f].id == OPT_server_daemon ? sizeof(bool) : sizeof(int64_t)) != 0;
}

// True when there is such a change: each is told, with its place.
static bool refuse_fixed(struct master *master, const struct config *next) {
  struct buf lines = {0};
  unsigned count = 0;
  for (size_t f = 0; f < COUNT_OF(fixed); f++) {
    if (!differs(master->config, next, f)) continue;
    config_place(next, fixed[f].id, &lines);
    buf_add_text(&lines, ": can only be changed by a restart (put the old value back, or restart wahookd)\n");
    count++;
  }
  log_lines(LOG_LEVEL_ERROR, &lines);
  report_reason(&master->report, REPORT_RELOAD, buf_span(&lines));
  if (count) refuse(master, "%u option%s can only be changed by a restart", count, count == 1 ? "" : "s");
  buf_free(&lines);
  return count > 0;
}

static enum err read_next(struct master *master, struct config **out) {
  struct config_command command = {0};
  struct config_errors errors = {0};
  struct config *next = NULL;
  enum err e = config_load(&next, &command, master->argc, master->argv, master->environ, &errors);
  enum err checked = config_check_daemon(next, &errors);
  if (e == ERR_OK) e = checked;
  log_lines(LOG_LEVEL_WARNING, &errors.warnings);
  if (e != ERR_OK) {
    log_lines(LOG_LEVEL_ERROR, &errors.text);
    report_reason(&master->report, REPORT_RELOAD, buf_span(&errors.text));
    refuse(master, "the new configuration has %u error%s", errors.count, errors.count == 1 ? "" : "s");
  } else if (refuse_fixed(master, next)) {
    e = ERR_CONFIG;
  } else {
    *out = next;
    next = NULL;
  }
  if (next) config_free(next);
  config_errors_free(&errors);
  return e;
}

static void begin(struct master *master) {
  struct config *next = NULL;
  struct listeners *listeners = NULL;
  struct why why = {0};
  log_info("supervisor", "reload: reading the configuration");
  report_begin(&master->report, REPORT_RELOAD);
  service_reloading(master);
  if (read_next(master, &next) != ERR_OK) return;
  unsigned workers = config_workers(next);
  if (workers > children_free_rows(master)) {
    refuse(master, "no room for %u more workers beside the present ones (try again when those that finish are gone)", workers);
    config_free(next);
    return;
  }
  if (listeners_open(next, workers, master->listeners, 0, &listeners, &why) != ERR_OK) {
    refuse(master, "%s", why.text);
    config_free(next);
    return;
  }
  master->reload.running = true;
  master->reload.committed = false;
  master->reload.config = next;
  master->reload.listeners = listeners;
  master->reload.workers = workers;
  master->reload.generation = master->generation + 1;
  master->reload.give_up_us = clock_mono_us() + next->server_timeout * 1000;
  for (unsigned i = 0; i < workers && master->reload.running; i++)
    children_start(master, SHM_ROLE_WORKER, i, true);
}

static void call_off(struct master *master, const char *reason) {
  bool wanted = master->reload.wanted;
  for (unsigned i = 0; i < master->child_count; i++)
    if (is_next(&master->children[i])) children_quit(&master->children[i]);
  listeners_close(master->reload.listeners, master->listeners);
  config_free(master->reload.config);
  // A number that is never used again: what is left of the refused generation is never taken for the next one.
  master->generation = master->reload.generation;
  for (unsigned i = 0; i < master->child_count; i++)
    if (!master->children[i].retire && master->children[i].state != SHM_EMPTY) master->children[i].generation = master->generation;
  memset(&master->reload, 0, sizeof master->reload);
  master->reload.wanted = wanted; // whoever asked meanwhile has changed something since
  refuse(master, "%s", reason);
}

static void commit(struct master *master) {
  struct why why = {0};
  struct config *old_config = master->config;
  struct listeners *old_listeners = master->listeners;
  master->config = master->reload.config;
  master->listeners = master->reload.listeners;
  master->workers = master->reload.workers;
  master->generation = master->reload.generation;
  master->reload.committed = true;
  master->reload.config = NULL;
  master->reload.listeners = NULL;
  if (master__setup_log(master->config, &why) != ERR_OK) log_error("supervisor", "the log stays where it is: %s", why.text);
  for (unsigned i = 0; i < master->child_count; i++) {
    struct child *child = &master->children[i];
    if (child->state == SHM_EMPTY || child->generation == master->generation) continue;
    if (child->role == SHM_ROLE_WORKER) {
      // One without a successor on its socket is one too many: it leaves as such (scale.c).
      if (child->ordinal < master->workers) children_drain(child, true);
    } else {
      child->generation = master->generation;
      children_drain(child, false); // its successor starts when it is gone: there is never more than one at work
    }
  }
  listeners_store(master->listeners, old_listeners);
  listeners_close(old_listeners, master->listeners);
  config_free(old_config);
  log_info("supervisor", "reload: generation %u has checked in, the old workers finish", master->generation);
  atomic_store(&master->shm.slots[0].generation, master->generation);
  metrics_add(&master->shm.slots[0], METRIC_RELOADS_DONE, 1);
  report_end(&master->report, REPORT_RELOAD, REPORT_DONE, master->generation);
  service_ready(master);
}

void reload_request(struct master *master) {
  if (master->life == MASTER_STOPPING) return;
  // While the first start or another reload is under way it waits; any number of requests become one.
  if (master->life == MASTER_STARTING || master->reload.running || master->upgrade.running) {
    master->reload.wanted = true;
    return;
  }
  begin(master);
}

void reload_child_ready(struct child *child) {
  struct master *master = child->master;
  if (!is_next(child) || master->reload.committed) return;
  unsigned ready = 0;
  for (unsigned i = 0; i < master->child_count; i++)
    ready += is_next(&master->children[i]) && master->children[i].state == SHM_READY;
  if (ready >= master->reload.workers) commit(master);
}

bool reload_child_died(struct child *child) {
  struct master *master = child->master;
  if (!is_next(child) || master->reload.committed) return false;
  char name[32], reason[400];
  snprintf(reason, sizeof reason, "%s of the new configuration %s%s", child_name(child, name), *child->fatal ? "says: " : "died",
           child->fatal);
  child->retire = true;
  call_off(master, reason);
  return true;
}

static bool old_ones_are_gone(const struct master *master) {
  for (unsigned i = 0; i < master->child_count; i++) {
    const struct child *child = &master->children[i];
    if (child->state == SHM_EMPTY) continue;
    if (child->state == SHM_DRAINING) return false;
    if (child->role == SHM_ROLE_WORKER && child->generation != master->generation) return false;
    if (child->role == SHM_ROLE_DISPATCHER && child->state == SHM_STARTING) return false;
  }
  return true;
}

void reload_tick(struct master *master, int64_t now_us) {
  if (master->life == MASTER_STOPPING) return;
  if (master->reload.running && !master->reload.committed && now_us >= master->reload.give_up_us)
    call_off(master, "the new workers did not check in in time");
  if (master->reload.running && master->reload.committed && old_ones_are_gone(master)) {
    master->reload.running = false;
    log_info("supervisor", "reload: done, generation %u is at work", master->generation);
  }
  if (master->reload.wanted && !master->reload.running && !master->upgrade.running && master->life == MASTER_RUNNING) {
    master->reload.wanted = false;
    begin(master);
  }
}
