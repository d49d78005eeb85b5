// wahookctl queue: what the dispatcher has to do, has done and has given up, straight from the spool. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <string.h>

static enum err open_view(const struct ctl *ctl, struct spool_view **out, struct why *why) {
  struct buf path = {NULL, 0, 0};
  buf_printf(&path, "%s/spool.db", ctl->config->server_state_dir);
  enum err e = spool_view_open(path.data, out, why);
  buf_free(&path);
  return e == ERR_NOT_FOUND ? ERR_UNAVAILABLE : e; // no spool is not the same as no such job
}

static const struct rows_column columns[] = {
    {"JOB", "id", true},     {"STATE", "state", false}, {"RECEIVED", "received", false},      {"ATTEMPTS", "attempts", true},
    {"NEXT", "next", false}, {NULL, "finished", false}, {"NUMBER", "phone_number_id", false}, {"USER", "user", false},
    {"TYPE", "type", false}, {NULL, "wamid", false},    {"REASON", "reason", false},
};

static void on_row(void *ctx, const struct spool_row *row) {
  struct rows *rows = ctx;
  rows_number(rows, row->id);
  rows_text(rows, spool_job_state_name(row->state));
  rows_time(rows, row->received_us);
  rows_number(rows, row->attempts);
  rows_time(rows, row->state == SPOOL_JOB_WAITING ? row->next_us : 0);
  rows_time(rows, row->finished_us);
  rows_text(rows, row->phone_number_id);
  rows_text(rows, row->user);
  rows_text(rows, row->type);
  rows_text(rows, row->wamid);
  rows_text(rows, row->reason);
}

static const struct {
  const char *flag;
  enum spool_job_state state;
} states[] = {{"--waiting", SPOOL_JOB_WAITING}, {"--dead", SPOOL_JOB_DEAD}, {"--done", SPOOL_JOB_DONE}, {"--skipped", SPOOL_JOB_SKIPPED}};

// Waiting and dead ones, unless flags choose others.
static bool wants(const struct ctl *ctl, size_t i) {
  bool chosen = false;
  for (size_t s = 0; s < COUNT_OF(states); s++)
    chosen |= ctl_flag(ctl, states[s].flag) != NULL;
  return chosen ? ctl_flag(ctl, states[i].flag) != NULL : i < 2;
}

bool queue_counts(const struct ctl *ctl, struct spool_view_counts *out) {
  struct spool_view *view = NULL;
  struct why why;
  if (open_view(ctl, &view, &why)) return false;
  bool ok = spool_view_count(view, out, &why) == ERR_OK;
  spool_view_close(view);
  return ok;
}

static void print_counts(struct spool_view *view) {
  struct spool_view_counts c;
  struct why why;
  if (spool_view_count(view, &c, &why)) return;
  printf("\n%llu waiting, %llu dead, %llu done, %llu skipped, %llu quarantined, %llu kept\n", (unsigned long long)c.waiting,
         (unsigned long long)c.dead, (unsigned long long)c.done, (unsigned long long)c.skipped, (unsigned long long)c.quarantined,
         (unsigned long long)c.kept);
}

int queue_list(struct ctl *ctl) {
  struct why why = {""};
  struct spool_view *view = NULL;
  struct rows rows;
  uint64_t max = 50;
  const char *max_text = ctl_flag(ctl, "--max"), *business = ctl_flag(ctl, "--business");
  if (max_text && (span_u64(span_of(max_text), &max) || max < 1 || max > 1000000)) {
    ctl_complain("--max takes a number from 1 to 1000000");
    return EX_USAGE;
  }
  enum err e = open_view(ctl, &view, &why);
  if (e) return ctl_fail(e, "queue list", &why);
  rows_begin(&rows, columns, COUNT_OF(columns), ctl->json);
  for (size_t i = 0; i < COUNT_OF(states) && !e; i++)
    if (wants(ctl, i)) e = spool_view_list(view, states[i].state, business ? business : "", (unsigned)max, on_row, &rows, &why);
  if (!e) {
    rows_finish(&rows, stdout, "no such jobs");
    if (!ctl->json) print_counts(view);
  } else {
    buf_free(&rows.out);
  }
  spool_view_close(view);
  return e ? ctl_fail(e, "queue list", &why) : EX_OK;
}

static bool job_number(const char *text, int64_t *job) {
  if (!span_i64(span_of(text), job) && *job > 0) return true;
  ctl_complain("\"%s\" is no job's number (wahookctl queue list shows them)", text);
  return false;
}

int queue_show(struct ctl *ctl) {
  struct why why = {""};
  struct spool_view *view = NULL;
  struct buf text = {NULL, 0, 0}, pretty = {NULL, 0, 0};
  struct json_writer w;
  struct arena arena;
  const struct json *document;
  int64_t job;
  if (!job_number(ctl_argument(ctl, 0), &job)) return EX_USAGE;
  arena_init(&arena, 65536, 0);
  json_start(&w, &text);
  json_open(&w, NULL, '{');
  enum err e = open_view(ctl, &view, &why);
  if (!e) e = spool_view_show(view, job, &w, &why);
  json_close(&w, '}');
  if (!e && !ctl->json) e = json_parse(&arena, buf_span(&text), NULL, &document, NULL);
  if (!e && !ctl->json) json_pretty(document, 0, &pretty);
  if (!e) printf("%s%s", ctl->json ? text.data : pretty.data, ctl->json ? "\n" : "");
  spool_view_close(view);
  arena_free(&arena);
  buf_free(&text);
  buf_free(&pretty);
  return e ? ctl_fail(e, ctl_argument(ctl, 0), &why) : EX_OK;
}

typedef enum err spool_change(struct spool_view *view, int64_t job, uint64_t *changed, struct why *why);

static int change(struct ctl *ctl, spool_change *how, const char *done) {
  struct why why = {""};
  struct spool_view *view = NULL;
  const char *text = ctl_argument(ctl, 0);
  bool all = ctl_flag(ctl, "--all-dead") != NULL;
  int64_t job = 0;
  uint64_t changed = 0;
  if (all == (text != NULL)) {
    ctl_complain("name one job, or --all-dead");
    return EX_USAGE;
  }
  if (text && !job_number(text, &job)) return EX_USAGE;
  enum err e = open_view(ctl, &view, &why);
  if (!e) e = how(view, job, &changed, &why);
  spool_view_close(view);
  if (!e && !all && !changed) {
    why_set(&why, "no dead or waiting job has this number");
    e = ERR_NOT_FOUND;
  }
  if (e) return ctl_fail(e, text ? text : "queue", &why);
  if (ctl->json)
    printf("{\"%s\":%llu}\n", done, (unsigned long long)changed);
  else
    printf("%llu %s\n", (unsigned long long)changed, done);
  return EX_OK;
}

int queue_retry(struct ctl *ctl) {
  return change(ctl, spool_view_retry, "retried");
}

int queue_drop(struct ctl *ctl) {
  return change(ctl, spool_view_drop, "dropped");
}
