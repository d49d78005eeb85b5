// The strict guard over whole heads (RFC 9110, RFC 9112): what two programs could read in two ways is refused. Runs in workers and tools.
#include "guard.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "chars.h"

// The head's bytes are ours to change; spans are read-only views of them.
static char *writable(struct http__message *m, struct span s) {
  return m->head.data + (s.ptr - m->head.data);
}

// ---------------------------------------------------------------- request line

static int guard_method(struct http__message *m, struct span name) {
  if (name.len == 0) return 400;
  for (size_t i = 0; i < name.len; i++)
    if (!http__is(name.ptr[i], HTTP__TOKEN)) return 400;
  m->method = http_method_find(name);
  if (m->method != HTTP_M_NONE) return 0;
  return 501; // CONNECT, TRACE and PRI too: methods of no use here (RFC 9110 section 9.1)
}

static int guard_version(struct http__message *m, struct span version) {
  if (version.len != 8 || !span_starts(version, SPAN("HTTP/")) || !http__is(version.ptr[5], HTTP__DIGIT) || version.ptr[6] != '.' ||
      !http__is(version.ptr[7], HTTP__DIGIT))
    return 400;
  if (version.ptr[5] != '1' || version.ptr[7] > '1') return 505;
  m->minor = (unsigned)(version.ptr[7] - '0');
  return 0;
}

static int guard_target(struct http__message *m, struct span target, const struct http_limits *limits) {
  if (target.len == 0) return 400;
  if (target.len > limits->max_line_bytes) return 414;
  for (size_t i = 0; i < target.len; i++) {
    if (!http__is(target.ptr[i], HTTP__TARGET)) return 400;
    if (target.ptr[i] != '%') continue;
    if (target.len - i < 3) return 400;
    int high = hex_value(target.ptr[i + 1]), low = hex_value(target.ptr[i + 2]);
    if (high < 0 || low < 0) return 400;
    int decoded = high << 4 | low;
    if (decoded == 0 || decoded == '\r' || decoded == '\n') return 400;
  }
  m->target = target;
  return 0;
}

int http__guard_request_line(struct http__message *m, struct span line, const struct http_limits *limits) {
  struct span rest = line, method, target;
  const char *space = memchr(rest.ptr, ' ', rest.len);
  if (!space) return 400; // "GET" alone, HTTP/0.9's form too
  method = (struct span){rest.ptr, (size_t)(space - rest.ptr)};
  rest = span_from(rest, method.len + 1);
  space = memchr(rest.ptr, ' ', rest.len);
  if (!space) return 400;
  target = (struct span){rest.ptr, (size_t)(space - rest.ptr)};
  struct span version = span_from(rest, target.len + 1);
  int status = guard_version(m, version); // first, so that "PRI * HTTP/2.0" is a version's problem
  if (!status) status = guard_method(m, method);
  if (!status) status = guard_target(m, target, limits);
  return status;
}

// ---------------------------------------------------------------- fields

static const struct {
  struct span name;
  enum http__known known;
  bool single; // twice is 400: proxies and back ends differ on which one counts
} known_fields[] = {
    {{"host", 4}, HTTP__F_HOST, true},
    {{"expect", 6}, HTTP__F_EXPECT, false},
    {{"connection", 10}, HTTP__F_CONNECTION, false},
    {{"content-type", 12}, HTTP__F_CONTENT_TYPE, true},
    {{"x-request-id", 12}, HTTP__F_REQUEST_ID, false},
    {{"authorization", 13}, HTTP__F_AUTHORIZATION, true},
    {{"content-length", 14}, HTTP__F_CONTENT_LENGTH, true},
    {{"x-forwarded-for", 15}, HTTP__F_FORWARDED_FOR, false},
    {{"content-encoding", 16}, HTTP__F_CONTENT_ENCODING, false},
    {{"transfer-encoding", 17}, HTTP__F_TRANSFER_ENCODING, true},
    {{"x-hub-signature-256", 19}, HTTP__F_SIGNATURE, true},
};

// The lengths of the names in the table, a bit each.
#define KNOWN_LENGTHS (1u << 4 | 1u << 6 | 1u << 10 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15 | 1u << 16 | 1u << 17 | 1u << 19)

static int count_known(struct http__message *m, unsigned index) {
  struct span name = m->fields[index].name;
  if (name.len > 31 || !(KNOWN_LENGTHS >> name.len & 1)) return 0;
  for (size_t i = 0; i < COUNT_OF(known_fields); i++) {
    if (!span_eq(known_fields[i].name, name)) continue;
    enum http__known known = known_fields[i].known;
    if (m->known_count[known] == 0)
      m->known_first[known] = (uint8_t)index;
    else if (known_fields[i].single)
      return 400;
    m->known_count[known]++;
    break;
  }
  return 0;
}

#ifdef __SSE2__
static __m128i between(__m128i bytes, char low, char high) {
  return _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8((char)(low - 1))), _mm_cmplt_epi8(bytes, _mm_set1_epi8((char)(high + 1))));
}

// As many of sixteen bytes as are letters, digits or '-', in small letters; the others stay as they came.
static unsigned lower_16(char *bytes) {
  const __m128i numbers = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m128i as_they_came = _mm_loadu_si128((const __m128i *)(const void *)bytes);
  __m128i small = _mm_or_si128(as_they_came, _mm_and_si128(between(as_they_came, 'A', 'Z'), _mm_set1_epi8(32)));
  __m128i plain = _mm_or_si128(between(small, 'a', 'z'), between(small, '0', '9'));
  plain = _mm_or_si128(plain, _mm_cmpeq_epi8(small, _mm_set1_epi8('-')));
  unsigned run = (unsigned)__builtin_ctz(~(unsigned)_mm_movemask_epi8(plain));
  __m128i ours = _mm_cmplt_epi8(numbers, _mm_set1_epi8((char)run));
  __m128i mixed = _mm_or_si128(_mm_and_si128(ours, small), _mm_andnot_si128(ours, as_they_came));
  _mm_storeu_si128((__m128i *)(void *)bytes, mixed);
  return run;
}
#endif

// How long the name is that the line begins with. It is put in small letters.
static size_t take_name(char *line, size_t len) {
  size_t n = 0;
#ifdef __SSE2__
  for (unsigned run = 16; run == 16 && len - n >= 16; n += run)
    run = lower_16(line + n);
#endif
  for (uint8_t c; n < len && (c = http__chars[(unsigned char)line[n]]) & HTTP__TOKEN; n++)
    line[n] = (char)(line[n] + (c & HTTP__UPPER));
  return n;
}

static int guard_field(struct http__message *m, struct span line) {
  if (m->field_count == HTTP__FIELDS_MAX) return 431;
  size_t len = take_name(writable(m, line), line.len);
  if (len == 0 || len == line.len || line.ptr[len] != ':') return 400;
  unsigned index = m->field_count++;
  m->fields[index] = (struct http__field){{line.ptr, len}, span_trim(span_from(line, len + 1))};
  return count_known(m, index);
}

int http__guard_fields(struct http__message *m, struct span lines) {
  int status = 0;
  while (lines.len > 2 && !status) { // the empty line is the last one
    struct span line = {lines.ptr, (size_t)((const char *)memchr(lines.ptr, '\r', lines.len) - lines.ptr)};
    status = guard_field(m, line);
    lines = span_from(lines, line.len + 2);
  }
  return status;
}

// ---------------------------------------------------------------- the whole head

// host[:port] with a registered name, an IPv4 address or a bracketed IPv6 address; nothing else (RFC 9110 section 7.2).
static int guard_host(struct http__message *m) {
  if (m->known_count[HTTP__F_HOST] == 0) return m->minor == 1 ? 400 : 0;
  struct span host = http__message_known(m, HTTP__F_HOST);
  size_t i = 0;
  if (host.len && host.ptr[0] == '[') {
    for (i = 1; i < host.len && host.ptr[i] != ']'; i++)
      if (!http__is(host.ptr[i], HTTP__HEX) && host.ptr[i] != ':' && host.ptr[i] != '.') return 400;
    if (i == host.len || i == 1) return 400;
    i++;
  } else {
    while (i < host.len && http__is(host.ptr[i], HTTP__NAME))
      i++;
  }
  if (i == 0) return 400;
  m->host = (struct span){host.ptr, i};
  if (i < host.len) {
    if (host.ptr[i] != ':' || host.len - i > 6) return 400;
    for (size_t k = i + 1; k < host.len; k++)
      if (!http__is(host.ptr[k], HTTP__DIGIT)) return 400;
  }
  return 0;
}

static int guard_framing(struct http__message *m) {
  if (m->known_count[HTTP__F_TRANSFER_ENCODING]) {
    struct span coding = http__message_known(m, HTTP__F_TRANSFER_ENCODING);
    // Both framings at once is what request smuggling is made of (RFC 9112 section 6.3).
    if (m->known_count[HTTP__F_CONTENT_LENGTH] || m->minor == 0) return 400;
    if (!span_eq_nocase(coding, SPAN("chunked"))) {
      // A lone token is a coding we do not have; a list or an oddly written "chunked" is a trick.
      if (coding.len == 0) return 400;
      for (size_t i = 0; i < coding.len; i++)
        if (!http__is(coding.ptr[i], HTTP__ALPHA | HTTP__DIGIT) && coding.ptr[i] != '-') return 400;
      return 501;
    }
    m->chunked = true;
  } else if (m->known_count[HTTP__F_CONTENT_LENGTH]) {
    struct span length = http__message_known(m, HTTP__F_CONTENT_LENGTH);
    if (length.len == 0 || (length.len > 1 && length.ptr[0] == '0')) return 400;
    for (size_t i = 0; i < length.len; i++)
      if (!http__is(length.ptr[i], HTTP__DIGIT)) return 400;
    if (length.len > 18) return 413; // more than any limit, and beyond 64 bits soon
    if (span_u64(length, &m->content_length) != ERR_OK) return 400;
  }
  return 0;
}

static void read_connection(struct http__message *m) {
  m->keep_alive = m->minor == 1;
  if (m->known_count[HTTP__F_CONNECTION] == 0) return;
  bool closes = false;
  for (unsigned i = 0; i < m->field_count; i++) {
    if (!span_eq(m->fields[i].name, SPAN("connection"))) continue;
    struct span rest = m->fields[i].value, token;
    while (span_split(&rest, ',', &token)) {
      token = span_trim(token);
      if (span_eq_nocase(token, SPAN("close"))) closes = true;
      if (span_eq_nocase(token, SPAN("keep-alive"))) m->keep_alive = true;
    }
  }
  if (closes) m->keep_alive = false;
}

static void read_expect(struct http__message *m) {
  if (m->known_count[HTTP__F_EXPECT] == 0 || m->minor == 0) return; // RFC 9110 section 10.1.1: not in 1.0
  if (m->known_count[HTTP__F_EXPECT] == 1 && span_eq_nocase(http__message_known(m, HTTP__F_EXPECT), SPAN("100-continue")))
    m->expect_continue = true;
  else
    m->expect_other = true;
}

// Absolute form ("http://host/path", RFC 9112 section 3.2.2): only when it says what Host says. *path is what follows.
static int guard_absolute(const struct http__message *m, struct span *path) {
  size_t scheme = span_starts(*path, SPAN("http://")) ? 7 : span_starts(*path, SPAN("https://")) ? 8 : 0;
  if (scheme == 0) return 400;
  struct span rest = span_from(*path, scheme);
  size_t end = 0;
  while (end < rest.len && rest.ptr[end] != '/' && rest.ptr[end] != '?')
    end++;
  if (!span_eq_nocase((struct span){rest.ptr, end}, http__message_known(m, HTTP__F_HOST))) return 400;
  *path = span_from(rest, end);
  return 0;
}

// Decodes the path in place and refuses what other programs might read as another path: "//", dot segments, encoded slashes.
static int guard_path(struct http__message *m, struct span raw) {
  char *out = writable(m, raw);
  size_t n = 0;
  for (size_t i = 0; i < raw.len; i++) {
    char c = raw.ptr[i];
    if (c == '%') {
      int decoded = hex_value(raw.ptr[i + 1]) << 4 | hex_value(raw.ptr[i + 2]);
      if (decoded == '/' || decoded == '\\' || decoded < 0x20 || decoded == 0x7f) return 400;
      c = (char)decoded;
      i += 2;
    }
    out[n++] = c;
  }
  m->path = (struct span){out, n};
  for (size_t i = 0; i < n; i++) {
    if (out[i] != '/') continue;
    size_t end = i + 1;
    while (end < n && out[end] != '/')
      end++;
    size_t segment = end - i - 1;
    if (segment == 0 && end < n) return 400;
    if ((segment == 1 && out[i + 1] == '.') || (segment == 2 && out[i + 1] == '.' && out[i + 2] == '.')) return 400;
  }
  return 0;
}

int http__guard_head(struct http__message *m) {
  int status = guard_host(m);
  if (!status) status = guard_framing(m);
  if (status) return status;
  read_connection(m);
  read_expect(m);
  m->drop_body = m->method == HTTP_M_GET || m->method == HTTP_M_HEAD || m->method == HTTP_M_OPTIONS;

  struct span rest = m->target;
  if (span_eq(rest, SPAN("*"))) {
    m->path = rest;
    m->query = SPAN("");
    return m->method == HTTP_M_OPTIONS ? 0 : 400;
  }
  if (rest.ptr[0] != '/') status = guard_absolute(m, &rest);
  if (status) return status;
  const char *mark = memchr(rest.ptr, '?', rest.len);
  struct span raw = {rest.ptr, mark ? (size_t)(mark - rest.ptr) : rest.len};
  m->query = mark ? span_from(rest, raw.len + 1) : SPAN("");
  if (raw.len)
    status = guard_path(m, raw);
  else
    m->path = SPAN("/");
  if (status) return status;
  // Last, since the absolute form was compared with Host as it came.
  char *host = m->host.len ? writable(m, m->host) : NULL;
  for (size_t i = 0; i < m->host.len; i++)
    if (host[i] >= 'A' && host[i] <= 'Z') host[i] = (char)(host[i] + 32);
  return 0;
}
