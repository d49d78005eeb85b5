// Single flights: many who ask for one key, one question to the store on a pool thread.
#ifndef WAHOOK_DIRECTORY_FLIGHT_H
#define WAHOOK_DIRECTORY_FLIGHT_H

#include "cache.h"

// What a question came to. On the loop, before the waiters hear it.
struct flight_landing {
  enum directory_key kind;
  const struct cache_key *key;
  enum err err;              // ERR_OK, ERR_NOT_FOUND, else the store could not be asked
  struct business *business; // ERR_OK: the receiver's to keep
  const char *why;
  int64_t asked_us, took_us; // monotonic; how long the answer took
  bool asked;                // false: given up since an earlier one of the same job had failed
  bool outdated;             // the key was forgotten meanwhile: do not cache (the store is asked again)
};

struct flights;
struct flights_options {
  struct loop *loop;
  struct store *store;
  // Returns the business that waiters are shown (kept by the receiver for this turn).
  const struct business *(*on_landed)(void *ctx, const struct flight_landing *landing);
  void (*on_idle)(void *ctx); // after flights_close(): no job is out any more, flights_free() may follow
  void *ctx;
};
struct flights *flights_new(const struct flights_options *options);
// Joins the key's flight or starts one; `on_answer` NULL: nobody waits. False: too many are under way (nothing was kept).
bool flights_join(struct flights *flights, enum directory_key kind, struct span key, const struct cache_key *text,
                  directory_found *on_answer, void *ctx, int64_t now_us);
// What is under way may have read what was there before: ask again. Empty span: all.
void flights_outdate(struct flights *flights, struct span text_or_glob);
// Who has waited since before `since_us` hears LATER; the question stays under way.
void flights_give_up(struct flights *flights, int64_t since_us);
// Jobs that the store has not answered since before `since_us`.
unsigned flights_overdue(const struct flights *flights, int64_t since_us);
// All who wait hear LATER, and on_idle follows (perhaps at once).
void flights_close(struct flights *flights);
void flights_free(struct flights *flights);

#endif
