// What a process leaves in its block for others to see: the stage it is at, and its last words. Runs in every process of wahookd.
#include "wahook/shm.h"

#include <string.h>

const char *shm_role_name(enum shm_role role) {
  static const char *const names[] = {"none", "master", "worker", "dispatcher"};
  return (unsigned)role < COUNT_OF(names) ? names[role] : "unknown";
}

const char *shm_state_name(enum shm_state state) {
  static const char *const names[] = {"empty", "starting", "ready", "draining", "dead", "backoff"};
  return (unsigned)state < COUNT_OF(names) ? names[state] : "unknown";
}

static void put(char *field, size_t size, const char *text) {
  size_t len = text ? strnlen(text, size - 1) : 0;
  if (len > 0) memcpy(field, text, len);
  field[len] = '\0';
}

void shm_stage(struct shm_slot *slot, const char *stage, const char *request) {
  put(slot->stage, sizeof slot->stage, stage);
  put(slot->request, sizeof slot->request, request);
}

static struct shm_slot *panic_slot; // of this process; die()'s hook has no context

static void on_panic(const char *text) {
  if (panic_slot) put(panic_slot->panic, sizeof panic_slot->panic, text);
}

void shm_catch_panic(struct shm_slot *slot) {
  panic_slot = slot;
  die_set_hook(slot ? on_panic : NULL);
}
