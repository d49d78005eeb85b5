// An HTTP/1.1 server on the loop: strict where llhttp is lax, bounded everywhere, pipelining in order.
#ifndef WAHOOK_HTTP_H
#define WAHOOK_HTTP_H

#include "wahook/loop.h"
#include "wahook/metrics.h"

enum http_method {
  HTTP_M_NONE,
  HTTP_M_GET,
  HTTP_M_HEAD,
  HTTP_M_POST,
  HTTP_M_PUT,
  HTTP_M_DELETE,
  HTTP_M_OPTIONS,
  HTTP_M_PATCH,
  HTTP_M_COUNT
};
#define HTTP_ALLOW(method) (1u << (method))
const char *http_method_name(enum http_method method);
enum http_method http_method_find(struct span name); // HTTP_M_NONE when it is none of them
const char *http_status_text(int status);            // RFC 9110 section 15 reason phrase, "Unknown" otherwise

struct http_server;
struct http_request;

// A request's name that outlives it: resume by ticket, never by pointer.
struct http_ticket {
  uint32_t index, generation;
};

struct http_limits {
  size_t max_body_bytes;                // 413 beyond (a route may set its own)
  unsigned max_headers;                 // 431 beyond; 100
  size_t max_line_bytes;                // 431 a header line, 414 the target; 8 KiB
  size_t max_head_bytes;                // 431; 32 KiB
  int64_t head_ms;                      // whole head, absolute; 408
  int64_t body_ms;                      // grace for the body, then at least min_body_rate; 408
  uint64_t min_body_rate;               // bytes/s after the grace
  int64_t idle_ms;                      // keep-alive idle; closed silently
  int64_t write_ms;                     // without progress on a write; reset
  unsigned max_pipeline;                // requests in work per connection; reading stops beyond; one while max_connections are in work
  unsigned max_connections;             // total; accepting stops beyond
  unsigned max_connections_per_address; // reset beyond; an IPv6 /64 counts as one address; 0: half of what fits
  unsigned max_requests_per_connection; // 0: no bound
};
struct http_limits http_limits_default(void);

// One table of routes per server. Paths match exactly, or as a prefix where they end in "/".
struct http_route {
  const char *path;
  unsigned methods; // HTTP_ALLOW(...) | ...; GET allows HEAD. Others get 405 + Allow.
  // After the head, before the body (and before 100 Continue): may answer (then the body is drained or the connection closed). May be NULL.
  void (*on_head)(struct http_request *request, void *ctx);
  // The whole request is there. Answers now, or later through a ticket.
  void (*on_request)(struct http_request *request, void *ctx);
  void *ctx;
  size_t max_body_bytes; // 0: the server's
};

struct http_server_options {
  struct loop *loop;
  struct shm_slot *slot; // counters
  struct http_limits limits;
  const struct http_route *routes;
  unsigned route_count;
  // Runs for every request right before its response is written (access log, metrics). May be NULL.
  void (*on_answered)(struct http_request *request, int status, size_t response_bytes, void *ctx);
  void *ctx;
  bool trust_proxy_protocol;                                  // PROXY protocol v1/v2 is read from peers that `is_trusted` accepts
  bool (*is_trusted)(const struct sockaddr *peer, void *ctx); // trusted proxies; NULL: nobody
};
struct http_server *http_server_new(const struct http_server_options *options);
// Serves an already listening descriptor (TCP or unix); several may be added. Takes the descriptor over. `tag` comes back in
// http_request_listener(). From HTTP_OPERATOR_TAG on it is the operator's listener: a few of its connections are taken when all places for
// others are.
#define HTTP_OPERATOR_TAG 1000
enum err http_server_listen(struct http_server *server, int fd, int tag) MUST_CHECK;
// Accepts what waits already and then no more, answers what is open with Connection: close, closes idle connections; on_done when none is
// left.
void http_server_drain(struct http_server *server, void (*on_done)(void *ctx), void *ctx);
unsigned http_server_connections(const struct http_server *server);
unsigned http_server_requests(const struct http_server *server); // in work now
void http_server_close(struct http_server *server); // resets everything; free once its handles are closed (by the next loop turns)

// What a handler may ask. Spans live until the answer is given.
enum http_method http_request_method(const struct http_request *request);
struct span http_request_path(
    const struct http_request *request); // percent-decoded, no query; never has "//", "." or ".." segments tricks: matched as bytes
struct span http_request_query(const struct http_request *request); // raw
struct span http_request_field(const struct http_request *request, struct span lower_case_name);
static inline struct span http_request_header(const struct http_request *request,
                                              const char *lower_case_name) { // absent span when missing; first of several
  return http_request_field(request, span_of(lower_case_name));
}
unsigned http_request_header_count(const struct http_request *request, const char *lower_case_name);
struct span http_request_host(const struct http_request *request); // without port, lower case
struct span http_request_body(const struct http_request *request); // in on_request
uint64_t http_request_body_bytes(const struct http_request *request);
// The handler has read the body: its memory serves the next request, though the answer is still to come.
void http_request_drop_body(struct http_request *request);
// The request that a ticket is of will be answered soon: has it fetched from memory meanwhile.
void http_request_prefetch(const struct http_server *server, struct http_ticket ticket);
const char *http_request_id(const struct http_request *request);     // our id of this request, X-Request-Id of a trusted peer
int64_t http_request_started_us(const struct http_request *request); // monotonic, first byte
int http_request_listener(const struct http_request *request);       // the tag of its listener
// The client's address: the peer, or what a trusted proxy says (PROXY protocol, else the rightmost untrusted hop of X-Forwarded-For).
const struct sockaddr *http_request_client(const struct http_request *request);
const char *http_request_client_text(const struct http_request *request); // "203.0.113.7" / "2001:db8::1" / "unix"
struct http_ticket http_request_ticket(const struct http_request *request);
struct http_request *http_request_find(struct http_server *server,
                                       struct http_ticket ticket); // NULL: the client is gone or it was answered
// Space for the handler's own state (64 bytes, zeroed at the request's start).
void *http_request_state(struct http_request *request);
void http_request_set_name(struct http_request *request, const char *literal); // what the access log may add; a literal

// Answers: exactly one per request. Date, Content-Length, X-Process-Time, Connection and X-Request-Id are added here.
struct http_header {
  const char *name;
  const char *value;
};
void http_respond(struct http_request *request, int status, const char *content_type, struct span body, const struct http_header *headers,
                  unsigned header_count);
void http_respond_json(struct http_request *request, int status, struct span json);
// {"detail":"..."} with the text escaped.
void http_respond_error(struct http_request *request, int status, const char *detail);
// The answer goes out with gzip where that is worth it and the client accepts it, and in any case with Vary. Not for what holds a secret
// and shows what a client sends: its size would tell one by the other.
void http_request_compress(struct http_request *request);
// Closes the connection after this answer.
void http_request_close_after(struct http_request *request);
// Resets the connection without an answer; the request is gone then.
void http_request_abort(struct http_request *request);

#endif
