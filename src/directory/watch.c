// The watcher: a thread that waits for the store's changes and publishes them to all processes. Runs in the dispatcher.
//
//   store ── change ──▶ watcher ── shm_invalidate("id:…", "phone:…") ──▶ every process' cache forgets ──▶ next look-up asks the store
//
// It has a store of its own: it may hang in the network when the process ends, and then nobody else may have freed what it uses.
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wahook/log.h"

#define RETRY_US     1000000
#define SAVE_US      10000000
#define NAP_US       50000
#define INDEXES_US   60000000
#define POSITION_MAX 65536
#define JOIN_S       1

struct watch {
  pthread_t thread;
  pthread_mutex_t lock; // guards `stopping` and whatever is told
  bool stopping, left;  // left: nobody waits for the thread, it frees this itself
  struct shm *shm;
  struct shm_slot *slot;
  struct store *store;
  struct store_watch watch;
  char *path;
  int64_t saved_us;
  bool failing, make_indexes;
  bool indexed; // what is missing was made, or said
  int64_t look_us;
  unsigned index_count; // told by the look that is taken
  enum store_index_state said[STORE_INDEXES_MAX];
};

static bool is_stopping(struct watch *w) {
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  bool stopping = w->stopping;
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
  return stopping;
}

// ---------------------------------------------------------------- telling

// Once it is stopped, the shared memory may be gone.
static void tell(struct watch *w, const struct span *key) {
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  if (!w->stopping && (!key || shm_invalidate(w->shm, *key) != ERR_OK)) shm_clear_caches(w->shm);
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
}

static void on_key(void *ctx, struct span key) {
  tell(ctx, &key);
}

static void on_gap(void *ctx) {
  log_warning("directory", "changes in the store may have been missed: all caches are cleared");
  tell(ctx, NULL);
}

// A daemon that has just started has nothing in its caches that is older than where the watch begins.
static void on_open(void *ctx, bool resumed) {
  struct watch *w = ctx;
  if (w->failing) log_info("directory", "the store is watched again");
  w->failing = false;
  bool old = false;
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  if (!w->stopping) old = clock_mono_us() - *w->shm->created_us > STORE_WATCH_BACK_S * INT64_C(1000000);
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
  if (!resumed && old) on_gap(w);
}

// ---------------------------------------------------------------- the position

static void load(struct watch *w) {
  if (!w->path) return;
  enum err e = buf_read_file(&w->watch.position, w->path, POSITION_MAX);
  if (e && e != ERR_NOT_FOUND) log_warning("directory", "%s: %s (the watch begins anew)", w->path, err_text(e));
}

// Without a flush: an older position after a power cut only tells some changes twice.
static void save(struct watch *w) {
  struct buf fresh = {0};
  buf_printf(&fresh, "%s.new", w->path);
  int fd = open(fresh.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  bool good = fd >= 0 && write(fd, w->watch.position.data, w->watch.position.len) == (ssize_t)w->watch.position.len;
  if (fd >= 0 && close(fd) != 0) good = false;
  if (!good || rename(fresh.data, w->path) != 0) log_warning("directory", "%s cannot be written: %s", w->path, strerror(errno));
  buf_free(&fresh);
  w->saved_us = clock_mono_us();
}

static void on_position(void *ctx) {
  struct watch *w = ctx;
  if (w->path && clock_mono_us() - w->saved_us >= SAVE_US) save(w);
}

// ---------------------------------------------------------------- indexes

static void say_index(const struct watch *w, const struct store_index *index) {
  const char *how = w->make_indexes ? "" : ": make it with `wahookctl indexes ensure`, or set directory.auto_indexes";
  if (index->state == STORE_INDEX_MADE)
    log_info("directory", "the store has got the index %s {%s}", index->name, index->keys);
  else if (index->state == STORE_INDEX_MISSING)
    log_warning("directory", "the store lacks the index %s {%s}, so look-ups read all of it%s", index->name, index->keys, how);
  else if (index->state == STORE_INDEX_CONFLICT)
    log_warning("directory", "the index %s {%s} cannot be had: %s", index->name, index->keys, index->note);
}

// Said when it is news, told always.
static void on_index(void *ctx, const struct store_index *index) {
  struct watch *w = ctx;
  if (index->state == STORE_INDEX_FOREIGN) return;
  ALWAYS(w->index_count < STORE_INDEXES_MAX);
  unsigned which = w->index_count++;
  enum store_index_state state = index->state == STORE_INDEX_MADE ? STORE_INDEX_THERE : index->state;
  if (w->said[which] != state) say_index(w, index);
  w->said[which] = state;
  struct store_index_told told = {.at_us = clock_mono_us(), .uses = index->uses, .state = state};
  snprintf(told.name, sizeof told.name, "%s", index->name);
  snprintf(told.keys, sizeof told.keys, "%s", index->keys);
  snprintf(told.note, sizeof told.note, "%s", index->note);
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  if (!w->stopping && w->slot) shm_note(w->slot, STORE_NOTE_INDEX + which, &told, sizeof told);
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
}

// Made once, when the store can be asked, before the watch begins: what changes meanwhile is no younger than where it then begins, or a
// gap. Looked up again once a minute, which holds up a change by as long as the answer takes.
static void look_at_indexes(struct watch *w, bool first) {
  struct why why;
  int64_t now_us = clock_mono_us();
  if (!w->store->kind->indexes || (first ? w->indexed : now_us < w->look_us)) return;
  w->index_count = 0;
  w->look_us = now_us + INDEXES_US;
  enum err e = w->store->kind->indexes(w->store, first && w->make_indexes, on_index, w, &why);
  if (first) w->indexed = !e || e == ERR_CONFLICT;
}

// ---------------------------------------------------------------- the thread

static void free_watch(struct watch *w) {
  store_close(w->store);
  buf_free(&w->watch.position);
  pthread_mutex_destroy(&w->lock);
  free(w->path);
  free(w);
}

static bool stopped(void *ctx) {
  look_at_indexes(ctx, false);
  return is_stopping(ctx);
}

static void *run(void *arg) {
  struct watch *w = arg;
  while (!is_stopping(w)) {
    struct why why = {0};
    look_at_indexes(w, true);
    enum err e = w->store->kind->watch(w->store, &w->watch, &why);
    if (e == ERR_CLOSED) break;
    if (!w->failing) log_warning("directory", "the store cannot be watched for changes: %s", why.text);
    w->failing = true;
    for (int64_t until = clock_mono_us() + RETRY_US; clock_mono_us() < until && !is_stopping(w);)
      usleep(NAP_US);
  }
  if (w->path && w->watch.position.len) save(w);
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  bool left = w->left;
  w->left = true; // from here on who stops frees
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
  if (left) free_watch(w);
  return NULL;
}

struct watch *watch_start(const struct watch_options *o) {
  struct why why;
  struct store *store;
  if (store_open_with(o->store, &store, &why) != ERR_OK) return NULL; // told when the directory's own was opened
  if (!store->kind->watch) {
    store_close(store);
    return NULL;
  }
  struct watch *w = xcalloc(1, sizeof *w);
  w->store = store;
  w->shm = o->shm;
  w->slot = o->slot;
  w->make_indexes = o->store->make_indexes;
  w->path = o->position_path ? xstrdup(o->position_path) : NULL;
  w->watch = (struct store_watch){
      .on_open = on_open, .on_key = on_key, .on_gap = on_gap, .on_position = on_position, .stopped = stopped, .ctx = w};
  ALWAYS(pthread_mutex_init(&w->lock, NULL) == 0);
  for (unsigned i = 0; i < STORE_INDEXES_MAX; i++)
    w->said[i] = STORE_INDEX_FOREIGN; // nothing yet
  load(w);
  w->saved_us = clock_mono_us();
  ALWAYS(pthread_create(&w->thread, NULL, run, w) == 0);
  return w;
}

void watch_stop(struct watch *w) {
  if (!w) return;
  struct timespec until;
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  w->stopping = true;
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
  int64_t end_us = clock_wall_us() + JOIN_S * INT64_C(1000000);
  until = (struct timespec){.tv_sec = end_us / 1000000, .tv_nsec = end_us % 1000000 * 1000};
  if (pthread_timedjoin_np(w->thread, NULL, &until) == 0) {
    free_watch(w);
    return;
  }
  ALWAYS(pthread_detach(w->thread) == 0);
  ALWAYS(pthread_mutex_lock(&w->lock) == 0);
  bool over = w->left; // it ended just now, after all
  w->left = true;
  ALWAYS(pthread_mutex_unlock(&w->lock) == 0);
  if (over) free_watch(w);
}
