// The table of options as data, and finding an option by any of its names. Runs in the master and the tools.
#include "config/options.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
  ROLE_M = CONFIG_ROLE_MASTER,
  ROLE_W = CONFIG_ROLE_WORKER,
  ROLE_D = CONFIG_ROLE_DISPATCHER,
  ROLE_T = CONFIG_ROLE_TOOL,
};

const struct option config__options[OPT_COUNT] = {
#define OPTION(section, key, type, def, min, max, chr, flags, env, holders, help)                                                          \
  {#section, #key, OPTION_##type, def, min, max, chr, flags, env, holders, help, offsetof(struct config, section##_##key)},
#include "wahook/options.def"
#undef OPTION
};

bool config__is_list(enum option_type type) {
  return type == OPTION_LIST || type == OPTION_SECRETS;
}

bool config__is_secret(enum option_type type) {
  return type == OPTION_SECRET || type == OPTION_SECRETS;
}

// The field behind a row of the table. The caller of a function that takes a const config only reads it.
void *config__field(const struct config *config, enum config_option_id id) {
  union {
    const struct config *in;
    char *out;
  } view = {.in = config};
  return view.out + config__options[id].offset;
}

// Joins prefix, section and key, then maps each character.
static const char *join(enum config_option_id id, const char *prefix, char between, int (*map)(int), char *out) {
  const struct option *o = &config__options[id];
  int n = snprintf(out, CONFIG__NAME_MAX, "%s%s%c%s", prefix, o->section, between, o->key);
  ALWAYS(n > 0 && n < CONFIG__NAME_MAX);
  for (char *p = out; map && *p; p++)
    *p = (char)map((unsigned char)*p);
  return out;
}

static int dashed(int c) {
  return c == '_' ? '-' : c;
}

const char *config__dotted(enum config_option_id id, char out[static CONFIG__NAME_MAX]) {
  return join(id, "", '.', NULL, out);
}

const char *config__variable(enum config_option_id id, char out[static CONFIG__NAME_MAX]) {
  return join(id, "WAHOOK_", '_', toupper, out);
}

const char *config__flag(enum config_option_id id, char out[static CONFIG__NAME_MAX]) {
  return join(id, "", '-', dashed, out);
}

bool config__find_key(struct span section, struct span key, enum config_option_id *out) {
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    if (!span_eq(section, span_of(config__options[id].section)) || !span_eq(key, span_of(config__options[id].key))) continue;
    *out = id;
    return true;
  }
  return false;
}

bool config__section_exists(struct span section) {
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    if (span_eq(section, span_of(config__options[id].section))) return true;
  return false;
}

bool config__next_alias(const char **list, struct span *name) {
  if (!**list) return false;
  size_t len = strcspn(*list, ",");
  *name = (struct span){*list, len};
  *list += len + ((*list)[len] == ',');
  return true;
}

static bool has_flag_alias(const struct option *option, struct span name) {
  const char *rest = option->flags;
  for (struct span alias; config__next_alias(&rest, &alias);)
    if (span_eq(alias, name)) return true;
  return false;
}

bool config__find_flag(struct span name, enum config_option_id *out) {
  char dashes[CONFIG__NAME_MAX], canonical[CONFIG__NAME_MAX];
  if (span_copy(name, dashes, sizeof dashes)) return false;
  for (char *p = dashes; *p; p++)
    *p = (char)dashed(*p);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    if (strcmp(dashes, config__flag(id, canonical)) != 0 && !has_flag_alias(&config__options[id], span_of(dashes))) continue;
    *out = id;
    return true;
  }
  return false;
}

bool config__find_short(char chr, enum config_option_id *out) {
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    if (!chr || config__options[id].chr != chr) continue;
    *out = id;
    return true;
  }
  return false;
}

const char *config__help_text(enum config_option_id id) {
  const struct option *o = &config__options[id];
  if (o->type != OPTION_ENUM) return o->help;
  const char *colon = strstr(o->help, ": ");
  return colon ? colon + 2 : o->help;
}

struct span config__choices(enum config_option_id id) {
  const struct option *o = &config__options[id];
  ALWAYS(o->type == OPTION_ENUM);
  return (struct span){o->help, strcspn(o->help, ":")};
}

bool config_reads_variable(struct span name) {
  char canonical[CONFIG__NAME_MAX];
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    if (span_eq(name, span_of(config__variable(id, canonical)))) return true;
    const char *rest = config__options[id].env;
    for (struct span alias; config__next_alias(&rest, &alias);)
      if (span_eq(alias, name)) return true;
  }
  return false;
}
