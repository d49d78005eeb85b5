// wahookctl migrate: copies all businesses from one store to another, of the same kind or not. Running it again copies what is still
// different, so it goes on after an interruption. Nothing is removed from the target. Runs in wahookctl.
//
// What is in the target is read first and remembered by a hash of each business: the two stores do not sort alike.
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uthash.h>

#define BATCH 1000

enum outcome { NEW, CHANGED, OUTCOMES };

struct known {
  uint64_t hash;
  bool in_source;
  UT_hash_handle hh;
  char id[];
};

struct migration {
  struct bulk_run run;
  bool dry;
  struct store *from, *to; // to: NULL for a dry run to what does not exist yet
  struct bulk_writer writer;
  struct known *target; // by id
  struct buf json;
  uint64_t read_source, read_target, outcomes[OUTCOMES], same, in_both;
};

// ---------------------------------------------------------------- the two stores

static const char *sqlite_file(const char *uri) {
  return span_starts(span_of(uri), SPAN("sqlite:")) ? uri + strlen("sqlite:") : NULL;
}

// What a flag says: a URI, or where it is kept so that no user of the machine sees the password in it.
static enum err take_uri(const struct ctl *ctl, const char *flag, struct buf *out, struct why *why) {
  char *uri = NULL;
  const char *given = ctl_flag(ctl, flag);
  enum err e = ERR_OK;
  if (span_starts(span_of(given), SPAN("env:")) || span_starts(span_of(given), SPAN("file:")))
    e = token_read(given, &uri, why);
  else
    uri = xstrdup(given);
  if (!e) buf_add_text(out, uri);
  token_forget(uri);
  return e;
}

// The configured store with all its options, another one with the defaults, and with directory.database if its URI names none.
static enum err open_side(const struct ctl *ctl, const char *flag, struct buf *uri, struct store **out, struct why *why) {
  struct store_options options;
  if (!ctl_flag(ctl, flag)) {
    store_configured(ctl->config, 0, uri, &options);
    return store_open_with(&options, out, why);
  }
  enum err e = take_uri(ctl, flag, uri, why);
  if (e) return e;
  options = (struct store_options){.uri = uri->data, .slow_query_ms = -1};
  e = store_open_with(&options, out, why);
  if (e != ERR_CONFIG || !*ctl->config->directory_database) return e;
  options.database = ctl->config->directory_database;
  return store_open_with(&options, out, why);
}

// A file of SQLite is made when it is first asked: not for one that is only read.
static bool exists(const char *uri, struct why *why) {
  const char *path = sqlite_file(uri);
  if (!path || access(path, F_OK) == 0) return true;
  why_set(why, "%s: %s", path, strerror(errno));
  return false;
}

static enum err open_both(const struct ctl *ctl, struct migration *m, struct why *why) {
  struct buf from = {NULL, 0, 0}, to = {NULL, 0, 0};
  struct why ignored;
  enum err e = open_side(ctl, "--from", &from, &m->from, why);
  if (!e && !exists(from.data, why)) e = ERR_UNAVAILABLE;
  if (!e) e = open_side(ctl, "--to", &to, &m->to, why);
  if (!e && strcmp(from.data, to.data) == 0) {
    why_set(why, "--from and --to are the same store");
    e = ERR_CONFIG;
  }
  if (!e && m->dry && !exists(to.data, &ignored)) {
    store_close(m->to);
    m->to = NULL;
  }
  if (from.data) explicit_bzero(from.data, from.cap);
  if (to.data) explicit_bzero(to.data, to.cap);
  buf_free(&from);
  buf_free(&to);
  return e;
}

// ---------------------------------------------------------------- what is there

static uint64_t hash_of(struct migration *m, const struct business *b) {
  struct json_writer w;
  buf_clear(&m->json);
  json_start(&w, &m->json);
  business_to_json(b, &w, NULL);
  return hash_keyed(m->json.data, m->json.len);
}

static enum err on_target(void *ctx, struct business *const *page, unsigned count, struct why *why) {
  struct migration *m = ctx;
  (void)why;
  for (unsigned i = 0; i < count; i++) {
    struct known *known;
    HASH_FIND_STR(m->target, page[i]->id, known);
    if (!known) {
      size_t size = strlen(page[i]->id) + 1;
      known = xcalloc(1, sizeof *known + size);
      memcpy(known->id, page[i]->id, size);
      HASH_ADD_STR(m->target, id, known);
    }
    known->hash = hash_of(m, page[i]);
  }
  m->read_target += count;
  bulk_run_step(&m->run, count);
  return ERR_OK;
}

static void forget_target(struct migration *m) {
  struct known *known, *next;
  HASH_ITER(hh, m->target, known, next) {
    HASH_DEL(m->target, known);
    free(known);
  }
}

// ---------------------------------------------------------------- copying

static void on_written(void *ctx, const struct business *b, uint64_t tag, const char *reason) {
  struct migration *m = ctx;
  if (reason)
    bulk_run_failed(&m->run, b->id, NULL, reason);
  else
    m->outcomes[tag]++;
}

static enum err on_source(void *ctx, struct business *const *page, unsigned count, struct why *why) {
  struct migration *m = ctx;
  enum err e = ERR_OK;
  for (unsigned i = 0; i < count && !e; i++) {
    struct known *known;
    HASH_FIND_STR(m->target, page[i]->id, known);
    m->in_both += known && !known->in_source;
    if (known) known->in_source = true;
    enum outcome outcome = known ? CHANGED : NEW;
    if (known && known->hash == hash_of(m, page[i]))
      m->same++;
    else if (m->dry)
      m->outcomes[outcome]++;
    else
      e = bulk_put(&m->writer, business_copy(page[i]), outcome, why);
  }
  if (!e) e = bulk_flush(&m->writer, why);
  m->read_source += count;
  bulk_run_step(&m->run, count);
  return e;
}

static enum err copy_all(const struct ctl *ctl, struct migration *m, struct why *why) {
  uint64_t source = 0, target = 0, active;
  enum err e = store_count(m->from, &source, &active, why);
  if (!e && m->to) e = store_count(m->to, &target, &active, why);
  if (e) return e;
  bulk_run_start(&m->run, ctl, source + target);
  bulk_writer_start(&m->writer, m->to, BATCH);
  m->writer.on_done = on_written;
  m->writer.ctx = m;
  if (m->to) e = bulk_read(m->to, on_target, m, why);
  if (!e) e = bulk_read(m->from, on_source, m, why);
  if (!e) bulk_run_unread(&m->run, source, m->read_source);
  const struct bulk_count counts[] = {{"new", m->outcomes[NEW]},
                                      {"changed", m->outcomes[CHANGED]},
                                      {"same", m->same},
                                      {"failed", m->run.failed},
                                      {"only in the target", HASH_COUNT(m->target) - m->in_both}};
  // What an error cut off is not known to be only there.
  bulk_run_end(&m->run, counts, e ? COUNT_OF(counts) - 1 : COUNT_OF(counts));
  bulk_writer_free(&m->writer);
  return e;
}

int migrate_run(struct ctl *ctl) {
  struct why why = {""};
  struct migration m = {.dry = ctl_flag(ctl, "--dry-run")};
  if (!ctl_flag(ctl, "--to")) {
    ctl_complain("--to is missing: the URI of the store to copy to (sqlite:PATH or mongodb://HOST/DATABASE)");
    return EX_USAGE;
  }
  enum err e = open_both(ctl, &m, &why);
  if (!e) e = copy_all(ctl, &m, &why);
  // Either side may be the daemon's.
  if (m.outcomes[NEW] + m.outcomes[CHANGED] && !m.dry) (void)daemon_forget(ctl, NULL);
  forget_target(&m);
  if (m.json.data) explicit_bzero(m.json.data, m.json.cap);
  buf_free(&m.json);
  store_close(m.from);
  store_close(m.to);
  if (e) return ctl_fail(e, "migrate", &why);
  return m.run.failed ? EX_DATAERR : EX_OK;
}
