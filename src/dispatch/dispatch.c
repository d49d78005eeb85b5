// The dispatcher's life: start, the turn that starts jobs, what is done each second, an orderly stop. Runs in the dispatcher.
#include "dispatch.h"

#include <stdlib.h>

#define PAGE_MAX      5000
#define CLEAN_EVERY_S 60
#define ASKED_MAX     256 // businesses that are asked for at once

int64_t dispatch__mono_us(const struct dispatch *d) {
  return loop_now_us(d->options.loop);
}

int64_t dispatch__steady_us(struct dispatch *d) {
  return clock_steady_at(&d->clock, clock_boot_us(), clock_wall_us());
}

int64_t dispatch__mono_of(struct dispatch *d, int64_t steady_us) {
  int64_t ahead = steady_us - dispatch__steady_us(d);
  return dispatch__mono_us(d) + (ahead > 0 ? ahead : 0);
}

// ---------------------------------------------------------------- starting jobs

static void on_alarm(void *ctx) {
  (void)ctx; // the turn's hook does the work
}

struct asked {
  struct dispatch *d;
  struct tenant *tenant;
};

static void on_tenant_known(void *ctx, enum directory_answer found, const struct business *business) {
  struct asked *asked = ctx;
  struct dispatch *d = asked->d;
  (void)business; // in the cache by now, as is that there is none
  ALWAYS(d->magic == DISPATCH_MAGIC);
  if (found == DIRECTORY_LATER)
    scheduler_park_again(d->scheduler, asked->tenant);
  else
    scheduler_unpark(d->scheduler, asked->tenant);
  free(asked);
  d->asked--;
  d->asks--;
  dispatch__settle(d);
}

// The store answers for many nearly as fast as for one.
static void ask_for_parked(struct dispatch *d) {
  for (unsigned n = d->asked; n < ASKED_MAX && directory_asks(d->options.directory); n++) {
    struct tenant *tenant = scheduler_take_parked(d->scheduler);
    if (!tenant) return;
    struct asked *asked = xmalloc(sizeof *asked);
    *asked = (struct asked){d, tenant};
    d->asked++;
    d->asks++;
    directory_find(d->options.directory, DIRECTORY_PHONE, span_of(tenant->phone_number_id), on_tenant_known, asked);
  }
}

// A store that is slow or down must not take the places of those whose business is known: a number is parked until its business is.
static void begin_ready(struct dispatch *d, int64_t now) {
  struct conversation *c;
  while ((c = scheduler_next(d->scheduler, now))) {
    if (directory_knows(d->options.directory, DIRECTORY_PHONE, span_of(c->tenant->phone_number_id)))
      job__begin(d, c);
    else
      scheduler_park(d->scheduler, c, now);
  }
}

// Once a turn: start what may start, and set the alarm for what may start later.
static void on_turn(void *ctx) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  if (d->stopping) return;
  int64_t now = dispatch__mono_us(d);
  begin_ready(d, now);
  ask_for_parked(d);
  begin_ready(d, now); // what was answered at once
  int64_t wake = scheduler_wake_us(d->scheduler);
  if (wake == INT64_MAX) return;
  int64_t after_us = wake - dispatch__mono_us(d);
  loop_timer_start(&d->alarm, after_us > 0 ? after_us / 1000 + 1 : 0, 0);
}

void dispatch__conversation(struct dispatch *d, int64_t conversation, const char *phone_number_id, int64_t next_us) {
  int64_t now = dispatch__mono_us(d);
  scheduler_add(d->scheduler, conversation, phone_number_id, next_us ? dispatch__mono_of(d, next_us) : now, now);
}

// ---------------------------------------------------------------- what the spool holds from before

static void page(struct dispatch *d);

static void page_row(struct dispatch *d, const struct spool_conversation *row) {
  dispatch__conversation(d, row->id, row->phone_number_id, row->next_us);
  scheduler_hasten(d->scheduler, row->id, dispatch__mono_of(d, row->next_us));
}

static void on_page(void *ctx, enum err result, const struct spool_conversation *rows, size_t count) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  d->asks--;
  if (d->stopping) {
    dispatch__settle(d);
    return;
  }
  if (result != ERR_OK) {
    d->paging = false;
    return; // once a second it is tried again while paged_upto is set
  }
  for (size_t i = 0; i < count; i++)
    page_row(d, &rows[i]);
  if (count) d->paged_upto = rows[count - 1].id;
  if (count < PAGE_MAX) {
    d->paging = false;
    d->paged_upto = -1;
    return;
  }
  page(d);
}

// Reads on in the background, so that a million waiting jobs do not delay the start.
static void page(struct dispatch *d) {
  d->paging = true;
  d->asks++;
  spool_page(d->spool, d->paged_upto, PAGE_MAX, on_page, d);
}

static void on_changed(void *ctx, bool changed) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  d->asks--;
  if (d->stopping) {
    dispatch__settle(d);
    return;
  }
  if (changed && d->paged_upto < 0) d->paged_upto = 0;
  if (d->paged_upto >= 0 && !d->paging) page(d);
}

static void on_cleaned(void *ctx, enum err result, size_t rows, bool more) {
  (void)rows;
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  d->asks--;
  if (d->stopping)
    dispatch__settle(d);
  else if (result == ERR_OK && more)
    d->seconds = CLEAN_EVERY_S - 1; // on with it in the next second
}

// The workers refuse deliveries while too many jobs wait, and take them again at nine tenths. The bit outlives a dispatcher that
// ends: its jobs still wait.
static void watch_waiting(struct dispatch *d, uint64_t waiting) {
  uint64_t most = d->config->dispatch_max_waiting ? (uint64_t)d->config->dispatch_max_waiting : UINT64_MAX;
  _Atomic uint32_t *shedding = &d->options.shm->broadcast->shedding;
  bool before = atomic_load(shedding) & INTAKE_SHED_JOBS;
  bool now = waiting > (before ? most - most / 10 : most);
  if (now == before) return;
  if (now) {
    atomic_fetch_or(shedding, INTAKE_SHED_JOBS);
    log_warning("dispatch",
                "%llu jobs wait (dispatch.max_waiting is %llu): deliveries are refused with 503 until nine tenths are left; responder or "
                "Graph do not keep up or businesses are held (wahookctl queue list)",
                (unsigned long long)waiting, (unsigned long long)most);
  } else {
    atomic_fetch_and(shedding, ~INTAKE_SHED_JOBS);
    log_info("dispatch", "%llu jobs wait: deliveries are taken again", (unsigned long long)waiting);
  }
}

static void on_second(void *ctx) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  if (d->stopping) return;
  uint64_t waiting = 0, dead = 0;
  spool_counts(d->spool, &waiting, &dead);
  metrics_set(d->slot, METRIC_JOBS_WAITING, waiting);
  metrics_set(d->slot, METRIC_INTAKE_BACKLOG_BYTES, ingest__backlog_bytes(d));
  atomic_store(&d->options.shm->broadcast->backlog, waiting);
  watch_waiting(d, waiting);
  pacing_sweep(d->pacing, dispatch__mono_us(d));
  d->asks++;
  spool_changed(d->spool, on_changed, d);
  retention__second(d);
  if (++d->seconds % CLEAN_EVERY_S == 0) {
    spool_keep_clock(d->spool, &d->clock);
    d->asks++;
    spool_clean(d->spool, dispatch__steady_us(d), d->config->dispatch_retention, on_cleaned, d);
  }
}

// ---------------------------------------------------------------- life

enum err dispatch_start(const struct dispatch_options *options, struct dispatch **out, struct why *why) {
  const struct config *config = options->config;
  struct dispatch *d = xcalloc(1, sizeof *d);
  d->magic = DISPATCH_MAGIC;
  d->options = *options;
  d->options.intake_directory = d->intake_directory = xstrdup(options->intake_directory);
  d->config = config;
  d->slot = options->slot;
  d->spool = options->spool;
  ALWAYS(responder_type_parse(span_of(config->responder_type), &d->responder) == ERR_OK); // the configuration was checked
  struct clock_steady kept = spool_clock(d->spool);
  clock_steady_begin(&d->clock, &kept, clock_boot_id(), clock_boot_us(), clock_wall_us());
  enum err e = ingest__start(d, why);
  if (e != ERR_OK) {
    d->magic = 0;
    free(d->intake_directory);
    free(d);
    return e;
  }
  d->scheduler = scheduler_new((unsigned)config->dispatch_concurrency, (unsigned)config->dispatch_tenant_concurrency);
  d->pacing =
      pacing_new(config->graph_rate.count, config->graph_rate.period_us, config->graph_pair_rate.count, config->graph_pair_rate.period_us);
  d->graph = graph_new(&(struct graph_options){
      .outbound = options->outbound, .slot = options->slot, .base_url = config->graph_base_url, .version = config->graph_version});
  d->tokens = token_cache_new(10000);
  d->hook = (struct loop_hook){.on_turn = on_turn, .ctx = d};
  loop_hook_add(options->loop, &d->hook);
  loop_timer_init(options->loop, &d->alarm, on_alarm, d);
  loop_timer_init(options->loop, &d->second, on_second, d);
  loop_timer_start(&d->second, 1000, 1000);
  spool_keep_clock(d->spool, &d->clock);
  page(d);
  *out = d;
  return ERR_OK;
}

static void free_dispatch(struct dispatch *d) {
  void (*on_stopped)(void *ctx) = d->on_stopped;
  void *ctx = d->stopped_ctx;
  scheduler_free(d->scheduler);
  pacing_free(d->pacing);
  graph_free(d->graph);
  token_cache_free(d->tokens);
  d->magic = 0;
  free(d->intake_directory);
  free(d);
  on_stopped(ctx);
}

static void on_handle_closed(void *ctx) {
  struct dispatch *d = ctx;
  if (--d->closing == 0) free_dispatch(d);
}

static void close_all(struct dispatch *d) {
  d->stopped = true;
  loop_hook_remove(d->options.loop, &d->hook);
  d->closing = 4;
  ingest__free(d, on_handle_closed, d);
  loop_timer_close(&d->alarm, on_handle_closed);
  loop_timer_close(&d->second, on_handle_closed);
  loop_timer_close(&d->grace, on_handle_closed);
}

void dispatch__settle(struct dispatch *d) {
  if (d->stopping && !d->stopped && !d->asks && !ingest__busy(d)) close_all(d);
}

static void on_grace_over(void *ctx) {
  struct dispatch *d = ctx;
  ALWAYS(d->magic == DISPATCH_MAGIC);
  if (d->stopped) return;
  log_warning("dispatch", "%u jobs were still in work at the end of the graceful timeout; they go on after the next start",
              scheduler_working(d->scheduler));
  void (*on_stopped)(void *ctx2) = d->on_stopped;
  d->stopped = true; // what is in work keeps its memory: the process ends now
  on_stopped(d->stopped_ctx);
}

void dispatch_stop(struct dispatch *d, int64_t grace_ms, void (*on_done)(void *ctx), void *ctx) {
  ALWAYS(d->magic == DISPATCH_MAGIC && !d->stopping);
  d->stopping = true;
  d->on_stopped = on_done;
  d->stopped_ctx = ctx;
  dispatch__steady_us(d);
  spool_keep_clock(d->spool, &d->clock);
  ingest__stop(d);
  retention__stop(d);
  loop_timer_init(d->options.loop, &d->grace, on_grace_over, d);
  loop_timer_start(&d->grace, grace_ms, 0);
  dispatch__settle(d);
}
