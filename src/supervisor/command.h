// What the command line asks for besides running: -s.
#ifndef SUPERVISOR_COMMAND_H
#define SUPERVISOR_COMMAND_H

#include "wahook/config.h"

// -s reload|upgrade|stop|quit|reopen|status: acts on the master of this configuration's state directory; exit status.
int command_signal(const struct config *config, const char *name);

#endif
