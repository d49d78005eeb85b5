// Would Meta take this message? The fields and limits of POST /{phone-number-id}/messages. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <string.h>

#define TEXT_MAX        4096
#define CAPTION_MAX     1024
#define BODY_MAX        1024
#define BUTTONS_MAX     3
#define TITLE_MAX       20
#define ROWS_MAX        10
#define ROW_TITLE_MAX   24
#define DESCRIPTION_MAX 72
#define CALLBACK_MAX    512
#define USER_ID_MAX     (3 + 128) // "CC." and 128 letters and digits

static bool missing(struct meta_error *error, const char *name) {
  sandbox_error_set(error, 100, "The parameter %s is required.", name);
  return false;
}

static size_t characters(struct span s) {
  size_t n = 0;
  for (size_t i = 0; i < s.len; i++)
    n += ((unsigned char)s.ptr[i] & 0xc0) != 0x80;
  return n;
}

// A required (least 1) or optional (least 0) text member.
static bool text_fits(const struct json *object, const char *key, size_t least, size_t most, struct meta_error *error) {
  const struct json *j = json_get(object, key);
  if (!j && least == 0) return true;
  if (!j || j->type != JSON_STRING || j->text.len < least) return missing(error, key);
  if (characters(j->text) <= most) return true;
  sandbox_error_set(error, 100, "Param %s must be at most %zu characters long.", key, most);
  return false;
}

static bool check_text(const struct json *o, struct send_facts *facts, struct meta_error *error) {
  (void)facts;
  return text_fits(o, "body", 1, TEXT_MAX, error);
}

static bool check_media(const struct json *o, struct send_facts *facts, struct meta_error *error) {
  struct span id = json_get_text(o, "id"), link = json_get_text(o, "link");
  if (id.len == 0 && link.len == 0) return missing(error, "id or link");
  facts->media_id = id;
  return text_fits(o, "caption", 0, CAPTION_MAX, error);
}

static bool check_buttons(const struct json *action, struct meta_error *error) {
  const struct json *buttons = json_get(action, "buttons");
  if (!buttons || buttons->type != JSON_ARRAY || buttons->count == 0) return missing(error, "interactive.action.buttons");
  if (buttons->count > BUTTONS_MAX) {
    sandbox_error_set(error, 100, "At most %d buttons.", BUTTONS_MAX);
    return false;
  }
  for (const struct json *b = buttons->child; b; b = b->next) {
    const struct json *reply = json_get(b, "reply");
    if (!text_fits(reply, "id", 1, 256, error) || !text_fits(reply, "title", 1, TITLE_MAX, error)) return false;
  }
  return true;
}

static bool check_list(const struct json *action, struct meta_error *error) {
  if (!text_fits(action, "button", 1, TITLE_MAX, error)) return false;
  const struct json *sections = json_get(action, "sections");
  if (!sections || sections->type != JSON_ARRAY || sections->count == 0) return missing(error, "interactive.action.sections");
  unsigned rows = 0;
  for (const struct json *s = sections->child; s; s = s->next) {
    const struct json *of_section = json_get(s, "rows");
    for (const struct json *r = of_section ? of_section->child : NULL; r; r = r->next, rows++) {
      if (!text_fits(r, "id", 1, 200, error) || !text_fits(r, "title", 1, ROW_TITLE_MAX, error) ||
          !text_fits(r, "description", 0, DESCRIPTION_MAX, error))
        return false;
    }
  }
  if (rows == 0) return missing(error, "interactive.action.sections.rows");
  if (rows <= ROWS_MAX) return true;
  sandbox_error_set(error, 100, "At most %d rows.", ROWS_MAX);
  return false;
}

static bool check_interactive(const struct json *o, struct send_facts *facts, struct meta_error *error) {
  (void)facts;
  struct span type = json_get_text(o, "type");
  if (type.len == 0) return missing(error, "interactive.type");
  if (!text_fits(json_get(o, "body"), "text", 1, span_eq(type, SPAN("list")) ? TEXT_MAX : BODY_MAX, error)) return false;
  const struct json *action = json_get(o, "action");
  if (!action || action->type != JSON_OBJECT) return missing(error, "interactive.action");
  if (span_eq(type, SPAN("button"))) return check_buttons(action, error);
  return !span_eq(type, SPAN("list")) || check_list(action, error);
}

static bool check_location(const struct json *o, struct send_facts *facts, struct meta_error *error) {
  (void)facts;
  return json_text(json_get(o, "latitude")).len && json_text(json_get(o, "longitude")).len ? true : missing(error, "latitude, longitude");
}

static bool check_reaction(const struct json *o, struct send_facts *facts, struct meta_error *error) {
  (void)facts;
  return text_fits(o, "message_id", 1, 512, error);
}

static bool check_template(const struct json *o, struct send_facts *facts, struct meta_error *error) {
  (void)facts;
  return text_fits(o, "name", 1, 512, error) && text_fits(json_get(o, "language"), "code", 2, 16, error);
}

// The one table of message types that can be sent.
static const struct {
  const char *type;
  enum json_type content;
  bool (*check)(const struct json *object, struct send_facts *facts, struct meta_error *error);
} types[] = {
    {"text", JSON_OBJECT, check_text},
    {"image", JSON_OBJECT, check_media},
    {"video", JSON_OBJECT, check_media},
    {"audio", JSON_OBJECT, check_media},
    {"document", JSON_OBJECT, check_media},
    {"sticker", JSON_OBJECT, check_media},
    {"interactive", JSON_OBJECT, check_interactive},
    {"location", JSON_OBJECT, check_location},
    {"contacts", JSON_ARRAY, NULL},
    {"reaction", JSON_OBJECT, check_reaction},
    {"template", JSON_OBJECT, check_template},
};

static bool check_content(const struct json *body, struct send_facts *facts, struct meta_error *error) {
  struct span type = json_get_text(body, "type");
  if (!type.ptr) type = SPAN("text");
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    if (!span_eq(type, span_of(types[i].type))) continue;
    const struct json *content = json_get(body, types[i].type);
    if (!content || content->type != types[i].content || content->count == 0) return missing(error, types[i].type);
    return !types[i].check || types[i].check(content, facts, error);
  }
  sandbox_error_set(error, 100,
                    "Param type must be one of {AUDIO, CONTACTS, DOCUMENT, IMAGE, INTERACTIVE, LOCATION, REACTION, STICKER, "
                    "TEMPLATE, TEXT, VIDEO} - got \"%.*s\".",
                    (int)(type.len > 40 ? 40 : type.len), type.ptr);
  return false;
}

// "to" is a phone number; a business-scoped user id belongs into "recipient", and in "to" it is accepted and goes nowhere.
static bool check_user(const struct json *body, struct send_facts *facts, struct meta_error *error) {
  struct span to = json_get_text(body, "to"), recipient = json_get_text(body, "recipient");
  facts->input = to.len ? to : recipient;
  facts->user = facts->input;
  if (facts->user.len == 0) return missing(error, "to");
  if (facts->user.len > USER_ID_MAX) {
    sandbox_error_set(error, 131009, "The recipient is not valid.");
    return false;
  }
  if (to.len == 0) return true;
  if (to.ptr[0] == '+') facts->user = span_from(to, 1);
  for (size_t i = 0; i < facts->user.len; i++) {
    if (facts->user.ptr[i] < '0' || facts->user.ptr[i] > '9') facts->is_dropped = true;
  }
  return facts->user.len > 0 ? true : missing(error, "to");
}

static bool check_read_mark(const struct json *body, struct send_facts *facts, struct meta_error *error) {
  facts->is_read_mark = true;
  if (!span_eq(json_get_text(body, "status"), SPAN("read"))) {
    sandbox_error_set(error, 100, "Param status must be one of {READ}.");
    return false;
  }
  const struct json *typing = json_get(body, "typing_indicator");
  if (typing && !span_eq(json_get_text(typing, "type"), SPAN("text"))) {
    sandbox_error_set(error, 100, "Param typing_indicator.type must be one of {TEXT}.");
    return false;
  }
  return text_fits(body, "message_id", 1, 512, error);
}

bool sandbox_check_send(const struct json *body, struct send_facts *facts, struct meta_error *error) {
  *facts = (struct send_facts){0};
  if (!body || body->type != JSON_OBJECT) {
    sandbox_error_set(error, 100, "The body must be a JSON object.");
    return false;
  }
  if (!span_eq(json_get_text(body, "messaging_product"), SPAN("whatsapp"))) return missing(error, "messaging_product");
  if (json_get(body, "status")) return check_read_mark(body, facts, error);
  if (!check_user(body, facts, error)) return false;
  const struct json *context = json_get(body, "context");
  if (context && !text_fits(context, "message_id", 1, 512, error)) return false;
  if (!text_fits(body, "biz_opaque_callback_data", 0, CALLBACK_MAX, error)) return false;
  facts->callback = json_get_text(body, "biz_opaque_callback_data");
  return check_content(body, facts, error);
}
