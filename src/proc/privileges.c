// What a process may do and hold: user and group, core dumps, descriptors, memory. Runs in every process, before its loop.
#include "wahook/proc.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

struct identity {
  uid_t uid;
  gid_t gid;
  const char *name; // for initgroups; NULL when the number has no account
};

static enum err find_group(const char *group, gid_t *gid, struct why *why) {
  struct group *entry = getgrnam(group);
  uint64_t number;
  if (entry) {
    *gid = entry->gr_gid;
  } else if (span_u64(span_of(group), &number) == ERR_OK && number < UINT32_MAX) {
    *gid = (gid_t)number;
  } else {
    why_set(why, "there is no group \"%s\" (create it with addgroup --system, or set server.group)", group);
    return ERR_NOT_FOUND;
  }
  return ERR_OK;
}

static enum err find_user(const char *user, struct identity *id, struct why *why) {
  struct passwd *entry = getpwnam(user);
  uint64_t number;
  if (!entry && span_u64(span_of(user), &number) == ERR_OK && number < UINT32_MAX) {
    id->uid = id->gid = (uid_t)number;
    entry = getpwuid(id->uid);
    if (!entry) return ERR_OK;
  }
  if (!entry) {
    why_set(why, "there is no user \"%s\" (create it with adduser --system, or set server.user)", user);
    return ERR_NOT_FOUND;
  }
  *id = (struct identity){entry->pw_uid, entry->pw_gid, entry->pw_name};
  return ERR_OK;
}

static bool is_dropped(const struct identity *id) {
  uid_t r, e, s;
  gid_t rg, eg, sg;
  if (getresuid(&r, &e, &s) != 0 || getresgid(&rg, &eg, &sg) != 0) return false;
  if (r != id->uid || e != id->uid || s != id->uid || rg != id->gid || eg != id->gid || sg != id->gid) return false;
  // The proof: there is no way back to root.
  return id->uid == 0 || (setuid(0) != 0 && seteuid(0) != 0);
}

enum err proc_drop_privileges(const char *user, const char *group, struct why *why) {
  if ((!user || !*user) && (!group || !*group)) return ERR_OK;
  struct identity id = {getuid(), getgid(), NULL};
  if (user && *user) {
    enum err e = find_user(user, &id, why);
    if (e != ERR_OK) return e;
  }
  if (group && *group) {
    enum err e = find_group(group, &id.gid, why);
    if (e != ERR_OK) return e;
  }
  if (getuid() == id.uid && geteuid() == id.uid && getgid() == id.gid && getegid() == id.gid && id.uid != 0) return ERR_OK;
  int groups = geteuid() != 0 ? 0 : id.name ? initgroups(id.name, id.gid) : setgroups(1, &id.gid);
  if (groups != 0 || setresgid(id.gid, id.gid, id.gid) != 0 || setresuid(id.uid, id.uid, id.uid) != 0) {
    why_set(why, "cannot become user %s group %s: %s (start as root, or leave server.user and server.group empty)",
            user && *user ? user : "(unchanged)", group && *group ? group : "(the user's)", strerror(errno));
    return ERR_DENIED;
  }
  if (!is_dropped(&id)) {
    why_set(why, "user %s kept a way back to more rights", user && *user ? user : "(unchanged)");
    return ERR_DENIED;
  }
  return ERR_OK;
}

void proc_protect_secrets(void) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__ // the leak checker traces its own process
  prctl(PR_SET_DUMPABLE, 0);
#endif
}

uint64_t proc_raise_nofile(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  struct rlimit raised = {limit.rlim_max, limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
  return limit.rlim_cur;
}

uint64_t proc_rss_bytes(pid_t pid) {
  char path[48];
  snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
  struct buf text = {0};
  uint64_t pages = 0;
  // "total resident shared ..." in pages, proc(5).
  if (buf_read_file(&text, path, 4096) == ERR_OK) {
    struct span rest = buf_span(&text), total, resident;
    if (!span_split(&rest, ' ', &total) || !span_split(&rest, ' ', &resident) || span_u64(resident, &pages) != ERR_OK) pages = 0;
  }
  buf_free(&text);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
