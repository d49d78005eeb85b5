// The log: one line per event, as text or JSON, to one target. Runs in every process, from any thread.
#include "log/sink.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define MESSAGE_MAX 3000  // of a message as formatted; cut shorter when escapes make the line too long
#define KEPT_MAX    65536 // bytes kept for the next message's formatting

// The log is one for the process: who writes to it does not carry a handle around.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_state state = {.sink = {.kind = SINK_STDERR, .fd = -1}, .access = {.kind = SINK_OFF, .fd = -1}};
static _Atomic int least_level = LOG_LEVEL_INFO;
static _Atomic bool access_on;
static _Thread_local char request_in_force[33];

static const struct {
  const char *name;
  int priority;
} levels[] = {{"debug", LOG_DEBUG}, {"info", LOG_INFO}, {"warning", LOG_WARNING}, {"error", LOG_ERR}, {"critical", LOG_CRIT}};

struct log_state *log__lock(void) {
  pthread_mutex_lock(&lock);
  return &state;
}
void log__unlock(void) {
  pthread_mutex_unlock(&lock);
}

const char *log_level_name(enum log_level level) {
  return (unsigned)level < COUNT_OF(levels) ? levels[level].name : "unknown";
}

enum err log_level_parse(struct span name, enum log_level *out) {
  if (span_eq_nocase(name, SPAN("warn"))) name = SPAN("warning");
  for (unsigned i = 0; i < COUNT_OF(levels); i++) {
    if (!span_eq_nocase(name, span_of(levels[i].name))) continue;
    *out = (enum log_level)i;
    return ERR_OK;
  }
  return ERR_FORMAT;
}

enum err log_setup(const struct log_options *options, struct why *why) {
  struct sink sink, access;
  enum err err = log__sink_open(options->target && *options->target ? options->target : "stderr", &sink, why);
  if (err != ERR_OK) return err;
  err = log__sink_open(options->access, &access, why);
  if (err != ERR_OK) {
    log__sink_close(&sink);
    return err;
  }
  if (sink.kind == SINK_SYSLOG || access.kind == SINK_SYSLOG) openlog("wahookd", LOG_PID, LOG_DAEMON);
  struct log_state *s = log__lock();
  log__sink_close(&s->sink);
  log__sink_close(&s->access);
  s->sink = sink;
  s->access = access;
  s->format = options->format;
  snprintf(s->role, sizeof s->role, "%s", options->role ? options->role : "");
  atomic_store(&least_level, (int)options->level);
  atomic_store(&access_on, access.kind != SINK_OFF);
  log__unlock();
  return ERR_OK;
}

void log_reopen(void) {
  struct why why_log, why_access;
  struct log_state *s = log__lock();
  enum err err_log = log__sink_reopen(&s->sink, &why_log);
  enum err err_access = log__sink_reopen(&s->access, &why_access);
  log__unlock();
  // The one place where this folder logs: the file is its own, and the old one is still there to say so.
  if (err_log != ERR_OK) log_error("log", "%s; the old file stays in use", why_log.text);
  if (err_access != ERR_OK) log_error("log", "%s; the old file stays in use", why_access.text);
}

bool log_enabled(enum log_level level) {
  return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

bool log_access_enabled(void) {
  return atomic_load_explicit(&access_on, memory_order_relaxed);
}

void log_set_request(const char *request_id) {
  // Called before and after every handler, so without formatting.
  size_t len = request_id ? strnlen(request_id, sizeof request_in_force - 1) : 0;
  if (len) memcpy(request_in_force, request_id, len);
  request_in_force[len] = '\0';
}

static void render_text(struct log_state *s, enum log_level level, const char *module, const char *time, size_t max) {
  buf_clear(&s->line);
  if (s->sink.kind != SINK_SYSLOG) buf_printf(&s->line, "%s %-5s ", time, levels[level].name);
  if (s->role[0]) buf_printf(&s->line, "%s ", s->role);
  buf_add_text(&s->line, module);
  if (request_in_force[0]) {
    buf_add_text(&s->line, " [");
    log__escape(&s->line, span_of(request_in_force), sizeof request_in_force, false);
    buf_add_byte(&s->line, ']');
  }
  buf_add_text(&s->line, ": ");
  log__escape(&s->line, buf_span(&s->message), max, false);
  buf_add_byte(&s->line, '\n');
}

static void render_json(struct log_state *s, enum log_level level, const char *module, const char *time, size_t max) {
  struct span message = buf_span(&s->message);
  if (message.len > max) message.len = max; // a character cut in two becomes U+FFFD
  struct json_writer w;
  buf_clear(&s->line);
  json_start(&w, &s->line);
  json_open(&w, NULL, '{');
  json_put_string(&w, "time", time);
  json_put_string(&w, "level", levels[level].name);
  if (s->role[0]) json_put_string(&w, "role", s->role);
  json_put_string(&w, "module", module);
  if (request_in_force[0]) json_put_string(&w, "request", request_in_force);
  json_put_text(&w, "message", message.ptr ? message : SPAN(""));
  json_close(&w, '}');
  buf_add_byte(&s->line, '\n');
}

void log_write(enum log_level level, const char *module, const char *fmt, ...) {
  ALWAYS((unsigned)level < COUNT_OF(levels));
  if (!log_enabled(level)) return;
  char time[25];
  clock_format_iso(clock_wall_us(), time);
  struct log_state *s = log__lock();
  if (s->sink.kind != SINK_OFF) {
    va_list ap;
    va_start(ap, fmt);
    buf_clear(&s->message);
    buf_vprintf(&s->message, fmt, ap);
    va_end(ap);
    size_t max = MESSAGE_MAX;
    do {
      if (s->format == LOG_FORMAT_JSON)
        render_json(s, level, module, time, max);
      else
        render_text(s, level, module, time, max);
      max /= 2;
    } while (s->line.len > LOG_LINE_MAX && max > 0);
    log__sink_write(&s->sink, levels[level].priority, &s->line);
    if (s->message.cap > KEPT_MAX) buf_free(&s->message);
  }
  log__unlock();
}
