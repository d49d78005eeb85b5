// Journal files: whatever the bytes, the reader ends, its spans lie within the record, and decoding agrees with encoding.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wahook/intake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A record that decodes encodes to the same bytes again, but for padding and the checksum, which nobody reads twice; one of version 1 grows
// by the time it did not have.
static void check_record(struct span bytes) {
  struct intake_event event, again;
  size_t used;
  if (intake_record_decode(bytes, &event, &used) != ERR_OK) return;
  size_t size = intake_record_size(&event);
  ALWAYS(used <= bytes.len && size == used + (bytes.ptr[13] == 1 ? 8 : 0));
  ALWAYS(event.raw.ptr >= bytes.ptr && event.raw.ptr + event.raw.len <= bytes.ptr + used);
  char *copy = xmalloc(size);
  intake_record_encode(&event, copy);
  ALWAYS(intake_record_decode((struct span){copy, size}, &again, &used) == ERR_OK);
  ALWAYS(span_eq(event.raw, again.raw) && span_eq(event.wamid, again.wamid) && event.kind == again.kind);
  free(copy);
}

// The whole reader over a dead writer's file: it hands out everything, says "finished" once, and never turns in circles.
static void check_reader(const char *where, struct span bytes) {
  char path[128];
  snprintf(path, sizeof path, "%s/w0.fuzz-000001.log", where);
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(bytes.ptr, 1, bytes.len, file) != bytes.len) die("cannot write %s", path);
  fclose(file);

  struct intake_reader *reader;
  struct intake_reader_options options = {.directory = where};
  struct why why;
  ALWAYS(intake_reader_open(&options, &reader, &why) == ERR_OK);
  struct intake_batch batch;
  size_t finished = 0, turns = 0;
  uint64_t upto = 0;
  while (intake_reader_next(reader, 7, &batch) == ERR_OK) {
    ALWAYS(++turns <= bytes.len + 2 && batch.upto.offset >= upto && batch.upto.offset <= bytes.len);
    upto = batch.upto.offset;
    for (size_t i = 0; i < batch.count; i++)
      ALWAYS(batch.events[i].raw.len <= bytes.len);
    if (!batch.finished) continue;
    finished++;
    intake_reader_delete(reader, batch.upto.file);
  }
  ALWAYS(finished == 1 && access(path, F_OK) != 0);
  intake_reader_close(reader);
}

static char directory[64];

static void remove_directory(void) {
  rmdir(directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (directory[0] == 0) {
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory, sizeof directory, "%s/wahook-fuzz-XXXXXX", base);
    if (mkdtemp(directory) == NULL) die("mkdtemp");
    atexit(remove_directory);
  }
  struct span bytes = {(const char *)data, size};
  check_record(bytes);
  check_reader(directory, bytes);
  return 0;
}
