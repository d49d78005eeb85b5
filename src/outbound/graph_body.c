// The JSON of a message to the Graph API. Pure; runs in the dispatcher.
#include "graph.h"

#include <stdlib.h>

// Members that say whom a message is for: ours, whatever a responder wrote there.
static bool ours(struct span key) {
  static const char *const names[] = {"messaging_product", "recipient_type", "to", "recipient", "biz_opaque_callback_data"};
  for (size_t i = 0; i < COUNT_OF(names); i++)
    if (span_eq(key, span_of(names[i]))) return true;
  return false;
}

// Of duplicate keys the last one counts; the others must not reach Meta.
static bool is_last(const struct json *member) {
  for (const struct json *later = member->next; later; later = later->next)
    if (span_eq(later->key, member->key)) return false;
  return true;
}

// A phone number: digits, perhaps with a '+' before them. Anything else is a business-scoped user id.
static bool is_phone(struct span user) {
  if (span_starts(user, SPAN("+"))) user = span_from(user, 1);
  for (size_t i = 0; i < user.len; i++)
    if (user.ptr[i] < '0' || user.ptr[i] > '9') return false;
  return user.len > 0;
}

// "to" wants the '+', or the sender's country code may be put before the number. A user id in "to" would be taken and silently dropped:
// it goes into "recipient".
static void put_recipient(struct json_writer *w, struct span user) {
  if (!is_phone(user)) {
    json_put_text(w, "recipient", user);
    return;
  }
  if (span_starts(user, SPAN("+"))) {
    json_put_text(w, "to", user);
    return;
  }
  struct buf number = {0};
  buf_add_byte(&number, '+');
  buf_add_span(&number, user);
  json_put_text(w, "to", buf_span(&number));
  buf_free(&number);
}

static void put_member(struct json_writer *w, const struct json *member) {
  char *key = span_dup(member->key); // no NUL inside: the reader turns it into U+FFFD
  json_put_raw(w, key, member->raw);
  free(key);
}

static void put_message(struct json_writer *w, const struct graph_send *send, const struct json *message) {
  json_open(w, NULL, '{');
  json_put_string(w, "messaging_product", "whatsapp");
  json_put_string(w, "recipient_type", "individual");
  put_recipient(w, send->user);
  if (send->reply_to.len && !json_get(message, "context")) {
    json_open(w, "context", '{');
    json_put_text(w, "message_id", send->reply_to);
    json_close(w, '}');
  }
  for (const struct json *member = message->child; member; member = member->next)
    if (!ours(member->key) && is_last(member)) put_member(w, member);
  if (send->callback.len) json_put_text(w, "biz_opaque_callback_data", send->callback);
  json_close(w, '}');
}

enum err graph_body(const struct graph_send *send, struct buf *out) {
  struct arena arena;
  arena_init(&arena, 4096, GRAPH_ARENA_BYTES);
  const struct json *message = NULL;
  enum err e = json_parse(&arena, send->message, NULL, &message, NULL);
  if (!e && (message->type != JSON_OBJECT || !json_get_text(message, "type").len || !send->user.len)) e = ERR_FORMAT;
  if (!e) {
    struct json_writer w;
    json_start(&w, out);
    put_message(&w, send, message);
  }
  arena_free(&arena);
  return e;
}

void graph__read_body(struct span wamid, bool typing, struct buf *out) {
  struct json_writer w;
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_put_string(&w, "messaging_product", "whatsapp");
  json_put_string(&w, "status", "read");
  json_put_text(&w, "message_id", wamid);
  if (typing) {
    json_open(&w, "typing_indicator", '{');
    json_put_string(&w, "type", "text");
    json_close(&w, '}');
  }
  json_close(&w, '}');
}
