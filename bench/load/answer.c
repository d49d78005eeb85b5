// Reads what a load generator must know of an HTTP/1 answer: its status, where it ends, whether the connection lives on. Pure; runs in
// wahook-load.
//
//   HEAD ──▶ BODY ──▶ DONE        with Content-Length
//     └────▶ TO_END ──▶ DONE      without it: the answer ends with the connection (RFC 9112 section 6.3)
//
// A head that arrives in one piece, as nearly all do, is read where it lies.
#include "load.h"

#include <string.h>

void answer_start(struct answer *a) {
  // Not the head's bytes: this happens for each request.
  a->stage = ANSWER_HEAD;
  a->begun = a->closes = false;
  a->status = 0;
  a->left = 0;
  a->head_len = 0;
}

// Any of the words in a list with commas (RFC 9110 section 7.6.1).
static bool lists(struct span value, struct span word) {
  struct span one;
  while (span_split(&value, ',', &one))
    if (span_eq_nocase(span_trim(one), word)) return true;
  return false;
}

struct head {
  bool old, keeps, closes, sized;
  uint64_t length;
};

static enum err read_field(struct head *head, struct span line) {
  // Only three names matter; their first letters sort out most of the others.
  if (!line.len || ((line.ptr[0] | 32) != 'c' && (line.ptr[0] | 32) != 't')) return ERR_OK;
  struct span name, value = line;
  span_split(&value, ':', &name);
  if (span_eq_nocase(name, SPAN("content-length"))) {
    uint64_t length;
    if (span_u64(span_trim(value), &length) != ERR_OK || (head->sized && head->length != length)) return ERR_FORMAT;
    head->sized = true;
    head->length = length;
  } else if (span_eq_nocase(name, SPAN("connection"))) {
    head->closes = head->closes || lists(value, SPAN("close"));
    head->keeps = head->keeps || lists(value, SPAN("keep-alive"));
  } else if (span_eq_nocase(name, SPAN("transfer-encoding"))) {
    return ERR_FORMAT; // no server that this is for sends chunks to a client that takes a length
  }
  return ERR_OK;
}

// "HTTP/1.1 200 OK": the reason may be missing.
static enum err read_status(struct answer *a, struct head *head, struct span line) {
  const char *p = line.ptr;
  uint64_t status;
  if (line.len < 12 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1') || p[8] != ' ') return ERR_FORMAT;
  if (line.len > 12 && p[12] != ' ') return ERR_FORMAT;
  if (span_u64((struct span){p + 9, 3}, &status) != ERR_OK || status < 100 || status >= STATUS_COUNT) return ERR_FORMAT;
  a->status = (int)status;
  head->old = p[7] == '0';
  return ERR_OK;
}

// The next line without its end, which may be a bare LF; false at the empty one.
static bool next_line(struct span *rest, struct span *line) {
  if (!span_split(rest, '\n', line)) return false;
  if (line->len && line->ptr[line->len - 1] == '\r') line->len--;
  return line->len > 0;
}

// The whole head with the empty line at its end.
static enum err read_head(struct answer *a, struct span text) {
  struct head head = {0};
  struct span line;
  if (!next_line(&text, &line) || read_status(a, &head, line) != ERR_OK) return ERR_FORMAT;
  while (next_line(&text, &line))
    if (read_field(&head, line) != ERR_OK) return ERR_FORMAT;
  if (a->status == 101) return ERR_FORMAT; // nobody asked for another protocol
  if (a->status < 200) return ERR_OK;      // interim (RFC 9110 section 15.2): the answer is still to come
  a->closes = head.closes || (head.old && !head.keeps);
  bool without = a->status == 204 || a->status == 304;
  a->left = without || !head.sized ? 0 : head.length;
  a->stage = !without && !head.sized ? ANSWER_TO_END : a->left ? ANSWER_BODY : ANSWER_DONE;
  if (a->stage == ANSWER_TO_END) a->closes = true;
  return ERR_OK;
}

// Bytes up to and with the empty line, 0 when it is not there yet. The first `known` bytes are known to hold none.
static size_t head_end(struct span text, size_t known) {
  size_t at = known < 3 ? 0 : known - 3;
  for (;;) {
    const char *lf = at < text.len ? memchr(text.ptr + at, '\n', text.len - at) : NULL;
    if (!lf) return 0;
    at = (size_t)(lf - text.ptr) + 1;
    if (at < text.len && text.ptr[at] == '\n') return at + 1;
    if (at + 1 < text.len && text.ptr[at] == '\r' && text.ptr[at + 1] == '\n') return at + 2;
  }
}

static enum err feed_head(struct answer *a, struct span *bytes) {
  size_t end;
  if (!a->head_len && (end = head_end(*bytes, 0)) > 0) {
    struct span head = {bytes->ptr, end};
    *bytes = span_from(*bytes, end);
    return read_head(a, head);
  }
  size_t take = sizeof a->head - a->head_len, known = a->head_len;
  if (take > bytes->len) take = bytes->len;
  memcpy(a->head + a->head_len, bytes->ptr, take);
  struct span head = {a->head, a->head_len + take};
  end = head_end(head, known);
  if (!end && head.len == sizeof a->head) return ERR_FORMAT;
  a->head_len = end ? 0 : (unsigned)head.len;
  *bytes = span_from(*bytes, end ? end - known : take);
  return end ? read_head(a, (struct span){a->head, end}) : ERR_AGAIN;
}

enum err answer_feed(struct answer *a, struct span *bytes) {
  while (bytes->len && a->stage == ANSWER_HEAD) {
    a->begun = true;
    enum err e = feed_head(a, bytes);
    if (e != ERR_OK) return e;
  }
  if (a->stage == ANSWER_BODY) {
    size_t take = a->left < bytes->len ? (size_t)a->left : bytes->len;
    a->left -= take;
    *bytes = span_from(*bytes, take);
    if (!a->left) a->stage = ANSWER_DONE;
  } else if (a->stage == ANSWER_TO_END) {
    *bytes = span_from(*bytes, bytes->len);
  }
  return a->stage == ANSWER_DONE ? ERR_OK : ERR_AGAIN;
}

bool answer_end(struct answer *a) {
  if (a->stage == ANSWER_TO_END) a->stage = ANSWER_DONE;
  return a->stage == ANSWER_DONE;
}
