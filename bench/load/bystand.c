// Connections that stand about while the load is on: idle ones send nothing, slow ones a byte of a request each second. Runs in
// wahook-load.
//
// Each is visited once a second, a few each millisecond: a slow one gets its byte then, and one that the server ended is opened again. They
// have an epoll of their own, which lies in the run's like any descriptor. They come from several addresses, as those of an attack do.
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define VISIT_NS  1000000
#define VISITS    (LOAD_NS_PER_SECOND / VISIT_NS) // a second
#define AT_A_TIME 256                             // events

struct bystander {
  int fd;
  size_t sent; // bytes of the request
};

struct bystand {
  struct target target;
  struct buf request;
  struct bystander *all; // slow ones first
  uint64_t slow, count, open, opened, ended, turn;
  int64_t next_ns;
  int epoll_fd;
};

static void open_one(struct bystand *b, struct bystander *one) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = one};
  bool ours;
  one->sent = 0;
  one->fd = target_connect(&b->target, true, &ours);
  if (one->fd < 0) return;
  if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, one->fd, &event) != 0) die("epoll_ctl: error %d", errno);
  b->open++;
  b->opened++;
}

static void end_one(struct bystand *b, struct bystander *one) {
  close(one->fd);
  one->fd = -1;
  b->open--;
  b->ended++;
}

struct bystand *bystand_new(const struct target *target, struct span request, uint64_t slow, uint64_t idle) {
  struct bystand *b = xcalloc(1, sizeof *b);
  b->target = *target;
  buf_add_span(&b->request, request);
  b->slow = slow;
  b->count = slow + idle;
  b->all = xcalloc(b->count ? b->count : 1, sizeof *b->all);
  b->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (b->epoll_fd < 0) die("no descriptor for epoll: error %d", errno);
  for (uint64_t i = 0; i < b->count; i++)
    open_one(b, &b->all[i]);
  return b;
}

int bystand_fd(const struct bystand *b) {
  return b->epoll_fd;
}

// What the server says to them is not listened to; that it ends them is.
void bystand_on_events(struct bystand *b) {
  struct epoll_event events[AT_A_TIME];
  char in[4096];
  int n = epoll_wait(b->epoll_fd, events, AT_A_TIME, 0);
  for (int i = 0; i < n; i++) {
    struct bystander *one = events[i].data.ptr;
    ssize_t got;
    while ((got = recv(one->fd, in, sizeof in, 0)) > 0)
      continue;
    if (got == 0 || errno != EAGAIN) end_one(b, one);
  }
}

static void visit(struct bystand *b, struct bystander *one) {
  if (one->fd < 0) {
    open_one(b, one);
  } else if (one < b->all + b->slow) {
    ssize_t n = send(one->fd, b->request.data + one->sent % b->request.len, 1, MSG_NOSIGNAL);
    if (n > 0)
      one->sent++;
    else if (errno != EAGAIN)
      end_one(b, one);
  }
}

// Whole ones: 8000 in a second are 8 a visit; of 10 each hundredth visit has one.
static void visit_some(struct bystand *b) {
  uint64_t from = b->turn * b->count / VISITS, upto = (b->turn + 1) * b->count / VISITS;
  for (uint64_t i = from; i < upto; i++)
    visit(b, &b->all[i]);
  b->turn = (b->turn + 1) % VISITS;
}

void bystand_visit(struct bystand *b, int64_t now_ns) {
  if (!b->count || now_ns < b->next_ns) return;
  if (now_ns - b->next_ns > LOAD_NS_PER_SECOND) b->next_ns = now_ns; // the first time, or after a pause: none is visited twice
  for (; b->next_ns <= now_ns; b->next_ns += VISIT_NS)
    visit_some(b);
}

int64_t bystand_due(const struct bystand *b) {
  return b->count ? b->next_ns : INT64_MAX;
}

struct bystand_figures bystand_figures(const struct bystand *b) {
  return (struct bystand_figures){.slow = b->slow, .idle = b->count - b->slow, .open = b->open, .opened = b->opened, .ended = b->ended};
}

void bystand_free(struct bystand *b) {
  for (uint64_t i = 0; i < b->count; i++)
    if (b->all[i].fd >= 0) close(b->all[i].fd);
  close(b->epoll_fd);
  buf_free(&b->request);
  free(b->all);
  free(b);
}
