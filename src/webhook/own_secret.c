// Deliveries of a business' own Meta app, which are signed with its own secret: that is known only once it is known whose they are. Asked
// when none of the deployment's secrets fits. Runs in the workers.
#include "webhook.h"

#include <string.h>

// The business that an event is of, and whether it can be known now.
static enum directory_answer owner_of(struct webhook *w, const struct intake_event *event, const struct business **out) {
  bool phone = event->phone_number_id.len > 0;
  struct span key = phone ? event->phone_number_id : event->waba_id;
  if (!key.len) return DIRECTORY_UNKNOWN;
  return directory_get(w->options.directory, phone ? DIRECTORY_PHONE : DIRECTORY_WABA, key, DIRECTORY_NOW, out);
}

// All that is in a delivery must be of businesses with this secret: whoever knows one could write as another one else.
enum own_secret own_secret__check(struct webhook *w, struct span header, struct span body) {
  const char *secret = NULL;
  for (size_t i = 0; i < w->event_count; i++) {
    const struct business *b = NULL;
    if (w->events[i].kind == INTAKE_QUARANTINE) continue; // nobody's: a broken part costs the others nothing
    enum directory_answer answer = owner_of(w, &w->events[i], &b);
    if (answer == DIRECTORY_PENDING || answer == DIRECTORY_LATER) return OWN_SECRET_LATER;
    if (answer != DIRECTORY_FOUND || !b->app_secret[0] || (secret && strcmp(secret, b->app_secret) != 0)) return OWN_SECRET_WRONG;
    secret = b->app_secret;
  }
  if (!secret) return OWN_SECRET_WRONG;
  hmac_rekey(w->own_secret, span_of(secret));
  return signature__check(header, body, &w->own_secret, 1) == SIGNATURE_OK ? OWN_SECRET_OK : OWN_SECRET_WRONG;
}
