// The command line: one table, --help is written from it. Runs in wahook-load.
#include "load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX       4096
#define DEFAULT_DURATION 10

enum option_type { OPTION_TEXT, OPTION_SECRET, OPTION_COUNT, OPTION_REAL, OPTION_FLAG, OPTION_HELP, OPTION_VERSION };

// The one table of options.
static const struct option_row {
  const char *name, *argument;
  enum option_type type;
  size_t offset;
  double max; // of a number
  const char *otherwise, *help;
} rows[] = {
#define AT(member) offsetof(struct load_options, member)
    {"target", "ADDR", OPTION_TEXT, AT(target), 0, NULL, "the server: HOST:PORT, [IPv6]:PORT or unix:PATH (required)"},
    {"path", "PATH", OPTION_TEXT, AT(path), 0, "/whatsapp_response", "path of the requests"},
    {"app-secret", "SECRET", OPTION_SECRET, AT(app_secret), 0, NULL, "sign messages with it; may be file:PATH or env:NAME"},
    {"phone", "ID,...", OPTION_TEXT, AT(phones), 0, NULL,
     "phone number ids that messages are for, dealt out to conversations; a # becomes a conversation's 8 digits"},
    {"conversations", "N", OPTION_COUNT, AT(conversations), LOAD_USERS_MAX, "100", "users who write, in turn"},
    {"get", NULL, OPTION_FLAG, AT(get), 0, NULL, "GET the path instead of posting messages"},
    {"body", "FILE", OPTION_TEXT, AT(body), 0, NULL, "post this file each time instead of messages; signed when there is a secret"},
    {"connections", "N", OPTION_COUNT, AT(connections), 1000000, "1", "keep-alive connections"},
    {"rate", "R", OPTION_REAL, AT(rate), 10000000, "0", "requests a second over them, whatever the answers do; 0: as fast as answers come"},
    {"new-rate", "C", OPTION_REAL, AT(new_rate), 100000, "0", "besides, C new connections a second with one request each"},
    {"slow", "N", OPTION_COUNT, AT(slow), 1000000, "0", "besides, N connections that send a byte of a request each second"},
    {"idle", "N", OPTION_COUNT, AT(idle), 1000000, "0", "besides, N connections that send nothing"},
    {"duration", "S", OPTION_REAL, AT(duration), 10000000, NULL, "seconds to send for (10, unless there is a count)"},
    {"count", "N", OPTION_COUNT, AT(count), LOAD_MESSAGES_MAX, NULL, "end after so many messages"},
    {"prepare", "N", OPTION_COUNT, AT(prepare), 100000000, "0", "sign the first N messages before the clock starts (32 bytes each)"},
    {"timeout", "S", OPTION_REAL, AT(timeout), 3600, "10", "seconds for a request with its connection"},
    {"retry", NULL, OPTION_FLAG, AT(retry), 0, NULL, "send a message again after 0.1 s, the same bytes, until it has its 200"},
    {"acknowledged", "FILE", OPTION_TEXT, AT(acknowledged), 0, NULL, "write the id of each message that got its 200 there"},
    {"interval", "S", OPTION_REAL, AT(interval), 3600, "0", "print the figures of each S seconds to stderr"},
    {"help", NULL, OPTION_HELP, 0, 0, NULL, "show this"},
    {"version", NULL, OPTION_VERSION, 0, 0, NULL, "show the version"},
#undef AT
};

static void print_help(void) {
  printf("usage: wahook-load --target ADDR --app-secret SECRET --phone ID [options]\n\n"
         "Posts webhooks as Meta does, each message distinct and signed, and prints one JSON object with what became of them.\n\n");
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].argument ? " " : "", rows[i].argument ? rows[i].argument : "");
    printf("  %-20s %s", left, rows[i].help);
    if (rows[i].otherwise) printf(" (%s)", rows[i].otherwise);
    putchar('\n');
  }
  printf(
      "\nA request that fails is a figure, not an error: the exit status is 0 unless nothing could be sent at all. INT and TERM end the\n"
      "run early, with the report; a second one does not wait for open requests.\n");
}

static enum err read_secret(const char *value, char **out, struct why *why) {
  struct buf text = {0};
  const char *found = value;
  if (strncmp(value, "env:", 4) == 0) found = getenv(value + 4);
  if (strncmp(value, "file:", 5) == 0) {
    found = buf_read_file(&text, value + 5, SECRET_MAX) == ERR_OK && text.len ? text.data : NULL;
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
      text.data[--text.len] = '\0';
  }
  if (found && *found) *out = xstrdup(found);
  buf_free(&text);
  if (*out) return ERR_OK;
  why_set(why, "--app-secret: there is none in %s", strchr(value, ':') ? value : "it");
  return ERR_CONFIG;
}

static enum err read_number(const struct option_row *row, const char *value, void *at, struct why *why) {
  uint64_t count = 0;
  char *end = NULL;
  double real = strtod(value, &end);
  bool good = *value >= '0' && *value <= '9' && *end == '\0' && isfinite(real) && real <= row->max;
  if (good && row->type == OPTION_COUNT) good = span_u64(span_of(value), &count) == ERR_OK;
  if (!good) {
    why_set(why, "--%s must be %s of at most %.0f", row->name, row->type == OPTION_COUNT ? "a whole number" : "a number", row->max);
    return ERR_CONFIG;
  }
  if (row->type == OPTION_COUNT)
    *(uint64_t *)at = count;
  else
    *(double *)at = real;
  return ERR_OK;
}

static enum err set(const struct option_row *row, const char *value, struct load_options *o, struct why *why) {
  void *at = (char *)o + row->offset;
  char **text = at;
  switch (row->type) {
  case OPTION_FLAG: *(bool *)at = true; return ERR_OK;
  case OPTION_COUNT:
  case OPTION_REAL: return read_number(row, value, at, why);
  case OPTION_TEXT:
  case OPTION_SECRET:
    free(*text);
    *text = NULL;
    if (row->type == OPTION_SECRET) return read_secret(value, text, why);
    *text = xstrdup(value);
    return ERR_OK;
  case OPTION_HELP: print_help(); return ERR_CANCELED;
  case OPTION_VERSION: printf("wahook-load " WAHOOK_VERSION "\n"); return ERR_CANCELED;
  }
  return ERR_CONFIG;
}

static bool good_path(const char *path) {
  for (const char *p = path; *p; p++)
    if (*p <= ' ' || *p >= 0x7f) return false;
  return path[0] == '/';
}

static enum err check(struct load_options *o, struct why *why) {
  const char *wrong = NULL;
  bool constant = o->get || o->body;
  if (!o->target) wrong = "--target is required";
  if (!good_path(o->path)) wrong = "--path must begin with / and have no spaces";
  if (o->get && o->body) wrong = "--get has no --body";
  if (!constant && (!o->app_secret || !o->phones)) wrong = "messages need --app-secret and --phone";
  if (constant && (o->acknowledged || o->retry)) wrong = "--acknowledged and --retry are for messages";
  if (!o->conversations) wrong = "--conversations must be at least 1";
  if (!o->connections && o->new_rate <= 0) wrong = "there must be --connections or a --new-rate";
  if (!o->connections && o->rate > 0) wrong = "--rate goes over --connections, and there are none";
  if (o->timeout < 0.001) wrong = "--timeout must be at least a millisecond";
  if (o->interval > 0 && o->interval < 0.001) wrong = "--interval must be at least a millisecond";
  if (!o->count && o->duration <= 0) o->duration = DEFAULT_DURATION;
  if (wrong) why_set(why, "%s", wrong);
  return wrong ? ERR_CONFIG : ERR_OK;
}

static const struct option_row *find_row(struct span name) {
  for (size_t i = 0; i < COUNT_OF(rows); i++)
    if (span_eq(name, span_of(rows[i].name))) return &rows[i];
  return NULL;
}

// --name value, --name=value, --flag
static enum err read_arguments(int argc, char **argv, struct load_options *o, struct why *why) {
  for (int i = 1; i < argc; i++) {
    struct span rest = span_of(argv[i]), name = {NULL, 0};
    const struct option_row *row = NULL;
    if (span_starts(rest, SPAN("--"))) {
      rest = span_from(rest, 2);
      span_split(&rest, '=', &name);
      row = find_row(name);
    }
    if (!row) {
      why_set(why, "unexpected argument: %s", argv[i]);
      return ERR_CONFIG;
    }
    const char *value = rest.ptr;
    if (row->argument && !value && i + 1 < argc) value = argv[++i];
    if ((row->argument != NULL) != (value != NULL)) {
      why_set(why, "--%s %s", row->name, row->argument ? "needs a value" : "takes no value");
      return ERR_CONFIG;
    }
    enum err e = set(row, value, o, why);
    if (e != ERR_OK) return e;
  }
  return check(o, why);
}

enum err load_options_read(int argc, char **argv, struct load_options *out, struct why *why) {
  struct load_options o = {0};
  enum err e = ERR_OK;
  for (size_t i = 0; i < COUNT_OF(rows) && e == ERR_OK; i++)
    if (rows[i].otherwise) e = set(&rows[i], rows[i].otherwise, &o, why);
  if (e == ERR_OK) e = read_arguments(argc, argv, &o, why);
  if (e == ERR_OK)
    *out = o;
  else
    load_options_free(&o);
  return e;
}

void load_options_free(struct load_options *o) {
  if (o->app_secret) secret_wipe(o->app_secret, strlen(o->app_secret));
  for (size_t i = 0; i < COUNT_OF(rows); i++)
    if (rows[i].type == OPTION_TEXT || rows[i].type == OPTION_SECRET) free(*(char **)(void *)((char *)o + rows[i].offset));
  *o = (struct load_options){0};
}
