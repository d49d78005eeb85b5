// Configuration: one table of options (options.def), filled from defaults < file < environment < flags.
#ifndef WAHOOK_CONFIG_H
#define WAHOOK_CONFIG_H

#include "wahook/base.h"

struct config_list {
  char **items; // NUL-terminated
  size_t count;
};

// "100/minute", "5 per 10 seconds", "off" (count 0: no limit; the period is never 0).
struct config_rate {
  uint64_t count;
  int64_t period_us;
};

#define CONFIG_T_TEXT     char *
#define CONFIG_T_LIST     struct config_list
#define CONFIG_T_BOOL     bool
#define CONFIG_T_INT      int64_t
#define CONFIG_T_DURATION int64_t
#define CONFIG_T_SIZE     int64_t
#define CONFIG_T_RATE     struct config_rate
#define CONFIG_T_SECRET   char *
#define CONFIG_T_SECRETS  struct config_list
#define CONFIG_T_ENUM     char *

// Fields are section_key: config->server_bind. Texts are never NULL ("" when unset). Durations are in ms, sizes in bytes.
struct config {
  uint32_t magic;
#define OPTION(section, key, type, def, min, max, chr, flags, env, holders, help) CONFIG_T_##type section##_##key;
#include "wahook/options.def"
#undef OPTION
  char *file;                    // the configuration file that was read, "" for none
  struct config_origin *origins; // where each value came from; private, NULL in a snapshot
};

enum config_option_id {
#define OPTION(section, key, type, def, min, max, chr, flags, env, holders, help) OPT_##section##_##key,
#include "wahook/options.def"
#undef OPTION
  OPT_COUNT
};

enum config_role { CONFIG_ROLE_MASTER = 1, CONFIG_ROLE_WORKER = 2, CONFIG_ROLE_DISPATCHER = 4, CONFIG_ROLE_TOOL = 8 };

// All errors at once, one line each: "wahookd.conf:12: server.workers: ... (what to do)". Warnings likewise; they stop nothing.
struct config_errors {
  struct buf text;
  unsigned count;
  struct buf warnings;
  unsigned warning_count;
  struct config *partial; // after ERR_CONFIG: what could be read, so that config_check_daemon can add its errors
};

// What a command line asked for besides options.
struct config_command {
  const char *file;   // -c
  bool test;          // -t, --test
  bool dump;          // --dump-config
  bool help, version; // --help, --version
  const char *signal; // -s reload|stop|quit|reopen|upgrade|status
};

// Reads argv, the environment and the file, in rising order of precedence: defaults < file < environment < flags; checks every value.
// argv[0] is the program's name. Without -c, /etc/wahookd/wahookd.conf is read if it is there.
// ERR_CONFIG with all reasons in errors. `config` is freshly made, the caller frees it with config_free. command's texts are argv's.
// With --help or --version no file and no environment is read.
enum err config_load(struct config **config, struct config_command *command, int argc, char *const *argv, char *const *environ,
                     struct config_errors *errors) MUST_CHECK;
// What a daemon needs beyond valid values: secrets to check signatures with, a responder's address, an operator's listener that only this
// machine reaches... Adds to the errors of config_load. `config` may be NULL after a failed config_load: then what could be read is checked
// too, so that an operator sees everything at once.
enum err config_check_daemon(const struct config *config, struct config_errors *errors) MUST_CHECK;
void config_free(struct config *config); // wipes secrets
void config_errors_free(struct config_errors *errors);

// --help and --dump-config. The dump can be read again with -c; a secret is shown as the file: or env: reference that it came by, else as
// a comment with "***".
void config_help(struct buf *out, const char *program);
void config_dump(const struct config *config, struct buf *out);
// The commented sample file (etc/wahookd.conf is checked against it).
void config_sample(struct buf *out);

// Hands a role what it may have: written to / read from an inherited memfd. Values that the role may not hold are left at "".
enum err config_write_snapshot(const struct config *config, enum config_role role, int fd) MUST_CHECK;
enum err config_read_snapshot(struct config **config, int fd, struct why *why) MUST_CHECK;

// Effective values of options with an "empty means" rule. They add to `out`.
unsigned config_workers(const struct config *config);
void config_store_uri(const struct config *config, struct buf *out);
void config_admin_bind(const struct config *config, struct buf *out); // nothing when it is "off"
// Whether config_load reads this environment variable: children get a snapshot and need none of them (some are secrets).
bool config_reads_variable(struct span name);

// Where an option was set, for messages: "wahookd.conf:12: server.user", "flag --workers: server.workers", "server.user" for a default.
// Adds to `out`.
void config_place(const struct config *config, enum config_option_id id, struct buf *out);

// Single values, also for tools: "30s", "500ms", "2h", "7d", plain seconds; "16KiB", "3MiB", plain bytes; "100/minute".
enum err config_parse_duration(struct span text, int64_t *out_ms) MUST_CHECK;
enum err config_parse_size(struct span text, int64_t *out_bytes) MUST_CHECK;
enum err config_parse_rate(struct span text, struct config_rate *out) MUST_CHECK;

#endif
