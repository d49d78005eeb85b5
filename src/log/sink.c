// Opens, reopens and writes log targets: stderr, syslog, files. Runs in every process.
#include "log/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

static enum err open_file(const char *path, int *out, struct why *why) {
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
  if (fd < 0) {
    why_set(why, "cannot open the log file %s: %s", path, strerror(errno));
    return ERR_IO;
  }
  *out = fd;
  return ERR_OK;
}

enum err log__sink_open(const char *target, struct sink *out, struct why *why) {
  struct sink sink = {.fd = -1};
  if (!target || !*target || strcmp(target, "off") == 0) {
    sink.kind = SINK_OFF;
  } else if (strcmp(target, "stderr") == 0 || strcmp(target, "-") == 0) { // "-" is gunicorn's word
    sink.kind = SINK_STDERR;
  } else if (strcmp(target, "syslog") == 0) {
    sink.kind = SINK_SYSLOG;
  } else {
    enum err err = open_file(target, &sink.fd, why);
    if (err != ERR_OK) return err;
    sink.kind = SINK_FILE;
    sink.path = xstrdup(target);
  }
  *out = sink;
  return ERR_OK;
}

void log__sink_close(struct sink *sink) {
  if (sink->kind == SINK_FILE) close(sink->fd);
  free(sink->path);
  *sink = (struct sink){.fd = -1};
}

enum err log__sink_reopen(struct sink *sink, struct why *why) {
  if (sink->kind != SINK_FILE) return ERR_OK;
  int fd = -1;
  enum err err = open_file(sink->path, &fd, why);
  if (err != ERR_OK) return err;
  close(sink->fd);
  sink->fd = fd;
  return ERR_OK;
}

void log__sink_write(const struct sink *sink, int priority, const struct buf *line) {
  if (sink->kind == SINK_SYSLOG) {
    syslog(priority, "%.*s", (int)line->len - 1, line->data);
    return;
  }
  if (sink->kind == SINK_OFF) return;
  int fd = sink->kind == SINK_FILE ? sink->fd : STDERR_FILENO;
  // A line that cannot be written (disk full, nobody reads the pipe) is lost: logging never holds the work up.
  while (write(fd, line->data, line->len) < 0 && errno == EINTR)
    ;
}
