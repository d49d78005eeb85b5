// The one file that reads a clock, the steady clock, and times as text. Runs in every process.
#include "wahook/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#define STEADY_SLEW 20 // of what has passed, a 20th at most corrects

int64_t clock_mono_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_mono_us(void) {
  return clock_mono_ns() / 1000;
}

int64_t clock_wall_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_boot_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_BOOTTIME, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t clock_boot_id(void) {
  // A random UUID; its first 12 digits are plenty.
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
  if (!file) return 0;
  uint32_t high = 0, low = 0;
  bool read = fscanf(file, "%8" SCNx32 "-%4" SCNx32, &high, &low) == 2;
  fclose(file);
  return read ? (uint64_t)high << 16 | low : 0;
}

// ---------------------------------------------------------------- the steady clock

void clock_steady_begin(struct clock_steady *clock, const struct clock_steady *kept, uint64_t boot_id, int64_t boot_us, int64_t wall_us) {
  struct clock_steady now = {.boot_id = boot_id, .boot_us = boot_us, .wall_us = wall_us, .steady_us = wall_us};
  if (kept->steady_us && kept->boot_id == boot_id && boot_id && kept->boot_us <= boot_us)
    now = *kept; // the same start of the machine: clock_steady_at adds what has passed
  else if (kept->steady_us)
    now.steady_us = kept->steady_us + (wall_us > kept->wall_us ? wall_us - kept->wall_us : 0);
  *clock = now;
}

int64_t clock_steady_at(struct clock_steady *clock, int64_t boot_us, int64_t wall_us) {
  int64_t passed = boot_us - clock->boot_us;
  if (passed < 0) passed = 0;
  int64_t most = passed / STEADY_SLEW, correction = wall_us - (clock->steady_us + passed);
  if (correction > most) correction = most;
  if (correction < -most) correction = -most;
  clock->steady_us += passed + correction;
  clock->boot_us += passed;
  clock->wall_us = wall_us;
  return clock->steady_us;
}

// ---------------------------------------------------------------- times as text

// Splits into calendar fields and milliseconds, kept within the years 0 to 9999 so that the widths hold.
static struct tm calendar(int64_t wall_us, unsigned *ms) {
  const int64_t first = -62167219200, last = 253402300799;
  int64_t seconds = wall_us / 1000000, rest_us = wall_us % 1000000;
  if (rest_us < 0) {
    seconds--;
    rest_us += 1000000;
  }
  if (seconds < first) seconds = first;
  if (seconds > last) seconds = last;
  time_t t = (time_t)seconds;
  struct tm tm = {0};
  gmtime_r(&t, &tm);
  *ms = (unsigned)(rest_us / 1000);
  return tm;
}

void clock_format_iso(int64_t wall_us, char out[static 25]) {
  unsigned ms;
  struct tm tm = calendar(wall_us, &ms);
  // The remainders are no-ops that tell the compiler how wide each field can be.
  snprintf(out, 25, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
           (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100, ms % 1000);
}

void clock_format_http(int64_t wall_us, char out[static 30]) {
  // Not strftime: its names follow the locale, those of RFC 9110 section 5.6.7 do not.
  static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  unsigned ms;
  struct tm tm = calendar(wall_us, &ms);
  snprintf(out, 30, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[(unsigned)tm.tm_wday % 7], (unsigned)tm.tm_mday % 100,
           months[(unsigned)tm.tm_mon % 12], (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
           (unsigned)tm.tm_sec % 100);
}

void clock_format_span(int64_t us, char *out, size_t out_size) {
  int64_t seconds = us < 0 ? 0 : us / 1000000;
  int64_t days = seconds / 86400;
  unsigned rest = (unsigned)(seconds % 86400);
  unsigned h = rest / 3600, m = rest / 60 % 60, s = rest % 60;
  if (days)
    snprintf(out, out_size, "%lldd %02u:%02u:%02u", (long long)days, h, m, s);
  else
    snprintf(out, out_size, "%02u:%02u:%02u", h, m, s);
}
