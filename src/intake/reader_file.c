// Reads one journal file (dispatcher): finds records, tells a live writer's end from a dead writer's torn tail, skips damaged bytes.
//
//   at `parsed` stands      writer alive                            writer gone
//   a record                found                                   found
//   zeroes, end of file     nothing yet                             ended, unless something stands behind the zeroes
//   anything else           being written; damage after a second    with a record behind it: damage, else a torn tail: ended
#include "intake/reader_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "intake/record.h"

// Places of records from before the machine's start are below those from after it.
#define BEFORE_START_US (-(INT64_C(1) << 61))

enum { READ_BYTES = 256 * 1024, FIRST_READ_BYTES = 16 * 1024, DAMAGE_AFTER_US = 1000 * 1000, RESYNC_READ_BYTES = 1 << 20 };

struct reader_file *reader_file_new(const char *name, uint64_t offset, uint16_t boot_tag) {
  struct span s = span_of(name), suffix = SPAN(".log");
  if (!span_ends(s, suffix) || s.len >= sizeof((struct reader_file *)0)->name) return NULL;
  const char *dash = strrchr(name, '-');
  uint64_t segment;
  if (dash == NULL || span_u64((struct span){dash + 1, (size_t)(name + s.len - suffix.len - dash - 1)}, &segment) != ERR_OK) return NULL;
  struct reader_file *file = xcalloc(1, sizeof *file);
  memcpy(file->name, name, s.len + 1);
  file->writer_len = (size_t)(dash - name);
  file->segment = segment;
  file->boot_tag = boot_tag;
  file->fd = -1;
  file->base = file->parsed = offset & ~(uint64_t)(RECORD_ALIGN - 1);
  file->last_us = file->frontier_us = INT64_MIN;
  memset(file->first, 0xff, sizeof file->first);
  return file;
}

static bool file_open(struct reader_file *file, int directory_fd) {
  if (file->fd >= 0) return true;
  int fd = openat(directory_fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return false;
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return false;
  }
  file->fd = fd;
  file->queue = xmalloc(FILE_QUEUE_EVENTS * sizeof file->queue[0]);
  return true;
}

void reader_file_free(struct reader_file *file) {
  if (file->fd >= 0) close(file->fd);
  buf_free(&file->window);
  free(file->queue);
  free(file);
}

// A record's place among all: by the clock that counts from the machine's start. What was written before that start comes first, in the
// order of the wall clock.
static int64_t place_of(const struct reader_file *file, const struct intake_event *event) {
  if (event->boot_us == 0 || event->boot_tag != file->boot_tag) {
    int64_t wall_us = event->received_us > 0 ? event->received_us : 0;
    return wall_us < -BEFORE_START_US ? BEFORE_START_US + wall_us : 0;
  }
  int64_t now_us = clock_boot_us(); // one from the future (a start that could not be told from this one) counts as written now
  return event->boot_us < now_us ? event->boot_us : now_us;
}

// Conversations are told apart by hash; two in one bucket are kept in order for nothing, which is harmless.
static uint16_t bucket_of(const struct intake_event *event) {
  uint32_t h = crc32c(0, event->phone_number_id.ptr, event->phone_number_id.len);
  return (uint16_t)(crc32c(h, event->user.ptr, event->user.len) % FILE_BUCKETS);
}

// ---------------------------------------------------------------- the window

static struct span unparsed(const struct reader_file *file) {
  size_t skip = (size_t)(file->parsed - file->base);
  if (file->window.len == skip) return (struct span){"", 0};
  return (struct span){file->window.data + skip, file->window.len - skip};
}

// Forgets what was handed out already, and what was read behind the last record: it may have been written since.
static void window_refresh(struct reader_file *file) {
  file->window.len = (size_t)(file->parsed - file->base);
  uint64_t keep = file->count > 0 ? file->queue[file->head].offset : file->parsed;
  buf_consume(&file->window, (size_t)(keep - file->base));
  file->base = keep;
}

// Reads `more` bytes behind the window; false at the end of the file (or when it cannot be read).
static bool window_read(struct reader_file *file, size_t more) {
  char *at = buf_reserve(&file->window, more);
  ssize_t n;
  do {
    n = pread(file->fd, at, more, (off_t)(file->base + file->window.len));
  } while (n < 0 && errno == EINTR);
  if (n < 0) file->failed = true;
  if (n <= 0) return false;
  file->window.len += (size_t)n;
  return true;
}

// Decodes at `parsed`, reading as far as that takes. *end: the file holds no more than the window does.
static enum err decode(struct reader_file *file, struct intake_event *event, size_t *size, bool *end) {
  size_t read = FIRST_READ_BYTES;
  *end = false;
  for (;;) {
    struct span rest = unparsed(file);
    enum err e = intake_record_decode(rest, event, size);
    if (e != ERR_TRUNCATED || *end) return e;
    if (rest.len >= RECORD_HEADER_BYTES) {
      size_t claimed = intake__record_claimed_size(rest.ptr);
      struct stat st;
      // A damaged length must not make us read a whole disk.
      if (fstat(file->fd, &st) != 0 || file->parsed + claimed > (uint64_t)st.st_size) return ERR_TRUNCATED;
      if (claimed > rest.len && claimed - rest.len > read) read = claimed - rest.len;
    }
    *end = !window_read(file, read);
    read = READ_BYTES;
  }
}

static bool all_zero(struct span s) {
  return s.len == 0 || (s.ptr[0] == 0 && memcmp(s.ptr, s.ptr + 1, s.len - 1) == 0);
}

// Looks for a whole record behind `parsed`; the distance to it in *gap. false: *zero tells whether there are but zeroes.
static bool find_next_record(struct reader_file *file, size_t *gap, bool *zero) {
  while (window_read(file, RESYNC_READ_BYTES)) {}
  struct span rest = unparsed(file);
  *zero = all_zero(rest);
  if (*zero) return false;
  for (size_t at = RECORD_ALIGN; at + RECORD_HEADER_BYTES <= rest.len; at += RECORD_ALIGN) {
    struct intake_event event;
    size_t size;
    if (intake_record_decode(span_from(rest, at), &event, &size) != ERR_OK) continue;
    *gap = at;
    return true;
  }
  return false;
}

// ---------------------------------------------------------------- the queue

static void queue_add(struct reader_file *file, const struct found *found) {
  int32_t index = (int32_t)(file->head + file->count);
  file->queue[index] = *found;
  file->queue[index].next_same = -1;
  file->count++;
  if (file->first[found->bucket] < 0)
    file->first[found->bucket] = index;
  else
    file->queue[file->last[found->bucket]].next_same = index;
  file->last[found->bucket] = index;
}

static bool queue_full(const struct reader_file *file) {
  return file->head + file->count >= FILE_QUEUE_EVENTS ||
         (file->count > 0 && file->parsed - file->queue[file->head].offset >= FILE_QUEUE_BYTES);
}

void reader_file_take(struct reader_file *file, struct intake_event *event) {
  ALWAYS(file->count > 0);
  const struct found *found = &file->queue[file->head];
  struct span bytes = {file->window.data + (found->offset - file->base), found->size};
  if (found->gap) {
    if (bytes.len > FILE_GAP_RAW_MAX) bytes.len = FILE_GAP_RAW_MAX;
    *event = (struct intake_event){.kind = INTAKE_QUARANTINE, .received_us = clock_wall_us(), .type = SPAN(INTAKE_DAMAGED), .raw = bytes};
  } else {
    size_t size;
    ALWAYS(intake_record_decode(bytes, event, &size) == ERR_OK); // the window holds what was checked when it was found
    if (event->boot_tag != file->boot_tag) event->boot_us = 0;
  }
  file->first[found->bucket] = found->next_same;
  file->head++;
  file->count--;
  if (file->count == 0) file->head = 0;
}

// ---------------------------------------------------------------- scanning

static void add_gap(struct reader_file *file, size_t gap, uint64_t *corrupt) {
  int64_t when_us = file->last_us != INT64_MIN ? file->last_us : clock_boot_us();
  struct found found = {.offset = file->parsed, .size = (uint32_t)gap, .gap = true, .when_us = when_us};
  queue_add(file, &found);
  file->parsed += gap;
  file->damaged_since_us = 0;
  *corrupt += 1;
}

static bool writer_gone(struct reader_file *file) {
  if (!file->unlocked && flock(file->fd, LOCK_SH | LOCK_NB) == 0) file->unlocked = true;
  return file->unlocked;
}

// No record at `parsed`: true to look again.
static bool handle_no_record(struct reader_file *file, enum err e, bool looked_unlocked, uint64_t *corrupt) {
  if (file->failed) return false;
  if (writer_gone(file)) {
    window_refresh(file);
    if (!looked_unlocked) return true; // it may have written between our look and its end
    size_t gap;
    bool zero;
    if (find_next_record(file, &gap, &zero)) {
      add_gap(file, gap, corrupt);
      return true;
    }
    file->ended = !file->failed; // zeroes, or a torn tail: never acknowledged
    return false;
  }
  bool end = e == ERR_NOT_FOUND || all_zero(unparsed(file));
  if (end) {
    file->damaged_since_us = 0;
    return false;
  }
  int64_t now = clock_mono_us();
  if (file->damaged_since_us == 0) file->damaged_since_us = now;
  if (now - file->damaged_since_us < DAMAGE_AFTER_US) return false;
  size_t gap;
  bool zero;
  window_refresh(file);
  if (!find_next_record(file, &gap, &zero)) return false;
  add_gap(file, gap, corrupt);
  return true;
}

void reader_file_scan(struct reader_file *file, int directory_fd, int64_t now_us, uint64_t *corrupt) {
  if (file->ended) return;
  if (!file_open(file, directory_fd)) { // gone, or no descriptor left: the next look tells
    file->frontier_us = now_us;
    return;
  }
  file->failed = false;
  window_refresh(file);
  bool looked_unlocked = file->unlocked;
  while (!queue_full(file)) {
    struct intake_event event;
    size_t size;
    bool end;
    enum err e = decode(file, &event, &size, &end);
    if (e != ERR_OK) {
      bool again = handle_no_record(file, e, looked_unlocked, corrupt);
      looked_unlocked = file->unlocked;
      if (again) continue;
      file->frontier_us = file->ended ? INT64_MAX : now_us;
      return;
    }
    struct found found = {.offset = file->parsed, .size = (uint32_t)size, .bucket = bucket_of(&event), .when_us = place_of(file, &event)};
    queue_add(file, &found);
    file->last_us = found.when_us;
    file->parsed += size;
    file->damaged_since_us = 0;
  }
  file->frontier_us = file->last_us; // there is more, and it came after the last one that was found
}

// ---------------------------------------------------------------- backlog

// Where a file's zero tail begins, to a page: data never leaves a page of zeroes behind it but inside a quarantined body.
static uint64_t written_end(const struct reader_file *file) {
  enum { PAGE = 4096 };
  struct stat st;
  if (fstat(file->fd, &st) != 0 || (uint64_t)st.st_size <= file->parsed) return file->parsed;
  uint64_t low = file->parsed / PAGE, high = ((uint64_t)st.st_size + PAGE - 1) / PAGE;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    char page[PAGE];
    ssize_t n = pread(file->fd, page, sizeof page, (off_t)(middle * PAGE));
    bool zero = n <= 0 || (page[0] == 0 && memcmp(page, page + 1, (size_t)n - 1) == 0);
    if (zero)
      high = middle;
    else
      low = middle + 1;
  }
  uint64_t end = low * PAGE < (uint64_t)st.st_size ? low * PAGE : (uint64_t)st.st_size;
  // The page at `parsed` is partly read: count it only when something is behind it.
  return end > file->parsed && end - file->parsed >= PAGE ? end : file->parsed;
}

uint64_t reader_file_backlog(const struct reader_file *file, const char *directory) {
  if (file->fd < 0) { // not begun: its writer cut it to its length, unless it died
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", directory, file->name);
    return stat(path, &st) == 0 && (uint64_t)st.st_size > file->parsed ? (uint64_t)st.st_size - file->parsed : 0;
  }
  uint64_t from = file->count > 0 ? file->queue[file->head].offset : file->parsed;
  return (file->ended ? file->parsed : written_end(file)) - from;
}
