// One request as it came over the wire: what the parser fills in and the guard judges.
#ifndef WAHOOK_HTTP_MESSAGE_H
#define WAHOOK_HTTP_MESSAGE_H

#include "pool.h"
#include "wahook/http.h"

#define HTTP__FIELDS_MAX 128 // header fields kept at most, whatever the limit is set to

// Header names are found millions of times a minute: those that the server itself looks at get a number while parsing.
enum http__known {
  HTTP__F_OTHER,
  HTTP__F_HOST,
  HTTP__F_CONTENT_LENGTH,
  HTTP__F_TRANSFER_ENCODING,
  HTTP__F_CONTENT_TYPE,
  HTTP__F_AUTHORIZATION,
  HTTP__F_SIGNATURE, // X-Hub-Signature-256
  HTTP__F_CONNECTION,
  HTTP__F_EXPECT,
  HTTP__F_CONTENT_ENCODING,
  HTTP__F_FORWARDED_FOR,
  HTTP__F_REQUEST_ID,
  HTTP__F_COUNT
};

struct http__field {
  struct span name, value; // the name in lower case; the value without white space around it
};

struct http__message {
  struct http__block head; // from the request line to the empty line; spans point into it
  struct http__block body;
  enum http_method method;
  unsigned minor;                        // HTTP/1.minor
  struct span target, path, query, host; // path decoded in place, host without port
  unsigned field_count;
  uint8_t known_count[HTTP__F_COUNT];
  uint8_t known_first[HTTP__F_COUNT]; // index of the first field of that name
  bool chunked, keep_alive, expect_continue, expect_other;
  bool drop_body; // the body is read and forgotten
  uint64_t content_length;
  uint64_t body_bytes;                         // of the decoded body so far, kept or dropped
  struct http__field fields[HTTP__FIELDS_MAX]; // last: a reset leaves them alone
};

static inline struct span http__message_known(const struct http__message *m, enum http__known known) {
  return m->known_count[known] ? m->fields[m->known_first[known]].value : (struct span){0};
}

#endif
