// The reader of all journal files (dispatcher): looks for files, merges them in the order of arrival, hands out batches of one file each.
//
// A conversation's order holds over workers: when message B arrived after A's 200, A is handed out first, whichever files they are in.
// Every look over all files begins with reading the clock (that of the machine's start, which never jumps), T. What was acknowledged before
// T is found by that look, so a record may be handed out when it arrived before the T of every other file (its frontier). Among those the
// earliest record goes first; a run of one file goes on past earlier records of other files as long as these belong to other conversations.
#include "wahook/intake.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "intake/reader_file.h"

enum { READER_MAGIC = 0x52454144, BATCH_BYTES = 4 << 20, BATCH_EVENTS_MAX = FILE_QUEUE_EVENTS };

struct intake_reader {
  uint32_t magic;
  char *directory;
  struct shm_slot *slot;
  uint16_t boot_tag;                 // of this start of the machine
  struct intake_position *positions; // as the spool knew them at the start
  size_t position_count;
  struct reader_file *files;
  struct intake_event *events;
  size_t event_cap;
};

enum err intake_reader_open(const struct intake_reader_options *options, struct intake_reader **out, struct why *why) {
  if (mkdir(options->directory, 0750) != 0 && errno != EEXIST) {
    why_set(why, "intake journal: cannot make %s: %s", options->directory, strerror(errno));
    return ERR_IO;
  }
  int fd = open(options->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    why_set(why, "intake journal: cannot read %s: %s", options->directory, strerror(errno));
    return ERR_IO;
  }
  close(fd);
  struct intake_reader *reader = xcalloc(1, sizeof *reader);
  reader->magic = READER_MAGIC;
  reader->directory = xstrdup(options->directory);
  reader->slot = options->slot;
  reader->boot_tag = (uint16_t)clock_boot_id();
  reader->position_count = options->position_count;
  reader->positions = xcalloc(options->position_count + 1, sizeof reader->positions[0]);
  if (options->position_count > 0) memcpy(reader->positions, options->positions, options->position_count * sizeof reader->positions[0]);
  *out = reader;
  return ERR_OK;
}

void intake_reader_close(struct intake_reader *reader) {
  if (reader == NULL) return;
  ALWAYS(reader->magic == READER_MAGIC);
  while (reader->files != NULL) {
    struct reader_file *file = reader->files;
    reader->files = file->next;
    reader_file_free(file);
  }
  reader->magic = 0;
  free(reader->positions);
  free(reader->events);
  free(reader->directory);
  free(reader);
}

// ---------------------------------------------------------------- the directory

static struct reader_file *find_file(struct intake_reader *reader, const char *name) {
  struct reader_file *file = reader->files;
  while (file != NULL && strcmp(file->name, name) != 0)
    file = file->next;
  return file;
}

static uint64_t known_offset(const struct intake_reader *reader, const char *name) {
  for (size_t i = 0; i < reader->position_count; i++)
    if (strcmp(reader->positions[i].file, name) == 0) return reader->positions[i].offset;
  return 0;
}

// A file that never got its name: its writer died while it made it. One that is about to be locked may be taken for it: its writer notices.
static void remove_leftover(int directory_fd, const char *name) {
  int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return;
  if (flock(fd, LOCK_SH | LOCK_NB) == 0) unlinkat(directory_fd, name, 0);
  close(fd);
}

static void consider(struct intake_reader *reader, int directory_fd, const char *name) {
  if (span_ends(span_of(name), SPAN(".log.new"))) remove_leftover(directory_fd, name);
  struct reader_file *file = find_file(reader, name);
  if (file == NULL) {
    file = reader_file_new(name, known_offset(reader, name), reader->boot_tag);
    if (file == NULL) return;
    file->next = reader->files;
    reader->files = file;
  }
  file->present = true;
}

// Files that were removed under us: nothing more comes of them.
static void drop_vanished(struct intake_reader *reader) {
  for (struct reader_file **at = &reader->files; *at != NULL;) {
    struct reader_file *file = *at;
    if (file->present || file->count > 0) {
      at = &file->next;
      continue;
    }
    *at = file->next;
    reader_file_free(file);
  }
}

// The file that its writer wrote before this one, unless everything in it was handed out.
static const struct reader_file *predecessor(const struct intake_reader *reader, const struct reader_file *file) {
  for (const struct reader_file *other = reader->files; other != NULL; other = other->next) {
    if (other->segment >= file->segment || other->writer_len != file->writer_len) continue;
    if (memcmp(other->name, file->name, file->writer_len) != 0) continue;
    if (!other->ended || other->count > 0) return other;
  }
  return NULL;
}

static void look_everywhere(struct intake_reader *reader) {
  int64_t now = clock_boot_us(); // before anything is read: see the top
  DIR *directory = opendir(reader->directory);
  if (directory == NULL) return;
  for (struct reader_file *file = reader->files; file != NULL; file = file->next)
    file->present = file->scanned = false;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
    consider(reader, dirfd(directory), entry->d_name);
  drop_vanished(reader);

  // A writer's files are read one after the other, so that a long backlog costs no memory and no descriptors.
  uint64_t corrupt = 0;
  for (bool progress = true; progress;) {
    progress = false;
    for (struct reader_file *file = reader->files; file != NULL; file = file->next) {
      if (file->scanned || predecessor(reader, file) != NULL) continue;
      reader_file_scan(file, dirfd(directory), now, &corrupt);
      file->scanned = progress = true;
    }
  }
  for (struct reader_file *file = reader->files; file != NULL; file = file->next) {
    const struct reader_file *before = file->scanned ? NULL : predecessor(reader, file);
    if (before != NULL) file->frontier_us = before->ended ? before->last_us : INT64_MAX; // else the predecessor's own frontier holds
  }
  closedir(directory);
  if (corrupt > 0 && reader->slot != NULL) metrics_add(reader->slot, METRIC_INTAKE_CORRUPT, corrupt);
}

// ---------------------------------------------------------------- merging

static int64_t head_us(const struct reader_file *file) {
  return file->queue[file->head].when_us;
}

static struct reader_file *earliest(struct intake_reader *reader) {
  struct reader_file *best = NULL;
  for (struct reader_file *file = reader->files; file != NULL; file = file->next)
    if (file->count > 0 && (best == NULL || head_us(file) < head_us(best))) best = file;
  return best;
}

// Everything up to this moment in the other files was found.
static int64_t frontier(const struct intake_reader *reader, const struct reader_file *own) {
  int64_t least = INT64_MAX;
  for (const struct reader_file *file = reader->files; file != NULL; file = file->next)
    if (file != own && file->frontier_us < least) least = file->frontier_us;
  return least;
}

// Whether another file holds an earlier record of the same conversation.
static bool must_wait(const struct intake_reader *reader, const struct reader_file *own, const struct found *found) {
  for (const struct reader_file *file = reader->files; file != NULL; file = file->next) {
    if (file == own || file->count == 0) continue;
    int32_t index = file->first[found->bucket];
    if (index >= 0 && file->queue[index].when_us < found->when_us) return true;
  }
  return false;
}

static void fill_batch(struct intake_reader *reader, struct reader_file *file, int64_t limit_us, size_t max, struct intake_batch *batch) {
  size_t bytes = 0;
  uint64_t upto = file->queue[file->head].offset;
  batch->count = 0;
  while (file->count > 0 && batch->count < max && bytes < BATCH_BYTES) {
    const struct found *found = &file->queue[file->head];
    // The first one is the earliest of all.
    if (batch->count > 0 && (found->when_us > limit_us || must_wait(reader, file, found))) break;
    bytes += found->size;
    upto = found->offset + found->size;
    reader_file_take(file, &reader->events[batch->count++]);
  }
  batch->events = reader->events;
  batch->upto.offset = upto;
  memcpy(batch->upto.file, file->name, sizeof batch->upto.file);
  batch->finished = file->ended && file->count == 0;
  file->reported = batch->finished;
}

static bool finished_batch(struct intake_reader *reader, struct intake_batch *batch) {
  for (struct reader_file *file = reader->files; file != NULL; file = file->next) {
    if (!file->ended || file->reported || file->count > 0) continue;
    file->reported = true;
    *batch = (struct intake_batch){.events = reader->events, .upto = {.offset = file->parsed}, .finished = true};
    memcpy(batch->upto.file, file->name, sizeof batch->upto.file);
    return true;
  }
  return false;
}

enum err intake_reader_next(struct intake_reader *reader, size_t max, struct intake_batch *batch) {
  ALWAYS(reader->magic == READER_MAGIC && max > 0);
  if (max > BATCH_EVENTS_MAX) max = BATCH_EVENTS_MAX;
  if (reader->event_cap < max) {
    reader->events = xrealloc(reader->events, max * sizeof reader->events[0]);
    reader->event_cap = max;
  }
  for (unsigned look = 0;; look++) {
    struct reader_file *file = earliest(reader);
    // A second look lifts every frontier above what the first one found; were it not so, work would go on all the same.
    if (file != NULL && (head_us(file) <= frontier(reader, file) || look == 3)) {
      fill_batch(reader, file, frontier(reader, file), max, batch);
      return ERR_OK;
    }
    if (file == NULL && look > 0) return finished_batch(reader, batch) ? ERR_OK : ERR_AGAIN;
    look_everywhere(reader);
  }
}

// ---------------------------------------------------------------- house-keeping

void intake_reader_delete(struct intake_reader *reader, const char *name) {
  ALWAYS(reader->magic == READER_MAGIC);
  struct reader_file **at = &reader->files;
  while (*at != NULL && strcmp((*at)->name, name) != 0)
    at = &(*at)->next;
  struct reader_file *file = *at;
  if (file == NULL || !file->ended || file->count > 0) return; // not ours to lose
  int fd = open(reader->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return; // it comes again as finished after the next start
  unlinkat(fd, name, 0);
  close(fd);
  *at = file->next;
  reader_file_free(file);
}

uint64_t intake_reader_backlog_bytes(struct intake_reader *reader) {
  uint64_t bytes = 0;
  for (struct reader_file *file = reader->files; file != NULL; file = file->next)
    bytes += reader_file_backlog(file, reader->directory);
  return bytes;
}
