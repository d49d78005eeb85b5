// A delivery's body as events: every entry, change, message, status and error becomes its own, and a broken one never sinks its neighbours.
// Pure. Runs in the workers.
#include "webhook.h"

// Longest ids that Meta sends are far below; longer ones are kept, but not as what they claim to be.
#define WAMID_MAX 256
#define USER_MAX  160
// Meta names a contact a message; a list far beyond that is not searched to its end for every message.
#define CONTACTS_MAX 1000

struct walk {
  int64_t received_us;
  void (*on_event)(void *ctx, const struct intake_event *event);
  void *ctx;
  struct span waba_id, phone_number_id;
  const struct json *contacts;
};

static void give(struct walk *walk, struct intake_event event) {
  event.received_us = walk->received_us;
  event.waba_id = walk->waba_id;
  if (!event.phone_number_id.ptr) event.phone_number_id = walk->phone_number_id;
  walk->on_event(walk->ctx, &event);
}

static void quarantine(struct walk *walk, const struct json *part, struct span why) {
  give(walk, (struct intake_event){.kind = INTAKE_QUARANTINE, .type = why, .raw = part->raw});
}

static bool is_object(const struct json *j) {
  return j && j->type == JSON_OBJECT;
}

static bool is_array(const struct json *j) {
  return j && j->type == JSON_ARRAY;
}

static inline struct span first_text(const struct json *object, const char *a, const char *b) {
  struct span text = json_get_text(object, a);
  return text.len ? text : json_get_text(object, b);
}

// ---------------------------------------------------------------- elements

// The contact that a message is from: by its number or id, else the only one there is.
static const struct json *contact_of(const struct walk *walk, struct span user) {
  const struct json *only = NULL;
  if (!is_array(walk->contacts)) return NULL;
  unsigned looked = 0;
  for (const struct json *c = walk->contacts->child; c && looked < CONTACTS_MAX; c = c->next, looked++) {
    if (user.len && (span_eq(json_get_text(c, "wa_id"), user) || span_eq(json_get_text(c, "user_id"), user))) return c;
    only = walk->contacts->count == 1 ? c : NULL;
  }
  return only;
}

static void on_message(struct walk *walk, const struct json *m) {
  // Since 2026 a phone number can be missing: then the business-scoped user id names the user.
  struct span user = first_text(m, "from", "from_user_id");
  const struct json *contact = contact_of(walk, user);
  if (!user.len) user = first_text(contact, "wa_id", "user_id");
  struct span type = json_get_text(m, "type");
  struct span wamid = json_get_text(m, "id");
  if (user.len > USER_MAX || wamid.len > WAMID_MAX) {
    quarantine(walk, m, SPAN("id too long"));
    return;
  }
  give(walk, (struct intake_event){.kind = INTAKE_MESSAGE,
                                   .user = user,
                                   .wamid = wamid,
                                   .type = type.len ? type : SPAN("unknown"),
                                   .profile_name = json_get_text(json_get(contact, "profile"), "name"),
                                   .raw = m->raw});
}

static void on_status(struct walk *walk, const struct json *s) {
  struct span user = first_text(s, "recipient_id", "recipient_user_id");
  struct span wamid = json_get_text(s, "id"), status = json_get_text(s, "status");
  if (!wamid.len || !status.len) {
    quarantine(walk, s, SPAN("status without id or status"));
    return;
  }
  if (user.len > USER_MAX || wamid.len > WAMID_MAX) {
    quarantine(walk, s, SPAN("id too long"));
    return;
  }
  give(walk, (struct intake_event){.kind = INTAKE_STATUS, .user = user, .wamid = wamid, .type = status, .raw = s->raw});
}

static void on_error(struct walk *walk, const struct json *e) {
  give(walk, (struct intake_event){.kind = INTAKE_ERROR, .type = json_get_text(e, "title"), .raw = e->raw});
}

static void on_echo(struct walk *walk, const struct json *m) {
  give(walk, (struct intake_event){.kind = INTAKE_ECHO,
                                   .user = first_text(m, "to", "to_user_id"),
                                   .wamid = json_get_text(m, "id"),
                                   .type = json_get_text(m, "type"),
                                   .raw = m->raw});
}

// The lists of a change's value and what each element becomes.
static const struct {
  struct span name;
  void (*on_element)(struct walk *walk, const struct json *element);
} lists[] = {{{"messages", 8}, on_message}, {{"statuses", 8}, on_status}, {{"errors", 6}, on_error}, {{"message_echoes", 14}, on_echo}};

// ---------------------------------------------------------------- changes, entries

// How many elements the value's lists gave.
static unsigned on_lists(struct walk *walk, const struct json *value) {
  unsigned given = 0;
  for (size_t i = 0; i < COUNT_OF(lists); i++) {
    const struct json *list = json_get_span(value, lists[i].name);
    if (!list || list->type == JSON_NULL) continue;
    given++;
    if (!is_array(list)) {
      quarantine(walk, list, SPAN("a list was expected"));
      continue;
    }
    for (const struct json *e = list->child; e; e = e->next) {
      if (is_object(e))
        lists[i].on_element(walk, e);
      else
        quarantine(walk, e, SPAN("an object was expected"));
    }
  }
  return given;
}

static void on_change(struct walk *walk, const struct json *change) {
  const struct json *value = json_get(change, "value");
  if (!is_object(value)) {
    quarantine(walk, change, SPAN("change without a value"));
    return;
  }
  // The replaced service's scripts send no field.
  struct span field = json_get_text(change, "field");
  if (!field.len) field = SPAN("messages");
  struct span phone = json_get_text(json_get(value, "metadata"), "phone_number_id");
  bool conversation = span_eq(field, SPAN("messages")) || span_eq(field, SPAN("smb_message_echoes"));
  if (phone.len && !business_phone_id_valid(phone)) {
    quarantine(walk, change, SPAN("phone_number_id is not valid"));
    return;
  }
  if (conversation && !phone.len) {
    quarantine(walk, change, SPAN("no metadata.phone_number_id"));
    return;
  }
  walk->phone_number_id = phone;
  walk->contacts = json_get(value, "contacts");
  if (!conversation || !on_lists(walk, value))
    give(walk, (struct intake_event){.kind = phone.len ? INTAKE_OTHER : INTAKE_ACCOUNT, .type = field, .raw = change->raw});
  walk->phone_number_id = (struct span){NULL, 0};
  walk->contacts = NULL;
}

static void on_entry(struct walk *walk, const struct json *entry) {
  const struct json *changes = json_get(entry, "changes");
  struct span waba_id = json_get_text(entry, "id");
  walk->waba_id = waba_id.len <= WAMID_MAX ? waba_id : (struct span){NULL, 0};
  if (!is_array(changes)) {
    quarantine(walk, entry, SPAN("entry without changes"));
    return;
  }
  for (const struct json *c = changes->child; c; c = c->next) {
    if (is_object(c))
      on_change(walk, c);
    else
      quarantine(walk, c, SPAN("an object was expected"));
  }
}

bool webhook__events(struct arena *arena, struct span body, int64_t received_us,
                     void (*on_event)(void *ctx, const struct intake_event *event), void *ctx) {
  struct walk walk = {.received_us = received_us, .on_event = on_event, .ctx = ctx};
  const struct json *root = NULL;
  const struct json whole = {.raw = body};
  if (json_parse(arena, body, NULL, &root, NULL) != ERR_OK) {
    quarantine(&walk, &whole, SPAN(WEBHOOK_BAD_JSON));
    return false;
  }
  const struct json *entries = json_get(root, "entry");
  if (!is_object(root) || !is_array(entries)) {
    quarantine(&walk, &whole, SPAN("no list of entries"));
    return false;
  }
  for (const struct json *e = entries->child; e; e = e->next) {
    walk.waba_id = (struct span){NULL, 0};
    if (is_object(e))
      on_entry(&walk, e);
    else
      quarantine(&walk, e, SPAN("an object was expected"));
  }
  return true;
}
