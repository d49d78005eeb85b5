// wahookctl top: the picture of status again and again, with rates; on a terminal as a screen, otherwise as blocks. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <stdlib.h>
#include <string.h>

#define INTERVAL_MIN_US 100000
#define INTERVAL_MAX_US 3600000000
#define PATIENCE_MS     3000
#define FIRST_RATES_US  250000
#define ROWS_OTHERWISE  24 // of a terminal that does not tell
#define COLS_OTHERWISE  80

struct top {
  const struct ctl *ctl;
  int64_t interval_us;
  uint64_t count, taken; // looks; count 0: no end
  struct look looks[2];  // looks[0]: the last one that succeeded, looks[1]: the one before it
  unsigned look_count;
  struct spool_view_counts queue;
  bool queue_known;
  int64_t away_since_us; // 0: it answers
  enum err error;        // why it does not
  struct why why;
  struct view view;
  bool screen, paused;
  struct terminal terminal;
};

// ---------------------------------------------------------------- looking

static void keep(struct top *top, const struct look *look) {
  if (top->look_count == 2) look_free(&top->looks[1]);
  top->looks[1] = top->looks[0];
  top->looks[0] = *look;
  if (top->look_count < 2) top->look_count++;
}

// False when a key or a signal came first.
static bool take(struct top *top) {
  struct look look;
  struct ctl_wait wait = {.timeout_ms = PATIENCE_MS,
                          .also = top->terminal.polled,
                          .also_count = top->screen ? top->terminal.polled_count : 0};
  enum err e = look_take(top->ctl, !top->ctl->json, &wait, &look, &top->why);
  if (e == ERR_CANCELED) return false;
  top->error = e;
  if (e) {
    if (!top->away_since_us) top->away_since_us = clock_mono_us();
    return true;
  }
  top->away_since_us = 0;
  keep(top, &look);
  if (!top->ctl->json) top->queue_known = queue_counts(top->ctl, &top->queue);
  return true;
}

// ---------------------------------------------------------------- showing

static void away_page(const struct top *top, struct page *page) {
  const struct view *view = &top->view;
  *page = (struct page){{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
  const char *bad = view__style(view, STYLE_BAD), *plain = view__style(view, STYLE_PLAIN), *hint = look_hint(top->error);
  double away_s = (double)(clock_mono_us() - top->away_since_us) / 1e6;
  buf_printf(&page->head, "%swahookd%s  %sdoes not answer%s for %s\n\n", view__style(view, STYLE_BOLD), plain, bad, plain,
             figure_age(away_s).text);
  text_clean(span_of(*top->why.text ? top->why.text : err_text(top->error)), &page->head);
  buf_printf(&page->head, "\n%s%s", hint, *hint ? "\n" : "");
}

static void add_footer(const struct top *top, struct buf *out) {
  const struct view *view = &top->view;
  const char *bold = view__style(view, STYLE_BOLD), *plain = view__style(view, STYLE_PLAIN);
  buf_printf(out, "%sq%s quit   %sspace%s %s   %ss%s sort: %s   every %g s", bold, plain, bold, plain, top->paused ? "go on" : "pause",
             bold, plain, tree_sort_name(view->sort), (double)top->interval_us / 1e6);
  if (top->paused) buf_printf(out, "   %spaused%s", view__style(view, STYLE_HEADING), plain);
}

static void show_json(const struct top *top) {
  if (top->away_since_us)
    ctl_complain("top: %s", *top->why.text ? top->why.text : err_text(top->error));
  else
    printf("%.*s\n", SPAN_FMT(buf_span(&top->looks[0].text)));
}

static void show(struct top *top) {
  struct page page;
  struct buf footer = {NULL, 0, 0}, out = {NULL, 0, 0};
  struct view *view = &top->view;
  view_terminal(view);
  if (top->screen && !view->width) view->width = COLS_OTHERWISE;
  if (top->screen && !view->height) view->height = ROWS_OTHERWISE;
  view->now = &top->looks[0];
  view->before = top->look_count > 1 ? &top->looks[1] : NULL;
  view->queue = top->queue_known ? &top->queue : NULL;
  if (top->away_since_us)
    away_page(top, &page);
  else
    view_top(view, &page);
  if (top->screen) add_footer(top, &footer);
  page_fit(&page, top->screen ? view->width : 0, top->screen ? view->height : 0, buf_span(&footer), &out);
  if (top->screen)
    terminal_draw(buf_span(&out));
  else
    printf("%s%.*s", top->taken ? "\n" : "", SPAN_FMT(buf_span(&out)));
  buf_free(&footer);
  buf_free(&out);
  page_free(&page);
}

// ---------------------------------------------------------------- waiting

// False when the end is asked for.
static bool obey(struct top *top, enum terminal_event event, char key) {
  if (event == TERMINAL_END || (event == TERMINAL_KEY && (key == 'q' || key == 'Q'))) return false;
  if (event == TERMINAL_TIME || (!top->look_count && !top->away_since_us)) return true; // nothing to show yet
  if (event == TERMINAL_KEY && key == ' ')
    top->paused = !top->paused;
  else if (event == TERMINAL_KEY && key == 's')
    top->view.sort = (top->view.sort + 1) % SORT_COUNT;
  show(top);
  return true;
}

static bool wait_until(struct top *top, int64_t due_us) {
  int64_t left_us = due_us - clock_mono_us();
  int left_ms = left_us > 0 ? (int)((left_us + 999) / 1000) : 0;
  char key = 0;
  if (top->screen) {
    enum terminal_event event = terminal_wait(&top->terminal, top->paused ? -1 : left_ms, &key);
    return obey(top, event, key);
  }
  poll(NULL, 0, left_ms);
  return true;
}

static void run(struct top *top) {
  int64_t due_us = clock_mono_us();
  do {
    if (top->paused || clock_mono_us() < due_us || !take(top)) continue;
    if (top->error == ERR_DENIED && !top->look_count) return; // asking again would not help
    if (top->ctl->json)
      show_json(top);
    else
      show(top);
    top->taken++;
    if (fflush(stdout) || top->taken == top->count) return;
    // The first rates need a second look: soon, since somebody waits for them.
    due_us += top->screen && top->taken == 1 && top->interval_us > FIRST_RATES_US ? FIRST_RATES_US : top->interval_us;
    if (due_us < clock_mono_us()) due_us = clock_mono_us(); // what was missed is not made up for
  } while (wait_until(top, due_us));
}

// ---------------------------------------------------------------- the verb

// "0.2", "500ms", "2s".
static bool read_interval(const char *text, int64_t *out_us) {
  char *end;
  int64_t ms = 0;
  double seconds = strtod(text, &end);
  *out_us = !config_parse_duration(span_of(text), &ms) ? (ms < INTERVAL_MAX_US / 1000 ? ms * 1000 : -1)
            : *text && !*end && seconds < 1e6          ? (int64_t)(seconds * 1e6 + 0.5)
                                                       : -1;
  return *out_us >= INTERVAL_MIN_US && *out_us <= INTERVAL_MAX_US;
}

// Whoever asked for so many looks gets the status of the last one.
static int finish(struct top *top, bool counted) {
  int status = top->error == ERR_DENIED && !top->look_count ? ctl_fail(top->error, "top", &top->why)
               : !counted                                   ? EX_OK
               : top->error                                 ? ctl_exit_status(top->error)
               : top->looks[0].ready                        ? EX_OK
                                                            : CTL_EXIT_NO;
  for (unsigned i = 0; i < top->look_count; i++)
    look_free(&top->looks[i]);
  if (top->screen && top->terminal.ended_by && top->terminal.ended_by != SIGINT) raise(top->terminal.ended_by);
  return status;
}

int top_run(struct ctl *ctl) {
  struct top top = {.ctl = ctl, .interval_us = 1000000};
  const char *interval = ctl_flag(ctl, "--interval"), *count = ctl_flag(ctl, "--count");
  struct why why = {""};
  if (interval && !read_interval(interval, &top.interval_us)) {
    ctl_complain("--interval takes seconds from 0.1 to 3600, not \"%s\"", interval);
    return EX_USAGE;
  }
  if (count && (span_u64(span_of(count), &top.count) || !top.count)) {
    ctl_complain("--count takes a number from 1, not \"%s\"", count);
    return EX_USAGE;
  }
  top.screen = view_terminal(&top.view) && !ctl->json;
  enum err e = top.screen ? terminal_open(&top.terminal, &why) : ERR_OK;
  if (e) return ctl_fail(e, "top", &why);
  run(&top);
  if (top.screen) terminal_close(&top.terminal);
  return finish(&top, top.count && top.taken == top.count);
}
