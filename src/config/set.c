// Gives one option its value, whatever source it comes from, and remembers where that was. Runs in the master and the tools.
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

void config__list_add(struct config_list *list, char *item) {
  list->items = xrealloc(list->items, (list->count + 1) * sizeof *list->items);
  list->items[list->count++] = item;
}

static void wipe_text(char *text) {
  if (text) explicit_bzero(text, strlen(text));
  free(text);
}

void config__list_free(struct config_list *list) {
  for (size_t i = 0; i < list->count; i++)
    wipe_text(list->items[i]);
  free(list->items);
  *list = (struct config_list){NULL, 0};
}

static void replace_text(char **field, char *text) {
  wipe_text(*field);
  *field = text;
}

// ---------------------------------------------------------------- one value of each type; *why says what is wrong and what to do

static void show_bound(enum option_type type, int64_t value, struct buf *out) {
  if (type == OPTION_DURATION)
    config__format_duration(value, out);
  else if (type == OPTION_SIZE)
    config__format_size(value, out);
  else
    buf_printf(out, "%lld", (long long)value);
}

static enum err out_of_bounds(const struct option *o, struct span text, struct why *why) {
  struct buf low = {NULL, 0, 0}, high = {NULL, 0, 0};
  show_bound(o->type, o->min, &low);
  show_bound(o->type, o->max, &high);
  why_set(why, CONFIG__SHOWN " is outside the allowed range (write a value from %s to %s)", CONFIG__SHOW(text), low.data, high.data);
  buf_free(&low);
  buf_free(&high);
  return ERR_RANGE;
}

static enum err read_number(const struct option *o, struct span text, int64_t *out, struct why *why) {
  int64_t value = 0;
  enum err e = o->type == OPTION_INT        ? span_i64(text, &value)
               : o->type == OPTION_DURATION ? config_parse_duration(text, &value)
                                            : config_parse_size(text, &value);
  if (e == ERR_RANGE || (!e && (value < o->min || (o->max && value > o->max)))) return out_of_bounds(o, text, why);
  if (!e)
    *out = value;
  else if (o->type == OPTION_INT)
    why_set(why, "\"" CONFIG__SHOWN "\" is not a number (write a whole number without a unit)", CONFIG__SHOW(text));
  else if (o->type == OPTION_DURATION)
    why_set(why, "\"" CONFIG__SHOWN "\" is not a duration (write \"500ms\", \"30s\", \"5m\", \"2h\", \"7d\", or plain seconds)",
            CONFIG__SHOW(text));
  else
    why_set(why, "\"" CONFIG__SHOWN "\" is not a size (write \"16KiB\", \"3MiB\", \"1GiB\", or plain bytes)", CONFIG__SHOW(text));
  return e;
}

static enum err read_choice(enum config_option_id id, struct span text, char **field, struct why *why) {
  struct config__suggestion near;
  config__suggest_start(&near, text);
  for (struct span rest = config__choices(id), choice; rest.len && span_split(&rest, '|', &choice);) {
    char word[CONFIG__NAME_MAX];
    if (span_copy(choice, word, sizeof word)) continue;
    if (span_eq_nocase(choice, text)) {
      replace_text(field, xstrdup(word));
      return ERR_OK;
    }
    config__suggest_offer(&near, word);
  }
  const char *best = config__suggest_best(&near);
  why_set(why, "\"" CONFIG__SHOWN "\" is not one of %.*s (%s%s%s)", CONFIG__SHOW(text), SPAN_FMT(config__choices(id)),
          best ? "did you mean \"" : "write one of them", best ? best : "", best ? "\"?" : "");
  return ERR_FORMAT;
}

// Control characters in a text end up in headers, file names and logs. Only a prompt may have lines.
static enum err check_text(enum config_option_id id, struct span text, struct why *why) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    if ((c >= 0x20 && c != 0x7F) || (id == OPT_responder_system_prompt && (c == '\n' || c == '\t' || c == '\r'))) continue;
    why_set(why, "contains a control character at byte %zu (remove it)", i + 1);
    return ERR_FORMAT;
  }
  if (config__is_secret(config__options[id].type) || span_utf8(text)) return ERR_OK; // a secret's bytes are nobody's business
  why_set(why, "is not a text in UTF-8 (write it in UTF-8)");
  return ERR_FORMAT;
}

// Blanks at an end are copied along more often than meant; a secret of blanks only is none.
static enum err check_blanks(struct config__setting *setting, enum config_option_id id, const struct config__input *in, struct span secret,
                             struct why *why) {
  char name[CONFIG__NAME_MAX];
  size_t len = span_trim(secret).len;
  if (len == secret.len) return ERR_OK;
  if (!len) {
    why_set(why, "consists of blanks only (write the secret, or leave the option out)");
    return ERR_FORMAT;
  }
  config__warning(setting->errors, in->where, config__dotted(id, name),
                  "begins or ends with a blank, which counts (remove it if not meant)");
  return ERR_OK;
}

// A store's address is a secret only for the password in it.
static bool has_password(struct span uri) {
  return memchr(uri.ptr, '@', uri.len) != NULL;
}

static enum err read_secret(struct config__setting *setting, enum config_option_id id, const struct config__input *in, struct span text,
                            const char *alias, char **out, struct why *why) {
  struct config_origin *origin = &setting->config->origins[id];
  bool reference = false;
  char *secret = NULL;
  enum err e = config__secret(setting, text, &secret, &reference, why);
  if (!e) e = check_text(id, span_of(secret), why);
  if (!e) e = check_blanks(setting, id, in, span_of(secret), why);
  if (e) {
    wipe_text(secret);
    return e;
  }
  struct buf shown = {NULL, 0, 0};
  buf_reserve(&shown, 0);
  if (reference || (id == OPT_directory_store && !has_password(text)))
    buf_add_span(&shown, text);
  else if (alias)
    buf_printf(&shown, "env:%s", alias);
  config__list_add(&origin->references, buf_steal(&shown));
  *out = secret;
  return ERR_OK;
}

static void explain_rate(struct span text, enum err e, struct why *why) {
  if (e == ERR_RANGE)
    why_set(why, "\"" CONFIG__SHOWN "\" is outside the allowed range (write 1 to 1000000000 in a period of at most 31 days, or \"off\")",
            CONFIG__SHOW(text));
  else
    why_set(why, "\"" CONFIG__SHOWN "\" is not a rate (write \"100/minute\", \"5 per 10 seconds\" or \"off\")", CONFIG__SHOW(text));
}

static enum err read_scalar(struct config__setting *setting, enum config_option_id id, const struct config__input *in, struct why *why) {
  const struct option *o = &config__options[id];
  void *field = config__field(setting->config, id);
  struct span text = in->values[0];
  char *secret;
  enum err e;
  switch (o->type) {
  case OPTION_TEXT:
    if ((e = check_text(id, text, why))) return e;
    replace_text(field, span_dup(text));
    return ERR_OK;
  case OPTION_SECRET:
    if ((e = read_secret(setting, id, in, text, in->alias, &secret, why))) return e;
    replace_text(field, secret);
    return ERR_OK;
  case OPTION_BOOL:
    e = config__parse_bool(text, field);
    if (e) why_set(why, "\"" CONFIG__SHOWN "\" is neither yes nor no (write yes or no)", CONFIG__SHOW(text));
    return e;
  case OPTION_RATE:
    e = config_parse_rate(text, field);
    if (e) explain_rate(text, e, why);
    return e;
  case OPTION_ENUM: return read_choice(id, text, field, why);
  case OPTION_INT:
  case OPTION_DURATION:
  case OPTION_SIZE: return read_number(o, text, field, why);
  case OPTION_LIST:
  case OPTION_SECRETS: break;
  }
  die("option type %d", (int)o->type);
}

// ---------------------------------------------------------------- lists: each item has its own errors

static void refuse(struct config__setting *setting, enum config_option_id id, const char *where, const struct why *why) {
  char name[CONFIG__NAME_MAX];
  setting->config->origins[id].failed = true;
  config__error(setting->errors, where, config__dotted(id, name), "%s", why->text);
}

static enum err make_item(struct config__setting *setting, enum config_option_id id, const struct config__input *in, struct span text,
                          const char *alias, char **item, struct why *why) {
  if (!text.len) {
    why_set(why, "an item of the list is empty (remove it)");
    return ERR_FORMAT;
  }
  if (config__options[id].type == OPTION_SECRETS) return read_secret(setting, id, in, text, alias, item, why);
  enum err e = check_text(id, text, why);
  if (e) return e;
  *item = span_dup(text);
  e = config__check_item(config__field(setting->config, id), id, item, why);
  if (e) {
    free(*item);
    *item = NULL;
  }
  return e;
}

// `n`: which of the source's values it comes from.
static void add_item(struct config__setting *setting, enum config_option_id id, const struct config__input *in, size_t n, struct span text,
                     const char *alias) {
  struct why why;
  char *item = NULL;
  if (!make_item(setting, id, in, text, alias, &item, &why)) {
    config__list_add(config__field(setting->config, id), item);
    return;
  }
  struct buf where = {NULL, 0, 0};
  if (in->lines) buf_printf(&where, "%s:%u", in->file, in->lines[n]);
  refuse(setting, id, in->lines ? where.data : in->where, &why);
  buf_free(&where);
}

// A text for a list is split at commas; for secrets only where the source says so, as a secret may contain one.
static void read_list(struct config__setting *setting, enum config_option_id id, const struct config__input *in) {
  bool split = !in->array && (in->split || config__options[id].type == OPTION_LIST);
  for (size_t i = 0; i < in->count; i++) {
    struct span rest = in->values[i], item;
    if (!rest.len && !in->array) continue; // key = "": the empty list
    if (split)
      while (rest.len && span_split(&rest, ',', &item))
        add_item(setting, id, in, i, span_trim(item), NULL);
    else
      add_item(setting, id, in, i, rest, in->alias);
  }
}

// ---------------------------------------------------------------- any option

static void forget_value(struct config *config, enum config_option_id id, const struct config__input *in) {
  struct config_origin *origin = &config->origins[id];
  bool adds = in->source == CONFIG_FROM_FLAG && origin->source == CONFIG_FROM_FLAG && config__is_list(config__options[id].type);
  if (!adds) {
    if (config__is_list(config__options[id].type)) config__list_free(config__field(config, id));
    config__list_free(&origin->references);
  }
  free(origin->where);
  origin->where = in->where ? xstrdup(in->where) : NULL;
  origin->source = in->source;
  origin->failed = adds && origin->failed;
}

// A text without quotes would end at a blank or '#': only words and numbers may stand bare.
static bool may_be_bare(enum option_type type) {
  return !config__is_list(type) && type != OPTION_TEXT && type != OPTION_SECRET;
}

void config__set(struct config__setting *setting, enum config_option_id id, const struct config__input *in) {
  const struct option *o = &config__options[id];
  struct why why = {""};
  enum err e = ERR_OK;
  forget_value(setting->config, id, in);
  if (in->bare && !may_be_bare(o->type)) {
    why_set(&why, "a text needs quotes (write %s = \"...\")", o->key);
    e = ERR_FORMAT;
  } else if (config__is_list(o->type)) {
    read_list(setting, id, in);
  } else if (in->array || in->count != 1) {
    why_set(&why, "takes one value, not a list (remove the brackets)");
    e = ERR_FORMAT;
  } else {
    e = read_scalar(setting, id, in, &why);
    if (!e) e = config__check_value(setting->config, id, &why);
  }
  if (e) refuse(setting, id, in->where, &why);
}

void config__set_broken(struct config__setting *setting, enum config_option_id id, const struct config__input *in) {
  forget_value(setting->config, id, in);
  setting->config->origins[id].failed = true;
}

static void set_default(struct config__setting *setting, enum config_option_id id) {
  enum option_type type = config__options[id].type;
  struct span def = span_of(config__options[id].def);
  bool text = type == OPTION_TEXT || type == OPTION_SECRET || type == OPTION_ENUM;
  if (text) *(char **)config__field(setting->config, id) = xstrdup("");
  struct config__input in = {.source = CONFIG_FROM_DEFAULT, .values = &def, .count = 1};
  if (type != OPTION_SECRET && (!text || def.len)) config__set(setting, id, &in);
}

struct config *config__new(void) {
  struct config_errors errors = {.count = 0};
  struct config *config = xcalloc(1, sizeof *config);
  struct config__setting setting = {.config = config, .errors = &errors};
  config->magic = CONFIG__MAGIC;
  config->file = xstrdup("");
  config->origins = xcalloc(OPT_COUNT, sizeof *config->origins);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    set_default(&setting, id);
  if (errors.count) die("a default in options.def is wrong: %s", errors.text.data);
  config_errors_free(&errors);
  return config;
}

void config_free(struct config *config) {
  if (!config) return;
  ALWAYS(config->magic == CONFIG__MAGIC);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    enum option_type type = config__options[id].type;
    if (config__is_list(type))
      config__list_free(config__field(config, id));
    else if (type == OPTION_TEXT || type == OPTION_SECRET || type == OPTION_ENUM)
      wipe_text(*(char **)config__field(config, id));
    if (!config->origins) continue;
    free(config->origins[id].where);
    config__list_free(&config->origins[id].references);
  }
  free(config->origins);
  free(config->file);
  config->magic = 0;
  free(config);
}
