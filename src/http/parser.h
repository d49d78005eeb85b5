// From bytes to a checked request.
#ifndef WAHOOK_HTTP_PARSER_H
#define WAHOOK_HTTP_PARSER_H

#include "message.h"
#include "scan.h"

struct http__parser {
  struct http__message *message;
  struct http__pool *pool;
  const struct http_limits *limits;
  struct http__scan scan;
  struct http__chunk_scan chunk;
  unsigned fields;                         // that llhttp found in the head of a chunked request
  bool complete;                           // so it says
  _Alignas(16) unsigned char machine[128]; // llhttp's state
};

// Ready for the next request of a connection; `message` is zeroed and lends its memory.
void http__parser_start(struct http__parser *parser, struct http__message *message, struct http__pool *pool,
                        const struct http_limits *limits);
// Takes bytes of the head. HTTP__MORE, HTTP__COMPLETE or the status to refuse it with; *used says how many were taken.
int http__parser_head(struct http__parser *parser, const char *data, size_t len, size_t *used);
// Once the head is complete: is a body to come? Then its limit is set (413 at once when Content-Length is beyond).
bool http__parser_wants_body(const struct http__parser *parser);
int http__parser_limit_body(struct http__parser *parser, uint64_t max_bytes);
int http__parser_body(struct http__parser *parser, const char *data, size_t len, size_t *used);

#endif
