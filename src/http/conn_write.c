// A connection's way out: answers in order, tried at once, the rest when the socket takes it; then the polite end. Runs in workers and
// tools.
#include <string.h>

#include "internal.h"

#define CONTINUE_TEXT "HTTP/1.1 100 Continue\r\n\r\n"
#define BATCH_MAX     16 // answers per writev
#define QUEUED_MAX    4  // buffers that uv_write keeps without allocating

// What the front of the queue has to say; its total in *bytes.
static unsigned gather(const struct http__conn *conn, uv_buf_t bufs[static BATCH_MAX], size_t *bytes) {
  unsigned n = 0;
  *bytes = 0;
  for (struct http_request *request = conn->first; request && n + 2 <= BATCH_MAX; request = request->next) {
    if (request->interim_left) {
      size_t said = sizeof CONTINUE_TEXT - 1 - request->interim_left;
      static char text[] = CONTINUE_TEXT;
      bufs[n++] = uv_buf_init(text + said, request->interim_left);
      *bytes += request->interim_left;
    }
    if (!request->answered) break;
    if (request->out.len > request->sent) {
      bufs[n++] = uv_buf_init(request->out.data + request->sent, (unsigned)(request->out.len - request->sent));
      *bytes += request->out.len - request->sent;
    }
    if (request->close_after) break;
  }
  return n;
}

static void advance(struct http__conn *conn, size_t bytes) {
  http__count(conn->server, METRIC_HTTP_BYTES_OUT, bytes);
  for (struct http_request *request = conn->first; request && bytes; request = request->next) {
    size_t interim = bytes < request->interim_left ? bytes : request->interim_left;
    request->interim_left = (uint8_t)(request->interim_left - interim);
    bytes -= interim;
    size_t answer = bytes < request->out.len - request->sent ? bytes : request->out.len - request->sent;
    request->sent += answer;
    bytes -= answer;
  }
}

// Requests that are answered and gone leave the queue. False when the last one ended the connection.
static bool retire(struct http__conn *conn) {
  while (conn->first && conn->first->answered && conn->first->sent == conn->first->out.len && conn->first != conn->reading) {
    struct http_request *request = conn->first;
    bool closes = request->close_after;
    conn->first = request->next;
    if (!conn->first) conn->last = NULL;
    conn->depth--;
    http__request_free(request);
    if (!closes) continue;
    http__conn_finish(conn);
    return false;
  }
  return true;
}

static void on_written(uv_write_t *write, int status) {
  struct http__conn *conn = write->data;
  ALWAYS(conn->magic == HTTP__CONN_MAGIC);
  size_t bytes = conn->write_pending;
  conn->write_pending = 0;
  if (conn->state == HTTP__C_CLOSING) return;
  if (status < 0) {
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return;
  }
  http__deadline_set(&conn->server->deadlines, &conn->write_deadline, HTTP__D_NONE, 0);
  advance(conn, bytes);
  http__conn_pump(conn);
}

// The socket did not take everything: libuv keeps a few buffers and tells when they are gone.
static bool queue_rest(struct http__conn *conn) {
  uv_buf_t bufs[BATCH_MAX];
  size_t bytes;
  unsigned n = gather(conn, bufs, &bytes);
  if (n > QUEUED_MAX) n = QUEUED_MAX;
  bytes = 0;
  for (unsigned i = 0; i < n; i++)
    bytes += bufs[i].len;
  conn->write.data = conn;
  conn->write_pending = bytes;
  if (uv_write(&conn->write, &conn->uv.stream, bufs, n, on_written) != 0) {
    conn->write_pending = 0;
    http__conn_close(conn, HTTP__CLOSE_PEER);
    return false;
  }
  conn->write_seen = uv_stream_get_write_queue_size(&conn->uv.stream);
  conn->write_progress_us = loop_now_us(conn->server->loop);
  http__conn_deadline(conn, HTTP__D_WRITE, conn->write_progress_us);
  return true;
}

static bool is_handling(const struct http__conn *conn) {
  for (const struct http_request *request = conn->first; request; request = request->next)
    if (request->stage == HTTP__S_HANDLING && !request->answered) return true;
  return false;
}

bool http__conn_flush(struct http__conn *conn) {
  if (conn->state == HTTP__C_LINGERING || conn->state == HTTP__C_CLOSING) return false;
  while (!conn->write_pending) {
    uv_buf_t bufs[BATCH_MAX];
    size_t bytes;
    if (!retire(conn)) return false;
    unsigned n = gather(conn, bufs, &bytes);
    if (n == 0) break;
    http__conn_set(conn, HTTP__C_WRITING);
    int written = uv_try_write(&conn->uv.stream, bufs, n);
    if (written < 0 && written != UV_EAGAIN) {
      http__conn_close(conn, HTTP__CLOSE_PEER);
      return false;
    }
    if (written > 0) advance(conn, (size_t)written);
    if ((written < 0 || (size_t)written < bytes) && !queue_rest(conn)) return false;
  }
  if (conn->write_pending) return true;
  if (conn->state == HTTP__C_WRITING) http__conn_set(conn, is_handling(conn) ? HTTP__C_HANDLING : HTTP__C_READING);
  if (conn->eof && conn->depth == 0 && conn->stash.len == 0) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return false;
  }
  return true;
}

// Closing a socket with unread bytes resets it, and a reset may take the answer away before it was read (RFC 9112 section 9.6):
// so say that nothing more comes, then read and drop for a while.
void http__conn_finish(struct http__conn *conn) {
  uv_os_fd_t fd;
  if (conn->eof || (conn->client_closes && conn->lingered == 0) || uv_fileno(&conn->uv.handle, &fd) != 0 || shutdown(fd, SHUT_WR) != 0) {
    http__conn_close(conn, HTTP__CLOSE_DONE);
    return;
  }
  for (struct http_request *request = conn->first; request; request = request->next) {
    request->generation++; // they come after the last answer: nobody will read theirs
    if (request->in_work) conn->server->in_work--;
    request->in_work = false;
  }
  conn->no_more = true;
  conn->reading = NULL;
  http__conn_set(conn, HTTP__C_LINGERING);
  http__conn_deadline(conn, HTTP__D_LINGER, loop_now_us(conn->server->loop));
  http__conn_start_reading(conn);
}
