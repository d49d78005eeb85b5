// One journal file while it is written: preallocated, zero-filled ahead, locked by its writer.
#ifndef INTAKE_SEGMENT_H
#define INTAKE_SEGMENT_H

#include "wahook/base.h"

struct segment {
  int fd;          // -1: none
  uint64_t size;   // preallocated bytes
  uint64_t used;   // committed bytes
  uint64_t zeroed; // zeroes are written up to here
  char path[4096];
};

// Makes the directory when missing and in it "<writer>-<number>.log", locked before it gets that name, so that a reader never takes it for
// a dead writer's. errno is kept for the caller's sentence.
enum err segment_create(struct segment *out, const char *directory, const char *writer, unsigned number, uint64_t bytes,
                        bool sync) MUST_CHECK;
// Writes one slice of zeroes ahead of the data, where there are none yet, and flushes it. *more: call again.
enum err segment_zero_step(struct segment *segment, bool sync, bool *more) MUST_CHECK;
// Appends behind what is committed and flushes. On an error nothing of it counts and the segment must not be written any more.
enum err segment_append(struct segment *segment, struct span bytes, bool sync) MUST_CHECK;
// Cuts the file behind what is committed and lets go of it; an empty file is removed.
void segment_close(struct segment *segment);
// Bytes of the journal files in the directory that nobody writes any more: what waits for the reader, but for the files in use.
uint64_t segment_closed_bytes(const char *directory);
enum err segment_error(int error_number); // FULL or IO

#endif
