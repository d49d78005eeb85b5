// What an operator has to know besides the figures: crash loops, hanging loops, the outcome of a reload or an upgrade. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <string.h>

// A loop turns at least four times a second; one that does not is hanging, and is killed after server.timeout.
#define STILL_S      2.0
#define LATE_US      200000
#define REASONS_MAX  20
#define FIRST_DEATHS 2 // the first death after a good life is no loop

static void note(const struct view *view, struct buf *out, enum style style, const char *mark, const char *fmt, ...) PRINTF_LIKE(5, 6);
static void note(const struct view *view, struct buf *out, enum style style, const char *mark, const char *fmt, ...) {
  struct buf text = {NULL, 0, 0};
  va_list ap;
  va_start(ap, fmt);
  buf_vprintf(&text, fmt, ap);
  va_end(ap);
  buf_printf(out, "%s%s ", view__style(view, style), mark);
  text_clean(buf_span(&text), out); // it may quote a configuration, and that anything
  buf_printf(out, "%s\n", view__style(view, STYLE_PLAIN));
  buf_free(&text);
}

#define WARN(style, ...) note(view, out, (style), "!", __VA_ARGS__)
#define TELL(...)        note(view, out, STYLE_PLAIN, "-", __VA_ARGS__)

// ---------------------------------------------------------------- processes

static bool is_in(const struct process *p, const char *state) {
  return strcmp(p->state, state) == 0;
}

static void note_deaths(const struct view *view, const struct process *p, const char *name, struct buf *out) {
  bool waits = is_in(p, "backoff");
  if (!waits && !(is_in(p, "starting") && p->deaths >= FIRST_DEATHS)) return;
  struct buf text = {NULL, 0, 0};
  if (p->deaths > 0) buf_printf(&text, ": %lld death%s in a row", (long long)p->deaths, p->deaths == 1 ? "" : "s");
  if (!waits)
    buf_add_text(&text, ", it is started again now");
  else if (p->next_start_s >= 0)
    buf_printf(&text, ", next try in %s", figure_age(p->next_start_s).text);
  WARN(STYLE_BAD, "%s keeps dying%s; see the log", name, text.data ? text.data : "");
  buf_free(&text);
}

static void note_process(const struct view *view, const struct process *p, struct buf *out) {
  char name[40];
  view__name(p, name, sizeof name);
  note_deaths(view, p, name, out);
  if (p->pid <= 0) return;
  if (p->heartbeat_s >= STILL_S)
    WARN(STYLE_BAD, "%s (pid %lld) has not moved for %s", name, (long long)p->pid, figure_age(p->heartbeat_s).text);
  else if (p->lag_us >= LATE_US)
    WARN(STYLE_WARN, "%s (pid %lld) was late by %s: it has more to do than it can", name, (long long)p->pid,
         figure_us((double)p->lag_us).text);
}

// ---------------------------------------------------------------- the last reload, the last upgrade

static void note_reasons(const struct view *view, const struct json *change, struct buf *out) {
  const struct json *reasons = json_get(change, "reasons");
  unsigned count = 0;
  for (const struct json *r = reasons ? reasons->child : NULL; r; r = r->next) {
    if (count++ == REASONS_MAX) {
      note(view, out, STYLE_PLAIN, "   ", "and %u more", reasons->count - REASONS_MAX);
      return;
    }
    note(view, out, STYLE_PLAIN, "   ", "%.*s", SPAN_FMT(json_text(r)));
  }
}

static void note_change(const struct view *view, const char *what, const char *stays, struct buf *out) {
  const struct json *change = json_get(view->now->document, what);
  struct span outcome = json_get_text(change, "outcome");
  if (!outcome.len) return; // there was none
  struct figure ago = figure_age(json_double(json_get(change, "seconds_ago"), UNKNOWN));
  int64_t generation = json_i64(json_get(change, "generation"), 0);
  struct buf which = {NULL, 0, 0};
  if (generation > 0) buf_printf(&which, ", generation %lld", (long long)generation);
  const char *suffix = which.data ? which.data : "";
  if (span_eq(outcome, SPAN("done")))
    TELL("the last %s was done %s ago%s", what, ago.text, suffix);
  else if (span_eq(outcome, SPAN("running")))
    TELL("the %s has been running for %s%s", what, ago.text, suffix);
  else
    WARN(STYLE_WARN, "the last %s was %.*s %s ago, %s%s", what, SPAN_FMT(outcome), ago.text, stays,
         json_path(change, "reasons.0") ? ":" : "; the log says why");
  note_reasons(view, change, out);
  buf_free(&which);
}

// ---------------------------------------------------------------- all

// What the daemon itself says is wrong; of crash loops, there is a line for each already.
static void note_condition(const struct view *view, struct buf *out) {
  static const char loop[] = "crash loop";
  struct span reason = json_get_text(view->now->document, "reason"), degraded = json_get_text(view->now->document, "degraded");
  if (reason.len && !memmem(reason.ptr, reason.len, loop, strlen(loop))) WARN(STYLE_BAD, "not ready: %.*s", SPAN_FMT(reason));
  if (degraded.len && !memmem(degraded.ptr, degraded.len, loop, strlen(loop))) WARN(STYLE_WARN, "%.*s", SPAN_FMT(degraded));
}

void view__notes(const struct view *view, struct buf *out) {
  const struct look *now = view->now;
  double held = now->totals[TOTAL_HELD];
  for (unsigned i = 0; i < now->process_count; i++)
    note_process(view, &now->processes[i], out);
  note_condition(view, out);
  if (held > 0)
    WARN(STYLE_WARN, "%.0f business%s held (token or permission broken): wahookctl queue list", held, held > 1 ? "es are" : " is");
  note_change(view, "reload", "the old configuration stays", out);
  note_change(view, "upgrade", "the old program goes on", out);
}
