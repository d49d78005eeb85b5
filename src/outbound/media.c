// Media of a message: the Graph API tells an address that lives five minutes, the bytes are there. Runs in the dispatcher.
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FETCH_MAGIC      0x4d656469u // "Medi"
#define FETCH_TIMEOUT_MS 120000      // up to 100 MB

struct fetch {
  uint32_t magic;
  struct graph *graph;
  char *token; // for the second request; wiped
  size_t max_bytes;
  char mime_type[128];
  void (*on_done)(void *ctx, enum err result, struct span mime_type, struct span bytes, const char *error);
  void *ctx;
};

static void end(struct fetch *f, enum err result, struct span bytes, const char *error) {
  f->on_done(f->ctx, result, span_of(f->mime_type), bytes, error);
  if (f->token) explicit_bzero(f->token, strlen(f->token));
  free(f->token);
  f->magic = 0;
  free(f);
}

// ERR_OK when there is a 200; else the error and a sentence.
static enum err check(const struct outbound_response *r, const char *what, char *text, size_t size) {
  if (r->result) {
    snprintf(text, size, "%s: %s", what, r->error);
    return r->result;
  }
  if (r->status == 200) return ERR_OK;
  snprintf(text, size, "%s: HTTP %d", what, r->status);
  if (r->status == 401 || r->status == 403) return ERR_DENIED;
  // Graph says 400 (code 100) for an id that it does not know or no longer has.
  return r->status == 400 || r->status == 404 || r->status == 410 ? ERR_NOT_FOUND : ERR_UNAVAILABLE;
}

static void on_bytes(void *ctx, const struct outbound_response *response) {
  struct fetch *f = ctx;
  ALWAYS(f->magic == FETCH_MAGIC);
  char text[400] = "";
  enum err e = check(response, "media", text, sizeof text);
  if (!e && !f->mime_type[0] && span_copy(response->content_type, f->mime_type, sizeof f->mime_type)) f->mime_type[0] = '\0';
  end(f, e, e ? (struct span){NULL, 0} : response->body, text);
}

// The token goes where Graph says, but never in the clear unless Graph itself is spoken to in the clear (a sandbox).
static bool may_have_token(const struct fetch *f, struct span url) {
  if (url.len >= 8 && strncasecmp(url.ptr, "https://", 8) == 0) return true;
  return strncasecmp(f->graph->base, "http://", 7) == 0 && url.len >= 7 && strncasecmp(url.ptr, "http://", 7) == 0;
}

static void on_address(void *ctx, const struct outbound_response *response) {
  struct fetch *f = ctx;
  ALWAYS(f->magic == FETCH_MAGIC);
  char text[400];
  struct arena arena;
  arena_init(&arena, 4096, GRAPH_ARENA_BYTES);
  const struct json *doc = NULL;
  enum err e = check(response, "media address", text, sizeof text);
  if (!e && json_parse(&arena, response->body, NULL, &doc, NULL)) {
    e = ERR_FORMAT;
    snprintf(text, sizeof text, "media address: not JSON");
  }
  struct span url = json_get_text(doc, "url");
  int64_t size = json_i64(json_get(doc, "file_size"), 0);
  if (!e && !may_have_token(f, url)) {
    e = ERR_FORMAT;
    snprintf(text, sizeof text, "media address: no https:// address in the answer");
  } else if (!e && size > 0 && (uint64_t)size > f->max_bytes) {
    e = ERR_TOO_LARGE;
    snprintf(text, sizeof text, "media of %lld bytes is larger than the limit of %zu", (long long)size, f->max_bytes);
  }
  if (e) {
    end(f, e, (struct span){NULL, 0}, text);
  } else {
    if (span_copy(json_get_text(doc, "mime_type"), f->mime_type, sizeof f->mime_type)) f->mime_type[0] = '\0';
    char *address = span_dup(url);
    struct outbound_request request = {.url = address,
                                       .bearer = f->token,
                                       .timeout_ms = FETCH_TIMEOUT_MS,
                                       .max_response_bytes = f->max_bytes};
    outbound_start(f->graph->outbound, &request, on_bytes, f);
    free(address);
  }
  arena_free(&arena);
}

static void on_refused(void *ctx, const struct outbound_response *response) {
  struct fetch *f = ctx;
  ALWAYS(f->magic == FETCH_MAGIC);
  end(f, response->result, (struct span){NULL, 0}, response->error);
}

void graph_media_get(struct graph *graph, const char *token, struct span media_id, size_t max_bytes,
                     void (*on_done)(void *ctx, enum err result, struct span mime_type, struct span bytes, const char *error), void *ctx) {
  ALWAYS(graph->magic == GRAPH_MAGIC && on_done);
  struct fetch *f = xcalloc(1, sizeof *f);
  *f = (struct fetch){.magic = FETCH_MAGIC, .graph = graph, .max_bytes = max_bytes, .on_done = on_done, .ctx = ctx};
  struct buf url = {0};
  if (!graph__token_ok(token)) {
    outbound__answer_later(graph->outbound, ERR_KEY, "the token is empty or holds characters that no token has", on_refused, f);
  } else if (graph__url(graph, media_id, "", &url)) {
    outbound__answer_later(graph->outbound, ERR_FORMAT, "not a media id", on_refused, f);
  } else {
    f->token = xstrdup(token);
    struct outbound_request request = {.url = url.data, .bearer = token, .timeout_ms = GRAPH_TIMEOUT_MS};
    outbound_start(graph->outbound, &request, on_address, f);
  }
  buf_free(&url);
}
