// The scheduler of conversations: a ring of tenants, a queue of ready conversations in each, a heap of times. Runs in the dispatcher.
#include "scheduler.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct scheduler {
  unsigned concurrency, tenant_concurrency;
  unsigned working, held;
  struct conversation *conversations; // uthash by id
  struct tenant *tenants;             // uthash by phone number id
  struct tenant *ring;                // tenants that may start a job; the head is next
  struct tenant *parked;              // tenants that wait for their turn
  struct scheduler_alarm **heap;      // 1-based binary heap by at_us
  size_t heap_len, heap_cap;
};

// ---------------------------------------------------------------- heap

static void place(struct scheduler *s, size_t index, struct scheduler_alarm *alarm) {
  s->heap[index] = alarm;
  alarm->index = index;
}

static void sift(struct scheduler *s, size_t index, struct scheduler_alarm *alarm) {
  while (index > 1 && s->heap[index / 2]->at_us > alarm->at_us) {
    place(s, index, s->heap[index / 2]);
    index /= 2;
  }
  for (;;) {
    size_t child = index * 2;
    if (child > s->heap_len) break;
    if (child < s->heap_len && s->heap[child + 1]->at_us < s->heap[child]->at_us) child++;
    if (s->heap[child]->at_us >= alarm->at_us) break;
    place(s, index, s->heap[child]);
    index = child;
  }
  place(s, index, alarm);
}

static void alarm_set(struct scheduler *s, struct scheduler_alarm *alarm, int64_t at_us) {
  alarm->at_us = at_us;
  if (!alarm->index) {
    if (s->heap_len + 2 > s->heap_cap) {
      s->heap_cap = s->heap_cap ? s->heap_cap * 2 : 64;
      s->heap = xrealloc(s->heap, s->heap_cap * sizeof *s->heap);
    }
    alarm->index = ++s->heap_len;
  }
  sift(s, alarm->index, alarm);
}

static void alarm_clear(struct scheduler *s, struct scheduler_alarm *alarm) {
  if (!alarm->index) return;
  size_t index = alarm->index;
  alarm->index = 0;
  struct scheduler_alarm *last = s->heap[s->heap_len--];
  if (last != alarm) sift(s, index, last);
}

// ---------------------------------------------------------------- tenants

// A tenant is in the ring exactly while it could start a job.
static void tenant_update(struct scheduler *s, struct tenant *t) {
  unsigned limit = t->probing ? 1 : s->tenant_concurrency;
  bool eligible = t->ready && !t->held_until_us && !t->parked && t->working < limit;
  if (eligible == t->in_ring) return;
  t->in_ring = eligible;
  if (eligible)
    DL_APPEND(s->ring, t);
  else
    DL_DELETE(s->ring, t);
}

static struct tenant *tenant_get(struct scheduler *s, const char *phone_number_id) {
  struct tenant *t;
  HASH_FIND_STR(s->tenants, phone_number_id, t);
  if (t) return t;
  t = xcalloc(1, sizeof *t);
  t->alarm.of_tenant = true;
  ALWAYS(span_copy(span_of(phone_number_id), t->phone_number_id, sizeof t->phone_number_id) == ERR_OK);
  HASH_ADD_STR(s->tenants, phone_number_id, t);
  return t;
}

// Sound tenants without work are forgotten; a held one is remembered until it proves sound or its hold has long passed.
static void tenant_forget(struct scheduler *s, struct tenant *t) {
  if (t->conversations || t->held_until_us || t->probing || t->parked) return;
  HASH_DEL(s->tenants, t);
  free(t);
}

void scheduler_hold(struct scheduler *s, struct tenant *t, int64_t until_us) {
  if (!t->held_until_us && !t->probing) s->held++;
  t->held_until_us = until_us > 0 ? until_us : 1;
  t->probing = true;
  alarm_set(s, &t->alarm, t->held_until_us);
  tenant_update(s, t);
}

void scheduler_release(struct scheduler *s, struct tenant *t) {
  t->setbacks = 0;
  if (!t->held_until_us && !t->probing) return;
  s->held--;
  t->held_until_us = 0;
  t->probing = false;
  alarm_clear(s, &t->alarm);
  tenant_update(s, t);
}

// ---------------------------------------------------------------- conversations

static void make_ready(struct scheduler *s, struct conversation *c) {
  c->state = CONVERSATION_READY;
  DL_APPEND(c->tenant->ready, c);
  tenant_update(s, c->tenant);
}

static void make_waiting(struct scheduler *s, struct conversation *c, int64_t at_us, int64_t now_us) {
  if (at_us <= now_us) {
    make_ready(s, c);
    return;
  }
  c->state = CONVERSATION_DELAYED;
  alarm_set(s, &c->alarm, at_us);
}

void scheduler_add(struct scheduler *s, int64_t conversation, const char *phone_number_id, int64_t at_us, int64_t now_us) {
  struct conversation *c;
  HASH_FIND(hh, s->conversations, &conversation, sizeof conversation, c);
  if (c) {
    if (c->state == CONVERSATION_WORKING) c->more = true;
    return;
  }
  c = xcalloc(1, sizeof *c);
  c->id = conversation;
  c->tenant = tenant_get(s, phone_number_id);
  c->tenant->conversations++;
  HASH_ADD(hh, s->conversations, id, sizeof c->id, c);
  make_waiting(s, c, at_us, now_us);
}

void scheduler_hasten(struct scheduler *s, int64_t conversation, int64_t at_us) {
  struct conversation *c;
  HASH_FIND(hh, s->conversations, &conversation, sizeof conversation, c);
  if (c && c->state == CONVERSATION_DELAYED && at_us < c->alarm.at_us) alarm_set(s, &c->alarm, at_us);
}

static void ring_alarms(struct scheduler *s, int64_t now_us) {
  while (s->heap_len && s->heap[1]->at_us <= now_us) {
    struct scheduler_alarm *alarm = s->heap[1];
    alarm_clear(s, alarm);
    if (alarm->of_tenant) {
      struct tenant *t = (struct tenant *)alarm; // the alarm is the first member
      t->held_until_us = 0;
      if (!t->conversations)
        scheduler_release(s, t), tenant_forget(s, t);
      else
        tenant_update(s, t);
    } else {
      make_ready(s, (struct conversation *)alarm);
    }
  }
}

struct conversation *scheduler_next(struct scheduler *s, int64_t now_us) {
  ring_alarms(s, now_us);
  if (s->working >= s->concurrency || !s->ring) return NULL;
  struct tenant *t = s->ring;
  struct conversation *c = t->ready;
  DL_DELETE(t->ready, c);
  c->state = CONVERSATION_WORKING;
  c->more = false;
  t->working++;
  s->working++;
  // To the end of the ring: each tenant starts one job a round.
  DL_DELETE(s->ring, t);
  t->in_ring = false;
  tenant_update(s, t);
  return c;
}

void scheduler_end(struct scheduler *s, struct conversation *c, bool more, int64_t at_us, int64_t now_us) {
  ALWAYS(c->state == CONVERSATION_WORKING);
  struct tenant *t = c->tenant;
  t->working--;
  s->working--;
  if (more || c->more) {
    make_waiting(s, c, more ? at_us : now_us, now_us);
    tenant_update(s, t);
    return;
  }
  HASH_DEL(s->conversations, c);
  free(c);
  t->conversations--;
  tenant_update(s, t);
  tenant_forget(s, t);
}

void scheduler_park(struct scheduler *s, struct conversation *c, int64_t now_us) {
  struct tenant *t = c->tenant;
  if (!t->parked) DL_APPEND2(s->parked, t, parked_prev, parked_next);
  t->parked = true;
  scheduler_end(s, c, true, now_us, now_us);
}

struct tenant *scheduler_take_parked(struct scheduler *s) {
  struct tenant *t = s->parked;
  if (t) DL_DELETE2(s->parked, t, parked_prev, parked_next);
  return t;
}

void scheduler_unpark(struct scheduler *s, struct tenant *t) {
  t->parked = false;
  tenant_update(s, t);
  tenant_forget(s, t);
}

void scheduler_park_again(struct scheduler *s, struct tenant *t) {
  DL_APPEND2(s->parked, t, parked_prev, parked_next);
}

// ---------------------------------------------------------------- life

struct scheduler *scheduler_new(unsigned concurrency, unsigned tenant_concurrency) {
  struct scheduler *s = xcalloc(1, sizeof *s);
  s->concurrency = concurrency;
  s->tenant_concurrency = tenant_concurrency;
  return s;
}

void scheduler_free(struct scheduler *s) {
  struct conversation *c, *c_next;
  HASH_ITER(hh, s->conversations, c, c_next) {
    HASH_DEL(s->conversations, c);
    free(c);
  }
  struct tenant *t, *t_next;
  HASH_ITER(hh, s->tenants, t, t_next) {
    HASH_DEL(s->tenants, t);
    free(t);
  }
  free(s->heap);
  free(s);
}

int64_t scheduler_wake_us(const struct scheduler *s) {
  return s->heap_len ? s->heap[1]->at_us : INT64_MAX;
}

unsigned scheduler_working(const struct scheduler *s) {
  return s->working;
}

unsigned scheduler_held(const struct scheduler *s) {
  return s->held;
}

size_t scheduler_conversations(const struct scheduler *s) {
  return HASH_COUNT(s->conversations);
}
