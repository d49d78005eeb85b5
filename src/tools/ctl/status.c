// wahookctl status, check and cache: the running daemon, and the configuration that it would start with. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <string.h>

#include "wahook/spool.h"

// ---------------------------------------------------------------- status

static const struct rows_column columns[] = {
    {"ROLE", "role", false},        {"NO", "ordinal", true},          {"PID", "pid", true},           {"STATE", "state", false},
    {"UPTIME", "uptime", true},     {"HEARTBEAT", "heartbeat", true}, {"RESTARTS", "restarts", true}, {"CONNECTIONS", "connections", true},
    {"REQUESTS", "requests", true}, {"MEMORY", "memory", true},
};

static void add_process(struct rows *rows, const struct json *process) {
  char state[32], role[32], text[48];
  int64_t rss = json_i64(json_get(process, "rss_bytes"), 0);
  double heartbeat = json_double(json_get(process, "heartbeat_age_seconds"), 0);
  if (span_copy(json_get_text(process, "role"), role, sizeof role)) return;
  if (span_copy(json_get_text(process, "state"), state, sizeof state)) return;
  rows_text(rows, role);
  rows_number(rows, json_i64(json_get(process, "ordinal"), 0));
  rows_number(rows, json_i64(json_get(process, "pid"), 0));
  rows_text(rows, state);
  clock_format_span((int64_t)(json_double(json_get(process, "uptime_seconds"), 0) * 1e6), text, sizeof text);
  rows_text(rows, text);
  snprintf(text, sizeof text, "%.1f s", heartbeat);
  rows_text(rows, text);
  rows_number(rows, json_i64(json_get(process, "restarts"), 0));
  rows_number(rows, json_i64(json_get(process, "connections"), 0));
  rows_number(rows, json_i64(json_get(process, "requests"), 0));
  snprintf(text, sizeof text, "%.1f MiB", (double)rss / 1048576);
  rows_text(rows, text);
}

static void print_queue(const struct ctl *ctl) {
  struct buf path = {NULL, 0, 0};
  struct spool_view *view;
  struct spool_view_counts c;
  struct why why;
  buf_printf(&path, "%s/spool.db", ctl->config->server_state_dir);
  if (!spool_view_open(path.data, &view, &why)) {
    if (!spool_view_count(view, &c, &why))
      printf("queue    %llu waiting, %llu dead, %llu quarantined\n", (unsigned long long)c.waiting, (unsigned long long)c.dead,
             (unsigned long long)c.quarantined);
    spool_view_close(view);
  }
  buf_free(&path);
}

static void print_status(const struct ctl *ctl, const struct json *document, bool ready) {
  char uptime[48];
  struct span reason = json_get_text(document, "reason"), version = json_get_text(document, "version");
  const struct json *cache = json_get(document, "cache");
  clock_format_span((int64_t)(json_double(json_get(document, "uptime_seconds"), 0) * 1e6), uptime, sizeof uptime);
  printf("wahookd  %.*s, %s%s%.*s, up %s\n", SPAN_FMT(version), ready ? "ready" : "not ready", reason.len ? ": " : "", SPAN_FMT(reason),
         uptime);
  printf("cache    %lld of %lld businesses, hit rate %.1f %%\n", (long long)json_i64(json_get(cache, "size"), 0),
         (long long)json_i64(json_get(cache, "max_size"), 0), 100 * json_double(json_get(cache, "hit_rate"), 0));
  print_queue(ctl);
  putchar('\n');
  struct rows rows;
  const struct json *processes = json_get(document, "processes");
  rows_begin(&rows, columns, COUNT_OF(columns), false);
  for (const struct json *p = processes ? processes->child : NULL; p; p = p->next)
    add_process(&rows, p);
  rows_finish(&rows, stdout, "no processes");
}

int status_run(struct ctl *ctl) {
  struct why why = {""};
  struct ctl_answer answer = {.status = 0};
  struct arena arena;
  const struct json *document = NULL;
  bool ready = false;
  arena_init(&arena, 65536, 0);
  enum err e = daemon_ask(ctl, "GET", "/metrics", &answer, &why);
  if (!e && answer.status != 200) {
    why_set(&why, "the daemon answered %d (is admin.token right?)", answer.status);
    e = ERR_DENIED;
  }
  if (!e && json_parse(&arena, buf_span(&answer.body), NULL, &document, NULL)) {
    why_set(&why, "the daemon's answer is no JSON");
    e = ERR_FORMAT;
  }
  if (!e) {
    ready = json_bool(json_get(document, "ready"), false);
    if (ctl->json)
      printf("%.*s\n", SPAN_FMT(buf_span(&answer.body)));
    else
      print_status(ctl, document, ready);
  }
  arena_free(&arena);
  ctl_answer_free(&answer);
  if (e == ERR_UNAVAILABLE) ctl_complain("wahookd does not answer here; is it running?");
  return e ? ctl_fail(e, "status", &why) : ready ? EX_OK : CTL_EXIT_NO;
}

// ---------------------------------------------------------------- cache

static int cache_action(struct ctl *ctl, const char *path) {
  struct why why = {""};
  struct ctl_answer answer = {.status = 0};
  enum err e = daemon_ask(ctl, "POST", path, &answer, &why);
  if (e) return ctl_fail(e, "cache", &why);
  struct buf clean = {NULL, 0, 0};
  text_clean(buf_span(&answer.body), &clean);
  if (ctl->json || answer.status != 200)
    printf("%s\n", clean.data ? clean.data : "");
  else
    printf("done\n");
  int status = answer.status == 200 ? EX_OK : CTL_EXIT_NO;
  buf_free(&clean);
  ctl_answer_free(&answer);
  return status;
}

int cache_clear(struct ctl *ctl) {
  return cache_action(ctl, "/admin/cache/clear");
}

int cache_warmup(struct ctl *ctl) {
  return cache_action(ctl, "/admin/cache/warmup");
}

// ---------------------------------------------------------------- check

static void put_lines(struct json_writer *w, const char *key, const struct buf *lines) {
  struct span rest = buf_span(lines), line;
  json_open(w, key, '[');
  while (rest.len && span_split(&rest, '\n', &line))
    if (line.len) json_put_text(w, NULL, line);
  json_close(w, ']');
}

int check_run(struct ctl *ctl) {
  enum err e = config_check_daemon(ctl->config, ctl->errors);
  const struct config_errors *errors = ctl->errors;
  if (ctl->json) {
    struct buf out = {NULL, 0, 0};
    struct json_writer w;
    json_start(&w, &out);
    json_open(&w, NULL, '{');
    json_put_bool(&w, "ok", e == ERR_OK);
    put_lines(&w, "errors", &errors->text);
    put_lines(&w, "warnings", &errors->warnings);
    json_close(&w, '}');
    printf("%s\n", out.data);
    buf_free(&out);
    return ctl_exit_status(e);
  }
  for (struct span rest = buf_span(&errors->warnings), line; rest.len && span_split(&rest, '\n', &line);)
    if (line.len) fprintf(stderr, "warning: %.*s\n", SPAN_FMT(line));
  fputs(errors->text.data ? errors->text.data : "", stderr);
  if (e)
    fprintf(stderr, "wahookctl: %u error%s in the configuration\n", errors->count, errors->count == 1 ? "" : "s");
  else
    printf("the configuration is right%s%s\n", *ctl->config->file ? ": " : "", ctl->config->file);
  return ctl_exit_status(e);
}
