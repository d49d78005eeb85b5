// Shared inside outbound: the Graph API's requests (graph.c), their bodies (graph_body.c) and media (media.c).
#ifndef WAHOOK_OUTBOUND_GRAPH_H
#define WAHOOK_OUTBOUND_GRAPH_H

#include "transfer.h"

#define GRAPH_MAGIC       0x47726170u // "Grap"
#define GRAPH_ARENA_BYTES (16u << 20) // for one message or answer
#define GRAPH_TIMEOUT_MS  30000

struct graph {
  uint32_t magic;
  struct outbound *outbound;
  struct shm_slot *slot;
  char *base; // "https://graph.facebook.com/v21.0", without a slash at the end
};

void graph__read_body(struct span wamid, bool typing, struct buf *out);
// "{base}/{id}{tail}"; ERR_FORMAT when the id could change the path (only letters, digits, '_', '-' and '.' are taken).
enum err graph__url(const struct graph *graph, struct span id, const char *tail, struct buf *out) MUST_CHECK;
// Something that can stand in a header: printable ASCII, not empty.
bool graph__token_ok(const char *token);
// What an answer to a message means. Borrows from the arena and the response.
void graph__read_verdict(const struct outbound_response *response, bool wants_wamid, struct arena *arena, struct graph_verdict *out);

#endif
