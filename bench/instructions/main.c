// bench-instructions: a worker's intake in one process, fed in batches of fixed size, so that callgrind counts the same instructions each
// time. A program of its own; bench/instructions/count runs it under callgrind, which collects within serve_batch() only.
//   bench-instructions FOLDER BATCHES
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "wahook/log.h"
#include "wahook/webhook.h"

#define BATCH 16 // connections, each with one request at a time
#define WORKS "--server-bind=127.0.0.1:1", "--webhook-app-secrets=" SECRET, "--limits-business=1000000/second"

#define SECRET "bench-app-secret"
#define PHONE  "15550000000"

struct world {
  struct loop *loop;
  struct shm shm;
  struct limiter *limiter;
  struct directory *directory;
  struct webhook *webhook;
  struct journal *journal;
  struct http_server *server;
  struct config *config;
  struct messages *messages;
  struct http_route routes[WEBHOOK_ROUTES_MAX];
  int clients[BATCH];
  unsigned answered;
  uint64_t next;
};

// What is counted: from the requests that lie in the sockets to their answers. Not inlined: callgrind knows it by name.
__attribute__((noipa)) void serve_batch(struct world *w);
void serve_batch(struct world *w) {
  w->answered = 0;
  loop_run(w->loop);
}

static void on_answered(struct http_request *request, int status, size_t response_bytes, void *ctx) {
  struct world *w = ctx;
  (void)request;
  (void)response_bytes;
  if (status != 200) die("status %d", status);
  if (++w->answered == BATCH) loop_stop(w->loop);
}

// ---------------------------------------------------------------- what a worker is made of

static void on_warm(void *ctx, int count) {
  if (count != 1) die("%d businesses", count);
  loop_stop(((struct world *)ctx)->loop);
}

static void make_directory(struct world *w, struct why *why) {
  struct store *store;
  struct business *b = business_new();
  free(b->id);
  free(b->name);
  b->id = xstrdup("b0");
  b->name = xstrdup("Business 0");
  b->whatsapp_enabled = b->is_active = true;
  b->phone_number_ids[b->phone_count++] = xstrdup(PHONE);
  if (store_open("ram:bench", &store, why) != ERR_OK || store_put(store, b, why) != ERR_OK) die("%s", why->text);
  business_free(b);
  struct directory_options options = {.loop = w->loop,
                                      .shm = &w->shm,
                                      .slot = &w->shm.slots[0],
                                      .store = {.uri = "ram:bench"},
                                      .cache_ttl_ms = 86400000,
                                      .negative_ttl_ms = 60000,
                                      .stale_max_ms = 86400000,
                                      .cache_size = 1000};
  if (directory_open(&options, &w->directory, why) != ERR_OK) die("%s", why->text);
  directory_warm(w->directory, 1, on_warm, w);
  loop_run(w->loop);
  store_close(store); // memory that lasts as long as somebody has it open
}

static void make_intake(struct world *w, const char *folder, struct why *why) {
  struct webhook_options webhook = {
      .loop = w->loop, .slot = &w->shm.slots[0], .config = w->config, .limiter = w->limiter, .directory = w->directory};
  w->webhook = webhook_new(&webhook);
  struct journal_options journal = {.loop = w->loop,
                                    .slot = &w->shm.slots[0],
                                    .directory = folder,
                                    .sync = false, // the disk's time is no instruction
                                    .segment_bytes = 64u << 20,
                                    .wake_fd = -1,
                                    .shm = &w->shm,
                                    .on_commit = webhook_on_commit,
                                    .ctx = w->webhook};
  if (journal_open(&journal, &w->journal, why) != ERR_OK) die("%s", why->text);
  struct http_server_options server = {.loop = w->loop,
                                       .slot = &w->shm.slots[0],
                                       .limits = http_limits_default(),
                                       .routes = w->routes,
                                       .route_count = webhook_routes(w->webhook, w->routes),
                                       .on_answered = on_answered,
                                       .ctx = w};
  w->server = http_server_new(&server);
  webhook_start(w->webhook, w->journal, w->server);
}

static void make_config(struct world *w) {
  static char *arguments[] = {"bench-instructions", WORKS, NULL};
  static char *environment[] = {NULL};
  struct config_errors errors = {0};
  struct config_command command = {0};
  if (config_load(&w->config, &command, (int)COUNT_OF(arguments) - 1, arguments, environment, &errors) != ERR_OK)
    die("%s", errors.text.data);
  config_errors_free(&errors);
}

// ---------------------------------------------------------------- who feeds it

static void connect_clients(struct world *w) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof at;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, BATCH) != 0 ||
      getsockname(fd, (struct sockaddr *)&at, &len) != 0)
    die("no listener");
  if (http_server_listen(w->server, fd, 0) != ERR_OK) die("cannot listen");
  for (unsigned i = 0; i < BATCH; i++) {
    w->clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->clients[i] < 0 || connect(w->clients[i], (struct sockaddr *)&at, sizeof at) != 0) die("cannot connect");
  }
}

static void make_messages(struct world *w, struct why *why) {
  static char secret[] = SECRET, phone[] = PHONE, path[] = "/whatsapp_response";
  static struct load_options options = {.path = path, .app_secret = secret, .phones = phone, .conversations = 10000};
  struct target target = {.host = "127.0.0.1:8000"};
  if (messages_new(&options, &target, &w->messages, why) != ERR_OK) die("%s", why->text);
}

static void post_batch(struct world *w) {
  for (unsigned i = 0; i < BATCH; i++) {
    struct span request = messages_request(w->messages, w->next++, false);
    if (send(w->clients[i], request.ptr, request.len, MSG_NOSIGNAL) != (ssize_t)request.len) die("cannot send");
  }
}

static void take_answers(struct world *w) {
  char in[4096];
  for (unsigned i = 0; i < BATCH; i++)
    if (recv(w->clients[i], in, sizeof in, 0) <= 0) die("no answer");
}

static void run(struct world *w, uint64_t batches) {
  for (uint64_t i = 0; i < batches; i++) {
    post_batch(w);
    serve_batch(w);
    take_answers(w);
  }
}

int main(int argc, char **argv) {
  static struct world w;
  struct why why = {0};
  uint64_t batches = 0;
  if (argc != 3 || span_u64(span_of(argv[2]), &batches) != ERR_OK) {
    fprintf(stderr, "usage: bench-instructions FOLDER BATCHES\n");
    return 64;
  }
  crypto_start();
  w.loop = loop_new(2);
  if (shm_create(&w.shm, 2, 1u << 20, &why) != ERR_OK) die("%s", why.text);
  w.limiter = limiter_new(w.shm.limiter, w.shm.limiter_bytes);
  make_config(&w);
  make_messages(&w, &why);
  make_directory(&w, &why);
  make_intake(&w, argv[1], &why);
  connect_clients(&w);
  run(&w, batches);
  printf("%llu\n", (unsigned long long)batches * BATCH);
  fflush(stdout);
  _exit(0); // what ends with the process need not be taken apart
}
