// The roles that a child can have: each runs until it is told to finish; exit status.
#ifndef SUPERVISOR_ROLES_H
#define SUPERVISOR_ROLES_H

int worker_main(void);
int dispatcher_main(void);

#endif
