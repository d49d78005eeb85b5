// Webhook bodies: whatever the bytes, every event's spans lie within the body or the arena, and an unreadable body is one quarantine event.
#include "webhook/webhook.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
  struct span body;
  size_t events, quarantined;
  uint32_t sum;
};

static void on_event(void *ctx, const struct intake_event *e) {
  struct seen *seen = ctx;
  ALWAYS(e->raw.ptr >= seen->body.ptr && e->raw.ptr + e->raw.len <= seen->body.ptr + seen->body.len);
  const struct span texts[] = {e->phone_number_id, e->waba_id, e->user, e->wamid, e->type, e->profile_name, e->raw};
  for (size_t i = 0; i < COUNT_OF(texts); i++)
    seen->sum = crc32c(seen->sum, texts[i].ptr ? texts[i].ptr : "", texts[i].len);
  seen->events++;
  seen->quarantined += e->kind == INTAKE_QUARANTINE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct arena arena;
  arena_init(&arena, 4096, 64 << 20);
  struct seen seen = {.body = {(const char *)data, size}};
  if (!webhook__events(&arena, seen.body, 1, on_event, &seen)) ALWAYS(seen.events == 1 && seen.quarantined == 1);
  arena_free(&arena);
  return 0;
}
