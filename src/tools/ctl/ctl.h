// Shared inside wahookctl: what a verb gets, its one table, output for people and scripts, HTTP to the daemon.
#ifndef WAHOOK_CTL_H
#define WAHOOK_CTL_H

#include <poll.h>
#include <stdio.h>
#include <sysexits.h>

#include "wahook/config.h"
#include "wahook/crypto.h"
#include "wahook/directory.h"

// Beside sysexits.h: what was asked for is not there, or the daemon said no.
#define CTL_EXIT_NO 1

// ---------------------------------------------------------------- verbs

struct ctl_flag {
  const char *name;  // "--phone"
  const char *value; // what --help calls its value, NULL: it takes none
  const char *help;
};

struct ctl;
struct ctl_verb {
  const char *group, *name; // "business", "add"; name NULL: a verb of one word
  const char *arguments;    // for --help
  unsigned min, max;        // positional arguments
  const struct ctl_flag *flags;
  int (*run)(struct ctl *ctl); // exit status
  const char *help;
};
extern const struct ctl_verb ctl__verbs[];
extern const unsigned ctl__verb_count;

struct ctl_given {
  const char *name, *value;
};

// One run of the program.
struct ctl {
  const struct ctl_verb *verb;
  struct config *config;        // NULL while the command line is read
  struct config_errors *errors; // of the configuration; `check` shows them
  bool json;
  const char **arguments;
  unsigned argument_count;
  struct ctl_given *given;
  unsigned given_count;
  char **config_argv; // -c FILE and --section-key=value
  int config_argc;
};
const char *ctl_flag(const struct ctl *ctl, const char *name);   // its (last) value, "" for a bare flag, NULL when not given
const char *ctl_argument(const struct ctl *ctl, unsigned index); // NULL when not given
// Prints "wahookctl: ..." to stderr.
void ctl_complain(const char *fmt, ...) PRINTF_LIKE(1, 2);
// Complains with the error and its reason; returns the exit status that fits.
int ctl_fail(enum err e, const char *what, const struct why *why);
int ctl_exit_status(enum err e);

// args.c: takes a command line apart into ctl; false after a complaint. *help: --help was asked for.
bool ctl_parse(struct ctl *ctl, int argc, char **argv, bool *help, bool *version);
void ctl_help(FILE *to, const char *group, const struct ctl_verb *verb);

int status_run(struct ctl *ctl);
int top_run(struct ctl *ctl);
int check_run(struct ctl *ctl);
int cache_clear(struct ctl *ctl);
int cache_warmup(struct ctl *ctl);
int business_add(struct ctl *ctl);
int business_list(struct ctl *ctl);
int business_show(struct ctl *ctl);
int business_disable(struct ctl *ctl);
int business_enable(struct ctl *ctl);
int business_remove(struct ctl *ctl);
int business_set_token(struct ctl *ctl);
int business_set_retention(struct ctl *ctl);
int token_seal_run(struct ctl *ctl);
int token_open_run(struct ctl *ctl);
int token_detect_run(struct ctl *ctl);
int send_run(struct ctl *ctl);
int queue_list(struct ctl *ctl);
int queue_show(struct ctl *ctl);
int queue_retry(struct ctl *ctl);
int queue_drop(struct ctl *ctl);
int token_rekey_run(struct ctl *ctl);
int import_run(struct ctl *ctl);
int export_run(struct ctl *ctl);
int migrate_run(struct ctl *ctl);
int indexes_show(struct ctl *ctl);
int indexes_ensure(struct ctl *ctl);

// ---------------------------------------------------------------- rows.c: tables for people, arrays for scripts

struct rows_column {
  const char *title; // NULL: only for scripts
  const char *key;
  bool right; // numbers
};
// How a column gives way.
struct rows_fit {
  unsigned width; // at least, so that figures that change do not move what stands behind them
  unsigned spare; // where the lines would be too long, the column with the highest goes first; 0: stays
};
struct rows {
  const struct rows_column *columns;
  unsigned column_count, at;
  bool json;
  struct json_writer w;
  struct buf out; // JSON, or cells, each NUL-terminated
  size_t row_count;
};
void rows_begin(struct rows *rows, const struct rows_column *columns, unsigned count, bool json);
void rows_text(struct rows *rows, const char *text);
void rows_list(struct rows *rows, char *const *items, unsigned count); // "a,b" or an array
void rows_number(struct rows *rows, int64_t value);
void rows_number_or_none(struct rows *rows, int64_t value, bool known);         // "-" or null
void rows_bool(struct rows *rows, bool value, const char *yes, const char *no); // words for people
void rows_time(struct rows *rows, int64_t wall_us);                             // 0: "-" or null
void rows_finish(struct rows *rows, FILE *to, const char *if_empty);
// The table for people, titles and a line for each row, in so many columns of a terminal (0: no limit). One `fit` per column, or NULL.
void rows_print(struct rows *rows, const struct rows_fit *fit, size_t width, struct buf *out);
// Replaces control characters: names come from strangers, and a terminal obeys them.
void text_clean(struct span text, struct buf *out);
size_t text_width(struct span text); // in columns
// A JSON value as indented lines for people.
void json_pretty(const struct json *value, unsigned indent, struct buf *out);

// ---------------------------------------------------------------- http.c: one request to an address of the configuration

struct ctl_answer {
  int status;
  struct buf body;
  int64_t duration_us;
};
struct ctl_wait {
  int64_t timeout_ms;
  const struct pollfd *also; // gives up with ERR_CANCELED when one of these is readable: a key that was pressed
  unsigned also_count;
};
struct ctl_request {
  const char *address; // "unix:PATH", "HOST:PORT", ":PORT"
  const char *method, *path;
  const char *headers; // more header lines, each with CRLF; may be NULL
  struct span body;
  struct ctl_wait wait;
};
enum err ctl_http(const struct ctl_request *request, struct ctl_answer *answer, struct why *why) MUST_CHECK;
void ctl_answer_free(struct ctl_answer *answer);
// Pure: takes a whole answer (to the end of the connection, or as far as it came) apart. ERR_AGAIN: more is needed.
enum err ctl_http_parse(struct span bytes, bool ended, int *status, struct buf *body) MUST_CHECK;

// ---------------------------------------------------------------- daemon.c: the running daemon's operator's pages

// A request to the admin listener, or with the admin token to the public one when there is none. `wait` may be NULL.
enum err daemon_ask(const struct ctl *ctl, const char *method, const char *path, const struct ctl_wait *wait, struct ctl_answer *answer,
                    struct why *why) MUST_CHECK;
// Tells the daemon, if one runs, to forget a business (all its keys), or everything for NULL. Returns false after a complaint.
bool daemon_forget(const struct ctl *ctl, const struct business *business);

// ---------------------------------------------------------------- shared by verbs

enum err store_for(const struct ctl *ctl, bool make_directory, struct store **out, struct why *why) MUST_CHECK; // business.c
// token.c: the configuration's keys; the same but no plain tokens; of these only the first of each kind, those that write.
enum err token_keys_for(const struct ctl *ctl, struct token_keys **out, struct why *why) MUST_CHECK;
enum err token_keys_opening(const struct ctl *ctl, struct token_keys **out, struct why *why) MUST_CHECK;
enum err token_keys_writing(const struct ctl *ctl, struct token_keys **out, struct why *why) MUST_CHECK;
// The format that --format names, or else the one that this deployment writes, the best that it has a key for. ERR_KEY: it has none;
// ERR_RANGE: no such format.
enum err token_format_for(const struct ctl *ctl, enum token_format *out, struct why *why) MUST_CHECK;
// Reads a token: "-" or NULL from stdin (without echo on a terminal), else file:PATH or env:NAME. Wiped and freed by token_forget.
enum err token_read(const char *from, char **out, struct why *why) MUST_CHECK;
void token_forget(char *token);
// What is stored for a token that an operator gives: sealed, or as it is when it is encrypted already.
enum err token_for_store(const struct ctl *ctl, const char *token, char **out, struct why *why) MUST_CHECK;

// progress.c: a bar on a terminal, nothing elsewhere.
struct progress {
  bool shown;
  uint64_t total; // 0: unknown
  int64_t started_us, drawn_us;
};
void progress_start(struct progress *p, uint64_t total);
void progress_step(struct progress *p, uint64_t done, uint64_t items, int64_t now_us);
void progress_end(struct progress *p);

// ---------------------------------------------------------------- bulk.c: many businesses at once

// Every business of a store, page by page. on_page borrows.
typedef enum err bulk_on_page(void *ctx, struct business *const *page, unsigned count, struct why *why);
enum err bulk_read(struct store *store, bulk_on_page *on_page, void *ctx, struct why *why) MUST_CHECK;

// Writes in batches. When one does not go as a whole, each of it by itself, so that a bad one does not keep the others out.
struct bulk_writer {
  struct store *store;
  unsigned max, count; // of a batch
  struct bulk_item {
    struct business *business;
    uint64_t tag; // the caller's
  } * items;
  void (*on_done)(void *ctx, const struct business *b, uint64_t tag, const char *reason); // NULL: written, else why not
  void *ctx;
};
void bulk_writer_start(struct bulk_writer *w, struct store *store, unsigned max);
// Errors are of the store: all others are told to on_done.
enum err bulk_put(struct bulk_writer *w, struct business *b, uint64_t tag, struct why *why) MUST_CHECK; // takes b
enum err bulk_flush(struct bulk_writer *w, struct why *why) MUST_CHECK;
void bulk_writer_free(struct bulk_writer *w);

// One run over all businesses: its progress, complaints and summary.
struct bulk_run {
  const struct ctl *ctl;
  struct progress progress;
  int64_t started_us;
  uint64_t done, failed;
};
struct bulk_count {
  const char *name; // "only in the target", for scripts with _
  uint64_t count;
};
void bulk_run_start(struct bulk_run *run, const struct ctl *ctl, uint64_t total);
void bulk_run_step(struct bulk_run *run, unsigned count);
// Names the business and the reason. `what` may be NULL.
void bulk_run_failed(struct bulk_run *run, const char *id, const char *what, const char *reason);
// Told as failed, too: those that a store counted and could not show.
void bulk_run_unread(struct bulk_run *run, uint64_t counted, uint64_t read);
void bulk_run_end(struct bulk_run *run, const struct bulk_count *counts, unsigned n);

#endif
