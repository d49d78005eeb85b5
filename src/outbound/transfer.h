// Shared inside outbound: one transfer (transfer.c) under the multi handle (multi.c), and which addresses are private (address.c).
#ifndef WAHOOK_OUTBOUND_TRANSFER_H
#define WAHOOK_OUTBOUND_TRANSFER_H

#include <curl/curl.h>

#include "wahook/outbound.h"

#define TRANSFER_MAGIC   0x4f757472u // "Outr"
#define TRANSFER_HEADERS 32u         // lines of a request at most

// One request and its answer. Reused: the curl handle and the buffers live on in the pool.
struct transfer {
  uint32_t magic;
  struct outbound *outbound;
  struct transfer *next, *prev; // in one of the lists of multi.c
  CURL *easy;
  outbound_done *on_done;
  void *ctx;
  int64_t started_us;

  struct buf head;                           // header lines, each with a NUL behind it; holds the bearer token, wiped after use
  struct curl_slist lines[TRANSFER_HEADERS]; // curl's list, over `head`
  size_t line_count;
  struct span bearer; // into `head`
  struct buf name;    // what curl is to forget
  struct curl_slist forget;

  struct buf body;
  bool one_piece;    // head and body leave together
  size_t body_taken; // by curl, to be sent, unless they do
  struct buf response;
  size_t max_response_bytes;
  bool foreign, refused_address, too_large;
  bool look_up; // do not use an address that was remembered
  int64_t connect_ms;

  bool early;            // never went to curl: ends with early_result
  enum err early_result; //
  bool early_received;   // maybe_received of a transfer that was canceled
  char curl_error[CURL_ERROR_SIZE];
  char text[320]; // the error for people
};

struct transfer *transfer__new(struct outbound *outbound);
void transfer__free(struct transfer *t);
// Copies the request and sets the curl handle up. On an error the text is in t->text.
enum err transfer__prepare(struct transfer *t, const struct outbound_request *request) MUST_CHECK;
// Whether the other side may have got all of the request by now.
bool transfer__maybe_received(const struct transfer *t);
// What became of it. The response borrows from t.
void transfer__describe(struct transfer *t, CURLcode code, int64_t now_us, struct outbound_response *out);
// Wipes and forgets the request; ready for the next one.
void transfer__recycle(struct transfer *t);

// Answers a request that needs no network with `result` and `error` on the loop's next turn (ERR_CANCELED when outbound is closed first).
void outbound__answer_later(struct outbound *outbound, enum err result, const char *error, outbound_done *on_done, void *ctx);

// A connection's socket, watched until curl is done with it (CURLOPT_CLOSESOCKETFUNCTION; ctx is the struct outbound).
curl_socket_t outbound__open_socket(struct outbound *outbound, const struct curl_sockaddr *address);
int outbound__close_socket(void *ctx, curl_socket_t fd);

// Loopback, private, link-local, carrier-grade NAT, multicast and other special ranges (RFC 6890), also when embedded in IPv6.
bool address__private(const struct sockaddr *address);

#endif
