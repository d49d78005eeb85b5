// The daemon's processes as a table: a tree, or sorted by what they use. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------- cells

static struct figure figure_text(const char *text) {
  struct figure f;
  snprintf(f.text, sizeof f.text, "%s", text);
  return f;
}

static struct figure figure_whole(int64_t n) {
  struct figure f;
  snprintf(f.text, sizeof f.text, "%lld", (long long)n);
  return f;
}

static struct figure name(const struct view *view, const struct tree_row *row) {
  static const char *const ages[] = {[TREE_NOW] = "", [TREE_OLD] = " (old)", [TREE_NEW] = " (new)"};
  char text[40] = "master";
  struct figure f;
  if (row->process) view__name(row->process, text, sizeof text);
  const char *branch = "";
  if (!row->master && view->sort == SORT_TREE)
    branch = view->utf8 ? (row->last ? "\xE2\x94\x94\xE2\x94\x80 " : "\xE2\x94\x9C\xE2\x94\x80 ") : (row->last ? "`- " : "|- ");
  snprintf(f.text, sizeof f.text, "%s%.20s%s", branch, text, ages[row->age]);
  return f;
}

static struct figure pid(const struct view *view, const struct tree_row *row) {
  (void)view;
  int64_t number = row->process ? row->process->pid : row->master_pid;
  return number > 0 ? figure_whole(number) : figure_text("-");
}

// Of a process that is there; what its predecessor left in its place would mislead.
static const struct process *living(const struct tree_row *row) {
  return row->process && row->process->pid > 0 ? row->process : NULL;
}

static const struct process *worker(const struct tree_row *row) {
  return row->process && strcmp(row->process->role, "worker") == 0 ? row->process : NULL;
}

static struct figure state(const struct view *view, const struct tree_row *row) {
  (void)view;
  return figure_text(row->process ? row->process->state : "-");
}

static struct figure cpu(const struct view *view, const struct tree_row *row) {
  double share = row->process ? rate_cpu(view->before, view->now, row->process) : UNKNOWN;
  struct figure f = {"-"};
  if (share >= 0) snprintf(f.text, sizeof f.text, "%.*f", share < 0.9995 ? 1 : 0, 100 * share);
  return f;
}

static struct figure memory(const struct view *view, const struct tree_row *row) {
  (void)view;
  const struct process *p = living(row);
  return figure_bytes(p && p->rss_bytes > 0 ? (double)p->rss_bytes : UNKNOWN);
}

static struct figure connections(const struct view *view, const struct tree_row *row) {
  (void)view;
  return figure_count(worker(row) && living(row) ? (double)row->process->connections : UNKNOWN);
}

static struct figure request_rate(const struct view *view, const struct tree_row *row) {
  return figure_rate(worker(row) ? rate_requests(view->before, view->now, row->process) : UNKNOWN);
}

static struct figure requests(const struct view *view, const struct tree_row *row) {
  (void)view;
  return worker(row) ? figure_whole(row->process->requests) : figure_text("-");
}

static struct figure lag(const struct view *view, const struct tree_row *row) {
  (void)view;
  const struct process *p = living(row);
  return figure_us(p && !row->master ? (double)p->lag_us : UNKNOWN);
}

static struct figure heartbeat(const struct view *view, const struct tree_row *row) {
  (void)view;
  struct figure f = {"-"};
  const struct process *p = living(row);
  if (p && p->heartbeat_s >= 0) snprintf(f.text, sizeof f.text, "%.1fs", p->heartbeat_s);
  return f;
}

static struct figure restarts(const struct view *view, const struct tree_row *row) {
  (void)view;
  return row->process && !row->master ? figure_whole(row->process->restarts) : figure_text("-");
}

static struct figure generation(const struct view *view, const struct tree_row *row) {
  (void)view;
  return row->process && row->process->generation > 0 ? figure_whole(row->process->generation) : figure_text("-");
}

static struct figure uptime(const struct view *view, const struct tree_row *row) {
  (void)view;
  struct figure f = {"-"};
  const struct process *p = living(row);
  if (p && p->uptime_s >= 0) clock_format_span((int64_t)(p->uptime_s * 1e6), f.text, sizeof f.text);
  return f;
}

// ---------------------------------------------------------------- columns

enum { IN_STATUS = 1, IN_TOP = 2, IN_BOTH = 3 };

static const struct {
  struct rows_column column;
  struct rows_fit in_top; // status, which stands still, needs no widths
  struct figure (*cell)(const struct view *view, const struct tree_row *row);
  unsigned shown;
} columns[] = {
    {{"PROCESS", NULL, false}, {13, 0}, name, IN_BOTH},    {{"PID", NULL, true}, {6, 0}, pid, IN_BOTH},
    {{"STATE", NULL, false}, {8, 0}, state, IN_BOTH},      {{"CPU%", NULL, true}, {5, 1}, cpu, IN_TOP},
    {{"MEMORY", NULL, true}, {6, 2}, memory, IN_BOTH},     {{"CONN", NULL, true}, {5, 3}, connections, IN_BOTH},
    {{"REQ/S", NULL, true}, {7, 0}, request_rate, IN_TOP}, {{"REQUESTS", NULL, true}, {8, 1}, requests, IN_STATUS},
    {{"REQUESTS", NULL, true}, {10, 9}, requests, IN_TOP}, {{"LAG", NULL, true}, {5, 4}, lag, IN_BOTH},
    {{"BEAT", NULL, true}, {5, 8}, heartbeat, IN_BOTH},    {{"RESTARTS", NULL, true}, {8, 6}, restarts, IN_BOTH},
    {{"GEN", NULL, true}, {3, 7}, generation, IN_BOTH},    {{"UPTIME", NULL, true}, {8, 5}, uptime, IN_BOTH},
};

static enum style style_of(const struct tree_row *row) {
  const char *state_name = row->process ? row->process->state : "";
  if (strcmp(state_name, "backoff") == 0 || strcmp(state_name, "dead") == 0) return STYLE_BAD;
  if (row->age == TREE_OLD) return STYLE_DIM;
  return strcmp(state_name, "ready") == 0 ? STYLE_PLAIN : STYLE_WARN;
}

static void style_lines(const struct view *view, struct span table, const struct tree_row *rows, unsigned count, struct buf *out) {
  struct span line;
  for (unsigned i = 0; i <= count && span_split(&table, '\n', &line); i++) {
    enum style style = i == 0 ? STYLE_HEADING : style_of(&rows[i - 1]);
    size_t width = text_width(line);
    int pad = i == 0 && view->styled && view->width > width ? (int)(view->width - width) : 0; // the heading's bar is as wide as the screen
    buf_printf(out, "%s%.*s%*s%s\n", style ? view__style(view, style) : "", SPAN_FMT(line), pad, "",
               style ? view__style(view, STYLE_PLAIN) : "");
  }
}

void view__table(const struct view *view, bool rates, struct buf *out) {
  struct rows_column titles[COUNT_OF(columns)];
  struct rows_fit fit[COUNT_OF(columns)];
  unsigned which[COUNT_OF(columns)], shown = 0, count = 0;
  for (unsigned c = 0; c < COUNT_OF(columns); c++) {
    if (!(columns[c].shown & (rates ? IN_TOP : IN_STATUS))) continue;
    titles[shown] = columns[c].column;
    fit[shown] = (struct rows_fit){rates ? columns[c].in_top.width : 0, columns[c].in_top.spare};
    which[shown++] = c;
  }
  struct rows rows;
  struct buf table = {NULL, 0, 0};
  struct tree_row *order = tree_order(view->before, view->now, view->sort, &count);
  rows_begin(&rows, titles, shown, false);
  for (unsigned r = 0; r < count; r++)
    for (unsigned c = 0; c < shown; c++)
      rows_text(&rows, columns[which[c]].cell(view, &order[r]).text);
  rows_print(&rows, fit, view->width, &table);
  style_lines(view, buf_span(&table), order, count, out);
  buf_free(&table);
  free(order);
}
