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
  config__error(load->setting.errors, where, NULL, "unknown option %.*s.%.*s (%s%s%s)", SPAN_FMT(item->section), SPAN_FMT(item->key),
                best ? "did you mean " : "wahookd.conf(5) lists all options", best ? best : "", best ? "?" : "");
}

// A text without quotes would end at a blank or '#': only words and numbers may stand bare.
static bool may_be_bare(enum option_type type) {
  return !config__is_list(type) && type != OPTION_TEXT && type != OPTION_SECRET;
}

static void note_literal_secret(struct load *load, enum config_option_id id) {
  const struct config_list *references = &load->setting.config->origins[id].references;
  for (size_t i = 0; i < references->count; i++)
    load->literal_secret |= !*references->items[i];
}

static void on_item(void *ctx, const struct config__item *item) {
  struct load *load = ctx;
  struct config_errors *errors = load->setting.errors;
  enum config_option_id id;
  char name[CONFIG__NAME_MAX];
  struct why where;
  why_set(&where, "%s:%u", load->file, item->line);
  if (!config__find_key(item->section, item->key, &id)) {
    unknown_key(load, item, where.text);
    return;
  }
  const struct config_origin *origin = &load->setting.config->origins[id];
  if (origin->source == CONFIG_FROM_FILE) {
    config__error(errors, where.text, config__dotted(id, name), "is set twice (also at %s)", origin->where);
    return;
  }
  if (item->bare && !may_be_bare(config__options[id].type)) {
    config__error(errors, where.text, config__dotted(id, name), "a text needs quotes (write %s = \"...\")", config__options[id].key);
    load->setting.config->origins[id].failed = true;
    return;
  }
  config__set(&load->setting, id,
              &(struct config__input){
                  .source = CONFIG_FROM_FILE, .where = where.text, .values = item->values, .count = item->count, .array = item->array});
  note_literal_secret(load, id);
}

static void read_file(struct load *load, const char *asked) {
  struct config_errors *errors = load->setting.errors;
  struct buf text = {NULL, 0, 0};
  const char *path = asked ? asked : CONFIG__DEFAULT_FILE;
  struct stat st;
  enum err e = buf_read_file(&text, path, CONFIG__FILE_MAX);
  if (e == ERR_NOT_FOUND && !asked) goto out;
  if (e == ERR_TOO_LARGE) {
    config__error(errors, path, NULL, "is larger than 1 MiB, so it is no configuration file");
  } else if (e) {
    config__error(errors, path, NULL, "cannot read it: %s", strerror(errno));
  } else {
    load->file = path;
    free(load->setting.config->file);
    load->setting.config->file = *path == '/' ? xstrdup(path) : realpath(path, NULL);
    if (!load->setting.config->file) load->setting.config->file = xstrdup(path);
    config__parse(buf_span(&text), path, load->arena, errors, on_item, load);
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
    {"MONGODB_URI", "businesses are in directory.store; take them over with wahookctl import"},
    {"MONGODB_DB_NAME", "businesses are in directory.store"},
    {"MONGODB_MAX_POOL_SIZE", "there is no connection pool"},
    {"MONGODB_MIN_POOL_SIZE", "there is no connection pool"},
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
