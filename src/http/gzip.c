// Compressed answers, for clients that accept them (RFC 9110 section 12.5.3). Runs in workers.
//
// Only for pages whose handler says so, which are built whole in memory. At level 1 a page of 100 KB takes one or two milliseconds; what
// would hold up the loop for ten goes out as it is. What zlib needs meanwhile, some 270 KB, is given back at once.
#define ZLIB_CONST
#include <zlib.h>

#include "internal.h"

#define WORTH_BYTES  1024   // less gains nothing
#define AT_MOST      524288 // more takes too long
#define LEVEL        1
#define WINDOW       (15 + 16) // with gzip's header and trailer
#define MEMORY       8
#define Q_ACCEPTABLE 1000 // thousandths; without a weight

// ---------------------------------------------------------------- what the client accepts

// qvalue = "0" [ "." 0*3DIGIT ] / "1" [ "." 0*3"0" ]; what is none is taken for 0: the plain answer is never wrong.
static unsigned weight_of(struct span text) {
  unsigned q = 0, scale = 1000;
  if (!text.len || text.len > 5 || (text.len > 1 && text.ptr[1] != '.')) return 0;
  for (size_t i = 0; i < text.len; i++) {
    if (i == 1) continue;
    if (text.ptr[i] < '0' || text.ptr[i] > '9') return 0;
    q += (unsigned)(text.ptr[i] - '0') * scale;
    scale /= 10;
  }
  return q <= 1000 ? q : 0;
}

// "gzip ; q=0.5" is split into name and weight.
static unsigned weigh(struct span item, struct span *name) {
  struct span parameter, key;
  unsigned q = Q_ACCEPTABLE;
  span_split(&item, ';', name);
  *name = span_trim(*name);
  while (span_split(&item, ';', &parameter)) {
    span_split(&parameter, '=', &key);
    if (span_eq_nocase(span_trim(key), SPAN("q"))) q = weight_of(span_trim(parameter));
  }
  return q;
}

bool http__accepts_gzip(struct span accept_encoding) {
  int gzip = -1, identity = 0, any = 0; // identity is liked least where it is not named
  struct span item, name;
  while (span_split(&accept_encoding, ',', &item)) {
    int q = (int)weigh(item, &name);
    if (span_eq_nocase(name, SPAN("gzip")) || span_eq_nocase(name, SPAN("x-gzip")))
      gzip = q;
    else if (span_eq_nocase(name, SPAN("identity")))
      identity = q;
    else if (span_eq(name, SPAN("*")))
      any = q;
  }
  if (gzip < 0) gzip = any;
  return gzip > 0 && gzip >= identity;
}

// ---------------------------------------------------------------- compressing

static bool compress_into(struct span body, struct buf *out) {
  z_stream z = {.next_in = (const Bytef *)body.ptr, .avail_in = (uInt)body.len};
  if (deflateInit2(&z, LEVEL, Z_DEFLATED, WINDOW, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK) return false;
  uLong bound = deflateBound(&z, (uLong)body.len);
  z.next_out = (Bytef *)buf_reserve(out, bound);
  z.avail_out = (uInt)bound;
  bool good = deflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out < body.len;
  if (good) out->len += z.total_out;
  deflateEnd(&z);
  return good;
}

bool http__gzip(const struct http_request *request, struct span body, struct buf *out) {
  // Of several such headers none is looked at: what one of them refuses, another one may accept.
  if (body.len < WORTH_BYTES || body.len > AT_MOST || http_request_header_count(request, "accept-encoding") != 1) return false;
  return http__accepts_gzip(http_request_header(request, "accept-encoding")) && compress_into(body, out);
}
