// What people read about options: --help, --dump-config and the commented sample file, all from the table. Runs in the master and the
// tools.
#include "config/options.h"

#include <stdio.h>
#include <string.h>

static const char *type_word(enum option_type type) {
  static const char *const words[] = {
      [OPTION_TEXT] = "TEXT", [OPTION_LIST] = "LIST", [OPTION_BOOL] = "yes|no",   [OPTION_INT] = "NUMBER",     [OPTION_DURATION] = "TIME",
      [OPTION_SIZE] = "SIZE", [OPTION_RATE] = "RATE", [OPTION_SECRET] = "SECRET", [OPTION_SECRETS] = "SECRET", [OPTION_ENUM] = "",
  };
  return words[type];
}

static void add_quoted(struct buf *out, const char *text) {
  buf_add_byte(out, '"');
  for (const char *p = text; *p; p++) {
    unsigned char c = (unsigned char)*p;
    if (c == '"' || c == '\\')
      buf_printf(out, "\\%c", c);
    else if (c == '\n')
      buf_add_text(out, "\\n");
    else if (c < 0x20 || c == 0x7F)
      buf_printf(out, "\\u%04x", c);
    else
      buf_add_byte(out, (char)c);
  }
  buf_add_byte(out, '"');
}

// ---------------------------------------------------------------- help

// Text in columns of 100, the first line beginning where the cursor stands.
static void add_wrapped(struct buf *out, const char *text, unsigned indent) {
  size_t column = indent;
  for (const char *word = text; *word;) {
    size_t len = strcspn(word, " ");
    if (column > indent && column + 1 + len > 100) {
      buf_printf(out, "\n%*s", (int)indent, "");
      column = indent;
    } else if (column > indent) {
      buf_add_byte(out, ' ');
      column++;
    }
    buf_add(out, word, len);
    column += len;
    word += len;
    while (*word == ' ')
      word++;
  }
  buf_add_byte(out, '\n');
}

static void help_option(struct buf *out, enum config_option_id id) {
  const struct option *o = &config__options[id];
  char name[CONFIG__NAME_MAX];
  if (o->chr)
    buf_printf(out, "  -%c, ", o->chr);
  else
    buf_add_text(out, "      ");
  buf_printf(out, "--%s", config__flag(id, name));
  const char *rest = o->flags;
  for (struct span alias; config__next_alias(&rest, &alias);)
    buf_printf(out, ", --%.*s", SPAN_FMT(alias));
  if (o->type == OPTION_ENUM)
    buf_printf(out, " %.*s", SPAN_FMT(config__choices(id)));
  else
    buf_printf(out, " %s", type_word(o->type));
  buf_printf(out, "\n%10s", "");
  struct buf text = {NULL, 0, 0};
  buf_add_text(&text, config__help_text(id));
  if (*o->def) buf_printf(&text, " (default: %s)", o->def);
  add_wrapped(out, text.data, 10);
  buf_free(&text);
}

void config_help(struct buf *out, const char *program) {
  buf_printf(out,
             "Usage: %s [-c FILE] [-t] [--dump-config] [-s reload|stop|quit|reopen|upgrade|status] [OPTIONS]\n\n"
             "  -c, --config FILE   read this file (otherwise %s, if it is there)\n"
             "  -t, --test          check the configuration, say all that is wrong, and exit\n"
             "      --dump-config   print the configuration in force as a file, and exit\n"
             "  -s, --signal VERB   tell the running daemon to reload, stop, quit, reopen or upgrade; or ask its status\n"
             "  -h, --help          this page\n"
             "  -v, --version       the version\n\n"
             "Every option below is also a key of the file ([section] key = value) and an environment variable\n"
             "(--server-workers is WAHOOK_SERVER_WORKERS). Flags win over the environment, that over the file.\n"
             "A SECRET is better given as file:PATH or env:NAME. A LIST is repeated or written with commas.\n",
             program, CONFIG__DEFAULT_FILE);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    if (id == 0 || strcmp(config__options[id].section, config__options[id - 1].section) != 0)
      buf_printf(out, "\n[%s]\n", config__options[id].section);
    help_option(out, id);
  }
}

// ---------------------------------------------------------------- dump

static void dump_list(const struct config_list *list, struct buf *out) {
  buf_add_byte(out, '[');
  for (size_t i = 0; i < list->count; i++) {
    if (i) buf_add_text(out, ", ");
    add_quoted(out, list->items[i]);
  }
  buf_add_byte(out, ']');
}

static void dump_scalar(const struct config *config, enum config_option_id id, struct buf *out) {
  const void *field = config__field(config, id);
  struct buf text = {NULL, 0, 0};
  switch (config__options[id].type) {
  case OPTION_BOOL: buf_add_text(out, *(const bool *)field ? "true" : "false"); return;
  case OPTION_INT: buf_printf(out, "%lld", (long long)*(const int64_t *)field); return;
  case OPTION_LIST: dump_list(field, out); return;
  case OPTION_DURATION: config__format_duration(*(const int64_t *)field, &text); break;
  case OPTION_SIZE: config__format_size(*(const int64_t *)field, &text); break;
  case OPTION_RATE: config__format_rate(field, &text); break;
  default: buf_add_text(&text, *(char *const *)field); break;
  }
  add_quoted(out, text.data ? text.data : "");
  buf_free(&text);
}

static bool is_reference(const char *text) {
  return span_starts(span_of(text), SPAN("file:")) || span_starts(span_of(text), SPAN("env:"));
}

// A secret comes back as the reference that it came by. One that was written out is not shown, so its line is a comment: read again, the
// dump leaves it unset rather than wrong. What has a secret's type but none in it (a store without a password) is shown.
static void dump_secret(const struct config *config, enum config_option_id id, struct buf *out) {
  const struct option *o = &config__options[id];
  const struct config_list *references = config->origins ? &config->origins[id].references : NULL;
  const void *field = config__field(config, id);
  bool set = o->type == OPTION_SECRETS ? ((const struct config_list *)field)->count > 0 : **(char *const *)field;
  bool shown = references && references->count;
  for (size_t i = 0; shown && i < references->count; i++)
    shown = *references->items[i];
  if (!set)
    buf_printf(out, "#%s = %s\n", o->key, o->type == OPTION_SECRETS ? "[]" : "\"\"");
  else if (!shown)
    buf_printf(out, "#%s = \"***\" # set, but not shown: give it as file:PATH or env:NAME\n", o->key);
  else if (o->type == OPTION_SECRET && !is_reference(references->items[references->count - 1])) {
    buf_printf(out, "%s = ", o->key);
    dump_scalar(config, id, out);
    buf_add_byte(out, '\n');
  } else {
    buf_printf(out, "%s = ", o->key);
    if (o->type == OPTION_SECRETS)
      dump_list(references, out);
    else
      add_quoted(out, references->items[references->count - 1]);
    buf_add_byte(out, '\n');
  }
}

void config_dump(const struct config *config, struct buf *out) {
  ALWAYS(config->magic == CONFIG__MAGIC);
  buf_printf(out, "# The configuration in force%s%s.\n", *config->file ? ", from " : "", config->file);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    const struct option *o = &config__options[id];
    if (id == 0 || strcmp(o->section, config__options[id - 1].section) != 0) buf_printf(out, "\n[%s]\n", o->section);
    if (config__is_secret(o->type)) {
      dump_secret(config, id, out);
      continue;
    }
    buf_printf(out, "%s = ", o->key);
    dump_scalar(config, id, out);
    if (config->origins && config->origins[id].where) buf_printf(out, " # %s", config->origins[id].where);
    buf_add_byte(out, '\n');
  }
}

// ---------------------------------------------------------------- sample

static void add_comment(struct buf *out, const char *text) {
  size_t column = 1;
  buf_add_byte(out, '#');
  for (const char *word = text; *word; word += strspn(word, " ")) {
    size_t len = strcspn(word, " ");
    if (column + 1 + len > 100) {
      buf_add_text(out, "\n#");
      column = 1;
    }
    buf_printf(out, " %.*s", (int)len, word);
    column += 1 + len;
    word += len;
  }
  buf_add_byte(out, '\n');
}

static void sample_value(struct buf *out, const struct option *o) {
  if (config__is_list(o->type)) {
    buf_add_byte(out, '[');
    if (*o->def) add_quoted(out, o->def);
    buf_add_byte(out, ']');
  } else if (o->type == OPTION_INT)
    buf_add_text(out, o->def);
  else if (o->type == OPTION_BOOL)
    buf_add_text(out, strcmp(o->def, "yes") == 0 ? "true" : "false");
  else
    add_quoted(out, o->def);
}

static void sample_option(struct buf *out, enum config_option_id id) {
  const struct option *o = &config__options[id];
  struct buf text = {NULL, 0, 0};
  char name[CONFIG__NAME_MAX];
  buf_printf(&text, "%s.", config__help_text(id));
  if (o->type == OPTION_ENUM) buf_printf(&text, " One of %.*s.", SPAN_FMT(config__choices(id)));
  add_comment(out, text.data);
  buf_clear(&text);
  buf_printf(&text, "Environment %s", config__variable(id, name));
  const char *rest = o->env;
  for (struct span alias; config__next_alias(&rest, &alias);)
    buf_printf(&text, ", %.*s", SPAN_FMT(alias));
  buf_printf(&text, "; flag %s%.*s%s--%s", o->chr ? "-" : "", o->chr ? 1 : 0, &o->chr, o->chr ? ", " : "", config__flag(id, name));
  rest = o->flags;
  for (struct span alias; config__next_alias(&rest, &alias);)
    buf_printf(&text, ", --%.*s", SPAN_FMT(alias));
  add_comment(out, text.data);
  buf_free(&text);
  buf_printf(out, "#%s = ", o->key);
  sample_value(out, o);
  buf_add_text(out, "\n\n");
}

void config_sample(struct buf *out) {
  buf_add_text(
      out,
      "# wahookd.conf: all options of wahookd with their defaults; see wahookd.conf(5).\n"
      "# Check a change with `wahookd -t`, then `systemctl reload wahookd`. Flags win over the environment, that over\n"
      "# this file. Durations: \"500ms\", \"30s\", \"5m\", \"2h\", \"7d\"; sizes: \"16KiB\", \"3MiB\"; rates: \"100/minute\", \"off\".\n"
      "# Secrets: \"file:/etc/wahookd/app-secret\" or \"env:APP_SECRET\" keep them out of this file.\n\n");
  for (enum config_option_id id = 0; id < OPT_COUNT; id++) {
    if (id == 0 || strcmp(config__options[id].section, config__options[id - 1].section) != 0)
      buf_printf(out, "[%s]\n\n", config__options[id].section);
    sample_option(out, id);
  }
  out->len--; // no blank line at the end
  out->data[out->len] = '\0';
}
