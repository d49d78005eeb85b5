// Logging: one line per event, text for people or JSON for machines, to stderr, a file or syslog. And the access log.
#ifndef WAHOOK_LOG_H
#define WAHOOK_LOG_H

#include "wahook/base.h"

// Names as in gunicorn: debug, info, warning, error, critical.
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_CRITICAL };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_options {
  enum log_level level;
  enum log_format format;
  const char *target; // "stderr", "syslog" or a file's path
  const char *access; // "off", "stderr" (the same target rules) or a file's path
  const char *role;   // "master", "worker 0", "dispatcher", "wahookctl": part of each line; copied
};

// Sets up logging for this process; may be called again (reload). Before the first call: info and text to stderr.
// On error (a file that cannot be opened) the old state stays and *why says so.
enum err log_setup(const struct log_options *options, struct why *why) MUST_CHECK;
// Opens the files again by name (after logrotate moved them, SIGUSR1).
void log_reopen(void);
bool log_enabled(enum log_level level);
enum err log_level_parse(struct span name, enum log_level *out) MUST_CHECK; // also "warn"
const char *log_level_name(enum log_level level);

// One write(2) per line. `module` is the folder's name ("http"). The request id in force, if any, is part of the line.
void log_write(enum log_level level, const char *module, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define log_debug(module, ...)                                                                                                             \
  do {                                                                                                                                     \
    if (log_enabled(LOG_LEVEL_DEBUG)) log_write(LOG_LEVEL_DEBUG, module, __VA_ARGS__);                                                     \
  } while (0)
#define log_info(module, ...)     log_write(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_warning(module, ...)  log_write(LOG_LEVEL_WARNING, module, __VA_ARGS__)
#define log_error(module, ...)    log_write(LOG_LEVEL_ERROR, module, __VA_ARGS__)
#define log_critical(module, ...) log_write(LOG_LEVEL_CRITICAL, module, __VA_ARGS__)

// The request that the following lines of this thread belong to; NULL for none. At most 32 bytes are kept.
void log_set_request(const char *request_id);

// Says "the same again" at most once per `every_us` for each of a bounded set of keys. True when the caller shall log now;
// *suppressed counts what was held back since the last time. A static struct log_limit per call site, zero-initialised.
struct log_limit {
  struct {
    uint64_t key;
    int64_t next_us;
    uint64_t suppressed;
  } slots[64];
};
bool log_limited(struct log_limit *limit, uint64_t key, int64_t now_us, int64_t every_us, uint64_t *suppressed);

// "+4917612345678" -> "4917***78"; ids and tokens -> first 4 and length. Static size, always NUL-terminated.
#define LOG_REDACTED_MAX 48
const char *log_redact_phone(struct span phone, char out[static LOG_REDACTED_MAX]);
const char *log_redact_secret(struct span secret, char out[static LOG_REDACTED_MAX]);

// One line of the access log; the query string is not part of it (it may hold the verify token).
struct log_access {
  const char *request_id;
  struct span peer, method, path, user_agent;
  int status;
  uint64_t request_bytes, response_bytes;
  int64_t duration_us;
};
bool log_access_enabled(void);
void log_access(const struct log_access *line);

#endif
