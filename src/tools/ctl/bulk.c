// Many businesses at once: read page by page, written batch by batch, with a progress bar, complaints and a summary. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <stdlib.h>

#define PAGE 1000

// ---------------------------------------------------------------- reading

struct page {
  struct business *at[PAGE];
  unsigned count;
};

static void keep(void *ctx, const struct business *b) {
  struct page *page = ctx;
  ALWAYS(page->count < PAGE);
  page->at[page->count++] = business_copy(b);
}

enum err bulk_read(struct store *store, bulk_on_page *on_page, void *ctx, struct why *why) {
  struct page *page = xcalloc(1, sizeof *page);
  struct buf position = {0};
  enum err e = ERR_OK;
  bool more = true;
  while (!e && more) {
    e = store_each(store, STORE_ALL, &position, PAGE, keep, page, why);
    more = page->count == PAGE;
    if (!e && page->count) e = on_page(ctx, page->at, page->count, why);
    while (page->count)
      business_free(page->at[--page->count]);
  }
  buf_free(&position);
  free(page);
  return e;
}

// ---------------------------------------------------------------- writing

void bulk_writer_start(struct bulk_writer *w, struct store *store, unsigned max) {
  w->store = store;
  w->max = max;
  w->items = xcalloc(max, sizeof *w->items);
}

void bulk_writer_free(struct bulk_writer *w) {
  while (w->count)
    business_free(w->items[--w->count].business);
  free(w->items);
}

static enum err write_whole(struct bulk_writer *w, bool *begun, struct why *why) {
  struct why ignored;
  enum err e = store_begin(w->store, why);
  *begun = !e;
  if (e) return e;
  for (unsigned i = 0; i < w->count && !e; i++)
    e = store_put(w->store, w->items[i].business, why);
  enum err end = store_end(w->store, !e, e ? &ignored : why);
  return e ? e : end;
}

// Whether it is the business that cannot be written, not the store that is away or full.
static bool refused(struct store *store, enum err e) {
  struct why ignored;
  if (e == ERR_UNAVAILABLE) return store_ping(store, &ignored) == ERR_OK;
  return e == ERR_CONFLICT || e == ERR_RANGE || e == ERR_FORMAT || e == ERR_TOO_LARGE;
}

static enum err write_each(struct bulk_writer *w, struct why *why) {
  for (unsigned i = 0; i < w->count; i++) {
    const struct bulk_item *item = &w->items[i];
    enum err e = store_put(w->store, item->business, why);
    if (e && !refused(w->store, e)) return e;
    w->on_done(w->ctx, item->business, item->tag, e ? why->text : NULL);
  }
  return ERR_OK;
}

enum err bulk_flush(struct bulk_writer *w, struct why *why) {
  bool begun;
  if (!w->count) return ERR_OK;
  enum err e = write_whole(w, &begun, why);
  if (!e) {
    for (unsigned i = 0; i < w->count; i++)
      w->on_done(w->ctx, w->items[i].business, w->items[i].tag, NULL);
  } else if (begun && refused(w->store, e)) {
    e = write_each(w, why);
  }
  while (w->count)
    business_free(w->items[--w->count].business);
  return e;
}

enum err bulk_put(struct bulk_writer *w, struct business *b, uint64_t tag, struct why *why) {
  w->items[w->count++] = (struct bulk_item){b, tag};
  return w->count < w->max ? ERR_OK : bulk_flush(w, why);
}

// ---------------------------------------------------------------- telling

void bulk_run_start(struct bulk_run *run, const struct ctl *ctl, uint64_t total) {
  *run = (struct bulk_run){.ctl = ctl, .started_us = clock_mono_us()};
  progress_start(&run->progress, total);
}

void bulk_run_step(struct bulk_run *run, unsigned count) {
  run->done += count;
  progress_step(&run->progress, run->done, run->done, clock_mono_us());
}

void bulk_run_failed(struct bulk_run *run, const char *id, const char *what, const char *reason) {
  struct buf text = {NULL, 0, 0};
  run->failed++;
  text_clean(span_of(id), &text);
  buf_printf(&text, ": %s%s", what ? what : "", what ? ": " : "");
  text_clean(span_of(reason), &text);
  progress_end(&run->progress);
  ctl_complain("%s", text.data);
  buf_free(&text);
}

void bulk_run_unread(struct bulk_run *run, uint64_t counted, uint64_t read) {
  if (read >= counted) return;
  run->failed += counted - read;
  progress_end(&run->progress);
  ctl_complain("the store counts %llu businesses, of which %llu can be read", (unsigned long long)counted, (unsigned long long)read);
}

void bulk_run_end(struct bulk_run *run, const struct bulk_count *counts, unsigned n) {
  bool dry = ctl_flag(run->ctl, "--dry-run"), json = run->ctl->json;
  double seconds = (double)(clock_mono_us() - run->started_us) / 1e6;
  progress_end(&run->progress);
  printf("%s", json ? "{" : dry ? "dry run: " : "");
  for (unsigned i = 0; i < n; i++) {
    if (!json) {
      printf("%llu %s, ", (unsigned long long)counts[i].count, counts[i].name);
      continue;
    }
    putchar('"');
    for (const char *c = counts[i].name; *c; c++)
      putchar(*c == ' ' ? '_' : *c);
    printf("\":%llu,", (unsigned long long)counts[i].count);
  }
  if (json)
    printf("%s\"seconds\":%.3f}\n", dry ? "\"dry_run\":true," : "", seconds);
  else
    printf("in %.1f s\n", seconds);
}
