// Takes a command line apart: our flags by the table of options, gunicorn's by theirs. Runs in the master and the tools.
#include "config/options.h"

#include <stdlib.h>
#include <string.h>

struct reader {
  char *const *argv;
  int argc, next;
  struct arena *arena;
  struct config_command *command;
  struct config__arguments *out;
  struct config_errors *errors;
};

// gunicorn's flags that have no meaning here: a command line that worked for years shall start, and say what it left out.
static const struct {
  const char *name;
  char chr;
  bool takes_value;
  bool refused; // ignoring it would make things worse than not starting
  const char *hint;
} foreign_flags[] = {
    {"worker-class", 'k', true, false, "there is one kind of worker"},
    {"threads", 0, true, false, "a worker needs no threads for requests"},
    {"preload", 0, false, false, "there is no application to load"},
    {"reload", 0, false, false, "use SIGHUP or wahookd -s reload"},
    {"log-config", 0, true, false, "use log.format, log.level and log.target"},
    {"logger-class", 0, true, false, "use log.format, log.level and log.target"},
    {"access-logformat", 0, true, false, "the access log's form follows log.format"},
    {"capture-output", 'R', false, false, "everything is logged already"},
    {"log-syslog", 0, false, false, "use --log-target syslog"},
    {"name", 'n', true, false, "processes are named wahookd"},
    {"chdir", 0, true, false, "paths are absolute or relative to where the daemon starts"},
    {"umask", 'm', true, false, "files get the modes that they need"},
    {"worker-tmp-dir", 0, true, false, "heartbeats are in shared memory"},
    {"backlog", 0, true, false, "the kernel's somaxconn is used"},
    {"limit-request-line", 0, true, false, "the limit is 8 KiB"},
    {"limit-request-fields", 0, true, false, "the limit is 100"},
    {"limit-request-field_size", 0, true, false, "the limit is 8 KiB"},
    {"statsd-host", 0, true, false, "metrics are at /metrics and /prometheus/metrics"},
    {"env", 'e', true, true, "set the variable before starting"},
    {"certfile", 0, true, true, "TLS ends at the proxy in front; see wahookd(8)"},
    {"keyfile", 0, true, true, "TLS ends at the proxy in front; see wahookd(8)"},
    {"proxy-allow-from", 0, true, true, "use server.trusted_proxies"},
};

static void add(struct reader *r, enum config_option_id id, const char *dashes, struct span name, struct span value) {
  struct buf where = {NULL, 0, 0};
  buf_printf(&where, "flag %s%.*s", dashes, SPAN_FMT(name));
  buf_add_byte(&where, '\0');
  struct span kept = arena_copy(r->arena, buf_span(&where));
  buf_free(&where);
  struct config__argument *items = arena_alloc(r->arena, (r->out->count + 1) * sizeof *items);
  if (r->out->count) memcpy(items, r->out->items, r->out->count * sizeof *items);
  items[r->out->count++] = (struct config__argument){.id = id, .where = kept.ptr, .value = value};
  r->out->items = items;
}

// The value after a flag, for those that need one.
static bool take_next(struct reader *r, const char *dashes, struct span name, struct span *value) {
  if (r->next < r->argc) {
    *value = span_of(r->argv[r->next++]);
    return true;
  }
  config__error(r->errors, NULL, NULL, "flag %s%.*s: needs a value (write it behind the flag)", dashes, SPAN_FMT(name));
  return false;
}

// A boolean flag alone means yes; a following "no" belongs to it.
static struct span take_bool(struct reader *r) {
  bool ignored;
  if (r->next < r->argc && !config__parse_bool(span_of(r->argv[r->next]), &ignored)) return span_of(r->argv[r->next++]);
  return SPAN("yes");
}

static void take_option(struct reader *r, enum config_option_id id, const char *dashes, struct span name, struct span value) {
  if (!value.ptr) {
    if (config__options[id].type == OPTION_BOOL)
      value = take_bool(r);
    else if (!take_next(r, dashes, name, &value))
      return;
  }
  add(r, id, dashes, name, value);
}

static bool take_foreign(struct reader *r, char chr, const char *dashes, struct span name, struct span value) {
  for (size_t i = 0; i < COUNT_OF(foreign_flags); i++) {
    if (chr ? foreign_flags[i].chr != chr : !span_eq(name, span_of(foreign_flags[i].name))) continue;
    if (foreign_flags[i].takes_value && !value.ptr) (void)take_next(r, dashes, name, &value);
    struct why where;
    why_set(&where, "flag %s%.*s", dashes, SPAN_FMT(name));
    if (foreign_flags[i].refused)
      config__error(r->errors, where.text, NULL, "a flag of gunicorn that wahookd does not have (%s)", foreign_flags[i].hint);
    else
      config__warning(r->errors, where.text, NULL, "a flag of gunicorn, ignored: %s", foreign_flags[i].hint);
    return true;
  }
  return false;
}

// ---------------------------------------------------------------- what is no option of the table

enum own { OWN_NONE, OWN_FILE, OWN_TEST, OWN_DUMP, OWN_HELP, OWN_VERSION, OWN_SIGNAL };
static const struct {
  const char *name;
  char chr;
  enum own own;
} own_flags[] = {
    {"config", 'c', OWN_FILE}, {"test", 't', OWN_TEST},       {"check-config", 0, OWN_TEST}, {"dump-config", 0, OWN_DUMP},
    {"help", 'h', OWN_HELP},   {"version", 'v', OWN_VERSION}, {"signal", 's', OWN_SIGNAL},   {"print-config", 0, OWN_DUMP},
};

static enum own find_own(char chr, struct span name) {
  for (size_t i = 0; i < COUNT_OF(own_flags); i++)
    if (chr ? own_flags[i].chr == chr : span_eq(name, span_of(own_flags[i].name))) return own_flags[i].own;
  return OWN_NONE;
}

static void take_signal(struct reader *r, const char *verb) {
  static const char *const verbs[] = {"reload", "stop", "quit", "reopen", "upgrade", "status"};
  r->command->signal = verb;
  for (size_t i = 0; i < COUNT_OF(verbs); i++)
    if (strcmp(verb, verbs[i]) == 0) return;
  config__error(r->errors, NULL, NULL, "flag -s: \"%s\" is not one of reload, stop, quit, reopen, upgrade, status", verb);
}

static void take_own(struct reader *r, enum own own, const char *dashes, struct span name, struct span value) {
  if ((own == OWN_FILE || own == OWN_SIGNAL) && !value.ptr && !take_next(r, dashes, name, &value)) return;
  switch (own) {
  case OWN_FILE:
    r->command->file = value.ptr; // value is the tail of an argv text: NUL-terminated
    if (span_ends(value, SPAN(".py")))
      config__error(r->errors, value.ptr, NULL, "gunicorn's Python files cannot be read; see wahookd.conf(5)");
    return;
  case OWN_SIGNAL: take_signal(r, value.ptr); return;
  case OWN_TEST: r->command->test = true; return;
  case OWN_DUMP: r->command->dump = true; return;
  case OWN_HELP: r->command->help = true; return;
  case OWN_VERSION: r->command->version = true; return;
  case OWN_NONE: return;
  }
}

// ---------------------------------------------------------------- arguments

static void unknown_flag(struct reader *r, struct span name) {
  struct config__suggestion near;
  config__suggest_start(&near, name);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    char text[CONFIG__NAME_MAX];
    config__suggest_offer(&near, config__flag(id, text));
    const char *rest = config__options[id].flags;
    for (struct span alias; config__next_alias(&rest, &alias);)
      if (!span_copy(alias, text, sizeof text)) config__suggest_offer(&near, text);
  }
  for (size_t i = 0; i < COUNT_OF(own_flags); i++)
    config__suggest_offer(&near, own_flags[i].name);
  const char *best = config__suggest_best(&near);
  config__error(r->errors, NULL, NULL, "unknown flag --%.*s (%s%s%s)", SPAN_FMT(name), best ? "did you mean --" : "--help lists all flags",
                best ? best : "", best ? "?" : "");
}

static void take_long(struct reader *r, const char *argument) {
  struct span name = {argument + 2, strcspn(argument + 2, "=")}, value = {NULL, 0};
  enum config_option_id id;
  if (name.ptr[name.len] == '=') value = span_of(name.ptr + name.len + 1);
  enum own own = find_own(0, name);
  if (own)
    take_own(r, own, "--", name, value);
  else if (config__find_flag(name, &id))
    take_option(r, id, "--", name, value);
  else if (!take_foreign(r, 0, "--", name, value))
    unknown_flag(r, name);
}

// "-w4", "-w 4", "-tD": letters without a value may be joined.
static void take_short(struct reader *r, const char *letters) {
  for (; *letters; letters++) {
    struct span name = {letters, 1}, value = letters[1] ? span_of(letters + 1) : (struct span){NULL, 0};
    enum config_option_id id;
    enum own own = find_own(*letters, name);
    bool found = !own && config__find_short(*letters, &id);
    if (own == OWN_FILE || own == OWN_SIGNAL) {
      take_own(r, own, "-", name, value);
      return;
    }
    if (own) {
      take_own(r, own, "-", name, value);
    } else if (found && config__options[id].type == OPTION_BOOL) {
      add(r, id, "-", name, SPAN("yes"));
    } else if (found) {
      take_option(r, id, "-", name, value);
      return;
    } else if (take_foreign(r, *letters, "-", name, value)) {
      return;
    } else {
      config__error(r->errors, NULL, NULL, "unknown flag -%c (--help lists all flags)", *letters);
      return;
    }
  }
}

// gunicorn is given the application's name: app.main:app, main:create_app().
static bool looks_like_application(const char *text) {
  const char *colon = strchr(text, ':');
  return colon && colon > text &&
         strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == (size_t)(colon - text) && colon[1] &&
         !strchr("0123456789/", colon[1]);
}

static void take_word(struct reader *r, const char *word, const char *before) {
  if (looks_like_application(word))
    config__warning(r->errors, word, NULL, "gunicorn's application name, ignored: wahookd is the application");
  else if (before && strcmp(before, "-t") == 0 && strspn(word, "0123456789") == strlen(word))
    config__error(r->errors, NULL, NULL, "unexpected \"%s\": -t tests the configuration (gunicorn's timeout is --timeout here)", word);
  else
    config__error(r->errors, NULL, NULL, "unexpected \"%s\" (flags begin with a dash; --help lists them)", word);
}

void config__arguments(int argc, char *const *argv, struct arena *arena, struct config_command *command, struct config__arguments *out,
                       struct config_errors *errors) {
  struct reader r = {.argv = argv, .argc = argc, .next = 1, .arena = arena, .command = command, .out = out, .errors = errors};
  while (r.next < argc) {
    const char *argument = argv[r.next++];
    if (strncmp(argument, "--", 2) == 0 && argument[2])
      take_long(&r, argument);
    else if (argument[0] == '-' && argument[1] && argument[1] != '-')
      take_short(&r, argument + 1);
    else
      take_word(&r, argument, r.next > 2 ? argv[r.next - 2] : NULL);
  }
}
