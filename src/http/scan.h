// Byte level of the strict guard: line ends, folding, lengths, chunk framing. Verdicts do not depend on how the bytes are cut.
#ifndef WAHOOK_HTTP_SCAN_H
#define WAHOOK_HTTP_SCAN_H

#include "wahook/http.h"

// A verdict: more bytes are wanted, the block is complete, or the HTTP status to refuse it with.
enum { HTTP__MORE = 0, HTTP__COMPLETE = 1 };

// The head, from the request line to the empty line.
struct http__scan {
  uint8_t state;
  uint8_t blank_lines; // empty lines before the request line
  unsigned headers;
  size_t line_bytes, head_bytes;
};
void http__scan_start(struct http__scan *scan);
// Looks at bytes until the head ends; *used counts those that belong to it (empty lines before it are in *skipped instead).
int http__scan_head(struct http__scan *scan, const struct http_limits *limits, const char *data, size_t len, size_t *skipped, size_t *used);

// The framing of a chunked body (RFC 9112 section 7.1).
struct http__chunk_scan {
  uint8_t state;
  uint8_t digits;
  bool quoted, escaped; // inside a quoted chunk extension value
  unsigned trailers;
  uint64_t max_bytes, total;
  uint64_t left; // bytes of the current chunk to come
  size_t extension_bytes, trailer_bytes;
};
void http__chunk_start(struct http__chunk_scan *scan, uint64_t max_bytes); // 413 once the chunks announce more
int http__scan_chunked(struct http__chunk_scan *scan, const char *data, size_t len, size_t *used);

#endif
