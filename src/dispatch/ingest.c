// Moves events from the workers' journals to the spool: reads a batch, sorts it by kind, stores it with the journal's position, tells the
// scheduler. Runs in the dispatcher.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dispatch.h"

#define INGEST_MAGIC     0x696e6773u
#define INGEST_BATCH_MAX 1000

struct ingest {
  uint32_t magic;
  struct dispatch *d;
  struct intake_reader *reader;
  struct intake_batch batch; // in the spool while `busy`
  struct spool_item items[INGEST_BATCH_MAX];
  char dedups[INGEST_BATCH_MAX][40];
  struct arena arena;                // what was decoded of the batch
  bool busy, asked, stopped, polled; // busy: a batch is on its way; asked: the spool will call back
  uv_poll_t wake;
  struct loop_timer poll; // in case a wake-up was lost, and after an error
  unsigned closing;
  void (*on_closed)(void *ctx);
  void *closed_ctx;
};

static void step(void *ctx);

// ---------------------------------------------------------------- sorting events

static const struct {
  const char *name;
  enum spool_status status;
  enum metric metric;
} statuses[] = {
    {"sent", SPOOL_STATUS_SENT, METRIC_STATUS_SENT},       {"delivered", SPOOL_STATUS_DELIVERED, METRIC_STATUS_DELIVERED},
    {"read", SPOOL_STATUS_READ, METRIC_STATUS_READ},       {"played", SPOOL_STATUS_PLAYED, METRIC_STATUS_READ},
    {"failed", SPOOL_STATUS_FAILED, METRIC_STATUS_FAILED},
};

static void sort_message(struct ingest *in, const struct intake_event *event, struct spool_item *item) {
  const struct json *message = NULL;
  if (json_parse(&in->arena, event->raw, NULL, &message, NULL) == ERR_OK)
    item->sent_us = message_sent_steady_us(message_sent_us(message), event->received_us, item->received_us);
  item->what = !event->user.len ? SPOOL_KEEP : message_answerable(event->type) ? SPOOL_JOB : SPOOL_NOTE;
  item->dedup = SPAN("message");
}

static void sort_status(struct ingest *in, const struct intake_event *event, struct spool_item *item, char *dedup, size_t dedup_size) {
  const struct json *status = NULL;
  item->what = SPOOL_KEEP;
  if (json_parse(&in->arena, event->raw, NULL, &status, NULL) != ERR_OK) return;
  struct span name = json_get_text(status, "status");
  for (size_t i = 0; i < COUNT_OF(statuses); i++)
    if (span_eq(name, span_of(statuses[i].name))) {
      item->what = SPOOL_STATUS;
      item->status = statuses[i].status;
    }
  item->callback = json_get_text(status, "biz_opaque_callback_data");
  const struct json *error = json_path(status, "errors.0");
  item->error_code = json_i64(json_get(error, "code"), 0);
  item->error_text = json_get_text(error, "title");
  snprintf(dedup, dedup_size, "status:%.*s", (int)(name.len < 24 ? name.len : 24), name.ptr ? name.ptr : "");
  item->dedup = span_of(dedup);
}

// When it arrived, on the steady clock: what has passed since then is known by the clock that counts from the machine's start, or, over a
// restart of the machine, by the wall clock alone.
static int64_t received_us(struct dispatch *d, const struct intake_event *event) {
  int64_t passed_us = event->boot_us ? clock_boot_us() - event->boot_us : clock_wall_us() - event->received_us;
  return dispatch__steady_us(d) - (passed_us > 0 ? passed_us : 0);
}

static void sort_event(struct ingest *in, const struct intake_event *event, struct spool_item *item, char *dedup, size_t dedup_size) {
  *item = (struct spool_item){.what = SPOOL_KEEP,
                              .phone_number_id = event->phone_number_id,
                              .user = event->user,
                              .wamid = event->wamid,
                              .type = event->type,
                              .profile_name = event->profile_name,
                              .raw = event->raw,
                              .received_us = received_us(in->d, event)};
  switch (event->kind) {
  case INTAKE_MESSAGE: sort_message(in, event, item); break;
  case INTAKE_STATUS: sort_status(in, event, item, dedup, dedup_size); break;
  case INTAKE_ECHO: item->dedup = SPAN("echo"); break;
  case INTAKE_QUARANTINE: item->what = SPOOL_QUARANTINE; break;
  case INTAKE_ERROR:
  case INTAKE_ACCOUNT:
  case INTAKE_OTHER: break;
  }
  if (!item->phone_number_id.len) item->phone_number_id = event->waba_id;
}

// ---------------------------------------------------------------- a batch

static void count_item(struct ingest *in, const struct spool_item *item) {
  struct dispatch *d = in->d;
  if (item->fate == SPOOL_FATE_DUPLICATE) {
    metrics_add(d->slot, METRIC_DUPLICATES, 1);
    return;
  }
  if (item->what == SPOOL_STATUS) {
    if (item->fate == SPOOL_FATE_LATE) metrics_add(d->slot, METRIC_STATUS_LATE, 1);
    for (size_t i = 0; i < COUNT_OF(statuses); i++)
      if (statuses[i].status == item->status && item->fate == SPOOL_FATE_NEW) metrics_add(d->slot, statuses[i].metric, 1);
    return;
  }
  if (item->what != SPOOL_JOB) return;
  char phone_number_id[36];
  if (span_copy(item->phone_number_id, phone_number_id, sizeof phone_number_id) == ERR_OK)
    dispatch__conversation(d, item->conversation, phone_number_id, 0);
}

static void tell_damage(const struct ingest *in) {
  size_t damaged = 0;
  for (size_t i = 0; i < in->batch.count; i++)
    damaged += in->batch.events[i].kind == INTAKE_QUARANTINE && span_eq(in->batch.events[i].type, SPAN(INTAKE_DAMAGED));
  if (damaged)
    log_error("dispatch", "%zu damaged piece%s of the journal %s/%s: kept in quarantine, the records around are processed (check the disk)",
              damaged, damaged == 1 ? "" : "s", in->d->options.intake_directory, in->batch.upto.file);
}

static void store(void *ctx);

static void on_ingested(void *ctx, enum err result) {
  struct ingest *in = ctx;
  struct dispatch *d = in->d;
  ALWAYS(in->magic == INGEST_MAGIC);
  in->asked = false;
  if (result != ERR_OK && !in->stopped) {
    // The batch stays valid until the next read: the same again. The journal keeps everything meanwhile.
    uint64_t held_back;
    if (log_limited(&d->store_limit, 2, dispatch__mono_us(d), 10000000, &held_back))
      log_error("dispatch", "the spool does not take events (%s), trying again each second; they are safe in the journal",
                err_text(result));
    in->poll.on_time = store;
    loop_timer_start(&in->poll, 1000, 0);
    return;
  }
  in->busy = false;
  if (result == ERR_OK) {
    for (size_t i = 0; i < in->batch.count; i++)
      count_item(in, &in->items[i]);
    metrics_add(d->slot, METRIC_INGESTED, in->batch.count);
    if (in->batch.finished) {
      intake_reader_delete(in->reader, in->batch.upto.file);
      spool_forget_position(d->spool, in->batch.upto.file);
    }
  }
  if (in->stopped)
    dispatch__settle(d);
  else
    step(in);
}

static void store(void *ctx) {
  struct ingest *in = ctx;
  ALWAYS(in->magic == INGEST_MAGIC);
  in->poll.on_time = step;
  in->asked = true;
  struct spool_mark mark = {.file = in->batch.upto.file, .offset = in->batch.upto.offset, .finished = in->batch.finished};
  spool_ingest(in->d->spool, in->items, in->batch.count, &mark, dispatch__steady_us(in->d), on_ingested, in);
}

// Reads what is new; when there is nothing, asks the workers to wake us, looks once more (they may have written in between), and sleeps.
static void step(void *ctx) {
  struct ingest *in = ctx;
  struct dispatch *d = in->d;
  ALWAYS(in->magic == INGEST_MAGIC);
  if (in->busy || in->stopped) return;
  atomic_store(&d->options.shm->broadcast->dispatcher_idle, 0);
  enum err e = intake_reader_next(in->reader, INGEST_BATCH_MAX, &in->batch);
  if (e == ERR_AGAIN) {
    atomic_store(&d->options.shm->broadcast->dispatcher_idle, 1);
    e = intake_reader_next(in->reader, INGEST_BATCH_MAX, &in->batch);
  }
  if (e != ERR_OK) {
    if (e != ERR_AGAIN) log_error("dispatch", "cannot read the journal in %s: %s", d->options.intake_directory, err_text(e));
    loop_timer_start(&in->poll, in->polled ? 1000 : 20, 0);
    return;
  }
  arena_reset(&in->arena);
  for (size_t i = 0; i < in->batch.count; i++)
    sort_event(in, &in->batch.events[i], &in->items[i], in->dedups[i], sizeof in->dedups[i]);
  tell_damage(in);
  in->busy = true;
  store(in);
}

static void on_wake(uv_poll_t *handle, int status, int events) {
  struct ingest *in = handle->data;
  (void)status, (void)events;
  ALWAYS(in->magic == INGEST_MAGIC);
  uint64_t count;
  while (read(in->d->options.wake_fd, &count, sizeof count) > 0)
    continue;
  step(in);
}

// ---------------------------------------------------------------- life

enum err ingest__start(struct dispatch *d, struct why *why) {
  struct spool_position *stored = NULL;
  size_t count = 0;
  enum err e = spool_positions(d->spool, &stored, &count, why);
  if (e != ERR_OK) return e;
  struct intake_position *positions = xcalloc(count ? count : 1, sizeof *positions);
  for (size_t i = 0; i < count; i++) {
    memcpy(positions[i].file, stored[i].file, sizeof positions[i].file);
    positions[i].offset = stored[i].offset;
  }
  free(stored);
  struct intake_reader_options options = {.directory = d->options.intake_directory,
                                          .slot = d->slot,
                                          .positions = positions,
                                          .position_count = count};
  struct intake_reader *reader = NULL;
  e = intake_reader_open(&options, &reader, why);
  free(positions);
  if (e != ERR_OK) return e;
  struct ingest *in = xcalloc(1, sizeof *in);
  in->magic = INGEST_MAGIC;
  in->d = d;
  in->reader = reader;
  arena_init(&in->arena, 1 << 20, 0);
  loop_timer_init(d->options.loop, &in->poll, step, in);
  if (d->options.wake_fd >= 0 && uv_poll_init(loop_uv(d->options.loop), &in->wake, d->options.wake_fd) == 0) {
    in->wake.data = in;
    in->polled = true;
    uv_poll_start(&in->wake, UV_READABLE, on_wake);
  }
  d->ingest = in;
  loop_timer_start(&in->poll, 0, 0);
  return ERR_OK;
}

void ingest__stop(struct dispatch *d) {
  d->ingest->stopped = true;
  loop_timer_stop(&d->ingest->poll);
  if (d->ingest->polled) uv_poll_stop(&d->ingest->wake);
}

bool ingest__busy(const struct dispatch *d) {
  return d->ingest->asked;
}

uint64_t ingest__backlog_bytes(const struct dispatch *d) {
  return intake_reader_backlog_bytes(d->ingest->reader);
}

static void closed_one(struct ingest *in) {
  if (--in->closing) return;
  void (*on_closed)(void *ctx) = in->on_closed;
  void *ctx = in->closed_ctx;
  intake_reader_close(in->reader);
  arena_free(&in->arena);
  in->magic = 0;
  free(in);
  on_closed(ctx);
}

static void on_timer_closed(void *ctx) {
  closed_one(ctx);
}

static void on_poll_closed(uv_handle_t *handle) {
  closed_one(handle->data);
}

void ingest__free(struct dispatch *d, void (*on_closed)(void *ctx), void *ctx) {
  struct ingest *in = d->ingest;
  in->on_closed = on_closed;
  in->closed_ctx = ctx;
  in->closing = in->polled ? 2 : 1;
  loop_timer_close(&in->poll, on_timer_closed);
  if (in->polled) uv_close((uv_handle_t *)&in->wake, on_poll_closed);
}
