// The outcome of reloads and upgrades as a small JSON file, replaced as a whole. Written by the master, read by -s reload and -s upgrade.
#include "supervisor/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/state.h"

#define FILE_MAX_BYTES (256u << 10)

static const char *const kind_names[REPORT_COUNT] = {"reload", "upgrade"};
static const char *const outcome_names[] = {"none", "running", "done", "refused"};

const char *report_kind_name(enum report_kind kind) {
  return kind_names[kind];
}

const char *report_outcome_name(enum report_outcome outcome) {
  return outcome_names[outcome];
}

static void entry_read(struct report_entry *entry, const struct json *object) {
  struct span outcome = json_get_text(object, "outcome");
  buf_clear(&entry->reasons);
  entry->begun = (uint64_t)json_i64(json_get(object, "begun"), 0);
  entry->ended = (uint64_t)json_i64(json_get(object, "ended"), 0);
  entry->generation = (unsigned)json_i64(json_get(object, "generation"), 0);
  entry->wall_us = (int64_t)(json_double(json_get(object, "at"), 0) * 1e6);
  entry->outcome = REPORT_NONE;
  for (unsigned o = 0; o < COUNT_OF(outcome_names); o++)
    if (span_eq(outcome, span_of(outcome_names[o]))) entry->outcome = (enum report_outcome)o;
  const struct json *reasons = json_get(object, "reasons");
  for (const struct json *line = reasons ? reasons->child : NULL; line; line = line->next)
    buf_printf(&entry->reasons, "%.*s\n", SPAN_FMT(json_text(line)));
}

static bool file_read(struct report *report) {
  struct buf text = {0};
  struct arena arena;
  const struct json *document = NULL;
  arena_init(&arena, 16384, 0);
  bool ok =
      buf_read_file(&text, report->path, FILE_MAX_BYTES) == ERR_OK && json_parse(&arena, buf_span(&text), NULL, &document, NULL) == ERR_OK;
  for (unsigned k = 0; ok && k < REPORT_COUNT; k++)
    entry_read(&report->entries[k], json_get(document, kind_names[k]));
  arena_free(&arena);
  buf_free(&text);
  return ok;
}

static void entry_write(const struct report_entry *entry, const char *name, struct json_writer *w) {
  json_open(w, name, '{');
  json_put_u64(w, "begun", entry->begun);
  json_put_u64(w, "ended", entry->ended);
  json_put_string(w, "outcome", outcome_names[entry->outcome]);
  json_put_u64(w, "generation", entry->generation);
  json_put_double(w, "at", (double)entry->wall_us / 1e6, 3);
  json_open(w, "reasons", '[');
  struct span rest = buf_span(&entry->reasons), line;
  while (rest.len && span_split(&rest, '\n', &line))
    if (line.len) json_put_text(w, NULL, line);
  json_close(w, ']');
  json_close(w, '}');
}

// Without a flush: after a power cut there is no reload that anybody waits for.
static void file_write(const struct report *report) {
  struct buf text = {0}, temporary = {0};
  struct json_writer w;
  json_start(&w, &text);
  json_open(&w, NULL, '{');
  for (unsigned k = 0; k < REPORT_COUNT; k++)
    entry_write(&report->entries[k], kind_names[k], &w);
  json_close(&w, '}');
  buf_printf(&temporary, "%s.new", report->path);
  FILE *file = fopen(temporary.data, "we");
  bool ok = file && fwrite(text.data, 1, text.len, file) == text.len;
  if (file && (report->uid != (uid_t)-1 || report->gid != (gid_t)-1)) ok = fchown(fileno(file), report->uid, report->gid) == 0 && ok;
  if (file) ok = fclose(file) == 0 && ok;
  if (!ok || rename(temporary.data, report->path) != 0) unlink(temporary.data); // no room: the log tells the same
  buf_free(&temporary);
  buf_free(&text);
}

static void report_at(struct report *report, const char *state_dir) {
  struct buf path = {0};
  *report = (struct report){.uid = (uid_t)-1, .gid = (gid_t)-1};
  buf_printf(&path, "%s/master.json", state_dir);
  report->path = buf_steal(&path);
}

void report_open(struct report *report, const struct config *config) {
  report_at(report, config->server_state_dir);
  state_owner(config, &report->uid, &report->gid);
  report_load(report);
}

void report_load(struct report *report) {
  (void)file_read(report);
}

void report_settle(struct report *report) {
  for (unsigned k = 0; k < REPORT_COUNT; k++) {
    if (report->entries[k].outcome != REPORT_RUNNING) continue;
    report_reason(report, (enum report_kind)k, SPAN("the daemon ended before it was over"));
    report_end(report, (enum report_kind)k, REPORT_REFUSED, report->entries[k].generation);
  }
}

void report_close(struct report *report) {
  for (unsigned k = 0; k < REPORT_COUNT; k++)
    buf_free(&report->entries[k].reasons);
  free(report->path);
  report->path = NULL;
}

bool report_read(struct report *report, const char *state_dir) {
  report_at(report, state_dir);
  return file_read(report);
}

void report_begin(struct report *report, enum report_kind kind) {
  struct report_entry *entry = &report->entries[kind];
  entry->begun++;
  entry->outcome = REPORT_RUNNING;
  entry->wall_us = clock_wall_us();
  buf_clear(&entry->reasons);
  file_write(report);
}

void report_reason(struct report *report, enum report_kind kind, struct span line) {
  buf_printf(&report->entries[kind].reasons, "%.*s\n", SPAN_FMT(line));
}

void report_end(struct report *report, enum report_kind kind, enum report_outcome outcome, unsigned generation) {
  struct report_entry *entry = &report->entries[kind];
  entry->ended = entry->begun;
  entry->outcome = outcome;
  entry->generation = generation;
  entry->wall_us = clock_wall_us();
  file_write(report);
}
