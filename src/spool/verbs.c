// The table of verbs. Runs in the dispatcher: asked and completed on its loop, run on the spool's thread.
#include "spool/verbs.h"

#define VERB_ROW(id, name, writes) [VERB_##id] = {#name, writes, verb__run_##name, verb__complete_##name},
const struct verb_kind verb__kinds[VERB_COUNT] = {VERB_LIST(VERB_ROW)};
#undef VERB_ROW

void *verb__new(enum verb_id id, size_t size, void *ctx) {
  struct verb *verb = xcalloc(1, size);
  verb->id = id;
  verb->ctx = ctx;
  return verb;
}
