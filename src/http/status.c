// The words of HTTP: methods, reason phrases (RFC 9110 section 15), default limits. Runs in workers and tools.
#include "wahook/http.h"

static const struct span methods[HTTP_M_COUNT] = {
    [HTTP_M_NONE] = {"", 0},   [HTTP_M_GET] = {"GET", 3},       [HTTP_M_HEAD] = {"HEAD", 4},       [HTTP_M_POST] = {"POST", 4},
    [HTTP_M_PUT] = {"PUT", 3}, [HTTP_M_DELETE] = {"DELETE", 6}, [HTTP_M_OPTIONS] = {"OPTIONS", 7}, [HTTP_M_PATCH] = {"PATCH", 5},
};

static const struct {
  int status;
  const char *text;
} statuses[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *http_method_name(enum http_method method) {
  return (unsigned)method < HTTP_M_COUNT ? methods[method].ptr : "";
}

enum http_method http_method_find(struct span name) {
  enum http_method method = HTTP_M_COUNT;
  while (--method > HTTP_M_NONE && !span_eq(methods[method], name)) {}
  return method;
}

const char *http_status_text(int status) {
  for (size_t i = 0; i < COUNT_OF(statuses); i++)
    if (statuses[i].status == status) return statuses[i].text;
  return "Unknown";
}

struct http_limits http_limits_default(void) {
  return (struct http_limits){
      .max_body_bytes = 3 << 20,
      .max_headers = 100,
      .max_line_bytes = 8192,
      .max_head_bytes = 32768,
      .head_ms = 15000,
      .body_ms = 15000,
      .min_body_rate = 1024,
      .idle_ms = 75000,
      .write_ms = 30000,
      .max_pipeline = 16,
      .max_connections = 16384,
  };
}
