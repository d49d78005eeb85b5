// One HTTP request with libcurl: options, the header list, the callbacks, and what became of it. Runs in the dispatcher.
#include "transfer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_MS   30000
#define DEFAULT_RESPONSE     (1024u * 1024u)
#define ONE_PIECE_BYTES      (32u * 1024u) // curl itself sends bodies up to 64 KiB with the head
#define KEEP_BYTES           (64u * 1024u) // a pooled transfer's buffers beyond this are given back
#define LONGEST_WAIT_SECONDS 86400

static void wipe(struct buf *b) {
  if (b->data) explicit_bzero(b->data, b->cap);
  b->len = 0;
}

static void keep_small(struct buf *b) {
  if (b->cap > KEEP_BYTES)
    buf_free(b);
  else
    buf_clear(b);
}

void transfer__recycle(struct transfer *t) {
  // Not curl_easy_reset(): it costs dozens of allocations, all options being set anew. Gone is what not every request sets, and what
  // points to what is wiped now.
  curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
  curl_easy_setopt(t->easy, CURLOPT_RESOLVE, NULL);
  curl_easy_setopt(t->easy, CURLOPT_URL, NULL);
  curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, NULL);
  curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, NULL);
  curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
  wipe(&t->head);
  keep_small(&t->head);
  keep_small(&t->body);
  keep_small(&t->response);
  t->line_count = 0;
  t->bearer = (struct span){NULL, 0};
  t->on_done = NULL;
  t->ctx = NULL;
  t->body_taken = 0;
  t->one_piece = false;
  t->foreign = t->refused_address = t->too_large = t->early = t->early_received = false;
  t->early_result = ERR_OK;
  t->curl_error[0] = t->text[0] = '\0';
}

void transfer__free(struct transfer *t) {
  ALWAYS(t->magic == TRANSFER_MAGIC);
  curl_easy_cleanup(t->easy);
  wipe(&t->head);
  buf_free(&t->head);
  buf_free(&t->body);
  buf_free(&t->response);
  buf_free(&t->name);
  t->magic = 0;
  free(t);
}

// ---------------------------------------------------------------- curl's callbacks

static size_t on_read(char *to, size_t size, size_t count, void *ctx) {
  struct transfer *t = ctx;
  ALWAYS(t->magic == TRANSFER_MAGIC);
  size_t len = t->body.len - t->body_taken;
  if (len > size * count) len = size * count;
  if (len) memcpy(to, t->body.data + t->body_taken, len);
  t->body_taken += len;
  return len;
}

// curl rewinds the body to send a request a second time when a kept-alive connection dies without an answer. The first one may have been
// acted on, and Graph has no idempotency key: whoever asked decides, not curl.
static int on_seek(void *ctx, curl_off_t offset, int origin) {
  struct transfer *t = ctx;
  ALWAYS(t->magic == TRANSFER_MAGIC);
  return t->body_taken == 0 && offset == 0 && origin == SEEK_SET ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static size_t on_write(char *data, size_t size, size_t count, void *ctx) {
  struct transfer *t = ctx;
  ALWAYS(t->magic == TRANSFER_MAGIC);
  size_t len = size * count;
  if (len > t->max_response_bytes - t->response.len) {
    t->too_large = true;
    return CURL_WRITEFUNC_ERROR;
  }
  buf_add(&t->response, data, len);
  return len;
}

// Sees the address that a name has resolved to, so a name that points inside is refused whatever it pointed to before.
static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
  struct transfer *t = ctx;
  ALWAYS(t->magic == TRANSFER_MAGIC);
  (void)purpose;
  if (t->foreign && address__private(&address->addr)) {
    t->refused_address = true;
    return CURL_SOCKET_BAD;
  }
  return outbound__open_socket(t->outbound, address);
}

// Whether any of the request has left.
static bool begun(const struct transfer *t) {
  long bytes = 0;
  curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &bytes);
  return bytes > 0;
}

// A kept-alive connection to an inside address, opened for a request of the operator's, must not serve a stranger's URL either. And what
// on_seek is for a body that is read is this for one that went out with its head: curl comes here again before it repeats the request.
static int on_before_request(void *ctx, char *peer, char *local, int peer_port, int local_port) {
  struct transfer *t = ctx;
  ALWAYS(t->magic == TRANSFER_MAGIC);
  (void)local, (void)peer_port, (void)local_port;
  if (t->one_piece && begun(t)) return CURL_PREREQFUNC_ABORT;
  if (!t->foreign) return CURL_PREREQFUNC_OK;
  struct sockaddr_in in = {.sin_family = AF_INET};
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
  bool inside = true;
  if (inet_pton(AF_INET, peer, &in.sin_addr) == 1)
    inside = address__private((const struct sockaddr *)&in);
  else if (inet_pton(AF_INET6, peer, &in6.sin6_addr) == 1)
    inside = address__private((const struct sockaddr *)&in6);
  t->refused_address |= inside;
  return inside ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

// ---------------------------------------------------------------- a new one

// The options that are the same for every request: set once, and kept.
static void set_rules(struct transfer *t) {
  CURL *easy = t->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  // Each transfer makes one of 64 KiB, which is what malloc takes apart and joins again each time.
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "wahookd/" WAHOOK_VERSION);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
  curl_easy_setopt(easy, CURLOPT_READDATA, t);
  curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
  curl_easy_setopt(easy, CURLOPT_SEEKDATA, t);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, outbound__close_socket);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, t->outbound);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_before_request);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, t);
}

struct transfer *transfer__new(struct outbound *outbound) {
  struct transfer *t = xcalloc(1, sizeof *t);
  t->magic = TRANSFER_MAGIC;
  t->outbound = outbound;
  t->easy = curl_easy_init();
  if (!t->easy) die("curl_easy_init failed");
  set_rules(t);
  return t;
}

// ---------------------------------------------------------------- the request

static enum err refuse(struct transfer *t, enum err e, const char *text) {
  snprintf(t->text, sizeof t->text, "%s", text);
  return e;
}

// Nothing that could end a header line early.
static bool one_line(const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p; p++)
    if ((*p < 0x20 && *p != '\t') || *p == 0x7F) return false;
  return true;
}

// Appends one line to the list. `head` was reserved in one piece before, so the lines never move (and no copy of a secret stays behind).
static void add_line(struct transfer *t, const char *name, const char *value) {
  ALWAYS(t->line_count < TRANSFER_HEADERS);
  char *line = t->head.data + t->head.len;
  size_t room = t->head.cap - t->head.len;
  int n = snprintf(line, room, "%s%s", name, value);
  ALWAYS(n >= 0 && (size_t)n < room);
  t->head.len += (size_t)n + 1;
  struct curl_slist *node = &t->lines[t->line_count];
  *node = (struct curl_slist){.data = line, .next = NULL};
  if (t->line_count) t->lines[t->line_count - 1].next = node;
  t->line_count++;
}

static enum err add_headers(struct transfer *t, const struct outbound_request *request) {
  const char *type = request->content_type ? request->content_type : "application/json";
  size_t room = strlen(type) + 128, count = 3;
  if (request->bearer) room += strlen(request->bearer);
  if ((request->bearer && !one_line(request->bearer)) || !one_line(type)) return refuse(t, ERR_FORMAT, "a control character in a header");
  for (const char *const *h = request->headers; h && *h; h++, count++) {
    room += strlen(*h) + 1;
    if (!one_line(*h)) return refuse(t, ERR_FORMAT, "a control character in a header");
  }
  if (count > TRANSFER_HEADERS) return refuse(t, ERR_TOO_LARGE, "too many headers");
  buf_reserve(&t->head, room);
  add_line(t, "Expect:", ""); // no "100-continue": it costs a round trip
  if (request->body.len) add_line(t, "Content-Type: ", type);
  if (request->bearer) {
    static const char name[] = "Authorization: Bearer ";
    const char *value = t->head.data + t->head.len + sizeof name - 1;
    add_line(t, name, request->bearer);
    t->bearer = span_of(value);
  }
  for (const char *const *h = request->headers; h && *h; h++)
    add_line(t, "", *h);
  return ERR_OK;
}

static void set_method(struct transfer *t, const char *method) {
  CURL *easy = t->easy;
  bool has_body = t->body.len > 0;
  if (!method) method = has_body ? "POST" : "GET";
  if (strcmp(method, "HEAD") == 0) {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (has_body || strcmp(method, "POST") == 0) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.len);
    // Given as a whole, it leaves with the head: a system call, a packet and a TLS record instead of two.
    t->one_piece = t->body.len <= ONE_PIECE_BYTES;
    if (t->one_piece) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->body.len ? t->body.data : "");
    if (strcmp(method, "POST") != 0) curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
  } else {
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (strcmp(method, "GET") != 0) curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
  }
}

// curl remembers a host's address for a minute, by the wall clock: where that was set back, until it has caught up. A host that moved
// would be out of reach so long.
static void forget_address(struct transfer *t, const char *url) {
  char *host = NULL, *port = NULL;
  CURLU *parts = curl_url();
  if (!parts) die("libcurl ran out of memory");
  if (curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
      curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
    buf_clear(&t->name);
    buf_printf(&t->name, "-%s:%s", host, port);
    t->forget = (struct curl_slist){.data = t->name.data};
    curl_easy_setopt(t->easy, CURLOPT_RESOLVE, &t->forget);
  }
  curl_free(host);
  curl_free(port);
  curl_url_cleanup(parts);
}

enum err transfer__prepare(struct transfer *t, const struct outbound_request *request) {
  t->foreign = request->foreign;
  t->max_response_bytes = request->max_response_bytes ? request->max_response_bytes : DEFAULT_RESPONSE;
  const char *url = request->url ? request->url : "";
  bool https = strncasecmp(url, "https://", 8) == 0, http = strncasecmp(url, "http://", 7) == 0;
  if (!https && !http) return refuse(t, ERR_FORMAT, "not an https:// address");
  if (t->foreign && !https) return refuse(t, ERR_DENIED, "a business' own address must be https://");
  if (request->method && !one_line(request->method)) return refuse(t, ERR_FORMAT, "not a method");
  enum err e = add_headers(t, request);
  if (e) return e;
  buf_add_span(&t->body, request->body);

  CURL *easy = t->easy;
  set_method(t, request->method);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->lines);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(request->timeout_ms > 0 ? request->timeout_ms : DEFAULT_TIMEOUT_MS));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)t->connect_ms);
  curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->max_response_bytes);
  if (curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK) return refuse(t, ERR_FORMAT, "not a URL");
  if (t->look_up) forget_address(t, url);
  return ERR_OK;
}

// ---------------------------------------------------------------- the answer

bool transfer__maybe_received(const struct transfer *t) {
  return begun(t) && (t->one_piece || t->body_taken == t->body.len);
}

static enum err result_of(const struct transfer *t, CURLcode code, bool maybe_received) {
  if (code == CURLE_OK) return ERR_OK;
  if (t->too_large || code == CURLE_FILESIZE_EXCEEDED) return ERR_TOO_LARGE;
  if (!maybe_received && t->refused_address) return ERR_DENIED;
  if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) return ERR_FORMAT;
  if (!maybe_received) return ERR_UNAVAILABLE;
  return code == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_IO;
}

// curl's own sentence only where it speaks of hosts, certificates and times: others might quote what was sent.
static void describe_error(struct transfer *t, CURLcode code, enum err result) {
  const char *text = curl_easy_strerror(code);
  if (result == ERR_TOO_LARGE)
    text = "the answer is larger than the limit";
  else if (result == ERR_DENIED)
    text = "the address is private, loopback or link-local";
  else if (t->curl_error[0] && (result == ERR_UNAVAILABLE || result == ERR_TIMEOUT))
    text = t->curl_error;
  snprintf(t->text, sizeof t->text, "%s", text);
}

// A server's error text may quote the token it did not like ("Malformed access token EAA..."). It must not get into logs.
static void hide_token(struct transfer *t) {
  if (t->bearer.len < 8) return;
  char *from = t->response.data;
  size_t left = t->response.len;
  for (char *found; left && (found = memmem(from, left, t->bearer.ptr, t->bearer.len));) {
    memset(found, '*', t->bearer.len);
    left -= (size_t)(found - from) + t->bearer.len;
    from = found + t->bearer.len;
  }
}

// {"<account>":[{"type":...,"estimated_time_to_regain_access":<minutes>}, ...]}: the longest of them.
static int64_t business_wait_ms(const char *text) {
  struct arena arena;
  const struct json *doc = NULL;
  int64_t minutes = 0;
  arena_init(&arena, 4096, 256 * 1024);
  if (json_parse(&arena, span_of(text), NULL, &doc, NULL) == ERR_OK && doc->type == JSON_OBJECT) {
    for (const struct json *account = doc->child; account; account = account->next)
      for (const struct json *use = account->type == JSON_ARRAY ? account->child : NULL; use; use = use->next) {
        int64_t m = json_i64(json_get(use, "estimated_time_to_regain_access"), 0);
        if (m > minutes) minutes = m;
      }
  }
  arena_free(&arena);
  if (minutes > LONGEST_WAIT_SECONDS / 60) minutes = LONGEST_WAIT_SECONDS / 60;
  return minutes * 60 * 1000;
}

static const char *header(struct transfer *t, const char *name) {
  struct curl_header *found = NULL;
  return curl_easy_header(t->easy, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK ? found->value : "";
}

// Seconds, or a date: that counts from the answer's own date, since our clock may not agree with the other side's.
static curl_off_t retry_after_seconds(struct transfer *t) {
  time_t until = curl_getdate(header(t, "Retry-After"), NULL), from = curl_getdate(header(t, "Date"), NULL);
  if (until != -1 && from != -1) return until - from;
  curl_off_t seconds = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &seconds); // a date without the other: from our clock
  return seconds;
}

static int64_t retry_after_ms(struct transfer *t) {
  curl_off_t seconds = retry_after_seconds(t);
  if (seconds > LONGEST_WAIT_SECONDS) seconds = LONGEST_WAIT_SECONDS;
  if (seconds > 0) return (int64_t)seconds * 1000;
  return business_wait_ms(header(t, "X-Business-Use-Case-Usage"));
}

void transfer__describe(struct transfer *t, CURLcode code, int64_t now_us, struct outbound_response *out) {
  *out = (struct outbound_response){.error = "", .body = SPAN(""), .duration_us = now_us - t->started_us};
  if (t->early) {
    out->result = t->early_result;
    out->maybe_received = t->early_received;
    out->error = t->text[0] ? t->text : err_text(t->early_result);
    return;
  }
  out->maybe_received = code == CURLE_OK || transfer__maybe_received(t);
  out->result = result_of(t, code, out->maybe_received);
  if (out->result) {
    describe_error(t, code, out->result);
    out->error = t->text;
    return;
  }
  long status = 0;
  char *type = NULL;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
  out->status = (int)status;
  out->content_type = span_of(type);
  if (status >= 400) {
    hide_token(t);
    out->retry_after_ms = retry_after_ms(t);
  }
  out->body = buf_span(&t->response);
}
