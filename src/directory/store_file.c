// Makes the directory's file for SQLite. Runs on pool threads of workers and the dispatcher, and in wahookctl.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

void store__make_file(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
  if (fd < 0) return; // there already, or sqlite3_open_v2 tells why not
  char *parent = xstrdup(path), *slash = strrchr(parent, '/');
  if (slash) slash[slash == parent] = '\0';
  struct stat st;
  if (geteuid() == 0 && stat(slash ? parent : ".", &st) == 0 && fchown(fd, st.st_uid, st.st_gid) != 0) { unlink(path); }
  free(parent);
  close(fd);
}
