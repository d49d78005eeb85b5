// The directory's SQLite file, for store_sqlite.c.
#ifndef WAHOOK_DIRECTORY_STORE_SQLITE_FILE_H
#define WAHOOK_DIRECTORY_STORE_SQLITE_FILE_H

#include <sqlite3.h>

#include "wahook/base.h"

// Makes the file with mode 0640 before SQLite makes it with the umask's, unless it is there. Made by root, it goes to whom the folder
// belongs to: the daemon's processes, which are not root, must be able to write to it.
void sqlite__make_file(const char *path);
// Settings and schema of a connection that was just opened.
enum err sqlite__prepare(const char *path, sqlite3 *db, struct why *why) MUST_CHECK;
// What SQLite's last error on this connection is to us.
enum err sqlite__failed(const char *path, sqlite3 *db, struct why *why);

#endif
