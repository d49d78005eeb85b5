// The Graph API: POST /{version}/{phone-number-id}/messages and /media, GET and DELETE /{version}/{media-id}. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdio.h>
#include <stdlib.h>

static void answer_error(struct sandbox *sandbox, struct http_request *request, const struct meta_error *error) {
  struct buf body = {0};
  sandbox_error_write(error, &body);
  sandbox_answer(sandbox, request, error->http_status, buf_span(&body), false);
  buf_free(&body);
}

struct span sandbox_bearer(const struct http_request *request) {
  struct span header = span_trim(http_request_header(request, "authorization")), scheme = {0};
  if (!span_split(&header, ' ', &scheme) || !span_eq_nocase(scheme, SPAN("Bearer"))) return (struct span){0};
  header = span_trim(header);
  return header.len ? header : (struct span){0};
}

static bool authorized(struct sandbox *sandbox, struct http_request *request, struct meta_error *error) {
  struct span token = sandbox_bearer(request);
  bool known = token.len > 0 && sandbox->options.token_count == 0;
  for (unsigned i = 0; i < sandbox->options.token_count; i++)
    known |= span_eq(token, span_of(sandbox->options.tokens[i]));
  if (!known) sandbox_error_set(error, 190, token.len ? "The sandbox does not know this token." : "There is no Authorization: Bearer.");
  return known;
}

// ---------------------------------------------------------------- messages

struct send {
  struct span phone_number_id, bearer, body;
  struct send_facts is;
};

static void write_accepted(const struct send *send, const char *wamid, struct buf *out) {
  struct json_writer w;
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_put_string(&w, "messaging_product", "whatsapp");
  json_open(&w, "contacts", '[');
  json_open(&w, NULL, '{');
  json_put_text(&w, "input", send->is.input);
  json_put_text(&w, "wa_id", send->is.user);
  json_close(&w, '}');
  json_close(&w, ']');
  json_open(&w, "messages", '[');
  json_open(&w, NULL, '{');
  json_put_string(&w, "id", wamid);
  json_close(&w, '}');
  json_close(&w, ']');
  json_close(&w, '}');
}

static struct record *keep(struct sandbox *sandbox, const struct send *send, enum record_kind kind, struct span wamid, const char *status,
                           int64_t code) {
  struct record_fields fields = {
      .kind = kind,
      .time_us = clock_wall_us(),
      .phone_number_id = send->phone_number_id,
      .bearer = send->bearer,
      .wamid = wamid,
      .user = send->is.user,
      .callback = send->is.callback,
      .body = send->body,
      .status = status,
      .code = code,
  };
  return record_add(&sandbox->record, &fields);
}

// The error that the faults ask for, if this send is to have one. A status without a code is a bare one, as from something before Graph.
static bool unlucky(struct sandbox *sandbox, struct http_request *request, const struct send *send, bool *bare, struct meta_error *error) {
  const struct faults *faults = &sandbox->faults;
  *bare = false;
  if (!pair_allow(&sandbox->pairs, send->phone_number_id, send->is.user, faults->pair_limit, http_request_started_us(request))) {
    sandbox_error_set(error, 131056, "Too many messages to this user in a short time.");
    return true;
  }
  if (!faults_hit(faults->error_rate, random_u64())) return false;
  sandbox_error_set(error, faults->error_code, "A fault of the sandbox, as asked for.");
  if (faults->http_status) error->http_status = (int)faults->http_status;
  *bare = faults->error_code == 0;
  return true;
}

static bool media_is_known(struct sandbox *sandbox, const struct send *send, struct meta_error *error) {
  if (!send->is.media_id.len || media_find(&sandbox->media, send->is.media_id)) return true;
  sandbox_error_set(error, 131009, "Media ID not found.");
  return false;
}

static void accept_message(struct sandbox *sandbox, struct http_request *request, const struct send *send) {
  char wamid[80];
  sandbox_new_wamid(wamid);
  struct record *record = keep(sandbox, send, RECORD_MESSAGE, span_of(wamid), send->is.is_dropped ? "dropped" : "accepted", 0);
  if (!send->is.is_dropped && sandbox->faults.statuses) sandbox_statuses_schedule(sandbox, record);
  struct buf answer = {0};
  write_accepted(send, wamid, &answer);
  sandbox_answer(sandbox, request, 200, buf_span(&answer), faults_hit(sandbox->faults.drop_rate, random_u64()));
  buf_free(&answer);
}

// The user of a read mark is the one whose message it names.
static void accept_read_mark(struct sandbox *sandbox, struct http_request *request, struct send *send, struct span message_id) {
  for (size_t i = sandbox->record.inbound ? sandbox->record.count : 0, n = 0; i-- > 0 && n < 1000; n++) {
    struct record *record = sandbox->record.items[i];
    if (record->is.kind != RECORD_INBOUND || !span_eq(record->is.wamid, message_id)) continue;
    send->is.user = record->is.user;
    record_set_status(&sandbox->record, record, "read");
    break;
  }
  keep(sandbox, send, RECORD_READ, message_id, NULL, 0);
  sandbox_answer(sandbox, request, 200, SPAN("{\"success\":true}"), false);
}

static void on_messages(struct sandbox *sandbox, struct http_request *request, struct span phone_number_id) {
  struct send send = {.phone_number_id = phone_number_id, .bearer = sandbox_bearer(request), .body = http_request_body(request)};
  const struct json *body = NULL;
  struct meta_error error;
  bool bare = false;
  if (json_parse(&sandbox->arena, send.body, NULL, &body, NULL) != ERR_OK) {
    sandbox_error_set(&error, 100, "The body is no JSON.");
    answer_error(sandbox, request, &error);
    return;
  }
  if (!sandbox_check_send(body, &send.is, &error) || !media_is_known(sandbox, &send, &error)) {
    keep(sandbox, &send, RECORD_REFUSED, (struct span){0}, NULL, error.code);
    answer_error(sandbox, request, &error);
    return;
  }
  if (send.is.is_read_mark) {
    accept_read_mark(sandbox, request, &send, json_get_text(body, "message_id"));
    return;
  }
  if (!unlucky(sandbox, request, &send, &bare, &error)) {
    accept_message(sandbox, request, &send);
    return;
  }
  keep(sandbox, &send, RECORD_REFUSED, (struct span){0}, NULL, bare ? error.http_status : error.code);
  if (bare)
    sandbox_answer(sandbox, request, error.http_status, SPAN("{}"), false);
  else
    answer_error(sandbox, request, &error);
}

// ---------------------------------------------------------------- media

static void on_upload(struct sandbox *sandbox, struct http_request *request) {
  struct meta_error error;
  struct form_part file, part;
  struct span body = http_request_body(request), boundary = form_boundary(http_request_header(request, "content-type"));
  const char *missing = NULL;
  if (!boundary.len)
    missing = "multipart/form-data";
  else if (!form_find(body, boundary, "messaging_product", &part) || !span_eq(part.bytes, SPAN("whatsapp")))
    missing = "messaging_product";
  else if (!form_find(body, boundary, "file", &file))
    missing = "file";
  if (missing) {
    sandbox_error_set(&error, 100, "The parameter %s is required.", missing);
    answer_error(sandbox, request, &error);
    return;
  }
  struct span type = file.type;
  if (form_find(body, boundary, "type", &part) && part.bytes.len) type = part.bytes;
  const struct media *media = media_add(&sandbox->media, type, file.bytes);
  char answer[64];
  int n = snprintf(answer, sizeof answer, "{\"id\":\"%s\"}", media->id);
  sandbox_answer(sandbox, request, 200, (struct span){answer, (size_t)n}, false);
}

static void on_media(struct sandbox *sandbox, struct http_request *request, struct span id) {
  struct media *media = media_find(&sandbox->media, id);
  struct meta_error error;
  if (!media) {
    sandbox_error_set(&error, 100, "There is no object with this ID.");
    answer_error(sandbox, request, &error);
    return;
  }
  if (http_request_method(request) == HTTP_M_DELETE) {
    media_remove(&sandbox->media, media);
    sandbox_answer(sandbox, request, 200, SPAN("{\"success\":true}"), false);
    return;
  }
  struct buf url = {0}, body = {0};
  buf_printf(&url, "http://%.*s/sandbox/media/%s", SPAN_FMT(http_request_header(request, "host")), media->id);
  struct json_writer w;
  json_start(&w, &body);
  json_open(&w, NULL, '{');
  json_put_string(&w, "messaging_product", "whatsapp");
  json_put_text(&w, "url", buf_span(&url));
  json_put_string(&w, "mime_type", media->mime_type);
  json_put_string(&w, "sha256", media->sha256);
  json_put_u64(&w, "file_size", media->bytes.len);
  json_put_string(&w, "id", media->id);
  json_close(&w, '}');
  sandbox_answer(sandbox, request, 200, buf_span(&body), false);
  buf_free(&body);
  buf_free(&url);
}

// The address that on_media gave; Meta wants the token there too.
void sandbox_on_file(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  struct meta_error error;
  if (!authorized(sandbox, request, &error)) {
    answer_error(sandbox, request, &error);
    return;
  }
  const struct media *media = media_find(&sandbox->media, span_from(http_request_path(request), sizeof "/sandbox/media/" - 1));
  if (!media) {
    http_respond_error(request, 404, "there is no such media");
    return;
  }
  http_respond(request, 200, media->mime_type, media->bytes.len ? buf_span(&media->bytes) : SPAN(""), NULL, 0);
}

// ---------------------------------------------------------------- paths

static bool is_version(struct span s) { // v21.0
  if (s.len < 2 || s.ptr[0] != 'v') return false;
  for (size_t i = 1; i < s.len; i++)
    if ((s.ptr[i] < '0' || s.ptr[i] > '9') && s.ptr[i] != '.') return false;
  return true;
}

void sandbox_on_graph(struct http_request *request, void *ctx) {
  struct sandbox *sandbox = ctx;
  ALWAYS(sandbox->magic == SANDBOX_MAGIC);
  enum http_method method = http_request_method(request);
  bool reads = method == HTTP_M_GET || method == HTTP_M_HEAD;
  struct span rest = span_from(http_request_path(request), 1), version = {0}, object = {0}, edge = {0};
  if (rest.len == 0 && reads) {
    sandbox_on_page(request);
    return;
  }
  struct meta_error error;
  bool has_edge = span_split(&rest, '/', &version) && span_split(&rest, '/', &object) && span_split(&rest, '/', &edge);
  if (!is_version(version)) {
    http_respond_error(request, 404, "not found");
    return;
  }
  arena_reset(&sandbox->arena);
  if (!authorized(sandbox, request, &error)) {
    answer_error(sandbox, request, &error);
  } else if (has_edge && method == HTTP_M_POST && span_eq(edge, SPAN("messages")) && rest.len == 0 && object.len > 0) {
    on_messages(sandbox, request, object);
  } else if (has_edge && method == HTTP_M_POST && span_eq(edge, SPAN("media")) && rest.len == 0 && object.len > 0) {
    on_upload(sandbox, request);
  } else if (!has_edge && object.len > 0 && (reads || method == HTTP_M_DELETE)) {
    on_media(sandbox, request, object);
  } else {
    sandbox_error_set(&error, 2500, NULL);
    answer_error(sandbox, request, &error);
  }
}
