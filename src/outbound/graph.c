// Messages and read marks through the Graph API, and what its answers mean. Runs in the dispatcher.
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP_MAGIC 0x4772704fu // "GrpO"

// One call that is under way.
struct op {
  uint32_t magic;
  struct graph *graph;
  bool send; // a message, not a read mark
  graph_done *on_done;
  void *ctx;
};

struct graph *graph_new(const struct graph_options *options) {
  struct graph *graph = xcalloc(1, sizeof *graph);
  graph->magic = GRAPH_MAGIC;
  graph->outbound = options->outbound;
  graph->slot = options->slot;
  struct span base = span_of(options->base_url), version = span_of(options->version);
  while (span_ends(base, SPAN("/")))
    base.len--;
  struct buf url = {0};
  buf_printf(&url, "%.*s/%.*s", SPAN_FMT(base), SPAN_FMT(version));
  graph->base = buf_steal(&url);
  return graph;
}

void graph_free(struct graph *graph) {
  if (!graph) return;
  ALWAYS(graph->magic == GRAPH_MAGIC);
  graph->magic = 0;
  free(graph->base);
  free(graph);
}

enum err graph__url(const struct graph *graph, struct span id, const char *tail, struct buf *out) {
  if (!id.len || id.len > 256) return ERR_FORMAT;
  bool dots = true; // "." and ".." are path segments of their own
  for (size_t i = 0; i < id.len; i++) {
    char c = id.ptr[i];
    bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
    if (!plain && c != '.') return ERR_FORMAT;
    dots &= !plain;
  }
  if (dots) return ERR_FORMAT;
  buf_printf(out, "%s/%.*s%s", graph->base, SPAN_FMT(id), tail);
  return ERR_OK;
}

bool graph__token_ok(const char *token) {
  if (!token || !*token) return false;
  for (const char *p = token; *p; p++)
    if (*p <= ' ' || *p > '~') return false;
  return true;
}

// ---------------------------------------------------------------- answers

// Without an HTTP answer: was it sent?
static void classify_failure(const struct outbound_response *r, struct graph_verdict *out) {
  // An answer that is too large was an answer, but not one that can be understood.
  out->class = r->maybe_received ? GRAPH_UNKNOWN : GRAPH_TRANSIENT;
  snprintf(out->text, sizeof out->text, "%s", r->error);
}

// "(#131047) Re-engagement message: more than 24 hours have passed [A1B2]"
static void error_text(const struct json *error, int status, struct graph_verdict *out) {
  struct span message = json_get_text(error, "message"), details = json_text(json_path(error, "error_data.details"));
  struct span trace = json_get_text(error, "fbtrace_id");
  char code[32] = "";
  if (json_get(error, "code")) snprintf(code, sizeof code, "(#%lld) ", (long long)out->code);
  if (!message.len && !details.len) message = SPAN("no error text");
  // Meta's own message often begins with the code already.
  if (span_starts(message, SPAN("(#"))) code[0] = '\0';
  snprintf(out->text, sizeof out->text, "HTTP %d %s%.*s%s%.*s%s%.*s%s", status, code, SPAN_FMT(message), details.len ? ": " : "",
           SPAN_FMT(details), trace.len ? " [" : "", SPAN_FMT(trace), trace.len ? "]" : "");
  for (char *p = out->text; *p; p++)
    if ((unsigned char)*p < 0x20) *p = ' '; // one line, whatever the server wrote
}

void graph__read_verdict(const struct outbound_response *r, bool wants_wamid, struct arena *arena, struct graph_verdict *out) {
  *out = (struct graph_verdict){.http_status = r->status, .retry_after_ms = r->retry_after_ms};
  if (r->result) {
    classify_failure(r, out);
    return;
  }
  const struct json *doc = NULL;
  bool readable = json_parse(arena, r->body, NULL, &doc, NULL) == ERR_OK;
  const struct json *error = readable ? json_get(doc, "error") : NULL;
  if (error && error->type != JSON_OBJECT) error = NULL;
  out->code = json_i64(json_get(error, "code"), 0);
  bool has_code = json_get(error, "code") != NULL;
  bool transient = json_bool(json_get(error, "is_transient"), false);
  out->class = error ? graph_classify(r->status < 300 ? 400 : r->status, has_code, out->code, transient)
                     : graph_classify(r->status, false, 0, false);
  // An error object without a code came from Graph itself: the message was not taken, so nothing is unknown.
  if (error && out->class == GRAPH_UNKNOWN) out->class = GRAPH_TRANSIENT;
  if (out->class != GRAPH_OK) {
    if (error)
      error_text(error, r->status, out);
    else
      snprintf(out->text, sizeof out->text, "HTTP %d", r->status);
    return;
  }
  out->wamid = json_text(json_path(doc, "messages.0.id"));
  bool accepted = wants_wamid ? out->wamid.len > 0 : json_bool(json_get(doc, "success"), false);
  if (accepted) return;
  // 200, but not Graph's words: something between us answered, or the answer was cut.
  out->class = GRAPH_UNKNOWN;
  snprintf(out->text, sizeof out->text, "HTTP %d with an answer that is not Graph's", r->status);
}

static void count(struct graph *graph, bool send, enum graph_class class, int64_t duration_us) {
  static const enum metric counters[] = {
      [GRAPH_OK] = METRIC_GRAPH_SENT,         [GRAPH_THROTTLED] = METRIC_GRAPH_THROTTLED,
      [GRAPH_PAIR] = METRIC_GRAPH_THROTTLED,  [GRAPH_TRANSIENT] = METRIC_GRAPH_TRANSIENT,
      [GRAPH_UNKNOWN] = METRIC_GRAPH_UNKNOWN, [GRAPH_TOKEN] = METRIC_GRAPH_TENANT,
      [GRAPH_TENANT] = METRIC_GRAPH_TENANT,   [GRAPH_DEAD] = METRIC_GRAPH_DEAD,
  };
  if (!graph->slot) return;
  if (send) metrics_add(graph->slot, counters[class], 1);
  metrics_observe(graph->slot, HISTOGRAM_GRAPH, duration_us > 0 ? (uint64_t)duration_us : 0);
}

static void on_answer(void *ctx, const struct outbound_response *response) {
  struct op *op = ctx;
  ALWAYS(op->magic == OP_MAGIC);
  struct arena arena;
  arena_init(&arena, 4096, GRAPH_ARENA_BYTES);
  struct graph_verdict verdict;
  graph__read_verdict(response, op->send, &arena, &verdict);
  count(op->graph, op->send, verdict.class, response->duration_us);
  op->on_done(op->ctx, &verdict);
  arena_free(&arena);
  op->magic = 0;
  free(op);
}

// ---------------------------------------------------------------- requests

// A request that cannot be made: told on a later turn like every other answer.
struct refusal {
  struct op *op;
  enum graph_class class;
  char text[128];
};

static void on_refusal(void *ctx, const struct outbound_response *response) {
  struct refusal *refusal = ctx;
  struct op *op = refusal->op;
  ALWAYS(op->magic == OP_MAGIC);
  struct graph_verdict verdict = {.class = refusal->class};
  snprintf(verdict.text, sizeof verdict.text, "%s", refusal->text);
  if (response->result == ERR_CANCELED)
    verdict.class = GRAPH_TRANSIENT; // closing: not judged, so not lost
  else
    count(op->graph, op->send, verdict.class, 0);
  op->on_done(op->ctx, &verdict);
  op->magic = 0;
  free(op);
  free(refusal);
}

static void refuse(struct op *op, enum graph_class class, const char *text) {
  struct refusal *refusal = xcalloc(1, sizeof *refusal);
  refusal->op = op;
  refusal->class = class;
  snprintf(refusal->text, sizeof refusal->text, "%s", text);
  outbound__answer_later(op->graph->outbound, ERR_FORMAT, text, on_refusal, refusal);
}

static struct op *new_op(struct graph *graph, bool send, graph_done *on_done, void *ctx) {
  ALWAYS(graph->magic == GRAPH_MAGIC && on_done);
  struct op *op = xcalloc(1, sizeof *op);
  *op = (struct op){.magic = OP_MAGIC, .graph = graph, .send = send, .on_done = on_done, .ctx = ctx};
  return op;
}

static void post(struct op *op, const char *phone_number_id, const char *token, struct span body) {
  struct buf url = {0};
  if (!graph__token_ok(token)) {
    refuse(op, GRAPH_TOKEN, "the token is empty or holds characters that no token has");
  } else if (graph__url(op->graph, span_of(phone_number_id), "/messages", &url)) {
    refuse(op, GRAPH_TENANT, "the phone number id is empty or holds characters that no id has");
  } else {
    struct outbound_request request = {.url = url.data, .bearer = token, .body = body, .timeout_ms = GRAPH_TIMEOUT_MS};
    outbound_start(op->graph->outbound, &request, on_answer, op);
  }
  buf_free(&url);
}

void graph_send(struct graph *graph, const struct graph_send *send, graph_done *on_done, void *ctx) {
  struct op *op = new_op(graph, true, on_done, ctx);
  struct buf body = {0};
  if (graph_body(send, &body))
    refuse(op, GRAPH_DEAD, "not a Graph message object with a type, or nobody to send it to");
  else
    post(op, send->phone_number_id, send->token, buf_span(&body));
  buf_free(&body);
}

void graph_mark_read(struct graph *graph, const char *phone_number_id, const char *token, struct span wamid, bool typing,
                     graph_done *on_done, void *ctx) {
  struct op *op = new_op(graph, false, on_done, ctx);
  struct buf body = {0};
  graph__read_body(wamid, typing, &body);
  post(op, phone_number_id, token, buf_span(&body));
  buf_free(&body);
}
