// Brings the sources of a configuration together: defaults < file < environment < flags. Runs in the master and the tools.
#include "config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct load {
  struct config__setting setting;
  struct arena *arena;
  const char *file;
  bool literal_secret; // one is written out in the file
};

// ---------------------------------------------------------------- file

static void unknown_key(struct load *load, const struct config__item *item, const char *where) {
  char name[CONFIG__NAME_MAX];
  struct config__suggestion near;
  config__suggest_start(&near, item->key);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    const struct option *o = &config__options[id];
    if (span_eq(item->section, span_of(o->section))) config__suggest_offer(&near, o->key);
  }
  const char *best = config__suggest_best(&near);
  for (enum config_option_id id = 0; !best && id < OPT_COUNT; id++)
    if (span_eq(item->key, span_of(config__options[id].key))) best = config__dotted(id, name); // the right key in the wrong section
  config__error(load->setting.errors, where, NULL, "unknown option %.*s." CONFIG__SHOWN " (%s%s%s)", SPAN_FMT(item->section),
                CONFIG__SHOW(item->key), best ? "did you mean " : "wahookd.conf(5) lists all options", best ? best : "", best ? "?" : "");
}

static void note_literal_secret(struct load *load, enum config_option_id id) {
  const struct config_list *references = &load->setting.config->origins[id].references;
  for (size_t i = 0; i < references->count; i++)
    load->literal_secret |= !*references->items[i];
}

static void on_item(void *ctx, const struct config__item *item) {
  struct load *load = ctx;
  enum config_option_id id;
  char name[CONFIG__NAME_MAX];
  struct buf where = {NULL, 0, 0};
  buf_printf(&where, "%s:%u", load->file, item->line);
  struct config__input in = {.source = CONFIG_FROM_FILE,
                             .where = where.data,
                             .values = item->values,
                             .count = item->count,
                             .file = load->file,
                             .lines = item->lines,
                             .array = item->array,
                             .bare = item->bare};
  if (!config__find_key(item->section, item->key, &id)) {
    unknown_key(load, item, where.data);
  } else if (load->setting.config->origins[id].source == CONFIG_FROM_FILE) {
    config__error(load->setting.errors, where.data, config__dotted(id, name), "is set twice (also at %s; remove one)",
                  load->setting.config->origins[id].where);
  } else if (item->broken) {
    config__set_broken(&load->setting, id, &in);
  } else {
    config__set(&load->setting, id, &in);
    note_literal_secret(load, id);
  }
  buf_free(&where);
}

// Nothing is known of what stands in it, so that nothing is missed that the other sources do not have.
static void give_up_file(struct load *load) {
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    load->setting.config->origins[id].failed = true;
}

static void parse_file(struct load *load, const char *path, struct span text) {
  load->file = path;
  free(load->setting.config->file);
  load->setting.config->file = *path == '/' ? xstrdup(path) : realpath(path, NULL);
  if (!load->setting.config->file) load->setting.config->file = xstrdup(path);
  if (!config__parse(text, path, load->arena, load->setting.errors, on_item, load)) give_up_file(load);
}

static void read_file(struct load *load, const char *asked) {
  struct config_errors *errors = load->setting.errors;
  struct buf text = {NULL, 0, 0};
  const char *path = asked ? asked : CONFIG__DEFAULT_FILE;
  struct stat st;
  struct why why;
  enum err e = config__read_file(&text, path, CONFIG__FILE_MAX, &why);
  if (e == ERR_NOT_FOUND && !asked) goto out;
  if (e) {
    config__error(errors, path, NULL, "cannot read it: %s (name a file with -c that the user who starts wahookd may read)", why.text);
    give_up_file(load);
  } else {
    parse_file(load, path, buf_span(&text));
  }
  if (load->literal_secret && stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH)))
    config__warning(errors, path, NULL, "holds secrets, and every user of this machine can read it (chmod 640 it, or use file: and env:)");
  if (text.data) explicit_bzero(text.data, text.cap);
out:
  buf_free(&text);
}

// ---------------------------------------------------------------- environment

// Names of the replaced service that have no meaning here.
static const struct {
  const char *name, *hint;
} ignored_variables[] = {
    {"GUNICORN_CMD_ARGS", "use wahookd's own options"},
};

static void set_from_variable(struct load *load, enum config_option_id id, const char *name, const char *value, bool old_name) {
  struct why where;
  struct span whole = span_of(value);
  struct config__input in = {.source = CONFIG_FROM_ENVIRONMENT, .where = where.text, .values = &whole, .count = 1};
  why_set(&where, "environment variable %s", name);
  // An old name holds one secret as it is, whatever characters it has; ours may hold several.
  in.split = !old_name;
  in.alias = name;
  if (!old_name && config__is_list(config__options[id].type) && config__parse_array(whole, load->arena, &in.values, &in.count)) {
    in.array = true;
    in.alias = NULL;
  }
  config__set(&load->setting, id, &in);
}

// Old names of a list's option all count (WHATSAPP_APP_SECRET and META_APP_SECRET: two apps); of another option the first one does.
static void read_aliases(struct load *load, enum config_option_id id) {
  const struct option *o = &config__options[id];
  struct span values[8];
  char first[CONFIG__NAME_MAX] = "";
  size_t count = 0;
  const char *rest = o->env;
  for (struct span alias; config__next_alias(&rest, &alias);) {
    const char *value = config__getenv(load->setting.environ, alias);
    if (!value || !*value || (count && !config__is_list(o->type)) || count == COUNT_OF(values)) continue;
    values[count++] = span_of(value);
    if (count == 1) ALWAYS(!span_copy(alias, first, sizeof first));
  }
  if (count == 1) set_from_variable(load, id, first, values[0].ptr, true);
  if (count < 2) return;
  struct why where;
  why_set(&where, "environment variable %s and its aliases", first);
  config__set(
      &load->setting, id,
      &(struct config__input){.source = CONFIG_FROM_ENVIRONMENT, .where = where.text, .values = values, .count = count, .array = true});
}

// A variable that begins like an option's and is none: a slip of the pen that would go unnoticed.
static void check_unknown_variable(struct load *load, struct span name) {
  if (!span_starts(name, SPAN("WAHOOK_")) || config_reads_variable(name)) return;
  bool ours = false;
  struct config__suggestion near;
  config__suggest_start(&near, name);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    char variable[CONFIG__NAME_MAX];
    config__suggest_offer(&near, config__variable(id, variable));
    size_t prefix = strlen("WAHOOK_") + strlen(config__options[id].section) + 1;
    ours |= span_starts(name, (struct span){variable, prefix});
  }
  const char *best = config__suggest_best(&near);
  struct why where;
  why_set(&where, "environment variable %.*s", SPAN_FMT(name));
  if (ours)
    config__error(load->setting.errors, where.text, NULL, "unknown option (%s%s%s)",
                  best ? "did you mean " : "wahookd.conf(5) lists all options", best ? best : "", best ? "?" : "");
}

static void read_environment(struct load *load) {
  char *const *environ = load->setting.environ;
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    char name[CONFIG__NAME_MAX];
    const char *value = config__getenv(environ, span_of(config__variable(id, name)));
    if (value && *value)
      set_from_variable(load, id, name, value, false);
    else // an empty variable is how compose files say "not set"
      read_aliases(load, id);
  }
  for (char *const *entry = environ; entry && *entry; entry++)
    check_unknown_variable(load, (struct span){*entry, strcspn(*entry, "=")});
  for (size_t i = 0; i < COUNT_OF(ignored_variables); i++) {
    const char *value = config__getenv(environ, span_of(ignored_variables[i].name));
    if (value && *value)
      config__warning(load->setting.errors, ignored_variables[i].name, NULL, "is ignored: %s", ignored_variables[i].hint);
  }
}

// ---------------------------------------------------------------- all of them

static void apply_arguments(struct load *load, const struct config__arguments *arguments) {
  for (size_t i = 0; i < arguments->count; i++) {
    const struct config__argument *a = &arguments->items[i];
    struct config__input in = {.source = CONFIG_FROM_FLAG, .where = a->where, .values = &a->value, .count = 1, .split = true};
    config__set(&load->setting, a->id, &in);
  }
}

enum err config_load(struct config **config, struct config_command *command, int argc, char *const *argv, char *const *environ,
                     struct config_errors *errors) {
  struct arena arena;
  arena_init(&arena, 65536, 0);
  struct load load = {.setting = {.config = config__new(), .environ = environ, .errors = errors}, .arena = &arena};
  struct config__arguments arguments = {NULL, 0};
  struct config_command asked = {.file = NULL};
  unsigned before = errors->count;
  config__arguments(argc, argv, &arena, &asked, &arguments, errors);
  if (!asked.help && !asked.version) {
    read_file(&load, asked.file);
    read_environment(&load);
    apply_arguments(&load, &arguments);
  }
  arena_free(&arena);
  *command = asked; // also after an error: --help and -t decide what the program prints
  if (errors->count > before) {
    config_free(errors->partial);
    errors->partial = load.setting.config;
    return ERR_CONFIG;
  }
  *config = load.setting.config;
  return ERR_OK;
}
