// The form of one journal record: pure encoding and decoding (worker writes, dispatcher reads).
//
//   0  magic "WHR1"      4  size of the whole record, a multiple of 8      8  CRC-32C of the size field and of all behind byte 12
//  12  kind, version, 16-bit boot tag     16  received_us      24  six 16-bit lengths      36  32-bit length of raw
//  40  boot_us      48  the bytes
//
// Version 1 had neither tag nor boot_us: its bytes begin at 40.
// All numbers are little-endian. Records stand at multiples of 8, so that a reader finds the next one behind damaged bytes.
#include "wahook/intake.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

#include "intake/record.h"

enum { RECORD_VERSION = 2, RECORD_BODY_AT = RECORD_HEADER_BYTES + 8, TEXT_FIELDS = 6 };

// The short fields in the order in which they are stored.
static const size_t fields_at[TEXT_FIELDS] = {
    offsetof(struct intake_event, phone_number_id), offsetof(struct intake_event, waba_id), offsetof(struct intake_event, user),
    offsetof(struct intake_event, wamid),           offsetof(struct intake_event, type),    offsetof(struct intake_event, profile_name),
};

static struct span field(const struct intake_event *event, unsigned i) {
  struct span value;
  memcpy(&value, (const char *)event + fields_at[i], sizeof value);
  return value;
}

static size_t field_length(struct span text) {
  return text.len < INTAKE_FIELD_MAX ? text.len : INTAKE_FIELD_MAX;
}

static void put_16(char *at, size_t value) {
  uint16_t v = htole16((uint16_t)value);
  memcpy(at, &v, sizeof v);
}

static void put_32(char *at, uint32_t value) {
  uint32_t v = htole32(value);
  memcpy(at, &v, sizeof v);
}

static void put_64(char *at, uint64_t value) {
  uint64_t v = htole64(value);
  memcpy(at, &v, sizeof v);
}

static uint16_t get_16(const char *at) {
  uint16_t v;
  memcpy(&v, at, sizeof v);
  return le16toh(v);
}

static uint32_t get_32(const char *at) {
  uint32_t v;
  memcpy(&v, at, sizeof v);
  return le32toh(v);
}

static uint64_t get_64(const char *at) {
  uint64_t v;
  memcpy(&v, at, sizeof v);
  return le64toh(v);
}

static uint32_t record_checksum(const char *record, size_t size) {
  return crc32c(crc32c(0, record + 4, 4), record + 12, size - 12);
}

size_t intake_record_size(const struct intake_event *event) {
  size_t size = RECORD_BODY_AT + event->raw.len;
  for (unsigned i = 0; i < TEXT_FIELDS; i++)
    size += field_length(field(event, i));
  return (size + RECORD_ALIGN - 1) & ~(size_t)(RECORD_ALIGN - 1);
}

void intake_record_encode(const struct intake_event *event, char *out) {
  size_t size = intake_record_size(event);
  ALWAYS(size <= RECORD_MAX_BYTES);

  memset(out, 0, RECORD_HEADER_BYTES);
  put_32(out, RECORD_MAGIC);
  put_32(out + 4, (uint32_t)size);
  out[12] = (char)event->kind;
  out[13] = RECORD_VERSION;
  put_16(out + 14, event->boot_tag);
  put_64(out + 16, (uint64_t)event->received_us);
  put_64(out + RECORD_HEADER_BYTES, (uint64_t)event->boot_us);
  char *at = out + RECORD_BODY_AT;
  for (unsigned i = 0; i < TEXT_FIELDS; i++) {
    struct span text = field(event, i);
    size_t length = field_length(text);
    put_16(out + 24 + 2 * (size_t)i, length);
    if (length > 0) memcpy(at, text.ptr, length);
    at += length;
  }
  put_32(out + 36, (uint32_t)event->raw.len);
  if (event->raw.len > 0) memcpy(at, event->raw.ptr, event->raw.len);
  at += event->raw.len;
  memset(at, 0, (size_t)(out + size - at));
  put_32(out + 8, record_checksum(out, size));
}

// The lengths inside a record whose checksum is right; false when they do not add up to its size.
static bool record_slice(const char *record, size_t size, size_t at, struct intake_event *event) {
  if (at > size) return false;
  for (unsigned i = 0; i < TEXT_FIELDS; i++) {
    size_t length = get_16(record + 24 + 2 * (size_t)i);
    if (length > size - at) return false;
    memcpy((char *)event + fields_at[i], &(struct span){record + at, length}, sizeof(struct span));
    at += length;
  }
  size_t raw = get_32(record + 36);
  if (raw > size - at || size - at - raw >= RECORD_ALIGN) return false;
  event->raw = (struct span){record + at, raw};
  return true;
}

enum err intake_record_decode(struct span bytes, struct intake_event *event, size_t *consumed) {
  static const char zeroes[RECORD_HEADER_BYTES];
  if (bytes.len < RECORD_HEADER_BYTES) return ERR_TRUNCATED;
  if (memcmp(bytes.ptr, zeroes, RECORD_HEADER_BYTES) == 0) return ERR_NOT_FOUND;
  if (get_32(bytes.ptr) != RECORD_MAGIC) return ERR_FORMAT;
  size_t size = get_32(bytes.ptr + 4);
  if (size < RECORD_HEADER_BYTES || size > RECORD_MAX_BYTES || size % RECORD_ALIGN != 0) return ERR_FORMAT;
  if (bytes.len < size) return ERR_TRUNCATED;
  if (get_32(bytes.ptr + 8) != record_checksum(bytes.ptr, size)) return ERR_CHECKSUM;
  int version = bytes.ptr[13];
  if (version < 1 || version > RECORD_VERSION) return ERR_VERSION;
  int kind = bytes.ptr[12];
  if (kind < INTAKE_MESSAGE || kind > INTAKE_QUARANTINE) return ERR_FORMAT;

  struct intake_event found = {.kind = (enum intake_kind)kind};
  found.received_us = (int64_t)get_64(bytes.ptr + 16);
  if (!record_slice(bytes.ptr, size, version == 1 ? RECORD_HEADER_BYTES : RECORD_BODY_AT, &found)) return ERR_FORMAT;
  if (version > 1) {
    found.boot_tag = get_16(bytes.ptr + 14);
    found.boot_us = (int64_t)get_64(bytes.ptr + RECORD_HEADER_BYTES);
  }
  *event = found;
  *consumed = size;
  return ERR_OK;
}

size_t intake__record_claimed_size(const char *header) {
  size_t size = get_32(header + 4);
  return size >= RECORD_HEADER_BYTES && size <= RECORD_MAX_BYTES ? size : RECORD_HEADER_BYTES;
}
