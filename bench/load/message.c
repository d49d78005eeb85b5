// The requests of a run: messages as Meta posts them, each distinct and signed over its exact bytes, or one constant request. Runs in
// wahook-load.
//
// A message is a function of its number: a template for each phone number, two for each, with and without "Connection: close", has places
// of fixed width, and the number fills them. So nothing is kept of what was sent, and to send it again is to make it again. Signatures are
// what costs; those of the first messages can be made before the clock starts and take 32 bytes each.
#include "load.h"

#include <stdlib.h>
#include <string.h>

#define BODY_BYTES   700 // of a message; more when a phone number id leaves no room
#define NUMBER_WIDTH 10
#define USER_PREFIX  "4917" // and eight digits
#define USER_WIDTH   8
#define ID_PREFIX    "wamid.HBgMNDkxNzAxMjM0NTY3FQIAEhgU" // Meta's ids wrap a binary: number, kind, id
#define ID_SUFFIX    "AA=="
#define RUN_DIGITS   16
#define HEX_BYTES    64

// Offsets of the places.
struct template {
  char *bytes;
  size_t len, body, signature, users[2], id, text;
  size_t phone; // 0: the id is the same in each message
};

struct messages {
  bool constant;
  struct template *templates; // for each phone: kept open, closing
  uint64_t phones, conversations;
  struct hmac *hmac;
  uint8_t (*signatures)[32];
  uint64_t prepared;
  char id[sizeof ID_PREFIX + RUN_DIGITS + NUMBER_WIDTH + sizeof ID_SUFFIX];
};

// ---------------------------------------------------------------- places

static void put_digits(char *at, unsigned width, uint64_t value) {
  while (width) {
    at[--width] = (char)('0' + value % 10);
    value /= 10;
  }
}

static const struct template *template_of(const struct messages *m, uint64_t number, bool closes) {
  if (m->constant) return &m->templates[closes];
  return &m->templates[number % m->conversations % m->phones * 2 + closes];
}

static void fill_body(const struct messages *m, const struct template *t, uint64_t number) {
  put_digits(t->bytes + t->id, NUMBER_WIDTH, number);
  put_digits(t->bytes + t->text, NUMBER_WIDTH, number);
  for (size_t i = 0; i < COUNT_OF(t->users); i++)
    put_digits(t->bytes + t->users[i], USER_WIDTH, number % m->conversations);
  if (t->phone) put_digits(t->bytes + t->phone, USER_WIDTH, number % m->conversations);
}

static void sign(const struct messages *m, const struct template *t, uint8_t digest[static 32]) {
  hmac_sha256(m->hmac, (struct span){t->bytes + t->body, t->len - t->body}, digest);
}

static void put_signature(const struct template *t, const uint8_t digest[static 32]) {
  char hex[HEX_BYTES + 1];
  hex_encode(digest, 32, hex);
  memcpy(t->bytes + t->signature, hex, HEX_BYTES);
}

// ---------------------------------------------------------------- templates

// Adds digits to be filled in and returns where they are.
static size_t add_place(struct buf *b, unsigned width) {
  size_t at = b->len;
  for (unsigned i = 0; i < width; i++)
    buf_add_byte(b, '0');
  return at;
}

// "1000#": the digits of the conversation stand where the # is.
static void add_phone(struct buf *b, struct template *t, struct span phone) {
  struct span before = {phone.ptr, 0};
  const char *place = memchr(phone.ptr, '#', phone.len);
  before.len = place ? (size_t)(place - phone.ptr) : phone.len;
  buf_add_span(b, before);
  if (!place) return;
  t->phone = add_place(b, USER_WIDTH);
  buf_add_span(b, span_from(phone, before.len + 1));
}

// As Meta writes it: what is not ASCII, and slashes, are escaped.
static void add_message(struct buf *b, struct template *t, struct span phone, const char *run, int64_t now_s) {
  buf_add_text(b, "{\"object\":\"whatsapp_business_account\",\"entry\":[{\"id\":\"102290129340398\",\"changes\":[{\"value\":{"
                  "\"messaging_product\":\"whatsapp\",\"metadata\":{\"display_phone_number\":\"15550783881\",\"phone_number_id\":\"");
  add_phone(b, t, phone);
  buf_add_text(b, "\"},\"contacts\":[{\"profile\":{\"name\":\"J\\u00fcrgen M\\u00fcller\"},\"wa_id\":\"" USER_PREFIX);
  t->users[0] = add_place(b, USER_WIDTH);
  buf_add_text(b, "\"}],\"messages\":[{\"from\":\"" USER_PREFIX);
  t->users[1] = add_place(b, USER_WIDTH);
  buf_printf(b, "\",\"id\":\"" ID_PREFIX "%s", run);
  t->id = add_place(b, NUMBER_WIDTH);
  buf_printf(b, ID_SUFFIX "\",\"timestamp\":\"%lld\",\"text\":{\"body\":\"", (long long)now_s);
  t->text = add_place(b, NUMBER_WIDTH);
  static const char end[] = "\"},\"type\":\"text\"}]},\"field\":\"messages\"}]}]}";
  static const char filler[] =
      " Do you still have it in green? https:\\/\\/shop.example\\/coats \\ud83d\\ude0a Thanks a lot. I could come by today.";
  buf_add_text(b, filler);
  while (b->len + sizeof end - 1 < BODY_BYTES)
    buf_add_byte(b, '.');
  buf_add_text(b, end);
}

// `body` may be empty; then it is a GET. Moves the message's places to where they are in the whole request.
static void build(struct template *t, const struct load_options *o, const char *host, struct span body, bool signs, bool closes) {
  struct buf b = {0};
  buf_printf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n", o->get ? "GET" : "POST", o->path, host);
  if (!o->get) buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
  if (signs) {
    buf_add_text(&b, "X-Hub-Signature-256: sha256=");
    t->signature = add_place(&b, HEX_BYTES);
    buf_add_text(&b, "\r\n");
  }
  buf_add_text(&b, closes ? "Connection: close\r\n\r\n" : "\r\n");
  t->body = b.len;
  buf_add_span(&b, body);
  for (size_t i = 0; i < COUNT_OF(t->users); i++)
    t->users[i] += t->body;
  t->id += t->body;
  t->text += t->body;
  if (t->phone) t->phone += t->body;
  t->len = b.len;
  t->bytes = buf_steal(&b);
}

static enum err build_constant(struct messages *m, const struct load_options *o, const char *host, struct why *why) {
  struct buf body = {0};
  enum err e = o->body ? buf_read_file(&body, o->body, LOAD_CONSTANT_MAX) : ERR_OK;
  if (e != ERR_OK) {
    why_set(why, "cannot read %s: %s", o->body, err_text(e));
    buf_free(&body);
    return ERR_CONFIG;
  }
  m->constant = true;
  m->templates = xcalloc(2, sizeof *m->templates);
  for (unsigned closes = 0; closes < 2; closes++) {
    struct template *t = &m->templates[closes];
    uint8_t digest[32];
    build(t, o, host, buf_span(&body), o->body && m->hmac, closes);
    if (!t->signature) continue;
    sign(m, t, digest);
    put_signature(t, digest);
  }
  buf_free(&body);
  return ERR_OK;
}

static bool good_phone(struct span phone) {
  const char *place = memchr(phone.ptr, '#', phone.len);
  if (place && phone.len - 1 + USER_WIDTH > LOAD_PHONE_ID_MAX) return false;
  for (size_t i = 0; i < phone.len; i++) {
    char c = phone.ptr[i];
    if (phone.ptr + i == place) continue;
    if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '-' && c != '_') return false;
  }
  return phone.len > 0 && phone.len <= LOAD_PHONE_ID_MAX;
}

static enum err build_messages(struct messages *m, const struct load_options *o, const char *host, struct why *why) {
  char run[RUN_DIGITS + 1];
  uint64_t random = random_u64();
  hex_encode(&random, sizeof random, run);
  memcpy(m->id, ID_PREFIX, sizeof ID_PREFIX - 1);
  memcpy(m->id + sizeof ID_PREFIX - 1, run, RUN_DIGITS);
  struct span rest = span_of(o->phones), phone;
  for (const char *p = o->phones; *p; p++)
    m->phones += *p == ',';
  m->templates = xcalloc(2 * ++m->phones, sizeof *m->templates);
  int64_t now_s = clock_wall_us() / 1000000;
  for (uint64_t i = 0; span_split(&rest, ',', &phone); i++) {
    if (!good_phone(phone) || i >= LOAD_PHONES_MAX) {
      why_set(why, "--phone takes up to %d ids of letters and digits, with commas between them", LOAD_PHONES_MAX);
      return ERR_CONFIG;
    }
    for (unsigned closes = 0; closes < 2; closes++) {
      struct template *t = &m->templates[2 * i + closes];
      struct buf body = {0};
      add_message(&body, t, phone, run, now_s);
      build(t, o, host, buf_span(&body), true, closes);
      buf_free(&body);
    }
  }
  return ERR_OK;
}

// ---------------------------------------------------------------- for the run

enum err messages_new(const struct load_options *o, const struct target *target, struct messages **out, struct why *why) {
  struct messages *m = xcalloc(1, sizeof *m);
  m->conversations = o->conversations;
  if (o->app_secret) m->hmac = hmac_new(span_of(o->app_secret));
  enum err e = o->get || o->body ? build_constant(m, o, target->host, why) : build_messages(m, o, target->host, why);
  if (e == ERR_OK)
    *out = m;
  else
    messages_free(m);
  return e;
}

void messages_free(struct messages *m) {
  for (uint64_t i = 0; m->templates && i < (m->constant ? 2 : 2 * m->phones); i++)
    free(m->templates[i].bytes);
  free(m->templates);
  free(m->signatures);
  hmac_free(m->hmac);
  free(m);
}

void messages_prepare(struct messages *m, uint64_t count) {
  if (m->constant || !count) return;
  m->signatures = xrealloc(m->signatures, count * sizeof *m->signatures);
  for (uint64_t n = 0; n < count; n++) {
    const struct template *t = template_of(m, n, false);
    fill_body(m, t, n);
    sign(m, t, m->signatures[n]);
  }
  m->prepared = count;
}

struct span messages_request(struct messages *m, uint64_t number, bool closes) {
  const struct template *t = template_of(m, number, closes);
  if (!m->constant) {
    uint8_t digest[32];
    fill_body(m, t, number);
    if (number < m->prepared) {
      put_signature(t, m->signatures[number]);
    } else {
      sign(m, t, digest);
      put_signature(t, digest);
    }
  }
  return (struct span){t->bytes, t->len};
}

struct span messages_id(struct messages *m, uint64_t number) {
  char *at = m->id + sizeof ID_PREFIX - 1 + RUN_DIGITS;
  put_digits(at, NUMBER_WIDTH, number);
  memcpy(at + NUMBER_WIDTH, ID_SUFFIX, sizeof ID_SUFFIX);
  return (struct span){m->id, (size_t)(at - m->id) + NUMBER_WIDTH + sizeof ID_SUFFIX - 1};
}
