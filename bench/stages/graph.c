// A send to Graph: its body, and the whole of it over loopback to a server that answers at once. Runs in bench-stages; the server in a
// child.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stages.h"
#include "wahook/outbound.h"

#define AT_ONCE 64
#define MESSAGE "{\"type\":\"text\",\"text\":{\"body\":\"0000000001 Do you still have it in green? Thanks a lot. I could come by today.\"}}"

static const struct graph_send sample = {.phone_number_id = "15550000001",
                                         .token = "EAAbench",
                                         .user = {"491700000001", 12},
                                         .message = {MESSAGE, sizeof MESSAGE - 1},
                                         .callback = {"wk-01234567-1-1", 15}};

static void write_body(void *ctx, uint64_t n) {
  struct buf *out = ctx;
  for (uint64_t i = 0; i < n; i++) {
    out->len = 0;
    if (graph_body(&sample, out) != ERR_OK) die("no body");
  }
}

// ---------------------------------------------------------------- Graph, in a child

// A request comes in one piece or two: head and body.
static void answer(int fd) {
  static const char text[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 124\r\n\r\n"
                             "{\"messaging_product\":\"whatsapp\",\"contacts\":[{\"input\":\"+491700000001\",\"wa_id\":\"491700000001\"}],"
                             "\"messages\":[{\"id\":\"wamid.1\"}]}";
  static char in[65536];
  ssize_t n = recv(fd, in, sizeof in, 0);
  if (n <= 0)
    close(fd);
  else if (in[n - 1] == '}')
    (void)send(fd, text, sizeof text - 1, MSG_NOSIGNAL);
}

static void serve(int listener) {
  int epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[64];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int n = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        answer(fd);
        continue;
      }
      event.data.fd = accept(listener, NULL, NULL);
      if (event.data.fd >= 0) epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
    }
  }
}

static pid_t start_server(unsigned *port) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 256) != 0 ||
      getsockname(fd, (struct sockaddr *)&at, &len) != 0)
    die("no server");
  *port = ntohs(at.sin_port);
  pid_t pid = fork();
  if (pid < 0) die("no process");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(fd);
  }
  close(fd);
  return pid;
}

// ---------------------------------------------------------------- sending

struct work {
  struct loop *loop;
  struct outbound *outbound;
  struct graph *graph;
  uint64_t left, flying, done;
  int64_t cpu_us;
};

static void on_sent(void *ctx, const struct graph_verdict *verdict);

static void send_more(struct work *w) {
  while (w->left && w->flying < AT_ONCE) {
    w->left--;
    w->flying++;
    graph_send(w->graph, &sample, on_sent, w);
  }
}

static void on_sent(void *ctx, const struct graph_verdict *verdict) {
  struct work *w = ctx;
  if (verdict->class != GRAPH_OK) die("Graph refused: %s", verdict->text);
  w->flying--;
  w->done++;
  send_more(w);
  if (!w->flying) loop_stop(w->loop);
}

static int64_t cpu_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void send_over_loopback(void *ctx, uint64_t n) {
  struct work *w = ctx;
  int64_t before = cpu_us();
  w->left = n;
  send_more(w);
  loop_run(w->loop);
  w->cpu_us += cpu_us() - before;
}

static void on_closed(void *ctx) {
  loop_stop(((struct work *)ctx)->loop);
}

static void stages_send(void) {
  unsigned port;
  char base[64];
  pid_t server = start_server(&port);
  snprintf(base, sizeof base, "http://127.0.0.1:%u", port);
  struct work w = {.loop = loop_new(0)};
  w.outbound = outbound_new(&(struct outbound_options){.loop = w.loop});
  w.graph = graph_new(&(struct graph_options){.outbound = w.outbound, .base_url = base, .version = "v21.0"});
  stage_time("graph: a send over loopback, 64 at once", send_over_loopback, &w);
  if (w.done) stage_tell("graph: CPU of ours of such a send", "ns CPU", (double)w.cpu_us * 1000 / (double)w.done);
  outbound_close(w.outbound, on_closed, &w);
  loop_run(w.loop);
  graph_free(w.graph);
  loop_free(w.loop);
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
}

void stages_graph(void) {
  struct buf out = {0};
  if (!stage_wanted("graph")) return;
  stage_time("graph: the body of a send", write_body, &out);
  buf_free(&out);
  stages_send();
}
