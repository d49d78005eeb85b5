// Who is an operator: whoever reaches the admin listener, and on the public one whoever shows the admin token. Runs in the workers.
#include "admin.h"

#include "wahook/crypto.h"

bool auth__admit(struct admin *admin, struct http_request *request) {
  if (http_request_listener(request) == HTTP_OPERATOR_TAG) return true;
  struct span token = span_of(admin->options.config->admin_token);
  if (!token.len) {
    // Without a token these pages do not exist here; the same answer as for any unknown path.
    http_respond_error(request, 404, "Not Found");
    return false;
  }
  struct span given = http_request_header(request, "authorization");
  struct span scheme;
  if (span_split(&given, ' ', &scheme) && span_eq_nocase(scheme, SPAN("bearer")) && secret_equal(span_trim(given), token)) return true;
  static const struct http_header challenge = {.name = "WWW-Authenticate", .value = "Bearer realm=\"wahookd\""};
  http_respond(request, 401, "application/json", SPAN("{\"detail\":\"Not authenticated\"}"), &challenge, 1);
  return false;
}
