// A spool in a directory of its own, with verbs that block: each runs the loop until its completion stops it.
#ifndef TEST_SPOOL_WORLD_H
#define TEST_SPOOL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wahook/spool.h"

#define T0      INT64_C(1770000000000000) // a wall clock, us
#define DAY_US  (INT64_C(86400) * 1000000)
#define SEC_US  INT64_C(1000000)
#define PHONE   "106540352242922"
#define OK(err) assert_int_equal((err), ERR_OK)

struct world {
  struct loop *loop;
  struct spool *spool;
  char dir[64], path[96];
  // The last completion.
  enum err result;
  struct spool_job *job;
  bool flag;
  size_t count;
  int64_t ids[16];
  struct spool_conversation rows[64];
};

static inline void world_start(struct world *w) {
  struct why why = {""};
  struct spool_options options = {.loop = w->loop, .path = w->path};
  enum err e = spool_open(&options, &w->spool, &why);
  if (e) fail_msg("spool_open: %s: %s", err_name(e), why.text);
}

static inline void world_on_closed(void *ctx) {
  loop_stop(((struct world *)ctx)->loop);
}

static inline void world_stop(struct world *w) {
  spool_close(w->spool, world_on_closed, w);
  loop_run(w->loop);
  w->spool = NULL;
}

static inline void world_restart(struct world *w) {
  world_stop(w);
  world_start(w);
}

static inline int world_setup(void **state) {
  struct world *w = calloc(1, sizeof *w);
  snprintf(w->dir, sizeof w->dir, "%s", "/tmp/wahook-spool-XXXXXX");
  if (!mkdtemp(w->dir)) return -1;
  snprintf(w->path, sizeof w->path, "%s/spool.db", w->dir);
  w->loop = loop_new(0);
  world_start(w);
  *state = w;
  return 0;
}

static inline int world_teardown(void **state) {
  struct world *w = *state;
  if (w->spool) world_stop(w);
  loop_free(w->loop);
  const char *ends[] = {"", "-wal", "-shm"};
  for (size_t i = 0; i < COUNT_OF(ends); i++) {
    char path[128];
    snprintf(path, sizeof path, "%s%s", w->path, ends[i]);
    unlink(path);
  }
  rmdir(w->dir);
  free(w);
  return 0;
}

static inline void world_on_result(void *ctx, enum err result) {
  struct world *w = ctx;
  w->result = result;
  loop_stop(w->loop);
}

// ---------------------------------------------------------------- items

static inline struct spool_item message(const char *user, const char *wamid) {
  return (struct spool_item){.what = SPOOL_JOB,
                             .phone_number_id = SPAN(PHONE),
                             .user = span_of(user),
                             .wamid = span_of(wamid),
                             .type = SPAN("text"),
                             .profile_name = SPAN("Kerry"),
                             .raw = SPAN("{\"text\":{\"body\":\"hi\"}}"),
                             .received_us = T0,
                             .sent_us = T0 - SEC_US,
                             .dedup = SPAN("message")};
}

static inline struct spool_item status_of(const char *wamid, enum spool_status status, const char *dedup) {
  return (struct spool_item){.what = SPOOL_STATUS,
                             .phone_number_id = SPAN(PHONE),
                             .user = SPAN("u"),
                             .wamid = span_of(wamid),
                             .type = SPAN("status"),
                             .raw = SPAN("{}"),
                             .received_us = T0,
                             .dedup = span_of(dedup),
                             .status = status};
}

static inline enum err ingest_at(struct world *w, struct spool_item *items, size_t count, const struct spool_mark *mark, int64_t now_us) {
  spool_ingest(w->spool, items, count, mark, now_us, world_on_result, w);
  loop_run(w->loop);
  return w->result;
}

static inline enum err ingest(struct world *w, struct spool_item *items, size_t count) {
  return ingest_at(w, items, count, NULL, T0);
}

// ---------------------------------------------------------------- verbs

static inline void world_on_claimed(void *ctx, enum err result, struct spool_job *job) {
  struct world *w = ctx;
  w->result = result;
  w->job = job;
  loop_stop(w->loop);
}

static inline struct spool_job *claim_at(struct world *w, int64_t conversation, int64_t now_us) {
  spool_claim(w->spool, conversation, now_us, world_on_claimed, w);
  loop_run(w->loop);
  return w->job;
}

static inline struct spool_job *claim(struct world *w, int64_t conversation) {
  return claim_at(w, conversation, T0);
}

static inline void read_turns(struct world *w, struct spool_job *job) {
  spool_turns(w->spool, job, 10, world_on_result, w);
  loop_run(w->loop);
  OK(w->result);
}

static inline void world_on_stored(void *ctx, enum err result, const int64_t *ids) {
  struct world *w = ctx;
  w->result = result;
  for (size_t i = 0; i < w->count && ids; i++)
    w->ids[i] = ids[i];
  loop_stop(w->loop);
}

static inline enum err answer(struct world *w, int64_t job, const char *const *bodies, size_t count) {
  struct span spans[16];
  for (size_t i = 0; i < count; i++)
    spans[i] = span_of(bodies[i]);
  w->count = count;
  spool_store_answer(w->spool, job, spans, count, SPAN("hi"), SPAN("hello"), T0, world_on_stored, w);
  loop_run(w->loop);
  return w->result;
}

static inline enum err sent(struct world *w, int64_t outgoing, const char *wamid) {
  spool_sent(w->spool, outgoing, span_of(wamid), T0, world_on_result, w);
  loop_run(w->loop);
  return w->result;
}

static inline void world_on_finished(void *ctx, enum err result, bool more) {
  struct world *w = ctx;
  w->result = result;
  w->flag = more;
  loop_stop(w->loop);
}

static inline enum err finish(struct world *w, struct spool_finish f) {
  if (f.now_us == 0) f.now_us = T0;
  spool_finish(w->spool, &f, world_on_finished, w);
  loop_run(w->loop);
  return w->result;
}

static inline enum err finish_as(struct world *w, int64_t job, enum spool_end end) {
  return finish(w, (struct spool_finish){.job = job, .end = end, .reason = SPAN("because")});
}

static inline void world_on_page(void *ctx, enum err result, const struct spool_conversation *rows, size_t count) {
  struct world *w = ctx;
  w->result = result;
  w->count = count;
  for (size_t i = 0; i < count && i < COUNT_OF(w->rows); i++)
    w->rows[i] = rows[i];
  loop_stop(w->loop);
}

static inline size_t page(struct world *w, int64_t after, unsigned max) {
  spool_page(w->spool, after, max, world_on_page, w);
  loop_run(w->loop);
  OK(w->result);
  return w->count;
}

static inline void world_on_changed(void *ctx, bool changed) {
  struct world *w = ctx;
  w->flag = changed;
  loop_stop(w->loop);
}

static inline bool changed(struct world *w) {
  spool_changed(w->spool, world_on_changed, w);
  loop_run(w->loop);
  return w->flag;
}

static inline void world_on_swept(void *ctx, enum err result, size_t rows, bool more) {
  struct world *w = ctx;
  w->result = result;
  w->count = rows;
  w->flag = more;
  loop_stop(w->loop);
}

static inline size_t clean(struct world *w, int64_t now_us, int64_t retention_days) {
  spool_clean(w->spool, now_us, retention_days * 86400 * 1000, world_on_swept, w);
  loop_run(w->loop);
  OK(w->result);
  return w->count;
}

static inline size_t expire(struct world *w, int64_t now_us) {
  spool_expire(w->spool, now_us, world_on_swept, w);
  loop_run(w->loop);
  OK(w->result);
  return w->count;
}

// To the end of what there is to do.
static inline size_t expire_all(struct world *w, int64_t now_us) {
  size_t rows = 0;
  do {
    rows += expire(w, now_us);
  } while (w->flag);
  return rows;
}

static inline void retentions(struct world *w, const struct spool_retention *rows, size_t count) {
  spool_retentions(w->spool, rows, count, world_on_result, w);
  loop_run(w->loop);
  OK(w->result);
}

static inline uint64_t waiting(struct world *w) {
  uint64_t n = 0, dead = 0;
  spool_counts(w->spool, &n, &dead);
  return n;
}

static inline uint64_t dead_letters(struct world *w) {
  uint64_t n = 0, dead = 0;
  spool_counts(w->spool, &n, &dead);
  return dead;
}

#endif
