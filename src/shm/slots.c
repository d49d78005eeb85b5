// What a process leaves in its block for others to see: the stage it is at, notes, and its last words. Runs in every process of wahookd.
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

// ---------------------------------------------------------------- notes

#define READ_TRIES 100 // a writer is done in less than a microsecond

void shm_note(struct shm_slot *slot, unsigned note, const void *data, size_t size) {
  uint64_t words[SHM_NOTE_MAX / 8] = {0};
  ALWAYS(note < SHM_NOTES && size <= SHM_NOTE_MAX);
  memcpy(words, data, size);
  // One that a predecessor was writing when it died is odd already.
  uint64_t writing = (atomic_load(&slot->notes[note].sequence) + 1) | 1;
  atomic_store(&slot->notes[note].sequence, writing);
  for (size_t i = 0; i < COUNT_OF(words); i++)
    atomic_store_explicit(&slot->notes[note].words[i], words[i], memory_order_release);
  atomic_store_explicit(&slot->notes[note].sequence, writing + 1, memory_order_release);
}

bool shm_note_read(const struct shm_slot *slot, unsigned note, void *out, size_t size) {
  uint64_t words[SHM_NOTE_MAX / 8];
  ALWAYS(note < SHM_NOTES && size <= SHM_NOTE_MAX);
  for (unsigned tries = 0; tries < READ_TRIES; tries++) {
    uint64_t before = atomic_load_explicit(&slot->notes[note].sequence, memory_order_acquire);
    if (before == 0) return false;
    for (size_t i = 0; i < COUNT_OF(words); i++)
      words[i] = atomic_load_explicit(&slot->notes[note].words[i], memory_order_acquire);
    if (before % 2 || atomic_load_explicit(&slot->notes[note].sequence, memory_order_relaxed) != before) continue;
    memcpy(out, words, size);
    return true;
  }
  return false;
}

// ---------------------------------------------------------------- last words

static struct shm_slot *panic_slot; // of this process; die()'s hook has no context

static void on_panic(const char *text) {
  if (panic_slot) put(panic_slot->panic, sizeof panic_slot->panic, text);
}

void shm_catch_panic(struct shm_slot *slot) {
  panic_slot = slot;
  die_set_hook(slot ? on_panic : NULL);
}
