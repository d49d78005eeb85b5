// Sends a job's stored answer through Graph, one message after the other, and decides by Meta's answer. Runs in the dispatcher.
#include <string.h>

#include "dispatch.h"

// A wait longer than this gives the place in work back.
#define PACE_IN_PLACE_US 2000000

static struct spool_outgoing *current(struct job *job) {
  return &job->work->outgoing[job->sending];
}

// Ends with what is now known of the message that was to be sent.
static void end_with(struct job *job, enum spool_outgoing_state state, enum spool_end end, int64_t delay_ms, const char *reason) {
  current(job)->state = state;
  job__finish(job, end, delay_ms, reason);
}

// ---------------------------------------------------------------- verdicts: one function a class

static void on_sent_stored(void *ctx, enum err result) {
  struct job *job = ctx;
  ALWAYS(job->magic == JOB_MAGIC);
  if (result != ERR_OK) {
    // Sent but not written down: the finish verb repeats until it is.
    job__finish(job, SPOOL_END_HOLD, 1000, "the spool could not store what was sent");
    return;
  }
  job->sending++;
  job__send(job);
}

static void verdict_ok(struct job *job, const struct graph_verdict *v) {
  struct dispatch *d = job->d;
  struct spool_outgoing *o = current(job);
  if (span_copy(v->wamid, o->wamid, sizeof o->wamid) != ERR_OK) o->wamid[0] = 0;
  o->state = SPOOL_OUT_SENT;
  o->unknown_since_us = 0;
  job->sent = true;
  scheduler_release(d->scheduler, job->tenant);
  pacing_pair_ok(d->pacing, job->conversation->id);
  if (job->sending + 1 == job->work->outgoing_count)
    job__finish(job, SPOOL_END_DONE, 0, "");
  else
    spool_sent(d->spool, o->id, span_of(o->wamid), dispatch__steady_us(d), on_sent_stored, job);
}

static void verdict_throttled(struct job *job, const struct graph_verdict *v) {
  int64_t delay = retry_backoff_ms(job->tenant->setbacks, 1000, 60000, random_u64());
  current(job)->state = SPOOL_OUT_WAITING;
  job__hold_tenant(job, v->retry_after_ms > delay ? v->retry_after_ms : delay, v->text);
}

static void verdict_pair(struct job *job, const struct graph_verdict *v) {
  unsigned n = pacing_pair_refused(job->d->pacing, job->conversation->id);
  end_with(job, SPOOL_OUT_WAITING, SPOOL_END_HOLD, retry_pair_ms(n - 1), v->text);
}

static void verdict_transient(struct job *job, const struct graph_verdict *v) {
  int64_t delay = retry_backoff_ms(job->work->attempts, 1000, 300000, random_u64());
  end_with(job, SPOOL_OUT_WAITING, SPOOL_END_RETRY, v->retry_after_ms > delay ? v->retry_after_ms : delay, v->text);
}

// There is no idempotency key: wait for a status with our callback data before sending again.
static void verdict_unknown(struct job *job, const struct graph_verdict *v) {
  end_with(job, SPOOL_OUT_FLYING, SPOOL_END_RETRY, job->d->config->graph_reconcile, v->text);
}

static void verdict_token(struct job *job, const struct graph_verdict *v) {
  if (!job->token_again) {
    current(job)->state = SPOOL_OUT_WAITING;
    job__read_token_again(job);
    return;
  }
  current(job)->state = SPOOL_OUT_WAITING;
  job__hold_tenant(job, job__hold_ms(job), v->text);
}

static void verdict_tenant(struct job *job, const struct graph_verdict *v) {
  current(job)->state = SPOOL_OUT_WAITING;
  job__hold_tenant(job, job__hold_ms(job), v->text);
}

static void verdict_dead(struct job *job, const struct graph_verdict *v) {
  end_with(job, SPOOL_OUT_DEAD, SPOOL_END_DEAD, 0, v->text);
}

static void (*const verdicts[])(struct job *job, const struct graph_verdict *v) = {
    [GRAPH_OK] = verdict_ok,           [GRAPH_THROTTLED] = verdict_throttled,
    [GRAPH_PAIR] = verdict_pair,       [GRAPH_TRANSIENT] = verdict_transient,
    [GRAPH_UNKNOWN] = verdict_unknown, [GRAPH_TOKEN] = verdict_token,
    [GRAPH_TENANT] = verdict_tenant,   [GRAPH_DEAD] = verdict_dead,
};

static void on_verdict(void *ctx, const struct graph_verdict *v) {
  struct job *job = ctx;
  ALWAYS(job->magic == JOB_MAGIC);
  ALWAYS((unsigned)v->class < COUNT_OF(verdicts));
  if (v->class != GRAPH_OK)
    log_info("dispatch", "job %lld of number %s: %s (%s)", (long long)job->work->id, job->work->phone_number_id, v->text,
             graph_class_name(v->class));
  verdicts[v->class](job, v);
}

// ---------------------------------------------------------------- sending

static void send_now(struct job *job) {
  struct dispatch *d = job->d;
  struct spool_outgoing *o = current(job);
  o->state = SPOOL_OUT_FLYING;
  struct buf callback = {0};
  buf_printf(&callback, "wk-%s-%lld-%u", spool_name(d->spool), (long long)job->work->id, o->index);
  struct graph_send send = {.phone_number_id = job->work->phone_number_id,
                            .token = job->token,
                            .user = span_of(job->work->user),
                            .message = span_of(o->body),
                            .callback = buf_span(&callback)};
  if (d->config->graph_reply_context && !o->index) send.reply_to = span_of(job->work->wamid);
  graph_send(d->graph, &send, on_verdict, job);
  buf_free(&callback);
}

static void pace(void *ctx) {
  struct job *job = ctx;
  struct dispatch *d = job->d;
  ALWAYS(job->magic == JOB_MAGIC);
  int64_t wait = pacing_take(d->pacing, job->work->phone_number_id, job->conversation->id, dispatch__mono_us(d));
  if (!wait) {
    send_now(job);
  } else if (wait > PACE_IN_PLACE_US || d->stopping) {
    end_with(job, SPOOL_OUT_WAITING, SPOOL_END_HOLD, wait / 1000 + 1, "waits for the pace that Meta allows this pair");
  } else {
    job->timer.on_time = pace;
    loop_timer_start(&job->timer, wait / 1000 + 1, 0);
  }
}

void job__send(struct job *job) {
  struct dispatch *d = job->d;
  struct spool_job *work = job->work;
  if (job->sending == work->outgoing_count) {
    job__finish(job, SPOOL_END_DONE, 0, "");
    return;
  }
  struct spool_outgoing *o = current(job);
  if (o->unknown_since_us) {
    // It may have been sent before a crash or a timeout. A status would have told by now; otherwise once more, under the same callback
    // data.
    int64_t rest_us = o->unknown_since_us + d->config->graph_reconcile * 1000 - dispatch__steady_us(d);
    if (rest_us > 0) {
      end_with(job, SPOOL_OUT_FLYING, SPOOL_END_HOLD, rest_us / 1000 + 1, "outcome of the send unknown, waits for its status");
      return;
    }
    metrics_add(d->slot, METRIC_GRAPH_RESENT, 1);
    log_warning("dispatch", "job %lld of number %s: sent again, no status came for the first time", (long long)work->id,
                work->phone_number_id);
    o->unknown_since_us = 0;
  }
  pace(job);
}
