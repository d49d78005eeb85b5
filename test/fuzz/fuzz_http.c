// HTTP heads and bodies: whatever the bytes, the verdict and the request made of them are the same however they are cut, what the guard
// lets through keeps its promises, and llhttp reads the same request in it.
#include <llhttp.h>
#include <stdlib.h>
#include <string.h>

#include "http/parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
  int verdict;
  size_t consumed; // bytes that belong to the request, when it is whole
  uint32_t sum;    // of everything a handler could see
};

#define MAX_BODY 65536

static uint32_t sum_span(uint32_t sum, struct span s) {
  uint64_t len = s.len;
  sum = crc32c(sum, &len, sizeof len);
  return s.len ? crc32c(sum, s.ptr, s.len) : sum;
}

static uint32_t sum_message(const struct http__message *m) {
  uint32_t sum = crc32c(0, &m->method, sizeof m->method);
  sum = sum_span(sum, m->path);
  sum = sum_span(sum, m->query);
  sum = sum_span(sum, m->host);
  for (unsigned i = 0; i < m->field_count; i++) {
    sum = sum_span(sum, m->fields[i].name);
    sum = sum_span(sum, m->fields[i].value);
  }
  unsigned flags = m->chunked | m->keep_alive << 1 | m->expect_continue << 2 | m->expect_other << 3;
  sum = crc32c(sum, &flags, sizeof flags);
  sum = crc32c(sum, &m->body_bytes, sizeof m->body_bytes);
  return sum_span(sum, (struct span){m->body.data, m->body.len});
}

// What later code relies on without looking again.
static void check_promises(const struct http__message *m) {
  ALWAYS(m->method > HTTP_M_NONE && m->method < HTTP_M_COUNT && m->minor <= 1);
  ALWAYS(m->path.len && (m->path.ptr[0] == '/' || m->path.ptr[0] == '*'));
  for (size_t i = 0; i < m->path.len; i++)
    ALWAYS((unsigned char)m->path.ptr[i] >= 0x20 && !(m->path.ptr[i] == '/' && i + 1 < m->path.len && m->path.ptr[i + 1] == '/'));
  ALWAYS(m->minor == 0 || m->host.len);
  ALWAYS(!(m->chunked && (m->known_count[HTTP__F_CONTENT_LENGTH] || m->minor == 0)));
  for (unsigned i = 0; i < m->field_count; i++) {
    ALWAYS(m->fields[i].name.len);
    for (size_t k = 0; k < m->fields[i].value.len; k++) {
      char c = m->fields[i].value.ptr[k];
      ALWAYS(c != '\0' && c != '\r' && c != '\n');
    }
  }
}

static void check_whole(const struct http__message *m) {
  ALWAYS(m->drop_body || m->body.len == m->body_bytes);
  ALWAYS(m->chunked || m->body_bytes == m->content_length);
}

// ---------------------------------------------------------------- llhttp's view of a whole request

struct view {
  unsigned fields;
  uint64_t body_bytes;
};

static int see_field(llhttp_t *l, const char *at, size_t len) {
  (void)at;
  (void)len;
  if (!(l->flags & F_TRAILING)) ((struct view *)l->data)->fields++;
  return 0;
}

static int see_headers(llhttp_t *l) {
  l->upgrade = 0; // ignored, as one that is not followed may be (RFC 9110 section 7.8)
  return 0;
}

static int see_body(llhttp_t *l, const char *at, size_t len) {
  (void)at;
  ((struct view *)l->data)->body_bytes += len;
  return 0;
}

static int see_end(llhttp_t *l) {
  (void)l;
  return HPE_PAUSED;
}

static void check_second_opinion(const struct http__message *m, const char *request, size_t size) {
  static const llhttp_settings_t settings = {.on_header_field = see_field,
                                             .on_headers_complete = see_headers,
                                             .on_body = see_body,
                                             .on_message_complete = see_end};
  struct view view = {0};
  llhttp_t l;
  while (size && (*request == '\r' || *request == '\n')) {
    request++;
    size--;
  }
  llhttp_init(&l, HTTP_REQUEST, &settings);
  l.data = &view;
  ALWAYS(llhttp_execute(&l, request, size) == HPE_PAUSED); // whole
  ALWAYS(llhttp_get_error_pos(&l) >= request + size - 1);  // and at its last byte, not before
  ALWAYS(view.fields == m->field_count && view.body_bytes == m->body_bytes);
  ALWAYS(strcmp(llhttp_method_name(llhttp_get_method(&l)), http_method_name(m->method)) == 0);
  ALWAYS(l.http_major == 1 && l.http_minor == m->minor);
}

// ---------------------------------------------------------------- ours

// `seed` decides the sizes of the pieces; 0: all at once.
static struct outcome feed(const uint8_t *data, size_t size, uint32_t seed, struct http__message *m, struct http__pool *pool) {
  struct http__parser parser;
  struct http_limits limits = http_limits_default();
  memset(m, 0, sizeof *m);
  http__parser_start(&parser, m, pool, &limits);
  struct outcome outcome = {.verdict = HTTP__MORE};
  const uint32_t mode = seed; // 1: a byte at a time
  bool head = true;
  size_t at = 0;
  while (at < size && outcome.verdict == HTTP__MORE) {
    size_t part = size - at, used = 0;
    if (seed) {
      seed = seed * 1664525u + 1013904223u;
      size_t want = mode == 1 ? 1 : 1 + (seed >> 16) % 19;
      if (want < part) part = want;
    }
    // A piece of its own, so that a sanitizer sees what is read beyond it.
    char *piece = malloc(part);
    ALWAYS(piece);
    memcpy(piece, data + at, part);
    outcome.verdict = head ? http__parser_head(&parser, piece, part, &used) : http__parser_body(&parser, piece, part, &used);
    free(piece);
    if (outcome.verdict > HTTP__COMPLETE) break;
    ALWAYS(used <= part);
    at += used;
    if (outcome.verdict != HTTP__COMPLETE || !head) continue;
    check_promises(m);
    head = false;
    int status = http__parser_limit_body(&parser, MAX_BODY);
    if (status)
      outcome.verdict = status;
    else if (http__parser_wants_body(&parser))
      outcome.verdict = HTTP__MORE;
  }
  if (outcome.verdict == HTTP__COMPLETE) {
    check_whole(m);
    check_second_opinion(m, (const char *)data, at);
    outcome.consumed = at;
    outcome.sum = sum_message(m);
  }
  return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct http__message m;
  struct http__pool pool = {0};
  static const uint32_t seeds[] = {0, 1, 77, 4711};
  struct outcome first = {0};
  for (size_t i = 0; i < COUNT_OF(seeds); i++) {
    struct outcome outcome = feed(data, size, seeds[i], &m, &pool);
    http__block_release(&pool, &m.head);
    http__block_release(&pool, &m.body);
    if (i == 0) first = outcome;
    ALWAYS(outcome.verdict == first.verdict && outcome.consumed == first.consumed && outcome.sum == first.sum);
  }
  http__pool_free(&pool);
  return 0;
}
