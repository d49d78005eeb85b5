// A progress bar on a terminal, nothing elsewhere. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <unistd.h>

void progress_start(struct progress *p, uint64_t total) {
  *p = (struct progress){.shown = isatty(STDERR_FILENO), .total = total, .started_us = clock_mono_us()};
}

void progress_step(struct progress *p, uint64_t done, uint64_t items, int64_t now_us) {
  if (!p->shown || now_us - p->drawn_us < 100000) return;
  p->drawn_us = now_us;
  double seconds = (double)(now_us - p->started_us) / 1e6;
  double rate = seconds > 0 ? (double)items / seconds : 0;
  if (!p->total) {
    fprintf(stderr, "\r\033[K%llu  %.0f/s", (unsigned long long)items, rate);
    return;
  }
  enum { WIDTH = 40 };
  char bar[WIDTH + 1];
  int filled = (int)(done >= p->total ? WIDTH : done * WIDTH / p->total);
  for (int i = 0; i < WIDTH; i++)
    bar[i] = i < filled ? '#' : '.';
  bar[WIDTH] = '\0';
  fprintf(stderr, "\r\033[K[%s] %3.0f %%  %llu  %.0f/s", bar, 100.0 * (double)done / (double)p->total, (unsigned long long)items, rate);
}

void progress_end(struct progress *p) {
  if (p->shown && p->drawn_us) fputs("\r\033[K", stderr);
}
