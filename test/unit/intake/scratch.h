// What the tests of this folder share: a scratch directory and events to append.
#ifndef TEST_INTAKE_SCRATCH_H
#define TEST_INTAKE_SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wahook/intake.h"

struct scratch {
  char path[64];
};

static inline void scratch_make(struct scratch *s) {
  snprintf(s->path, sizeof s->path, "/tmp/wahook-intake-XXXXXX");
  if (mkdtemp(s->path) == NULL) die("mkdtemp");
}

// Names of the files in it, sorted; returns how many.
static inline unsigned scratch_list(const struct scratch *s, char names[][80], unsigned max) {
  struct dirent **entries;
  int n = scandir(s->path, &entries, NULL, alphasort);
  unsigned count = 0;
  for (int i = 0; i < n; i++) {
    if (entries[i]->d_name[0] != '.' && count < max) snprintf(names[count++], 80, "%.79s", entries[i]->d_name);
    free(entries[i]);
  }
  if (n >= 0) free(entries);
  return count;
}

static inline void scratch_remove(const struct scratch *s) {
  char names[256][80];
  unsigned n = scratch_list(s, names, 256);
  for (unsigned i = 0; i < n; i++) {
    char path[160];
    snprintf(path, sizeof path, "%s/%.79s", s->path, names[i]);
    unlink(path);
  }
  rmdir(s->path);
}

static inline void scratch_write(const struct scratch *s, const char *name, struct span bytes) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", s->path, name);
  FILE *f = fopen(path, "wb");
  if (f == NULL || fwrite(bytes.ptr, 1, bytes.len, f) != bytes.len || fclose(f) != 0) die("cannot write %s", path);
}

static inline struct intake_event sample(const char *user, const char *wamid, const char *raw, int64_t received_us) {
  return (struct intake_event){
      .kind = INTAKE_MESSAGE,
      .received_us = received_us,
      .phone_number_id = SPAN("100200300"),
      .waba_id = SPAN("55501"),
      .user = span_of(user),
      .wamid = span_of(wamid),
      .type = SPAN("text"),
      .profile_name = SPAN("Ann"),
      .raw = span_of(raw),
  };
}

static inline void add_record(struct buf *out, const struct intake_event *event) {
  size_t size = intake_record_size(event);
  intake_record_encode(event, buf_reserve(out, size));
  out->len += size;
}

#endif
