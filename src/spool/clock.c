// The steady clock of what the spool holds: kept in it, so that a later dispatcher goes on from there. Asked on the dispatcher's loop, run
// on the spool's thread.
#include "spool/verbs.h"

#include <stdlib.h>

struct clock_verb {
  struct verb verb;
  struct clock_steady clock;
};

void clock__read(sqlite3_stmt *stmt, int column, struct clock_steady *clock) {
  clock->boot_id = (uint64_t)sqlite3_column_int64(stmt, column);
  clock->boot_us = sqlite3_column_int64(stmt, column + 1);
  clock->wall_us = sqlite3_column_int64(stmt, column + 2);
  clock->steady_us = sqlite3_column_int64(stmt, column + 3);
}

enum err verb__run_clock(struct store *store, struct verb *verb) {
  struct clock_verb *v = (struct clock_verb *)verb;
  sqlite3_stmt *stmt = store->stmts[STMT_CLOCK_WRITE];
  sql__i64(stmt, 1, (int64_t)v->clock.boot_id);
  sql__i64(stmt, 2, v->clock.boot_us);
  sql__i64(stmt, 3, v->clock.wall_us);
  sql__i64(stmt, 4, v->clock.steady_us);
  return sql__run(stmt);
}

// A failure leaves the moment before it, which is as good until the machine starts again.
void verb__complete_clock(struct verb *verb) {
  free((struct clock_verb *)verb);
}

void spool_keep_clock(struct spool *spool, const struct clock_steady *clock) {
  struct clock_verb *v = verb__new(VERB_CLOCK, sizeof *v, NULL);
  v->clock = *clock;
  spool__ask(spool, &v->verb);
}
