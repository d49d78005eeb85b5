// The phone's page, compiled in. Runs in wahook-sandbox.
#include "tools/sandbox/sandbox.h"

__asm__(".pushsection .rodata\n"
        ".global sandbox_page_html\n"
        "sandbox_page_html: .incbin \"src/tools/sandbox/page.html\"\n"
        ".global sandbox_page_html_end\n"
        "sandbox_page_html_end: .byte 0\n"
        ".popsection\n");
extern const char sandbox_page_html[], sandbox_page_html_end[];

void sandbox_on_page(struct http_request *request) {
  static const struct http_header headers[] = {
      {"Cache-Control", "no-store"},
      {"Content-Security-Policy",
       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"},
  };
  struct span page = {sandbox_page_html, (size_t)(sandbox_page_html_end - sandbox_page_html)};
  http_respond(request, 200, "text/html; charset=utf-8", page, headers, COUNT_OF(headers));
}
