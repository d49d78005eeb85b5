// The strict guard over whole heads: request line, target, fields.
#ifndef WAHOOK_HTTP_GUARD_H
#define WAHOOK_HTTP_GUARD_H

#include "message.h"

// All return 0 or the HTTP status to refuse the request with.
// The request line (without its CRLF) into method, minor and target. Changes no byte.
int http__guard_request_line(struct http__message *m, struct span line, const struct http_limits *limits);
// The header fields, all that follows the request line, of a head that the scanner found complete: each line ends in CRLF, the last one is
// empty. Names are put in lower case (in the head's own bytes).
int http__guard_fields(struct http__message *m, struct span lines);
// After all fields are there: Host, framing, connection, and the path, which is decoded in the head's own bytes.
int http__guard_head(struct http__message *m);

#endif
