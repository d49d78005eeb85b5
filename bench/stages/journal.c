// The journal: an event with its share of a batch's commit. Runs in bench-stages.
#include <stdio.h>
#include <string.h>

#include "stages.h"
#include "wahook/intake.h"

#define SEGMENT_BYTES (16u << 20)
#define RAW_BYTES     420 // of a message in a webhook of 700

struct work {
  struct loop *loop;
  struct journal *journal;
  struct loop_timer start;
  struct intake_event event;
  unsigned batch;
  uint64_t left, upto;
};

// Each batch once the one before it is decided; the journal hands it over at the turn's end.
static void append_batch(struct work *w) {
  for (unsigned i = 0; i < w->batch; i++)
    journal_append(w->journal, &w->event);
  w->upto = journal_ticket(w->journal);
  w->left = w->left > w->batch ? w->left - w->batch : 0;
}

static void on_commit(void *ctx, uint64_t upto, enum err result) {
  struct work *w = ctx;
  if (result != ERR_OK) die("the journal cannot be written: %s", err_text(result));
  if (upto < w->upto) return;
  if (w->left)
    append_batch(w);
  else
    loop_stop(w->loop);
}

static void on_start(void *ctx) {
  append_batch(ctx);
}

static void on_closed(void *ctx) {
  loop_stop(((struct work *)ctx)->loop);
}

static void append(void *ctx, uint64_t n) {
  struct work *w = ctx;
  w->left = n;
  loop_timer_start(&w->start, 0, 0);
  loop_run(w->loop);
}

static void measure(struct shm *shm, bool sync, unsigned batch) {
  static char raw[RAW_BYTES];
  char name[64], path[256];
  struct why why;
  snprintf(name, sizeof name, "intake: an event, %s, %u a batch", sync ? "durable" : "sync = none", batch);
  if (!stage_wanted(name)) return;
  stage_folder(path);
  memset(raw, 'r', sizeof raw);
  struct work w = {.loop = loop_new(0), .batch = batch};
  w.event = (struct intake_event){.kind = INTAKE_MESSAGE,
                                  .received_us = clock_wall_us(),
                                  .phone_number_id = SPAN("15550000001"),
                                  .waba_id = SPAN("102290129340398"),
                                  .user = SPAN("491700000001"),
                                  .wamid = SPAN("wamid.HBgMNDkxNzAxMjM0NTY3FQIAEhgU00000000000000000000000000AA=="),
                                  .type = SPAN("text"),
                                  .raw = {raw, sizeof raw}};
  struct journal_options options = {.loop = w.loop,
                                    .slot = &shm->slots[0],
                                    .directory = path,
                                    .sync = sync,
                                    .segment_bytes = SEGMENT_BYTES,
                                    .wake_fd = -1,
                                    .shm = shm,
                                    .on_commit = on_commit,
                                    .ctx = &w};
  if (journal_open(&options, &w.journal, &why) != ERR_OK) die("%s", why.text);
  loop_timer_init(w.loop, &w.start, on_start, &w);
  stage_time(name, append, &w);
  loop_timer_close(&w.start, NULL);
  journal_close(w.journal, on_closed, &w);
  loop_run(w.loop);
  loop_free(w.loop);
  stage_folder_remove(path);
}

void stages_journal(void) {
  static const unsigned batches[] = {1, 16, 256};
  struct shm shm;
  struct why why;
  if (!stage_wanted("intake: an event")) return;
  if (shm_create(&shm, 2, 65536, &why) != ERR_OK) die("%s", why.text);
  for (unsigned sync = 0; sync < 2; sync++)
    for (size_t i = 0; i < COUNT_OF(batches); i++)
      measure(&shm, sync, batches[i]);
  shm_detach(&shm);
}
