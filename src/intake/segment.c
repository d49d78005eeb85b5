// One journal file while it is written: create, fill with zeroes ahead, append and flush, close (worker, commit thread).
#include "intake/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ZERO_SLICE_BYTES = 256 * 1024 };

enum err segment_error(int error_number) {
  switch (error_number) {
  case ENOSPC:
  case EDQUOT:
  case EFBIG: return ERR_FULL;
  case EACCES:
  case EPERM:
  case EROFS: return ERR_DENIED;
  default: return ERR_IO;
  }
}

static enum err write_all(int fd, const char *data, size_t len, uint64_t offset) {
  while (len > 0) {
    ssize_t n = pwrite(fd, data, len, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return segment_error(n < 0 ? errno : EIO);
    data += n;
    len -= (size_t)n;
    offset += (uint64_t)n;
  }
  return ERR_OK;
}

// The new name must be on disk before anything in the file is acknowledged.
static enum err flush_directory(const char *directory) {
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return segment_error(errno);
  enum err e = fsync(fd) == 0 ? ERR_OK : segment_error(errno);
  int kept = errno;
  close(fd);
  errno = kept;
  return e;
}

// Locks, preallocates and names a file that was opened under its temporary name. ERR_AGAIN: a reader took it for a dead writer's.
static enum err segment_settle(int fd, const char *temporary, const char *path, const char *directory, uint64_t bytes, bool sync) {
  struct stat st;
  // A reader that found it before it was locked holds it for a moment, and has removed it then.
  if (flock(fd, LOCK_EX) != 0 || fstat(fd, &st) != 0) return segment_error(errno);
  if (st.st_nlink == 0) return ERR_AGAIN;
  // File systems without preallocation take the zeroes that are written ahead.
  if (fallocate(fd, 0, 0, (off_t)bytes) != 0 && errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL) return segment_error(errno);
  if (sync && fsync(fd) != 0) return segment_error(errno);
  if (rename(temporary, path) != 0) return segment_error(errno);
  return sync ? flush_directory(directory) : ERR_OK;
}

static enum err create(struct segment *out, const char *directory, const char *writer, unsigned number, uint64_t bytes, bool sync) {
  struct segment made = {.fd = -1, .size = bytes};
  char temporary[sizeof made.path + 8];
  int n = snprintf(made.path, sizeof made.path, "%s/%s-%06u.log", directory, writer, number);
  if (n < 0 || (size_t)n >= sizeof made.path) {
    errno = ENAMETOOLONG;
    return ERR_IO;
  }
  snprintf(temporary, sizeof temporary, "%s.new", made.path);
  if (mkdir(directory, 0750) != 0 && errno != EEXIST) return segment_error(errno);
  made.fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
  if (made.fd < 0) return segment_error(errno);
  enum err e = segment_settle(made.fd, temporary, made.path, directory, bytes, sync);
  if (e != ERR_OK) {
    int kept = errno;
    if (unlink(temporary) != 0) unlink(made.path);
    close(made.fd);
    errno = kept;
    return e;
  }
  *out = made;
  return ERR_OK;
}

enum err segment_create(struct segment *out, const char *directory, const char *writer, unsigned number, uint64_t bytes, bool sync) {
  enum err e;
  do
    e = create(out, directory, writer, number, bytes, sync);
  while (e == ERR_AGAIN);
  return e;
}

enum err segment_zero_step(struct segment *segment, bool sync, bool *more) {
  static const char zeroes[ZERO_SLICE_BYTES];
  uint64_t from = segment->zeroed > segment->used ? segment->zeroed : segment->used;
  if (from >= segment->size) {
    *more = false;
    return ERR_OK;
  }
  size_t len = segment->size - from < sizeof zeroes ? (size_t)(segment->size - from) : sizeof zeroes;
  enum err e = write_all(segment->fd, zeroes, len, from);
  if (e != ERR_OK) return e;
  if (sync && fdatasync(segment->fd) != 0) return segment_error(errno);
  segment->zeroed = from + len;
  *more = segment->zeroed < segment->size;
  return ERR_OK;
}

enum err segment_append(struct segment *segment, struct span bytes, bool sync) {
  enum err e = write_all(segment->fd, bytes.ptr, bytes.len, segment->used);
  if (e != ERR_OK) return e;
  if (sync && fdatasync(segment->fd) != 0) return segment_error(errno);
  // A file whose name was removed takes writes without complaint, but nobody will ever read them.
  struct stat st;
  if (fstat(segment->fd, &st) != 0) return segment_error(errno);
  if (st.st_nlink == 0) {
    errno = ENOENT;
    return ERR_IO;
  }
  segment->used += bytes.len;
  return ERR_OK;
}

void segment_close(struct segment *segment) {
  if (segment->fd < 0) return;
  if (segment->used == 0) unlink(segment->path);
  // What a failed batch left behind would otherwise be read although it was refused; where even this fails, a reader that takes it is
  // harmless: such events come again and are recognised by their ids.
  if (ftruncate(segment->fd, (off_t)segment->used) != 0) segment->size = segment->used;
  close(segment->fd);
  segment->fd = -1;
}

// A writer holds its files locked; the reader deletes those that it has taken.
static uint64_t closed_bytes(int directory_fd, const char *name) {
  struct stat st;
  uint64_t bytes = 0;
  if (!span_ends(span_of(name), SPAN(".log"))) return 0;
  int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return 0;
  if (flock(fd, LOCK_SH | LOCK_NB) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) bytes = (uint64_t)st.st_size;
  close(fd);
  return bytes;
}

uint64_t segment_closed_bytes(const char *directory) {
  uint64_t bytes = 0;
  DIR *entries = opendir(directory);
  if (entries == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
    bytes += closed_bytes(dirfd(entries), entry->d_name);
  closedir(entries);
  return bytes;
}
