// bench-stages: what each step of a message's way costs by itself, in ns. A program of its own; `make bench-stages` runs it.
//   bench-stages FOLDER JSON [NAME...]   works below FOLDER, writes JSON, only stages whose names begin like NAME
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"
#include "stages.h"
#include "wahook/crypto.h"

#define BATCH_NS 60000000 // as many operations as take that long
#define BATCHES  7

static struct {
  const char *folder;
  char **names;
  int name_count;
  struct buf json;
  struct json_writer writer;
  struct messages *messages;
} bench;

// ---------------------------------------------------------------- timing and telling

bool stage_wanted(const char *name) {
  for (int i = 0; i < bench.name_count; i++)
    if (strncmp(name, bench.names[i], strlen(bench.names[i])) == 0 || strncmp(name, bench.names[i], strlen(name)) == 0) return true;
  return bench.name_count == 0;
}

void stage_tell(const char *name, const char *unit, double value) {
  printf("  %-44s %12.1f %s\n", name, value, unit);
  fflush(stdout);
  json_open(&bench.writer, NULL, '{');
  json_put_string(&bench.writer, "stage", name);
  json_put_string(&bench.writer, "unit", unit);
  json_put_double(&bench.writer, "value", value, 1);
  json_close(&bench.writer, '}');
}

void stage_time(const char *name, stage_work *work, void *ctx) {
  if (!stage_wanted(name)) return;
  uint64_t n = 1;
  for (;;) {
    int64_t start = clock_mono_ns();
    work(ctx, n);
    int64_t took = clock_mono_ns() - start;
    if (took >= BATCH_NS) break;
    n = took < BATCH_NS / 16 ? n * 8 : n * 2;
  }
  double least = 0;
  for (unsigned i = 0; i < BATCHES; i++) {
    int64_t start = clock_mono_ns();
    work(ctx, n);
    double each = (double)(clock_mono_ns() - start) / (double)n;
    if (!i || each < least) least = each;
  }
  stage_tell(name, "ns", least);
}

// ---------------------------------------------------------------- what they work on

void stage_phone(uint64_t n, char out[static 24]) {
  snprintf(out, 24, "%llu", 15550000000ull + (unsigned long long)n);
}

static void make_messages(void) {
  static const char text[] = STAGE_SECRET;
  struct buf phones = {0};
  char phone[24], secret[sizeof text];
  for (unsigned i = 0; i < STAGE_PHONES; i++) {
    stage_phone(i, phone);
    buf_printf(&phones, "%s%s", i ? "," : "", phone);
  }
  memcpy(secret, text, sizeof text);
  char path[] = "/whatsapp_response";
  struct load_options options = {.path = path, .app_secret = secret, .phones = phones.data, .conversations = 10000};
  struct target target = {.host = "127.0.0.1:8000"};
  struct why why;
  if (messages_new(&options, &target, &bench.messages, &why) != ERR_OK) die("%s", why.text);
  buf_free(&phones);
}

struct span stage_request(uint64_t n) {
  return messages_request(bench.messages, n, false);
}

struct span stage_body(struct span request) {
  const char *end = memmem(request.ptr, request.len, "\r\n\r\n", 4);
  return span_from(request, (size_t)(end - request.ptr) + 4);
}

void stage_folder(char out[static 256]) {
  snprintf(out, 256, "%s/stage-XXXXXX", bench.folder);
  if (!mkdtemp(out)) die("cannot make a folder below %s: error %d", bench.folder, errno);
}

void stage_folder_remove(const char *path) {
  DIR *dir = opendir(path);
  for (struct dirent *entry; dir && (entry = readdir(dir));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlinkat(dirfd(dir), entry->d_name, 0);
  if (dir) closedir(dir);
  rmdir(path);
}

// ---------------------------------------------------------------- the table

static void (*const files[])(void) = {stages_http,    stages_webhook, stages_directory, stages_limiter,
                                      stages_journal, stages_spool,   stages_graph};

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: bench-stages FOLDER JSON [NAME...]\n");
    return 64;
  }
  bench.folder = argv[1];
  bench.names = argv + 3;
  bench.name_count = argc - 3;
  crypto_start();
  make_messages();
  json_start(&bench.writer, &bench.json);
  json_open(&bench.writer, NULL, '[');
  for (size_t i = 0; i < COUNT_OF(files); i++)
    files[i]();
  json_close(&bench.writer, ']');
  FILE *to = fopen(argv[2], "we");
  bool written = to && fprintf(to, "%s\n", bench.json.data) > 0;
  if (!to || fclose(to) != 0 || !written) die("cannot write %s: error %d", argv[2], errno);
  buf_free(&bench.json);
  messages_free(bench.messages);
  return 0;
}
