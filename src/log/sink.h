// Where lines go, shared by the log and the access log. Callers hold the log's lock.
#ifndef WAHOOK_LOG_SINK_H
#define WAHOOK_LOG_SINK_H

#include "wahook/log.h"

// Lines stay below PIPE_BUF: several processes may share a pipe without mixing (pipe(7)).
#define LOG_LINE_MAX 4096

enum sink_kind { SINK_OFF, SINK_STDERR, SINK_SYSLOG, SINK_FILE };

struct sink {
  enum sink_kind kind;
  int fd;     // SINK_FILE
  char *path; // SINK_FILE
};

// Opens "off", "stderr", "syslog" or a path; *out is untouched on failure.
enum err log__sink_open(const char *target, struct sink *out, struct why *why) MUST_CHECK;
void log__sink_close(struct sink *sink);
// Opens the file again by name; on failure the old descriptor stays in use.
enum err log__sink_reopen(struct sink *sink, struct why *why) MUST_CHECK;
// One write(2); `line` ends in a newline. The priority is for syslog.
void log__sink_write(const struct sink *sink, int priority, const struct buf *line);

// Appends text for people: control characters, broken UTF-8, bidirectional overrides and (inside quotes) the quote as escapes, so that
// nobody outside can end a line, forge one, or command a terminal. At most `max` input bytes, then "...".
void log__escape(struct buf *out, struct span text, size_t max, bool quoted);

// The state that both logs share (log.c).
struct log_state {
  enum log_format format;
  struct sink sink, access;
  char role[48];
  struct buf line;    // reused by every line
  struct buf message; // likewise
};
struct log_state *log__lock(void);
void log__unlock(void);

#endif
