// What happens when a connection's time is up. Runs in workers and tools.
#include "internal.h"

// Grace first, then the body must have kept the minimum rate.
static bool body_keeps_up(const struct http__conn *conn, int64_t now_us) {
  const struct http_limits *limits = &conn->server->options.limits;
  const struct http_request *request = conn->reading;
  uint64_t rate = limits->min_body_rate ? limits->min_body_rate : 1;
  int64_t earned_us = (int64_t)(request->message.body_bytes * 1000000 / rate);
  return now_us <= request->body_started_us + limits->body_ms * 1000 + earned_us;
}

static void expire_write(struct http__conn *conn, int64_t now_us) {
  size_t queued = uv_stream_get_write_queue_size(&conn->uv.stream);
  if (queued != conn->write_seen) {
    conn->write_seen = queued;
    conn->write_progress_us = now_us;
  }
  if (now_us - conn->write_progress_us < conn->server->options.limits.write_ms * 1000) {
    http__conn_deadline(conn, HTTP__D_WRITE, now_us);
    return;
  }
  http__count(conn->server, METRIC_HTTP_TIMEOUTS, 1);
  http__conn_close(conn, HTTP__CLOSE_TIMEOUT);
}

void http__server_expire(struct http__conn *conn, enum http__deadline_kind kind, int64_t now_us) {
  struct http_request *request = conn->reading;
  if (kind == HTTP__D_WRITE) {
    expire_write(conn, now_us);
    return;
  }
  if ((kind == HTTP__D_BODY || kind == HTTP__D_RATE) && body_keeps_up(conn, now_us)) {
    http__conn_deadline(conn, HTTP__D_RATE, now_us);
    return;
  }
  if (kind != HTTP__D_LINGER) http__count(conn->server, METRIC_HTTP_TIMEOUTS, 1);
  bool said_something = request && !request->answered && request->message.head.len;
  if (!said_something) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  http__conn_deadline(conn, HTTP__D_NONE, now_us);
  http__conn_refuse(request, 408);
}
