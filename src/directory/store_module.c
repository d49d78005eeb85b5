// Loads a back end from its shared object, so that processes that use another one never map its libraries. Runs in workers, the
// dispatcher and wahookctl, once, before the first store of that kind is opened.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store.h"
#include "wahook/log.h"
#include "wahook/metrics.h"

// The linker takes from our libraries only what somebody names. Modules find these in the program, so it must have them.
#define NEEDED(function) (void (*)(void))(function)
static void (*const needed[])(void) __attribute__((used)) = {
    NEEDED(store__business), NEEDED(business_to_json), NEEDED(json_parse),       NEEDED(json_start),    NEEDED(arena_init),
    NEEDED(buf_printf),      NEEDED(log_write),        NEEDED(log_limited),      NEEDED(clock_mono_us), NEEDED(hash_keyed),
    NEEDED(span_utf8),       NEEDED(xstrdup),          NEEDED(histogram_bucket),
};

// Beside the program as it is built, or as it is installed: build/wahookd, /usr/sbin/wahookd and /usr/lib/wahookd.
static const char *const places[] = {"lib/wahookd", "../lib/wahookd"};

static bool own_folder(char *out, size_t size) {
  ssize_t n = readlink("/proc/self/exe", out, size - 1);
  if (n <= 0) return false;
  out[n] = '\0';
  char *slash = strrchr(out, '/');
  if (!slash) return false;
  *slash = '\0';
  return true;
}

static void *open_module(const char *name, struct buf *path) {
  char folder[4096];
  for (size_t i = 0; i < COUNT_OF(places) && own_folder(folder, sizeof folder); i++) {
    buf_clear(path);
    buf_printf(path, "%s/%s/%s.so", folder, places[i], name);
    if (access(path->data, R_OK) == 0) return dlopen(path->data, RTLD_NOW | RTLD_LOCAL);
  }
  return NULL;
}

// Never unloaded: libraries start threads and register ends of their own.
enum err store__load(const char *name, const struct store_kind **out, struct why *why) {
  struct buf path = {0};
  // The driver makes a file of counters in /dev/shm when it is loaded, unless it is told not to.
  ALWAYS(setenv("MONGOC_DISABLE_SHM", "1", 1) == 0);
  void *handle = open_module(name, &path);
  const struct store_module *module = handle ? dlsym(handle, "store_module") : NULL;
  enum err e = ERR_CONFIG;
  if (!handle) {
    const char *reason = dlerror();
    why_set(why, "directory.store: %s.so cannot be loaded (%s): it belongs beside the program or into ../lib/wahookd", name,
            reason ? reason : "it is not there");
  } else if (!module || strcmp(module->version, WAHOOK_VERSION) != 0 || module->kind_bytes != sizeof(struct store_kind)) {
    why_set(why, "directory.store: %s is not of this version (%s): install both together and restart", path.data, WAHOOK_VERSION);
  } else {
    *out = module->kind;
    e = ERR_OK;
  }
  buf_free(&path);
  return e;
}
