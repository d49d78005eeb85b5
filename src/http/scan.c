// Byte level of the strict guard: line ends, lengths, the framing of chunks. Runs in workers, before anything else sees a byte.
#include "scan.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "chars.h"

#define EXTENSION_MAX_BYTES 1024 // chunk extensions of one request
#define TRAILER_MAX_BYTES   4096
#define TRAILER_MAX_FIELDS  16
#define CHUNK_DIGITS_MAX    15 // fits 60 bits, far beyond any limit of a body
#define BLANK_LINES_MAX     1  // RFC 9112 section 2.2: a server ignores an empty line before the request line

enum { START, START_CR, LINE, LINE_CR, LINE_START, END_CR };

void http__scan_start(struct http__scan *scan) {
  *scan = (struct http__scan){.state = START};
}

// Control characters other than tab have no place in a head (RFC 9110 section 5.5); CR and LF are looked at by the state machine.
static bool is_plain(unsigned char c) {
  return (c >= 0x20 && c != 0x7f) || c == '\t';
}

// The first line is the request line: "GET " and " HTTP/1.1" around the longest target take 20 bytes at most.
static size_t line_max(const struct http__scan *scan, const struct http_limits *limits) {
  return scan->headers == 0 ? limits->max_line_bytes + 20 : limits->max_line_bytes;
}

// One byte of a line: counted against the limits.
static int count_byte(struct http__scan *scan, const struct http_limits *limits) {
  if (++scan->line_bytes > line_max(scan, limits)) return scan->headers == 0 ? 414 : 431;
  return HTTP__MORE;
}

static int scan_byte(struct http__scan *scan, const struct http_limits *limits, unsigned char c) {
  switch (scan->state) {
  case LINE_START: // after a CRLF: a header, or the end of the block
    if (c == '\r') {
      scan->state = END_CR;
      return HTTP__MORE;
    }
    if (c == ' ' || c == '\t') return 400; // obs-fold, RFC 9112 section 5.2
    scan->line_bytes = 0;
    if (++scan->headers > limits->max_headers) return 431;
    scan->state = LINE;
    // fall through
  case LINE:
    if (c == '\r') {
      scan->state = LINE_CR;
      return HTTP__MORE;
    }
    if (!is_plain(c)) return 400;
    return count_byte(scan, limits);
  case LINE_CR:
    if (c != '\n') return 400;
    scan->state = LINE_START;
    return HTTP__MORE;
  default: // END_CR
    return c == '\n' ? HTTP__COMPLETE : 400;
  }
}

static int scan_before(struct http__scan *scan, unsigned char c) {
  if (scan->state == START && c == '\r') {
    if (++scan->blank_lines > BLANK_LINES_MAX) return 400;
    scan->state = START_CR;
  } else if (scan->state == START_CR) {
    if (c != '\n') return 400;
    scan->state = START;
  } else {
    scan->state = LINE;
  }
  return HTTP__MORE;
}

// How many of the next bytes are plain, tabs not counted, looked at many at a time: a head is some hundreds of them.
static size_t plain_run(const char *data, size_t len) {
  size_t i = 0;
#ifdef __SSE2__
  for (; len - i >= 16; i += 16) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(data + i));
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    unsigned marks = (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f))));
    if (marks) return i + (unsigned)__builtin_ctz(marks);
  }
#endif
  for (uint64_t word; len - i >= 8; i += 8) {
    memcpy(&word, data + i, 8);
    uint64_t marks = word_below(word, 0x20) | word_equal(word, 0x7f);
    if (marks) return i + word_first(marks);
  }
  return i;
}

// Within a line, as many bytes at once as are plain and within the limits; what ends the run is looked at byte by byte.
static size_t scan_run(struct http__scan *scan, const struct http_limits *limits, const char *data, size_t len) {
  size_t line = line_max(scan, limits) - scan->line_bytes, head = limits->max_head_bytes - scan->head_bytes;
  if (len > line) len = line;
  if (len > head) len = head;
  size_t run = plain_run(data, len);
  scan->line_bytes += run;
  scan->head_bytes += run;
  return run;
}

// The end of a line in front of another line: what the bytes would do one by one, at once.
static bool scan_line_end(struct http__scan *scan, const struct http_limits *limits, const char *at, size_t len) {
  if (len < 3 || at[0] != '\r' || at[1] != '\n' || (unsigned char)at[2] <= ' ') return false;
  if (scan->headers == limits->max_headers || limits->max_head_bytes - scan->head_bytes < 2) return false;
  scan->headers++;
  scan->line_bytes = 0;
  scan->head_bytes += 2;
  return true;
}

int http__scan_head(struct http__scan *scan, const struct http_limits *limits, const char *data, size_t len, size_t *skipped,
                    size_t *used) {
  size_t i = 0;
  *used = 0;
  while (i < len && scan->state <= START_CR) {
    int verdict = scan_before(scan, (unsigned char)data[i]);
    if (verdict != HTTP__MORE) return verdict;
    if (scan->state == LINE) break; // this byte begins the request line
    i++;
  }
  *skipped = i;
  for (; i < len; i++) {
    if (scan->state == LINE) {
      i += scan_run(scan, limits, data + i, len - i);
      if (scan_line_end(scan, limits, data + i, len - i)) {
        i++; // and one more by the loop
        continue;
      }
    }
    if (i == len) break;
    if (++scan->head_bytes > limits->max_head_bytes) return scan->headers == 0 ? 414 : 431;
    int verdict = scan_byte(scan, limits, (unsigned char)data[i]);
    if (verdict == HTTP__MORE) continue;
    if (verdict == HTTP__COMPLETE) *used = i + 1 - *skipped;
    return verdict;
  }
  *used = len - *skipped;
  return HTTP__MORE;
}

// ---------------------------------------------------------------- chunked bodies

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, LAST_LF };

void http__chunk_start(struct http__chunk_scan *scan, uint64_t max_bytes) {
  *scan = (struct http__chunk_scan){.state = SIZE, .max_bytes = max_bytes};
}

static int scan_size(struct http__chunk_scan *scan, unsigned char c) {
  int value = hex_value((char)c);
  if (value >= 0) {
    if (++scan->digits > CHUNK_DIGITS_MAX) return 400;
    scan->left = scan->left << 4 | (unsigned)value;
    return HTTP__MORE;
  }
  if (scan->digits == 0) return 400;
  if (c == ';') {
    scan->state = EXTENSION;
    scan->quoted = scan->escaped = false;
    return ++scan->extension_bytes > EXTENSION_MAX_BYTES ? 400 : HTTP__MORE;
  }
  if (c != '\r') return 400;
  scan->state = SIZE_LF;
  return HTTP__MORE;
}

// An extension may hold anything printable; a CR inside quotes is an attempt to look like the end of the line.
static int scan_extension(struct http__chunk_scan *scan, unsigned char c) {
  if (c == '\r') {
    if (scan->quoted) return 400;
    scan->state = SIZE_LF;
    return HTTP__MORE;
  }
  if (!is_plain(c)) return 400;
  if (scan->escaped)
    scan->escaped = false;
  else if (scan->quoted && c == '\\')
    scan->escaped = true;
  else if (c == '"')
    scan->quoted = !scan->quoted;
  return ++scan->extension_bytes > EXTENSION_MAX_BYTES ? 400 : HTTP__MORE;
}

static int scan_trailer(struct http__chunk_scan *scan, unsigned char c) {
  if (++scan->trailer_bytes > TRAILER_MAX_BYTES) return 431;
  switch (scan->state) {
  case TRAILER_START:
    if (c == '\r') {
      scan->state = LAST_LF;
      return HTTP__MORE;
    }
    if (!http__is((char)c, HTTP__TOKEN)) return 400;
    if (++scan->trailers > TRAILER_MAX_FIELDS) return 431;
    scan->state = TRAILER_NAME;
    return HTTP__MORE;
  case TRAILER_NAME:
    if (c == ':')
      scan->state = TRAILER_VALUE;
    else if (!http__is((char)c, HTTP__TOKEN))
      return 400;
    return HTTP__MORE;
  case TRAILER_VALUE:
    if (c == '\r')
      scan->state = TRAILER_LF;
    else if (!is_plain(c))
      return 400;
    return HTTP__MORE;
  case TRAILER_LF:
    if (c != '\n') return 400;
    scan->state = TRAILER_START;
    return HTTP__MORE;
  default: // LAST_LF
    return c == '\n' ? HTTP__COMPLETE : 400;
  }
}

static int scan_framing(struct http__chunk_scan *scan, unsigned char c) {
  switch (scan->state) {
  case SIZE: return scan_size(scan, c);
  case EXTENSION: return scan_extension(scan, c);
  case SIZE_LF:
    if (c != '\n') return 400;
    scan->digits = 0;
    scan->total += scan->left; // 60 bits each and refused beyond the limit: cannot wrap
    if (scan->total > scan->max_bytes) return 413;
    scan->state = scan->left ? DATA : TRAILER_START;
    return HTTP__MORE;
  case DATA_CR:
    if (c != '\r') return 400;
    scan->state = DATA_LF;
    return HTTP__MORE;
  case DATA_LF:
    if (c != '\n') return 400;
    scan->state = SIZE;
    return HTTP__MORE;
  default: return scan_trailer(scan, c);
  }
}

int http__scan_chunked(struct http__chunk_scan *scan, const char *data, size_t len, size_t *used) {
  size_t i = 0;
  while (i < len) {
    if (scan->state == DATA) {
      size_t take = len - i < scan->left ? len - i : (size_t)scan->left;
      scan->left -= take;
      i += take;
      if (scan->left == 0) scan->state = DATA_CR;
      continue;
    }
    int verdict = scan_framing(scan, (unsigned char)data[i++]);
    if (verdict == HTTP__MORE) continue;
    *used = i;
    return verdict;
  }
  *used = len;
  return HTTP__MORE;
}
