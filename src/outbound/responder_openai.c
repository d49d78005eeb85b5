// The responder that asks an OpenAI-compatible chat completion service. Runs in the dispatcher.
#include "responder.h"

#define DEFAULT_URL   "https://api.openai.com"
#define DEFAULT_MODEL "gpt-4o-mini"

static void put_turn(struct json_writer *w, const char *role, struct span text) {
  json_open(w, NULL, '{');
  json_put_string(w, "role", role);
  json_put_text(w, "content", text);
  json_close(w, '}');
}

void responder__openai_body(const struct responder_spec *spec, const struct responder_question *q, struct buf *out) {
  struct json_writer w;
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_put_string(&w, "model", spec->model && *spec->model ? spec->model : DEFAULT_MODEL);
  json_open(&w, "messages", '[');
  if (spec->system_prompt && *spec->system_prompt) put_turn(&w, "system", span_of(spec->system_prompt));
  for (size_t i = 0; i < q->turn_count; i++)
    if (q->turns[i].text.len) put_turn(&w, q->turns[i].from_user ? "user" : "assistant", q->turns[i].text);
  put_turn(&w, "user", q->text);
  json_close(&w, ']');
  json_close(&w, '}');
}

// choices[0].message.content: a string, or a list of parts of which the text ones count.
void responder__openai_answer(struct ask *ask, struct span body) {
  const struct json *doc = NULL;
  if (json_parse(&ask->arena, body, NULL, &doc, NULL)) {
    responder__fail(ask, ERR_FORMAT, true, "the answer is not JSON");
    return;
  }
  const struct json *message = json_path(doc, "choices.0.message"), *content = json_get(message, "content");
  if (content && content->type == JSON_STRING) {
    responder__add_text(ask, content->text);
  } else if (content && content->type == JSON_ARRAY) {
    struct buf text = {0};
    for (const struct json *part = content->child; part; part = part->next)
      buf_add_span(&text, json_get_text(part, "text"));
    responder__add_text(ask, buf_span(&text));
    buf_free(&text);
  } else if (json_get_text(message, "refusal").len) {
    responder__add_text(ask, json_get_text(message, "refusal")); // the model's own polite sentence
  } else {
    responder__fail(ask, ERR_FORMAT, true, "the answer holds no choices[0].message.content");
  }
}

static void on_answer(void *ctx, const struct outbound_response *response) {
  struct ask *ask = ctx;
  ALWAYS(ask->magic == ASK_MAGIC);
  if (responder__check(ask, response)) responder__openai_answer(ask, response->body);
  // The one 429 that waiting does not cure: the account has no money left.
  if (response->result == ERR_OK && response->status == 429) {
    const struct json *doc = NULL;
    if (json_parse(&ask->arena, response->body, NULL, &doc, NULL) == ERR_OK &&
        span_eq(json_text(json_path(doc, "error.code")), SPAN("insufficient_quota")))
      ask->result = ERR_DENIED;
  }
  responder__finish(ask);
}

// The setting is the service's base, but people write it with more or less of the path.
static void build_url(const char *setting, struct buf *out) {
  struct span base = span_of(setting && *setting ? setting : DEFAULT_URL);
  while (span_ends(base, SPAN("/")))
    base.len--;
  buf_add_span(out, base);
  if (span_ends(base, SPAN("/chat/completions"))) return;
  buf_add_text(out, span_ends(base, SPAN("/v1")) ? "/chat/completions" : "/v1/chat/completions");
}

void responder__openai(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                       responder_done *on_done, void *ctx) {
  struct ask *ask = responder__ask_new(on_done, ctx);
  if (!question->text.len) {
    responder__finish_later(outbound, ask); // nothing that a text model could answer
    return;
  }
  struct buf url = {0}, body = {0};
  build_url(spec->url, &url);
  responder__openai_body(spec, question, &body);
  struct outbound_request request = {
      .url = url.data,
      .bearer = spec->key && *spec->key ? spec->key : NULL,
      .body = buf_span(&body),
      .timeout_ms = spec->timeout_ms,
      .max_response_bytes = RESPONDER_MAX_BYTES,
      .foreign = spec->foreign,
  };
  outbound_start(outbound, &request, on_answer, ask);
  buf_free(&url);
  buf_free(&body);
}
