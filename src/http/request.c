// What handlers see of a request; tickets; a request's way from and to the free list. Runs in workers and tools.
#include <string.h>

#include "internal.h"

#define REQUESTS_FIRST 64

// ---------------------------------------------------------------- life

static void make_requests(struct http_server *server) {
  uint32_t more = server->request_count ? server->request_count : REQUESTS_FIRST;
  server->requests = xrealloc(server->requests, (server->request_count + more) * sizeof(struct http_request *));
  for (uint32_t i = 0; i < more; i++) {
    struct http_request *request = http__pool_new(&server->pool, sizeof *request);
    request->magic = HTTP__REQUEST_MAGIC;
    request->index = server->request_count + i;
    request->server = server;
    request->next = server->free_requests;
    server->requests[request->index] = request;
    server->free_requests = request;
  }
  server->request_count += more;
}

struct http_request *http__request_new(struct http_server *server, struct http__conn *conn) {
  if (!server->free_requests) make_requests(server);
  struct http_request *request = server->free_requests;
  ALWAYS(request->magic == HTTP__REQUEST_MAGIC && request->stage == HTTP__S_FREE);
  server->free_requests = request->next;
  uint32_t index = request->index, generation = request->generation;
  memset(request, 0, sizeof *request);
  request->magic = HTTP__REQUEST_MAGIC;
  request->index = index;
  request->generation = generation;
  request->server = server;
  request->conn = conn;
  request->stage = HTTP__S_HEAD;
  request->started_us = loop_now_us(server->loop);
  request->client = (const struct sockaddr *)&conn->peer;
  request->client_text = conn->peer_text;
  request->name = "";
  return request;
}

void http__request_free(struct http_request *request) {
  struct http_server *server = request->server;
  if (request->in_work) server->in_work--;
  http__block_release(&server->pool, &request->message.head);
  http__block_release(&server->pool, &request->message.body);
  http__block_release(&server->pool, &request->out);
  request->stage = HTTP__S_FREE;
  request->in_work = false;
  request->conn = NULL;
  request->generation++; // tickets of the old one find nothing
  request->next = server->free_requests;
  server->free_requests = request;
}

// An id from a trusted proxy is kept when it is harmless in a log line and a header.
static bool id_usable(struct span id) {
  if (!id.len || id.len >= HTTP__ID_MAX) return false;
  for (size_t i = 0; i < id.len; i++) {
    char c = id.ptr[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.')) return false;
  }
  return true;
}

void http__request_identify(struct http_request *request) {
  struct http_server *server = request->server;
  const struct http__conn *conn = request->conn;
  struct span given = http__message_known(&request->message, HTTP__F_REQUEST_ID);
  if (conn->trusted && id_usable(given)) {
    memcpy(request->id, given.ptr, given.len);
    request->id[given.len] = '\0';
  } else {
    uint64_t id = server->id_seed + ++server->id_count;
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--, id >>= 4)
      request->id[i] = digits[id & 15];
    request->id[16] = '\0';
  }
  if (conn->trusted && !conn->want_proxy &&
      http__forwarded_client(&request->message, server->options.is_trusted, server->options.ctx, &request->forwarded)) {
    request->client = (const struct sockaddr *)&request->forwarded;
    http__address_text(request->client, request->forwarded_text);
    request->client_text = request->forwarded_text;
  }
}

// ---------------------------------------------------------------- tickets

struct http_ticket http_request_ticket(const struct http_request *request) {
  return (struct http_ticket){.index = request->index, .generation = request->generation};
}

struct http_request *http_request_find(struct http_server *server, struct http_ticket ticket) {
  ALWAYS(server->magic == HTTP__SERVER_MAGIC);
  if (ticket.index >= server->request_count) return NULL;
  struct http_request *request = server->requests[ticket.index];
  if (request->generation != ticket.generation || request->stage == HTTP__S_FREE || request->answered) return NULL;
  if (!request->conn || request->conn->state == HTTP__C_CLOSING) return NULL;
  return request;
}

// ---------------------------------------------------------------- what a handler may ask

enum http_method http_request_method(const struct http_request *request) {
  return request->message.method;
}

struct span http_request_path(const struct http_request *request) {
  return request->message.path;
}

struct span http_request_query(const struct http_request *request) {
  return request->message.query;
}

struct span http_request_host(const struct http_request *request) {
  return request->message.host;
}

struct span http_request_header(const struct http_request *request, const char *lower_case_name) {
  const struct http__message *m = &request->message;
  size_t len = strlen(lower_case_name);
  for (unsigned i = 0; i < m->field_count; i++)
    if (m->fields[i].name.len == len && memcmp(m->fields[i].name.ptr, lower_case_name, len) == 0) return m->fields[i].value;
  return (struct span){0};
}

unsigned http_request_header_count(const struct http_request *request, const char *lower_case_name) {
  const struct http__message *m = &request->message;
  struct span name = span_of(lower_case_name);
  unsigned count = 0;
  for (unsigned i = 0; i < m->field_count; i++)
    count += span_eq(m->fields[i].name, name);
  return count;
}

struct span http_request_body(const struct http_request *request) {
  const struct http__block *body = &request->message.body;
  return (struct span){body->data ? body->data : "", body->len};
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

void http_request_close_after(struct http_request *request) {
  request->close_after = true;
}

void http_request_abort(struct http_request *request) {
  ALWAYS(request->magic == HTTP__REQUEST_MAGIC);
  http__conn_close(request->conn, HTTP__CLOSE_SERVER);
}
