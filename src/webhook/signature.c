// The signature of a delivery. Meta signs the bytes as it sends them, so nothing is unescaped or written anew before. Runs in the workers.
#include "webhook.h"

#define PREFIX "sha256="

enum signature signature__check(struct span header, struct span body, struct hmac *const *secrets, size_t count) {
  if (!header.ptr || !header.len) return SIGNATURE_MISSING;
  if (header.len != sizeof PREFIX - 1 + 64 || !span_starts(header, SPAN(PREFIX))) return SIGNATURE_WRONG;
  struct span given = span_from(header, sizeof PREFIX - 1);
  bool fits = false;
  // All secrets are tried, so that the time does not tell which one fits. Compared as text: upper-case digits do not fit.
  for (size_t i = 0; i < count; i++) {
    uint8_t mac[32];
    char hex[65];
    hmac_sha256(secrets[i], body, mac);
    hex_encode(mac, sizeof mac, hex);
    fits |= secret_equal(given, (struct span){hex, 64});
    secret_wipe(hex, sizeof hex);
  }
  return fits ? SIGNATURE_OK : SIGNATURE_WRONG;
}
