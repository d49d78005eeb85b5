// Answers of the Graph API, at once or after a latency, or a cut connection instead. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdlib.h>
#include <utlist.h>

#define DELAYED_MAGIC 0x44656c61u // "Dela"

struct delayed {
  uint32_t magic;
  struct delayed *prev, *next;
  struct sandbox *sandbox;
  struct loop_timer timer;
  struct http_ticket ticket;
  int status;
  bool cut;
  struct buf json;
};

static void answer_now(struct http_request *request, int status, struct span json, bool cut) {
  if (cut)
    http_request_abort(request);
  else
    http_respond(request, status, "application/json; charset=UTF-8", json, NULL, 0);
}

static void on_closed(void *ctx) {
  struct delayed *d = ctx;
  buf_free(&d->json);
  d->magic = 0;
  free(d);
}

static void on_time(void *ctx) {
  struct delayed *d = ctx;
  ALWAYS(d->magic == DELAYED_MAGIC);
  struct http_request *request = http_request_find(d->sandbox->server, d->ticket);
  if (request) answer_now(request, d->status, buf_span(&d->json), d->cut);
  DL_DELETE(d->sandbox->delayed, d);
  loop_timer_close(&d->timer, on_closed);
}

void sandbox_answer(struct sandbox *sandbox, struct http_request *request, int status, struct span json, bool cut) {
  if (sandbox->faults.latency_ms == 0) {
    answer_now(request, status, json, cut);
    return;
  }
  struct delayed *d = xcalloc(1, sizeof *d);
  *d = (struct delayed){.magic = DELAYED_MAGIC, .sandbox = sandbox, .status = status, .cut = cut, .ticket = http_request_ticket(request)};
  buf_add_span(&d->json, json);
  DL_APPEND(sandbox->delayed, d);
  loop_timer_init(sandbox->loop, &d->timer, on_time, d);
  loop_timer_start(&d->timer, sandbox->faults.latency_ms, 0);
}

void sandbox_answers_close(struct sandbox *sandbox) {
  while (sandbox->delayed) {
    struct delayed *d = sandbox->delayed;
    DL_DELETE(sandbox->delayed, d);
    loop_timer_close(&d->timer, on_closed);
  }
}
