// The head of the picture that status and top show: a title, then totals or rates. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <string.h>

const char *view__style(const struct view *view, enum style style) {
  static const char *const styles[] = {
      [STYLE_PLAIN] = "\033[0m", [STYLE_BOLD] = "\033[1m",   [STYLE_DIM] = "\033[2m",    [STYLE_GOOD] = "\033[1;32m",
      [STYLE_WARN] = "\033[33m", [STYLE_BAD] = "\033[1;31m", [STYLE_HEADING] = "\033[7m"};
  return view->styled ? styles[style] : "";
}

void view__name(const struct process *process, char *out, size_t out_size) {
  if (strcmp(process->role, "worker") == 0)
    snprintf(out, out_size, "worker %lld", (long long)process->ordinal);
  else
    snprintf(out, out_size, "%s", process->role);
}

// ---------------------------------------------------------------- title

static void add_title(const struct view *view, const char *time, struct buf *out) {
  const struct json *document = view->now->document;
  bool degraded = json_get_text(document, "degraded").len > 0;
  char uptime[48];
  clock_format_span((int64_t)(json_double(json_get(document, "uptime_seconds"), 0) * 1e6), uptime, sizeof uptime);
  buf_printf(out, "%swahookd ", view__style(view, STYLE_BOLD));
  text_clean(json_get_text(document, "version"), out);
  buf_printf(out, "%s  %s", view__style(view, STYLE_PLAIN),
             view__style(view, !view->now->ready ? STYLE_BAD
                               : degraded        ? STYLE_WARN
                                                 : STYLE_GOOD));
  buf_add_text(out, !view->now->ready ? "not ready" : degraded ? "ready, degraded" : "ready");
  buf_printf(out, "%s  up %s%s%s\n", view__style(view, STYLE_PLAIN), uptime, *time ? "  " : "", time);
}

// ---------------------------------------------------------------- head of status: totals

// The spool knows also what a dispatcher that has just started has not counted yet.
static double jobs_waiting(const struct view *view, unsigned unused) {
  (void)unused;
  return view->queue ? (double)view->queue->waiting : view->now->totals[TOTAL_WAITING];
}

static void add_queue(const struct view *view, struct buf *out) {
  const double *totals = view->now->totals;
  buf_printf(out, "queue    %s waiting, %s in work", figure_count(jobs_waiting(view, 0)).text, figure_count(totals[TOTAL_WORKING]).text);
  if (view->queue)
    buf_printf(out, ", %s%llu dead%s, %llu quarantined", view->queue->dead ? view__style(view, STYLE_WARN) : "",
               (unsigned long long)view->queue->dead, view__style(view, STYLE_PLAIN), (unsigned long long)view->queue->quarantined);
  buf_add_byte(out, '\n');
}

void view__status_head(const struct view *view, struct buf *out) {
  const struct json *cache = json_get(view->now->document, "cache");
  const double *totals = view->now->totals;
  add_title(view, "", out);
  buf_printf(out, "cache    %s of %s businesses, hit rate %.1f %%\n", figure_count(json_double(json_get(cache, "size"), UNKNOWN)).text,
             figure_count(json_double(json_get(cache, "max_size"), UNKNOWN)).text, 100 * json_double(json_get(cache, "hit_rate"), 0));
  add_queue(view, out);
  buf_printf(out, "journal  %s not taken over yet, %s events in all, %s commits\n", figure_bytes(totals[TOTAL_BACKLOG]).text,
             figure_count(totals[TOTAL_EVENTS]).text, figure_count(totals[TOTAL_COMMITS]).text);
}

// ---------------------------------------------------------------- head of top: rates

static double per_second(const struct view *view, unsigned total) {
  return rate_of(view->before, view->now, total);
}

static double now_is(const struct view *view, unsigned total) {
  return view->now->totals[total];
}

static double p99(const struct view *view, unsigned spread) {
  return rate_quantile_us(view->before, view->now, spread, 0.99);
}

static double failed_sends(const struct view *view, unsigned unused) {
  (void)unused;
  double all = per_second(view, TOTAL_GRAPH), sent = per_second(view, TOTAL_SENT);
  return all >= 0 && sent >= 0 && all >= sent ? all - sent : UNKNOWN;
}

static double dead_letters(const struct view *view, unsigned unused) {
  (void)unused;
  return view->queue ? (double)view->queue->dead : UNKNOWN;
}

// Lines of four; what should be nothing has a style for when it is not.
static const struct cell {
  const char *line, *name;
  double (*value)(const struct view *view, unsigned which);
  unsigned which;
  struct figure (*figure)(double n);
  const char *unit;
  enum style style;
} cells[] = {
    {"requests", "all", per_second, TOTAL_REQUESTS, figure_rate, "/s", STYLE_PLAIN},
    {"requests", "2xx", per_second, TOTAL_2XX, figure_rate, "/s", STYLE_PLAIN},
    {"requests", "4xx", per_second, TOTAL_4XX, figure_rate, "/s", STYLE_WARN},
    {"requests", "5xx", per_second, TOTAL_5XX, figure_rate, "/s", STYLE_BAD},
    {"traffic", "in", per_second, TOTAL_BYTES_IN, figure_bytes, "/s", STYLE_PLAIN},
    {"traffic", "out", per_second, TOTAL_BYTES_OUT, figure_bytes, "/s", STYLE_PLAIN},
    {"traffic", "open", now_is, TOTAL_CONNECTIONS, figure_count, "", STYLE_PLAIN},
    {"traffic", "timeouts", per_second, TOTAL_TIMEOUTS, figure_rate, "/s", STYLE_WARN},
    {"events", "all", per_second, TOTAL_EVENTS, figure_rate, "/s", STYLE_PLAIN},
    {"events", "ingested", per_second, TOTAL_INGESTED, figure_rate, "/s", STYLE_PLAIN},
    {"events", "repeated", per_second, TOTAL_DUPLICATES, figure_rate, "/s", STYLE_PLAIN},
    {"events", "unknown", per_second, TOTAL_NO_BUSINESS, figure_rate, "/s", STYLE_WARN},
    {"journal", "commits", per_second, TOTAL_COMMITS, figure_rate, "/s", STYLE_PLAIN},
    {"journal", "written", per_second, TOTAL_INTAKE_BYTES, figure_bytes, "/s", STYLE_PLAIN},
    {"journal", "backlog", now_is, TOTAL_BACKLOG, figure_bytes, "", STYLE_PLAIN},
    {"journal", "refused", per_second, TOTAL_NOT_STORED, figure_rate, "/s", STYLE_BAD},
    {"answers", "sent", per_second, TOTAL_SENT, figure_rate, "/s", STYLE_PLAIN},
    {"answers", "failed", failed_sends, 0, figure_rate, "/s", STYLE_WARN},
    {"answers", "retried", per_second, TOTAL_RETRIES, figure_rate, "/s", STYLE_WARN},
    {"answers", "given up", per_second, TOTAL_DEAD, figure_rate, "/s", STYLE_BAD},
    {"queue", "waiting", jobs_waiting, 0, figure_count, "", STYLE_PLAIN},
    {"queue", "in work", now_is, TOTAL_WORKING, figure_count, "", STYLE_PLAIN},
    {"queue", "held", now_is, TOTAL_HELD, figure_count, "", STYLE_WARN},
    {"queue", "dead", dead_letters, 0, figure_count, "", STYLE_WARN},
    {"cache", "hits", per_second, TOTAL_HITS, figure_rate, "/s", STYLE_PLAIN},
    {"cache", "misses", per_second, TOTAL_MISSES, figure_rate, "/s", STYLE_PLAIN},
    {"cache", "stale", per_second, TOTAL_STALE, figure_rate, "/s", STYLE_WARN},
    {"cache", "errors", per_second, TOTAL_STORE_ERRORS, figure_rate, "/s", STYLE_BAD},
    {"p99", "request", p99, SPREAD_REQUEST, figure_us, "", STYLE_PLAIN},
    {"p99", "commit", p99, SPREAD_COMMIT, figure_us, "", STYLE_PLAIN},
    {"p99", "responder", p99, SPREAD_RESPONDER, figure_us, "", STYLE_PLAIN},
    {"p99", "graph", p99, SPREAD_GRAPH, figure_us, "", STYLE_PLAIN},
};
enum { PER_LINE = 4, LINE_WIDTH = 77, LINE_GAP = 4 };

static void add_cell(const struct view *view, const struct cell *cell, int width, struct buf *out) {
  double n = cell->value(view, cell->which);
  char value[64];
  snprintf(value, sizeof value, "%s%s", cell->figure(n).text, n < 0 ? "" : cell->unit);
  enum style style = cell->style != STYLE_PLAIN && n > 0 ? cell->style : STYLE_PLAIN;
  buf_printf(out, "%s%7s%s %s%-*s%s", style ? view__style(view, style) : "", value, style ? view__style(view, STYLE_PLAIN) : "",
             view__style(view, STYLE_DIM), width, cell->name, view__style(view, STYLE_PLAIN));
}

void view__top_head(const struct view *view, struct buf *out) {
  char time[25];
  clock_format_iso((int64_t)(json_double(json_get(view->now->document, "timestamp"), 0) * 1e6), time);
  memcpy(time + 19, "Z", 2); // nobody reads the milliseconds
  time[10] = ' ';
  add_title(view, time, out);
  unsigned lines = view->width >= LINE_WIDTH * 2 + LINE_GAP ? 2 : 1; // side by side
  for (unsigned i = 0; i < COUNT_OF(cells); i++) {
    bool first = i % PER_LINE == 0, last = (i + 1) % (PER_LINE * lines) == 0 || i + 1 == COUNT_OF(cells);
    if (first) buf_printf(out, "%s%-9s%s", view__style(view, STYLE_BOLD), cells[i].line, view__style(view, STYLE_PLAIN));
    add_cell(view, &cells[i], last ? 0 : (i + 1) % PER_LINE ? 9 : 9 + LINE_GAP, out);
    if (last) buf_add_byte(out, '\n');
  }
}
