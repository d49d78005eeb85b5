// Posts webhooks, signed; makes sent, delivered and read of every accepted message and posts them in batches. Runs in wahook-sandbox.
//
//   record ──▶ [sent] ──▶ [delivered] ──▶ [read]      one queue a stage; a stage's delay is the same for all, so queues stay in order
//                 └──────────┴──▶ ready ──▶ batch ──POST──▶ done | again later
#include "tools/sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "wahook/log.h"

#define QUEUES_MAGIC 0x51756575u // "Queu"
#define BATCH_MAGIC  0x42617463u // "Batc"
#define BATCH_MAX    100         // updates in one POST; Meta sends up to 1000
#define POSTS_MAX    16          // status POSTs at a time
#define TRIES_MAX    12          // about two minutes; Meta goes on for a week
#define BACKOFF_MS   250
#define BACKOFF_CAP  15000

static const struct {
  const char *status;
  int64_t after_us;
} stages[] = {{"sent", 20000}, {"delivered", 150000}, {"read", 500000}};
#define STAGES COUNT_OF(stages)

struct waiting {
  struct record *record;
  unsigned stage;
  int64_t due_us;
};

// A ring that grows.
struct queue {
  struct waiting *items;
  size_t head, count, cap;
};

struct batch {
  uint32_t magic;
  struct batch *prev, *next;
  struct sandbox *sandbox;
  struct loop_timer timer;
  struct waiting items[BATCH_MAX];
  size_t count;
  unsigned tries;
  struct buf body;
};

struct status_queues {
  uint32_t magic;
  struct sandbox *sandbox;
  struct queue stages[STAGES];
  struct queue ready;
  struct loop_timer timer;
  bool timer_runs;
  unsigned posts, sleepers; // batches under way, batches in `sleeping`
  bool failing;             // the last post was not taken: no new batch until one is
  struct batch *sleeping;   // waits to be posted again
  struct log_limit limit;
};

static void queue_push(struct queue *q, struct waiting item) {
  if (q->count == q->cap) {
    size_t cap = q->cap ? q->cap * 2 : 256;
    struct waiting *items = xmalloc(cap * sizeof *items);
    for (size_t i = 0; i < q->count; i++)
      items[i] = q->items[(q->head + i) % q->cap];
    free(q->items);
    *q = (struct queue){.items = items, .count = q->count, .cap = cap};
  }
  q->items[(q->head + q->count++) % q->cap] = item;
}

static struct waiting queue_pop(struct queue *q) {
  ALWAYS(q->count > 0);
  struct waiting item = q->items[q->head];
  q->head = (q->head + 1) % q->cap;
  q->count--;
  return item;
}

void sandbox_post_webhook(struct sandbox *sandbox, struct span body, outbound_done *on_done, void *ctx) {
  uint8_t mac[32];
  char header[128] = "X-Hub-Signature-256: sha256=";
  hmac_sha256(sandbox->hmac, body, mac);
  hex_encode(mac, sizeof mac, header + sizeof "X-Hub-Signature-256: sha256=" - 1);
  const char *const headers[] = {header, NULL};
  struct outbound_request post = {.url = sandbox->options.webhook, .headers = headers, .body = body};
  outbound_start(sandbox->outbound, &post, on_done, ctx);
}

static void on_batch_closed(void *ctx) {
  struct batch *batch = ctx;
  for (size_t i = 0; i < batch->count; i++)
    record_release(batch->items[i].record);
  buf_free(&batch->body);
  batch->magic = 0;
  free(batch);
}

static void pump(struct status_queues *q);
static void on_posted(void *ctx, const struct outbound_response *response);

static void post_batch(struct batch *batch) {
  batch->sandbox->statuses->posts++;
  batch->tries++;
  sandbox_post_webhook(batch->sandbox, buf_span(&batch->body), on_posted, batch);
}

static void on_again(void *ctx) {
  struct batch *batch = ctx;
  ALWAYS(batch->magic == BATCH_MAGIC);
  struct status_queues *q = batch->sandbox->statuses;
  DL_DELETE(q->sleeping, batch);
  q->sleepers--;
  post_batch(batch);
}

// What the page shows; a later status that overtook an earlier one stays.
static void advance(struct sandbox *sandbox, const struct waiting *item) {
  for (unsigned i = 0; i < STAGES; i++) {
    if (item->record->is.status != stages[i].status) continue;
    if (i >= item->stage) return;
  }
  record_set_status(&sandbox->record, item->record, stages[item->stage].status);
}

static void on_posted(void *ctx, const struct outbound_response *response) {
  struct batch *batch = ctx;
  ALWAYS(batch->magic == BATCH_MAGIC);
  struct sandbox *sandbox = batch->sandbox;
  struct status_queues *q = sandbox->statuses;
  q->posts--;
  bool ok = response->result == ERR_OK && response->status == 200;
  q->failing = !ok && batch->tries < TRIES_MAX;
  if (ok) {
    for (size_t i = 0; i < batch->count; i++)
      advance(sandbox, &batch->items[i]);
  } else if (!sandbox->closing) {
    uint64_t held = 0;
    if (log_limited(&q->limit, 1, loop_now_us(sandbox->loop), 5000000, &held))
      log_warning("sandbox", "a status webhook was not taken (%s, HTTP %d), %s; %llu more like it", err_name(response->result),
                  response->status, batch->tries < TRIES_MAX ? "it is posted again later" : "given up", (unsigned long long)held);
  }
  if (ok || sandbox->closing || batch->tries >= TRIES_MAX) {
    loop_timer_close(&batch->timer, on_batch_closed);
  } else {
    DL_APPEND(q->sleeping, batch);
    q->sleepers++;
    loop_timer_start(&batch->timer, retry_backoff_ms(batch->tries - 1, BACKOFF_MS, BACKOFF_CAP, random_u64()), 0);
  }
  if (!sandbox->closing) pump(q);
}

static void pump(struct status_queues *q) {
  if (q->failing) return; // the batches that sleep find out when it answers again
  while (q->posts + q->sleepers < POSTS_MAX && q->ready.count > 0) {
    struct batch *batch = xcalloc(1, sizeof *batch);
    batch->magic = BATCH_MAGIC;
    batch->sandbox = q->sandbox;
    struct status_update updates[BATCH_MAX];
    while (batch->count < BATCH_MAX && q->ready.count > 0) {
      struct waiting item = queue_pop(&q->ready);
      updates[batch->count] = (struct status_update){item.record, stages[item.stage].status};
      batch->items[batch->count++] = item;
    }
    sandbox_webhook_statuses(q->sandbox->options.waba_id, updates, batch->count, clock_wall_us(), &batch->body);
    loop_timer_init(q->sandbox->loop, &batch->timer, on_again, batch);
    post_batch(batch);
  }
}

static void arm(struct status_queues *q, int64_t now_us) {
  int64_t first = INT64_MAX;
  for (unsigned i = 0; i < STAGES; i++) {
    const struct queue *stage = &q->stages[i];
    if (stage->count > 0 && stage->items[stage->head].due_us < first) first = stage->items[stage->head].due_us;
  }
  q->timer_runs = first != INT64_MAX;
  if (q->timer_runs) loop_timer_start(&q->timer, (first - now_us + 999) / 1000, 0);
}

static void on_due(void *ctx) {
  struct status_queues *q = ctx;
  ALWAYS(q->magic == QUEUES_MAGIC);
  int64_t now_us = loop_now_us(q->sandbox->loop);
  for (unsigned i = 0; i < STAGES; i++) {
    struct queue *stage = &q->stages[i];
    while (stage->count > 0 && stage->items[stage->head].due_us <= now_us) {
      struct waiting item = queue_pop(stage);
      queue_push(&q->ready, item);
      if (i + 1 < STAGES) {
        record_retain(item.record);
        queue_push(&q->stages[i + 1], (struct waiting){item.record, i + 1, now_us + stages[i + 1].after_us});
      }
    }
  }
  pump(q);
  arm(q, now_us);
}

void sandbox_statuses_schedule(struct sandbox *sandbox, struct record *record) {
  struct status_queues *q = sandbox->statuses;
  int64_t now_us = loop_now_us(sandbox->loop);
  record_retain(record);
  queue_push(&q->stages[0], (struct waiting){record, 0, now_us + stages[0].after_us});
  if (!q->timer_runs || q->stages[0].count == 1) arm(q, now_us);
}

void sandbox_statuses_open(struct sandbox *sandbox) {
  struct status_queues *q = xcalloc(1, sizeof *q);
  q->magic = QUEUES_MAGIC;
  q->sandbox = sandbox;
  loop_timer_init(sandbox->loop, &q->timer, on_due, q);
  sandbox->statuses = q;
}

static void queue_free(struct queue *queue) {
  while (queue->count > 0)
    record_release(queue_pop(queue).record);
  free(queue->items);
}

static void on_queues_closed(void *ctx) {
  struct status_queues *q = ctx;
  ALWAYS(q->magic == QUEUES_MAGIC && q->posts == 0);
  for (unsigned i = 0; i < STAGES; i++)
    queue_free(&q->stages[i]);
  queue_free(&q->ready);
  q->magic = 0;
  free(q);
}

// Once outbound is closed: no post is under way any more.
void sandbox_statuses_close(struct sandbox *sandbox) {
  struct status_queues *q = sandbox->statuses;
  while (q->sleeping) {
    struct batch *batch = q->sleeping;
    DL_DELETE(q->sleeping, batch);
    q->sleepers--;
    loop_timer_close(&batch->timer, on_batch_closed);
  }
  loop_timer_close(&q->timer, on_queues_closed);
}
