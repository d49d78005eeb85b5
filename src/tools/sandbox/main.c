// wahook-sandbox: Meta's side of WhatsApp on one's own machine, to try and test wahookd without an account. A program of its own.
//
//   TERM, INT ──▶ drain (requests that are open get their answers) ──▶ server, posts and timers closed ──▶ exit 0
#include "tools/sandbox/sandbox.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "wahook/log.h"

#define DRAIN_MS 3000 // open requests get this long at a stop

struct program {
  uint32_t magic;
  struct sandbox sandbox;
  struct loop_signal term, interrupt;
  struct loop_timer stop;
  bool stopping;
};
#define PROGRAM_MAGIC 0x50726f67u // "Prog"

// Now no post is under way; what else has handles is closed by close_sandbox().
static void on_outbound_closed(void *ctx) {
  struct program *program = ctx;
  loop_stop(program->sandbox.loop);
}

static void on_stop_time(void *ctx) {
  struct program *program = ctx;
  ALWAYS(program->magic == PROGRAM_MAGIC);
  struct sandbox *sandbox = &program->sandbox;
  if (sandbox->closing) return;
  sandbox->closing = true;
  http_server_drain(sandbox->server, NULL, NULL); // nobody waits for its end any more
  http_server_close(sandbox->server);
  outbound_close(sandbox->outbound, on_outbound_closed, program);
}

// From inside the server: it is closed on a turn of its own.
static void on_drained(void *ctx) {
  struct program *program = ctx;
  if (!program->sandbox.closing) loop_timer_start(&program->stop, 0, 0);
}

static void on_signal(void *ctx, int signum) {
  struct program *program = ctx;
  ALWAYS(program->magic == PROGRAM_MAGIC);
  (void)signum;
  if (program->stopping) { // once more: at once
    on_stop_time(program);
    return;
  }
  program->stopping = true;
  log_info("sandbox", "stopping");
  loop_timer_start(&program->stop, DRAIN_MS, 0);
  http_server_drain(program->sandbox.server, on_drained, program);
}

static void open_server(struct sandbox *sandbox) {
  const struct http_route routes[] = {
      {"/", HTTP_ALLOW(HTTP_M_GET) | HTTP_ALLOW(HTTP_M_POST) | HTTP_ALLOW(HTTP_M_DELETE), NULL, sandbox_on_graph, sandbox,
       SANDBOX_MEDIA_MAX},
      {"/sandbox/messages", HTTP_ALLOW(HTTP_M_GET) | HTTP_ALLOW(HTTP_M_DELETE), NULL, sandbox_on_record, sandbox, 0},
      {"/sandbox/chat", HTTP_ALLOW(HTTP_M_GET) | HTTP_ALLOW(HTTP_M_DELETE), NULL, sandbox_on_chats, sandbox, 0},
      {"/sandbox/faults", HTTP_ALLOW(HTTP_M_GET) | HTTP_ALLOW(HTTP_M_PUT), NULL, sandbox_on_faults, sandbox, 0},
      {"/sandbox/inbound", HTTP_ALLOW(HTTP_M_POST), NULL, sandbox_on_inbound, sandbox, 0},
      {"/sandbox/verify", HTTP_ALLOW(HTTP_M_POST), NULL, sandbox_on_verify, sandbox, 0},
      {"/sandbox/conversation", HTTP_ALLOW(HTTP_M_GET), NULL, sandbox_on_conversation, sandbox, 0},
      {"/sandbox/media/", HTTP_ALLOW(HTTP_M_GET), NULL, sandbox_on_file, sandbox, 0},
      {"/sandbox/responder", HTTP_ALLOW(HTTP_M_POST), NULL, sandbox_on_responder, sandbox, 0},
      {"/v1/chat/completions", HTTP_ALLOW(HTTP_M_POST), NULL, sandbox_on_chat, sandbox, 0},
  };
  _Static_assert(COUNT_OF(routes) == SANDBOX_ROUTES, "the server borrows the table: it lives in the sandbox");
  for (size_t i = 0; i < COUNT_OF(routes); i++)
    sandbox->routes[i] = routes[i];
  struct http_server_options options = {.loop = sandbox->loop,
                                        .limits = http_limits_default(),
                                        .routes = sandbox->routes,
                                        .route_count = COUNT_OF(routes)};
  sandbox->server = http_server_new(&options);
}

static void open_sandbox(struct program *program) {
  struct sandbox *sandbox = &program->sandbox;
  sandbox->loop = loop_new(2);
  sandbox->hmac = hmac_new(span_of(sandbox->options.app_secret));
  sandbox->faults.statuses = sandbox->options.statuses;
  arena_init(&sandbox->arena, 65536, 0);
  struct outbound_options outbound = {.loop = sandbox->loop};
  sandbox->outbound = outbound_new(&outbound);
  sandbox_statuses_open(sandbox);
  open_server(sandbox);
  loop_signal_init(sandbox->loop, &program->term, SIGTERM, on_signal, program);
  loop_signal_init(sandbox->loop, &program->interrupt, SIGINT, on_signal, program);
  loop_timer_init(sandbox->loop, &program->stop, on_stop_time, program);
}

// After the server and the posts are closed.
static void close_sandbox(struct program *program) {
  struct sandbox *sandbox = &program->sandbox;
  sandbox_answers_close(sandbox);
  sandbox_statuses_close(sandbox);
  loop_signal_close(&program->term);
  loop_signal_close(&program->interrupt);
  loop_timer_close(&program->stop, NULL);
  loop_free(sandbox->loop);
  record_forget(&sandbox->record);
  record_forget(&sandbox->chats);
  media_clear(&sandbox->media);
  pair_clear(&sandbox->pairs);
  arena_free(&sandbox->arena);
  hmac_free(sandbox->hmac);
}

// As many connections as the system lets us have.
static void raise_file_limit(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

static int serve(struct program *program) {
  struct sandbox *sandbox = &program->sandbox;
  struct why why = {{0}};
  char address[64];
  int fd;
  enum err err = sandbox_listen(sandbox->options.bind, &fd, address, &why);
  if (err != ERR_OK) {
    log_error("sandbox", "%s", why.text);
    return err == ERR_CONFIG ? EX_CONFIG : EX_UNAVAILABLE;
  }
  open_sandbox(program);
  err = http_server_listen(sandbox->server, fd, 0);
  if (err != ERR_OK) {
    log_error("sandbox", "cannot serve %s: %s", address, err_text(err));
    return EX_UNAVAILABLE;
  }
  log_info("sandbox", "the phone is at http://%s/, webhooks go to %s", address, sandbox->options.webhook);
  loop_run(sandbox->loop);
  close_sandbox(program);
  return EX_OK;
}

int main(int argc, char **argv) {
  struct program *program = xcalloc(1, sizeof *program);
  struct why why = {{0}};
  program->magic = PROGRAM_MAGIC;
  program->sandbox.magic = SANDBOX_MAGIC;
  crypto_start();
  int status = EX_OK;
  enum err err = sandbox_options_read(argc, argv, &program->sandbox.options, &why);
  if (err == ERR_CANCELED) {
    if (fflush(stdout) != 0) status = EX_IOERR;
  } else if (err != ERR_OK) {
    fprintf(stderr, "wahook-sandbox: %s (--help shows the options)\n", why.text);
    status = EX_USAGE;
  } else {
    struct log_options log = {.level = LOG_LEVEL_INFO, .format = LOG_FORMAT_TEXT, .target = "stderr", .access = "off", .role = "sandbox"};
    if (log_setup(&log, &why) != ERR_OK) fprintf(stderr, "wahook-sandbox: %s\n", why.text);
    raise_file_limit();
    status = serve(program);
    sandbox_options_free(&program->sandbox.options);
  }
  free(program);
  return status;
}
