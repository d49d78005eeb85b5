// GCRA per business number and per (number, user) pair, in the dispatcher's memory: after a restart Meta's own answers set the pace again.
#include "pacing.h"

#include <stdlib.h>
#include <uthash.h>

struct pace {
  union {
    char phone_number_id[36];
    int64_t conversation;
  } key;
  int64_t tat_us;   // theoretical arrival time
  unsigned refused; // by Meta, in a row
  UT_hash_handle hh;
};

struct pacing {
  struct limiter_rule number, pair;
  struct pace *numbers, *pairs;
};

struct pacing *pacing_new(uint64_t number_count, int64_t number_period_us, uint64_t pair_count, int64_t pair_period_us) {
  struct pacing *p = xcalloc(1, sizeof *p);
  if (number_count) p->number = limiter_rule(number_count, number_period_us);
  // The same steady rate with Meta's burst: burst times the interval between two messages.
  if (pair_count) p->pair = limiter_rule(PACING_PAIR_BURST, pair_period_us / (int64_t)pair_count * PACING_PAIR_BURST);
  return p;
}

static void pace_free_all(struct pace **paces) {
  struct pace *pace, *next;
  HASH_ITER(hh, *paces, pace, next) {
    HASH_DEL(*paces, pace);
    free(pace);
  }
}

void pacing_free(struct pacing *p) {
  pace_free_all(&p->numbers);
  pace_free_all(&p->pairs);
  free(p);
}

static struct pace *number_of(struct pacing *p, const char *phone_number_id) {
  struct pace *pace;
  HASH_FIND_STR(p->numbers, phone_number_id, pace);
  if (pace) return pace;
  pace = xcalloc(1, sizeof *pace);
  ALWAYS(span_copy(span_of(phone_number_id), pace->key.phone_number_id, sizeof pace->key.phone_number_id) == ERR_OK);
  HASH_ADD_STR(p->numbers, key.phone_number_id, pace);
  return pace;
}

static struct pace *pair_of(struct pacing *p, int64_t conversation) {
  struct pace *pace;
  HASH_FIND(hh, p->pairs, &conversation, sizeof conversation, pace);
  if (pace) return pace;
  pace = xcalloc(1, sizeof *pace);
  pace->key.conversation = conversation;
  HASH_ADD(hh, p->pairs, key.conversation, sizeof pace->key.conversation, pace);
  return pace;
}

int64_t pacing_take(struct pacing *p, const char *phone_number_id, int64_t conversation, int64_t now_us) {
  struct limiter_verdict verdict;
  struct pace *pair = p->pair.count ? pair_of(p, conversation) : NULL;
  int64_t pair_tat = 0;
  if (pair) {
    pair_tat = gcra_decide(pair->tat_us, now_us, &p->pair, &verdict);
    if (!verdict.allowed) return verdict.retry_after_us > 0 ? verdict.retry_after_us : 1;
  }
  if (p->number.count) {
    struct pace *number = number_of(p, phone_number_id);
    int64_t tat = gcra_decide(number->tat_us, now_us, &p->number, &verdict);
    if (!verdict.allowed) return verdict.retry_after_us > 0 ? verdict.retry_after_us : 1;
    number->tat_us = tat;
  }
  if (pair) pair->tat_us = pair_tat;
  return 0;
}

unsigned pacing_pair_refused(struct pacing *p, int64_t conversation) {
  return ++pair_of(p, conversation)->refused;
}

void pacing_pair_ok(struct pacing *p, int64_t conversation) {
  struct pace *pace;
  HASH_FIND(hh, p->pairs, &conversation, sizeof conversation, pace);
  if (pace) pace->refused = 0;
}

static void sweep(struct pace **paces, int64_t now_us) {
  unsigned looked = 0;
  struct pace *pace, *next;
  HASH_ITER(hh, *paces, pace, next) {
    if (++looked > 20000) break;
    if (pace->tat_us > now_us || pace->refused) continue;
    HASH_DEL(*paces, pace);
    free(pace);
  }
}

void pacing_sweep(struct pacing *p, int64_t now_us) {
  sweep(&p->numbers, now_us);
  sweep(&p->pairs, now_us);
}
