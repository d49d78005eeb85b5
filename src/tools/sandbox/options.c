// The command line: one table, --help is written from it. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECRET_MAX 4096

enum option_type { OPTION_TEXT, OPTION_SECRET, OPTION_SECRETS, OPTION_SWITCH, OPTION_HELP, OPTION_VERSION };

// The one table of options.
static const struct option_row {
  const char *name, *argument;
  enum option_type type;
  size_t offset;
  const char *otherwise, *help;
} rows[] = {
    {"bind", "ADDR", OPTION_TEXT, offsetof(struct sandbox_options, bind), "127.0.0.1:8090", "listen on HOST:PORT, [IPv6]:PORT or :PORT"},
    {"webhook", "URL", OPTION_TEXT, offsetof(struct sandbox_options, webhook), "http://127.0.0.1:8000/whatsapp_response",
     "post webhooks there"},
    {"app-secret", "SECRET", OPTION_SECRET, offsetof(struct sandbox_options, app_secret), NULL, "sign webhooks with it (required)"},
    {"verify-token", "TOKEN", OPTION_SECRET, offsetof(struct sandbox_options, verify_token), "",
     "what POST /sandbox/verify shows the webhook"},
    {"token", "TOKEN", OPTION_SECRETS, offsetof(struct sandbox_options, tokens), NULL,
     "accept this bearer token; may be repeated; without one, any"},
    {"phone-number-id", "ID", OPTION_TEXT, offsetof(struct sandbox_options, phone_number_id), "15550001111",
     "the number that the phone writes to"},
    {"waba-id", "ID", OPTION_TEXT, offsetof(struct sandbox_options, waba_id), "100", "WhatsApp Business Account in webhooks"},
    {"statuses", "on|off", OPTION_SWITCH, offsetof(struct sandbox_options, statuses), "on", "post sent, delivered and read after a send"},
    {"help", NULL, OPTION_HELP, 0, NULL, "show this"},
    {"version", NULL, OPTION_VERSION, 0, NULL, "show the version"},
};

static void print_help(void) {
  printf("usage: wahook-sandbox [options]\n\n"
         "Meta's side of WhatsApp on your own machine: a Graph API that records what it is sent, a phone at GET /, signed webhooks.\n\n");
  for (size_t i = 0; i < COUNT_OF(rows); i++) {
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", rows[i].name, rows[i].argument ? " " : "", rows[i].argument ? rows[i].argument : "");
    printf("  %-22s %s", left, rows[i].help);
    if (rows[i].otherwise && *rows[i].otherwise) printf(" (%s)", rows[i].otherwise);
    putchar('\n');
  }
  printf(
      "\nA secret may be file:PATH or env:NAME, so that it is not seen in the process list.\n\n"
      "  GET  /                         the phone\n"
      "  POST /{version}/{phone-number-id}/messages, /media; GET /{version}/{media-id}\n"
      "  GET  /sandbox/messages?after=N what was sent, as JSON lines (kind=all: also read marks, refusals, the phone's); DELETE forgets\n"
      "  POST /sandbox/inbound          {\"text\",\"from\",\"phone_number_id\",\"name\"} or {\"message\":{...}}: a message from a phone\n"
      "  PUT  /sandbox/faults           latency_ms, error_code, http_status, error_rate, pair_limit, drop_rate, statuses; GET shows them\n"
      "  POST /sandbox/verify           the webhook's registration, as Meta does it\n"
      "  POST /v1/chat/completions, /sandbox/responder    deterministic responders; GET /sandbox/chat?after=N shows what they were "
      "asked\n");
}

static enum err read_secret(const struct option_row *row, const char *value, char **out, struct why *why) {
  if (strncmp(value, "env:", 4) == 0) {
    const char *found = getenv(value + 4);
    if (!found) {
      why_set(why, "--%s: there is no environment variable %s", row->name, value + 4);
      return ERR_CONFIG;
    }
    *out = xstrdup(found);
    return ERR_OK;
  }
  if (strncmp(value, "file:", 5) != 0) {
    *out = xstrdup(value);
    return ERR_OK;
  }
  struct buf text = {0};
  enum err err = buf_read_file(&text, value + 5, SECRET_MAX);
  if (err != ERR_OK) {
    why_set(why, "--%s: cannot read %s: %s", row->name, value + 5, err_text(err));
    buf_free(&text);
    return ERR_CONFIG;
  }
  while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
    text.len--;
  *out = text.len ? span_dup(buf_span(&text)) : xstrdup("");
  buf_free(&text);
  return ERR_OK;
}

static enum err set(const struct option_row *row, const char *value, struct sandbox_options *o, struct why *why) {
  char *text = NULL;
  char **at = (char **)(void *)((char *)o + row->offset);
  switch (row->type) {
  case OPTION_SWITCH:
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) {
      why_set(why, "--%s must be on or off", row->name);
      return ERR_CONFIG;
    }
    *(bool *)((char *)o + row->offset) = value[1] == 'n';
    return ERR_OK;
  case OPTION_SECRET:
  case OPTION_SECRETS:
    if (read_secret(row, value, &text, why) != ERR_OK) return ERR_CONFIG;
    break;
  case OPTION_TEXT: text = xstrdup(value); break;
  case OPTION_HELP:
  case OPTION_VERSION: return ERR_OK;
  }
  if (row->type != OPTION_SECRETS) {
    free(*at);
    *at = text;
  } else if (o->token_count < SANDBOX_TOKENS_MAX && *text) {
    at[o->token_count++] = text;
  } else {
    why_set(why, "--%s: %s", row->name, *text ? "too many of them" : "it is empty");
    free(text);
    return ERR_CONFIG;
  }
  return ERR_OK;
}

static const struct option_row *find_row(struct span name) {
  for (size_t i = 0; i < COUNT_OF(rows); i++)
    if (span_eq(name, span_of(rows[i].name))) return &rows[i];
  return NULL;
}

static enum err check(const struct sandbox_options *o, struct why *why) {
  struct span webhook = span_of(o->webhook);
  if (!o->app_secret || !*o->app_secret) {
    why_set(why, "--app-secret is required: webhooks are signed with it");
    return ERR_CONFIG;
  }
  if (!span_starts(webhook, SPAN("http://")) && !span_starts(webhook, SPAN("https://"))) {
    why_set(why, "--webhook must be an http:// or https:// address");
    return ERR_CONFIG;
  }
  if (*o->phone_number_id && *o->waba_id) return ERR_OK;
  why_set(why, "--phone-number-id and --waba-id must not be empty");
  return ERR_CONFIG;
}

// --name value, --name=value
static enum err read_arguments(int argc, char **argv, struct sandbox_options *o, struct why *why) {
  for (int i = 1; i < argc; i++) {
    struct span rest = span_of(argv[i]), name;
    if (!span_starts(rest, SPAN("--")) || rest.len == 2) {
      why_set(why, "unexpected argument: %s", argv[i]);
      return ERR_CONFIG;
    }
    rest = span_from(rest, 2);
    bool joined = memchr(rest.ptr, '=', rest.len) != NULL;
    span_split(&rest, '=', &name);
    const struct option_row *row = find_row(name);
    if (!row) {
      why_set(why, "there is no option --%.*s", SPAN_FMT(name));
      return ERR_CONFIG;
    }
    if (row->type == OPTION_HELP || row->type == OPTION_VERSION) {
      if (row->type == OPTION_HELP) print_help();
      if (row->type == OPTION_VERSION) printf("wahook-sandbox " WAHOOK_VERSION "\n");
      return ERR_CANCELED;
    }
    const char *value = joined ? argv[i] + 2 + name.len + 1 : i + 1 < argc ? argv[++i] : NULL;
    if (!value) {
      why_set(why, "--%s needs a value", row->name);
      return ERR_CONFIG;
    }
    if (set(row, value, o, why) != ERR_OK) return ERR_CONFIG;
  }
  return check(o, why);
}

enum err sandbox_options_read(int argc, char **argv, struct sandbox_options *out, struct why *why) {
  struct sandbox_options o = {0};
  enum err err = ERR_OK;
  for (size_t i = 0; i < COUNT_OF(rows) && err == ERR_OK; i++)
    if (rows[i].otherwise) err = set(&rows[i], rows[i].otherwise, &o, why);
  if (err == ERR_OK) err = read_arguments(argc, argv, &o, why);
  if (err == ERR_OK)
    *out = o;
  else
    sandbox_options_free(&o);
  return err;
}

void sandbox_options_free(struct sandbox_options *o) {
  char *secrets[] = {o->app_secret, o->verify_token};
  for (size_t i = 0; i < COUNT_OF(secrets); i++)
    if (secrets[i]) secret_wipe(secrets[i], strlen(secrets[i]));
  for (unsigned i = 0; i < o->token_count; i++) {
    secret_wipe(o->tokens[i], strlen(o->tokens[i]));
    free(o->tokens[i]);
  }
  for (size_t i = 0; i < COUNT_OF(rows); i++)
    if (rows[i].type == OPTION_TEXT || rows[i].type == OPTION_SECRET) free(*(char **)(void *)((char *)o + rows[i].offset));
  *o = (struct sandbox_options){0};
}
