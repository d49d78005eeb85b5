// One journal file as the reader sees it: a window of its bytes, the records found in it, and whether somebody still writes it.
#ifndef INTAKE_READER_FILE_H
#define INTAKE_READER_FILE_H

#include "wahook/intake.h"

#define FILE_QUEUE_EVENTS 4096              // records decoded ahead
#define FILE_QUEUE_BYTES  (4u << 20)        // and bytes
#define FILE_BUCKETS      4096              // conversations, hashed
#define FILE_GAP_RAW_MAX  ((size_t)1 << 20) // of damaged bytes that are kept

// A record that was found and not handed out yet.
struct found {
  uint64_t offset; // in the file
  uint32_t size;
  bool gap; // damaged bytes instead of a record
  uint16_t bucket;
  int32_t next_same; // next in the same bucket (index into the queue), -1
  int64_t when_us;   // its place among the records of other files: see place_of in reader_file.c
};

struct reader_file {
  char name[64];
  size_t writer_len; // "<writer>-<segment>.log": the part that files of one writer share
  uint64_t segment;
  uint16_t boot_tag; // of this start of the machine
  int fd;            // -1 until the first scan: a long backlog waits as names only
  bool present;      // seen by the latest look into the directory
  bool unlocked;     // its writer is gone: nothing will be added
  bool ended;        // unlocked, and everything was found
  bool failed;       // could not be read: nothing is known about its end
  bool scanned;      // by the look that goes on
  bool reported;     // handed out as finished
  int64_t damaged_since_us;
  // window.data[0] stands at `base`; records are found up to `parsed`
  struct buf window;
  uint64_t base, parsed;
  struct found *queue;                             // FILE_QUEUE_EVENTS of them
  unsigned head, count;                            // of the queue, which is filled from 0 again when it is empty
  int32_t first[FILE_BUCKETS], last[FILE_BUCKETS]; // conversations in the queue
  int64_t last_us;                                 // when_us of the last record that was found
  int64_t frontier_us;                             // everything acknowledged before this moment was found
  struct reader_file *next;
};

// NULL when the name is not that of a journal file.
struct reader_file *reader_file_new(const char *name, uint64_t offset, uint16_t boot_tag);
void reader_file_free(struct reader_file *file);
// Finds records until the queue is full or the file gives no more. `now_us` was read (clock_boot_us) before the directory was looked into.
// corrupt: regions newly found damaged are added.
void reader_file_scan(struct reader_file *file, int directory_fd, int64_t now_us, uint64_t *corrupt);
// The head of the queue, removed from it; the spans point into the window.
void reader_file_take(struct reader_file *file, struct intake_event *event);
uint64_t reader_file_backlog(const struct reader_file *file, const char *directory);

#endif
