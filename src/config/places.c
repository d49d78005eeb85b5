// What can be told about files, directories and users before a daemon needs them, without making or opening anything. Runs in the master
// and the tools.
#include "config/options.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static char *parent_of(const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return xstrdup(".");
  return span_dup((struct span){path, slash == path ? 1 : (size_t)(slash - path)});
}

// Whether this process may make files in a directory.
static enum err check_own_rights(const char *directory, struct why *why) {
  if (access(directory, W_OK | X_OK) == 0) return ERR_OK;
  why_set(why, CONFIG__SHOWN " cannot be written: %s (change its owner or mode, choose another, or start as another user)",
          CONFIG__SHOW(span_of(directory)), strerror(errno));
  return ERR_DENIED;
}

static enum err not_a_directory(const char *path, struct why *why) {
  why_set(why, CONFIG__SHOWN " is not a directory (remove what stands there, or choose another)", CONFIG__SHOW(span_of(path)));
  return ERR_EXISTS;
}

static enum err not_reachable(const char *path, struct why *why) {
  if (errno == ENOENT)
    why_set(why, "the directory " CONFIG__SHOWN " does not exist (make it, or choose another)", CONFIG__SHOW(span_of(path)));
  else
    why_set(why, "the directory " CONFIG__SHOWN " cannot be reached: %s (choose another)", CONFIG__SHOW(span_of(path)), strerror(errno));
  return ERR_NOT_FOUND;
}

enum err config__check_directory_place(const char *path, struct why *why) {
  struct stat st;
  char *at = xstrdup(path);
  int missing;
  // The daemon makes it with all that leads to it: the nearest that is there decides.
  while ((missing = stat(at, &st)) != 0 && errno == ENOENT && strcmp(at, "/") != 0 && strcmp(at, ".") != 0) {
    char *up = parent_of(at);
    free(at);
    at = up;
  }
  enum err e = missing ? not_reachable(at, why) : !S_ISDIR(st.st_mode) ? not_a_directory(at, why) : check_own_rights(at, why);
  free(at);
  return e;
}

// Where something that is not there yet shall be made.
static enum err check_parent(const char *path, const char *made_later, struct why *why) {
  char *parent = parent_of(path);
  struct stat st;
  enum err e = ERR_OK;
  if (strcmp(parent, made_later) == 0)
    ; // by then it is there
  else if (stat(parent, &st) != 0)
    e = not_reachable(parent, why);
  else
    e = S_ISDIR(st.st_mode) ? check_own_rights(parent, why) : not_a_directory(parent, why);
  free(parent);
  return e;
}

enum err config__check_file_place(const char *path, const char *made_later, struct why *why) {
  struct stat st;
  if (stat(path, &st) != 0) return check_parent(path, made_later, why);
  if (S_ISDIR(st.st_mode)) {
    why_set(why, CONFIG__SHOWN " is a directory (write the path of a file)", CONFIG__SHOW(span_of(path)));
    return ERR_EXISTS;
  }
  if (access(path, W_OK) == 0) return ERR_OK;
  why_set(why, CONFIG__SHOWN " cannot be written: %s (change its owner or mode, or choose another)", CONFIG__SHOW(span_of(path)),
          strerror(errno));
  return ERR_DENIED;
}

enum err config__check_socket_place(const char *path, const char *made_later, struct why *why) {
  struct stat st;
  if (lstat(path, &st) != 0 || S_ISSOCK(st.st_mode)) return check_parent(path, made_later, why);
  why_set(why, "a file that is no socket stands at " CONFIG__SHOWN " (remove it, or choose another path)", CONFIG__SHOW(span_of(path)));
  return ERR_EXISTS;
}

// ---------------------------------------------------------------- users

// As the children will take it: a name, or a number that needs no account. The highest number means "nobody in particular" to the kernel.
static bool find_user(const char *user, uid_t *uid, gid_t *gid) {
  const struct passwd *entry = getpwnam(user);
  uint64_t number;
  if (!entry && (span_u64(span_of(user), &number) || number >= UINT32_MAX)) return false;
  if (!entry) entry = getpwuid((uid_t)number);
  *uid = entry ? entry->pw_uid : (uid_t)number;
  *gid = entry ? entry->pw_gid : (gid_t)number;
  return true;
}

static bool find_group(const char *group, gid_t *gid) {
  const struct group *entry = getgrnam(group);
  uint64_t number;
  if (!entry && (span_u64(span_of(group), &number) || number >= UINT32_MAX)) return false;
  *gid = entry ? entry->gr_gid : (gid_t)number;
  return true;
}

enum err config__check_user(const char *user, struct why *why) {
  uid_t uid;
  gid_t gid;
  if (!find_user(user, &uid, &gid)) {
    why_set(why, "no such user: \"" CONFIG__SHOWN "\" (make it with adduser --system, or choose another)", CONFIG__SHOW(span_of(user)));
    return ERR_NOT_FOUND;
  }
  if (geteuid() == 0 || uid == geteuid()) return ERR_OK;
  why_set(why, "only root can become user \"" CONFIG__SHOWN "\" (start as root, or leave the option out)", CONFIG__SHOW(span_of(user)));
  return ERR_DENIED;
}

enum err config__check_group(const char *group, struct why *why) {
  gid_t gid;
  if (!find_group(group, &gid)) {
    why_set(why, "no such group: \"" CONFIG__SHOWN "\" (make it with addgroup --system, or choose another)", CONFIG__SHOW(span_of(group)));
    return ERR_NOT_FOUND;
  }
  if (geteuid() == 0 || gid == getegid()) return ERR_OK;
  why_set(why, "only root can become group \"" CONFIG__SHOWN "\" (start as root, or leave the option out)", CONFIG__SHOW(span_of(group)));
  return ERR_DENIED;
}

struct identity {
  uid_t uid;
  gid_t groups[256];
  int group_count;
};

// The mode's answer. Access lists may allow more: where there is one, or no file, nothing is claimed.
static bool may(const struct identity *who, const char *path, mode_t bits) {
  struct stat st;
  if (who->uid == 0 || stat(path, &st) != 0 || getxattr(path, "system.posix_acl_access", NULL, 0) > 0) return true;
  if (st.st_uid == who->uid) return (st.st_mode >> 6 & bits) == bits;
  for (int i = 0; i < who->group_count; i++)
    if (who->groups[i] == st.st_gid) return (st.st_mode >> 3 & bits) == bits;
  return (st.st_mode & bits) == bits;
}

static struct identity identity_of(const char *user, const char *group) {
  struct identity who = {.uid = geteuid(), .groups = {getegid()}, .group_count = COUNT_OF(who.groups)};
  gid_t gid = getegid();
  if (*user && find_user(user, &who.uid, &gid)) who.groups[0] = gid;
  if (*group && find_group(group, &gid)) who.groups[0] = gid;
  const struct passwd *entry = getpwuid(who.uid);
  if (!entry || getgrouplist(entry->pw_name, who.groups[0], who.groups, &who.group_count) < 0) who.group_count = 1;
  return who;
}

enum err config__check_users_place(const char *user, const char *group, const char *path, struct why *why) {
  struct identity who = identity_of(user, group);
  struct stat st;
  bool there = stat(path, &st) == 0;
  char *at = there ? xstrdup(path) : parent_of(path), *place = xstrdup(at);
  bool directory = !there || S_ISDIR(st.st_mode);
  bool allowed = may(&who, at, directory ? 3 : 2);
  while (allowed && strcmp(at, "/") != 0 && strcmp(at, ".") != 0) {
    char *up = parent_of(at);
    free(at);
    at = up;
    allowed = may(&who, at, 1);
  }
  if (!allowed)
    why_set(why, "user \"" CONFIG__SHOWN "\" may not %s " CONFIG__SHOWN " (chown or chmod it, or choose another)",
            CONFIG__SHOW(span_of(user)),
            strcmp(at, place) != 0 ? "enter"
            : directory            ? "write into"
                                   : "write",
            CONFIG__SHOW(span_of(at)));
  free(at);
  free(place);
  return allowed ? ERR_OK : ERR_DENIED;
}
