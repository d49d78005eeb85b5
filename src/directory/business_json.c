// Businesses as JSON documents, the way the replaced service's collection has them. Runs in wahookctl, and on pool threads of workers and
// the dispatcher where the store keeps documents.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fields.h"
#include "store.h"

// ---------------------------------------------------------------- dates

static bool digits(struct span *s, unsigned count, int *out) {
  if (s->len < count) return false;
  int value = 0;
  for (unsigned i = 0; i < count; i++) {
    if (!isdigit((unsigned char)s->ptr[i])) return false;
    value = value * 10 + (s->ptr[i] - '0');
  }
  *s = span_from(*s, count);
  *out = value;
  return true;
}

static bool literal(struct span *s, const char *any_of) {
  if (s->len == 0 || !strchr(any_of, s->ptr[0])) return false;
  *s = span_from(*s, 1);
  return true;
}

// "+02:00", "-0330", "Z" or nothing (UTC, as Mongo's drivers mean it) in minutes east.
static bool zone(struct span s, int *minutes_east) {
  *minutes_east = 0;
  if (s.len == 0 || span_eq_nocase(s, SPAN("Z"))) return true;
  int sign = s.ptr[0] == '-' ? -1 : 1, hours, minutes = 0;
  if (!literal(&s, "+-") || !digits(&s, 2, &hours)) return false;
  literal(&s, ":");
  if (s.len && !digits(&s, 2, &minutes)) return false;
  *minutes_east = sign * (hours * 60 + minutes);
  return s.len == 0;
}

// RFC 3339, also with a space for the T and without time or zone.
static bool date_of_text(struct span s, int64_t *ms) {
  struct tm tm = {0};
  int year, month, hour = 0, minute = 0, second = 0, millis = 0, east = 0;
  if (!digits(&s, 4, &year) || !literal(&s, "-") || !digits(&s, 2, &month) || !literal(&s, "-") || !digits(&s, 2, &tm.tm_mday))
    return false;
  if (literal(&s, "Tt ")) {
    if (!digits(&s, 2, &hour) || !literal(&s, ":") || !digits(&s, 2, &minute)) return false;
    if (literal(&s, ":") && !digits(&s, 2, &second)) return false;
    if (literal(&s, ".,")) {
      int scale = 100;
      for (; s.len && isdigit((unsigned char)s.ptr[0]); s = span_from(s, 1), scale /= 10)
        millis += (s.ptr[0] - '0') * scale;
    }
    if (!zone(s, &east)) return false;
  } else if (s.len) {
    return false;
  }
  if (month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || hour > 24 || minute > 59 || second > 60) return false;
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  tm.tm_hour = hour;
  tm.tm_min = minute - east;
  tm.tm_sec = second;
  *ms = (int64_t)timegm(&tm) * 1000 + millis;
  return true;
}

// Lenient: what is no date is 0 (unknown). An expiry that cannot be read is no reason to lose a business.
static int64_t date_of(const struct json *j) {
  if (j && j->type == JSON_OBJECT) {
    const struct json *inner = json_get(j, "$date");
    return inner ? date_of(inner) : json_i64(json_get(j, "$numberLong"), 0);
  }
  if (!j || (j->type != JSON_NUMBER && j->type != JSON_STRING)) return 0;
  int64_t ms;
  if (j->type == JSON_STRING && date_of_text(span_trim(j->text), &ms)) return ms;
  double number = json_double(j, 0);
  int64_t value = json_i64(j, number > 0 && number < 1e15 ? (int64_t)number : 0);
  // Seconds or milliseconds: 1e11 ms is 1973, 1e11 s is the year 5138.
  return value > 0 && value < INT64_C(100000000000) ? value * 1000 : value;
}

// ---------------------------------------------------------------- reading

static struct span text_of(const struct json *j) {
  if (j && j->type == JSON_OBJECT) return json_text(json_get(j, "$oid"));
  return json_text(j);
}

static void read_text(const struct json *document, const char *path, char **field) {
  struct span text = text_of(json_path(document, path));
  if (!text.ptr) return;
  free(*field);
  *field = span_dup(text);
}

// Seconds as a number in any of the ways that Mongo's tools write one. What is neither number nor text is kept as it is, to be complained
// about: a field that is there and without effect would be a surprise.
static void read_retention(struct business *b, const struct json *j) {
  static const char *const numbers[] = {"$numberInt", "$numberLong", "$numberDouble"};
  const struct json *inner = NULL;
  for (size_t i = 0; i < COUNT_OF(numbers) && !inner; i++)
    inner = json_get(j, numbers[i]);
  if (inner) j = inner;
  if (!j || j->type == JSON_NULL) return;
  struct span text = json_text(j);
  free(b->retention);
  b->retention = span_dup(text.ptr ? text : j->raw);
}

static enum err add_phone(struct business *b, const struct json *j, struct why *why) {
  struct span id = json_text(j);
  if (!business_phone_id_valid(id)) {
    why_set(why, "whatsappPhoneNumberIds: \"%.*s\" is no phone number id (1 to 32 of 0-9 A-Z a-z _ -)", id.len > 60 ? 60 : (int)id.len,
            id.ptr ? id.ptr : "");
    return ERR_FORMAT;
  }
  for (unsigned i = 0; i < b->phone_count; i++) {
    if (span_eq(span_of(b->phone_number_ids[i]), id)) return ERR_OK;
  }
  if (b->phone_count == BUSINESS_PHONES_MAX) {
    why_set(why, "whatsappPhoneNumberIds: more than %d phone numbers", BUSINESS_PHONES_MAX);
    return ERR_TOO_LARGE;
  }
  b->phone_number_ids[b->phone_count++] = span_dup(id);
  return ERR_OK;
}

static enum err read_phones(struct business *b, const struct json *phones, bool lenient, struct why *why) {
  if (!phones || phones->type == JSON_NULL) return ERR_OK;
  const struct json *first = phones->type == JSON_ARRAY ? phones->child : phones;
  for (const struct json *j = first; j; j = phones->type == JSON_ARRAY ? j->next : NULL) {
    enum err e = add_phone(b, j, why);
    if (e && !lenient) return e;
  }
  return ERR_OK;
}

static enum err read_all(struct business *b, const struct json *document, bool lenient, struct why *why) {
#define READ(field, path, wiped) read_text(document, path, &b->field);
  BUSINESS_TEXTS(READ)
#undef READ
  enum err e = read_phones(b, json_get(document, "whatsappPhoneNumberIds"), lenient, why);
  if (e) return e;
  if (b->id[0] == '\0') {
    why_set(why, "_id is missing");
    return ERR_FORMAT;
  }
  read_retention(b, json_get(document, "retention"));
  e = business_settle(b, why);
  if (e && !lenient) return e;
  b->token_expires_ms = date_of(json_get(document, "whatsappTokenExpiresAt"));
  b->created_ms = date_of(json_get(document, "createdAt"));
  b->whatsapp_enabled = json_bool(json_get(document, "whatsappEnabled"), false);
  b->is_active = json_bool(json_get(document, "isActive"), false);
  return ERR_OK;
}

enum err store__business(const struct json *document, bool lenient, struct business **out, struct why *why) {
  if (!document || document->type != JSON_OBJECT) {
    why_set(why, "a business is a JSON object");
    return ERR_FORMAT;
  }
  struct business *b = business_new();
  enum err e = read_all(b, document, lenient, why);
  if (e) {
    business_free(b);
    return e;
  }
  *out = b;
  return ERR_OK;
}

enum err business_from_json(const struct json *document, struct business **out, struct why *why) {
  return store__business(document, false, out, why);
}

// ---------------------------------------------------------------- writing

static void put_date(struct json_writer *w, const char *key, int64_t ms) {
  char text[25];
  if (ms == 0) return;
  clock_format_iso(ms * 1000, text);
  json_put_string(w, key, text);
}

// Texts that are absent are left out, but for the fields that the replaced service always reads.
static void put_text(struct json_writer *w, const char *key, const char *text, bool always) {
  if (always || text[0]) json_put_string(w, key, text);
}

void business_to_json(const struct business *b, struct json_writer *w, const char *key) {
  json_open(w, key, '{');
  put_text(w, "_id", b->id, true);
  put_text(w, "name", b->name, true);
  put_text(w, "subDomain", b->sub_domain, true);
  put_text(w, "wabaId", b->waba_id, false);
  json_open(w, "whatsappPhoneNumberIds", '[');
  for (unsigned i = 0; i < b->phone_count; i++)
    json_put_string(w, NULL, b->phone_number_ids[i]);
  json_close(w, ']');
  put_text(w, "whatsappAccessToken", b->access_token, true);
  put_text(w, "whatsappRefreshToken", b->refresh_token, false);
  put_date(w, "whatsappTokenExpiresAt", b->token_expires_ms);
  json_put_bool(w, "whatsappEnabled", b->whatsapp_enabled);
  json_put_bool(w, "isActive", b->is_active);
  put_date(w, "createdAt", b->created_ms);
  put_text(w, "appSecret", b->app_secret, false);
  put_text(w, "verifyToken", b->verify_token, false);
  put_text(w, "rateLimit", b->rate_limit, false);
  put_text(w, "retention", b->retention, false);
  if (b->responder_type[0] || b->responder_url[0] || b->responder_key[0] || b->responder_model[0] || b->responder_prompt[0]) {
    json_open(w, "responder", '{');
    put_text(w, "type", b->responder_type, false);
    put_text(w, "url", b->responder_url, false);
    put_text(w, "key", b->responder_key, false);
    put_text(w, "model", b->responder_model, false);
    put_text(w, "systemPrompt", b->responder_prompt, false);
    json_close(w, '}');
  }
  json_close(w, '}');
}
