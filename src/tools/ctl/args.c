// Takes wahookctl's command line apart by the table of verbs, and prints its help. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <string.h>

struct walk {
  struct ctl *ctl;
  char **argv;
  int argc, next;
  const char *group; // the first word, while the verb is not complete
};

const char *ctl_flag(const struct ctl *ctl, const char *name) {
  for (unsigned i = ctl->given_count; i > 0; i--)
    if (strcmp(ctl->given[i - 1].name, name) == 0) return ctl->given[i - 1].value;
  return NULL;
}

const char *ctl_argument(const struct ctl *ctl, unsigned index) {
  return index < ctl->argument_count ? ctl->arguments[index] : NULL;
}

// ---------------------------------------------------------------- help

static void help_line(FILE *to, const struct ctl_verb *v) {
  char usage[80];
  snprintf(usage, sizeof usage, "%s%s%s%s%s%s", v->group, v->name ? " " : "", v->name ? v->name : "", *v->arguments ? " " : "",
           v->arguments, v->flags->name ? " ..." : "");
  fprintf(to, "  %-34s %s\n", usage, v->help);
}

static void help_verb(FILE *to, const struct ctl_verb *v) {
  fprintf(to, "Usage: wahookctl [-c FILE] [-o json] %s%s%s%s%s%s\n\n%s\n", v->group, v->name ? " " : "", v->name ? v->name : "",
          *v->arguments ? " " : "", v->arguments, v->flags->name ? " [FLAGS]" : "", v->help);
  if (v->flags->name) fputc('\n', to);
  for (const struct ctl_flag *f = v->flags; f->name; f++) {
    char usage[64];
    snprintf(usage, sizeof usage, "%s%s%s", f->name, f->value ? " " : "", f->value ? f->value : "");
    fprintf(to, "  %-26s %s\n", usage, f->help);
  }
}

void ctl_help(FILE *to, const char *group, const struct ctl_verb *verb) {
  if (verb) {
    help_verb(to, verb);
    return;
  }
  fprintf(to, "Usage: wahookctl [-c FILE] [-o table|json] [--SECTION-KEY=VALUE] VERB [ARGUMENTS]\n\n");
  for (unsigned i = 0; i < ctl__verb_count; i++)
    if (!group || strcmp(group, ctl__verbs[i].group) == 0) help_line(to, &ctl__verbs[i]);
  fprintf(to, "\n  -c, --config FILE     wahookd's configuration file\n"
              "  -o, --output FORM     table (for people) or json (for scripts); --json is short for -o json\n"
              "  -h, --help            this page; after a verb, that verb's\n"
              "  -v, --version         the version\n"
              "wahookd's options apply, as environment variables and flags, too: --server-state-dir=DIR. See wahookctl(1).\n");
}

// ---------------------------------------------------------------- words

static bool is_group(const char *word) {
  for (unsigned i = 0; i < ctl__verb_count; i++)
    if (ctl__verbs[i].name && strcmp(ctl__verbs[i].group, word) == 0) return true;
  return false;
}

static const struct ctl_verb *find_verb(const char *group, const char *name) {
  for (unsigned i = 0; i < ctl__verb_count; i++) {
    const struct ctl_verb *v = &ctl__verbs[i];
    if (strcmp(v->group, group) == 0 && (name ? v->name && strcmp(v->name, name) == 0 : !v->name)) return v;
  }
  return NULL;
}

static bool take_word(struct walk *w, const char *word) {
  struct ctl *ctl = w->ctl;
  if (ctl->verb) {
    ctl->arguments[ctl->argument_count++] = word;
    return true;
  }
  if (!w->group && is_group(word)) {
    w->group = word;
    return true;
  }
  ctl->verb = w->group ? find_verb(w->group, word) : find_verb(word, NULL);
  if (ctl->verb) return true;
  if (w->group)
    ctl_complain("\"%s %s\" is no verb (wahookctl %s --help lists them)", w->group, word, w->group);
  else
    ctl_complain("\"%s\" is no verb (wahookctl --help lists them)", word);
  return false;
}

// ---------------------------------------------------------------- flags

static const char *take_value(struct walk *w, const char *flag, const char *inline_value) {
  if (inline_value) return inline_value;
  if (w->next < w->argc) return w->argv[w->next++];
  ctl_complain("%s needs a value", flag);
  return NULL;
}

static bool take_output(struct walk *w, const char *value) {
  if (!value) return false;
  w->ctl->json = strcmp(value, "json") == 0;
  if (w->ctl->json || strcmp(value, "table") == 0) return true;
  ctl_complain("-o takes table or json, not \"%s\"", value);
  return false;
}

static bool take_config_file(struct walk *w, char *value) {
  static char dash_c[] = "-c";
  if (!value) return false;
  w->ctl->config_argv[w->ctl->config_argc++] = dash_c;
  w->ctl->config_argv[w->ctl->config_argc++] = value;
  return true;
}

static const struct ctl_flag *find_flag(const struct ctl_verb *verb, struct span name) {
  for (const struct ctl_flag *f = verb ? verb->flags : NULL; f && f->name; f++)
    if (span_eq(name, span_of(f->name))) return f;
  return NULL;
}

static bool take_long(struct walk *w, char *argument) {
  struct ctl *ctl = w->ctl;
  struct span name = {argument, strcspn(argument, "=")};
  char *value = argument[name.len] ? argument + name.len + 1 : NULL;
  if (span_eq(name, SPAN("--output"))) return take_output(w, take_value(w, "--output", value));
  if (span_eq(name, SPAN("--config")))
    return take_config_file(w, value               ? value
                               : w->next < w->argc ? w->argv[w->next++]
                                                   : NULL) ||
           (ctl_complain("--config needs a value"), false);
  const struct ctl_flag *flag = find_flag(ctl->verb, name);
  if (flag) {
    const char *text = flag->value ? take_value(w, flag->name, value) : "";
    if (!text) return false;
    ctl->given[ctl->given_count++] = (struct ctl_given){flag->name, text};
    return true;
  }
  // An option of wahookd has a section: --server-state-dir.
  if (memchr(argument + 2, '-', name.len - 2)) {
    ctl->config_argv[ctl->config_argc++] = argument;
    return true;
  }
  ctl_complain("unknown flag %.*s (--help after the verb lists its flags)", SPAN_FMT(name));
  return false;
}

static bool take_short(struct walk *w, char *argument) {
  char *value = argument[2] ? argument + 2 : w->next < w->argc ? w->argv[w->next] : NULL;
  bool known = argument[1] == 'c' || argument[1] == 'o';
  if (!known || !value) {
    ctl_complain(known ? "%s needs a value" : "unknown flag %s (wahookctl --help lists them)", argument);
    return false;
  }
  if (!argument[2]) w->next++;
  return argument[1] == 'c' ? take_config_file(w, value) : take_output(w, value);
}

static bool is_flag(const char *argument, const char *chr, const char *name) {
  return strcmp(argument, chr) == 0 || strcmp(argument, name) == 0;
}

static bool take_all(struct walk *w, bool *help, bool *version) {
  for (bool words_only = false; w->next < w->argc;) {
    char *argument = w->argv[w->next++];
    bool ok = true;
    if (words_only || argument[0] != '-' || !argument[1])
      ok = take_word(w, argument);
    else if (strcmp(argument, "--") == 0)
      words_only = true;
    else if (is_flag(argument, "-h", "--help"))
      *help = true;
    else if (is_flag(argument, "-v", "--version"))
      *version = true;
    else if (strcmp(argument, "--json") == 0)
      w->ctl->json = true;
    else
      ok = argument[1] == '-' ? take_long(w, argument) : take_short(w, argument);
    if (!ok) return false;
  }
  return true;
}

bool ctl_parse(struct ctl *ctl, int argc, char **argv, bool *help, bool *version) {
  struct walk w = {.ctl = ctl, .argv = argv, .argc = argc, .next = 1};
  // No part of a command line can be longer than all of it.
  ctl->arguments = xcalloc((size_t)argc + 1, sizeof *ctl->arguments);
  ctl->given = xcalloc((size_t)argc + 1, sizeof *ctl->given);
  ctl->config_argv = xcalloc((size_t)argc * 2 + 2, sizeof *ctl->config_argv);
  ctl->config_argv[ctl->config_argc++] = argv[0];
  if (!take_all(&w, help, version)) return false;
  if (*help) {
    ctl_help(stdout, w.group, ctl->verb);
    return true;
  }
  if (*version) return true;
  if (!ctl->verb) {
    ctl_help(stderr, w.group, NULL);
    return false;
  }
  const struct ctl_verb *v = ctl->verb;
  if (ctl->argument_count >= v->min && ctl->argument_count <= v->max) return true;
  ctl_complain("%s%s%s: %s (it takes: %s)", v->group, v->name ? " " : "", v->name ? v->name : "",
               ctl->argument_count < v->min ? "an argument is missing" : "too many arguments", v->arguments[0] ? v->arguments : "none");
  help_verb(stderr, v);
  return false;
}
