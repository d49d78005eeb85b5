// Uploaded media, kept in memory.
#ifndef WAHOOK_SANDBOX_MEDIA_H
#define WAHOOK_SANDBOX_MEDIA_H

#include "wahook/base.h"

#define MEDIA_ID_SIZE   24
#define MEDIA_TOTAL_MAX ((size_t)256 << 20) // the oldest make room

struct media {
  struct media *prev, *next;
  char id[MEDIA_ID_SIZE];
  char mime_type[128];
  char sha256[65];
  struct buf bytes;
};

struct media_store {
  struct media *items; // oldest first
  size_t total_bytes;
};

struct media *media_add(struct media_store *store, struct span mime_type, struct span bytes);
struct media *media_find(const struct media_store *store, struct span id);
void media_remove(struct media_store *store, struct media *media);
void media_clear(struct media_store *store);

// One part of a multipart/form-data body (RFC 7578).
struct form_part {
  struct span name, filename, type, bytes;
};
// The boundary of a Content-Type, absent when it is no multipart/form-data.
struct span form_boundary(struct span content_type);
// Finds a part by name; false when there is none or the body is malformed before it.
bool form_find(struct span body, struct span boundary, const char *name, struct form_part *out);

#endif
