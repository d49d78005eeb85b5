// What the sandbox received, in order, and what a phone sent through it.
#ifndef WAHOOK_SANDBOX_RECORD_H
#define WAHOOK_SANDBOX_RECORD_H

#include "wahook/base.h"

enum record_kind { RECORD_MESSAGE, RECORD_READ, RECORD_REFUSED, RECORD_INBOUND, RECORD_CHAT, RECORD_RESPONDER };

struct record_fields {
  enum record_kind kind;
  int64_t time_us; // wall clock
  struct span phone_number_id, bearer, wamid, user, callback, body;
  const char *status; // literal
  int64_t code;       // of the error it was refused with
};

struct record {
  unsigned refs; // the list, and status webhooks that are still to come
  uint64_t ordinal;
  uint64_t version;        // of the list when it was added or its status changed
  struct record_fields is; // spans point into text
  char text[];
};

struct record_list {
  struct record **items;
  size_t count, cap;
  size_t inbound;     // how many of them came from the phone
  uint64_t forgotten; // ordinals go on after a DELETE: a reader with after=N misses nothing
  uint64_t version;   // grows with every change
};

struct record *record_add(struct record_list *list, const struct record_fields *fields);
// `status` is a literal.
void record_set_status(struct record_list *list, struct record *record, const char *status);
void record_retain(struct record *record);
void record_release(struct record *record);
void record_forget(struct record_list *list);

// Which lines a reader wants.
struct record_filter {
  uint64_t after;
  bool all_kinds; // else messages only
  struct span user;
  uint64_t last; // only the last so many, 0: all
};
// One record as an object.
void record_put(struct json_writer *w, const struct record *record);
// JSON lines: ordinal, time, kind, phone_number_id, bearer, wamid, user, status, body.
void record_write(const struct record_list *list, const struct record_filter *filter, struct buf *out);

#endif
