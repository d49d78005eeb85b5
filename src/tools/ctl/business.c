// wahookctl business: adds, lists, changes and removes businesses, straight in the store: it works while the daemon runs, which is told to
// forget what it remembers. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum err store_for(const struct ctl *ctl, bool make_directory, struct store **out, struct why *why) {
  struct buf uri = {NULL, 0, 0};
  const char *dir = ctl->config->server_state_dir;
  // Businesses may be added before the daemon's first start.
  if (make_directory && !*ctl->config->directory_store && mkdir(dir, 0750) && errno != EEXIST) {
    why_set(why, "%s: %s", dir, strerror(errno));
    return ERR_IO;
  }
  struct store_options options;
  store_configured(ctl->config, 0, &uri, &options);
  enum err e = store_open_with(&options, out, why);
  buf_free(&uri);
  return e;
}

// ---------------------------------------------------------------- showing

static const struct rows_column columns[] = {
    {"ID", "id", false},
    {"NAME", "name", false},
    {"SUBDOMAIN", "sub_domain", false},
    {"PHONE NUMBER IDS", "phone_number_ids", false},
    {"WABA", "waba_id", false},
    {"STATE", "active", false},
    {"TOKEN", "token_format", false},
    {"TOKEN EXPIRES", "token_expires", false},
    {NULL, "created", false},
};

static void add_row(struct rows *rows, const struct business *b) {
  rows_text(rows, b->id);
  rows_text(rows, b->name);
  rows_text(rows, b->sub_domain);
  rows_list(rows, b->phone_number_ids, b->phone_count);
  rows_text(rows, b->waba_id);
  rows_bool(rows, b->is_active && b->whatsapp_enabled, "active", b->is_active ? "disabled" : "inactive");
  rows_text(rows, *b->access_token ? token_format_name(token_detect(span_of(b->access_token))) : "none");
  rows_time(rows, b->token_expires_ms * 1000);
  rows_time(rows, b->created_ms * 1000);
}

static enum err on_listed(void *ctx, struct business *const *page, unsigned count, struct why *why) {
  (void)why;
  for (unsigned i = 0; i < count; i++)
    add_row(ctx, page[i]);
  return ERR_OK;
}

int business_list(struct ctl *ctl) {
  struct why why = {""};
  struct store *store = NULL;
  struct rows rows;
  rows_begin(&rows, columns, COUNT_OF(columns), ctl->json);
  enum err e = store_for(ctl, false, &store, &why);
  if (!e) e = bulk_read(store, on_listed, &rows, &why);
  if (!e)
    rows_finish(&rows, stdout, "no businesses (wahookctl business add, or wahookctl import)");
  else
    buf_free(&rows.out);
  store_close(store);
  return e ? ctl_fail(e, "business list", &why) : EX_OK;
}

// The document without its secrets: what is stored of a token is told by format only.
static void put_document(const struct business *b, struct json_writer *w) {
  struct business *shown = business_copy(b);
  char **secrets[] = {&shown->access_token, &shown->refresh_token, &shown->verify_token, &shown->responder_key};
  for (size_t i = 0; i < COUNT_OF(secrets); i++) {
    char text[48] = "";
    if (**secrets[i]) snprintf(text, sizeof text, "*** (%s)", token_format_name(token_detect(span_of(*secrets[i]))));
    token_forget(*secrets[i]);
    *secrets[i] = xstrdup(text);
  }
  business_to_json(shown, w, NULL);
  business_free(shown);
}

int business_show(struct ctl *ctl) {
  struct why why = {""};
  struct store *store = NULL;
  struct business *b = NULL;
  struct buf text = {NULL, 0, 0}, pretty = {NULL, 0, 0};
  struct json_writer w;
  struct arena arena;
  const struct json *document;
  arena_init(&arena, 65536, 0);
  enum err e = store_for(ctl, false, &store, &why);
  if (!e) e = store_get(store, ctl_argument(ctl, 0), &b, &why);
  if (!e) {
    json_start(&w, &text);
    put_document(b, &w);
    if (!ctl->json) e = json_parse(&arena, buf_span(&text), NULL, &document, NULL);
    if (!e && !ctl->json) json_pretty(document, 0, &pretty);
    if (!e) printf("%s%s", ctl->json ? text.data : pretty.data, ctl->json ? "\n" : "");
  }
  business_free(b);
  store_close(store);
  arena_free(&arena);
  buf_free(&text);
  buf_free(&pretty);
  return e ? ctl_fail(e, ctl_argument(ctl, 0), &why) : EX_OK;
}

// ---------------------------------------------------------------- changing

static void say(const struct ctl *ctl, const struct business *b, const char *what) {
  struct buf out = {NULL, 0, 0};
  struct json_writer w;
  if (ctl->json) {
    json_start(&w, &out);
    json_open(&w, NULL, '{');
    json_put_string(&w, "id", b->id);
    json_put_string(&w, "result", what);
    json_close(&w, '}');
  } else {
    text_clean(span_of(b->id), &out);
    buf_printf(&out, ": %s", what);
  }
  printf("%s\n", out.data);
  buf_free(&out);
}

static void set_text(char **field, const char *text) {
  if (!text) return;
  free(*field);
  *field = xstrdup(text);
}

static enum err set_phones(const struct ctl *ctl, struct business *b, struct why *why) {
  for (unsigned i = 0; i < ctl->given_count; i++) {
    const char *id = ctl->given[i].value;
    if (strcmp(ctl->given[i].name, "--phone") != 0) continue;
    if (!business_phone_id_valid(span_of(id)) || b->phone_count == BUSINESS_PHONES_MAX) {
      why_set(why, "--phone %s: %s", id,
              b->phone_count == BUSINESS_PHONES_MAX ? "too many" : "no phone number id (1 to 32 letters, digits, _ or -)");
      return ERR_FORMAT;
    }
    b->phone_number_ids[b->phone_count++] = xstrdup(id);
  }
  return ERR_OK;
}

static enum err set_token(const struct ctl *ctl, const char *from, struct business *b, struct why *why) {
  char *token = NULL, *stored = NULL;
  enum err e = token_read(from, &token, why);
  if (!e) e = token_for_store(ctl, token, &stored, why);
  if (!e) {
    token_forget(b->access_token);
    b->access_token = stored;
    b->token_expires_ms = 0; // the old one's
  }
  token_forget(token);
  return e;
}

static enum err check_responder(const struct business *b, struct why *why) {
  static const char *const types[] = {"", "echo", "http", "openai"};
  for (size_t i = 0; i < COUNT_OF(types); i++)
    if (strcmp(b->responder_type, types[i]) == 0) return ERR_OK;
  why_set(why, "--responder-type %s: write echo, http or openai", b->responder_type);
  return ERR_FORMAT;
}

static enum err fill_in(const struct ctl *ctl, struct business *b, struct why *why) {
  const char *id = ctl_argument(ctl, 0), *name = ctl_flag(ctl, "--name"), *token = ctl_flag(ctl, "--token");
  set_text(&b->id, id);
  set_text(&b->name, name ? name : id);
  set_text(&b->sub_domain, ctl_flag(ctl, "--sub-domain"));
  set_text(&b->waba_id, ctl_flag(ctl, "--waba-id"));
  set_text(&b->responder_type, ctl_flag(ctl, "--responder-type"));
  set_text(&b->responder_url, ctl_flag(ctl, "--responder-url"));
  set_text(&b->responder_model, ctl_flag(ctl, "--responder-model"));
  set_text(&b->responder_prompt, ctl_flag(ctl, "--responder-prompt"));
  set_text(&b->retention, ctl_flag(ctl, "--retention"));
  b->is_active = true;
  b->whatsapp_enabled = !ctl_flag(ctl, "--disabled");
  b->created_ms = clock_wall_us() / 1000;
  if (!*id) {
    why_set(why, "the id is empty");
    return ERR_FORMAT;
  }
  enum err e = check_responder(b, why);
  if (!e) e = business_settle(b, why);
  if (!e) e = set_phones(ctl, b, why);
  return !e && token ? set_token(ctl, token, b, why) : e;
}

// Two businesses that claim one number are possible (the newest wins), but hardly meant.
static void warn_about_claims(struct store *store, const struct business *b) {
  for (unsigned i = 0; i < b->phone_count; i++) {
    struct business *other;
    struct why why;
    if (store_find(store, DIRECTORY_PHONE, span_of(b->phone_number_ids[i]), &other, &why)) continue;
    if (strcmp(other->id, b->id) != 0) ctl_complain("warning: %s belongs to the business %s, too", b->phone_number_ids[i], other->id);
    business_free(other);
  }
}

int business_add(struct ctl *ctl) {
  struct why why = {""};
  struct store *store = NULL;
  struct business *b = business_new(), *before = NULL;
  enum err e = fill_in(ctl, b, &why);
  if (!e) e = store_for(ctl, true, &store, &why);
  if (!e) {
    enum err found = store_get(store, b->id, &before, &why);
    bool same = !found && strcmp(before->id, b->id) == 0;
    e = found == ERR_NOT_FOUND ? ERR_OK : found;
    if (same && !ctl_flag(ctl, "--replace")) {
      why_set(&why, "there is such a business (--replace it, or change it with other verbs)");
      e = ERR_EXISTS;
    }
  }
  if (!e) warn_about_claims(store, b);
  if (!e) e = store_put(store, b, &why);
  if (!e) {
    say(ctl, b, before && strcmp(before->id, b->id) == 0 ? "replaced" : "added");
    if (before) (void)daemon_forget(ctl, before);
    (void)daemon_forget(ctl, b);
  }
  business_free(b);
  business_free(before);
  store_close(store);
  return e ? ctl_fail(e, ctl_argument(ctl, 0), &why) : EX_OK;
}

// Changes the business that the first argument names.
static int change(struct ctl *ctl, enum err (*how)(struct ctl *ctl, struct store *store, struct business *b, struct why *why),
                  const char *done) {
  struct why why = {""};
  struct store *store = NULL;
  struct business *b = NULL;
  enum err e = store_for(ctl, false, &store, &why);
  if (!e) e = store_get(store, ctl_argument(ctl, 0), &b, &why);
  if (!e) e = how(ctl, store, b, &why);
  if (!e) {
    say(ctl, b, done);
    (void)daemon_forget(ctl, b);
  }
  business_free(b);
  store_close(store);
  return e ? ctl_fail(e, ctl_argument(ctl, 0), &why) : EX_OK;
}

static enum err disable(struct ctl *ctl, struct store *store, struct business *b, struct why *why) {
  (void)ctl;
  b->whatsapp_enabled = false;
  return store_put(store, b, why);
}

static enum err enable(struct ctl *ctl, struct store *store, struct business *b, struct why *why) {
  (void)ctl;
  b->whatsapp_enabled = b->is_active = true;
  return store_put(store, b, why);
}

static enum err remove_it(struct ctl *ctl, struct store *store, struct business *b, struct why *why) {
  (void)ctl;
  return store_remove(store, b->id, why);
}

static enum err give_token(struct ctl *ctl, struct store *store, struct business *b, struct why *why) {
  enum err e = set_token(ctl, ctl_argument(ctl, 1), b, why);
  return e ? e : store_put(store, b, why);
}

static enum err give_retention(struct ctl *ctl, struct store *store, struct business *b, struct why *why) {
  const char *text = ctl_argument(ctl, 1);
  set_text(&b->retention, text ? text : "");
  (void)business_settle(b, why);
  return b->retention[0] && !b->retention_ms ? ERR_FORMAT : store_put(store, b, why);
}

int business_set_retention(struct ctl *ctl) {
  const char *text = ctl_argument(ctl, 1);
  return change(ctl, give_retention, text && *text ? "retention set" : "retention taken away");
}

int business_disable(struct ctl *ctl) {
  return change(ctl, disable, "disabled");
}

int business_enable(struct ctl *ctl) {
  return change(ctl, enable, "enabled");
}

int business_remove(struct ctl *ctl) {
  return change(ctl, remove_it, "removed");
}

int business_set_token(struct ctl *ctl) {
  return change(ctl, give_token, "token set");
}
