// Meta's error codes as the sandbox gives them, and their JSON shape. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

#include <stdio.h>

// Code, HTTP status, what Meta says (FACTS: sending). A code that is not here is answered with 400 and its number.
static const struct {
  int64_t code;
  int http_status;
  const char *text;
} table[] = {
    {0, 401, "Authentication error"},
    {1, 500, "An unknown error occurred"},
    {2, 503, "Service temporarily unavailable"},
    {3, 500, "Application does not have the capability to make this API call"},
    {4, 400, "Application request limit reached"},
    {10, 403, "Application does not have permission for this action"},
    {33, 400, "Parameter value is not valid"},
    {100, 400, "Invalid parameter"},
    {190, 401, "Invalid OAuth access token - Cannot parse access token"},
    {200, 403, "Permissions error"},
    {368, 403, "Temporarily blocked for policies violations"},
    {2500, 400, "Unknown path components"},
    {80007, 400, "Rate limit issues"},
    {130429, 429, "Rate limit hit"},
    {131000, 500, "Something went wrong"},
    {131005, 403, "Access denied"},
    {131008, 400, "Required parameter is missing"},
    {131009, 400, "Parameter value is not valid"},
    {131016, 503, "Service unavailable"},
    {131021, 400, "Recipient cannot be sender"},
    {131026, 400, "Message undeliverable"},
    {131030, 400, "Recipient phone number not in allowed list"},
    {131031, 403, "Business account has been locked"},
    {131042, 400, "Business eligibility payment issue"},
    {131045, 500, "Incorrect certificate"},
    {131047, 400, "Re-engagement message"},
    {131048, 400, "Spam rate limit hit"},
    {131049, 400, "This message was not delivered to maintain healthy ecosystem engagement"},
    {131051, 400, "Unsupported message type"},
    {131052, 400, "Media download error"},
    {131053, 400, "Media upload error"},
    {131056, 400, "(Business Account, Consumer Account) pair rate limit hit"},
    {131057, 500, "Business account is in maintenance mode"},
    {133010, 400, "Phone number not registered on the WhatsApp Business Platform"},
};

void sandbox_error_set(struct meta_error *error, int64_t code, const char *details, ...) {
  *error = (struct meta_error){.http_status = 400, .code = code};
  const char *text = "Error of the sandbox";
  for (size_t i = 0; i < COUNT_OF(table); i++) {
    if (table[i].code != code) continue;
    error->http_status = table[i].http_status;
    text = table[i].text;
  }
  snprintf(error->message, sizeof error->message, "(#%lld) %s", (long long)code, text);
  if (!details) return;
  va_list ap;
  va_start(ap, details);
  vsnprintf(error->details, sizeof error->details, details, ap);
  va_end(ap);
}

void sandbox_error_write(const struct meta_error *error, struct buf *out) {
  uint8_t raw[16];
  char trace[32];
  random_bytes(raw, sizeof raw);
  base64_encode((struct span){(const char *)raw, sizeof raw}, true, false, trace, sizeof trace);
  struct json_writer w;
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_open(&w, "error", '{');
  json_put_string(&w, "message", error->message);
  json_put_string(&w, "type", "OAuthException");
  json_put_i64(&w, "code", error->code);
  if (error->details[0]) {
    json_open(&w, "error_data", '{');
    json_put_string(&w, "messaging_product", "whatsapp");
    json_put_string(&w, "details", error->details);
    json_close(&w, '}');
  }
  json_put_string(&w, "fbtrace_id", trace);
  json_close(&w, '}');
  json_close(&w, '}');
}
