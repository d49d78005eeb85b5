// Reading JSON into a tree: yajl checks the grammar, we keep the exact bytes of every value. Runs in every process.
//
// yajl's callbacks tell where a token ends (yajl_get_bytes_consumed) but not where it begins. Between the end of one token and the
// beginning of the next there is only white space, ',' and ':', so we find the beginning ourselves; that same walk refuses the vertical
// tabs and form feeds that yajl takes for white space. Strings are decoded here, not by yajl, which lets lone surrogates through as
// invalid UTF-8.
#include "span.h"

#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#define DEFAULT_DEPTH 64u

struct frame {
  struct json *node, *last; // an open array or object and its youngest child
};

struct parser {
  struct arena *arena;
  struct span text;
  yajl_handle yajl;
  size_t at; // end of the last token
  struct frame *stack;
  unsigned open, depth; // containers open now, and at most
  struct json *root;
  struct span key;    // waits for its value
  bool out_of_memory; // the arena's limit was reached
  bool too_deep;
  bool finishing; // yajl is flushing a bare number that ends the text, and its offsets no longer count from the text's beginning
};

// ---------------------------------------------------------------- memory for yajl

// yajl does not check what its allocator returns, so it always gets memory: past the arena's limit from the heap, and the document is
// refused at the next callback. Each piece begins with its size and origin.
struct piece {
  size_t size;
  bool heap;
  _Alignas(16) unsigned char data[];
};

static void *on_malloc(void *ctx, size_t size) {
  struct parser *p = ctx;
  struct piece *piece = arena_alloc(p->arena, sizeof *piece + size);
  bool heap = !piece;
  if (heap) {
    p->out_of_memory = true;
    piece = xmalloc(sizeof *piece + size);
  }
  piece->size = size;
  piece->heap = heap;
  return piece->data;
}

static struct piece *piece_of(void *data) {
  return (struct piece *)(void *)((unsigned char *)data - offsetof(struct piece, data));
}

static void on_free(void *ctx, void *data) {
  (void)ctx;
  if (data && piece_of(data)->heap) free(piece_of(data));
}

static void *on_realloc(void *ctx, void *data, size_t size) {
  if (!data) return on_malloc(ctx, size);
  size_t old = piece_of(data)->size;
  if (size <= old) return data;
  void *grown = on_malloc(ctx, size);
  memcpy(grown, data, old);
  on_free(ctx, data);
  return grown;
}

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

// Decodes the inside of a string that yajl has found well-formed. Without escapes it is the text itself; with them it is shorter.
static bool decode_string(struct parser *p, struct span inside, struct span *out) {
  const char *end = inside.ptr + inside.len;
  const char *from = inside.ptr, *escape = memchr(from, '\\', inside.len);
  if (!escape) {
    *out = inside;
    return true;
  }
  char *to = arena_alloc(p->arena, inside.len);
  if (!to) {
    p->out_of_memory = true;
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

// The bytes of the token that yajl has just read. False (and the document is refused) when it was not preceded by JSON's white space.
static bool take_token(struct parser *p, struct span *raw) {
  size_t end = p->finishing ? p->text.len : yajl_get_bytes_consumed(p->yajl);
  size_t begin = p->at;
  while (begin < end && (json_space(p->text.ptr[begin]) || p->text.ptr[begin] == ',' || p->text.ptr[begin] == ':'))
    begin++;
  p->at = begin;
  if (begin >= end || p->text.ptr[begin] == '\v' || p->text.ptr[begin] == '\f') return false;
  *raw = (struct span){p->text.ptr + begin, end - begin};
  p->at = end;
  return !p->out_of_memory;
}

static struct json *add_node(struct parser *p, enum json_type type) {
  struct span raw;
  if (!take_token(p, &raw)) return NULL;
  struct json *node = arena_alloc(p->arena, sizeof *node);
  if (!node) {
    p->out_of_memory = true;
    return NULL;
  }
  *node = (struct json){.type = type, .raw = raw, .key = p->key};
  p->key = (struct span){NULL, 0};
  if (p->open == 0) {
    p->root = node;
    return node;
  }
  struct frame *top = &p->stack[p->open - 1];
  if (top->last)
    top->last->next = node;
  else
    top->node->child = node;
  top->last = node;
  top->node->count++;
  return node;
}

static int on_null(void *ctx) {
  return add_node(ctx, JSON_NULL) != NULL;
}

static int on_boolean(void *ctx, int value) {
  return add_node(ctx, value ? JSON_TRUE : JSON_FALSE) != NULL;
}

static int on_number(void *ctx, const char *digits, size_t len) {
  (void)digits, (void)len;
  struct json *node = add_node(ctx, JSON_NUMBER);
  if (!node) return 0;
  node->text = node->raw;
  return 1;
}

static int on_string(void *ctx, const unsigned char *decoded, size_t len) {
  (void)decoded, (void)len;
  struct json *node = add_node(ctx, JSON_STRING);
  return node && decode_string(ctx, (struct span){node->raw.ptr + 1, node->raw.len - 2}, &node->text);
}

static int on_key(void *ctx, const unsigned char *decoded, size_t len) {
  (void)decoded, (void)len;
  struct parser *p = ctx;
  struct span raw;
  return take_token(p, &raw) && decode_string(p, (struct span){raw.ptr + 1, raw.len - 2}, &p->key);
}

static int open_container(struct parser *p, enum json_type type) {
  if (p->open == p->depth) {
    p->too_deep = true;
    return 0;
  }
  struct json *node = add_node(p, type);
  if (!node) return 0;
  p->stack[p->open++] = (struct frame){node, NULL};
  return 1;
}

static int close_container(struct parser *p) {
  struct span bracket;
  if (!take_token(p, &bracket)) return 0;
  struct json *node = p->stack[--p->open].node;
  node->raw.len = (size_t)(bracket.ptr + 1 - node->raw.ptr);
  return 1;
}

static int on_start_map(void *ctx) {
  return open_container(ctx, JSON_OBJECT);
}
static int on_start_array(void *ctx) {
  return open_container(ctx, JSON_ARRAY);
}
static int on_end(void *ctx) {
  return close_container(ctx);
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

// ---------------------------------------------------------------- the whole text

static enum err run(struct parser *p, size_t *bad_at) {
  const unsigned char *bytes = (const unsigned char *)p->text.ptr;
  yajl_status status = yajl_parse(p->yajl, bytes, p->text.len);
  size_t reached = yajl_get_bytes_consumed(p->yajl);
  if (p->out_of_memory || p->too_deep) return ERR_TOO_LARGE;
  if (status == yajl_status_ok && !(p->root && p->open == 0)) {
    // Only a bare number, or a text that ends too early, has anything left to flush.
    p->finishing = true;
    status = yajl_complete_parse(p->yajl);
  }
  if (p->out_of_memory) return ERR_TOO_LARGE;
  // Not at the end: white space of yajl's own (\v, \f) behind the value.
  if (status == yajl_status_ok && p->root && p->open == 0 && p->at == p->text.len) return ERR_OK;
  if (status == yajl_status_ok) status = yajl_status_client_canceled;
  *bad_at = status == yajl_status_client_canceled ? p->at : reached < p->text.len ? reached : p->text.len;
  return ERR_FORMAT;
}

enum err json_parse(struct arena *a, struct span text, const struct json_limits *limits, const struct json **out, size_t *bad_at) {
  size_t unused;
  if (!bad_at) bad_at = &unused;
  *bad_at = 0;
  size_t valid = span__utf8_prefix(text);
  if (valid < text.len) {
    *bad_at = valid;
    return ERR_FORMAT;
  }
  struct parser p = {.arena = a, .text = text, .depth = limits && limits->depth ? limits->depth : DEFAULT_DEPTH};
  // White space behind the value is cut off here: the last token's end is then the text's end.
  while (p.text.len && json_space(p.text.ptr[p.text.len - 1]))
    p.text.len--;
  p.stack = arena_alloc(a, p.depth * sizeof *p.stack);
  if (!p.stack) return ERR_TOO_LARGE;

  yajl_alloc_funcs memory = {.malloc = on_malloc, .realloc = on_realloc, .free = on_free, .ctx = &p};
  p.yajl = yajl_alloc(&callbacks, &memory, &p);
  ALWAYS(p.yajl);
  yajl_config(p.yajl, yajl_dont_validate_strings, 1); // done above, and stricter
  enum err e = run(&p, bad_at);
  yajl_free(p.yajl);
  if (e) return e;
  *out = p.root;
  return ERR_OK;
}
