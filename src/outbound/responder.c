// Who answers messages: the table of responders and what they have in common. Runs in the dispatcher.
#include "responder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  void (*ask)(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
              responder_done *on_done, void *ctx);
} responders[RESPONDER_TYPE_COUNT] = {
    [RESPONDER_ECHO] = {"echo", responder__echo},
    [RESPONDER_HTTP] = {"http", responder__http},
    [RESPONDER_OPENAI] = {"openai", responder__openai},
};

enum err responder_type_parse(struct span name, enum responder_type *out) {
  for (unsigned i = 0; i < RESPONDER_TYPE_COUNT; i++) {
    if (!span_eq(name, span_of(responders[i].name))) continue;
    *out = (enum responder_type)i;
    return ERR_OK;
  }
  return ERR_NOT_FOUND;
}

const char *responder_type_name(enum responder_type type) {
  return (unsigned)type < RESPONDER_TYPE_COUNT ? responders[type].name : "?";
}

void responder_ask(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                   responder_done *on_done, void *ctx) {
  ALWAYS((unsigned)spec->type < RESPONDER_TYPE_COUNT && on_done);
  responders[spec->type].ask(outbound, spec, question, on_done, ctx);
}

// ---------------------------------------------------------------- one question

struct ask *responder__ask_new(responder_done *on_done, void *ctx) {
  struct ask *ask = xcalloc(1, sizeof *ask);
  ask->magic = ASK_MAGIC;
  ask->on_done = on_done;
  ask->ctx = ctx;
  arena_init(&ask->arena, 4096, RESPONDER_ARENA_BYTES);
  return ask;
}

void responder__finish(struct ask *ask) {
  ALWAYS(ask->magic == ASK_MAGIC);
  bool ok = ask->result == ERR_OK;
  struct responder_answer answer = {
      .result = ask->result,
      .permanent = ask->permanent,
      .retry_after_ms = ask->retry_after_ms,
      .error = ask->error,
      .messages = ask->messages,
      .count = ok ? ask->count : 0,
      .text = ok ? buf_span(&ask->text) : SPAN(""),
  };
  ask->on_done(ask->ctx, &answer);
  arena_free(&ask->arena);
  buf_free(&ask->text);
  ask->magic = 0;
  free(ask);
}

void responder__fail(struct ask *ask, enum err result, bool permanent, const char *fmt, ...) {
  if (ask->result) return;
  ask->result = result;
  ask->permanent = permanent;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(ask->error, sizeof ask->error, fmt, ap);
  va_end(ap);
  for (char *p = ask->error; *p; p++)
    if ((unsigned char)*p < 0x20) *p = ' '; // one line, whatever a server wrote
}

static void on_turn(void *ctx, const struct outbound_response *response) {
  struct ask *ask = ctx;
  if (response->result == ERR_CANCELED) {
    ask->result = ERR_OK;
    responder__fail(ask, ERR_CANCELED, false, "%s", err_text(ERR_CANCELED));
  }
  responder__finish(ask);
}

void responder__finish_later(struct outbound *outbound, struct ask *ask) {
  outbound__answer_later(outbound, ERR_OK, "", on_turn, ask);
}

// The sentence of {"error":{"message":"..."}}, {"error":"..."} or {"detail":"..."}: what people look for first.
static struct span server_sentence(struct ask *ask, struct span body) {
  const struct json *doc = NULL;
  if (json_parse(&ask->arena, body, NULL, &doc, NULL)) return (struct span){NULL, 0};
  struct span text = json_text(json_path(doc, "error.message"));
  if (!text.len) text = json_get_text(doc, "error");
  if (!text.len) text = json_get_text(doc, "detail");
  if (text.len > 200) text.len = 200;
  return text;
}

bool responder__check(struct ask *ask, const struct outbound_response *r) {
  ask->retry_after_ms = r->retry_after_ms;
  if (r->result) {
    // A URL that is none: somebody has to correct it.
    enum err result = r->result == ERR_FORMAT ? ERR_CONFIG : r->result;
    responder__fail(ask, result, false, "%s", r->error);
    return false;
  }
  int status = r->status;
  if (status >= 200 && status < 300) return true;
  struct span sentence = server_sentence(ask, r->body);
  enum err result = ERR_FORMAT;
  bool permanent = true;
  if (status == 408 || status == 425 || status == 429 || status >= 500)
    result = ERR_UNAVAILABLE, permanent = false;
  else if (status == 401 || status == 402 || status == 403)
    result = ERR_DENIED, permanent = false;
  else if (status < 400 || status == 404 || status == 405)
    result = ERR_CONFIG, permanent = false; // a wrong address or model
  responder__fail(ask, result, permanent, "HTTP %d%s%.*s", status, sentence.len ? ": " : "", SPAN_FMT(sentence));
  return false;
}

// ---------------------------------------------------------------- messages

static void add_raw(struct ask *ask, struct span message) {
  if (ask->count == RESPONDER_MAX_MESSAGES) {
    responder__fail(ask, ERR_TOO_LARGE, true, "more than %u messages", RESPONDER_MAX_MESSAGES);
    return;
  }
  struct span copy = arena_copy(&ask->arena, message);
  if (!copy.ptr) {
    responder__fail(ask, ERR_TOO_LARGE, true, "the answer is too large");
    return;
  }
  ask->messages[ask->count++] = copy;
}

static bool white(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static struct span trim(struct span s) {
  while (s.len && white(s.ptr[0]))
    s = span_from(s, 1);
  while (s.len && white(s.ptr[s.len - 1]))
    s.len--;
  return s;
}

// Length of the first piece of at most RESPONDER_MAX_TEXT characters (counted as UTF-16 does, which is never less than what Meta counts):
// all of it, or up to the last line's end or space in its second half, or in the middle of a word that has no end.
static size_t first_piece(struct span s) {
  size_t units = 0, i = 0, line = 0, space = 0;
  while (i < s.len) {
    unsigned char c = (unsigned char)s.ptr[i];
    size_t bytes = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    units += bytes == 4 ? 2 : 1;
    if (units > RESPONDER_MAX_TEXT) break;
    if (c == '\n' && units > RESPONDER_MAX_TEXT / 2) line = i;
    if (c == ' ' && units > RESPONDER_MAX_TEXT / 2) space = i;
    i += bytes;
  }
  if (i >= s.len) return s.len;
  return line ? line : space ? space : i;
}

void responder__add_text(struct ask *ask, struct span text) {
  text = trim(text);
  if (!text.len) return; // Meta refuses an empty body
  if (ask->text.len) buf_add_byte(&ask->text, '\n');
  buf_add_span(&ask->text, text);
  struct buf out = {0};
  while (text.len && ask->result == ERR_OK) {
    struct span piece = {text.ptr, first_piece(text)};
    text = trim(span_from(text, piece.len));
    buf_clear(&out);
    struct json_writer w;
    json_start(&w, &out);
    json_open(&w, NULL, '{');
    json_put_string(&w, "type", "text");
    json_open(&w, "text", '{');
    json_put_text(&w, "body", trim(piece));
    json_close(&w, '}');
    json_close(&w, '}');
    add_raw(ask, buf_span(&out));
  }
  buf_free(&out);
}

void responder__add_message(struct ask *ask, const struct json *message) {
  struct span type = json_get_text(message, "type");
  if (!message || message->type != JSON_OBJECT || !type.len) {
    responder__fail(ask, ERR_FORMAT, true, "message %zu of the answer is not a Graph message object with a type", ask->count + 1);
    return;
  }
  struct span body = json_text(json_path(message, "text.body"));
  if (span_eq(type, SPAN("text")) && body.len) {
    if (ask->text.len) buf_add_byte(&ask->text, '\n');
    buf_add_span(&ask->text, body);
  }
  add_raw(ask, message->raw);
}
