// Feeds heads and bodies to llhttp, whole heads at once, and compares what it finds with the guard's view. Runs in workers and tools.
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

// A head is given in one piece, so llhttp reports each span in one piece: another one right behind it would be a surprise.
static int on_url(llhttp_t *m, const char *at, size_t len) {
  struct http__parser *parser = of(m);
  if (at != parser->message->target.ptr || len != parser->message->target.len) parser->refused = 400;
  return 0;
}

static int on_field(llhttp_t *m, const char *at, size_t len) {
  struct http__parser *parser = of(m);
  if (m->flags & F_TRAILING) return 0; // trailers are checked by the scanner and dropped
  struct span value = {at + len, 0};
  // The value's end is the line's end: the scanner has made sure that the line ends in CRLF.
  const char *end = memchr(at, '\r', (size_t)(parser->message->head.data + parser->message->head.len - at));
  if (!end || at + len >= end || at[len] != ':') {
    parser->refused = 400;
    return 0;
  }
  value = (struct span){at + len + 1, (size_t)(end - at - len - 1)};
  int status = http__guard_field(parser->message, (struct span){at, len}, value);
  if (status && !parser->refused) parser->refused = status;
  return 0;
}

// An Upgrade that we do not follow is ignored (RFC 9110 section 7.8).
static int on_headers(llhttp_t *m) {
  m->upgrade = 0;
  return 0;
}

static int on_body(llhttp_t *m, const char *at, size_t len) {
  struct http__parser *parser = of(m);
  parser->message->body_bytes += len;
  if (!parser->message->drop_body) http__block_add(parser->pool, &parser->message->body, at, len);
  return 0;
}

static int on_complete(llhttp_t *m) {
  of(m)->complete = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
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
  parser->refused = 0;
  parser->complete = false;
  http__scan_start(&parser->scan);
}

static int parse_head(struct http__parser *parser) {
  struct http__message *m = parser->message;
  const char *line_end = memchr(m->head.data, '\r', m->head.len);
  int status = http__guard_request_line(m, (struct span){m->head.data, (size_t)(line_end - m->head.data)}, parser->limits);
  if (status) return status;
  llhttp_init(machine(parser), HTTP_REQUEST, &settings);
  machine(parser)->data = parser;
  llhttp_errno_t e = llhttp_execute(machine(parser), m->head.data, m->head.len);
  if (parser->refused) return parser->refused;
  // The guard knows better what is wrong with the framing than llhttp's mere "no": ask it first.
  if (m->field_count == parser->scan.headers) status = http__guard_head(m);
  if (status) return status;
  if ((e != HPE_OK && e != HPE_PAUSED) || m->field_count != parser->scan.headers) return 400;
  if (parser->complete == http__parser_wants_body(parser)) return 400;
  return HTTP__COMPLETE;
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

int http__parser_body(struct http__parser *parser, const char *data, size_t len, size_t *used) {
  struct http__message *m = parser->message;
  int verdict;
  size_t take = len;
  if (m->chunked) {
    verdict = http__scan_chunked(&parser->chunk, data, len, &take);
    if (verdict > HTTP__COMPLETE) {
      // llhttp gets what stood before the refused byte: were the bytes cut there, it would have had its say too.
      llhttp_errno_t before = llhttp_execute(machine(parser), data, take - 1);
      return before == HPE_OK || before == HPE_PAUSED ? verdict : 400;
    }
  } else {
    uint64_t left = m->content_length - m->body_bytes;
    if (take > left) take = (size_t)left;
    verdict = take == left ? HTTP__COMPLETE : HTTP__MORE;
  }
  llhttp_errno_t e = llhttp_execute(machine(parser), data, take);
  if (e != HPE_OK && e != HPE_PAUSED) return 400;
  if (parser->complete != (verdict == HTTP__COMPLETE)) return 400;
  *used = take;
  return verdict;
}
