// The table of routes: exact before prefix, several rows of one path, 404 and 405.
#include "wahook/base.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "internal.h"

static const struct http_route routes[] = {
    {.path = "/hook", .methods = HTTP_ALLOW(HTTP_M_GET)},
    {.path = "/hook", .methods = HTTP_ALLOW(HTTP_M_POST)},
    {.path = "/admin/", .methods = HTTP_ALLOW(HTTP_M_GET)},
    {.path = "/admin/queue/", .methods = HTTP_ALLOW(HTTP_M_DELETE)},
    {.path = "/admin/queue/dead", .methods = HTTP_ALLOW(HTTP_M_PUT)},
};

// Index of the row, or minus the status.
static int route(const char *path, enum http_method method, unsigned *allowed) {
  int status = 0;
  const struct http_route *row = http__route_find(routes, COUNT_OF(routes), span_of(path), method, &status, allowed);
  return row ? (int)(row - routes) : -status;
}

static void rows_are_found(void **state) {
  (void)state;
  unsigned allowed;
  assert_int_equal(route("/hook", HTTP_M_GET, &allowed), 0);
  assert_int_equal(route("/hook", HTTP_M_HEAD, &allowed), 0);
  assert_int_equal(route("/hook", HTTP_M_POST, &allowed), 1);
  assert_int_equal(route("/admin/x", HTTP_M_GET, &allowed), 2);
  assert_int_equal(route("/admin/", HTTP_M_GET, &allowed), 2);
  assert_int_equal(route("/admin/queue/1", HTTP_M_DELETE, &allowed), 3);
  assert_int_equal(route("/admin/queue/dead", HTTP_M_PUT, &allowed), 4);
}

static void the_best_path_decides_on_methods(void **state) {
  (void)state;
  unsigned allowed = 0;
  char text[HTTP__ALLOW_TEXT];
  assert_int_equal(route("/hook", HTTP_M_DELETE, &allowed), -405);
  http__allow_text(allowed, text);
  assert_string_equal(text, "GET, HEAD, POST");
  assert_int_equal(route("/admin/queue/dead", HTTP_M_GET, &allowed), -405); // not the prefix' GET
  http__allow_text(allowed, text);
  assert_string_equal(text, "PUT");
  http__allow_text(~0u, text);
  assert_string_equal(text, "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
}

static void near_misses_are_not_found(void **state) {
  (void)state;
  static const char *const paths[] = {"/", "/hoo", "/hook/", "/hookx", "/HOOK", "/admin", "/admi", "", "hook"};
  unsigned allowed;
  for (size_t i = 0; i < COUNT_OF(paths); i++)
    assert_int_equal(route(paths[i], HTTP_M_GET, &allowed), -404);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_found),
      cmocka_unit_test(the_best_path_decides_on_methods),
      cmocka_unit_test(near_misses_are_not_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
