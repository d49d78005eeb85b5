// Requests in their slots, and what handlers may ask of them. Runs in workers and tools.
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

// ---------------------------------------------------------------- slots

static struct http_request *slot_new(struct http_server *server) {
  if ((server->request_count & (server->request_count - 1)) == 0) { // 0, 1, 2, 4, ...: full
    size_t room = server->request_count ? (size_t)server->request_count * 2 : 1;
    server->requests = xrealloc(server->requests, room * sizeof(struct http_request *));
    http__count(server, METRIC_HTTP_ALLOCATIONS, 1);
  }
  struct http_request *request = http__pool_new(&server->pool, sizeof *request);
  request->magic = HTTP__REQUEST_MAGIC;
  request->index = server->request_count;
  request->generation = 1; // a zeroed ticket never fits
  request->server = server;
  server->requests[server->request_count++] = request;
  return request;
}

// Sixteen hex digits, different for each request of this machine's processes with high probability.
static void make_id(struct http_server *server, char out[static HTTP__ID_MAX]) {
  uint64_t x = server->id_seed + ++server->id_count * 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  hex_encode(&x, sizeof x, out);
}

struct http_request *http__request_new(struct http_server *server, struct http__conn *conn) {
  struct http_request *request = server->free_requests;
  if (request)
    server->free_requests = request->next;
  else
    request = slot_new(server);
  server->requests_used++;
  memset(&request->message, 0, offsetof(struct http__message, fields));
  memset(request->state, 0, sizeof request->state);
  request->stage = HTTP__S_HEAD;
  request->conn = conn;
  request->next = NULL;
  request->route = NULL;
  request->out = (struct http__block){0};
  request->sent = 0;
  request->interim_left = 0;
  request->answered = request->in_work = request->close_after = request->has_body = false;
  request->compressible = request->gzipped = false;
  request->status = 0;
  request->started_us = loop_now_us(server->loop);
  request->body_started_us = 0;
  request->client = (const struct sockaddr *)&conn->peer;
  request->client_text = conn->peer_text;
  request->name = NULL;
  make_id(server, request->id);
  return request;
}

void http__request_free(struct http_request *request) {
  struct http_server *server = request->server;
  http__block_release(&server->pool, &request->message.head);
  http__block_release(&server->pool, &request->message.body);
  http__block_release(&server->pool, &request->out);
  request->stage = HTTP__S_FREE;
  server->requests_used--;
  request->generation++;
  request->conn = NULL;
  request->next = server->free_requests;
  server->free_requests = request;
}

// A proxy's id is taken over when it is harmless in logs and headers.
static bool is_good_id(struct span id) {
  if (id.len == 0 || id.len >= HTTP__ID_MAX) return false;
  for (size_t i = 0; i < id.len; i++) {
    char c = id.ptr[i];
    bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alnum && !strchr("-_.:", c)) return false;
  }
  return true;
}

void http__request_identify(struct http_request *request) {
  if (!request->conn->trusted) return;
  const struct http__message *m = &request->message;
  struct span id = http__message_known(m, HTTP__F_REQUEST_ID);
  if (is_good_id(id)) {
    memcpy(request->id, id.ptr, id.len);
    request->id[id.len] = '\0';
  }
  const struct http_server_options *options = &request->server->options;
  if (m->known_count[HTTP__F_FORWARDED_FOR] && http__forwarded_client(m, options->is_trusted, options->ctx, &request->forwarded)) {
    request->client = (const struct sockaddr *)&request->forwarded;
    http__address_text(request->client, request->forwarded_text);
    request->client_text = request->forwarded_text;
  }
}

// ---------------------------------------------------------------- tickets

struct http_ticket http_request_ticket(const struct http_request *request) {
  ALWAYS(request->magic == HTTP__REQUEST_MAGIC);
  return (struct http_ticket){request->index, request->generation};
}

struct http_request *http_request_find(struct http_server *server, struct http_ticket ticket) {
  if (ticket.index >= server->request_count) return NULL;
  struct http_request *request = server->requests[ticket.index];
  if (request->generation != ticket.generation || request->stage == HTTP__S_FREE || request->answered) return NULL;
  return request;
}

// ---------------------------------------------------------------- getters

enum http_method http_request_method(const struct http_request *request) {
  return request->message.method;
}

struct span http_request_path(const struct http_request *request) {
  return request->message.path;
}

struct span http_request_query(const struct http_request *request) {
  return request->message.query;
}

struct span http_request_field(const struct http_request *request, struct span lower_case_name) {
  const struct http__message *m = &request->message;
  for (unsigned i = 0; i < m->field_count; i++)
    if (span_eq(m->fields[i].name, lower_case_name)) return m->fields[i].value;
  return (struct span){0};
}

unsigned http_request_header_count(const struct http_request *request, const char *lower_case_name) {
  struct span name = span_of(lower_case_name);
  unsigned count = 0;
  for (unsigned i = 0; i < request->message.field_count; i++)
    if (span_eq(request->message.fields[i].name, name)) count++;
  return count;
}

struct span http_request_host(const struct http_request *request) {
  return request->message.host;
}

struct span http_request_body(const struct http_request *request) {
  const struct http__block *body = &request->message.body;
  return body->len ? (struct span){body->data, body->len} : SPAN("");
}

uint64_t http_request_body_bytes(const struct http_request *request) {
  return request->message.body_bytes;
}

void http_request_drop_body(struct http_request *request) {
  http__block_release(&request->server->pool, &request->message.body);
}

void http_request_prefetch(const struct http_server *server, struct http_ticket ticket) {
  if (ticket.index >= server->request_count) return;
  const char *request = (const char *)server->requests[ticket.index];
  __builtin_prefetch(request);
  __builtin_prefetch(request + offsetof(struct http_request, out));
}

const char *http_request_id(const struct http_request *request) {
  return request->id;
}

int64_t http_request_started_us(const struct http_request *request) {
  return request->started_us;
}

int http_request_listener(const struct http_request *request) {
  return request->conn->listener_tag;
}

const struct sockaddr *http_request_client(const struct http_request *request) {
  return request->client;
}

const char *http_request_client_text(const struct http_request *request) {
  return request->client_text;
}

void *http_request_state(struct http_request *request) {
  return request->state;
}

void http_request_set_name(struct http_request *request, const char *literal) {
  request->name = literal;
}

void http_request_compress(struct http_request *request) {
  request->compressible = true;
}

void http_request_close_after(struct http_request *request) {
  request->close_after = true;
}

void http_request_abort(struct http_request *request) {
  ALWAYS(request->magic == HTTP__REQUEST_MAGIC && request->stage != HTTP__S_FREE);
  http__conn_close(request->conn, HTTP__CLOSE_SERVER);
}
