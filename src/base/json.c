// Reading JSON (RFC 8259) into a tree that keeps the exact bytes of every value. Runs in every process.
//
// One pass over the bytes, without recursion: items one after the other, and a stack of open containers. Strings are looked at eight bytes
// at a time or more, as they are most of what comes in. Our own, since it is a third of what a webhook costs beside the kernel: a SAX
// library's callbacks, which tell neither where a token begins nor check surrogates, cost three times as much.
#include "span.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define DEFAULT_DEPTH 64u

#define NODES_A_RUN 32u // nodes that are taken from the arena at once

struct reader {
  struct arena *arena;
  const char *begin, *end;
  struct json **stack; // containers that are open
  unsigned open, depth;
  struct json *parent, **link; // the innermost of them (or one that stands for it), and where its next child will be known
  char closer;                 // what ends it
  struct json *spare;          // nodes that wait for their values
  size_t spares;
  const char *bad; // where it ended before its time
  bool too_large;  // too deep, or past the arena's limit
};

// What reads a token gets where it begins and gives what is behind it: these are kept in registers, not in the reader. NULL: it is wrong.
static const char *fail(struct reader *r, const char *at) {
  r->bad = at;
  return NULL;
}

// ---------------------------------------------------------------- strings

// What stands for a byte behind a backslash, but for 'u'.
static const char escaped[256] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t',
};

static inline bool is_hex4(const char *p) {
  return (hex_value(p[0]) | hex_value(p[1]) | hex_value(p[2]) | hex_value(p[3])) >= 0;
}

static inline unsigned hex4(const char *p) {
  return (unsigned)(hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]));
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
    if (escape[1] == 'u') {
      unsigned c;
      from = take_unicode(from, end, &c);
      to = put_utf8(to, c);
    } else {
      *to++ = escaped[(unsigned char)escape[1]];
    }
    escape = memchr(from, '\\', (size_t)(end - from));
  }
  memcpy(to, from, (size_t)(end - from));
  to += end - from;
  *out = (struct span){start, (size_t)(to - start)};
  return true;
}

// ---------------------------------------------------------------- tokens

static inline bool json_space(char c) { // most bytes that are asked about are not, and known by the first look
  return (unsigned char)c <= ' ' && (c == ' ' || c == '\t' || c == '\n' || c == '\r');
}

static inline const char *skip_space(const char *p, const char *end) {
  while (p < end && json_space(*p))
    p++;
  return p;
}

static inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

#ifdef __SSE2__
// A bit for each of sixteen bytes that is special within a string.
static inline unsigned special_16(const char *p) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
  __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
  __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash)));
}
#endif

// To the first byte that is special within a string: a quote, a backslash or a control character.
static inline const char *skip_plain(const char *p, const char *end) {
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

static const char *skip_escape(struct reader *r, const char *p) {
  if (r->end - p >= 2 && escaped[(unsigned char)p[1]]) return p + 2;
  return r->end - p >= 6 && p[1] == 'u' && is_hex4(p + 2) ? p + 6 : fail(r, p);
}

// A string with escapes, which begins at `inside`; the first of them is at p.
static const char *take_escaped(struct reader *r, const char *inside, const char *p, struct span *decoded) {
  while (p < r->end && *p != '"') {
    if (*p != '\\') return fail(r, p);
    p = skip_escape(r, p);
    if (!p) return NULL;
    p = skip_plain(p, r->end);
  }
  if (p == r->end) return fail(r, p);
  return decode_string(r, (struct span){inside, (size_t)(p - inside)}, decoded) ? p + 1 : fail(r, p);
}

// From an opening quote to behind the closing one.
static inline const char *take_string(struct reader *r, const char *p, struct span *decoded) {
  const char *inside = p + 1;
  p = skip_plain(inside, r->end);
  if (p == r->end || *p != '"') return take_escaped(r, inside, p, decoded);
  *decoded = (struct span){inside, (size_t)(p - inside)};
  return p + 1;
}

static const char *take_digits(struct reader *r, const char *p) {
  if (p == r->end || !is_digit(*p)) return fail(r, p);
  while (p < r->end && is_digit(*p))
    p++;
  return p;
}

static const char *take_number(struct reader *r, const char *p) {
  if (*p == '-') p++;
  p = p < r->end && *p == '0' ? p + 1 : take_digits(r, p);
  if (p && p < r->end && *p == '.') p = take_digits(r, p + 1);
  if (p && p < r->end && (*p | 0x20) == 'e') {
    p++;
    if (p < r->end && (*p == '+' || *p == '-')) p++;
    p = take_digits(r, p);
  }
  return p;
}

static const char *take_word(struct reader *r, const char *p, const char *word, size_t len) {
  return (size_t)(r->end - p) >= len && memcmp(p, word, len) == 0 ? p + len : fail(r, p);
}

// ---------------------------------------------------------------- the tree

// No more than the rest of the text can have use for: a value is a byte and what parts it from the next one.
static bool more_nodes(struct reader *r, const char *p) {
  size_t rest = (size_t)(r->end - p) / 2 + 1;
  r->spares = rest < NODES_A_RUN ? rest : NODES_A_RUN;
  r->spare = arena_alloc(r->arena, r->spares * sizeof *r->spare);
  if (!r->spare) {
    r->spares = 1;
    r->spare = arena_alloc(r->arena, sizeof *r->spare);
  }
  r->too_large = !r->spare;
  return r->spare;
}

static inline struct json *add_node(struct reader *r, struct span key, const char *p) {
  if (!r->spares && !more_nodes(r, p)) return NULL;
  struct json *node = r->spare++;
  r->spares--;
  *node = (struct json){.key = key, .raw = {p, 0}};
  *r->link = node;
  r->link = &node->next;
  r->parent->count++;
  return node;
}

static const char *open_container(struct reader *r, struct json *node, enum json_type type, const char *p) {
  if (r->open == r->depth) {
    r->too_large = true;
    return fail(r, p);
  }
  node->type = type;
  r->stack[r->open++] = node;
  r->parent = node;
  r->link = &node->child;
  r->closer = type == JSON_OBJECT ? '}' : ']';
  return p + 1;
}

static bool just_opened(const struct reader *r) {
  return r->open && r->link == &r->parent->child;
}

// p: behind the bracket
static void close_container(struct reader *r, const char *p, struct json *root) {
  struct json *node = r->stack[--r->open];
  node->raw.len = (size_t)(p - node->raw.ptr);
  r->link = &node->next;
  r->parent = r->open ? r->stack[r->open - 1] : root;
  r->closer = r->parent->type == JSON_OBJECT ? '}' : ']';
}

// A value, or as much of it as its opening bracket.
static inline const char *take_value(struct reader *r, struct json *node, const char *p) {
  switch (*p) {
  case '"':
    node->type = JSON_STRING;
    p = take_string(r, p, &node->text);
    break;
  case '{': return open_container(r, node, JSON_OBJECT, p);
  case '[': return open_container(r, node, JSON_ARRAY, p);
  case 't':
    node->type = JSON_TRUE;
    p = take_word(r, p, "true", 4);
    break;
  case 'f':
    node->type = JSON_FALSE;
    p = take_word(r, p, "false", 5);
    break;
  case 'n': p = take_word(r, p, "null", 4); break; // the type of a new node
  default:
    node->type = JSON_NUMBER;
    p = take_number(r, p);
    if (p) node->text = (struct span){node->raw.ptr, (size_t)(p - node->raw.ptr)};
  }
  if (p) node->raw.len = (size_t)(p - node->raw.ptr);
  return p;
}

// An item of the innermost container, with its name where that is an object.
static inline const char *take_item(struct reader *r, const char *p) {
  struct span key = {NULL, 0};
  if (r->closer == '}') {
    if (p == r->end || *p != '"') return fail(r, p);
    p = take_string(r, p, &key);
    if (!p) return NULL;
    p = skip_space(p, r->end);
    if (p == r->end || *p != ':') return fail(r, p);
    p = skip_space(p + 1, r->end);
  }
  if (p == r->end) return fail(r, p);
  struct json *node = add_node(r, key, p);
  return node ? take_value(r, node, p) : fail(r, p);
}

// To behind the last item and the white space after it.
static const char *take_items(struct reader *r, struct json *root) {
  const char *p = skip_space(r->begin, r->end);
  for (;;) {
    p = take_item(r, p);
    if (!p) return NULL;
    p = skip_space(p, r->end);
    if (just_opened(r) && (p == r->end || *p != r->closer)) continue;
    while (r->open && p < r->end && *p == r->closer) {
      close_container(r, p + 1, root);
      p = skip_space(p + 1, r->end);
    }
    if (!r->open) return p == r->end ? p : fail(r, p);
    if (p == r->end || *p != ',') return fail(r, p);
    p = skip_space(p + 1, r->end);
  }
}

enum err json_parse(struct arena *a, struct span text, const struct json_limits *limits, const struct json **out, size_t *bad_at) {
  size_t unused;
  if (!bad_at) bad_at = &unused;
  *bad_at = span__utf8_prefix(text);
  if (*bad_at < text.len) return ERR_FORMAT;
  struct json root = {.type = JSON_ARRAY};
  struct reader r = {.arena = a, .begin = text.ptr, .end = text.ptr + text.len, .parent = &root, .link = &root.child, .closer = ']'};
  r.depth = limits && limits->depth ? limits->depth : DEFAULT_DEPTH;
  r.stack = arena_alloc(a, r.depth * sizeof(struct json *));
  if (!r.stack) return ERR_TOO_LARGE;
  if (take_items(&r, &root)) {
    *out = root.child;
    return ERR_OK;
  }
  *bad_at = (size_t)(r.bad - r.begin);
  return r.too_large ? ERR_TOO_LARGE : ERR_FORMAT;
}
