// One job from claim to its stored answer: business, token, 24-hour window, responder. Runs in the dispatcher; send.c goes on.
#include <stdlib.h>
#include <string.h>

#include "dispatch.h"

#define HOURS_24_US   (24 * 3600 * INT64_C(1000000))
#define HOLD_FIRST_MS INT64_C(250)

// ---------------------------------------------------------------- the end of a job

static void free_job(void *ctx) {
  struct job *job = ctx;
  struct dispatch *d = job->d;
  spool_job_free(job->work);
  business_free(job->business);
  secret_free(job->token);
  buf_free(&job->question_text);
  job->magic = 0;
  free(job);
  d->asks--;
  dispatch__settle(d);
}

// Gives the conversation back to the scheduler and the memory to the heap.
static void leave(struct job *job, bool more, int64_t at_us) {
  struct dispatch *d = job->d;
  scheduler_end(d->scheduler, job->conversation, more, at_us, dispatch__mono_us(d));
  metrics_set(d->slot, METRIC_JOBS_WORKING, scheduler_working(d->scheduler));
  loop_timer_close(&job->timer, free_job);
}

static void on_finished(void *ctx, enum err result, bool more);

static void ask_finish(void *ctx) {
  struct job *job = ctx;
  ALWAYS(job->magic == JOB_MAGIC);
  spool_finish(job->d->spool, &job->end, on_finished, job);
}

static void tell_answered(const struct job *job) {
  const struct spool_job *work = job->work;
  int64_t took_us = job->end.now_us > work->received_us ? job->end.now_us - work->received_us : 0;
  char user[LOG_REDACTED_MAX];
  metrics_observe(job->d->slot, HISTOGRAM_END_TO_END, (uint64_t)took_us);
  log_debug("dispatch", "job %lld of number %s: %s answered after %lld ms", (long long)work->id, work->phone_number_id,
            log_redact_phone(span_of(work->user), user), (long long)(took_us / 1000));
}

static void on_finished(void *ctx, enum err result, bool more) {
  struct job *job = ctx;
  struct dispatch *d = job->d;
  ALWAYS(job->magic == JOB_MAGIC);
  if (result != ERR_OK && result != ERR_NOT_FOUND && !d->stopping) {
    // What happened must be written down before anything else of this conversation, or it would happen twice.
    uint64_t held_back;
    if (log_limited(&d->store_limit, 1, dispatch__mono_us(d), 10000000, &held_back))
      log_error("dispatch", "spool does not take results (%s), trying again each second; free space on the state directory's disk",
                err_text(result));
    job->timer.on_time = ask_finish;
    loop_timer_start(&job->timer, 1000, 0);
    return;
  }
  switch (job->end.end) {
  case SPOOL_END_DONE:
    metrics_add(d->slot, METRIC_JOBS_DONE, 1);
    if (job->sent) tell_answered(job);
    break;
  case SPOOL_END_SKIPPED: metrics_add(d->slot, METRIC_JOBS_SKIPPED, 1); break;
  case SPOOL_END_DEAD: metrics_add(d->slot, METRIC_JOBS_DEAD, 1); break;
  case SPOOL_END_RETRY: metrics_add(d->slot, METRIC_JOB_RETRIES, 1); break;
  case SPOOL_END_HOLD: break;
  }
  if (job->end.end != SPOOL_END_HOLD) scheduler_release(d->scheduler, job->tenant);
  metrics_set(d->slot, METRIC_TENANTS_HELD, scheduler_held(d->scheduler));
  bool again = job->end.end == SPOOL_END_RETRY || job->end.end == SPOOL_END_HOLD;
  leave(job, more || (again && result != ERR_NOT_FOUND), again ? dispatch__mono_of(d, job->end.next_us) : 0);
}

void job__finish(struct job *job, enum spool_end end, int64_t delay_ms, const char *reason) {
  ALWAYS(job->magic == JOB_MAGIC);
  struct dispatch *d = job->d;
  if (end == SPOOL_END_RETRY && job->work->attempts + 1 >= (unsigned)d->config->dispatch_max_attempts) end = SPOOL_END_DEAD;
  if (span_copy(span_of(reason), job->end_reason, sizeof job->end_reason) != ERR_OK) memcpy(job->end_reason, "(long reason)", 14);
  int64_t now = dispatch__steady_us(d);
  job->end = (struct spool_finish){
      .job = job->work->id, .end = end, .now_us = now, .next_us = now + delay_ms * 1000, .reason = span_of(job->end_reason)};
  if (job->work->answered && job->sending < job->work->outgoing_count) {
    const struct spool_outgoing *o = &job->work->outgoing[job->sending];
    job->end.outgoing = o->id;
    job->end.outgoing_state = o->state;
    memcpy(job->end_wamid, o->wamid, sizeof job->end_wamid);
    job->end.wamid = span_of(job->end_wamid);
  }
  if (end == SPOOL_END_DEAD)
    log_warning("dispatch", "job %lld of number %s is a dead letter: %s (wahookctl queue list --dead)", (long long)job->work->id,
                job->work->phone_number_id, job->end_reason);
  ask_finish(job);
}

int64_t job__hold_ms(const struct job *job) {
  unsigned n = job->tenant->setbacks < 4 ? job->tenant->setbacks : 4;
  int64_t ms = 5000LL << n;
  return ms < 60000 ? ms : 60000;
}

static void hold(struct job *job, int64_t tenant_ms, int64_t job_ms, const char *reason) {
  struct dispatch *d = job->d;
  int64_t until_us = dispatch__mono_us(d) + tenant_ms * 1000;
  struct tenant *t = job->tenant;
  if (t->held_until_us < until_us) {
    t->setbacks++;
    scheduler_hold(d->scheduler, t, until_us);
  }
  metrics_set(d->slot, METRIC_TENANTS_HELD, scheduler_held(d->scheduler));
  job__finish(job, SPOOL_END_HOLD, job_ms, reason);
}

void job__hold_tenant(struct job *job, int64_t delay_ms, const char *reason) {
  struct dispatch *d = job->d;
  const char *id = job->tenant->phone_number_id;
  uint64_t held_back;
  if (log_limited(&d->hold_limit, hash_keyed(id, strlen(id)), dispatch__mono_us(d), 60000000, &held_back))
    log_error("dispatch", "number %s is held for %lld s, its messages wait: %s", id, (long long)(delay_ms / 1000), reason);
  hold(job, delay_ms, delay_ms, reason);
}

// ---------------------------------------------------------------- store the answer

static void on_stored(void *ctx, enum err result, const int64_t *ids) {
  struct job *job = ctx;
  ALWAYS(job->magic == JOB_MAGIC);
  if (result != ERR_OK) {
    job__finish(job, SPOOL_END_HOLD, 1000, "the spool could not store the answer");
    return;
  }
  for (size_t i = 0; i < job->work->outgoing_count; i++) {
    job->work->outgoing[i].id = ids[i];
    job->work->outgoing[i].state = SPOOL_OUT_WAITING;
  }
  job->work->answered = true;
  job__send(job);
}

static void store_answer(struct job *job, const struct responder_answer *answer) {
  struct spool_job *work = job->work;
  work->outgoing_count = answer->count;
  work->outgoing = xcalloc(answer->count ? answer->count : 1, sizeof *work->outgoing);
  for (size_t i = 0; i < answer->count; i++) {
    work->outgoing[i].index = (unsigned)i;
    work->outgoing[i].body = span_dup(answer->messages[i]);
  }
  struct span question = answer->text.len ? buf_span(&job->question_text) : (struct span){NULL, 0};
  spool_store_answer(job->d->spool, work->id, answer->messages, answer->count, question, answer->text, dispatch__steady_us(job->d),
                     on_stored, job);
}

// ---------------------------------------------------------------- ask the responder

static void on_answer(void *ctx, const struct responder_answer *answer) {
  struct job *job = ctx;
  struct dispatch *d = job->d;
  ALWAYS(job->magic == JOB_MAGIC);
  metrics_observe(d->slot, HISTOGRAM_RESPONDER, (uint64_t)(clock_mono_us() - job->asked_us));
  if (answer->result == ERR_OK) {
    store_answer(job, answer);
    return;
  }
  metrics_add(d->slot, METRIC_RESPONDER_ERRORS, 1);
  char reason[180];
  snprintf(reason, sizeof reason, "responder: %s", answer->error && answer->error[0] ? answer->error : err_text(answer->result));
  if (answer->result == ERR_CANCELED) {
    job__finish(job, SPOOL_END_HOLD, 0, reason);
  } else if (answer->result == ERR_DENIED || answer->result == ERR_CONFIG) {
    job__hold_tenant(job, job__hold_ms(job), reason);
  } else if (answer->permanent) {
    job__finish(job, SPOOL_END_DEAD, 0, reason);
  } else {
    int64_t delay = retry_backoff_ms(job->work->attempts, 1000, 300000, random_u64());
    job__finish(job, SPOOL_END_RETRY, answer->retry_after_ms > delay ? answer->retry_after_ms : delay, reason);
  }
}

static void sign_hex(const char *key, struct span body, char out_hex[static 65]) {
  struct hmac *hmac = hmac_new(span_of(key));
  uint8_t mac[32];
  hmac_sha256(hmac, body, mac);
  hmac_free(hmac);
  hex_encode(mac, sizeof mac, out_hex);
}

// The deployment's responder with the business' own settings laid over it. An own URL never gets the deployment's key.
static struct responder_spec spec_of(const struct job *job) {
  const struct config *c = job->d->config;
  const struct business *b = job->business;
  struct responder_spec spec = {.type = job->d->responder,
                                .url = c->responder_url,
                                .key = c->responder_key,
                                .model = c->responder_model,
                                .system_prompt = c->responder_system_prompt,
                                .timeout_ms = c->responder_timeout,
                                .sign = sign_hex};
  if (b->responder_type[0] && responder_type_parse(span_of(b->responder_type), &spec.type) != ERR_OK)
    log_warning("dispatch", "business %s has an unknown responder type \"%s\": the deployment's answers (use echo, http or openai)", b->id,
                b->responder_type);
  if (b->responder_url[0]) {
    spec.url = b->responder_url;
    spec.key = "";
    spec.foreign = !c->responder_allow_private;
  }
  if (b->responder_key[0]) spec.key = b->responder_key;
  if (b->responder_model[0]) spec.model = b->responder_model;
  if (b->responder_prompt[0]) spec.system_prompt = b->responder_prompt;
  return spec;
}

static void ask(struct job *job, const struct json *message) {
  struct dispatch *d = job->d;
  const struct spool_job *work = job->work;
  message_text(message, &job->question_text);
  struct buf session = {0};
  buf_printf(&session, "%s:%s", job->business->sub_domain, work->user);
  struct responder_turn *turns = xcalloc(work->turn_count ? work->turn_count : 1, sizeof *turns);
  for (size_t i = 0; i < work->turn_count; i++)
    turns[i] = (struct responder_turn){.from_user = work->turns[i].from_user, .text = span_of(work->turns[i].text)};
  struct responder_question question = {
      .business_id = span_of(job->business->id),
      .business_name = span_of(job->business->name),
      .sub_domain = span_of(job->business->sub_domain),
      .phone_number_id = span_of(work->phone_number_id),
      .user = span_of(work->user),
      .profile_name = span_of(work->profile_name),
      .session = buf_span(&session),
      .wamid = span_of(work->wamid),
      .type = span_of(work->type),
      .text = buf_span(&job->question_text),
      .raw = span_of(work->raw),
      .job = work->id,
      .received_us = work->received_us + d->clock.wall_us - d->clock.steady_us, // told to others by the wall clock
      .attempt = work->attempts,
      .turns = turns,
      .turn_count = work->turn_count,
  };
  struct responder_spec spec = spec_of(job);
  metrics_add(d->slot, METRIC_RESPONDER_CALLS, 1);
  job->asked_us = clock_mono_us();
  responder_ask(d->options.outbound, &spec, &question, on_answer, job);
  free(turns);
  buf_free(&session);
}

static void on_marked(void *ctx, const struct graph_verdict *verdict) {
  (void)ctx;
  if (verdict->class != GRAPH_OK && verdict->class != GRAPH_UNKNOWN) log_debug("dispatch", "read mark not taken: %s", verdict->text);
}

// A read mark and the typing indicator, then the question. Best effort: an answer matters more than its ticks.
static void answer(struct job *job) {
  struct dispatch *d = job->d;
  struct arena arena;
  arena_init(&arena, 8192, 16 << 20);
  const struct json *message = NULL;
  if (json_parse(&arena, span_of(job->work->raw), NULL, &message, NULL) != ERR_OK) {
    job__finish(job, SPOOL_END_DEAD, 0, "the message cannot be read as JSON");
  } else {
    if (d->config->graph_mark_read && job->work->wamid[0] && !job->work->attempts)
      graph_mark_read(d->graph, job->work->phone_number_id, job->token, span_of(job->work->wamid), true, on_marked, d);
    ask(job, message);
  }
  arena_free(&arena);
}

static void on_turns(void *ctx, enum err result) {
  struct job *job = ctx;
  ALWAYS(job->magic == JOB_MAGIC);
  if (result != ERR_OK) {
    job__finish(job, SPOOL_END_HOLD, 1000, "the spool cannot be read");
    return;
  }
  answer(job);
}

// Who repeats what was said needs no turns.
static void read_turns(struct job *job) {
  const char *own = job->business->responder_type;
  enum responder_type type;
  if (!own[0] || responder_type_parse(span_of(own), &type) != ERR_OK) type = job->d->responder;
  int64_t exchanges = job->d->config->responder_turns;
  if (type == RESPONDER_ECHO || exchanges <= 0 || job->work->turns)
    answer(job);
  else
    spool_turns(job->d->spool, job->work, (unsigned)exchanges * 2, on_turns, job);
}

// ---------------------------------------------------------------- business and token

static enum err open_token(struct job *job, struct why *why) {
  struct dispatch *d = job->d;
  const struct business *b = job->business;
  if (!b->access_token[0]) {
    why_set(why, "business %s has no access token (wahookctl business set-token)", b->id);
    return ERR_KEY;
  }
  // The default business' token comes from the environment, never encrypted.
  if (!strcmp(b->id, "default") && !strcmp(b->access_token, d->config->directory_default_token)) {
    job->token = secret_dup(span_of(b->access_token));
    return ERR_OK;
  }
  bool hit = false;
  enum err error = ERR_OK;
  const char *token = token_cache_open(d->tokens, d->options.keys, span_of(b->access_token), &hit, &error, why);
  metrics_add(d->slot, hit ? METRIC_TOKEN_CACHE_HITS : METRIC_TOKEN_CACHE_MISSES, 1);
  if (!token) return error;
  job->token = secret_dup(span_of(token));
  return ERR_OK;
}

static void go_on(struct job *job) {
  struct dispatch *d = job->d;
  int64_t newest = job->work->last_inbound_us;
  // Meta's rule: free-form replies only within 24 hours of the user's last message.
  if (newest && dispatch__steady_us(d) - newest > HOURS_24_US) {
    job__finish(job, SPOOL_END_DEAD, 0, "older than Meta's 24-hour window for replies");
    return;
  }
  struct why why = {""};
  enum err e = open_token(job, &why);
  if (e != ERR_OK) {
    metrics_add(d->slot, METRIC_TOKEN_ERRORS, 1);
    job__hold_tenant(job, job__hold_ms(job), why.text[0] ? why.text : err_text(e));
    return;
  }
  if (job->work->answered)
    job__send(job);
  else
    read_turns(job);
}

static void on_business(void *ctx, enum directory_answer found, const struct business *business) {
  struct job *job = ctx;
  struct dispatch *d = job->d;
  ALWAYS(job->magic == JOB_MAGIC);
  if (found == DIRECTORY_FOUND) {
    job->business = business_copy(business);
    go_on(job);
  } else if (found == DIRECTORY_UNKNOWN) {
    const char *id = job->work->phone_number_id;
    metrics_add(d->slot, METRIC_EVENT_UNKNOWN_BUSINESS, 1);
    uint64_t held_back;
    if (log_limited(&d->unknown_limit, hash_keyed(id, strlen(id)), dispatch__mono_us(d), 60000000, &held_back))
      log_warning("dispatch", "no active business has the phone number id %s: its messages are not answered (wahookctl business add)", id);
    job__finish(job, SPOOL_END_SKIPPED, 0, "unknown or disabled business");
  } else {
    // Soon again: the answer may be on its way. The directory has told that its store is down; a line for each number would hide that.
    hold(job, HOLD_FIRST_MS << (job->tenant->setbacks < 2 ? job->tenant->setbacks : 2), 0,
         "the directory of businesses cannot be asked now");
  }
}

static void look_up(struct job *job) {
  directory_find(job->d->options.directory, DIRECTORY_PHONE, span_of(job->work->phone_number_id), on_business, job);
}

void job__read_token_again(struct job *job) {
  struct dispatch *d = job->d;
  token_cache_forget(d->tokens, span_of(job->business->access_token));
  directory_forget(d->options.directory, DIRECTORY_PHONE, span_of(job->work->phone_number_id));
  business_free(job->business);
  secret_free(job->token);
  job->business = NULL;
  job->token = NULL;
  job->token_again = true;
  look_up(job);
}

// ---------------------------------------------------------------- claim

static void on_claimed(void *ctx, enum err result, struct spool_job *work) {
  struct job *job = ctx;
  struct dispatch *d = job->d;
  ALWAYS(job->magic == JOB_MAGIC);
  job->work = work;
  if (!work) {
    // Nothing there (dropped by an operator), or a spool that cannot be read now.
    bool again = result != ERR_NOT_FOUND;
    leave(job, again, dispatch__mono_us(d) + 1000000);
    return;
  }
  // The claim marked the first unsent message as flying, in case of a crash; here it is known whether it may have flown before.
  for (size_t i = 0; i < work->outgoing_count; i++)
    if (work->outgoing[i].state == SPOOL_OUT_FLYING && !work->outgoing[i].unknown_since_us) work->outgoing[i].state = SPOOL_OUT_WAITING;
  while (job->sending < work->outgoing_count && work->outgoing[job->sending].state == SPOOL_OUT_SENT)
    job->sending++;
  look_up(job);
}

void job__begin(struct dispatch *d, struct conversation *conversation) {
  struct job *job = xcalloc(1, sizeof *job);
  job->magic = JOB_MAGIC;
  job->d = d;
  job->conversation = conversation;
  job->tenant = conversation->tenant;
  loop_timer_init(d->options.loop, &job->timer, ask_finish, job);
  d->asks++;
  metrics_set(d->slot, METRIC_JOBS_WORKING, scheduler_working(d->scheduler));
  spool_claim(d->spool, conversation->id, dispatch__steady_us(d), on_claimed, job);
}
