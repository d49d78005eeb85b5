// Jobs in work: the claim that starts it and the finish that ends it. Asked on the dispatcher's loop, run on the spool's thread.
#include "spool/verbs.h"

#include <stdlib.h>

static void free_job(struct spool_job *job) {
  for (size_t i = 0; i < job->outgoing_count; i++)
    free(job->outgoing[i].body);
  for (size_t i = 0; i < job->turn_count; i++)
    free(job->turns[i].text);
  char *texts[] = {job->phone_number_id, job->user, job->wamid, job->type, job->profile_name, job->raw};
  for (size_t i = 0; i < COUNT_OF(texts); i++)
    free(texts[i]);
  free(job->outgoing);
  free(job->turns);
  free(job);
}

void spool_job_free(struct spool_job *job) {
  if (job) free_job(job);
}

struct claim_verb {
  struct verb verb;
  int64_t conversation, now_us;
  struct spool_job *job;
  void (*on_claimed)(void *ctx, enum err result, struct spool_job *job);
};

static struct spool_job *read_job(sqlite3_stmt *stmt, int64_t conversation) {
  struct spool_job *job = xcalloc(1, sizeof *job);
  job->conversation = conversation;
  job->id = sqlite3_column_int64(stmt, 0);
  job->attempts = (unsigned)sqlite3_column_int(stmt, 1);
  job->answered = sqlite3_column_int(stmt, 2) != 0;
  job->received_us = sqlite3_column_int64(stmt, 3);
  job->sent_us = sqlite3_column_int64(stmt, 4);
  job->last_inbound_us = sqlite3_column_int64(stmt, 5);
  char **texts[] = {&job->phone_number_id, &job->user, &job->wamid, &job->type, &job->profile_name, &job->raw};
  for (size_t i = 0; i < COUNT_OF(texts); i++)
    *texts[i] = sql__dup(stmt, 6 + (int)i);
  return job;
}

enum err verb__run_claim(struct store *store, struct verb *verb) {
  struct claim_verb *v = (struct claim_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_FIRST];
  sql__i64(stmt, 1, v->conversation);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e) return e;
  if (!row) {
    verb->result = ERR_NOT_FOUND;
    return ERR_OK;
  }
  v->job = read_job(stmt, v->conversation);
  sqlite3_reset(stmt);
  claim__note(store, v->job->id, v->conversation);
  if (v->job->answered) e = out__list(store, v->job);
  if (!e && v->job->answered) e = out__fly(store, v->job, v->now_us);
  return e;
}

void verb__complete_claim(struct verb *verb) {
  struct claim_verb *v = (struct claim_verb *)verb;
  // The transaction failed after the claim was run: what it read (and marked) does not hold.
  if (verb->result && v->job) {
    free_job(v->job);
    v->job = NULL;
  }
  v->on_claimed(verb->ctx, verb->result, v->job);
  free(v);
}

void spool_claim(struct spool *spool, int64_t conversation, int64_t now_us,
                 void (*on_claimed)(void *ctx, enum err result, struct spool_job *job), void *ctx) {
  struct claim_verb *v = verb__new(VERB_CLAIM, sizeof *v, ctx);
  v->conversation = conversation;
  v->now_us = now_us;
  v->on_claimed = on_claimed;
  spool__ask(spool, &v->verb);
}

// ---------------------------------------------------------------- the end of the work

static const struct end_kind {
  enum spool_job_state state;
  int attempts; // more than before
  bool again;
} ends[] = {
    [SPOOL_END_DONE] = {SPOOL_JOB_DONE, 1, false},    [SPOOL_END_SKIPPED] = {SPOOL_JOB_SKIPPED, 0, false},
    [SPOOL_END_RETRY] = {SPOOL_JOB_WAITING, 1, true}, [SPOOL_END_HOLD] = {SPOOL_JOB_WAITING, 0, true},
    [SPOOL_END_DEAD] = {SPOOL_JOB_DEAD, 1, false},
};

struct finish_verb {
  struct verb verb;
  struct spool_finish finish;
  char *wamid, *reason;
  bool more;
  void (*on_done)(void *ctx, enum err result, bool more);
};

static enum err end_job(struct store *store, const struct spool_finish *f, int64_t conversation, bool *found) {
  const struct end_kind *end = &ends[f->end];
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_END];
  sql__i64(stmt, 1, f->job);
  sql__i64(stmt, 2, end->state);
  sql__i64(stmt, 3, end->attempts);
  sql__i64(stmt, 4, end->again ? f->next_us : 0);
  sql__i64(stmt, 5, end->again ? 0 : f->now_us);
  sql__text(stmt, 6, f->reason);
  size_t changed = 0;
  enum err e = sql__change(stmt, &changed);
  if (e) return e;
  *found = changed > 0;
  if (!*found || end->again) return ERR_OK;
  store->state.waiting--;
  if (end->state == SPOOL_JOB_DONE)
    store->state.done++;
  else if (end->state == SPOOL_JOB_SKIPPED)
    store->state.skipped++;
  else
    store->state.dead++;
  return retention__ended(store, conversation, f->job, f->now_us);
}

static enum err conversation_of(struct store *store, int64_t job, int64_t *conversation) {
  *conversation = claim__conversation(store, job, true);
  if (*conversation) return ERR_OK;
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_CONVERSATION];
  sql__i64(stmt, 1, job);
  bool row = false;
  enum err e = sql__row(stmt, &row);
  if (e || !row) return e;
  *conversation = sqlite3_column_int64(stmt, 0);
  sqlite3_reset(stmt);
  return ERR_OK;
}

enum err verb__run_finish(struct store *store, struct verb *verb) {
  struct finish_verb *v = (struct finish_verb *)verb;
  int64_t conversation = 0;
  bool found = false;
  enum err e = conversation_of(store, v->finish.job, &conversation);
  if (!e) e = end_job(store, &v->finish, conversation, &found);
  if (!e) e = out__landed(store, &v->finish);
  if (e) return e;
  if (!found) verb->result = ERR_NOT_FOUND; // a tool has dropped it: its conversation may go on all the same
  sqlite3_stmt *stmt = store->stmts[STMT_JOB_MORE];
  sql__i64(stmt, 1, conversation);
  if ((e = sql__row(stmt, &v->more))) return e;
  if (v->more) sqlite3_reset(stmt);
  return ERR_OK;
}

void verb__complete_finish(struct verb *verb) {
  struct finish_verb *v = (struct finish_verb *)verb;
  if (v->on_done) v->on_done(verb->ctx, verb->result, v->more);
  free(v->wamid);
  free(v->reason);
  free(v);
}

void spool_finish(struct spool *spool, const struct spool_finish *finish, void (*on_done)(void *ctx, enum err result, bool more),
                  void *ctx) {
  ALWAYS((size_t)finish->end < COUNT_OF(ends));
  struct finish_verb *v = verb__new(VERB_FINISH, sizeof *v, ctx);
  v->finish = *finish;
  v->wamid = span_dup(finish->wamid);
  v->reason = span_dup(finish->reason);
  v->finish.wamid = span_of(v->wamid);
  v->finish.reason = span_of(v->reason);
  v->on_done = on_done;
  spool__ask(spool, &v->verb);
}
