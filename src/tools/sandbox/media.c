// Media uploads: multipart/form-data (RFC 7578, RFC 2046 section 5.1) and a store in memory. Runs in wahook-sandbox.
#include "tools/sandbox/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "wahook/crypto.h"

#define BOUNDARY_MAX 70 // RFC 2046 section 5.1.1

// It will be a header's value.
static bool is_printable(struct span s) {
  for (size_t i = 0; i < s.len; i++)
    if (s.ptr[i] < ' ' || s.ptr[i] > '~') return false;
  return true;
}

struct media *media_add(struct media_store *store, struct span mime_type, struct span bytes) {
  struct media *media = xcalloc(1, sizeof *media);
  snprintf(media->id, sizeof media->id, "%llu", (unsigned long long)(1000000000000000 + random_u64() % 1000000000000000));
  if (mime_type.len == 0 || !is_printable(mime_type) || span_copy(mime_type, media->mime_type, sizeof media->mime_type) != ERR_OK)
    snprintf(media->mime_type, sizeof media->mime_type, "application/octet-stream");
  uint8_t digest[32];
  sha256(bytes, digest);
  hex_encode(digest, sizeof digest, media->sha256);
  buf_add_span(&media->bytes, bytes);
  DL_APPEND(store->items, media);
  store->total_bytes += bytes.len;
  while (store->total_bytes > MEDIA_TOTAL_MAX && store->items != media)
    media_remove(store, store->items);
  return media;
}

struct media *media_find(const struct media_store *store, struct span id) {
  struct media *media;
  DL_FOREACH(store->items, media) if (span_eq(span_of(media->id), id)) return media;
  return NULL;
}

void media_remove(struct media_store *store, struct media *media) {
  DL_DELETE(store->items, media);
  store->total_bytes -= media->bytes.len;
  buf_free(&media->bytes);
  free(media);
}

void media_clear(struct media_store *store) {
  while (store->items)
    media_remove(store, store->items);
}

// The value of `name` in "a; name=value; other=\"quoted\"", without quotes.
static struct span parameter(struct span header, struct span name) {
  struct span rest = header, piece;
  while (span_split(&rest, ';', &piece)) {
    piece = span_trim(piece);
    if (piece.len <= name.len || piece.ptr[name.len] != '=' || !span_eq_nocase((struct span){piece.ptr, name.len}, name)) continue;
    struct span value = span_from(piece, name.len + 1);
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"') value = (struct span){value.ptr + 1, value.len - 2};
    return value;
  }
  return (struct span){0};
}

struct span form_boundary(struct span content_type) {
  struct span none = {0}, rest = content_type, type;
  if (!span_split(&rest, ';', &type) || !span_eq_nocase(span_trim(type), SPAN("multipart/form-data"))) return none;
  struct span boundary = parameter(rest, SPAN("boundary"));
  return boundary.len > 0 && boundary.len <= BOUNDARY_MAX ? boundary : none;
}

static size_t find(struct span in, size_t from, struct span what) {
  if (from > in.len) return SIZE_MAX;
  const char *at = memmem(in.ptr + from, in.len - from, what.ptr, what.len);
  return at ? (size_t)(at - in.ptr) : SIZE_MAX;
}

static void read_head(struct span head, struct form_part *part) {
  struct span line;
  while (span_split(&head, '\n', &line)) {
    line = span_trim(line);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') line.len--;
    struct span value = line, name;
    if (!span_split(&value, ':', &name)) continue;
    if (span_eq_nocase(name, SPAN("content-disposition"))) {
      part->name = parameter(value, SPAN("name"));
      part->filename = parameter(value, SPAN("filename"));
    } else if (span_eq_nocase(name, SPAN("content-type"))) {
      part->type = span_trim(value);
    }
  }
}

bool form_find(struct span body, struct span boundary, const char *name, struct form_part *out) {
  char text[BOUNDARY_MAX + 8];
  int n = snprintf(text, sizeof text, "\r\n--%.*s", SPAN_FMT(boundary));
  struct span delimiter = {text, (size_t)n}, first = span_from(delimiter, 2);
  if (!span_starts(body, first)) return false;
  size_t at = first.len;
  for (;;) {
    if (span_starts(span_from(body, at), SPAN("--"))) return false; // the closing delimiter
    size_t end_of_line = find(body, at, SPAN("\r\n"));
    if (end_of_line == SIZE_MAX) return false;
    // A part may have no header lines at all: then its blank line follows at once.
    size_t blank = find(body, end_of_line, SPAN("\r\n\r\n"));
    size_t end = find(body, end_of_line, delimiter);
    if (blank == SIZE_MAX || end == SIZE_MAX || blank > end) return false;
    size_t start = blank + 4 <= end ? blank + 4 : end;
    struct form_part part = {.bytes = {body.ptr + start, end - start}};
    read_head((struct span){body.ptr + end_of_line, blank - end_of_line}, &part);
    if (span_eq(part.name, span_of(name))) {
      *out = part;
      return true;
    }
    at = end + delimiter.len;
  }
}
