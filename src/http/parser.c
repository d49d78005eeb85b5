// From bytes to requests: the scanner finds where a head ends, the guard reads it. A body of a given length is just bytes. Chunks are
// llhttp's, which sees the head in front of them, too, and must agree with the guard. Runs in workers and tools.
#include "parser.h"

#include <llhttp.h>
#include <string.h>

#include "guard.h"

static llhttp_t *machine(struct http__parser *parser) {
  _Static_assert(sizeof(llhttp_t) <= sizeof parser->machine, "llhttp's state fits");
  return (llhttp_t *)(void *)parser->machine;
}

static struct http__parser *of(llhttp_t *m) {
  return m->data;
}

static void add_body(struct http__parser *parser, const char *at, size_t len) {
  parser->message->body_bytes += len;
  if (!parser->message->drop_body) http__block_add(parser->pool, &parser->message->body, at, len);
}

// ---------------------------------------------------------------- llhttp

static int on_field(llhttp_t *m, const char *at, size_t len) {
  (void)at;
  (void)len;
  if (!(m->flags & F_TRAILING)) of(m)->fields++; // trailers are checked by the scanner and dropped
  return 0;
}

// An Upgrade that we do not follow is ignored (RFC 9110 section 7.8).
static int on_headers(llhttp_t *m) {
  m->upgrade = 0;
  return 0;
}

static int on_body(llhttp_t *m, const char *at, size_t len) {
  add_body(of(m), at, len);
  return 0;
}

static int on_complete(llhttp_t *m) {
  of(m)->complete = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_headers_complete = on_headers,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

void http__parser_start(struct http__parser *parser, struct http__message *message, struct http__pool *pool,
                        const struct http_limits *limits) {
  parser->message = message;
  parser->pool = pool;
  parser->limits = limits;
  parser->fields = 0;
  parser->complete = false;
  http__scan_start(&parser->scan);
}

// Whether llhttp sees the head in front of a chunked body as the guard does. Asked before the guard decodes the path in place.
static bool agrees(struct http__parser *parser) {
  const struct http__block *head = &parser->message->head;
  llhttp_init(machine(parser), HTTP_REQUEST, &settings);
  machine(parser)->data = parser;
  return llhttp_execute(machine(parser), head->data, head->len) == HPE_OK && !parser->complete &&
         parser->fields == parser->message->field_count;
}

// ---------------------------------------------------------------- heads and bodies

static int parse_head(struct http__parser *parser) {
  struct http__message *m = parser->message;
  struct span head = {m->head.data, m->head.len};
  struct span line = {head.ptr, (size_t)((const char *)memchr(head.ptr, '\r', head.len) - head.ptr)};
  int status = http__guard_request_line(m, line, parser->limits);
  if (!status) status = http__guard_fields(m, span_from(head, line.len + 2));
  if (status) return status;
  bool agreed = !m->known_count[HTTP__F_TRANSFER_ENCODING] || agrees(parser);
  status = http__guard_head(m); // knows better what is wrong with the framing than a mere "no"
  if (status) return status;
  return agreed ? HTTP__COMPLETE : 400;
}

int http__parser_head(struct http__parser *parser, const char *data, size_t len, size_t *used) {
  size_t skipped, taken;
  int verdict = http__scan_head(&parser->scan, parser->limits, data, len, &skipped, &taken);
  if (verdict > HTTP__COMPLETE) return verdict;
  http__block_add(parser->pool, &parser->message->head, data + skipped, taken);
  *used = skipped + taken;
  return verdict == HTTP__COMPLETE ? parse_head(parser) : HTTP__MORE;
}

bool http__parser_wants_body(const struct http__parser *parser) {
  return parser->message->chunked || parser->message->content_length > 0;
}

int http__parser_limit_body(struct http__parser *parser, uint64_t max_bytes) {
  if (parser->message->content_length > max_bytes) return 413;
  http__chunk_start(&parser->chunk, max_bytes);
  return 0;
}

static int chunked_body(struct http__parser *parser, const char *data, size_t len, size_t *used) {
  size_t take;
  int verdict = http__scan_chunked(&parser->chunk, data, len, &take);
  if (verdict > HTTP__COMPLETE) {
    // llhttp gets what stood before the refused byte: were the bytes cut there, it would have had its say too.
    llhttp_errno_t before = llhttp_execute(machine(parser), data, take - 1);
    return before == HPE_OK || before == HPE_PAUSED ? verdict : 400;
  }
  llhttp_errno_t e = llhttp_execute(machine(parser), data, take);
  if (e != HPE_OK && e != HPE_PAUSED) return 400;
  if (parser->complete != (verdict == HTTP__COMPLETE)) return 400;
  *used = take;
  return verdict;
}

int http__parser_body(struct http__parser *parser, const char *data, size_t len, size_t *used) {
  struct http__message *m = parser->message;
  if (m->chunked) return chunked_body(parser, data, len, used);
  uint64_t left = m->content_length - m->body_bytes;
  *used = len < left ? len : (size_t)left;
  add_body(parser, data, *used);
  return *used == left ? HTTP__COMPLETE : HTTP__MORE;
}
