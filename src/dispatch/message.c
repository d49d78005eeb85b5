// One table of Meta's message types: answered or not, and where their words are. Runs in the dispatcher.
#include "message.h"

static void text_at(const struct json *message, const char *const *paths, struct buf *out) {
  for (; *paths; paths++) {
    struct span text = json_text(json_path(message, *paths));
    if (!text.len) continue;
    if (out->len) buf_add_byte(out, ' ');
    buf_add_span(out, text);
  }
}

static void text_of_location(const struct json *message, struct buf *out) {
  const struct json *location = json_get(message, "location");
  buf_printf(out, "Location: %.*s,%.*s", SPAN_FMT(json_get_text(location, "latitude")), SPAN_FMT(json_get_text(location, "longitude")));
  text_at(message, (const char *const[]){"location.name", "location.address", NULL}, out);
}

static void text_of_contacts(const struct json *message, struct buf *out) {
  const struct json *contacts = json_get(message, "contacts");
  for (const struct json *c = contacts ? contacts->child : NULL; c; c = c->next) {
    buf_add_text(out, out->len ? "; " : "Contact: ");
    buf_add_span(out, json_text(json_path(c, "name.formatted_name")));
    struct span phone = json_text(json_path(c, "phones.0.phone"));
    if (phone.len) buf_printf(out, " %.*s", SPAN_FMT(phone));
  }
}

static void text_of_order(const struct json *message, struct buf *out) {
  text_at(message, (const char *const[]){"order.text", NULL}, out);
  const struct json *items = json_path(message, "order.product_items");
  for (const struct json *i = items ? items->child : NULL; i; i = i->next) {
    buf_add_text(out, out->len ? "; " : "Order: ");
    buf_printf(out, "%.*s x %.*s", SPAN_FMT(json_get_text(i, "quantity")), SPAN_FMT(json_get_text(i, "product_retailer_id")));
  }
}

struct message_type {
  const char *name;
  bool answered;
  const char *paths[4]; // where the words are
  void (*text)(const struct json *message, struct buf *out);
};

static const struct message_type types[] = {
    {"text", true, {"text.body"}, NULL},
    {"image", true, {"image.caption"}, NULL},
    {"video", true, {"video.caption"}, NULL},
    {"document", true, {"document.caption", "document.filename"}, NULL},
    {"audio", true, {NULL}, NULL},
    {"sticker", true, {NULL}, NULL},
    {"location", true, {NULL}, text_of_location},
    {"contacts", true, {NULL}, text_of_contacts},
    {"interactive", true, {"interactive.button_reply.title", "interactive.list_reply.title", "interactive.nfm_reply.body"}, NULL},
    {"button", true, {"button.text"}, NULL},
    {"order", true, {NULL}, text_of_order},
    {"reaction", false, {NULL}, NULL},
    {"system", false, {NULL}, NULL},
    {"edit", false, {NULL}, NULL},
    {"revoke", false, {NULL}, NULL},
    {"unsupported", false, {NULL}, NULL},
};

static const struct message_type *find_type(struct span name) {
  for (size_t i = 0; i < COUNT_OF(types); i++)
    if (span_eq(name, span_of(types[i].name))) return &types[i];
  return NULL;
}

bool message_answerable(struct span type) {
  const struct message_type *t = find_type(type);
  return t && t->answered;
}

int64_t message_sent_us(const struct json *message) {
  int64_t stamp = json_i64(json_get(message, "timestamp"), 0);
  if (stamp <= 0) return 0;
  if (stamp >= 1000000000000) return stamp < 100000000000000 ? stamp * 1000 : 0; // milliseconds
  return stamp * 1000000;
}

int64_t message_sent_steady_us(int64_t sent_us, int64_t received_wall_us, int64_t received_steady_us) {
  if (!sent_us) return 0;
  int64_t late_us = (received_wall_us < received_steady_us ? received_wall_us : received_steady_us) - sent_us;
  return received_steady_us - (late_us > 0 ? late_us : 0);
}

void message_text(const struct json *message, struct buf *out) {
  const struct message_type *t = find_type(json_get_text(message, "type"));
  if (!t) return;
  if (t->text)
    t->text(message, out);
  else
    text_at(message, t->paths, out);
}
