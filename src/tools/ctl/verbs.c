// The one table of wahookctl's verbs. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#define FLAGS(...) ((const struct ctl_flag[]){__VA_ARGS__, {NULL, NULL, NULL}})
#define NO_FLAGS   ((const struct ctl_flag[]){{NULL, NULL, NULL}})

static const struct ctl_flag business_flags[] = {
    {"--name", "TEXT", "its name (otherwise the id)"},
    {"--phone", "ID", "a phone number id; may be repeated"},
    {"--sub-domain", "NAME", "its subdomain"},
    {"--waba-id", "ID", "its WhatsApp business account id"},
    {"--token", "FROM", "its access token: - (stdin), file:PATH or env:NAME; stored encrypted"},
    {"--responder-type", "TYPE", "echo, http or openai, instead of the deployment's"},
    {"--responder-url", "URL", "instead of the deployment's"},
    {"--responder-model", "NAME", "instead of the deployment's"},
    {"--responder-prompt", "TEXT", "system prompt, instead of the deployment's"},
    {"--retention", "TIME", "how long its messages are kept once finished, e.g. 12h, instead of the deployment's"},
    {"--disabled", NULL, "add it disabled"},
    {"--replace", NULL, "replace a business of that id"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag seal_flags[] = {
    {"--format", "FORMAT", "sealed (default), gcm or fernet"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag rekey_flags[] = {
    {"--format", "FORMAT", "sealed, gcm or fernet for all, instead of each in its own"},
    {"--plain", NULL, "encrypt those that are plain text, too"},
    {"--dry-run", NULL, "say what would be done, write nothing"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag open_flags[] = {
    {"--yes-show-secret", NULL, "print the whole token"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag send_flags[] = {
    {"--to", "ID", "the phone number id that the message goes to"},
    {"--from", "NUMBER", "the sender's phone number (default 491700000000)"},
    {"--name", "TEXT", "the sender's profile name"},
    {"--file", "FILE", "post this payload as it is (-: stdin)"},
    {"--url", "URL", "another address than server.bind and webhook.path (http only)"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag list_flags[] = {
    {"--dead", NULL, "dead letters"},
    {"--waiting", NULL, "waiting ones; both are the default"},
    {"--done", NULL, "answered ones"},
    {"--skipped", NULL, "ones that got no answer"},
    {"--business", "ID", "of this phone number id"},
    {"--max", "N", "at most that many of each state (default 50)"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag all_flags[] = {
    {"--all-dead", NULL, "all dead letters, instead of one job"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag import_flags[] = {
    {"--batch", "N", "businesses written at once (default 5000)"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag migrate_flags[] = {
    {"--from", "URI", "where they are (default: the configured store)"},
    {"--to", "URI", "where they shall be: sqlite:PATH, mongodb://..., file:PATH, env:NAME"},
    {"--dry-run", NULL, "say what would be done, write nothing"},
    {NULL, NULL, NULL},
};

static const struct ctl_flag top_flags[] = {
    {"--interval", "SECONDS", "between two looks (default 1, at least 0.1)"},
    {"--count", "N", "stop after so many looks"},
    {NULL, NULL, NULL},
};

const struct ctl_verb ctl__verbs[] = {
    {"status", NULL, "", 0, 0, NO_FLAGS, status_run, "show how the running daemon is; exit status 1 when it is not ready"},
    {"top", NULL, "", 0, 0, top_flags, top_run, "show the same again and again, with rates; q quits, space pauses, s sorts"},
    {"check", NULL, "", 0, 0, NO_FLAGS, check_run, "test the configuration, as wahookd -t does"},
    {"business", "add", "ID", 1, 1, business_flags, business_add, "add a business"},
    {"business", "list", "", 0, 0, NO_FLAGS, business_list, "list all businesses"},
    {"business", "show", "ID", 1, 1, NO_FLAGS, business_show, "show one, by id, subdomain or phone number id"},
    {"business", "disable", "ID", 1, 1, NO_FLAGS, business_disable, "take no more messages for it"},
    {"business", "enable", "ID", 1, 1, NO_FLAGS, business_enable, "take messages for it again"},
    {"business", "remove", "ID", 1, 1, NO_FLAGS, business_remove, "delete it"},
    {"business", "set-token", "ID [FROM]", 1, 2, NO_FLAGS, business_set_token,
     "give it another access token, read from stdin, file: or env:"},
    {"business", "set-retention", "ID [TIME]", 1, 2, NO_FLAGS, business_set_retention,
     "keep its messages for TIME once they are finished; without: as the deployment does"},
    {"token", "seal", "[FROM]", 0, 1, seal_flags, token_seal_run, "encrypt a token as it is stored"},
    {"token", "open", "[FROM]", 0, 1, open_flags, token_open_run, "try to decrypt a stored token"},
    {"token", "detect", "[FROM]", 0, 1, NO_FLAGS, token_detect_run, "name the format of a stored token"},
    {"token", "rekey", "", 0, 0, rekey_flags, token_rekey_run, "encrypt all stored tokens with the first key again"},
    {"cache", "clear", "", 0, 0, NO_FLAGS, cache_clear, "make every process forget the businesses it remembers"},
    {"cache", "warmup", "", 0, 0, NO_FLAGS, cache_warmup, "make every process load the first active businesses"},
    {"queue", "list", "", 0, 0, list_flags, queue_list, "list jobs, newest first"},
    {"queue", "show", "JOB", 1, 1, NO_FLAGS, queue_show, "show a job with its answers and their delivery"},
    {"queue", "retry", "[JOB]", 0, 1, all_flags, queue_retry, "try a dead or waiting job again now"},
    {"queue", "drop", "[JOB]", 0, 1, all_flags, queue_drop, "delete a dead or waiting job"},
    {"send", NULL, "[TEXT]", 0, 1, send_flags, send_run, "post a signed test webhook to the daemon"},
    {"import", NULL, "FILE", 1, 1, import_flags, import_run, "take businesses over from JSON lines (-: stdin)"},
    {"export", NULL, "", 0, 0, NO_FLAGS, export_run, "write all businesses as JSON lines, tokens as they are stored"},
    {"migrate", NULL, "", 0, 0, migrate_flags, migrate_run, "copy all businesses to another store"},
    {"indexes", "show", "", 0, 0, NO_FLAGS, indexes_show, "list the indexes that look-ups need"},
    {"indexes", "ensure", "", 0, 0, NO_FLAGS, indexes_ensure, "make those that are missing"},
};
const unsigned ctl__verb_count = COUNT_OF(ctl__verbs);
