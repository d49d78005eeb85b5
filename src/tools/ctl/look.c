// One look at the running daemon: its documents read into figures. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Where each figure stands; an object counts as the sum of its members.
static const char *const paths[TOTAL_COUNT] = {
    [TOTAL_REQUESTS] = "metrics.http_requests_total",
    [TOTAL_2XX] = "metrics.http_responses_total.2xx",
    [TOTAL_4XX] = "metrics.http_responses_total.4xx",
    [TOTAL_5XX] = "metrics.http_responses_total.5xx",
    [TOTAL_BYTES_IN] = "metrics.http_received_bytes_total",
    [TOTAL_BYTES_OUT] = "metrics.http_sent_bytes_total",
    [TOTAL_CONNECTIONS] = "metrics.http_connections_open",
    [TOTAL_TIMEOUTS] = "metrics.http_timeouts_total",
    [TOTAL_EVENTS] = "metrics.events_total",
    [TOTAL_INGESTED] = "metrics.ingested_total",
    [TOTAL_DUPLICATES] = "metrics.duplicates_total",
    [TOTAL_NO_BUSINESS] = "metrics.events_unknown_business_total",
    [TOTAL_COMMITS] = "metrics.intake_commits_total",
    [TOTAL_INTAKE_BYTES] = "metrics.intake_bytes_total",
    [TOTAL_BACKLOG] = "metrics.intake_backlog_bytes",
    [TOTAL_NOT_STORED] = "metrics.webhook_requests_total.not_stored",
    [TOTAL_GRAPH] = "metrics.graph_sends_total",
    [TOTAL_SENT] = "metrics.graph_sends_total.ok",
    [TOTAL_RETRIES] = "metrics.job_retries_total",
    [TOTAL_DEAD] = "metrics.jobs_total.dead",
    [TOTAL_WAITING] = "metrics.jobs_waiting",
    [TOTAL_WORKING] = "metrics.jobs_working",
    [TOTAL_HELD] = "metrics.tenants_held",
    [TOTAL_HITS] = "metrics.cache_hits_total",
    [TOTAL_MISSES] = "metrics.cache_misses_total",
    [TOTAL_STALE] = "metrics.cache_stale_total",
    [TOTAL_STORE_ERRORS] = "metrics.store_errors_total",
};

static const char *const histograms[SPREAD_COUNT] = {
    [SPREAD_REQUEST] = "wahookd_request_duration_seconds_bucket{le=\"",
    [SPREAD_COMMIT] = "wahookd_intake_commit_duration_seconds_bucket{le=\"",
    [SPREAD_RESPONDER] = "wahookd_responder_duration_seconds_bucket{le=\"",
    [SPREAD_GRAPH] = "wahookd_graph_duration_seconds_bucket{le=\"",
};

// ---------------------------------------------------------------- the document

static double sum_of(const struct json *value) {
  if (!value || value->type != JSON_OBJECT) return json_double(value, UNKNOWN);
  double sum = 0;
  for (const struct json *child = value->child; child; child = child->next)
    sum += json_double(child, 0);
  return sum;
}

static void read_word(const struct json *row, const char *key, char *out, size_t out_size) {
  if (span_copy(json_get_text(row, key), out, out_size)) snprintf(out, out_size, "?");
}

static int64_t read_number(const struct json *row, const char *key) {
  return json_i64(json_get(row, key), 0);
}

static void read_process(const struct json *row, struct process *p) {
  read_word(row, "role", p->role, sizeof p->role);
  read_word(row, "state", p->state, sizeof p->state);
  p->ordinal = read_number(row, "ordinal");
  p->generation = read_number(row, "generation");
  p->pid = read_number(row, "pid");
  p->master_pid = read_number(row, "master_pid");
  p->restarts = read_number(row, "restarts");
  p->deaths = read_number(row, "deaths");
  p->connections = read_number(row, "connections");
  p->requests = read_number(row, "requests");
  p->rss_bytes = read_number(row, "rss_bytes");
  p->lag_us = read_number(row, "loop_lag_us");
  p->uptime_s = json_double(json_get(row, "uptime_seconds"), UNKNOWN);
  p->heartbeat_s = json_double(json_get(row, "heartbeat_age_seconds"), UNKNOWN);
  p->next_start_s = json_double(json_get(row, "next_start_seconds"), UNKNOWN);
  p->cpu_s = json_double(json_get(row, "cpu_seconds"), UNKNOWN);
}

enum err look_read(struct look *look, struct span document, int64_t at_us) {
  *look = (struct look){.at_us = at_us};
  arena_init(&look->arena, 65536, 0);
  buf_add_span(&look->text, document);
  enum err e = json_parse(&look->arena, buf_span(&look->text), NULL, &look->document, NULL);
  if (e || look->document->type != JSON_OBJECT) {
    look_free(look);
    return e ? e : ERR_FORMAT;
  }
  look->ready = json_bool(json_get(look->document, "ready"), false);
  for (unsigned i = 0; i < TOTAL_COUNT; i++)
    look->totals[i] = sum_of(json_path(look->document, paths[i]));
  const struct json *rows = json_get(look->document, "processes");
  look->processes = xcalloc((rows ? rows->count : 0) + 1, sizeof *look->processes);
  for (const struct json *row = rows ? rows->child : NULL; row; row = row->next)
    read_process(row, &look->processes[look->process_count++]);
  return ERR_OK;
}

void look_free(struct look *look) {
  arena_free(&look->arena);
  buf_free(&look->text);
  free(look->processes);
  *look = (struct look){.at_us = 0};
}

// ---------------------------------------------------------------- the page for Prometheus

// 0.000064"} 12
static void read_bucket(struct buckets *b, struct span line) {
  char text[64];
  struct span bound;
  if (b->count >= COUNT_OF(b->le_us) || !span_split(&line, '"', &bound) || line.len < 3) return;
  if (span_eq(bound, SPAN("+Inf")))
    b->le_us[b->count] = UNKNOWN;
  else if (span_copy(bound, text, sizeof text) == ERR_OK)
    b->le_us[b->count] = strtod(text, NULL) * 1e6;
  else
    return;
  if (span_copy(span_from(line, 2), text, sizeof text)) return;
  b->seen[b->count++] = strtod(text, NULL);
}

void look_read_spreads(struct look *look, struct span page) {
  for (struct span line; span_split(&page, '\n', &line);)
    for (unsigned i = 0; i < SPREAD_COUNT; i++) {
      struct span prefix = span_of(histograms[i]);
      if (span_starts(line, prefix)) read_bucket(&look->spreads[i], span_from(line, prefix.len));
    }
}

// ---------------------------------------------------------------- /proc

// Time that a process has had on a processor. proc(5): utime and stime are the fields 14 and 15 of stat; the second one, the name, is in
// parentheses and may hold anything, so they are counted from behind it.
static double cpu_seconds(int64_t pid) {
  char path[64];
  struct buf text = {NULL, 0, 0};
  uint64_t user = 0, system = 0;
  double seconds = UNKNOWN;
  snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
  const char *name_end = buf_read_file(&text, path, 4096) == ERR_OK && text.len ? strrchr(text.data, ')') : NULL;
  struct span rest = span_of(name_end), field;
  for (unsigned number = 2; number < 14; number++)
    if (!span_split(&rest, ' ', &field)) break;
  if (span_split(&rest, ' ', &field) && span_u64(field, &user) == ERR_OK && span_split(&rest, ' ', &field) &&
      span_u64(field, &system) == ERR_OK)
    seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
  buf_free(&text);
  return seconds;
}

// ---------------------------------------------------------------- asking

static enum err refusal(int status, struct why *why) {
  if (status == 429) {
    why_set(why, "the daemon has been asked too often (limits.metrics): ask less often, or set admin.bind");
    return ERR_AGAIN;
  }
  why_set(why, "the daemon answered %d%s", status, status < 500 ? " (is admin.token right?)" : "");
  return status < 500 ? ERR_DENIED : ERR_UNAVAILABLE;
}

const char *look_hint(enum err e) {
  if (e == ERR_UNAVAILABLE || e == ERR_CLOSED) return "is it running?";
  if (e == ERR_TIMEOUT) return "it listens, but its workers hang, or die as soon as they start: its log says why";
  return "";
}

static enum err ask(const struct ctl *ctl, const char *path, const struct ctl_wait *wait, struct ctl_answer *answer, struct why *why) {
  enum err e = daemon_ask(ctl, "GET", path, wait, answer, why);
  if (e) return e;
  if (answer->status == 200) return ERR_OK;
  e = refusal(answer->status, why);
  ctl_answer_free(answer);
  return e;
}

enum err look_take(const struct ctl *ctl, bool spreads, const struct ctl_wait *wait, struct look *out, struct why *why) {
  struct ctl_answer answer, page;
  enum err e = ask(ctl, "/metrics", wait, &answer, why);
  if (e) return e;
  e = look_read(out, buf_span(&answer.body), clock_mono_us());
  ctl_answer_free(&answer);
  if (e) {
    why_set(why, "the daemon's answer is no JSON document");
    return e;
  }
  for (unsigned i = 0; i < out->process_count; i++)
    if (out->processes[i].cpu_s < 0 && out->processes[i].pid > 0) out->processes[i].cpu_s = cpu_seconds(out->processes[i].pid);
  if (spreads && ask(ctl, "/prometheus/metrics", wait, &page, NULL) == ERR_OK) {
    look_read_spreads(out, buf_span(&page.body));
    ctl_answer_free(&page);
  }
  return ERR_OK;
}
