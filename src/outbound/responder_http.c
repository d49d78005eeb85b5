// The responder of one's own: a signed POST with the message, an answer with what to send. Runs in the dispatcher.
#include "responder.h"

#include <stdio.h>

void responder__http_body(const struct responder_question *q, const char *id, struct buf *out) {
  struct json_writer w;
  char received[25];
  clock_format_iso(q->received_us, received);
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_put_string(&w, "id", id);

  json_open(&w, "business", '{');
  json_put_text(&w, "id", q->business_id);
  json_put_text(&w, "name", q->business_name);
  json_put_text(&w, "sub_domain", q->sub_domain);
  json_close(&w, '}');

  json_open(&w, "conversation", '{');
  json_put_text(&w, "session", q->session);
  json_put_text(&w, "phone_number_id", q->phone_number_id);
  json_put_text(&w, "user", q->user);
  json_put_text(&w, "profile_name", q->profile_name);
  json_open(&w, "turns", '[');
  for (size_t i = 0; i < q->turn_count; i++) {
    json_open(&w, NULL, '{');
    json_put_string(&w, "role", q->turns[i].from_user ? "user" : "assistant");
    json_put_text(&w, "text", q->turns[i].text);
    json_close(&w, '}');
  }
  json_close(&w, ']');
  json_close(&w, '}');

  json_open(&w, "message", '{');
  json_put_text(&w, "id", q->wamid);
  json_put_text(&w, "type", q->type);
  json_put_text(&w, "text", q->text.ptr ? q->text : SPAN(""));
  json_put_string(&w, "received_at", received);
  json_put_u64(&w, "attempt", q->attempt);
  json_put_raw(&w, "raw", q->raw);
  json_close(&w, '}');
  json_close(&w, '}');
}

// {"reply": text}, {"messages": [...]}, a list of Graph message objects, or one of them.
void responder__http_answer(struct ask *ask, struct span body) {
  const struct json *doc = NULL;
  if (json_parse(&ask->arena, body, NULL, &doc, NULL)) {
    responder__fail(ask, ERR_FORMAT, true, "the answer is not JSON");
    return;
  }
  const struct json *messages = doc->type == JSON_ARRAY ? doc : json_get(doc, "messages");
  const struct json *reply = json_get(doc, "reply");
  if (messages && messages->type == JSON_ARRAY) {
    for (const struct json *message = messages->child; message; message = message->next)
      responder__add_message(ask, message);
  } else if (reply && (reply->type == JSON_STRING || reply->type == JSON_NULL)) {
    responder__add_text(ask, json_text(reply)); // null: nothing to say
  } else if (json_get(doc, "type")) {
    responder__add_message(ask, doc);
  } else {
    responder__fail(ask, ERR_FORMAT, true, "the answer holds neither \"reply\" nor \"messages\"");
  }
}

static void on_answer(void *ctx, const struct outbound_response *response) {
  struct ask *ask = ctx;
  ALWAYS(ask->magic == ASK_MAGIC);
  if (responder__check(ask, response) && response->status != 204 && response->status != 205) responder__http_answer(ask, response->body);
  responder__finish(ask);
}

// The same for every attempt at one message, so that the other side can recognise a repetition. A wamid is Meta's, but it goes into a
// header.
static void message_id(const struct responder_question *q, char *out, size_t size) {
  bool plain = q->wamid.len > 0 && q->wamid.len < size;
  for (size_t i = 0; plain && i < q->wamid.len; i++)
    plain = q->wamid.ptr[i] > ' ' && q->wamid.ptr[i] <= '~';
  if (plain)
    snprintf(out, size, "%.*s", SPAN_FMT(q->wamid));
  else
    snprintf(out, size, "job-%lld", (long long)q->job);
}

void responder__http(struct outbound *outbound, const struct responder_spec *spec, const struct responder_question *question,
                     responder_done *on_done, void *ctx) {
  struct ask *ask = responder__ask_new(on_done, ctx);
  if (!spec->url || !*spec->url) {
    responder__fail(ask, ERR_CONFIG, false, "the http responder has no url");
    responder__finish_later(outbound, ask);
    return;
  }
  char id[256], id_line[288], signature[128] = "X-Wahook-Signature-256: sha256=";
  message_id(question, id, sizeof id);
  snprintf(id_line, sizeof id_line, "X-Wahook-Id: %s", id);
  const char *headers[3] = {id_line, NULL, NULL};
  struct buf body = {0};
  responder__http_body(question, id, &body);
  if (spec->sign && spec->key && *spec->key) {
    char hex[65];
    spec->sign(spec->key, buf_span(&body), hex);
    snprintf(signature, sizeof signature, "X-Wahook-Signature-256: sha256=%s", hex);
    headers[1] = signature;
  }
  struct outbound_request request = {
      .url = spec->url,
      .headers = headers,
      .body = buf_span(&body),
      .timeout_ms = spec->timeout_ms,
      .max_response_bytes = RESPONDER_MAX_BYTES,
      .foreign = spec->foreign,
  };
  outbound_start(outbound, &request, on_answer, ask);
  buf_free(&body);
}
