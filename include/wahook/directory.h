// The directory: whose phone number is this? A cache before a store; the store is SQLite, MongoDB, or RAM for tests.
#ifndef WAHOOK_DIRECTORY_H
#define WAHOOK_DIRECTORY_H

#include "wahook/config.h"
#include "wahook/loop.h"
#include "wahook/metrics.h"

// A business as the `businesses` documents have it. Texts are "" when absent. The access token is as stored (encrypted).
#define BUSINESS_PHONES_MAX 32
struct business {
  char *id, *name, *sub_domain, *waba_id;
  char *phone_number_ids[BUSINESS_PHONES_MAX];
  unsigned phone_count;
  char *access_token, *refresh_token;
  int64_t token_expires_ms; // since 1970, 0: unknown
  bool whatsapp_enabled, is_active;
  int64_t created_ms;
  // Optional, beside the old documents' fields: per-business overrides, "" = the deployment's.
  char *app_secret; // of its own Meta app, as stored; see webhook.business_secrets
  char *verify_token;
  char *rate_limit;        // as limits.business
  struct config_rate rate; // what that means; period 0: nothing, so the deployment's is in force
  char *retention;         // as dispatch.retention, within the bounds below
  int64_t retention_ms;    // what that means; 0: nothing, so the deployment's is in force
  char *responder_type, *responder_url, *responder_key, *responder_model, *responder_prompt;
};
#define BUSINESS_RETENTION_MIN_MS INT64_C(1000)
#define BUSINESS_RETENTION_MAX_MS (INT64_C(3650) * 86400 * 1000)
struct business *business_new(void);
struct business *business_copy(const struct business *b);
void business_free(struct business *b); // wipes the tokens
// JSON shaped like the `businesses` documents (whatsappPhoneNumberIds, whatsappAccessToken, ...; responder as an object; verifyToken).
// Lenient: dates as text, number or {"$date": ...}; _id as text or {"$oid": ...}; phone ids as text or number.
enum err business_from_json(const struct json *document, struct business **out, struct why *why) MUST_CHECK;
// Works out what rate_limit and retention mean, after they were set. ERR_FORMAT: one means nothing, and the deployment's is in force
// instead. `why` may be NULL.
enum err business_settle(struct business *b, struct why *why);
void business_to_json(const struct business *b, struct json_writer *w, const char *key); // an object
// A phone number id: 1 to 32 characters of [0-9A-Za-z_-].
bool business_phone_id_valid(struct span phone_number_id);

enum directory_key { DIRECTORY_PHONE, DIRECTORY_SUBDOMAIN, DIRECTORY_WABA };

enum directory_answer {
  DIRECTORY_FOUND,   // here it is
  DIRECTORY_UNKNOWN, // the store says that there is no such (active, enabled) business
  DIRECTORY_LATER,   // the store cannot be asked now: not known yet
  DIRECTORY_PENDING, // (directory_get only) the cache does not know; ask with directory_find
};

struct store_options {
  const char *uri; // "sqlite:/path", "ram:", "mongodb://..."; a password in it is never shown
  // What follows is for MongoDB. 0 and NULL: the defaults of the options of the same names.
  const char *database;        // wins over the one that the URI names
  unsigned pool_max, pool_min; // connections of the whole daemon
  unsigned processes;          // that share them
  bool takes_rest;             // what is left over when they are divided
  int64_t slow_query_ms;       // a query that takes longer is logged with its plan; negative: none is
  bool make_indexes;           // who watches the store makes missing indexes
};

// The store of a configuration, for a daemon of so many processes that open it (0: a tool, alone). The texts are the configuration's, but
// for the uri, which is added to `uri`: keep both while the options are used.
void store_configured(const struct config *config, unsigned processes, struct buf *uri, struct store_options *out);

struct directory;
struct directory_options {
  struct loop *loop;
  struct shm *shm;       // broadcasts and the store's health; may be NULL in tools
  struct shm_slot *slot; // counters; may be NULL in tools. The dispatcher's: the store is watched for changes, for all processes.
  struct store_options store;
  const char *position_path; // file that keeps over a restart how far the store was watched; NULL: none
  int64_t cache_ttl_ms, negative_ttl_ms, stale_max_ms;
  size_t cache_size;
  const char *default_phone_number_id, *default_token; // business "default" without a store; NULL or "" for none. Its token is plain text.
};
// Opens lazily: a store that is down does not fail the start.
enum err directory_open(const struct directory_options *options, struct directory **out, struct why *why) MUST_CHECK;
// Pending finds are answered LATER first. Its memory goes when its last job and timer are back: run or free the loop afterwards.
void directory_close(struct directory *directory);

// From the cache alone, no waiting: FOUND (valid until the loop's next turn), UNKNOWN, or PENDING. What is absent or expired is asked for
// at once or SOON, so that a later look-up knows: absent keys then wait some tenths of a second, since a process that needs the answer may
// find out meanwhile that nobody has it. Counts a hit or a miss, logs "Cache HIT"/"Cache MISS" at debug.
enum directory_refresh { DIRECTORY_LEAVE, DIRECTORY_SOON, DIRECTORY_NOW };
enum directory_answer directory_get(struct directory *directory, enum directory_key kind, struct span key, enum directory_refresh refresh,
                                    const struct business **out);
// As above, but waits for the flight: on_answer is called exactly once, at once when the cache knows. `business` is valid during the call
// only.
// Whether directory_find would answer at once from the cache. Counts nothing.
bool directory_knows(struct directory *directory, enum directory_key kind, struct span key);
// Whether the store is asked now, or only probed since it failed again and again.
bool directory_asks(const struct directory *directory);
typedef void directory_found(void *ctx, enum directory_answer answer, const struct business *business);
void directory_find(struct directory *directory, enum directory_key kind, struct span key, directory_found *on_answer, void *ctx);
// Forgets one key and asks the store again at the next look-up (a token that Graph refused).
void directory_forget(struct directory *directory, enum directory_key kind, struct span key);
void directory_clear(struct directory *directory);
// Loads the first `max` active businesses in one query; on_done(count) or (-1) when the store cannot be asked.
void directory_warm(struct directory *directory, unsigned max, void (*on_done)(void *ctx, int count), void *ctx);

// All businesses that have something in the field `retention`, active or not; numbers that are an active one's now are left out of those
// that are not. The callback borrows them; count -1: the store cannot be asked now. One question at a time.
typedef void directory_listed(void *ctx, struct business *const *businesses, int count);
void directory_retentions(struct directory *directory, directory_listed *on_listed, void *ctx);
// Nobody waits for that any more.
void directory_retentions_drop(struct directory *directory);
// A number that grows whenever a business may have changed.
uint64_t directory_changes(const struct directory *directory);

struct directory_stats {
  size_t size, capacity;
  int64_t ttl_ms;
  uint64_t hits, misses;
  bool healthy;
  const char *breaker;     // "closed", "open", "half_open": whether the store is asked, left alone or probed
  uint64_t breaker_opened; // times
};
void directory_stats(const struct directory *directory, struct directory_stats *out);

// ---- the store itself, blocking: for tools and, on pool threads, for the façade. One table of stores by URI scheme.
struct store;
// Touches nothing yet: a store that is down fails at the first question.
enum err store_open_with(const struct store_options *options, struct store **out, struct why *why) MUST_CHECK;
enum err store_open(const char *uri, struct store **out, struct why *why) MUST_CHECK; // with the defaults
void store_close(struct store *store);
// One active, enabled business by key (by subdomain also before it is enabled: Meta verifies its address then); the newest when several
// claim a phone number. ERR_NOT_FOUND, ERR_UNAVAILABLE with why.
enum err store_find(struct store *store, enum directory_key kind, struct span key, struct business **out, struct why *why) MUST_CHECK;
typedef void store_on_business(void *ctx, const struct business *business); // borrows
// Up to `max` businesses: fewer are the last.
enum store_which {
  STORE_ALL,    // in an order of the store's own (listing, export)
  STORE_ACTIVE, // active, enabled ones, newest first (warm-up), each with only those phone numbers that store_find gives it
  // Those that have something in the field `retention`, active or not, ordered as all are. Of each, only id, phone numbers, retention,
  // is_active, whatsapp_enabled and created_ms are sure to be there.
  STORE_RETENTION,
};
// From the first one on (NULL), or those behind `position`, which moves on and is empty in the beginning; the active ones have none. Only
// the store that filled a position understands it.
enum err store_each(struct store *store, enum store_which which, struct buf *position, unsigned max, store_on_business *on_business,
                    void *ctx, struct why *why) MUST_CHECK;
// By id, subdomain or phone number id, active or not: for an operator.
enum err store_get(struct store *store, const char *any_name, struct business **out, struct why *why) MUST_CHECK;
enum err store_put(struct store *store, const struct business *business, struct why *why) MUST_CHECK; // insert or replace by id
enum err store_remove(struct store *store, const char *id, struct why *why) MUST_CHECK;
// Replaces one stored token, and only if it is still `from` (not empty): ERR_CONFLICT when it is not, or the business is gone.
enum store_token { STORE_ACCESS_TOKEN, STORE_REFRESH_TOKEN };
enum err store_swap_token(struct store *store, const char *id, enum store_token which, const char *from, const char *to,
                          struct why *why) MUST_CHECK;
// Many puts at once: begin, put..., end. One transaction in SQLite; MongoDB gathers them and writes them at the end, each for itself
// (tokens are swapped at once there, and part of the transaction in SQLite).
enum err store_begin(struct store *store, struct why *why) MUST_CHECK;
enum err store_end(struct store *store, bool commit, struct why *why) MUST_CHECK;
enum err store_count(struct store *store, uint64_t *all, uint64_t *active, struct why *why) MUST_CHECK;
enum err store_ping(struct store *store, struct why *why) MUST_CHECK;

// ---- indexes of a store that others share: which of those that look-ups need are there. None is ever dropped.
enum store_index_state {
  STORE_INDEX_THERE,
  STORE_INDEX_RENAMED,  // there, under another name: as good
  STORE_INDEX_MISSING,  //
  STORE_INDEX_CONFLICT, // another one has its name, or the store refuses it
  STORE_INDEX_MADE,     // by this call
  STORE_INDEX_FOREIGN,  // none of ours
};
const char *store_index_state_name(enum store_index_state state);
struct store_index {
  const char *name, *keys; // "webhook_lookup_idx", "whatsappPhoneNumberIds: 1, whatsappEnabled: 1, isActive: 1"
  enum store_index_state state;
  const char *note; // the other name, or why it is refused; "" for none
  int64_t uses;     // since the server's start; -1: not known
};
typedef void store_on_index(void *ctx, const struct store_index *index);
// ERR_UNSUPPORTED where indexes are no matter of an operator's.
enum err store_indexes_show(struct store *store, store_on_index *on_index, void *ctx, struct why *why) MUST_CHECK;
// Makes the missing ones, which may take minutes. ERR_CONFLICT when one cannot be made; the others are, all the same.
enum err store_indexes_ensure(struct store *store, store_on_index *on_index, void *ctx, struct why *why) MUST_CHECK;

// ---- what a store tells of its queries and connections: of this process, since its start.
#define STORE_QUERIES(X)                                                                                                                   \
  X(PHONE, "phone", "find {whatsappPhoneNumberIds, whatsappEnabled, isActive}")                                                            \
  X(SUBDOMAIN, "subdomain", "find {subDomain, isActive}")                                                                                  \
  X(WABA, "waba", "find {wabaId, whatsappEnabled, isActive}")                                                                              \
  X(WARM, "warmup", "find {whatsappEnabled, isActive} sort {createdAt: -1}")                                                               \
  X(NAME, "name", "find {_id | subDomain | whatsappPhoneNumberIds}")                                                                       \
  X(LIST, "list", "find {_id} sort {_id: 1}")                                                                                              \
  X(COUNT, "count", "count, aggregate {whatsappEnabled, isActive}")                                                                        \
  X(WRITE, "write", "update, delete {_id}")                                                                                                \
  X(PROBE, "probe", "find {_id} limit 1")
#define STORE_QUERY_ENUM(id, name, shape) STORE_QUERY_##id,
enum store_query { STORE_QUERIES(STORE_QUERY_ENUM) STORE_QUERY_COUNT_OF };
#undef STORE_QUERY_ENUM
enum store_cause { STORE_CAUSE_NETWORK, STORE_CAUSE_TIMEOUT, STORE_CAUSE_AUTH, STORE_CAUSE_SERVER, STORE_CAUSES };
const char *store_cause_name(enum store_cause cause);
struct store_query_stats {
  const char *name, *shape;
  uint64_t count, slow, documents; // answered; of these slow ones; documents returned
  uint64_t errors[STORE_CAUSES];
  uint64_t retried;              // attempts that failed and may have been mended by another one
  uint64_t sum_us, max_us;       //
  uint64_t buckets[SHM_BUCKETS]; // durations, see histogram_bucket()
  // Of the last slow one that was looked into.
  int64_t slow_at_us, slow_us; // when that was, and how long the query had taken; 0: none was
  int64_t examined;            // documents that its plan examined; -1: not known
  char plan[64];               // "IXSCAN webhook_lookup_idx"; "": not known
  char advice[128];            // what would make it faster; "" for nothing
};
struct store_stats {
  struct store_query_stats queries[STORE_QUERY_COUNT_OF];
  unsigned pool_max, pool_min, pool_open, pool_idle, pool_waiting; // in use: open - idle
  uint64_t pool_lent, pool_reused;                                 // reuse rate: reused / lent
  uint64_t heartbeats, heartbeats_failed;
  int64_t heartbeat_us; // the last round trip; -1: none yet
};
// ERR_UNSUPPORTED from stores that are no servers. Takes no question to the store.
enum err store_stats(struct store *store, struct store_stats *out) MUST_CHECK;
enum err directory_store_stats(struct directory *directory, struct store_stats *out) MUST_CHECK;

// ---- the same of the whole daemon: each process tells at most once a second, in its block of the shared memory. Stores that are no
// servers keep no figures; their queries are counted here.
struct store_query_metrics {
  enum histogram durations; // of those that were answered
  enum metric slow, retried, documents, errors[STORE_CAUSES];
};
extern const struct store_query_metrics store_query_metrics[STORE_QUERY_COUNT_OF];
// What is no number, as a note of the block (shm_note): the last slow query that was looked into, under the number of its kind, and
struct store_slow {
  int64_t at_us, took_us, examined;
  char plan[64], advice[128];
};
// how the store has answered this process.
#define STORE_NOTE_STATE ((unsigned)STORE_QUERY_COUNT_OF)
struct store_state {
  int64_t ok_us, failed_us; // the last answer, the last failure (monotonic); 0: none
  char failure[200];        // what that was
};
// and of each of the indexes that look-ups need, who watches the store, at most once a minute.
#define STORE_INDEXES_MAX 3u
#define STORE_NOTE_INDEX  (STORE_NOTE_STATE + 1)
struct store_index_told {
  int64_t at_us, uses; // when it was looked up; see store_index
  uint32_t state;      // enum store_index_state
  char name[32], keys[80], note[100];
};
// From which time on a query is slow may be changed while the daemon runs: this threshold of the shared memory (shm_threshold), in
// microseconds, 0: none is slow.
#define STORE_THRESHOLD_SLOW 0u
// The daemon's last slow one of this kind; false: none yet.
bool store_slow_last(const struct shm *shm, enum store_query query, struct store_slow *out);
// The state of one of the indexes, from 0 to STORE_INDEXES_MAX - 1; false: not known (yet).
bool store_index_last(const struct shm *shm, unsigned which, struct store_index_told *out);

#endif
