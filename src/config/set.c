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
  why_set(why, "%.*s is outside the allowed range (write a value from %s to %s)", SPAN_FMT(text), low.data, high.data);
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
    why_set(why, "\"%.*s\" is not a number (write a whole number without a unit)", SPAN_FMT(text));
  else if (o->type == OPTION_DURATION)
    why_set(why, "\"%.*s\" is not a duration (write \"500ms\", \"30s\", \"5m\", \"2h\", \"7d\", or plain seconds)", SPAN_FMT(text));
  else
    why_set(why, "\"%.*s\" is not a size (write \"16KiB\", \"3MiB\", \"1GiB\", or plain bytes)", SPAN_FMT(text));
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
  why_set(why, "\"%.*s\" is not one of %.*s%s%s%s", SPAN_FMT(text), SPAN_FMT(config__choices(id)), best ? " (did you mean \"" : "",
          best ? best : "", best ? "\"?)" : "");
  return ERR_FORMAT;
}

// Control characters in a text end up in headers, file names and logs. Only a prompt may have lines.
static enum err check_text(enum config_option_id id, struct span text, struct why *why) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    if ((c >= 0x20 && c != 0x7F) || (id == OPT_responder_system_prompt && (c == '\n' || c == '\t' || c == '\r'))) continue;
    why_set(why, "contains a control character (byte %zu); remove it", i + 1);
    return ERR_FORMAT;
  }
  if (config__is_secret(config__options[id].type) || span_utf8(text)) return ERR_OK; // a secret's bytes are nobody's business
  why_set(why, "is not a text in UTF-8");
  return ERR_FORMAT;
}

static enum err read_secret(struct config__setting *setting, enum config_option_id id, struct span text, const char *alias, char **out,
                            struct why *why) {
  struct config_origin *origin = &setting->config->origins[id];
  bool reference = false;
  char *secret = NULL;
  enum err e = config__secret(setting, text, &secret, &reference, why);
  if (!e) e = check_text(id, span_of(secret), why);
  if (e) {
    wipe_text(secret);
    return e;
  }
  struct buf shown = {NULL, 0, 0};
  buf_reserve(&shown, 0);
  if (reference)
    buf_add_span(&shown, text);
  else if (alias)
    buf_printf(&shown, "env:%s", alias);
  config__list_add(&origin->references, buf_steal(&shown));
  *out = secret;
  return ERR_OK;
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
    if ((e = read_secret(setting, id, text, in->alias, &secret, why))) return e;
    replace_text(field, secret);
    return ERR_OK;
  case OPTION_BOOL:
    e = config__parse_bool(text, field);
    if (e) why_set(why, "\"%.*s\" is neither yes nor no", SPAN_FMT(text));
    return e;
  case OPTION_RATE:
    e = config_parse_rate(text, field);
    if (e) why_set(why, "\"%.*s\" is not a rate (write \"100/minute\", \"5 per 10 seconds\" or \"off\")", SPAN_FMT(text));
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

static enum err add_item(struct config__setting *setting, enum config_option_id id, struct span text, const char *alias,
                         struct config_list *list, struct why *why) {
  char *item = NULL;
  enum err e;
  if (!text.len) {
    why_set(why, "an item of the list is empty (remove it)");
    return ERR_FORMAT;
  }
  if (config__options[id].type == OPTION_SECRETS)
    e = read_secret(setting, id, text, alias, &item, why);
  else if (!(e = check_text(id, text, why)))
    item = span_dup(text);
  if (!e) config__list_add(list, item);
  return e;
}

// A text for a list is split at commas; for secrets only where the source says so, as a secret may contain one.
static enum err read_list(struct config__setting *setting, enum config_option_id id, const struct config__input *in, struct why *why) {
  struct config_list *list = config__field(setting->config, id);
  bool split = !in->array && (in->split || config__options[id].type == OPTION_LIST);
  for (size_t i = 0; i < in->count; i++) {
    struct span rest = in->values[i], item;
    if (!split || !rest.len) {
      if (!rest.len && !in->array) continue; // key = "": the empty list
      enum err e = add_item(setting, id, rest, in->alias, list, why);
      if (e) return e;
      continue;
    }
    while (rest.len && span_split(&rest, ',', &item)) {
      enum err e = add_item(setting, id, span_trim(item), NULL, list, why);
      if (e) return e;
    }
  }
  return ERR_OK;
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
  origin->failed = false;
}

void config__set(struct config__setting *setting, enum config_option_id id, const struct config__input *in) {
  char name[CONFIG__NAME_MAX];
  struct why why = {""};
  enum err e;
  forget_value(setting->config, id, in);
  if (config__is_list(config__options[id].type)) {
    e = read_list(setting, id, in, &why);
  } else if (in->array || in->count != 1) {
    why_set(&why, "takes one value, not a list");
    e = ERR_FORMAT;
  } else {
    e = read_scalar(setting, id, in, &why);
  }
  if (!e) e = config__check_value(setting->config, id, &why);
  if (!e) return;
  setting->config->origins[id].failed = true;
  config__error(setting->errors, in->where, config__dotted(id, name), "%s", why.text);
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
