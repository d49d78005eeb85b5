// Webhooks as Meta writes them: envelope, messages, statuses, escaping. Pure. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISPLAY_NUMBER "15550001234"

static uint32_t decode(const unsigned char *s, size_t left, size_t *len) {
  size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
  if (n > left) n = left;
  uint32_t c = s[0] & (0x7fu >> n);
  for (size_t i = 1; i < n; i++)
    c = c << 6 | (s[i] & 0x3f);
  *len = n;
  return c;
}

void sandbox_meta_escape(struct span json, struct buf *out) {
  const unsigned char *s = (const unsigned char *)json.ptr;
  buf_reserve(out, json.len + json.len / 8);
  bool in_string = false;
  for (size_t i = 0; i < json.len;) {
    if (s[i] >= 0x80) {
      size_t len;
      uint32_t c = decode(s + i, json.len - i, &len);
      if (c >= 0x10000)
        buf_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
      else
        buf_printf(out, "\\u%04x", c);
      i += len;
      continue;
    }
    if (s[i] == '\\' && i + 1 < json.len) { // an escape passes as it is, also "\"" and "\/"
      buf_add(out, json.ptr + i, 2);
      i += 2;
      continue;
    }
    if (s[i] == '"') in_string = !in_string;
    if (s[i] == '/' && in_string) buf_add_byte(out, '\\');
    buf_add_byte(out, json.ptr[i++]);
  }
}

void sandbox_new_wamid(char out[static 80]) {
  // Meta's are base64 of a length, the user and a serial number; to us all that counts is that they look so and are never the same.
  uint8_t raw[30] = {0x1c, 0x18};
  random_bytes(raw + 2, sizeof raw - 2);
  memcpy(out, "wamid.", 6);
  base64_encode((struct span){(const char *)raw, sizeof raw}, false, true, out + 6, 80 - 6);
}

static void put_seconds(struct json_writer *w, const char *key, int64_t wall_us) {
  char text[24];
  snprintf(text, sizeof text, "%lld", (long long)(wall_us / 1000000));
  json_put_string(w, key, text);
}

static void open_envelope(struct json_writer *w, const char *waba_id) {
  json_open(w, NULL, '{');
  json_put_string(w, "object", "whatsapp_business_account");
  json_open(w, "entry", '[');
  json_open(w, NULL, '{');
  json_put_string(w, "id", waba_id);
  json_open(w, "changes", '[');
}
static void close_envelope(struct json_writer *w) {
  json_close(w, ']');
  json_close(w, '}');
  json_close(w, ']');
  json_close(w, '}');
}

static void open_change(struct json_writer *w, struct span phone_number_id) {
  json_open(w, NULL, '{');
  json_open(w, "value", '{');
  json_put_string(w, "messaging_product", "whatsapp");
  json_open(w, "metadata", '{');
  json_put_string(w, "display_phone_number", DISPLAY_NUMBER);
  json_put_text(w, "phone_number_id", phone_number_id);
  json_close(w, '}');
}
static void close_change(struct json_writer *w) {
  json_close(w, '}');
  json_put_string(w, "field", "messages");
  json_close(w, '}');
}

// The members that the caller gave, but for those in `ours`.
static void put_given(struct json_writer *w, const struct json *object, const char *const *ours, size_t our_count) {
  for (const struct json *j = object->child; j; j = j->next) {
    bool is_ours = false;
    for (size_t i = 0; i < our_count; i++)
      is_ours |= span_eq(j->key, span_of(ours[i]));
    if (is_ours) continue;
    char *key = span_dup(j->key);
    json_put_raw(w, key, j->raw);
    free(key);
  }
}

void sandbox_webhook_message_object(const struct inbound *inbound, int64_t now_us, const char *key, struct json_writer *w) {
  static const char *const ours[] = {"from", "from_user_id", "id", "timestamp"};
  json_open(w, key, '{');
  if (inbound->from.len) json_put_text(w, "from", inbound->from);
  if (inbound->user_id.len) json_put_text(w, "from_user_id", inbound->user_id);
  json_put_text(w, "id", inbound->wamid);
  struct span timestamp = json_get_text(inbound->message, "timestamp");
  if (timestamp.len)
    json_put_text(w, "timestamp", timestamp);
  else
    put_seconds(w, "timestamp", now_us);
  if (inbound->message) put_given(w, inbound->message, ours, COUNT_OF(ours));
  if (inbound->text.ptr && !json_get(inbound->message, "text")) {
    json_open(w, "text", '{');
    json_put_text(w, "body", inbound->text);
    json_close(w, '}');
  }
  if (!json_get(inbound->message, "type")) json_put_string(w, "type", "text");
  json_close(w, '}');
}

void sandbox_webhook_message(const struct webhook_head *head, const struct inbound *inbound, struct buf *out) {
  struct buf plain = {0};
  struct json_writer w;
  json_start(&w, &plain);
  open_envelope(&w, head->waba_id);
  open_change(&w, head->phone_number_id);
  json_open(&w, "contacts", '[');
  json_open(&w, NULL, '{');
  json_open(&w, "profile", '{');
  json_put_text(&w, "name", inbound->name);
  json_close(&w, '}');
  if (inbound->from.len) json_put_text(&w, "wa_id", inbound->from);
  if (inbound->user_id.len) json_put_text(&w, "user_id", inbound->user_id);
  json_close(&w, '}');
  json_close(&w, ']');
  json_open(&w, "messages", '[');
  sandbox_webhook_message_object(inbound, head->now_us, NULL, &w);
  json_close(&w, ']');
  close_change(&w);
  close_envelope(&w);
  sandbox_meta_escape(buf_span(&plain), out);
  buf_free(&plain);
}

static void put_status(struct json_writer *w, const struct status_update *update, int64_t now_us) {
  const struct record_fields *is = &update->record->is;
  bool is_number = is->user.len > 0 && is->user.ptr[0] >= '0' && is->user.ptr[0] <= '9';
  json_open(w, NULL, '{');
  json_put_text(w, "id", is->wamid);
  json_put_string(w, "status", update->status);
  put_seconds(w, "timestamp", now_us);
  json_put_text(w, is_number ? "recipient_id" : "recipient_user_id", is->user);
  if (is->callback.ptr) json_put_text(w, "biz_opaque_callback_data", is->callback);
  json_open(w, "pricing", '{');
  json_put_bool(w, "billable", false);
  json_put_string(w, "pricing_model", "PMP");
  json_put_string(w, "category", "service");
  json_close(w, '}');
  json_close(w, '}');
}

void sandbox_webhook_statuses(const char *waba_id, const struct status_update *updates, size_t count, int64_t now_us, struct buf *out) {
  struct buf plain = {0};
  struct json_writer w;
  json_start(&w, &plain);
  open_envelope(&w, waba_id);
  for (size_t i = 0; i < count;) {
    struct span number = updates[i].record->is.phone_number_id;
    open_change(&w, number);
    json_open(&w, "statuses", '[');
    for (; i < count && span_eq(updates[i].record->is.phone_number_id, number); i++)
      put_status(&w, &updates[i], now_us);
    json_close(&w, ']');
    close_change(&w);
  }
  close_envelope(&w);
  sandbox_meta_escape(buf_span(&plain), out);
  buf_free(&plain);
}
