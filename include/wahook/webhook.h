// Meta's webhook: registration (GET) and delivery (POST), from the signature to the answer after the commit. Runs in the workers.
#ifndef WAHOOK_WEBHOOK_H
#define WAHOOK_WEBHOOK_H

#include "wahook/config.h"
#include "wahook/directory.h"
#include "wahook/http.h"
#include "wahook/intake.h"
#include "wahook/limiter.h"

struct webhook;
struct webhook_options {
  struct loop *loop;
  struct shm_slot *slot;
  const struct config *config;
  struct limiter *limiter; // NULL: no rate limits
  struct directory *directory;
};
struct webhook *webhook_new(const struct webhook_options *options);
// The journal that deliveries go to and the server that they come from, both made after the webhook; before the first request.
void webhook_attach(struct webhook *webhook, struct journal *journal, struct http_server *server);
void webhook_free(struct webhook *webhook);
// The routes of this folder; `out` has room for WEBHOOK_ROUTES. Returns how many.
#define WEBHOOK_ROUTES 1
unsigned webhook_routes(struct webhook *webhook, struct http_route *out);
// The journal's on_commit (ctx: the webhook): answers the deliveries that are decided now.
void webhook_on_commit(void *ctx, uint64_t upto, enum err result);

// ---- pure parts, also for tests and tools

// Why a payload or a part of it goes to quarantine: the `type` of such an event.
#define WEBHOOK_BAD_JSON "unreadable JSON"

// Every entry, change, message, status and error of a delivery as an event of its own; broken ones as INTAKE_QUARANTINE with their raw
// bytes. Spans point into the body and the arena. A body that cannot be read at all is one quarantine event; then the result is false.
bool webhook_events(struct arena *arena, struct span body, int64_t received_us,
                    void (*on_event)(void *ctx, const struct intake_event *event), void *ctx);

enum webhook_signature { SIGNATURE_OK, SIGNATURE_MISSING, SIGNATURE_WRONG };
struct hmac;
// X-Hub-Signature-256: "sha256=" and 64 lower-case hex digits of HMAC-SHA256(app secret, exact body); any of the secrets fits. Constant
// time.
enum webhook_signature webhook_signature_check(struct span header, struct span body, struct hmac *const *secrets, size_t count);

#endif
