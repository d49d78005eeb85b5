// The spool: new messages taken in, in batches as the dispatcher's; and what a waiting job takes on the disk. Runs in bench-stages.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "stages.h"
#include "wahook/spool.h"

#define BATCH     256
#define RAW_BYTES 420
#define ID_BYTES  80

struct work {
  struct loop *loop;
  struct spool *spool;
  uint64_t next, left;
  struct spool_item items[BATCH];
  char ids[BATCH][ID_BYTES], users[BATCH][16];
  char raw[RAW_BYTES];
};

static void ingest(struct work *w);

static void on_ingested(void *ctx, enum err result) {
  struct work *w = ctx;
  if (result != ERR_OK) die("the spool does not take it: %s", err_text(result));
  if (w->left)
    ingest(w);
  else
    loop_stop(w->loop);
}

static void ingest(struct work *w) {
  size_t count = w->left < BATCH ? (size_t)w->left : BATCH;
  for (size_t i = 0; i < count; i++) {
    uint64_t n = w->next++;
    snprintf(w->ids[i], ID_BYTES, "wamid.HBgMNDkxNzAxMjM0NTY3FQIAEhgU%026lluAA==", (unsigned long long)n);
    snprintf(w->users[i], sizeof w->users[i], "4917%08llu", (unsigned long long)n % 10000);
    w->items[i] = (struct spool_item){.what = SPOOL_JOB,
                                      .phone_number_id = SPAN("15550000001"),
                                      .user = span_of(w->users[i]),
                                      .wamid = span_of(w->ids[i]),
                                      .type = SPAN("text"),
                                      .raw = {w->raw, RAW_BYTES},
                                      .received_us = clock_wall_us(),
                                      .dedup = SPAN("message")};
  }
  w->left -= count;
  struct spool_mark mark = {.file = "w0-1.log", .offset = w->next};
  spool_ingest(w->spool, w->items, count, &mark, clock_wall_us(), on_ingested, w);
}

static void take_in(void *ctx, uint64_t n) {
  struct work *w = ctx;
  w->left = n;
  ingest(w);
  loop_run(w->loop);
}

static void on_closed(void *ctx) {
  loop_stop(((struct work *)ctx)->loop);
}

void stages_spool(void) {
  static const char name[] = "spool: take a message in, 256 a batch";
  static struct work w;
  char folder[256], path[280];
  struct why why;
  struct stat about;
  if (!stage_wanted(name)) return;
  stage_folder(folder);
  snprintf(path, sizeof path, "%s/spool.db", folder);
  memset(w.raw, 'r', sizeof w.raw);
  w.loop = loop_new(0);
  struct spool_options options = {.loop = w.loop, .path = path};
  if (spool_open(&options, &w.spool, &why) != ERR_OK) die("%s", why.text);
  stage_time(name, take_in, &w);
  spool_close(w.spool, on_closed, &w);
  loop_run(w.loop);
  loop_free(w.loop);
  if (stat(path, &about) == 0)
    stage_tell("spool: a waiting job with its seen id, on the disk", "bytes", (double)about.st_size / (double)w.next);
  stage_folder_remove(folder);
}
