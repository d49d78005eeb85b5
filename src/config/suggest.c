// "Did you mean": the nearest of the known names by edit distance. Runs in the master and the tools.
#include "config/options.h"

#include <string.h>

// Damerau-Levenshtein distance (optimal string alignment): a swap of neighbours is one slip, as fingers make it.
static unsigned distance(struct span a, struct span b) {
  unsigned rows[3][CONFIG__NAME_MAX + 1];
  unsigned *before = rows[0], *above = rows[1], *row = rows[2];
  for (size_t j = 0; j <= b.len; j++)
    above[j] = (unsigned)j;
  for (size_t i = 1; i <= a.len; i++) {
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= b.len; j++) {
      unsigned same = a.ptr[i - 1] != b.ptr[j - 1];
      unsigned least = above[j - 1] + same;
      if (above[j] + 1 < least) least = above[j] + 1;
      if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
      if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1] && before[j - 2] + 1 < least)
        least = before[j - 2] + 1;
      row[j] = least;
    }
    unsigned *oldest = before;
    before = above;
    above = row;
    row = oldest;
  }
  return above[b.len];
}

void config__suggest_start(struct config__suggestion *s, struct span wanted) {
  *s = (struct config__suggestion){.wanted = wanted};
  s->distance = (unsigned)wanted.len / 3 + 1; // further away it would be a guess, not a suggestion
  if (s->distance > 5) s->distance = 5;
}

void config__suggest_offer(struct config__suggestion *s, const char *candidate) {
  struct span name = span_of(candidate);
  if (name.len >= CONFIG__NAME_MAX || s->wanted.len >= CONFIG__NAME_MAX || !s->wanted.len) return;
  unsigned d = distance(s->wanted, name);
  if (d > s->distance || (d == s->distance && s->best[0])) return;
  s->distance = d;
  memcpy(s->best, name.ptr, name.len);
  s->best[name.len] = '\0';
}

const char *config__suggest_best(const struct config__suggestion *s) {
  return s->best[0] ? s->best : NULL;
}
