// What came of the last reload and the last upgrade, for whoever asked for it: STATE_DIR/master.json.
#ifndef SUPERVISOR_REPORT_H
#define SUPERVISOR_REPORT_H

#include <sys/types.h>

#include "wahook/config.h"

enum report_kind { REPORT_RELOAD, REPORT_UPGRADE, REPORT_COUNT };
enum report_outcome { REPORT_NONE, REPORT_RUNNING, REPORT_DONE, REPORT_REFUSED };
const char *report_kind_name(enum report_kind kind);
const char *report_outcome_name(enum report_outcome outcome);

// One kind's last run. `begun` and `ended` only grow, over restarts, too: who read `begun` before asking waits for an `ended` beyond it.
struct report_entry {
  uint64_t begun, ended;
  enum report_outcome outcome;
  unsigned generation; // in force afterwards
  int64_t wall_us;     // of the last change
  struct buf reasons;  // lines
};

struct report {
  char *path;
  uid_t uid; // whose the file is, so that workers can show it
  gid_t gid;
  struct report_entry entries[REPORT_COUNT];
};

// Takes the numbers over from the file of a former master; a missing or damaged file starts from 0.
void report_open(struct report *report, const struct config *config);
void report_load(struct report *report);   // again: another master has written it
void report_settle(struct report *report); // what a master that died had begun will not end any more
void report_close(struct report *report);
void report_begin(struct report *report, enum report_kind kind);
void report_reason(struct report *report, enum report_kind kind, struct span line);
void report_end(struct report *report, enum report_kind kind, enum report_outcome outcome, unsigned generation);

// For others than the master: reads the file of a state directory. False when there is none. report_close() frees.
bool report_read(struct report *report, const char *state_dir);

#endif
