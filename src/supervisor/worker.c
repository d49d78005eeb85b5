// A worker: HTTP on the inherited listeners, webhooks into the journal, the operator's pages. Runs in each worker.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "supervisor/process.h"
#include "supervisor/roles.h"
#include "wahook/admin.h"
#include "wahook/crypto.h"
#include "wahook/http.h"
#include "wahook/intake.h"
#include "wahook/limiter.h"
#include "wahook/log.h"
#include "wahook/webhook.h"

#define WORKER_MAGIC   0x776f726bu
#define WORKER_THREADS 4

struct worker {
  uint32_t magic;
  struct process process;
  struct limiter *limiter;
  struct limiter_networks *trusted;
  struct directory *directory;
  struct webhook *webhook;
  struct admin *admin;
  struct journal *journal;
  struct http_server *server;
  struct http_route routes[WEBHOOK_ROUTES_MAX + ADMIN_ROUTES_MAX];
  unsigned route_count;
  struct loop_timer deadline;
  bool closing; // the journal is being closed
};

// ---------------------------------------------------------------- the end: connections, then the journal, then everything else

static void on_journal_closed(void *ctx) {
  struct worker *worker = ctx;
  ALWAYS(worker->magic == WORKER_MAGIC);
  loop_timer_close(&worker->deadline, NULL);
  http_server_close(worker->server);
  directory_close(worker->directory);
  process_done(&worker->process);
}

static void close_journal(struct worker *worker) {
  if (worker->closing) return;
  worker->closing = true;
  journal_close(worker->journal, on_journal_closed, worker);
}

static void on_drained(void *ctx) {
  close_journal(ctx);
}

static void on_deadline(void *ctx) {
  struct worker *worker = ctx;
  log_warning("supervisor", "the grace is over: %u connections are cut", http_server_connections(worker->server));
  close_journal(worker);
}

static void on_drain(void *ctx) {
  struct worker *worker = ctx;
  ALWAYS(worker->magic == WORKER_MAGIC);
  shm_stage(worker->process.slot, "draining", "");
  loop_timer_start(&worker->deadline, process_grace_ms(&worker->process), 0);
  http_server_drain(worker->server, on_drained, worker);
}

// ---------------------------------------------------------------- wiring

static void on_answered(struct http_request *request, int status, size_t response_bytes, void *ctx) {
  (void)ctx;
  if (!log_access_enabled()) return;
  struct log_access line = {
      .request_id = http_request_id(request),
      .peer = span_of(http_request_client_text(request)),
      .method = span_of(http_method_name(http_request_method(request))),
      .path = http_request_path(request),
      .user_agent = http_request_header(request, "user-agent"),
      .status = status,
      .request_bytes = http_request_body_bytes(request),
      .response_bytes = response_bytes,
      .duration_us = clock_mono_us() - http_request_started_us(request), // the turn's own time stands still
  };
  log_access(&line);
}

static bool is_trusted(const struct sockaddr *peer, void *ctx) {
  const struct worker *worker = ctx;
  return limiter_networks_contain(worker->trusted, peer);
}

static void make_pages(struct worker *worker) {
  struct process *process = &worker->process;
  struct webhook_options webhook = {
      .loop = process->loop, .slot = process->slot, .config = process->config, .limiter = worker->limiter, .directory = worker->directory};
  worker->webhook = webhook_new(&webhook);
  struct admin_options admin = {.loop = process->loop,
                                .shm = &process->shm,
                                .slot = process->slot,
                                .config = process->config,
                                .directory = worker->directory,
                                .limiter = worker->limiter};
  worker->admin = admin_new(&admin);
  worker->route_count = webhook_routes(worker->webhook, worker->routes);
  worker->route_count += admin_routes(worker->admin, worker->routes + worker->route_count);
}

static void make_journal(struct worker *worker) {
  struct process *process = &worker->process;
  const struct config *config = process->config;
  struct why why = {0};
  struct buf path = {0};
  buf_printf(&path, "%s/intake", config->server_state_dir);
  struct journal_options options = {
      .loop = process->loop,
      .slot = process->slot,
      .directory = path.data,
      .sync = strcmp(config->intake_sync, "none") != 0,
      .segment_bytes = (size_t)config->intake_segment_size,
      .wake_fd = proc_inherited("wake"),
      .shm = &process->shm,
      .on_commit = webhook_on_commit,
      .ctx = worker->webhook,
  };
  if (journal_open(&options, &worker->journal, &why) != ERR_OK) process_fatal(process, "intake: %s", why.text);
  buf_free(&path);
}

static void make_server(struct worker *worker) {
  struct process *process = &worker->process;
  const struct config *config = process->config;
  struct why why = {0};
  const struct config_list *proxies = &config->server_trusted_proxies;
  if (limiter_networks_new((const char *const *)proxies->items, proxies->count, &worker->trusted, &why) != ERR_OK)
    process_fatal(process, "server.trusted_proxies: %s", why.text);
  struct http_limits limits = http_limits_default();
  limits.max_body_bytes = (size_t)config->webhook_max_body;
  limits.head_ms = config->server_header_timeout;
  limits.body_ms = config->server_body_timeout;
  limits.idle_ms = config->server_keep_alive;
  limits.write_ms = config->server_write_timeout;
  limits.max_connections = (unsigned)config->server_max_connections;
  limits.max_connections_per_address = (unsigned)config->server_max_connections_per_address;
  struct http_server_options options = {
      .loop = process->loop,
      .slot = process->slot,
      .limits = limits,
      .routes = worker->routes,
      .route_count = worker->route_count,
      .on_answered = on_answered,
      .ctx = worker,
      .trust_proxy_protocol = config->server_proxy_protocol,
      .is_trusted = is_trusted,
  };
  worker->server = http_server_new(&options);
}

static void listen_on(struct worker *worker, const char *name, int tag) {
  int fd = proc_inherited(name);
  if (http_server_listen(worker->server, fd, tag) != ERR_OK)
    process_fatal(&worker->process, "cannot listen on \"%s\": %s", name, strerror(errno));
}

// Connections that came in the meantime wait in the sockets' queues.
static void on_warm(void *ctx) {
  struct worker *worker = ctx;
  ALWAYS(worker->magic == WORKER_MAGIC);
  if (worker->process.draining) return;
  for (int i = 0;; i++) {
    char name[24];
    snprintf(name, sizeof name, "listen.%d", i);
    if (proc_inherited(name) < 0) break;
    listen_on(worker, name, i);
  }
  if (proc_inherited("admin") >= 0) listen_on(worker, "admin", HTTP_OPERATOR_TAG);
  process_ready(&worker->process);
}

int worker_main(void) {
  static struct worker worker = {.magic = WORKER_MAGIC};
  struct process *process = &worker.process;
  process_start(process, SHM_ROLE_WORKER, WORKER_THREADS, on_drain, &worker);
  crypto_start();
  worker.limiter = limiter_new(process->shm.limiter, process->shm.limiter_bytes);
  loop_timer_init(process->loop, &worker.deadline, on_deadline, &worker);
  worker.directory = process_directory(process);
  make_pages(&worker);
  make_server(&worker);
  make_journal(&worker);
  webhook_start(worker.webhook, worker.journal, worker.server);
  process_warm(process, worker.directory, on_warm);
  loop_run(process->loop);
  webhook_free(worker.webhook);
  admin_free(worker.admin);
  limiter_networks_free(worker.trusted);
  limiter_free(worker.limiter);
  return process_end(process);
}
