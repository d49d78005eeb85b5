// The state directory, its lock and the pid files. Runs in the master; the dispatcher takes a lock of its own here.
#include "supervisor/state.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void state_owner(const struct config *config, uid_t *uid, gid_t *gid) {
  *uid = (uid_t)-1;
  *gid = (gid_t)-1;
  if (geteuid() != 0) return;
  uint64_t number;
  const char *user = config->server_user, *group = config->server_group;
  if (*user) {
    struct passwd *entry = getpwnam(user);
    bool numeric = !entry && span_u64(span_of(user), &number) == ERR_OK;
    *uid = entry ? entry->pw_uid : numeric ? (uid_t)number : (uid_t)-1;
    *gid = entry ? entry->pw_gid : numeric ? (gid_t)number : (gid_t)-1;
  }
  if (*group) {
    struct group *entry = getgrnam(group);
    if (entry)
      *gid = entry->gr_gid;
    else if (span_u64(span_of(group), &number) == ERR_OK)
      *gid = (gid_t)number;
  }
}

static char *path_in(const char *dir, const char *name) {
  struct buf path = {0};
  buf_printf(&path, "%s/%s", dir, name);
  return buf_steal(&path);
}

// mkdir -p; only the last one gets our owner and mode.
static enum err make_directory(const struct config *config, struct why *why) {
  const char *dir = config->server_state_dir;
  char *path = xstrdup(dir);
  for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(path, 0755);
    *slash = '/';
  }
  free(path);
  struct stat st;
  if (mkdir(dir, 0750) == 0) {
    uid_t uid;
    gid_t gid;
    state_owner(config, &uid, &gid);
    if (chown(dir, uid, gid) != 0) {
      why_set(why, "cannot give %s to user \"%s\": %s", dir, config->server_user, strerror(errno));
      return ERR_IO;
    }
  } else if (errno != EEXIST || stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
    why_set(why, "cannot make the directory %s: %s (set server.state_dir to a place that may be written)", dir, strerror(errno));
    return ERR_IO;
  }
  return ERR_OK;
}

enum err state_lock(const char *path, int *fd, struct why *why) {
  int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
  if (lock < 0) {
    why_set(why, "cannot open %s: %s", path, strerror(errno));
    return ERR_IO;
  }
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    bool held = errno == EWOULDBLOCK;
    why_set(why, "cannot lock %s: %s", path, strerror(errno));
    close(lock);
    return held ? ERR_AGAIN : ERR_IO;
  }
  *fd = lock;
  return ERR_OK;
}

static pid_t read_pid(const char *path) {
  struct buf text = {0};
  uint64_t pid = 0;
  if (buf_read_file(&text, path, 64) == ERR_OK) {
    struct span rest = buf_span(&text), line;
    if (!span_split(&rest, '\n', &line) || span_u64(line, &pid) != ERR_OK || pid > INT32_MAX) pid = 0;
  }
  buf_free(&text);
  return (pid_t)pid;
}

// Through a temporary name: a reader sees the old file or the whole new one.
static enum err write_pid(const char *path, struct why *why) {
  struct buf temporary = {0};
  buf_printf(&temporary, "%s.new", path);
  FILE *file = fopen(temporary.data, "we");
  bool ok = file && fprintf(file, "%ld\n", (long)getpid()) > 0;
  if (file) ok = fclose(file) == 0 && ok;
  ok = ok && rename(temporary.data, path) == 0;
  if (!ok) why_set(why, "cannot write the pid file %s: %s", path, strerror(errno));
  buf_free(&temporary);
  return ok ? ERR_OK : ERR_IO;
}

static struct state state_of(const struct config *config, int lock_fd) {
  struct state state = {.lock_fd = lock_fd, .pid_path = path_in(config->server_state_dir, "wahookd.pid")};
  if (*config->server_pid_file) state.extra_pid_path = xstrdup(config->server_pid_file);
  return state;
}

static void state_free(struct state *state) {
  if (state->lock_fd >= 0) close(state->lock_fd);
  free(state->pid_path);
  free(state->extra_pid_path);
}

enum err state_open(const struct config *config, struct state *out, struct why *why) {
  const char *dir = config->server_state_dir;
  enum err e = make_directory(config, why);
  if (e != ERR_OK) return e;
  struct state state = state_of(config, -1);
  char *lock_path = path_in(dir, "wahookd.lock");
  // "-s status" holds the lock for a moment when nobody runs: that is no second master.
  for (unsigned tries = 0; tries < 10; tries++) {
    e = state_lock(lock_path, &state.lock_fd, why);
    if (e != ERR_AGAIN) break;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  }
  if (e == ERR_AGAIN) {
    why_set(why, "another wahookd (pid %ld) works on %s (stop it with -s stop, or set server.state_dir)", (long)read_pid(state.pid_path),
            dir);
    e = ERR_CONFLICT;
  }
  if (e == ERR_OK) e = state_lead(&state, why);
  free(lock_path);
  if (e == ERR_OK)
    *out = state;
  else
    state_free(&state);
  return e;
}

enum err state_inherit(const struct config *config, int lock_fd, struct state *out, struct why *why) {
  struct stat ours, theirs;
  char *lock_path = path_in(config->server_state_dir, "wahookd.lock");
  bool same = fstat(lock_fd, &theirs) == 0 && stat(lock_path, &ours) == 0 && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
  free(lock_path);
  if (!same) {
    why_set(why, "server.state_dir %s is not the running daemon's (only a restart can change it)", config->server_state_dir);
    return ERR_CONFLICT;
  }
  *out = state_of(config, lock_fd);
  return ERR_OK;
}

enum err state_lead(const struct state *state, struct why *why) {
  enum err e = write_pid(state->pid_path, why);
  return e == ERR_OK && state->extra_pid_path ? write_pid(state->extra_pid_path, why) : e;
}

static void each_aside(const struct state *state, void (*act)(const char *path, const char *aside)) {
  const char *paths[] = {state->pid_path, state->extra_pid_path};
  for (size_t i = 0; i < COUNT_OF(paths); i++) {
    if (!paths[i]) continue;
    struct buf aside = {0};
    buf_printf(&aside, "%s.oldbin", paths[i]);
    act(paths[i], aside.data);
    buf_free(&aside);
  }
}

// A second name: the file itself stays in place until the new master replaces it, so that it names somebody at any time.
static void link_aside(const char *path, const char *aside) {
  unlink(aside);
  if (link(path, aside) != 0) {} // a file system without links: the old master has no file of its own for a while
}

static void move_back(const char *path, const char *aside) {
  if (rename(aside, path) == 0) unlink(aside); // two names of one file: rename() does nothing then
}

static void remove_own(const char *path, const char *aside) {
  if (read_pid(path) == getpid()) unlink(path);
  if (read_pid(aside) == getpid()) unlink(aside);
}

void state_put_aside(const struct state *state) {
  each_aside(state, link_aside);
}

void state_put_back(const struct state *state) {
  each_aside(state, move_back);
}

void state_close(struct state *state) {
  each_aside(state, remove_own);
  state_free(state);
}

// The pid file alone may be stale and its number another program's by now: the lock tells.
pid_t state_running_pid(const char *state_dir) {
  char *lock_path = path_in(state_dir, "wahookd.lock"), *pid_path = path_in(state_dir, "wahookd.pid");
  pid_t pid = 0;
  int lock = open(lock_path, O_RDONLY | O_CLOEXEC);
  if (lock >= 0) {
    if (flock(lock, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK) pid = read_pid(pid_path);
    close(lock);
  }
  free(lock_path);
  free(pid_path);
  return pid;
}
