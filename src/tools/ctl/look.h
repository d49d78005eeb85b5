// Shared by status and top: one look at the daemon, what happened between two looks, and the lines that a person reads.
#ifndef WAHOOK_CTL_LOOK_H
#define WAHOOK_CTL_LOOK_H

#include <signal.h>
#include <termios.h>

#include "tools/ctl/ctl.h"
#include "wahook/spool.h"

#define UNKNOWN (-1.0) // of a figure that the daemon does not tell, or that cannot be known yet

// ---------------------------------------------------------------- look.c: the daemon's documents as figures

// Sums of the daemon's counters and gauges; the table in look.c says where they stand.
enum total {
  TOTAL_REQUESTS,
  TOTAL_2XX,
  TOTAL_4XX,
  TOTAL_5XX,
  TOTAL_BYTES_IN,
  TOTAL_BYTES_OUT,
  TOTAL_CONNECTIONS,
  TOTAL_TIMEOUTS,
  TOTAL_EVENTS,
  TOTAL_INGESTED,
  TOTAL_DUPLICATES,
  TOTAL_NO_BUSINESS,
  TOTAL_COMMITS,
  TOTAL_INTAKE_BYTES,
  TOTAL_BACKLOG,
  TOTAL_NOT_STORED,
  TOTAL_GRAPH,
  TOTAL_SENT,
  TOTAL_RETRIES,
  TOTAL_DEAD,
  TOTAL_WAITING,
  TOTAL_WORKING,
  TOTAL_HELD,
  TOTAL_HITS,
  TOTAL_MISSES,
  TOTAL_STALE,
  TOTAL_STORE_ERRORS,
  TOTAL_COUNT
};

enum spread { SPREAD_REQUEST, SPREAD_COMMIT, SPREAD_RESPONDER, SPREAD_GRAPH, SPREAD_COUNT };

// A histogram as Prometheus reads it: so many observations took at most le_us.
struct buckets {
  unsigned count;
  double le_us[40], seen[40];
};

struct process {
  char role[16], state[16];
  int64_t ordinal, generation, pid, master_pid, restarts, deaths, connections, requests, rss_bytes, lag_us;
  double uptime_s, heartbeat_s, next_start_s, cpu_s; // UNKNOWN where there is none
};

struct look {
  struct arena arena;
  struct buf text; // the document as it came
  const struct json *document;
  int64_t at_us; // monotonic
  bool ready;
  double totals[TOTAL_COUNT];
  struct buckets spreads[SPREAD_COUNT];
  struct process *processes;
  unsigned process_count;
};

// Asks the daemon. With spreads: the histograms, too, which is a second question.
enum err look_take(const struct ctl *ctl, bool spreads, const struct ctl_wait *wait, struct look *out, struct why *why) MUST_CHECK;
// What it may mean that the daemon does not answer; "" when the reason itself says it all.
const char *look_hint(enum err e);
void look_free(struct look *look);
// Pure: a document (copied), and the page for Prometheus. What is missing is UNKNOWN.
enum err look_read(struct look *look, struct span document, int64_t at_us) MUST_CHECK;
void look_read_spreads(struct look *look, struct span page);

// ---------------------------------------------------------------- rates.c: pure; UNKNOWN without an earlier look at the same daemon

double rate_of(const struct look *before, const struct look *now, enum total total);
double rate_requests(const struct look *before, const struct look *now, const struct process *process);
double rate_cpu(const struct look *before, const struct look *now, const struct process *process); // 1.0: one core
double rate_quantile_us(const struct look *before, const struct look *now, enum spread spread, double q);

// ---------------------------------------------------------------- tree.c: pure; who belongs to whom

enum tree_sort { SORT_TREE, SORT_REQUESTS, SORT_CPU, SORT_MEMORY, SORT_LAG, SORT_COUNT };
const char *tree_sort_name(enum tree_sort sort);

// TREE_OLD: of an older generation, or of the master before an upgrade; TREE_NEW: of the one that an upgrade brings.
enum tree_age { TREE_NOW, TREE_OLD, TREE_NEW };
struct tree_row {
  const struct process *process; // NULL: a master that is not listed, but whose children are
  int64_t master_pid;
  bool master, last; // last of its master's children
  enum tree_age age;
  double value; // what it is sorted by, the most first
};
// One row for each process and each master that is not listed: the master in charge first. The caller frees it.
struct tree_row *tree_order(const struct look *before, const struct look *now, enum tree_sort sort, unsigned *count);

// ---------------------------------------------------------------- head.c, notes.c, table.c, page.c: the lines

struct view {
  const struct look *before, *now;       // before: NULL, or the look before this one
  const struct spool_view_counts *queue; // NULL: not known
  enum tree_sort sort;
  size_t width, height; // of the terminal, 0: no limit
  bool styled;          // SGR sequences
  bool utf8;
};
struct page {
  struct buf head, notes, table;
};
void view_status(const struct view *view, struct page *page); // totals
void view_top(const struct view *view, struct page *page);    // rates
void page_free(struct page *page);
// All of it; within a width and a height, unless 0, cut where there is the least to lose, with the footer as the last line.
void page_fit(const struct page *page, size_t width, size_t height, struct span footer, struct buf *out);

enum style { STYLE_PLAIN, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD, STYLE_HEADING };
const char *view__style(const struct view *view, enum style style); // "" without styles
void view__status_head(const struct view *view, struct buf *out);
void view__top_head(const struct view *view, struct buf *out);
// What an operator has to know besides the figures: one line each, reasons indented below.
void view__notes(const struct view *view, struct buf *out);
void view__table(const struct view *view, bool rates, struct buf *out);
void view__name(const struct process *process, char *out, size_t out_size); // "worker 3"
// queue.c: the jobs as the spool counts them; false when it cannot be read.
bool queue_counts(const struct ctl *ctl, struct spool_view_counts *out);

// ---------------------------------------------------------------- terminal.c

// What our output is: true for a terminal that moves its cursor; how large it is, what it can show.
bool view_terminal(struct view *view);

// The terminal as a screen: its own page, no cursor, keys at once. All is as before after terminal_close.
struct terminal {
  struct termios before;
  sigset_t mask;
  struct pollfd polled[2]; // signals, keys
  unsigned polled_count;
  int ended_by; // the signal that asked for the end, 0: none
  bool entered;
};
enum terminal_event { TERMINAL_TIME, TERMINAL_KEY, TERMINAL_REDRAW, TERMINAL_END };
enum err terminal_open(struct terminal *terminal, struct why *why) MUST_CHECK;
void terminal_close(struct terminal *terminal);
enum terminal_event terminal_wait(struct terminal *terminal, int timeout_ms, char *key); // -1: for ever
void terminal_draw(struct span page);                                                    // as many lines as it has

// ---------------------------------------------------------------- figures.c: pure; "-" for UNKNOWN

struct figure {
  char text[48];
};
struct figure figure_count(double n);     // 1234, 123k
struct figure figure_rate(double n);      // 0.4, 1234, 123k
struct figure figure_bytes(double n);     // 812B, 1.2M
struct figure figure_us(double us);       // 87us, 1.2ms
struct figure figure_age(double seconds); // 3.2 s, 5 min, 3 h

#endif
