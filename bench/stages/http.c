// The request's head and body: scanner, guard and llhttp together, as a worker runs them. Runs in bench-stages.
#include <string.h>

#include "parser.h"
#include "stages.h"

struct parse {
  struct http__pool pool;
  struct http__message message;
  struct http_limits limits;
  struct span request;
};

static void start_message(struct parse *p, struct http__parser *parser) {
  http__block_release(&p->pool, &p->message.head);
  http__block_release(&p->pool, &p->message.body);
  memset(&p->message, 0, offsetof(struct http__message, fields));
  http__parser_start(parser, &p->message, &p->pool, &p->limits);
}

static void parse_request(void *ctx, uint64_t n) {
  struct parse *p = ctx;
  for (uint64_t i = 0; i < n; i++) {
    struct http__parser parser;
    size_t used = 0, more = 0;
    start_message(p, &parser);
    int verdict = http__parser_head(&parser, p->request.ptr, p->request.len, &used);
    if (verdict == HTTP__COMPLETE) verdict = http__parser_limit_body(&parser, p->limits.max_body_bytes);
    if (verdict == HTTP__MORE || verdict == HTTP__COMPLETE)
      verdict = http__parser_body(&parser, p->request.ptr + used, p->request.len - used, &more);
    if (verdict != HTTP__COMPLETE) die("the request was not parsed: %d", verdict);
  }
}

void stages_http(void) {
  struct parse p = {.limits = http_limits_default(), .request = stage_request(1)};
  stage_time("http: parse a request", parse_request, &p);
  struct http__parser parser;
  start_message(&p, &parser);
  http__pool_free(&p.pool);
}
