// wahookctl import, export: businesses as JSON lines, shaped like the documents of the replaced service. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES ((size_t)1 << 20)
#define COMPLAINTS_MAX 20

struct import {
  const char *name; // of the file, for messages
  FILE *file;
  struct bulk_writer writer;
  struct arena arena;
  struct progress progress;
  uint64_t line, bytes, taken, refused;
};

static void refuse(struct import *im, uint64_t line, const char *reason) {
  im->refused++;
  if (im->refused <= COMPLAINTS_MAX) ctl_complain("%s:%llu: %s", im->name, (unsigned long long)line, reason);
  if (im->refused == COMPLAINTS_MAX) ctl_complain("further lines like that are only counted");
}

static void on_written(void *ctx, const struct business *b, uint64_t line, const char *reason) {
  struct import *im = ctx;
  (void)b;
  if (reason)
    refuse(im, line, reason);
  else
    im->taken++;
}

// One line: taken, refused (a bad one does not keep the others out), or an error of the store.
static enum err take_line(struct import *im, struct span line, struct why *why) {
  const struct json *document;
  struct business *b;
  struct why reason = {""};
  size_t bad_at = 0;
  arena_reset(&im->arena);
  enum err e = json_parse(&im->arena, line, NULL, &document, &bad_at);
  if (e) {
    char text[80];
    snprintf(text, sizeof text, "no JSON document (column %zu)", bad_at + 1);
    refuse(im, im->line, text);
    return ERR_OK;
  }
  if (business_from_json(document, &b, &reason)) {
    refuse(im, im->line, reason.text);
    return ERR_OK;
  }
  return bulk_put(&im->writer, b, im->line, why);
}

static enum err take_all(struct import *im, struct why *why) {
  char *line = NULL;
  size_t room = 0;
  enum err e = ERR_OK;
  for (ssize_t len; !e && (len = getline(&line, &room, im->file)) >= 0;) {
    im->line++;
    im->bytes += (uint64_t)len;
    struct span text = {line, (size_t)len};
    while (text.len && strchr("\r\n \t", text.ptr[text.len - 1]))
      text.len--;
    if (text.len > LINE_MAX_BYTES)
      refuse(im, im->line, "the line is longer than 1 MiB");
    else if (text.len)
      e = take_line(im, text, why);
    if (im->line % 256 == 0) progress_step(&im->progress, im->bytes, im->line, clock_mono_us());
  }
  if (!e && ferror(im->file)) {
    why_set(why, "%s: %s", im->name, strerror(errno));
    e = ERR_IO;
  }
  // What was whole before the error stays: the summary counts it.
  struct why ignored;
  enum err end = bulk_flush(&im->writer, e ? &ignored : why);
  if (!e) e = end;
  if (line) explicit_bzero(line, room);
  free(line);
  return e;
}

static void summarize(const struct ctl *ctl, const struct import *im, double seconds) {
  if (ctl->json)
    printf("{\"imported\":%llu,\"refused\":%llu,\"seconds\":%.3f}\n", (unsigned long long)im->taken, (unsigned long long)im->refused,
           seconds);
  else
    printf("%llu imported, %llu refused, in %.1f s\n", (unsigned long long)im->taken, (unsigned long long)im->refused, seconds);
}

static enum err open_input(struct import *im, const char *name, struct why *why) {
  struct stat st;
  bool standard = strcmp(name, "-") == 0;
  im->name = standard ? "stdin" : name;
  im->file = standard ? stdin : fopen(name, "re");
  if (!im->file) {
    why_set(why, "%s: %s", name, strerror(errno));
    return ERR_IO;
  }
  bool sized = fstat(fileno(im->file), &st) == 0 && S_ISREG(st.st_mode);
  progress_start(&im->progress, sized ? (uint64_t)st.st_size : 0);
  return ERR_OK;
}

int import_run(struct ctl *ctl) {
  struct why why = {""};
  struct import im = {.writer = {.on_done = on_written, .ctx = &im}};
  struct store *store = NULL;
  uint64_t batch = 5000;
  const char *given = ctl_flag(ctl, "--batch");
  if (given && (span_u64(span_of(given), &batch) || batch < 1 || batch > 1000000)) {
    ctl_complain("--batch takes a number from 1 to 1000000");
    return EX_USAGE;
  }
  int64_t started_us = clock_mono_us();
  enum err e = open_input(&im, ctl_argument(ctl, 0), &why);
  if (e) {
    ctl_complain("%s", why.text);
    return EX_NOINPUT;
  }
  arena_init(&im.arena, 65536, (size_t)64 << 20);
  e = store_for(ctl, true, &store, &why);
  bulk_writer_start(&im.writer, store, (unsigned)batch);
  if (!e) e = take_all(&im, &why);
  progress_end(&im.progress);
  if (store) summarize(ctl, &im, (double)(clock_mono_us() - started_us) / 1e6);
  if (im.taken) (void)daemon_forget(ctl, NULL);
  bulk_writer_free(&im.writer);
  store_close(store);
  arena_free(&im.arena);
  if (im.file != stdin) fclose(im.file);
  if (e) return ctl_fail(e, "import", &why);
  return im.refused ? EX_DATAERR : EX_OK;
}

// ---------------------------------------------------------------- export

static enum err on_exported(void *ctx, struct business *const *page, unsigned count, struct why *why) {
  struct buf *line = ctx;
  for (unsigned i = 0; i < count; i++) {
    struct json_writer w;
    buf_clear(line);
    json_start(&w, line);
    business_to_json(page[i], &w, NULL);
    buf_add_byte(line, '\n');
    fwrite(line->data, 1, line->len, stdout);
  }
  if (!ferror(stdout)) return ERR_OK;
  why_set(why, "stdout: %s", strerror(errno));
  return ERR_IO;
}

int export_run(struct ctl *ctl) {
  struct why why = {""};
  struct store *store = NULL;
  struct buf line = {NULL, 0, 0};
  enum err e = store_for(ctl, false, &store, &why);
  if (!e) e = bulk_read(store, on_exported, &line, &why);
  store_close(store);
  if (line.data) explicit_bzero(line.data, line.cap);
  buf_free(&line);
  return e ? ctl_fail(e, "export", &why) : EX_OK;
}
