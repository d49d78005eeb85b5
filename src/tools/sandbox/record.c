// The record: an array that only grows, one allocation a message, 100,000s of them. Runs in wahook-sandbox.
#include "tools/sandbox/record.h"

#include <stdlib.h>
#include <string.h>

static struct span put(char **at, struct span from, bool one_line) {
  if (!from.ptr) return from;
  struct span copy = {*at, from.len};
  for (size_t i = 0; i < from.len; i++) // a raw line break in valid JSON is white space between tokens
    (*at)[i] = one_line && (from.ptr[i] == '\n' || from.ptr[i] == '\r') ? ' ' : from.ptr[i];
  *at += from.len;
  return copy;
}

struct record *record_add(struct record_list *list, const struct record_fields *f) {
  struct record *record =
      xmalloc(sizeof *record + f->phone_number_id.len + f->bearer.len + f->wamid.len + f->user.len + f->callback.len + f->body.len);
  char *at = record->text;
  record->refs = 1;
  record->is = *f;
  record->is.phone_number_id = put(&at, f->phone_number_id, false);
  record->is.bearer = put(&at, f->bearer, false);
  record->is.wamid = put(&at, f->wamid, false);
  record->is.user = put(&at, f->user, false);
  record->is.callback = put(&at, f->callback, false);
  record->is.body = put(&at, f->body, true);
  if (list->count == list->cap) {
    list->cap = list->cap ? list->cap * 2 : 1024;
    list->items = xrealloc(list->items, list->cap * sizeof *list->items);
  }
  list->items[list->count++] = record;
  record->ordinal = list->forgotten + list->count;
  record->version = ++list->version;
  if (f->kind == RECORD_INBOUND) list->inbound++;
  return record;
}

void record_set_status(struct record_list *list, struct record *record, const char *status) {
  record->is.status = status;
  record->version = ++list->version;
}

void record_retain(struct record *record) {
  record->refs++;
}

void record_release(struct record *record) {
  ALWAYS(record->refs > 0);
  if (--record->refs == 0) free(record);
}

void record_forget(struct record_list *list) {
  for (size_t i = 0; i < list->count; i++)
    record_release(list->items[i]);
  free(list->items);
  *list = (struct record_list){.forgotten = list->forgotten + list->count, .version = list->version + 1};
}

static const char *kind_name(enum record_kind kind) {
  static const char *const names[] = {"message", "read", "refused", "inbound", "chat", "responder"};
  return names[kind];
}

static bool wanted(const struct record *record, const struct record_filter *filter) {
  if (!filter->all_kinds && record->is.kind != RECORD_MESSAGE) return false;
  return !filter->user.ptr || span_eq(record->is.user, filter->user);
}

void record_put(struct json_writer *w, const struct record *record) {
  const struct record_fields *is = &record->is;
  json_open(w, NULL, '{');
  json_put_u64(w, "ordinal", record->ordinal);
  json_put_double(w, "time", (double)is->time_us / 1e6, 6);
  json_put_string(w, "kind", kind_name(is->kind));
  if (is->phone_number_id.ptr) json_put_text(w, "phone_number_id", is->phone_number_id);
  json_put_text(w, "bearer", is->bearer);
  if (is->wamid.ptr) json_put_text(w, "wamid", is->wamid);
  if (is->user.ptr) json_put_text(w, "user", is->user);
  if (is->status) json_put_string(w, "status", is->status);
  if (is->code) json_put_i64(w, "code", is->code);
  json_put_raw(w, "body", is->body);
  json_close(w, '}');
}

void record_write(const struct record_list *list, const struct record_filter *filter, struct buf *out) {
  size_t from = filter->after > list->forgotten ? (size_t)(filter->after - list->forgotten) : 0;
  if (from > list->count) from = list->count;
  if (filter->last > 0) {
    uint64_t left = filter->last;
    size_t i = list->count;
    for (; i > from && left > 0; i--)
      left -= wanted(list->items[i - 1], filter);
    from = i;
  }
  for (size_t i = from; i < list->count; i++) {
    if (!wanted(list->items[i], filter)) continue;
    struct json_writer w;
    json_start(&w, out);
    record_put(&w, list->items[i]);
    buf_add_byte(out, '\n');
  }
}
