// A delivery's way: room → (body) → signature → room → parse → route → append → answer after the commit. Runs in the workers.
#include "webhook.h"

#include <stdlib.h>

// So many commits that fail with an I/O error, each after a recovery, within a minute end the process.
#define IO_ERRORS_MAX       5
#define IO_ERRORS_WITHIN_US 60000000
// Answers that are still to be given when the memory of the next but so many is asked for: hundreds of requests are more than is near.
#define AHEAD 2

enum step_result { NEXT, DONE };

struct delivery {
  struct webhook *webhook;
  struct http_request *request;
  bool read, readable; // the events
  bool refused_some;   // over a business' limit
  struct limiter_rule rule;
  struct limiter_verdict verdict;
};

static enum step_result refuse_unverified(struct delivery *d, int status, enum metric metric, const char *detail) {
  if (!limit__unverified(d->webhook, d->request)) return DONE;
  metrics_add(d->webhook->slot, metric, 1);
  uint64_t held_back;
  if (log_limited(&d->webhook->refused_limit, (uint64_t)status, loop_now_us(d->webhook->options.loop), 10000000, &held_back))
    log_warning("webhook", "refused a delivery from %s: %s (%llu more like it)", http_request_client_text(d->request), detail,
                (unsigned long long)held_back);
  http_respond_error(d->request, status, detail);
  return DONE;
}

static enum step_result refuse_for_now(struct delivery *d, enum metric metric, struct span body) {
  static const struct http_header later = {.name = "Retry-After", .value = "5"};
  metrics_add(d->webhook->slot, metric, 1);
  http_respond(d->request, 503, "application/json", body, &later, 1);
  return DONE;
}

static enum step_result refuse_not_stored(struct delivery *d) {
  return refuse_for_now(d, METRIC_WEBHOOK_NOT_STORED, SPAN("{\"detail\":\"The event cannot be stored now\"}"));
}

// ---------------------------------------------------------------- events

static void keep_event(void *ctx, const struct intake_event *event) {
  struct webhook *w = ctx;
  if (w->event_count == w->event_capacity) {
    w->event_capacity = w->event_capacity ? w->event_capacity * 2 : 64;
    w->events = xrealloc(w->events, w->event_capacity * sizeof *w->events);
    metrics_add(w->slot, METRIC_HTTP_ALLOCATIONS, 1);
  }
  w->events[w->event_count++] = *event;
}

// Into webhook->events, once a delivery.
static void read_events(struct delivery *d) {
  struct webhook *w = d->webhook;
  if (d->read) return;
  d->read = true;
  arena_reset(&w->arena);
  w->event_count = 0;
  d->readable = webhook__events(&w->arena, http_request_body(d->request), clock_wall_us(), keep_event, w);
}

// ---------------------------------------------------------------- steps

static enum step_result signed_by_own_secret(struct delivery *d, struct span header) {
  read_events(d);
  switch (own_secret__check(d->webhook, header, http_request_body(d->request))) {
  case OWN_SECRET_OK: return NEXT;
  case OWN_SECRET_LATER: return refuse_for_now(d, METRIC_WEBHOOK_NOT_STORED, SPAN("{\"detail\":\"The signature cannot be checked now\"}"));
  case OWN_SECRET_WRONG: break;
  }
  return refuse_unverified(d, 403, METRIC_WEBHOOK_FORGED, "Invalid signature");
}

// Unsigned traffic is counted by address where it is allowed, and refused where it is not.
static enum step_result step_signature(struct delivery *d) {
  struct webhook *w = d->webhook;
  shm_stage(w->slot, "webhook.signature", http_request_id(d->request));
  struct span header = http_request_header(d->request, "x-hub-signature-256");
  switch (signature__check(header, http_request_body(d->request), w->secrets, w->secret_count)) {
  case SIGNATURE_OK: return NEXT;
  case SIGNATURE_MISSING:
    if (w->config->webhook_allow_unsigned) return limit__unverified(w, d->request) ? NEXT : DONE;
    return refuse_unverified(d, 401, METRIC_WEBHOOK_UNSIGNED, "Missing signature");
  case SIGNATURE_WRONG: break;
  }
  if (w->config->webhook_business_secrets) return signed_by_own_secret(d, header);
  if (!w->secret_count && w->config->webhook_allow_unsigned) return limit__unverified(w, d->request) ? NEXT : DONE;
  return refuse_unverified(d, 403, METRIC_WEBHOOK_FORGED, "Invalid signature");
}

// Asked before the body, where a refusal costs next to nothing, and again after it: much may have come in meanwhile.
static enum step_result step_room(struct delivery *d) {
  if (!journal_healthy(d->webhook->journal)) return refuse_not_stored(d);
  if (shed__look(d->webhook) == JOURNAL_HAS_ROOM) return NEXT;
  return refuse_for_now(d, METRIC_WEBHOOK_SHED, SPAN("{\"detail\":\"Too much waits already\"}"));
}

static enum step_result step_parse(struct delivery *d) {
  struct webhook *w = d->webhook;
  shm_next_stage(w->slot, "webhook.parse");
  read_events(d);
  if (!d->readable) {
    metrics_add(w->slot, METRIC_WEBHOOK_QUARANTINED, 1);
    log_warning("webhook", "a delivery could not be read (%.*s) and is kept in quarantine", SPAN_FMT(w->events[0].type));
  }
  return NEXT;
}

// Whether the event's business takes it. A business that is not known yet is accepted; the dispatcher finds out.
static bool takes(struct delivery *d, const struct intake_event *event) {
  struct webhook *w = d->webhook;
  struct span phone = event->phone_number_id;
  if (!phone.len || event->kind == INTAKE_QUARANTINE) return true;
  const struct business *business = NULL;
  enum directory_answer answer = directory_get(w->options.directory, DIRECTORY_PHONE, phone, DIRECTORY_SOON, &business);
  if (answer == DIRECTORY_UNKNOWN) {
    metrics_add(w->slot, METRIC_EVENT_UNKNOWN_BUSINESS, 1);
    uint64_t held_back;
    if (log_limited(&w->unknown_limit, hash_keyed(phone.ptr, phone.len), loop_now_us(w->options.loop), 60000000, &held_back))
      log_warning("webhook", "no active business has the phone number id %.*s: its events are dropped (wahookctl business add)",
                  SPAN_FMT(phone));
    return false;
  }
  if (answer == DIRECTORY_FOUND && !limit__business(w, business, &d->rule, &d->verdict)) d->refused_some = true;
  return true;
}

// Drops events of unknown businesses. Over a business' limit a delivery is refused only as a whole: in part it could not be told to Meta.
static enum step_result step_route(struct delivery *d) {
  struct webhook *w = d->webhook;
  size_t kept = 0, over = 0;
  shm_next_stage(w->slot, "webhook.route");
  for (size_t i = 0; i < w->event_count; i++) {
    d->refused_some = false;
    if (!takes(d, &w->events[i])) continue;
    over += d->refused_some;
    if (kept != i) w->events[kept] = w->events[i];
    kept++;
  }
  w->event_count = kept;
  if (kept && over == kept) {
    limit__refuse(w, d->request, &d->rule, &d->verdict);
    return DONE;
  }
  return NEXT;
}

static const enum metric kind_metrics[] = {
    [INTAKE_MESSAGE] = METRIC_EVENT_MESSAGE,        [INTAKE_STATUS] = METRIC_EVENT_STATUS, [INTAKE_ERROR] = METRIC_EVENT_ERROR,
    [INTAKE_ACCOUNT] = METRIC_EVENT_ACCOUNT,        [INTAKE_ECHO] = METRIC_EVENT_ECHO,     [INTAKE_OTHER] = METRIC_EVENT_OTHER,
    [INTAKE_QUARANTINE] = METRIC_EVENT_QUARANTINED,
};

static void respond_accepted(struct webhook *w, struct http_request *request) {
  metrics_add(w->slot, METRIC_WEBHOOK_ACCEPTED, 1);
  http_respond_json(request, 200, SPAN("{\"status\":\"ok\"}"));
}

static void wait_for_commit(struct delivery *d) {
  struct webhook *w = d->webhook;
  if (w->queue_len == w->queue_capacity) {
    size_t capacity = w->queue_capacity ? w->queue_capacity * 2 : 256;
    struct waiting *queue = xmalloc(capacity * sizeof *queue);
    for (size_t i = 0; i < w->queue_len; i++)
      queue[i] = w->queue[(w->queue_head + i) & (w->queue_capacity - 1)];
    free(w->queue);
    w->queue = queue;
    w->queue_head = 0;
    w->queue_capacity = capacity;
    metrics_add(w->slot, METRIC_HTTP_ALLOCATIONS, 1);
  }
  w->queue[(w->queue_head + w->queue_len++) & (w->queue_capacity - 1)] =
      (struct waiting){.upto = journal_ticket(w->journal), .request = http_request_ticket(d->request)};
}

static enum step_result step_append(struct delivery *d) {
  struct webhook *w = d->webhook;
  shm_next_stage(w->slot, "webhook.append");
  for (size_t i = 0; i < w->event_count; i++) {
    metrics_add(w->slot, kind_metrics[w->events[i].kind], 1);
    journal_append(w->journal, &w->events[i]);
  }
  http_request_drop_body(d->request);
  if (w->event_count)
    wait_for_commit(d);
  else
    respond_accepted(w, d->request); // nothing that must be kept
  return DONE;
}

// ---------------------------------------------------------------- the table

static enum step_result (*const steps[])(struct delivery *d) = {step_signature, step_room, step_parse, step_route, step_append};

void pipeline__request(struct webhook *webhook, struct http_request *request) {
  struct delivery d = {.webhook = webhook, .request = request};
  for (size_t i = 0; i < COUNT_OF(steps); i++)
    if (steps[i](&d) == DONE) break;
  shm_stage(webhook->slot, "", "");
}

// Before the body: what is unsigned need not send it, and a delivery has one.
void pipeline__head(struct webhook *webhook, struct http_request *request) {
  struct delivery d = {.webhook = webhook, .request = request};
  if (!webhook->config->webhook_allow_unsigned && !http_request_header(request, "x-hub-signature-256").len)
    refuse_unverified(&d, 401, METRIC_WEBHOOK_UNSIGNED, "Missing signature");
  else if (!http_request_header(request, "content-length").ptr && !http_request_header(request, "transfer-encoding").ptr)
    http_respond_error(request, 411, "A delivery needs a Content-Length or chunks");
  else
    (void)step_room(&d);
}

// Says once that deliveries are taken again. A disk that fails again and again after it had recovered is
// not trusted any longer: the process ends, and its successor begins with a new segment.
static void watch_journal(struct webhook *webhook, enum err result) {
  if (result == ERR_OK) {
    if (webhook->refusing) log_info("webhook", "the journal can be written again: deliveries are taken");
    webhook->refusing = false;
    return;
  }
  if (!webhook->refusing)
    log_error("webhook",
              "the journal cannot be written (%s): deliveries are refused with 503 until it can; see the disk of server.state_dir",
              err_text(result));
  webhook->refusing = true;
  if (result != ERR_IO) return;
  int64_t now = loop_now_us(webhook->options.loop);
  if (now - webhook->io_first_us > IO_ERRORS_WITHIN_US) {
    webhook->io_errors = 0;
    webhook->io_first_us = now;
  }
  if (++webhook->io_errors >= IO_ERRORS_MAX) die("the journal's disk gives input/output errors again and again: replace it");
}

void pipeline__committed(struct webhook *webhook, uint64_t upto, enum err result) {
  watch_journal(webhook, result);
  while (webhook->queue_len && webhook->queue[webhook->queue_head].upto <= upto) {
    struct waiting waiting = webhook->queue[webhook->queue_head];
    webhook->queue_head = (webhook->queue_head + 1) & (webhook->queue_capacity - 1);
    webhook->queue_len--;
    if (webhook->queue_len > AHEAD)
      http_request_prefetch(webhook->server, webhook->queue[(webhook->queue_head + AHEAD) & (webhook->queue_capacity - 1)].request);
    struct http_request *request = http_request_find(webhook->server, waiting.request);
    if (!request) continue; // the client is gone; the event is kept all the same
    if (result == ERR_OK) {
      respond_accepted(webhook, request);
    } else {
      struct delivery d = {.webhook = webhook, .request = request};
      refuse_not_stored(&d);
    }
  }
}
