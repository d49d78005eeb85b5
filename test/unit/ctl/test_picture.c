// The lines that status and top show: the tree of processes, what an operator has to know, narrow and wide terminals.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tools/ctl/look.h"

void ctl_complain(const char *fmt, ...) {
  (void)fmt;
}
int ctl_fail(enum err e, const char *what, const struct why *why) {
  (void)what, (void)why;
  return (int)e;
}
int ctl_exit_status(enum err e) {
  return (int)e;
}

#define WORKER(ordinal, generation, pid, state, more)                                                                                      \
  "{\"role\":\"worker\",\"ordinal\":" #ordinal ",\"generation\":" #generation ",\"pid\":" #pid ",\"state\":\"" state                       \
  "\",\"uptime_seconds\":60,\"heartbeat_age_seconds\":0.1,\"rss_bytes\":13631488" more "}"
#define MASTER(pid, state, uptime)                                                                                                         \
  "{\"role\":\"master\",\"pid\":" #pid ",\"state\":\"" state "\",\"uptime_seconds\":" #uptime ",\"heartbeat_age_seconds\":0.1}"
#define DISPATCHER(more)                                                                                                                   \
  "{\"role\":\"dispatcher\",\"generation\":2,\"pid\":22,\"state\":\"ready\",\"uptime_seconds\":60,\"heartbeat_age_seconds\":0.1" more "}"
#define DOCUMENT(processes, more) "{\"version\":\"1.2\",\"ready\":true,\"uptime_seconds\":61,\"processes\":[" processes "]" more "}"

static const char quiet[] =
    DOCUMENT(MASTER(20, "ready", 61) "," WORKER(1, 2, 24, "ready", "") "," WORKER(0, 2, 23, "ready", "") "," DISPATCHER(""), "");

static struct look look_of(const char *document) {
  struct look look;
  assert_int_equal(look_read(&look, span_of(document), 1000000), ERR_OK);
  return look;
}

// The page of a document, cut as given.
static struct buf render(const char *document, struct view view, bool rates) {
  struct look look = look_of(document);
  struct page page;
  struct buf out = {NULL, 0, 0};
  view.now = &look;
  if (rates)
    view_top(&view, &page);
  else
    view_status(&view, &page);
  page_fit(&page, view.width, view.height, view.height ? SPAN("footer") : SPAN(""), &out);
  page_free(&page);
  look_free(&look);
  return out;
}

static void has(const struct buf *text, const char *part) {
  if (!strstr(text->data, part)) fail_msg("\"%s\" is not in\n%s", part, text->data);
}

static void has_not(const struct buf *text, const char *part) {
  if (strstr(text->data, part)) fail_msg("\"%s\" is in\n%s", part, text->data);
}

// ---------------------------------------------------------------- tree

// "master1, worker 02." in the order of the rows, with their pids; old ones in parentheses, new ones in brackets, the last with a dot.
static void check_order(const char *document, enum tree_sort sort, const char *wanted) {
  struct look look = look_of(document);
  struct buf got = {NULL, 0, 0};
  unsigned count;
  struct tree_row *rows = tree_order(NULL, &look, sort, &count);
  for (unsigned i = 0; i < count; i++) {
    char name[40] = "?";
    if (rows[i].process) view__name(rows[i].process, name, sizeof name);
    buf_printf(&got, "%s%s%s%lld%s%s", i ? ", " : "",
               rows[i].age == TREE_OLD ? "("
               : rows[i].age           ? "["
                                       : "",
               rows[i].process ? name : "unlisted ", (long long)(rows[i].process ? rows[i].process->pid : rows[i].master_pid),
               rows[i].age == TREE_OLD ? ")"
               : rows[i].age           ? "]"
                                       : "",
               rows[i].last ? "." : "");
  }
  assert_string_equal(got.data, wanted);
  buf_free(&got);
  free(rows);
  look_free(&look);
}

static void shows_who_belongs_to_whom(void **state) {
  (void)state;
  check_order(quiet, SORT_TREE, "master20, dispatcher22, worker 023, worker 124.");
  // A reload: generation 3 is there, generation 2 drains. A worker that is recycled drains, too, but is not of an older generation.
  check_order(DOCUMENT(MASTER(20, "ready", 61) "," WORKER(0, 2, 23, "draining", "") "," WORKER(0, 3, 25, "ready", "") "," WORKER(
                           1, 3, 26, "draining", "") "," WORKER(1, 3, 27, "ready", ""),
                       ""),
              SORT_TREE, "master20, worker 025, (worker 023), worker 127, worker 126.");
  // While the next generation starts, nobody is old yet.
  check_order(DOCUMENT(MASTER(20, "ready", 61) "," WORKER(0, 2, 23, "ready", "") "," WORKER(0, 3, 25, "starting", ""), ""), SORT_TREE,
              "master20, worker 025, worker 023.");
}

static void shows_two_masters(void **state) {
  (void)state;
#define OF(pid) ",\"master_pid\":" #pid
  const char *upgrade =
      DOCUMENT(MASTER(20, "draining", 600) "," WORKER(0, 2, 23, "draining", OF(20)) "," MASTER(40, "ready", 5) "," WORKER(0, 3, 43, "ready",
                                                                                                                          OF(40)),
               "");
  check_order(upgrade, SORT_TREE, "master40, worker 043., (master20), (worker 023).");
  // Before the new one has taken over, the old one is in charge.
  check_order(DOCUMENT(MASTER(40, "starting", 1) "," WORKER(0, 3, 43, "starting",
                                                            OF(40)) "," MASTER(20, "ready", 600) "," WORKER(0, 2, 23, "ready", OF(20)),
                       ""),
              SORT_TREE, "master20, worker 023., [master40], [worker 043].");
  // Only the children of the other master are listed: of the one before, of the one to come.
  check_order(DOCUMENT(MASTER(40, "ready", 5) "," WORKER(0, 3, 43, "ready", OF(40)) "," WORKER(0, 2, 23, "draining", OF(20)), ""),
              SORT_TREE, "master40, worker 043., (unlisted 20), (worker 023).");
  check_order(DOCUMENT(WORKER(0, 3, 43, "ready", OF(40)) "," MASTER(20, "ready", 600) "," WORKER(0, 2, 23, "ready", OF(20)), ""), SORT_TREE,
              "master20, worker 023., [unlisted 40], [worker 043].");
  struct buf text = render(upgrade, (struct view){.utf8 = true}, false);
  has(&text, "master              40");
  has(&text, "\xE2\x94\x94\xE2\x94\x80 worker 0         43");
  has(&text, "master (old)        20");
  has(&text, "\xE2\x94\x94\xE2\x94\x80 worker 0 (old)   23  draining");
  buf_free(&text);
  text = render(upgrade, (struct view){.utf8 = false}, false);
  has(&text, "`- worker 0 (old)");
  buf_free(&text);
}

static void sorts_by_what_they_use(void **state) {
  (void)state;
  const char *document = DOCUMENT(
      MASTER(20, "ready", 61) "," WORKER(0, 2, 23, "ready", ",\"loop_lag_us\":5") "," WORKER(1, 2, 24, "ready", ",\"loop_lag_us\":50"), "");
  struct look look = look_of(document);
  unsigned count;
  struct tree_row *rows = tree_order(NULL, &look, SORT_LAG, &count);
  assert_int_equal(count, 3);
  assert_int_equal(rows[0].process->pid, 24);
  assert_int_equal(rows[1].process->pid, 23);
  free(rows);
  look_free(&look);
  struct buf text = render(document, (struct view){.sort = SORT_LAG}, true);
  has(&text, "\nworker 1 ");
  buf_free(&text);
}

// ---------------------------------------------------------------- notes

static void tells_what_is_wrong(void **state) {
  (void)state;
  struct buf text = render(quiet, (struct view){.sort = SORT_TREE}, false);
  has(&text, "wahookd 1.2  ready  up 00:01:01\n");
  has_not(&text, "!");
  buf_free(&text);
  text = render(
      DOCUMENT(MASTER(20, "ready", 61) "," WORKER(0, 2, 23, "ready", ",\"loop_lag_us\":812345") "," WORKER(
                   1, 2, 0, "backoff", ",\"deaths\":5,\"next_start_seconds\":3.2") ","
                                                                                   "{\"role\":\"dispatcher\",\"state\":\"ready\",\"pid\":"
                                                                                   "22,\"heartbeat_age_seconds\":7.3}",
               ",\"degraded\":\"no answers\",\"metrics\":{\"tenants_held\":2},"
               "\"reload\":{\"count\":4,\"outcome\":\"refused\",\"seconds_ago\":723,\"reasons\":[\"wahookd.conf:12: many\\u001b[2J\"]},"
               "\"upgrade\":{\"count\":1,\"outcome\":\"rolled back\",\"seconds_ago\":3,\"reasons\":[\"x\",\"y\"]}"),
      (struct view){.sort = SORT_TREE}, false);
  has(&text, "ready, degraded");
  has(&text, "! no answers\n");
  has(&text, "! worker 1 keeps dying: 5 deaths in a row, next try in 3.2 s; see the log\n");
  has(&text, "! worker 0 (pid 23) was late by 812ms");
  has(&text, "! dispatcher (pid 22) has not moved for 7.3 s\n");
  has(&text, "! 2 businesses are held (token or permission broken): wahookctl queue list\n");
  has(&text, "! the last reload was refused 12 min ago, the old configuration stays:\n    wahookd.conf:12: many?[2J\n");
  has(&text, "! the last upgrade was rolled back 3.0 s ago, the old program goes on:\n    x\n    y\n");
  buf_free(&text);
}

static void tells_it_once(void **state) {
  (void)state;
  struct buf text = render(DOCUMENT(WORKER(1, 2, 0, "backoff", ",\"deaths\":5"), ",\"degraded\":\"Worker 1 is in a crash loop\""),
                           (struct view){.sort = SORT_TREE}, false);
  has(&text, "ready, degraded");
  has(&text, "! worker 1 keeps dying: 5 deaths in a row; see the log\n");
  has_not(&text, "is in a crash loop");
  buf_free(&text);
}

static void tells_how_changes_went(void **state) {
  (void)state;
  struct buf text =
      render(DOCUMENT(MASTER(20, "ready", 61), ",\"reload\":{\"count\":2,\"outcome\":\"done\",\"generation\":3,\"seconds_ago\":45},"
                                               "\"upgrade\":{\"count\":1,\"outcome\":\"running\",\"seconds_ago\":2}"),
             (struct view){.sort = SORT_TREE}, false);
  has(&text, "- the last reload was done 45 s ago, generation 3\n- the upgrade has been running for 2.0 s\n");
  has_not(&text, "!");
  buf_free(&text);
  text = render(DOCUMENT(MASTER(20, "ready", 61), ",\"reload\":{\"count\":0}"), (struct view){.sort = SORT_TREE}, false);
  has_not(&text, "reload");
  buf_free(&text);
  text = render("{\"ready\":false,\"reason\":\"Dispatcher is not running\"}", (struct view){.sort = SORT_TREE}, false);
  has(&text, "wahookd   not ready  up 00:00:00\n");
  has(&text, "! not ready: Dispatcher is not running\n");
  buf_free(&text);
}

// ---------------------------------------------------------------- sizes

static void check_size(const struct buf *text, size_t width, size_t height) {
  struct span rest = buf_span(text), line;
  size_t lines = 0;
  while (rest.len && span_split(&rest, '\n', &line)) {
    lines++;
    if (width && text_width(line) > width) fail_msg("wider than %zu: %.*s", width, SPAN_FMT(line));
  }
  if (height && lines != height) fail_msg("%zu lines, not %zu:\n%s", lines, height, text->data);
}

static void fits_the_terminal(void **state) {
  (void)state;
  struct buf narrow = render(quiet, (struct view){.width = 80, .height = 24, .utf8 = true}, true);
  check_size(&narrow, 80, 24);
  has(&narrow, "REQ/S");
  has(&narrow, "STATE");
  has(&narrow, "worker 1");
  has(&narrow, "p99 ");
  has_not(&narrow, "REQUESTS"); // the first to give way
  has(&narrow, "\nfooter\n");
  struct buf wide = render(quiet, (struct view){.width = 200, .height = 24, .utf8 = true}, true);
  check_size(&wide, 200, 24);
  for (size_t i = 0; i < 5; i++)
    has(&wide, ((const char *[]){"REQUESTS", "BEAT", "GEN", "RESTARTS", "UPTIME"})[i]);
  const char *requests = strstr(wide.data, "\nrequests "), *traffic = strstr(wide.data, "traffic ");
  assert_true(requests && traffic && !memchr(requests + 1, '\n', (size_t)(traffic - requests - 1))); // two groups side by side
  buf_free(&narrow);
  buf_free(&wide);
  for (size_t width = 1; width < 250; width += 7)
    for (size_t height = 2; height < 40; height++) {
      struct buf text = render(quiet, (struct view){.width = width, .height = height, .utf8 = true}, true);
      check_size(&text, width, height);
      buf_free(&text);
    }
}

static void cuts_what_is_too_much(void **state) {
  (void)state;
  struct buf document = {NULL, 0, 0};
  buf_add_text(&document, "{\"ready\":true,\"processes\":[{\"role\":\"master\",\"pid\":1,\"state\":\"ready\"}");
  for (int i = 0; i < 64; i++)
    buf_printf(&document, ",{\"role\":\"worker\",\"ordinal\":%d,\"pid\":%d,\"state\":\"ready\"}", i, 100 + i);
  buf_add_text(&document, "],\"reload\":{\"outcome\":\"refused\",\"seconds_ago\":1,\"reasons\":[\"0\"");
  for (int i = 1; i < 50; i++)
    buf_printf(&document, ",\"%d\"", i);
  buf_add_text(&document, "]}}");
  struct buf text = render(document.data, (struct view){.width = 80, .height = 30}, true);
  check_size(&text, 80, 30);
  has(&text, "! the last reload was refused"); // stays
  has(&text, "worker 0 ");
  has(&text, " more\n");
  buf_free(&text);
  text = render(document.data, (struct view){.width = 0}, false); // no terminal: all of it, but for endless reasons
  has(&text, "worker 63");
  has(&text, "and 30 more\n");
  buf_free(&text);
  buf_free(&document);
}

static void styles_take_no_room(void **state) {
  (void)state;
  struct buf plain = render(quiet, (struct view){.width = 60, .height = 20}, true), styled;
  styled = render(quiet, (struct view){.width = 60, .height = 20, .styled = true}, true);
  struct buf stripped = {NULL, 0, 0};
  has_not(&plain, "\033");
  has(&styled, "\033[7mPROCESS");
  for (const char *p = styled.data; *p; p++) {
    if (*p == '\033')
      p = strchr(p, 'm');
    else
      buf_add_byte(&stripped, *p);
  }
  check_size(&stripped, 60, 20);
  assert_true(strncmp(stripped.data, plain.data, 200) == 0);
  buf_free(&plain);
  buf_free(&styled);
  buf_free(&stripped);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(shows_who_belongs_to_whom), cmocka_unit_test(shows_two_masters),     cmocka_unit_test(sorts_by_what_they_use),
      cmocka_unit_test(tells_what_is_wrong),       cmocka_unit_test(tells_it_once),         cmocka_unit_test(tells_how_changes_went),
      cmocka_unit_test(fits_the_terminal),         cmocka_unit_test(cuts_what_is_too_much), cmocka_unit_test(styles_take_no_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
