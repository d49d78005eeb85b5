// Server, connection and request as the files of this folder see them.
#ifndef WAHOOK_HTTP_INTERNAL_H
#define WAHOOK_HTTP_INTERNAL_H

#include <netinet/in.h>
#include <sys/un.h>

#include "crowd.h"
#include "deadline.h"
#include "message.h"
#include "parser.h"
#include "wahook/http.h"
#include "wahook/log.h"

#define HTTP__SCRATCH_BYTES 65536
#define HTTP__CLIENT_TEXT   48
#define HTTP__ID_MAX        40

// ---------------------------------------------------------------- request

enum http__stage { HTTP__S_FREE, HTTP__S_HEAD, HTTP__S_BODY, HTTP__S_HANDLING, HTTP__S_ANSWERED };

struct http_request {
  uint32_t magic, index, generation;
  enum http__stage stage;
  struct http_server *server;
  struct http__conn *conn;
  struct http_request *next; // of the same connection, in order; or the next free one
  const struct http_route *route;
  struct http__message message;
  struct http__block out; // the answer
  size_t sent;            // of the answer
  uint8_t interim_left;   // bytes of "100 Continue" still to send
  bool answered;          // the body may still be on its way then
  bool in_work;           // counted by the server as being with a handler
  bool close_after;       // no further request on this connection
  bool has_body;          // a body is announced
  bool compressible;      // the handler's page may be compressed
  bool gzipped;           // and its answer is
  int status;
  int64_t started_us;      // first byte
  int64_t body_started_us; //
  const struct sockaddr *client;
  const char *client_text;
  struct sockaddr_storage forwarded; // where client points when a trusted proxy named it
  char forwarded_text[HTTP__CLIENT_TEXT];
  const char *name;
  char id[HTTP__ID_MAX];
  _Alignas(16) unsigned char state[64];
};

struct http_request *http__request_new(struct http_server *server, struct http__conn *conn);
void http__request_free(struct http_request *request);
// After the head: id, client.
void http__request_identify(struct http_request *request);
// Answers from inside, e.g. {"detail":"Not Found"}; with the status' own text when detail is NULL.
void http__respond_detail(struct http_request *request, int status, const char *detail, const struct http_header *headers, unsigned count);

// ---------------------------------------------------------------- compression

// Whether an Accept-Encoding of this value likes gzip no less than the plain answer.
bool http__accepts_gzip(struct span accept_encoding);
// The body as this client shall get it, behind what `out` has; false: as it is.
bool http__gzip(const struct http_request *request, struct span body, struct buf *out);

// ---------------------------------------------------------------- router

// The row that serves (path, method). NULL: *status is 404 or 405 and *allowed the methods that would do.
const struct http_route *http__route_find(const struct http_route *routes, unsigned count, struct span path, enum http_method method,
                                          int *status, unsigned *allowed);
// "GET, HEAD, POST"
#define HTTP__ALLOW_TEXT 64
void http__allow_text(unsigned allowed, char out[static HTTP__ALLOW_TEXT]);

// ---------------------------------------------------------------- addresses

// "203.0.113.7", "2001:db8::1", "unix"
void http__address_text(const struct sockaddr *address, char out[static HTTP__CLIENT_TEXT]);
// An address with or without port and brackets, as X-Forwarded-For holds it.
bool http__address_parse(struct span text, struct sockaddr_storage *out);
// The rightmost hop of X-Forwarded-For that is not a trusted proxy itself; false when there is none that can be read.
bool http__forwarded_client(const struct http__message *m, bool (*is_trusted)(const struct sockaddr *peer, void *ctx), void *ctx,
                            struct sockaddr_storage *out);

// PROXY protocol v1 and v2. *used: the header's length. ERR_AGAIN: more bytes; ERR_FORMAT. *known is false for LOCAL and UNKNOWN.
enum err http__proxy_parse(struct span data, struct sockaddr_storage *client, bool *known, size_t *used) MUST_CHECK;
#define HTTP__PROXY_MAX 1024 // a PROXY header larger than this is refused

// ---------------------------------------------------------------- connection

enum http__conn_state {
  HTTP__C_NEW,
  HTTP__C_READING,
  HTTP__C_HANDLING,
  HTTP__C_WRITING,
  HTTP__C_LINGERING,
  HTTP__C_CLOSING,
  HTTP__C_COUNT
};

struct http__conn {
  uint32_t magic;
  enum http__conn_state state;
  struct http_server *server;
  struct http__conn *previous, *next; // of the server; `next` also links free ones
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
  uv_write_t write;
  struct http__deadline read_deadline, write_deadline;
  struct http_request *first, *last; // requests in order: the front is answered next
  struct http_request *reading;      // the one whose bytes come in (always the last one), or NULL
  unsigned depth;                    // how many
  unsigned served;                   // requests begun on this connection
  struct http__parser parser;
  struct http__block stash; // bytes that wait since the pipeline is full, or a PROXY header that is not whole
  size_t stash_at;
  size_t write_pending;      // bytes of the write under way
  size_t write_seen;         // queue size at the last look
  int64_t write_progress_us; // when it moved last
  size_t lingered;           // bytes dropped
  struct http__place *place; // among those of its address; NULL: not counted
  int listener_tag;
  bool busy;          // inside process or flush: do not enter again
  bool reading_on;    // uv_read_start is in force
  bool no_more;       // no request is read any more
  bool eof;           // the client has sent its last byte
  bool want_proxy;    // a PROXY header comes first
  bool trusted;       // the peer is a trusted proxy
  bool client_closes; // "Connection: close" was the client's wish
  struct sockaddr_storage peer;
  char peer_text[HTTP__CLIENT_TEXT];
};

enum http__close_reason { HTTP__CLOSE_DONE, HTTP__CLOSE_PEER, HTTP__CLOSE_TIMEOUT, HTTP__CLOSE_SERVER };

// From uv_accept to the free list.
void http__conn_open(struct http__conn *conn);
// From anywhere, any number of times. Everything but DONE resets the connection.
void http__conn_close(struct http__conn *conn, enum http__close_reason reason);
// After an answer was put into a request: writes what can be written and goes on reading. Does nothing while inside already.
void http__conn_pump(struct http__conn *conn);
void http__conn_deadline(struct http__conn *conn, enum http__deadline_kind kind, int64_t now_us);
// The one setter.
void http__conn_set(struct http__conn *conn, enum http__conn_state to);
// Writes answers from the front; false when the connection is closing.
bool http__conn_flush(struct http__conn *conn);
// After the last answer: half-close, read and drop for a while.
void http__conn_finish(struct http__conn *conn);
void http__conn_start_reading(struct http__conn *conn);
void http__conn_stop_reading(struct http__conn *conn);
// An answer that ends the connection: nothing after it is read as a request.
void http__conn_refuse(struct http_request *request, int status);
void http__conn_bytes(struct http__conn *conn, const char *data, size_t len);

// ---------------------------------------------------------------- server

struct http__listener {
  uint32_t magic;
  struct http_server *server;
  struct http__listener *next;
  union {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
  int family;
  int tag;
  bool waiting; // libuv holds an accepted connection that we have not taken yet
  bool closing;
};

struct http_server {
  uint32_t magic;
  struct http_server_options options;
  struct loop *loop;
  struct shm_slot *slot;
  struct http__pool pool;
  struct http__listener *listeners;
  struct http__conn *conns, *free_conns;
  struct http__crowd crowd;
  struct http_request **requests; // by index
  uint32_t request_count;         // slots made
  struct http_request *free_requests;
  unsigned connections, in_work, requests_used;
  unsigned open_handles;                  // listeners, connections, timer
  bool full, draining, closing, sweeping; // full: no more are accepted until one closes
  unsigned operators;                     // connections of the operator's listener
  unsigned accepted;                      // in this turn
  int fd_ceiling;                         // a connection with a descriptor from here on shows that they run short
  unsigned fd_room;                       // connections that the descriptors are enough for, as was found out so
  struct loop_hook turn;
  struct log_limit door_limit, crowd_limit;
  struct loop_timer sweep;
  struct http__deadlines deadlines;
  struct buf text; // scratch for JSON errors
  uint64_t id_seed, id_count;
  int64_t date_until_us;
  char date[30];
  void (*on_drained)(void *ctx);
  void *drained_ctx;
  char scratch[HTTP__SCRATCH_BYTES];
};

// A connection with an initialised handle is one of the server's from here on.
void http__server_conn_new(struct http_server *server, struct http__conn *conn);
// A connection's handle is closed: its memory goes back, accepting may go on.
void http__server_conn_closed(struct http_server *server, struct http__conn *conn);
void http__server_expire(struct http__conn *conn, enum http__deadline_kind kind, int64_t now_us); // conn's part of the sweep
const char *http__server_date(struct http_server *server);

// ---------------------------------------------------------------- accept.c: who comes in

void http__door_init(struct http_server *server);
void http__door_on_connection(uv_stream_t *listener, int status);
// Draining: what was accepted in the kernel already comes in, since closing the listener would reset it.
void http__door_last(struct http__listener *listener);
// The connection's client is known: false when it has all the connections that one address may have.
bool http__door_admits(struct http__conn *conn);
// A connection is gone: another one may come in.
void http__door_left(struct http_server *server, struct http__place *place, int listener_tag);
// Counts, if there is a block to count in: small tools have none.
static inline void http__count(struct http_server *server, enum metric metric, uint64_t n) {
  if (server->slot) metrics_add(server->slot, metric, n);
}

#define HTTP__CONN_MAGIC     0x436f6e6eu
#define HTTP__REQUEST_MAGIC  0x52657173u
#define HTTP__LISTENER_MAGIC 0x4c697374u
#define HTTP__SERVER_MAGIC   0x53727672u

#endif
