// Shared inside config/: the table of options as data, where a value came from, and how errors are told.
#ifndef WAHOOK_CONFIG_OPTIONS_H
#define WAHOOK_CONFIG_OPTIONS_H

#include "wahook/config.h"

#define CONFIG__MAGIC        0x57434647u // "WCFG"
#define CONFIG__DEFAULT_FILE "/etc/wahookd/wahookd.conf"
#define CONFIG__FILE_MAX     ((size_t)1 << 20)
#define CONFIG__SECRET_MAX   ((size_t)1 << 16)

enum option_type {
  OPTION_TEXT,
  OPTION_LIST,
  OPTION_BOOL,
  OPTION_INT,
  OPTION_DURATION,
  OPTION_SIZE,
  OPTION_RATE,
  OPTION_SECRET,
  OPTION_SECRETS,
  OPTION_ENUM
};

struct option {
  const char *section, *key;
  enum option_type type;
  const char *def;
  int64_t min, max;
  char chr;          // short flag, 0 for none
  const char *flags; // other long flags, comma-separated
  const char *env;   // other environment variables, comma-separated
  unsigned holders;  // enum config_role bits
  const char *help;
  size_t offset; // in struct config
};
extern const struct option config__options[OPT_COUNT];

// Where a value came from.
enum config_source { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENVIRONMENT, CONFIG_FROM_FLAG };
struct config_origin {
  enum config_source source;
  bool failed;                   // its value was refused: cross-checks say nothing more about it
  char *where;                   // "wahookd.conf:12", "environment variable WORKERS", "flag --workers"; NULL for a default
  struct config_list references; // of a secret: each item's "file:..." or "env:...", "" for one that was written out
};

// ---- options.c
bool config__is_list(enum option_type type);
bool config__is_secret(enum option_type type);
void *config__field(const struct config *config, enum config_option_id id);
// "server.max_requests", "WAHOOK_SERVER_MAX_REQUESTS", "server-max-requests" into a fixed field.
#define CONFIG__NAME_MAX 80
const char *config__dotted(enum config_option_id id, char out[static CONFIG__NAME_MAX]);
const char *config__variable(enum config_option_id id, char out[static CONFIG__NAME_MAX]);
const char *config__flag(enum config_option_id id, char out[static CONFIG__NAME_MAX]);
bool config__find_key(struct span section, struct span key, enum config_option_id *out);
bool config__find_flag(struct span name, enum config_option_id *out); // without "--"; '_' counts as '-'
bool config__find_short(char chr, enum config_option_id *out);
bool config__section_exists(struct span section);
// Cuts the next name off a comma-separated list of aliases.
bool config__next_alias(const char **list, struct span *name);
// The description without an ENUM's choices; the choices ("text|json") of an ENUM.
const char *config__help_text(enum config_option_id id);
struct span config__choices(enum config_option_id id);

// ---- suggest.c
// Feeds candidates, keeps the nearest to `wanted`.
struct config__suggestion {
  struct span wanted;
  char best[CONFIG__NAME_MAX];
  unsigned distance;
};
void config__suggest_start(struct config__suggestion *s, struct span wanted);
void config__suggest_offer(struct config__suggestion *s, const char *candidate);
const char *config__suggest_best(const struct config__suggestion *s); // NULL when nothing is near

// ---- errors.c
// A value in a message, shortened so that the advice behind it is never cut off:
// why_set(why, "\"" CONFIG__SHOWN "\" is wrong (do this)", CONFIG__SHOW(text)).
struct span config__clip(struct span text);
#define CONFIG__SHOWN      "%.*s%s"
#define CONFIG__SHOW(text) SPAN_FMT(config__clip(text)), config__clip(text).len < (text).len ? "..." : ""
// One line "where: option: text"; `where` and `option` may be NULL.
void config__error(struct config_errors *errors, const char *where, const char *option, const char *fmt, ...) PRINTF_LIKE(4, 5);
void config__warning(struct config_errors *errors, const char *where, const char *option, const char *fmt, ...) PRINTF_LIKE(4, 5);

// ---- value.c
enum err config__parse_bool(struct span text, bool *out) MUST_CHECK;
void config__format_duration(int64_t ms, struct buf *out);
void config__format_size(int64_t bytes, struct buf *out);
void config__format_rate(const struct config_rate *rate, struct buf *out);

// ---- parse.c
// One `key = value` of a file. Texts live as long as the arena.
struct config__item {
  struct span section, key;
  const struct span *values;
  const unsigned *lines; // of the values
  size_t count;
  bool array, bare; // [..]; written without quotes
  bool broken;      // its value makes no sense, and that has been told
  unsigned line;
};
// False when the file is no text at all: then nothing is known of what it should have set.
bool config__parse(struct span text, const char *file, struct arena *arena, struct config_errors *errors,
                   void (*on_item)(void *ctx, const struct config__item *item), void *ctx);
// ["a", "b"] as it stands in an environment variable; false when it is malformed.
bool config__parse_array(struct span text, struct arena *arena, const struct span **values, size_t *count);

// ---- set.c
struct config__setting {
  struct config *config;
  char *const *environ;
  struct config_errors *errors;
};
struct config__input {
  enum config_source source;
  const char *where;
  const struct span *values;
  size_t count;
  const char *file;      // a file's list: each value has a line of its own
  const unsigned *lines; //
  bool array;            // the values are a list's items as they are
  bool bare;             // written without quotes
  bool split;            // a single value may be a comma-separated list, of secrets too
  const char *alias;     // the environment variable that holds a secret itself: its reference; NULL for none
};
// Sets one option, replacing a value of a lower source; a list's second flag is added to the first. All that is wrong becomes errors.
void config__set(struct config__setting *setting, enum config_option_id id, const struct config__input *input);
// Notes that a source had a value that could not be read, and has been told: nothing more is said about this option.
void config__set_broken(struct config__setting *setting, enum config_option_id id, const struct config__input *input);
struct config *config__new(void); // defaults
void config__list_add(struct config_list *list, char *item);
void config__list_free(struct config_list *list);

// ---- secret.c
const char *config__getenv(char *const *environ, struct span name);
// A whole file of at most `max` bytes, added to *out; *why gets the reason alone. Pipes and the like are refused.
enum err config__read_file(struct buf *out, const char *path, size_t max, struct why *why) MUST_CHECK;
// Resolves "file:PATH" and "env:NAME". *out is the caller's (wiped by config_free); *reference is true for both forms.
enum err config__secret(struct config__setting *setting, struct span text, char **out, bool *reference, struct why *why) MUST_CHECK;

// ---- check.c
// Checks and completes (relative paths) one value that was just set.
enum err config__check_value(struct config *config, enum config_option_id id, struct why *why) MUST_CHECK;
// The same for one item that is about to join a list.
enum err config__check_item(const struct config_list *list, enum config_option_id id, char **item, struct why *why) MUST_CHECK;
// Replaces "<prefix>relative" by "<prefix>/current/directory/relative".
void config__complete_path(char **text, size_t prefix_len);

// ---- address.c
// HOST:PORT, [IPv6]:PORT, :PORT or unix:PATH; a relative unix path is completed.
enum err config__check_address(char **item, bool only_loopback, struct why *why) MUST_CHECK;
enum err config__check_network(const char *item, struct why *why) MUST_CHECK;
// Whether not both of two good addresses can be listened on: the same one, or one of them covers the other.
bool config__addresses_clash(const char *a, const char *b);
// Looks the name in a good address up, where it has one.
enum err config__resolve(const char *address, struct why *why) MUST_CHECK;

// ---- places.c: what can be told about files without opening them
// A directory that is there and may be written, or that could be made.
enum err config__check_directory_place(const char *path, struct why *why) MUST_CHECK;
// A file that may be written, or made in a directory that is there, or is `made_later`, which comes into being before it is opened.
enum err config__check_file_place(const char *path, const char *made_later, struct why *why) MUST_CHECK;
// Likewise where a unix socket shall be.
enum err config__check_socket_place(const char *path, const char *made_later, struct why *why) MUST_CHECK;
// User and group of the children: whether they exist, whether this process may become them, and whether they may write to a file or into a
// directory.
enum err config__check_user(const char *user, struct why *why) MUST_CHECK;
enum err config__check_group(const char *group, struct why *why) MUST_CHECK;
enum err config__check_users_place(const char *user, const char *group, const char *path, struct why *why) MUST_CHECK;

// ---- args.c
struct config__argument {
  enum config_option_id id;
  const char *where; // "flag --workers"
  struct span value;
};
struct config__arguments {
  struct config__argument *items;
  size_t count;
};
// Takes argv apart; texts live in the arena.
void config__arguments(int argc, char *const *argv, struct arena *arena, struct config_command *command, struct config__arguments *out,
                       struct config_errors *errors);

#endif
