// The tools' side of the spool: shared by view.c and view_show.c.
#ifndef SPOOL_VIEW_H
#define SPOOL_VIEW_H

#include "spool/store.h"

struct spool_view {
  sqlite3 *db;
  int64_t ahead_us; // of the spool's clock: where the wall clock is
};

// Says why and returns e.
enum err view__fail(struct spool_view *view, enum err e, struct why *why);
// A stored time for people, by the wall clock; 0 stays 0.
int64_t view__wall_us(const struct spool_view *view, int64_t stored_us);
enum err view__prepare(struct spool_view *view, const char *text, sqlite3_stmt **out, struct why *why) MUST_CHECK;

#endif
