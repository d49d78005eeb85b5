// wahookctl token rekey: encrypts all stored tokens with the first key again, so that an old key can be taken out of the configuration.
// A token that the first key opens is left as it is, so running it again goes on where it ended. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <stdlib.h>
#include <string.h>

#define TRIES 3 // for a token that others change meanwhile

static const char *const names[] = {[STORE_ACCESS_TOKEN] = "access token", [STORE_REFRESH_TOKEN] = "refresh token"};

enum outcome { REKEYED, CURRENT, PLAIN, NONE, OUTCOMES };

struct rekeying {
  struct bulk_run run;
  struct store *store;
  bool dry, seal_plain;
  bool convert;              // all into `format`; otherwise only plain ones, each other one keeps its own
  enum token_format format;  //
  struct token_keys *all;    // open
  struct token_keys *first;  // opens what is up to date, seals
  struct token_keys *no_key; // takes plain tokens
  uint64_t read, outcomes[OUTCOMES];
};

// ---------------------------------------------------------------- one token

// What is looked for is told from what is plain by opening it: a token in base64 may begin as Meta's own do.
static enum err open_any(const struct rekeying *r, const char *stored, enum token_format *format, bool *current, char **out,
                         struct why *why) {
  struct why ignored;
  *format = token_detect(span_of(stored));
  enum err e = token_open(r->first, span_of(stored), out, &ignored);
  *current = !e;
  if (e) e = token_open(r->all, span_of(stored), out, why);
  if (!e && *format == TOKEN_PLAIN) *format = TOKEN_GCM;
  if (e == ERR_DENIED && *format == TOKEN_PLAIN && r->seal_plain) e = token_open(r->no_key, span_of(stored), out, why);
  return e;
}

// The token under the first key. It is opened before it takes the other one's place.
static enum err seal_again(const struct rekeying *r, enum token_format format, const char *token, char **out, struct why *why) {
  char *sealed = NULL, *opened = NULL;
  enum err e = token_seal(r->first, format, span_of(token), &sealed, why);
  if (!e) e = token_open(r->first, span_of(sealed), &opened, why);
  if (!e && !secret_equal(span_of(opened), span_of(token))) {
    why_set(why, "what was encrypted is not what is decrypted");
    e = ERR_KEY;
  }
  secret_free(opened);
  if (e)
    free(sealed);
  else
    *out = sealed;
  return e;
}

static enum err rekey_token(struct rekeying *r, const char *id, enum store_token which, const char *stored, enum outcome *outcome,
                            struct why *why) {
  char *token = NULL, *sealed = NULL;
  enum token_format format;
  bool current;
  *outcome = NONE;
  if (!*stored) return ERR_OK;
  enum err e = open_any(r, stored, &format, &current, &token, why);
  if (e == ERR_DENIED && format == TOKEN_PLAIN) {
    *outcome = PLAIN;
    return ERR_OK;
  }
  enum token_format as = r->convert || format == TOKEN_PLAIN ? r->format : format;
  *outcome = !e && current && as == format ? CURRENT : REKEYED;
  if (!e && *outcome == REKEYED) e = seal_again(r, as, token, &sealed, why);
  if (!e && *outcome == REKEYED && !r->dry) e = store_swap_token(r->store, id, which, stored, sealed, why);
  secret_free(token);
  free(sealed);
  return e;
}

// ---------------------------------------------------------------- all of them

static const char *token_of(const struct business *b, enum store_token which) {
  return which == STORE_ACCESS_TOKEN ? b->access_token : b->refresh_token;
}

// Read again when others were quicker: theirs may be of the old key. Only what keeps all others from being written is an error.
static enum err rekey_one(struct rekeying *r, const struct business *read, enum store_token which, struct why *why) {
  struct business *again = NULL;
  enum outcome outcome = NONE;
  struct why reason;
  enum err e = rekey_token(r, read->id, which, token_of(read, which), &outcome, &reason);
  for (int tries = 1; e == ERR_CONFLICT && tries < TRIES; tries++) {
    business_free(again);
    again = NULL;
    e = store_get(r->store, read->id, &again, &reason);
    if (e == ERR_NOT_FOUND || (!e && strcmp(again->id, read->id) != 0)) {
      e = ERR_OK; // removed
      outcome = NONE;
    } else if (!e) {
      e = rekey_token(r, read->id, which, token_of(again, which), &outcome, &reason);
    }
  }
  business_free(again);
  if (!e) {
    r->outcomes[outcome]++;
  } else if (e == ERR_KEY || e == ERR_FORMAT || e == ERR_TOO_LARGE || e == ERR_CONFLICT) {
    bulk_run_failed(&r->run, read->id, names[which], reason.text);
    e = ERR_OK;
  } else {
    why_set(why, "%s: %s", read->id, reason.text);
  }
  return e;
}

static enum err on_page(void *ctx, struct business *const *page, unsigned count, struct why *why) {
  struct rekeying *r = ctx;
  uint64_t before = r->outcomes[REKEYED];
  struct why ignored;
  enum err e = r->dry ? ERR_OK : store_begin(r->store, why);
  if (e) return e;
  for (unsigned i = 0; i < count && !e; i++)
    for (enum store_token which = STORE_ACCESS_TOKEN; which <= STORE_REFRESH_TOKEN && !e; which++)
      e = rekey_one(r, page[i], which, why);
  // What was done before an error is as good as it is after none.
  enum err end = r->dry ? ERR_OK : store_end(r->store, true, e ? &ignored : why);
  if (end) r->outcomes[REKEYED] = before;
  r->read += count;
  bulk_run_step(&r->run, count);
  return e ? e : end;
}

static enum err rekey_all(const struct ctl *ctl, struct rekeying *r, struct why *why) {
  uint64_t all, active;
  enum err e = store_count(r->store, &all, &active, why);
  if (e) return e;
  bulk_run_start(&r->run, ctl, all);
  e = bulk_read(r->store, on_page, r, why);
  if (!e) bulk_run_unread(&r->run, all, r->read);
  const struct bulk_count counts[] = {{"rekeyed", r->outcomes[REKEYED]},
                                      {"current", r->outcomes[CURRENT]},
                                      {"plain", r->outcomes[PLAIN]},
                                      {"failed", r->run.failed}};
  bulk_run_end(&r->run, counts, COUNT_OF(counts));
  return e;
}

int token_rekey_run(struct ctl *ctl) {
  struct why why = {""};
  struct rekeying r = {.dry = ctl_flag(ctl, "--dry-run"),
                       .seal_plain = ctl_flag(ctl, "--plain"),
                       .convert = ctl_flag(ctl, "--format") != NULL};
  enum err e = token_format_for(ctl, &r.format, &why);
  if (e == ERR_RANGE) {
    ctl_complain("%s", why.text);
    return EX_USAGE;
  }
  const struct token_key_options none = {.allow_plain = true};
  if (!e) e = token_keys_opening(ctl, &r.all, &why);
  if (!e) e = token_keys_writing(ctl, &r.first, &why);
  if (!e) e = token_keys_new(&none, &r.no_key, &why);
  if (!e) e = store_for(ctl, false, &r.store, &why);
  if (!e) e = rekey_all(ctl, &r, &why);
  // It may hold what is stored no more, under a key that is about to go.
  if (r.outcomes[REKEYED] && !r.dry) (void)daemon_forget(ctl, NULL);
  store_close(r.store);
  token_keys_free(r.all);
  token_keys_free(r.first);
  token_keys_free(r.no_key);
  if (e) return ctl_fail(e, "token rekey", &why);
  return r.run.failed ? EX_DATAERR : EX_OK;
}
