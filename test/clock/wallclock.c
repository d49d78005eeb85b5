// A wall clock that a test moves: stands before libc in every process of build/test/wahookd-shifted and adds an offset to the time of day.
// The offset is eight bytes in $TMPDIR/wahook-clock (nanoseconds, the machine's byte order), read anew each time; without the file there is
// none. CLOCK_MONOTONIC and CLOCK_BOOTTIME stay what they are.
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t none;
static _Atomic int64_t *offset_ns = &none;

// The environment is the only thing that reaches the children of a daemon, and TMPDIR is among the little of it that does.
__attribute__((constructor)) static void find_offset(void) {
  const char *directory = getenv("TMPDIR");
  char path[256];
  if (!directory || snprintf(path, sizeof path, "%s/wahook-clock", directory) >= (int)sizeof path) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  void *mapped = mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped != MAP_FAILED) offset_ns = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
  if (syscall(SYS_clock_gettime, clock, t) != 0) return -1;
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) return 0;
  int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + atomic_load_explicit(offset_ns, memory_order_relaxed);
  t->tv_sec = ns / 1000000000;
  t->tv_nsec = ns % 1000000000;
  return 0;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  (void)zone;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
