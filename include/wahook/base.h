// The ground floor: errors, text spans, buffers, arenas, JSON, clocks, keyed hashing. Every folder stands on it.
#ifndef WAHOOK_BASE_H
#define WAHOOK_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define COUNT_OF(array)        (sizeof(array) / sizeof((array)[0]))

// ---------------------------------------------------------------- errors (err.c)

// The one list of errors. Functions return one; outputs stay untouched unless it is ERR_OK.
#define ERR_LIST(X)                                                                                                                        \
  X(OK, "no error")                                                                                                                        \
  X(AGAIN, "not yet, try again")                                                                                                           \
  X(IO, "input/output error")                                                                                                              \
  X(FULL, "no space left")                                                                                                                 \
  X(TOO_LARGE, "larger than the limit")                                                                                                    \
  X(RANGE, "outside the allowed range")                                                                                                    \
  X(FORMAT, "malformed")                                                                                                                   \
  X(CHECKSUM, "checksum does not match")                                                                                                   \
  X(TRUNCATED, "ends too early")                                                                                                           \
  X(VERSION, "unknown version")                                                                                                            \
  X(NOT_FOUND, "not found")                                                                                                                \
  X(EXISTS, "exists already")                                                                                                              \
  X(CONFLICT, "conflicts with another")                                                                                                    \
  X(DENIED, "not allowed")                                                                                                                 \
  X(KEY, "no key fits")                                                                                                                    \
  X(TIMEOUT, "took too long")                                                                                                              \
  X(UNAVAILABLE, "not available now")                                                                                                      \
  X(UNSUPPORTED, "not supported")                                                                                                          \
  X(CANCELED, "canceled")                                                                                                                  \
  X(CLOSED, "closed")                                                                                                                      \
  X(CONFIG, "configuration error")

#define ERR_ENUM(name, text) ERR_##name,
enum err { ERR_LIST(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

// Short lower-case name ("not_found") for logs and metrics; static storage.
const char *err_name(enum err e);
// One English phrase ("not found"); static storage.
const char *err_text(enum err e);

// The sentence that goes with an error where its name alone would not tell an operator what to do.
struct why {
  char text[320];
};
// Replaces the sentence (truncated when too long). `why` may be NULL.
void why_set(struct why *why, const char *fmt, ...) PRINTF_LIKE(2, 3);

// ---------------------------------------------------------------- giving up (die.c)

// Prints "wahookd: panic: ..." to stderr and aborts. For broken promises inside the program, never for bad input.
_Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);
// Called with the panic text just before abort, e.g. to leave it in shared memory for the obituary. NULL removes it.
void die_set_hook(void (*hook)(const char *text));
// Allocation for our own bookkeeping: never NULL, running out of memory is a panic. Client-sized memory goes through buf/arena limits.
void *xmalloc(size_t size);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);

// An assertion that stays on in release builds.
#define ALWAYS(cond)                                                                                                                       \
  do {                                                                                                                                     \
    if (__builtin_expect(!(cond), 0)) die("%s:%d: %s", __FILE__, __LINE__, #cond);                                                         \
  } while (0)

// ---------------------------------------------------------------- spans (span.c)

// A view of bytes that somebody else owns. Not NUL-terminated. {NULL, 0} is "absent"; {"", 0} is "empty".
struct span {
  const char *ptr;
  size_t len;
};
#define SPAN(literal) ((struct span){("" literal), sizeof(literal) - 1})
#define SPAN_FMT(s)   (int)(s).len, (s).ptr // for "%.*s"

// Eight bytes at a time, the first one lowest: 0x80 in a byte marks that it is below n (at most 0x80), or c. The lowest mark is exact;
// those above may be false, as a subtraction borrows from the bytes above the one that it marks.
#define WORD_BYTES(n) (0x0101010101010101u * (uint64_t)(n))
static inline uint64_t word_below(uint64_t word, unsigned char n) {
  return (word - WORD_BYTES(n)) & ~word & WORD_BYTES(0x80);
}
static inline uint64_t word_equal(uint64_t word, unsigned char c) {
  return word_below(word ^ WORD_BYTES(c), 1);
}
static inline unsigned word_first(uint64_t marks) { // which byte the lowest mark is of; there must be one
  return (unsigned)__builtin_ctzll(marks) >> 3;
}

// Inline, since they are everywhere: what is known when compiling, such as a literal's length, costs nothing then.
static inline struct span span_of(const char *text) { // NULL gives the absent span
  return text ? (struct span){text, strlen(text)} : (struct span){NULL, 0};
}
static inline bool span_eq(struct span a, struct span b) { // same bytes; mostly the first one tells
  return a.len == b.len && (a.len == 0 || (a.ptr[0] == b.ptr[0] && memcmp(a.ptr, b.ptr, a.len) == 0));
}
static inline struct span span_from(struct span s, size_t offset) { // s without its first `offset` bytes (all of them at most)
  if (offset > s.len) offset = s.len;
  return s.ptr ? (struct span){s.ptr + offset, s.len - offset} : s;
}
bool span_eq_nocase(struct span a, struct span b);              // ASCII case folded
bool span_starts(struct span s, struct span prefix);            //
bool span_ends(struct span s, struct span suffix);              //
struct span span_trim(struct span s);                           // without spaces and tabs at both ends
bool span_split(struct span *rest, char at, struct span *head); // cuts the next piece off *rest; false when nothing is left
enum err span_u64(struct span s, uint64_t *out) MUST_CHECK;     // decimal digits only, no sign; ERR_FORMAT, ERR_RANGE
enum err span_i64(struct span s, int64_t *out) MUST_CHECK;      // optional '-'
char *span_dup(struct span s);                                  // NUL-terminated copy, the caller frees
// Copies into a fixed field, always NUL-terminated; ERR_TOO_LARGE when it does not fit (then out is "").
enum err span_copy(struct span s, char *out, size_t out_size) MUST_CHECK;
bool span_utf8(struct span s); // valid UTF-8 (RFC 3629)
// Glob match with '*' and '?', case sensitive.
bool span_glob(struct span s, struct span pattern);
// Hex: lower-case out (2*len+1 bytes with NUL); decode accepts both cases, ERR_FORMAT unless exactly 2*out_len digits.
void hex_encode(const void *in, size_t len, char *out);
extern const signed char hex_values[256];
static inline int hex_value(char c) { // of one digit; -1 when it is none
  return hex_values[(unsigned char)c];
}
enum err hex_decode(struct span in, void *out, size_t out_len) MUST_CHECK;
// Percent-decodes (RFC 3986 section 2.1) into out; '+' becomes a space when `plus`. ERR_FORMAT on a bad escape or NUL, ERR_TOO_LARGE.
enum err percent_decode(struct span in, bool plus, char *out, size_t out_size, size_t *out_len) MUST_CHECK;
// The value of `key` in a query string ("a=1&b.c=2"), undecoded; false when absent. Keys are compared after decoding.
bool query_find(struct span query, struct span key, struct span *value);

// ---------------------------------------------------------------- buffers (buf.c)

// Growing bytes. data is NULL while empty; always NUL-terminated behind len when not. The zero value is ready for use.
struct buf {
  char *data;
  size_t len, cap;
};
void buf_free(struct buf *b);                  // also resets to the zero value
void buf_clear(struct buf *b);                 // len = 0, memory kept
char *buf_reserve(struct buf *b, size_t more); // room for `more` bytes behind len; returns where they go
void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_span(struct buf *b, struct span s);
void buf_add_text(struct buf *b, const char *text);
void buf_add_byte(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap);
void buf_consume(struct buf *b, size_t len); // drops the first bytes
struct span buf_span(const struct buf *b);
char *buf_steal(struct buf *b); // the bytes, NUL-terminated, now the caller's to free; b is reset
// Reads a whole file, at most `max` bytes. ERR_NOT_FOUND, ERR_IO, ERR_TOO_LARGE; errno is kept.
enum err buf_read_file(struct buf *b, const char *path, size_t max) MUST_CHECK;

// ---------------------------------------------------------------- arenas (arena.c)

// Memory that goes all at once. Blocks are kept over a reset, so a steady state allocates nothing.
struct arena_block;
struct arena {
  struct arena_block *blocks, *current;
  size_t used, limit; // limit: bytes in use at most between two resets, 0 = none
};
void arena_init(struct arena *a, size_t first_block_bytes, size_t limit_bytes);
void arena_reset(struct arena *a); // keeps blocks of up to 1 MiB in all, frees the rest
void arena_free(struct arena *a);
void *arena_alloc(struct arena *a, size_t size);        // 16-byte aligned, not zeroed; NULL past the limit
struct span arena_copy(struct arena *a, struct span s); // absent span past the limit

// ---------------------------------------------------------------- JSON (json.c, json_write.c)

enum json_type { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

// One value of a parsed document. All spans point into the parsed text or the arena and live as long as both.
struct json {
  enum json_type type;
  uint32_t count;     // children of an array or object
  struct span key;    // decoded, when the parent is an object
  struct span raw;    // the exact bytes of the value in the text
  struct span text;   // JSON_STRING: decoded; JSON_NUMBER: as written
  struct json *child; // first child
  struct json *next;  // next sibling
};

struct json_limits {
  unsigned depth; // nesting at most (0: 64)
};

// Parses strict JSON (RFC 8259, UTF-8 validated, nothing after the value but white space) into a tree in the arena.
// ERR_FORMAT with the byte offset in *bad_at (may be NULL), ERR_TOO_LARGE past depth or the arena's limit.
// In decoded text a lone surrogate and U+0000 (both only possible as \u escapes) stand as U+FFFD: it is valid UTF-8 and holds no NUL.
enum err json_parse(struct arena *a, struct span text, const struct json_limits *limits, const struct json **out,
                    size_t *bad_at) MUST_CHECK;

// All getters take NULL and wrong types and answer "absent". Of duplicate keys the last one counts, as in Python's json.
const struct json *json_get_span(const struct json *object, struct span key);
static inline const struct json *json_get(const struct json *object, const char *key) {
  return json_get_span(object, span_of(key));
}
// Path with dots and indexes: "metadata.phone_number_id", "entry.0.id".
const struct json *json_path(const struct json *j, const char *path);
struct span json_text(const struct json *j); // of a string or number, else absent
static inline struct span json_get_text(const struct json *object, const char *key) {
  return json_text(json_get(object, key));
}
bool json_bool(const struct json *j, bool otherwise);
int64_t json_i64(const struct json *j, int64_t otherwise); // of a number or a string of digits
double json_double(const struct json *j, double otherwise);

// Writes JSON into a buffer; commas are kept track of. `key` is NULL in arrays and at the top.
struct json_writer {
  struct buf *out;
  bool comma;
};
void json_start(struct json_writer *w, struct buf *out);
void json_open(struct json_writer *w, const char *key, char bracket);            // '{' or '['
void json_close(struct json_writer *w, char bracket);                            // '}' or ']'
void json_put_text(struct json_writer *w, const char *key, struct span value);   // absent span: null; bad UTF-8 becomes U+FFFD
void json_put_string(struct json_writer *w, const char *key, const char *value); // NULL: null
void json_put_i64(struct json_writer *w, const char *key, int64_t value);
void json_put_u64(struct json_writer *w, const char *key, uint64_t value);
void json_put_double(struct json_writer *w, const char *key, double value, int decimals);
void json_put_bool(struct json_writer *w, const char *key, bool value);
void json_put_null(struct json_writer *w, const char *key);
void json_put_raw(struct json_writer *w, const char *key, struct span json); // a value that is JSON already

// ---------------------------------------------------------------- clocks (clock.c, the one file that reads a clock)

int64_t clock_mono_us(void); // CLOCK_MONOTONIC
int64_t clock_mono_ns(void);
int64_t clock_wall_us(void); // CLOCK_REALTIME since 1970: for people, files and the outside; it may jump
// CLOCK_BOOTTIME: what has passed since the machine's start, its sleep included. The same in all processes, and it never jumps.
int64_t clock_boot_us(void);
// Which start of the machine clock_boot_us counts from; 0 when the system does not tell.
uint64_t clock_boot_id(void);

// The steady clock: a time of day for all that is stored and compared later. It is one moment by three clocks, and what has passed since.
//   - It never goes back, and runs as time passes: at most a twentieth faster or slower, whatever the wall clock does.
//   - It follows the wall clock at that pace until both agree: a correction by an hour takes 20 hours.
//   - Kept on disk, it goes on in a process that starts later as if it had run all the time. Over a restart of the machine only
//     the wall clock knows how long that took; it counts as no time at all where it says less than none.
// So a wait lasts as long as it should, and how old something is does not depend on where the wall clock stands.
struct clock_steady {
  uint64_t boot_id;
  int64_t boot_us, wall_us, steady_us;
};
// Goes on from what was `kept`; all zero: begins with the wall clock's time.
void clock_steady_begin(struct clock_steady *clock, const struct clock_steady *kept, uint64_t boot_id, int64_t boot_us, int64_t wall_us);
// What it shows now; the moment moves on to now.
int64_t clock_steady_at(struct clock_steady *clock, int64_t boot_us, int64_t wall_us);

// "2026-03-01T12:34:56.789Z" (25 bytes with NUL)
void clock_format_iso(int64_t wall_us, char out[static 25]);
// "Sun, 01 Mar 2026 12:34:56 GMT" (RFC 9110 section 5.6.7; 30 bytes with NUL)
void clock_format_http(int64_t wall_us, char out[static 30]);
// "1d 02:03:04" / "02:03:04" for people
void clock_format_span(int64_t us, char *out, size_t out_size);

// ---------------------------------------------------------------- hashing and checksums (hash.c, crc32c.c)

// SipHash-2-4 under a key made at process start: strangers choose our keys, they shall not choose our buckets.
uint64_t hash_keyed(const void *data, size_t len);
// SipHash-2-4-128 under a fixed key: the same in every process and after a restart (ids of seen events).
void hash_stable128(const void *data, size_t len, uint8_t out[static 16]);
// CRC-32C (Castagnoli), hardware where there is one; `crc` 0 to start, chainable.
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
// Random bytes from the kernel (getrandom); never fails.
void random_bytes(void *out, size_t len);
uint64_t random_u64(void);

// uthash with our keyed hash: include <uthash.h> after this header.
#define HASH_FUNCTION(keyptr, keylen, hashv)                                                                                               \
  do {                                                                                                                                     \
    (hashv) = (unsigned)hash_keyed((keyptr), (keylen));                                                                                    \
  } while (0)
#define uthash_fatal(msg) die("uthash: %s", msg)

#endif
