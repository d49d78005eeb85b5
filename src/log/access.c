// The access log: one line per answered request. Runs in every process that serves HTTP.
#include "log/sink.h"

#include <syslog.h>

#define PATH_MAX_LOGGED  512
#define AGENT_MAX_LOGGED 256

static struct span cut(struct span s, size_t max) {
  if (!s.ptr) return SPAN("");
  if (s.len > max) s.len = max;
  return s;
}

static void render_json(struct log_state *s, const struct log_access *a, const char *time) {
  struct json_writer w;
  json_start(&w, &s->line);
  json_open(&w, NULL, '{');
  json_put_string(&w, "time", time);
  json_put_string(&w, "level", "access");
  if (s->role[0]) json_put_string(&w, "role", s->role);
  if (a->request_id && a->request_id[0]) json_put_text(&w, "request", cut(span_of(a->request_id), 64));
  json_put_text(&w, "peer", cut(a->peer, 64));
  json_put_text(&w, "method", cut(a->method, 16));
  json_put_text(&w, "path", cut(a->path, PATH_MAX_LOGGED));
  json_put_i64(&w, "status", a->status);
  json_put_u64(&w, "request_bytes", a->request_bytes);
  json_put_u64(&w, "response_bytes", a->response_bytes);
  json_put_i64(&w, "duration_us", a->duration_us);
  json_put_text(&w, "user_agent", cut(a->user_agent, AGENT_MAX_LOGGED));
  json_close(&w, '}');
}

// time access role peer "method path" status request-bytes response-bytes seconds "user agent" request-id
static void render_text(struct log_state *s, const struct log_access *a, const char *time) {
  struct buf *line = &s->line;
  if (s->access.kind != SINK_SYSLOG) buf_printf(line, "%s access ", time);
  if (s->role[0]) buf_printf(line, "%s ", s->role);
  log__escape(line, a->peer.len ? a->peer : SPAN("-"), 64, true);
  buf_add_text(line, " \"");
  log__escape(line, a->method.len ? a->method : SPAN("-"), 16, true);
  buf_add_byte(line, ' ');
  log__escape(line, a->path.len ? a->path : SPAN("-"), PATH_MAX_LOGGED, true);
  buf_printf(line, "\" %d %llu %llu %.6f \"", a->status, (unsigned long long)a->request_bytes, (unsigned long long)a->response_bytes,
             (double)a->duration_us / 1e6);
  log__escape(line, a->user_agent, AGENT_MAX_LOGGED, true);
  buf_add_text(line, "\" ");
  log__escape(line, span_of(a->request_id && a->request_id[0] ? a->request_id : "-"), 64, true);
}

void log_access(const struct log_access *access) {
  if (!log_access_enabled()) return;
  char time[25];
  clock_format_iso(clock_wall_us(), time);
  struct log_state *s = log__lock();
  buf_clear(&s->line);
  if (s->format == LOG_FORMAT_JSON)
    render_json(s, access, time);
  else
    render_text(s, access, time);
  buf_add_byte(&s->line, '\n');
  log__sink_write(&s->access, LOG_INFO, &s->line);
  log__unlock();
}
