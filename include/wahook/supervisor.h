// The supervisor: the only folder (with main) that knows that wahookd is several processes.
//
//   wahookd ── master ─┬─ worker 0..N-1   accept, check, keep, answer
//                      └─ dispatcher      journal → spool → responder → Graph
#ifndef WAHOOK_SUPERVISOR_H
#define WAHOOK_SUPERVISOR_H

#include "wahook/base.h"

// What main() does: a child that was started in a role becomes it; otherwise the command line decides (help, -t, -s, or the master).
// Returns the exit status (sysexits.h).
int supervisor_main(int argc, char **argv, char **environ);

#endif
