// Reading JSON (RFC 8259) into a tree that keeps the exact bytes of every value. Runs in every process.
//
// One pass over the bytes, without recursion: what is expected next, and a stack of open containers. Strings are looked at eight bytes at a
// time or more, as they are most of what comes in. Our own, since it is a third of what a webhook costs beside the kernel: a SAX library's
// callbacks, which tell neither where a token begins nor check surrogates, cost three times as much.
#include "span.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define DEFAULT_DEPTH 64u

struct frame {
  struct json *node, *last; // an open array or object and its youngest child
};

struct reader {
  struct arena *arena;
  const char *begin, *at, *end;
  struct frame *stack;
  unsigned open, depth; // containers open now, and at most
  struct json *root;
  struct span key; // waits for its value
  bool too_large;  // too deep, or past the arena's limit
};

// ---------------------------------------------------------------- strings

static unsigned hex4(const char *p) {
  unsigned value = 0;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    value = value << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  return value;
}

static char *put_utf8(char *out, unsigned c) {
  if (c < 0x80) {
    *out++ = (char)c;
  } else if (c < 0x800) {
    *out++ = (char)(0xC0 | c >> 6);
    *out++ = (char)(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    *out++ = (char)(0xE0 | c >> 12);
    *out++ = (char)(0x80 | (c >> 6 & 0x3F));
    *out++ = (char)(0x80 | (c & 0x3F));
  } else {
    *out++ = (char)(0xF0 | c >> 18);
    *out++ = (char)(0x80 | (c >> 12 & 0x3F));
    *out++ = (char)(0x80 | (c >> 6 & 0x3F));
    *out++ = (char)(0x80 | (c & 0x3F));
  }
  return out;
}

// Reads what follows "\u" at p: one code point, of two escapes when they are a surrogate pair. A lone surrogate and U+0000 become
// U+FFFD: the first has no UTF-8, the second would end C strings early.
static const char *take_unicode(const char *p, const char *end, unsigned *out) {
  unsigned c = hex4(p);
  p += 4;
  if ((c & 0xFC00) == 0xD800 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
    unsigned low = hex4(p + 2);
    if ((low & 0xFC00) == 0xDC00) {
      *out = 0x10000 + ((c & 0x3FF) << 10) + (low & 0x3FF);
      return p + 6;
    }
  }
  *out = (c & 0xF800) == 0xD800 || c == 0 ? 0xFFFD : c;
  return p;
}

// Decodes the inside of a string that was found well-formed. Without escapes it is the text itself; with them it is shorter.
static bool decode_string(struct reader *r, struct span inside, struct span *out) {
  const char *end = inside.ptr + inside.len;
  const char *from = inside.ptr, *escape = memchr(from, '\\', inside.len);
  if (!escape) {
    *out = inside;
    return true;
  }
  char *to = arena_alloc(r->arena, inside.len);
  if (!to) {
    r->too_large = true;
    return false;
  }
  char *start = to;
  while (escape) {
    size_t run = (size_t)(escape - from);
    memcpy(to, from, run);
    to += run;
    from = escape + 2;
    unsigned c;
    switch (escape[1]) {
    case 'b': *to++ = '\b'; break;
    case 'f': *to++ = '\f'; break;
    case 'n': *to++ = '\n'; break;
    case 'r': *to++ = '\r'; break;
    case 't': *to++ = '\t'; break;
    case 'u':
      from = take_unicode(from, end, &c);
      to = put_utf8(to, c);
      break;
    default: *to++ = escape[1]; // '"', '\\', '/'
    }
    escape = memchr(from, '\\', (size_t)(end - from));
  }
  memcpy(to, from, (size_t)(end - from));
  to += end - from;
  *out = (struct span){start, (size_t)(to - start)};
  return true;
}

// ---------------------------------------------------------------- tokens

static bool json_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(const struct reader *r) {
  return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static bool is_hex(char c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

#ifdef __SSE2__
// A bit for each of sixteen bytes that is special within a string.
static unsigned special_16(const char *p) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
  __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
  __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash)));
}
#endif

// To the first byte that is special within a string: a quote, a backslash or a control character.
static const char *skip_plain(const char *p, const char *end) {
#ifdef __SSE2__
  for (; end - p >= 16; p += 16) {
    unsigned marks = special_16(p);
    if (marks) return p + __builtin_ctz(marks);
  }
#endif
  for (uint64_t word; end - p >= 8; p += 8) {
    memcpy(&word, p, 8);
    uint64_t marks = word_below(word, 0x20) | word_equal(word, '"') | word_equal(word, '\\');
    if (marks) return p + word_first(marks);
  }
  while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
    p++;
  return p;
}

static bool skip_escape(struct reader *r) {
  static const char known[] = "\"\\/bfnrt";
  if (r->end - r->at < 2) return false;
  char c = r->at[1];
  if (c != 'u') {
    if (!c || !strchr(known, c)) return false;
    r->at += 2;
    return true;
  }
  if (r->end - r->at < 6) return false;
  for (int i = 2; i < 6; i++)
    if (!is_hex(r->at[i])) return false;
  r->at += 6;
  return true;
}

// From an opening quote to behind the closing one.
static bool take_string(struct reader *r, struct span *decoded) {
  const char *inside = ++r->at;
  bool escaped = false;
  for (;;) {
    r->at = skip_plain(r->at, r->end);
    if (r->at == r->end) return false;
    if (*r->at == '"') break;
    if (*r->at != '\\' || !skip_escape(r)) return false;
    escaped = true;
  }
  *decoded = (struct span){inside, (size_t)(r->at - inside)};
  r->at++;
  return !escaped || decode_string(r, *decoded, decoded);
}

static void skip_space(struct reader *r) {
  while (r->at < r->end && json_space(*r->at))
    r->at++;
}

// A member's name and the colon behind it.
static bool take_key(struct reader *r) {
  if (*r->at != '"' || !take_string(r, &r->key)) return false;
  skip_space(r);
  if (r->at == r->end || *r->at != ':') return false;
  r->at++;
  return true;
}

static bool take_digits(struct reader *r) {
  if (!is_digit(r)) return false;
  while (is_digit(r))
    r->at++;
  return true;
}

static bool take_number(struct reader *r) {
  if (*r->at == '-') r->at++;
  if (r->at < r->end && *r->at == '0')
    r->at++;
  else if (!take_digits(r))
    return false;
  if (r->at < r->end && *r->at == '.') {
    r->at++;
    if (!take_digits(r)) return false;
  }
  if (r->at < r->end && (*r->at | 0x20) == 'e') {
    r->at++;
    if (r->at < r->end && (*r->at == '+' || *r->at == '-')) r->at++;
    if (!take_digits(r)) return false;
  }
  return true;
}

static bool take_word(struct reader *r, const char *word, size_t len) {
  if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0) return false;
  r->at += len;
  return true;
}

// ---------------------------------------------------------------- the tree

static struct json *add_node(struct reader *r, enum json_type type) {
  struct json *node = arena_alloc(r->arena, sizeof *node);
  if (!node) {
    r->too_large = true;
    return NULL;
  }
  *node = (struct json){.type = type, .raw = {r->at, 0}, .key = r->key};
  r->key = (struct span){NULL, 0};
  if (r->open == 0) {
    r->root = node;
    return node;
  }
  struct frame *top = &r->stack[r->open - 1];
  if (top->last)
    top->last->next = node;
  else
    top->node->child = node;
  top->last = node;
  top->node->count++;
  return node;
}

static bool open_container(struct reader *r, enum json_type type) {
  if (r->open == r->depth) {
    r->too_large = true;
    return false;
  }
  struct json *node = add_node(r, type);
  if (!node) return false;
  r->stack[r->open++] = (struct frame){node, NULL};
  r->at++;
  return true;
}

static void close_container(struct reader *r) {
  struct json *node = r->stack[--r->open].node;
  r->at++;
  node->raw.len = (size_t)(r->at - node->raw.ptr);
}

// Anything but a container.
static bool take_scalar(struct reader *r) {
  const char *begin = r->at;
  char c = *begin;
  bool number = c == '-' || (c >= '0' && c <= '9');
  enum json_type type = c == '"' ? JSON_STRING : number ? JSON_NUMBER : c == 't' ? JSON_TRUE : c == 'f' ? JSON_FALSE : JSON_NULL;
  struct json *node = add_node(r, type);
  if (!node) return false;
  bool good = type == JSON_STRING   ? take_string(r, &node->text)
              : type == JSON_NUMBER ? take_number(r)
              : type == JSON_TRUE   ? take_word(r, "true", 4)
              : type == JSON_FALSE  ? take_word(r, "false", 5)
                                    : take_word(r, "null", 4);
  node->raw.len = (size_t)(r->at - begin);
  if (type == JSON_NUMBER) node->text = node->raw;
  return good;
}

// ---------------------------------------------------------------- the whole text

enum expect { VALUE, FIRST_ITEM, KEY, FIRST_KEY, AFTER_VALUE };

static bool take_value(struct reader *r, enum expect *next) {
  char c = *r->at;
  *next = c == '[' ? FIRST_ITEM : c == '{' ? FIRST_KEY : AFTER_VALUE;
  return *next == AFTER_VALUE ? take_scalar(r) : open_container(r, c == '[' ? JSON_ARRAY : JSON_OBJECT);
}

// After a value: the next one of its container, or the container's end.
static bool take_after(struct reader *r, enum expect *next) {
  if (r->open == 0) return false;
  bool array = r->stack[r->open - 1].node->type == JSON_ARRAY;
  if (*r->at == ',') {
    r->at++;
    *next = array ? VALUE : KEY;
    return true;
  }
  if (*r->at != (array ? ']' : '}')) return false;
  close_container(r);
  *next = AFTER_VALUE;
  return true;
}

static bool take_next(struct reader *r, enum expect *next) {
  switch (*next) {
  case FIRST_ITEM:
    if (*r->at == ']') return take_after(r, next);
    // fall through
  case VALUE: return take_value(r, next);
  case FIRST_KEY:
    if (*r->at == '}') return take_after(r, next);
    // fall through
  case KEY: *next = VALUE; return take_key(r);
  case AFTER_VALUE: return take_after(r, next);
  }
  return false;
}

enum err json_parse(struct arena *a, struct span text, const struct json_limits *limits, const struct json **out, size_t *bad_at) {
  size_t unused;
  if (!bad_at) bad_at = &unused;
  *bad_at = span__utf8_prefix(text);
  if (*bad_at < text.len) return ERR_FORMAT;
  struct reader r = {.arena = a, .begin = text.ptr, .at = text.ptr, .end = text.ptr + text.len};
  r.depth = limits && limits->depth ? limits->depth : DEFAULT_DEPTH;
  r.stack = arena_alloc(a, r.depth * sizeof *r.stack);
  if (!r.stack) return ERR_TOO_LARGE;
  enum expect next = VALUE;
  bool good = true;
  while (good) {
    skip_space(&r);
    if (r.at == r.end) break;
    good = take_next(&r, &next);
  }
  *bad_at = (size_t)(r.at - r.begin);
  if (r.too_large) return ERR_TOO_LARGE;
  if (!good || r.open || next != AFTER_VALUE) return ERR_FORMAT;
  *out = r.root;
  return ERR_OK;
}
