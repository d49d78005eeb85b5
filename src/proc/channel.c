// Framed messages between master and child over a stream socketpair: u32 type, u32 length, body. Runs in every process.
//
//   master ── DRAIN, QUIT, REOPEN ──▶ child
//   master ◀── HELLO, STATUS, FATAL ── child        end of file in either direction: the other process is gone
//
// Sending tries at once and queues the rest, so that a last word (FATAL) is out before the process exits.
#include "wahook/proc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_MAGIC  0x6368616eu
#define BODY_MAX_BYTES 65536u
#define READ_BYTES     16384u

struct proc_channel {
  uint32_t magic;
  int fd;
  uv_poll_t poll;
  struct proc_channel_events events;
  void *ctx;
  struct buf in, out;
  bool closed;  // the other end is gone, or we gave up on it; reported once
  bool closing; // proc_channel_close was called
};

struct frame {
  uint32_t type, length;
};

static void on_poll(uv_poll_t *poll, int status, int events);

enum err proc_channel_pair(int fds[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0) return ERR_IO;
  return ERR_OK;
}

static void watch(struct proc_channel *channel) {
  int events = UV_READABLE | (channel->out.len ? UV_WRITABLE : 0);
  ALWAYS(uv_poll_start(&channel->poll, events, on_poll) == 0);
}

static void gone(struct proc_channel *channel) {
  if (channel->closed) return;
  channel->closed = true;
  uv_poll_stop(&channel->poll);
  buf_clear(&channel->out);
  if (!channel->closing && channel->events.on_closed) channel->events.on_closed(channel->ctx);
}

// True unless the other end is gone.
static bool flush(struct proc_channel *channel) {
  while (channel->out.len > 0) {
    ssize_t n = send(channel->fd, channel->out.data, channel->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    buf_consume(&channel->out, (size_t)n);
  }
  return true;
}

// Hands over whole frames; false when what came cannot be a frame.
static bool deliver(struct proc_channel *channel) {
  size_t at = 0;
  bool sound = true;
  while (!channel->closing && channel->in.len - at >= sizeof(struct frame)) {
    struct frame frame;
    memcpy(&frame, channel->in.data + at, sizeof frame);
    sound = frame.length <= BODY_MAX_BYTES;
    if (!sound || channel->in.len - at - sizeof frame < frame.length) break;
    struct span body = {channel->in.data + at + sizeof frame, frame.length};
    at += sizeof frame + frame.length;
    channel->events.on_message(channel->ctx, frame.type, body);
  }
  if (at) buf_consume(&channel->in, at);
  return sound;
}

static bool receive(struct proc_channel *channel) {
  char bytes[READ_BYTES];
  for (;;) {
    ssize_t n = recv(channel->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (n == 0) return false;
    buf_add(&channel->in, bytes, (size_t)n);
    if (!deliver(channel)) return false;
    if (channel->closing || channel->closed) return true;
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  struct proc_channel *channel = poll->data;
  ALWAYS(channel->magic == CHANNEL_MAGIC);
  bool alive = status == 0;
  if (alive && (events & UV_READABLE)) alive = receive(channel);
  if (channel->closing || channel->closed) return;
  if (alive && (events & UV_WRITABLE)) alive = flush(channel);
  if (alive)
    watch(channel);
  else
    gone(channel);
}

struct proc_channel *proc_channel_open(struct loop *loop, int fd, const struct proc_channel_events *events, void *ctx) {
  struct proc_channel *channel = xcalloc(1, sizeof *channel);
  channel->magic = CHANNEL_MAGIC;
  channel->fd = fd;
  channel->events = *events;
  channel->ctx = ctx;
  ALWAYS(uv_poll_init(loop_uv(loop), &channel->poll, fd) == 0);
  channel->poll.data = channel;
  watch(channel);
  return channel;
}

void proc_channel_send(struct proc_channel *channel, uint32_t type, struct span body) {
  ALWAYS(channel->magic == CHANNEL_MAGIC && body.len <= BODY_MAX_BYTES);
  if (channel->closed || channel->closing) return;
  struct frame frame = {type, (uint32_t)body.len};
  buf_add(&channel->out, &frame, sizeof frame);
  buf_add_span(&channel->out, body);
  // A broken pipe is not reported from here: the caller may be in the middle of something; the poll sees it in the loop's next turn.
  (void)flush(channel);
  if (channel->out.len > 0) watch(channel);
}

void proc_channel_say(int fd, uint32_t type, struct span body) {
  if (body.len > BODY_MAX_BYTES) body.len = BODY_MAX_BYTES;
  struct frame frame = {type, (uint32_t)body.len};
  struct buf out = {0};
  buf_add(&out, &frame, sizeof frame);
  buf_add_span(&out, body);
  ssize_t sent = send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
  (void)sent;
  buf_free(&out);
}

void proc_channel_finish(struct proc_channel *channel) {
  ALWAYS(channel->magic == CHANNEL_MAGIC);
  if (channel->closed || channel->closing) return;
  if (!receive(channel) && !channel->closing) gone(channel);
}

static void on_poll_closed(uv_handle_t *handle) {
  struct proc_channel *channel = handle->data;
  close(channel->fd);
  buf_free(&channel->in);
  buf_free(&channel->out);
  channel->magic = 0;
  free(channel);
}

void proc_channel_close(struct proc_channel *channel) {
  if (!channel) return;
  ALWAYS(channel->magic == CHANNEL_MAGIC);
  if (channel->closing) return;
  channel->closing = true;
  uv_poll_stop(&channel->poll);
  uv_close((uv_handle_t *)&channel->poll, on_poll_closed);
}
