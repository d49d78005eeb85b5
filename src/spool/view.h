// The tools' side of the spool: shared by view.c and view_show.c.
#ifndef SPOOL_VIEW_H
#define SPOOL_VIEW_H

#include "spool/store.h"

struct spool_view {
  sqlite3 *db;
};

// Says why and returns e.
enum err view__fail(struct spool_view *view, enum err e, struct why *why);
enum err view__prepare(struct spool_view *view, const char *text, sqlite3_stmt **out, struct why *why) MUST_CHECK;

#endif
