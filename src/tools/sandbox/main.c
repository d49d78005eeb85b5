// wahook-sandbox: a Graph API, a phone and a chat model on this machine, to try and test wahookd without a Meta account. A program of its
// own.
#include "tools/sandbox/sandbox.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "wahook/log.h"

static const char help[] =
    "usage: wahook-sandbox --webhook URL --app-secret SECRET [options]\n"
    "\n"
    "Meta's side of WhatsApp on this machine: the Graph API, a phone to type on (open the address in a browser),\n"
    "signed webhooks, and an OpenAI-compatible chat that answers deterministically.\n"
    "\n"
    "  --bind ADDR             listen here (127.0.0.1:8090)\n"
    "  --webhook URL           where webhooks are posted\n"
    "  --app-secret SECRET     signs them (X-Hub-Signature-256)\n"
    "  --verify-token TOKEN    for POST /sandbox/verify\n"
    "  --token TOKEN           a bearer token that the Graph API accepts; may be repeated (any that is not empty)\n"
    "  --phone-number-id ID    the business number that the phone writes to (15550001111)\n"
    "  --waba-id ID            its WhatsApp business account (100)\n"
    "  --statuses on|off       post sent, delivered and read (on)\n"
    "  --help, --version\n"
    "\n"
    "GET /sandbox/messages?after=N   what was sent, as JSON lines (kind=all: read marks, refused and inbound ones too); DELETE forgets\n"
    "POST /sandbox/inbound           {\"text\",\"from\",\"phone_number_id\",\"name\"} or {\"message\":{...}}: a message from a phone\n"
    "PUT /sandbox/faults             latency_ms, error_code, http_status, error_rate, pair_limit, drop_rate, statuses; GET shows them\n"
    "POST /sandbox/verify            the webhook's verification by GET\n"
    "GET /sandbox/chat?after=N       requests to /v1/chat/completions and /sandbox/responder, as JSON lines\n";

enum { OPT_BIND = 256, OPT_WEBHOOK, OPT_SECRET, OPT_VERIFY, OPT_TOKEN, OPT_NUMBER, OPT_WABA, OPT_STATUSES, OPT_HELP, OPT_VERSION };
static const struct option long_options[] = {
    {"bind", required_argument, NULL, OPT_BIND},
    {"webhook", required_argument, NULL, OPT_WEBHOOK},
    {"app-secret", required_argument, NULL, OPT_SECRET},
    {"verify-token", required_argument, NULL, OPT_VERIFY},
    {"token", required_argument, NULL, OPT_TOKEN},
    {"phone-number-id", required_argument, NULL, OPT_NUMBER},
    {"waba-id", required_argument, NULL, OPT_WABA},
    {"statuses", required_argument, NULL, OPT_STATUSES},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int usage(const char *what) {
  fprintf(stderr, "wahook-sandbox: %s (see wahook-sandbox --help)\n", what);
  return EX_USAGE;
}

// -1: go on; else exit with this status.
static int read_option(struct sandbox_options *o, int option, const char *value) {
  switch (option) {
  case OPT_BIND: o->bind = value; return -1;
  case OPT_WEBHOOK: o->webhook = value; return -1;
  case OPT_SECRET: o->app_secret = value; return -1;
  case OPT_VERIFY: o->verify_token = value; return -1;
  case OPT_NUMBER: o->phone_number_id = value; return -1;
  case OPT_WABA: o->waba_id = value; return -1;
  case OPT_TOKEN:
    if (o->token_count == SANDBOX_TOKENS_MAX) return usage("too many --token");
    o->tokens[o->token_count++] = value;
    return -1;
  case OPT_STATUSES:
    if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0) return usage("--statuses is on or off");
    o->statuses = strcmp(value, "on") == 0;
    return -1;
  case OPT_HELP: fputs(help, stdout); return EX_OK;
  case OPT_VERSION: puts("wahook-sandbox " WAHOOK_VERSION); return EX_OK;
  default: return EX_USAGE; // getopt_long has said why
  }
}

static int read_options(struct sandbox_options *o, int argc, char **argv) {
  *o = (struct sandbox_options){
      .bind = "127.0.0.1:8090", .verify_token = "", .phone_number_id = "15550001111", .waba_id = "100", .statuses = true};
  for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
    int status = read_option(o, option, optarg);
    if (status >= 0) return status;
  }
  if (optind < argc) return usage("there are no arguments but options");
  if (!o->webhook || (strncmp(o->webhook, "http://", 7) != 0 && strncmp(o->webhook, "https://", 8) != 0))
    return usage("--webhook with an http:// or https:// address is required");
  if (!o->app_secret || !o->app_secret[0]) return usage("--app-secret is required");
  return -1;
}

// "127.0.0.1:8090", "[::1]:8090", ":8090" (loopback).
static int listen_at(const char *bind_to) {
  const char *colon = strrchr(bind_to, ':');
  char host[256] = "127.0.0.1";
  struct span name = {bind_to, colon ? (size_t)(colon - bind_to) : 0};
  if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') name = (struct span){name.ptr + 1, name.len - 2};
  if (!colon || (name.len && span_copy(name, host, sizeof host) != ERR_OK)) {
    fprintf(stderr, "wahook-sandbox: --bind %s: an address and a port are wanted, as in 127.0.0.1:8090\n", bind_to);
    return -1;
  }
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
  int rc = getaddrinfo(host, colon + 1, &hints, &found);
  if (rc != 0) {
    fprintf(stderr, "wahook-sandbox: --bind %s: %s\n", bind_to, gai_strerror(rc));
    return -1;
  }
  int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int on = 1;
  bool listens = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                 bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1024) == 0;
  if (!listens) {
    fprintf(stderr, "wahook-sandbox: cannot listen on %s: %s\n", bind_to, strerror(errno));
    if (fd >= 0) close(fd);
    fd = -1;
  }
  freeaddrinfo(found);
  return fd;
}

#define GET    HTTP_ALLOW(HTTP_M_GET)
#define POST   HTTP_ALLOW(HTTP_M_POST)
#define PUT    HTTP_ALLOW(HTTP_M_PUT)
#define DELETE HTTP_ALLOW(HTTP_M_DELETE)

static enum err open_server(struct sandbox *sandbox, int fd) {
  const struct http_route routes[] = {
      {"/sandbox/messages", GET | DELETE, NULL, sandbox_on_record, sandbox, 0},
      {"/sandbox/chat", GET | DELETE, NULL, sandbox_on_chats, sandbox, 0},
      {"/sandbox/faults", GET | PUT, NULL, sandbox_on_faults, sandbox, 0},
      {"/sandbox/inbound", POST, NULL, sandbox_on_inbound, sandbox, 0},
      {"/sandbox/verify", POST, NULL, sandbox_on_verify, sandbox, 0},
      {"/sandbox/responder", POST, NULL, sandbox_on_responder, sandbox, 0},
      {"/sandbox/media/", GET, NULL, sandbox_on_file, sandbox, 0},
      {"/v1/chat/completions", POST, NULL, sandbox_on_chat, sandbox, 0},
      {"/", GET | POST | DELETE, NULL, sandbox_on_graph, sandbox, SANDBOX_MEDIA_MAX + 65536}, // and the page
  };
  static struct http_route kept[COUNT_OF(routes)]; // the server keeps the pointer
  memcpy(kept, routes, sizeof routes);
  struct http_server_options options = {
      .loop = sandbox->loop,
      .slot = aligned_alloc(64, sizeof(struct shm_slot)),
      .limits = http_limits_default(),
      .routes = kept,
      .route_count = COUNT_OF(routes),
  };
  ALWAYS(options.slot != NULL);
  memset(options.slot, 0, sizeof *options.slot);
  options.limits.max_requests_per_connection = 0;
  sandbox->slot = options.slot;
  sandbox->server = http_server_new(&options);
  return http_server_listen(sandbox->server, fd, 0);
}

// ---------------------------------------------------------------- life

struct program {
  struct sandbox sandbox;
  struct loop_signal term, intr;
};

static void on_outbound_closed(void *ctx) {
  struct program *program = ctx;
  sandbox_statuses_close(&program->sandbox);
  loop_stop(program->sandbox.loop);
}

static void on_signal(void *ctx, int signum) {
  struct program *program = ctx;
  struct sandbox *sandbox = &program->sandbox;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  if (sandbox->closing) return;
  sandbox->closing = true;
  log_info("sandbox", "signal %d: stopping", signum);
  sandbox_answers_close(sandbox);
  loop_signal_close(&program->term);
  loop_signal_close(&program->intr);
  http_server_close(sandbox->server);
  outbound_close(sandbox->outbound, on_outbound_closed, program);
}

static void open_sandbox(struct sandbox *sandbox) {
  sandbox->magic = SANDBOX_MAGIC;
  sandbox->loop = loop_new(2);
  sandbox->hmac = hmac_new(span_of(sandbox->options.app_secret));
  sandbox->faults.statuses = sandbox->options.statuses;
  arena_init(&sandbox->arena, 64 * 1024, (size_t)64 << 20);
  struct outbound_options options = {.loop = sandbox->loop, .max_connections = 200, .idle_connections = 200};
  sandbox->outbound = outbound_new(&options);
  sandbox_statuses_open(sandbox);
}

static void close_sandbox(struct sandbox *sandbox) {
  loop_free(sandbox->loop);
  record_forget(&sandbox->record);
  record_forget(&sandbox->chats);
  media_clear(&sandbox->media);
  pair_clear(&sandbox->pairs);
  arena_free(&sandbox->arena);
  hmac_free(sandbox->hmac);
  free(sandbox->slot);
}

int main(int argc, char **argv) {
  static struct program program;
  struct sandbox *sandbox = &program.sandbox;
  int status = read_options(&sandbox->options, argc, argv);
  if (status >= 0) return status;
  struct why why;
  struct log_options log = {.level = LOG_LEVEL_INFO, .format = LOG_FORMAT_TEXT, .target = "stderr", .role = "sandbox"};
  if (log_setup(&log, &why) != ERR_OK) return EX_OSERR;
  crypto_start();
  int fd = listen_at(sandbox->options.bind);
  if (fd < 0) return EX_UNAVAILABLE;
  open_sandbox(sandbox);
  if (open_server(sandbox, fd) != ERR_OK) {
    log_error("sandbox", "cannot serve %s", sandbox->options.bind);
    return EX_OSERR;
  }
  loop_signal_init(sandbox->loop, &program.term, SIGTERM, on_signal, &program);
  loop_signal_init(sandbox->loop, &program.intr, SIGINT, on_signal, &program);
  log_info("sandbox", "the phone is at http://%s/, webhooks go to %s", sandbox->options.bind, sandbox->options.webhook);
  loop_run(sandbox->loop);
  close_sandbox(sandbox);
  return EX_OK;
}
