// wahook-load as its own files see it, from what it is told to what it tells.
#ifndef WAHOOK_LOAD_H
#define WAHOOK_LOAD_H

#include <stdio.h>
#include <sys/socket.h>

#include "wahook/crypto.h"

#define LOAD_PHONES_MAX    10000
#define LOAD_PHONE_ID_MAX  64
#define LOAD_USERS_MAX     100000000  // conversations: eight digits of a telephone number
#define LOAD_MESSAGES_MAX  9999999999 // ten digits of a message id
#define LOAD_CONSTANT_MAX  67108864   // bytes of --body
#define LOAD_NS_PER_SECOND 1000000000

// ---------------------------------------------------------------- what it is told (options.c)

struct load_options {
  char *target, *path, *app_secret, *phones, *body, *acknowledged;
  uint64_t conversations, connections, count, prepare, slow, idle;
  double rate, new_rate, duration, interval, timeout; // per second, seconds
  bool get, retry;
};
// ERR_CANCELED: --help or --version was answered. ERR_CONFIG with *why.
enum err load_options_read(int argc, char **argv, struct load_options *out, struct why *why) MUST_CHECK;
void load_options_free(struct load_options *options);

// ---------------------------------------------------------------- whom it talks to (target.c)

struct target {
  struct sockaddr_storage address;
  socklen_t length;
  char host[280]; // for the Host header
  unsigned turn;  // of the next source address
};
enum err target_parse(const char *text, struct target *out, struct why *why) MUST_CHECK;
// A socket that is connected or on its way. -1: errno; *ours tells that this machine could not even try. `spread`: from one of several
// source addresses where there is a choice.
int target_connect(struct target *target, bool spread, bool *ours);

// ---------------------------------------------------------------- what it sends (message.c)

// The requests of a run. Number n is always the same bytes, so that nothing has to be kept to send one again.
struct messages;
enum err messages_new(const struct load_options *options, const struct target *target, struct messages **out, struct why *why) MUST_CHECK;
void messages_free(struct messages *messages);
// Signs the first `count` ahead of time.
void messages_prepare(struct messages *messages, uint64_t count);
// The whole request, valid until the next call. `closes`: it asks the server to close the connection.
struct span messages_request(struct messages *messages, uint64_t number, bool closes);
// The message's id, valid until the next call.
struct span messages_id(struct messages *messages, uint64_t number);

// ---------------------------------------------------------------- what it gets (answer.c)

#define ANSWER_HEAD_MAX 2048

enum answer_stage { ANSWER_HEAD, ANSWER_BODY, ANSWER_TO_END, ANSWER_DONE };

// One answer of HTTP/1 as it comes in.
struct answer {
  enum answer_stage stage;
  bool begun;  // there was a byte
  bool closes; // the server closes the connection behind it
  int status;
  uint64_t left;     // of the body
  unsigned head_len; // bytes in `head`, of a head that came in pieces
  char head[ANSWER_HEAD_MAX];
};
void answer_start(struct answer *answer);
// ERR_OK: complete; what is left of *bytes does not belong to it. ERR_AGAIN: goes on. ERR_FORMAT: no answer that it can read.
enum err answer_feed(struct answer *answer, struct span *bytes) MUST_CHECK;
// The connection's end: true when the answer is complete by it.
bool answer_end(struct answer *answer);

// ---------------------------------------------------------------- who stands about (bystand.c)

struct bystand_figures {
  uint64_t slow, idle;          // wanted
  uint64_t open, opened, ended; // now; ever; by the server
};
struct bystand;
// Opens them. `request`: what the slow ones send, for ever.
struct bystand *bystand_new(const struct target *target, struct span request, uint64_t slow, uint64_t idle);
void bystand_free(struct bystand *bystand);
int bystand_fd(const struct bystand *bystand); // readable: call bystand_on_events
void bystand_on_events(struct bystand *bystand);
void bystand_visit(struct bystand *bystand, int64_t now_ns);
int64_t bystand_due(const struct bystand *bystand); // of the next visit; INT64_MAX: there are none
struct bystand_figures bystand_figures(const struct bystand *bystand);

// ---------------------------------------------------------------- what it counts (latency.c, figures.c)

// Log-linear, exact to 1/64, over 1 us .. 38 hours.
#define LATENCY_SUB     64
#define LATENCY_BUCKETS (32 * LATENCY_SUB)

struct latency {
  uint64_t count, sum_us, min_us, max_us;
  uint64_t buckets[LATENCY_BUCKETS];
};
void latency_add(struct latency *latency, uint64_t us);
void latency_merge(struct latency *into, const struct latency *from);
uint64_t latency_quantile_us(const struct latency *latency, double q);

#define FAILURE_LIST(X)                                                                                                                    \
  X(REFUSED, "refused")     /* nobody listens, or nobody is there */                                                                       \
  X(RESET, "reset")         /* the connection was reset */                                                                                 \
  X(EOF, "eof")             /* it ended before the answer did */                                                                           \
  X(TIMEOUT, "timeout")     /* no whole answer in time */                                                                                  \
  X(RACED, "raced")         /* a connection that had been idle was gone before the first byte of the answer */                             \
  X(MALFORMED, "malformed") /* what came was no answer, or more than one */                                                                \
  X(LOCAL, "local")         /* this machine had no descriptor, port or memory for it */
#define FAILURE_ENUM(name, text) FAILURE_##name,
enum failure { FAILURE_LIST(FAILURE_ENUM) FAILURE_COUNT };
#undef FAILURE_ENUM

#define STATUS_COUNT 600

struct figures {
  uint64_t sent, again; // requests, and how many of them were sent before
  uint64_t ok, statuses[STATUS_COUNT], failed[FAILURE_COUNT];
  uint64_t opened, unopened, closed; // connections: got, not got without a request at stake, closed by the server while nothing was
  struct latency latency;            // of those with a 200
};
struct figures_frame {
  double at_seconds, seconds; // end of the time that is told of, and its length
  uint64_t open;              // requests that have no outcome yet
  bool whole;                 // the report of the run
  uint64_t unsent;            // due, but no connection was free for them
  uint64_t unacknowledged;    // messages that wait to be sent again
  double cpu;                 // cores that the generator used
  int64_t started_us;         // wall clock when the first request was due
  struct bystand_figures bystand;
};
void figures_merge(struct figures *into, const struct figures *from);
// One line of JSON.
void figures_write(const struct figures *figures, const struct figures_frame *frame, FILE *to);

// ---------------------------------------------------------------- which request is due (pace.c)

struct request {
  uint64_t number;
  int64_t due_ns; // latency counts from here: a connection that comes late hides nothing
  bool again;
};
// Constant rate, or whenever a connection is free (rate 0). What failed comes back after a pause, oldest first.
struct pace {
  double rate;
  int64_t start_ns;
  uint64_t taken; // new ones
  struct request *again;
  uint64_t again_head, again_tail, again_room; // a ring whose room is a power of two
};
// The time of the next request; `fresh`: new ones may still be had. INT64_MAX: there is none.
int64_t pace_due(const struct pace *pace, bool fresh, int64_t now_ns);
// True when a request is due. A new one has no number yet (its `again` is false).
bool pace_take(struct pace *pace, bool fresh, int64_t now_ns, struct request *out);
void pace_retry(struct pace *pace, uint64_t number, int64_t now_ns);
uint64_t pace_retries(const struct pace *pace);
// New requests that were due by then and were not taken.
uint64_t pace_behind(const struct pace *pace, int64_t now_ns);
void pace_free(struct pace *pace);

// ---------------------------------------------------------------- connections (conn.c), the run (run.c)

enum conn_state { CONN_CLOSED, CONN_RESTING, CONN_CONNECTING, CONN_IDLE, CONN_WAITING, CONN_PARTING };

// In exactly one list, but for moments: its lane's `free` (closed or idle), the run's `open` or `resting`.
struct conn {
  struct lane *lane;
  struct conn *prev, *next;
  enum conn_state state;
  int fd;
  bool busy;        // has a request
  bool kept;        // was idle before this request
  bool asks_close;  // the request says "Connection: close"
  bool served;      // an answer came over this connection
  size_t left;      // of the request, still to send
  int64_t until_ns; // deadline or end of a rest
  struct request request;
  struct answer answer;
};

// Connections of one kind and the pace of their requests.
struct lane {
  struct run *run;
  bool keeps;    // keep-alive; otherwise a connection for each request
  unsigned turn; // of those
  struct pace pace;
  struct conn *conns, *free;
  size_t conn_count;
};

enum phase { PHASE_OPENING, PHASE_SENDING, PHASE_DRAINING };

struct run {
  const struct load_options *options;
  struct messages *messages;
  struct target target;
  struct bystand *bystand;
  FILE *acknowledged;
  int epoll_fd, signal_fd;
  enum phase phase;
  unsigned stops; // signals
  int64_t timeout_ns, settled_ns, start_ns, end_ns, drain_ns, interval_ns, told_ns;
  double cpu_seconds;          // used when the clock started
  int64_t started_us;          // wall clock then
  uint64_t next_number, limit; // messages
  uint64_t busy, connecting;   // connections
  struct lane kept, fresh;
  struct conn *open, *resting;
  struct figures *now, *total; // of this interval; of those before it
  char in[65536];
};

// Gives requests to free connections as long as there are both.
void conn_start_due(struct lane *lane, int64_t now_ns);
// Opens a connection before there is a request for it.
void conn_open_ahead(struct conn *conn, int64_t now_ns);
void conn_on_event(struct conn *conn, uint32_t events, int64_t now_ns);
// Ends what has waited too long and wakes what has rested.
void conn_expire(struct run *run, int64_t now_ns);

// Runs to the end; *any tells whether a connection could be opened at all.
enum err load_run(const struct load_options *options, struct messages *messages, const struct target *target, bool *any,
                  struct why *why) MUST_CHECK;

#endif
