// The spool: what the dispatcher has to do and what it has done, in SQLite (WAL, synchronous=FULL), behind asynchronous verbs.
// A verb goes to the spool's own thread, which applies all that has gathered in one transaction and completes each on the loop.
// All times in it are by one steady clock (struct clock_steady), which the spool keeps: callers read it from there and go on with it.
#ifndef WAHOOK_SPOOL_H
#define WAHOOK_SPOOL_H

#include "wahook/loop.h"
#include "wahook/metrics.h"

struct spool;
struct spool_options {
  struct loop *loop;
  struct shm_slot *slot; // METRIC histogram SPOOL; may be NULL
  const char *path;      // STATE_DIR/spool.db, made when missing (mode 0640)
};
// Opens and migrates the database and starts the thread. ERR_FORMAT for a file that is no spool, ERR_VERSION for one of a newer wahookd.
enum err spool_open(const struct spool_options *options, struct spool **out, struct why *why) MUST_CHECK;
// Completes what was asked, then ends the thread; on_done on the loop. No verb may be asked after it.
void spool_close(struct spool *spool, void (*on_done)(void *ctx), void *ctx);
// Eight hex digits that name this spool for good: part of the callback data, so that ids of a lost spool are never mistaken for ours.
const char *spool_name(const struct spool *spool);
// The steady clock as an earlier process left it; all zero in a new spool.
struct clock_steady spool_clock(const struct spool *spool);
// Keeps it: at the start, and each minute for the sake of a machine that stops without notice.
void spool_keep_clock(struct spool *spool, const struct clock_steady *clock);

// ---------------------------------------------------------------- ingest

enum spool_what {
  SPOOL_JOB,    // a message to answer: a job at the end of its conversation
  SPOOL_NOTE,   // a message that is not answered: counts for the conversation's 24 hours, kept in `kept`
  SPOOL_STATUS, // a delivery status of an outgoing message
  SPOOL_KEEP,   // kept raw (account events, echoes, errors, unknown kinds)
  SPOOL_QUARANTINE,
};

enum spool_status {
  SPOOL_STATUS_NONE,
  SPOOL_STATUS_SENT,
  SPOOL_STATUS_DELIVERED,
  SPOOL_STATUS_READ,
  SPOOL_STATUS_PLAYED,
  SPOOL_STATUS_FAILED
};

// What became of an item.
enum spool_fate {
  SPOOL_FATE_NEW,       // taken
  SPOOL_FATE_DUPLICATE, // its id was seen within 8 days: dropped
  SPOOL_FATE_LATE,      // a status behind a later one: absorbed
};

// Spans stay valid until on_ingested.
struct spool_item {
  enum spool_what what;
  struct span phone_number_id, user, wamid, type, profile_name, raw;
  int64_t received_us;
  int64_t sent_us; // when the user sent it, by the same clock; 0: unknown
  // An item with a wamid is dropped when (phone_number_id, wamid, dedup) was seen; dedup tells kinds apart ("message", "status:read").
  struct span dedup;
  // SPOOL_STATUS only
  enum spool_status status;
  struct span callback;   // biz_opaque_callback_data, or empty
  int64_t error_code;     // of a failed status
  struct span error_text; // title or details
  // Results
  enum spool_fate fate;
  int64_t conversation; // of a new SPOOL_JOB
  int64_t job;
};

struct spool_mark {
  const char *file; // journal file name
  uint64_t offset;  // read up to here
  bool finished;    // the file will be deleted: its position may go
};

// Takes a batch and the journal position behind it in one transaction. `items` belongs to the caller and lives until on_ingested, which
// fills in fates. On an error nothing of the batch was taken.
void spool_ingest(struct spool *spool, struct spool_item *items, size_t count, const struct spool_mark *mark, int64_t now_us,
                  void (*on_ingested)(void *ctx, enum err result), void *ctx);

// Positions that were stored, at the start (blocking).
struct spool_position {
  char file[64];
  uint64_t offset;
};
enum err spool_positions(struct spool *spool, struct spool_position **out, size_t *count, struct why *why) MUST_CHECK; // free(*out)
// The file is deleted: its position is not needed any more.
void spool_forget_position(struct spool *spool, const char *file);

// ---------------------------------------------------------------- conversations that have work

struct spool_conversation {
  int64_t id;
  int64_t next_us; // not before (a retry), 0: now
  char phone_number_id[36];
};
// The next page of conversations with waiting jobs, by id; on_page borrows the rows; count < max: that was the last page.
void spool_page(struct spool *spool, int64_t after_id, unsigned max,
                void (*on_page)(void *ctx, enum err result, const struct spool_conversation *rows, size_t count), void *ctx);
// Whether another process (wahookctl queue retry) wrote since the last call: then page again.
void spool_changed(struct spool *spool, void (*on_changed)(void *ctx, bool changed), void *ctx);

// ---------------------------------------------------------------- one job

enum spool_outgoing_state {
  SPOOL_OUT_WAITING, // not sent yet
  SPOOL_OUT_FLYING,  // stored as being sent: after a crash its outcome is unknown
  SPOOL_OUT_SENT,    // Graph accepted it (wamid), or a status told so
  SPOOL_OUT_DEAD,    // Graph refused it for good
};

struct spool_outgoing {
  int64_t id;
  unsigned index; // 0, 1, ... within the job
  enum spool_outgoing_state state;
  int64_t unknown_since_us; // 0 unless its outcome is unknown
  char *body;               // Graph message object (JSON) without recipient and callback data
  char wamid[200];          // "" until accepted
};

struct spool_turn {
  bool from_user;
  char *text;
};

// A job in work: owned by the receiver of on_claimed; spool_job_free.
struct spool_job {
  int64_t id, conversation;
  int64_t received_us, sent_us, last_inbound_us; // last_inbound: newest message of the user in this conversation
  unsigned attempts;                             // that were made before this one
  bool answered;                                 // its answer is stored: do not ask the responder again
  char *phone_number_id, *user, *wamid, *type, *profile_name, *raw;
  struct spool_outgoing *outgoing; // in order
  size_t outgoing_count;
  struct spool_turn *turns; // the conversation's last turns, oldest first: of spool_turns
  size_t turn_count;
};
void spool_job_free(struct spool_job *job);

// The first waiting job of a conversation; job NULL and ERR_NOT_FOUND when there is none. When its answer is stored already, the first
// unsent outgoing message is marked as flying in the same transaction; one that was flying already keeps unknown_since_us (set to now_us at
// the first time).
void spool_claim(struct spool *spool, int64_t conversation, int64_t now_us,
                 void (*on_claimed)(void *ctx, enum err result, struct spool_job *job), void *ctx);
// Reads the last turns of the job's conversation into the job, which lives until on_read. Not every responder wants them.
void spool_turns(struct spool *spool, struct spool_job *job, unsigned max, void (*on_read)(void *ctx, enum err result), void *ctx);

// Stores the answer before it is sent: Graph message objects in order, the first one marked as flying. `user_text` and `answer_text`
// become turns of the conversation unless absent. Arguments are copied. An answer may be empty (nothing to send).
// ids: the outgoing messages' ids in order, borrowed during the call.
void spool_store_answer(struct spool *spool, int64_t job, const struct span *bodies, size_t count, struct span user_text,
                        struct span answer_text, int64_t now_us, void (*on_stored)(void *ctx, enum err result, const int64_t *ids),
                        void *ctx);
// Graph accepted an outgoing message; the job's next one is marked as flying. `wamid` is copied.
void spool_sent(struct spool *spool, int64_t outgoing, struct span wamid, int64_t now_us, void (*on_done)(void *ctx, enum err result),
                void *ctx);

enum spool_end {
  SPOOL_END_DONE,    // answered
  SPOOL_END_SKIPPED, // nothing to answer
  SPOOL_END_RETRY,   // again at next_us; attempts + 1
  SPOOL_END_HOLD,    // again at next_us, not its own fault: attempts stay
  SPOOL_END_DEAD,    // dead letter
};
struct spool_finish {
  int64_t job;
  enum spool_end end;
  int64_t now_us, next_us;
  // Of the outgoing message that flew when it ended (0: none): whether it is known not to have been sent (then it waits again), may have
  // been sent (stays flying, unknown since now), was refused for good (SPOOL_END_DEAD), or was accepted (SPOOL_OUT_SENT with wamid: spares
  // a spool_sent for the last message).
  int64_t outgoing;
  enum spool_outgoing_state outgoing_state;
  struct span wamid;
  struct span reason; // for people; copied
};
// Ends the work on a job. `more`: its conversation has another waiting job (or the same one again at next_us).
void spool_finish(struct spool *spool, const struct spool_finish *finish, void (*on_done)(void *ctx, enum err result, bool more),
                  void *ctx);

// ---------------------------------------------------------------- house-keeping

// How many rows went; `more`: call again soon.
typedef void spool_swept(void *ctx, enum err result, size_t rows, bool more);
// Deletes a bounded number of rows: seen ids older than 8 days, finished jobs, kept events, statuses and turns older than retention_ms.
// Dead letters stay.
void spool_clean(struct spool *spool, int64_t now_us, int64_t retention_ms, spool_swept *on_done, void *ctx);
// The phone number ids whose messages are kept for a time of their own instead, each once: whoever is not among them any more goes by
// spool_clean again. Kept in the spool until the next call, over restarts too. Copied.
struct spool_retention {
  const char *phone_number_id;
  int64_t retention_us; // > 0
};
void spool_retentions(struct spool *spool, const struct spool_retention *rows, size_t count, void (*on_done)(void *ctx, enum err result),
                      void *ctx);
// Deletes, of these numbers, a bounded number of finished jobs whose time is over, with what is of them: answers, their statuses, turns,
// idle conversations; and kept events. Ids that were seen, dead letters and statuses of other messages stay.
void spool_expire(struct spool *spool, int64_t now_us, spool_swept *on_done, void *ctx);
// Counts for the operator, kept current by the thread (no query): waiting and dead jobs.
void spool_counts(const struct spool *spool, uint64_t *waiting, uint64_t *dead);

// ---------------------------------------------------------------- for tools: blocking, in a process of its own

struct spool_view;
enum err spool_view_open(const char *path, struct spool_view **out, struct why *why) MUST_CHECK;
void spool_view_close(struct spool_view *view);

enum spool_job_state { SPOOL_JOB_WAITING, SPOOL_JOB_DONE, SPOOL_JOB_SKIPPED, SPOOL_JOB_DEAD };
const char *spool_job_state_name(enum spool_job_state state); // "waiting", "done", "skipped", "dead"
struct spool_row {
  int64_t id;
  enum spool_job_state state;
  int64_t received_us, next_us, finished_us; // as a wall clock shows them that always stood where it stands now
  unsigned attempts;
  const char *phone_number_id, *user, *wamid, *type, *raw, *reason;
};
// Jobs by state and, where given (not ""), phone number id; newest first. on_row borrows.
enum err spool_view_list(struct spool_view *view, enum spool_job_state state, const char *phone_number_id, unsigned max,
                         void (*on_row)(void *ctx, const struct spool_row *row), void *ctx, struct why *why) MUST_CHECK;
// One job with its outgoing messages and their statuses as JSON members of an open object. ERR_NOT_FOUND.
enum err spool_view_show(struct spool_view *view, int64_t job, struct json_writer *w, struct why *why) MUST_CHECK;
// Puts dead letters back (attempts 0), or a waiting one at once; job 0: all dead ones. `changed` counts.
enum err spool_view_retry(struct spool_view *view, int64_t job, uint64_t *changed, struct why *why) MUST_CHECK;
// Removes a dead or waiting job; job 0: all dead ones.
enum err spool_view_drop(struct spool_view *view, int64_t job, uint64_t *changed, struct why *why) MUST_CHECK;
struct spool_view_counts {
  uint64_t waiting, done, skipped, dead, quarantined, kept;
};
enum err spool_view_count(struct spool_view *view, struct spool_view_counts *out, struct why *why) MUST_CHECK;

#endif
