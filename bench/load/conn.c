// One connection: connects, sends a request, reads the answer, says what became of it. Runs in wahook-load.
//
//   CLOSED ──▶ CONNECTING ──▶ IDLE ──▶ WAITING ──▶ IDLE          keep-alive
//     ▲            │            │          ├─────▶ PARTING       a connection for one request: the server was asked to close it
//     └─ RESTING ◀─┴────────────┴──────────┘
//
// A server may close an idle connection at any time; then another one is opened at once, and nobody failed. When that meets a request which
// is on its way already, the request ends before the first byte of an answer came: it failed, and counts as raced. (A server that dies with
// requests in work looks the same from here.) A connection that has just been opened for its request has no such excuse.
//
// Sockets are watched edge-triggered from their connect() to their end, so that a request costs one recv(), one send() and its share of
// an epoll_wait(). A short read means that there is no more, unless the event said that the other side is done.
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utlist.h>

// In a closed loop a refused connection would be tried again at once, for ever: it pauses.
#define REST_NS 10000000

#define GONE (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

static bool has_new(const struct run *run, int64_t now_ns) {
  return run->phase == PHASE_SENDING && run->next_number < run->limit && now_ns < run->end_ns;
}

static void enter_open(struct conn *c, enum conn_state state, int64_t now_ns) {
  struct run *run = c->lane->run;
  c->state = state;
  c->until_ns = now_ns + run->timeout_ns; // one delay for all: the list stays sorted
  DL_APPEND(run->open, c);
}

static void leave_open(struct conn *c) {
  DL_DELETE(c->lane->run->open, c);
}

static void watch(struct conn *c) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(c->lane->run->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) die("epoll_ctl: error %d", errno);
}

// ---------------------------------------------------------------- without a request

// Closed, and in no list.
static void settle(struct conn *c, int64_t now_ns) {
  struct run *run = c->lane->run;
  if (c->lane->pace.rate > 0 || run->phase != PHASE_SENDING) {
    c->state = CONN_CLOSED;
    DL_APPEND(c->lane->free, c);
  } else {
    c->state = CONN_RESTING;
    c->until_ns = now_ns + REST_NS;
    DL_APPEND(run->resting, c);
  }
}

void conn_open_ahead(struct conn *c, int64_t now_ns) {
  struct run *run = c->lane->run;
  bool ours;
  c->fd = target_connect(&run->target, !c->lane->keeps, &ours);
  if (c->fd < 0) {
    run->now->unopened++;
    settle(c, now_ns);
    return;
  }
  enter_open(c, CONN_CONNECTING, now_ns);
  run->connecting++;
  watch(c);
}

// The connection is over; it has no request and is in no list. One that never served would only be closed again.
static void over(struct conn *c, int64_t now_ns) {
  bool again = c->lane->keeps && c->served && c->lane->run->phase == PHASE_SENDING;
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->served = false;
  if (again)
    conn_open_ahead(c, now_ns);
  else
    settle(c, now_ns);
}

// ---------------------------------------------------------------- outcomes

static void done(struct conn *c) {
  leave_open(c);
  c->busy = false;
  c->lane->run->busy--;
}

static void send_again(struct conn *c, int64_t now_ns) {
  if (c->lane->run->options->retry) pace_retry(&c->lane->pace, c->request.number, now_ns);
}

static void fail(struct conn *c, enum failure failure, int64_t now_ns) {
  done(c);
  c->lane->run->now->failed[failure]++;
  send_again(c, now_ns);
  over(c, now_ns);
}

static void fail_connect(struct conn *c, int error, bool ours, int64_t now_ns) {
  enum failure failure = FAILURE_REFUSED;
  if (ours)
    failure = FAILURE_LOCAL;
  else if (error == ETIMEDOUT)
    failure = FAILURE_TIMEOUT;
  else if (error == ECONNRESET)
    failure = FAILURE_RESET;
  fail(c, failure, now_ns);
}

static void count_answer(struct conn *c, int64_t now_ns) {
  struct run *run = c->lane->run;
  run->now->statuses[c->answer.status]++;
  if (c->answer.status != 200) {
    send_again(c, now_ns);
    return;
  }
  run->now->ok++;
  latency_add(&run->now->latency, (uint64_t)(now_ns - c->request.due_ns) / 1000);
  if (!run->acknowledged) return;
  struct span id = messages_id(run->messages, c->request.number);
  fwrite_unlocked(id.ptr, 1, id.len, run->acknowledged);
  putc_unlocked('\n', run->acknowledged);
}

static void begin(struct conn *c, int64_t now_ns);

// `gone`: the server has closed its side already.
static void answered(struct conn *c, bool gone, int64_t now_ns) {
  done(c);
  count_answer(c, now_ns);
  c->served = true;
  if (!c->lane->keeps) {
    if (c->asks_close && !gone)
      enter_open(c, CONN_PARTING, now_ns);
    else
      over(c, now_ns);
  } else if (gone || c->answer.closes || c->left) {
    c->lane->run->now->closed++;
    over(c, now_ns);
  } else {
    c->state = CONN_IDLE;
    if (pace_take(&c->lane->pace, has_new(c->lane->run, now_ns), now_ns, &c->request))
      begin(c, now_ns);
    else
      DL_APPEND(c->lane->free, c);
  }
}

// ---------------------------------------------------------------- reading

// The end of what the server sends; `error` 0: in good order.
static void ended(struct conn *c, int error, int64_t now_ns) {
  if (c->state == CONN_IDLE) {
    DL_DELETE(c->lane->free, c);
    c->lane->run->now->closed++;
    over(c, now_ns);
  } else if (c->state == CONN_PARTING) {
    leave_open(c);
    over(c, now_ns);
  } else if (!error && answer_end(&c->answer)) {
    answered(c, true, now_ns);
  } else if (error == ETIMEDOUT) {
    fail(c, FAILURE_TIMEOUT, now_ns);
  } else if (c->kept && !c->answer.begun) {
    fail(c, FAILURE_RACED, now_ns);
  } else {
    fail(c, error ? FAILURE_RESET : FAILURE_EOF, now_ns);
  }
}

// True when the connection waits for more.
static bool take(struct conn *c, struct span bytes, bool gone, int64_t now_ns) {
  if (c->state == CONN_PARTING) return true;
  if (c->state == CONN_IDLE) { // e.g. a 408 of a server that is tired of waiting
    ended(c, 0, now_ns);
    return false;
  }
  enum err e = answer_feed(&c->answer, &bytes);
  if (e == ERR_AGAIN) return true;
  if (e == ERR_OK && !bytes.len)
    answered(c, gone, now_ns);
  else
    fail(c, FAILURE_MALFORMED, now_ns);
  return false;
}

// False when there was nothing to read.
static bool read_some(struct conn *c, bool gone, int64_t now_ns) {
  struct run *run = c->lane->run;
  for (bool any = false;; any = true) {
    ssize_t n = recv(c->fd, run->in, sizeof run->in, 0);
    if (n < 0 && errno == EAGAIN) return any;
    if (n <= 0)
      ended(c, n < 0 ? errno : 0, now_ns);
    else if (take(c, (struct span){run->in, (size_t)n}, gone, now_ns) && ((size_t)n == sizeof run->in || gone))
      continue;
    return true;
  }
}

// ---------------------------------------------------------------- sending

// False when the connection turned out to be over.
static bool send_some(struct conn *c, bool first, int64_t now_ns) {
  struct span request = messages_request(c->lane->run->messages, c->request.number, c->asks_close);
  if (first) c->left = request.len;
  while (c->left) {
    ssize_t n = send(c->fd, request.ptr + request.len - c->left, c->left, MSG_NOSIGNAL);
    if (n < 0 && errno == EAGAIN) return true;
    if (n < 0) {
      // An early answer may lie before the reset.
      if (!read_some(c, true, now_ns)) ended(c, ECONNRESET, now_ns);
      return false;
    }
    c->left -= (size_t)n;
  }
  return true;
}

// Takes the request that stands in the connection, which is closed or idle and in no list.
static void begin(struct conn *c, int64_t now_ns) {
  struct run *run = c->lane->run;
  bool ours;
  if (!c->request.again) c->request.number = run->next_number++;
  run->now->sent++;
  run->now->again += c->request.again;
  run->busy++;
  c->busy = true;
  c->kept = c->state == CONN_IDLE;
  // Half of the connections for one request are closed by the server, half by us.
  c->asks_close = !c->lane->keeps && c->lane->turn++ % 2;
  c->left = 0;
  answer_start(&c->answer);
  enter_open(c, c->kept ? CONN_WAITING : CONN_CONNECTING, now_ns);
  if (c->kept) {
    (void)send_some(c, true, now_ns);
    return;
  }
  c->fd = target_connect(&run->target, !c->lane->keeps, &ours);
  if (c->fd >= 0)
    watch(c);
  else
    fail_connect(c, errno, ours, now_ns);
}

void conn_start_due(struct lane *lane, int64_t now_ns) {
  struct request request;
  while (lane->free && pace_take(&lane->pace, has_new(lane->run, now_ns), now_ns, &request)) {
    struct conn *c = lane->free;
    DL_DELETE(lane->free, c);
    c->request = request;
    begin(c, now_ns);
  }
}

// ---------------------------------------------------------------- events

// False when it is not connected, or not any more.
static bool connected(struct conn *c, uint32_t events, int64_t now_ns) {
  struct run *run = c->lane->run;
  int error = 0;
  socklen_t len = sizeof error;
  if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) error = errno;
  if (!error && !(events & EPOLLOUT)) return false;
  if (!c->busy) {
    leave_open(c);
    run->connecting--;
  }
  if (error) {
    if (c->busy) {
      fail_connect(c, error, false, now_ns);
    } else {
      run->now->unopened++;
      over(c, now_ns);
    }
    return false;
  }
  run->now->opened++;
  c->state = c->busy ? CONN_WAITING : CONN_IDLE;
  if (c->busy) return send_some(c, true, now_ns);
  DL_APPEND(c->lane->free, c);
  return true;
}

void conn_on_event(struct conn *c, uint32_t events, int64_t now_ns) {
  if (c->state == CONN_CONNECTING) {
    if (!connected(c, events, now_ns)) return;
  } else if (c->state == CONN_WAITING && c->left && (events & EPOLLOUT)) {
    if (!send_some(c, false, now_ns)) return;
  }
  if (events & (EPOLLIN | GONE)) read_some(c, events & GONE, now_ns);
}

void conn_expire(struct run *run, int64_t now_ns) {
  struct conn *c;
  while ((c = run->open) && c->until_ns <= now_ns) {
    if (c->busy) {
      fail(c, FAILURE_TIMEOUT, now_ns);
      continue;
    }
    leave_open(c);
    if (c->state == CONN_CONNECTING) {
      run->connecting--;
      run->now->unopened++;
    }
    over(c, now_ns);
  }
  while ((c = run->resting) && c->until_ns <= now_ns) {
    DL_DELETE(run->resting, c);
    c->state = CONN_CLOSED;
    DL_APPEND(c->lane->free, c);
  }
}
