// The intake journal: what is acknowledged is on disk. One writer per worker, one reader (the dispatcher) over all files.
#ifndef WAHOOK_INTAKE_H
#define WAHOOK_INTAKE_H

#include "wahook/loop.h"
#include "wahook/metrics.h"

enum intake_kind {
  INTAKE_MESSAGE = 1, // one element of messages[]
  INTAKE_STATUS,      // one element of statuses[]
  INTAKE_ERROR,       // one element of errors[]
  INTAKE_ACCOUNT,     // an account-level change (routed by WABA id)
  INTAKE_ECHO,        // an echo of a human answer (smb_message_echoes)
  INTAKE_OTHER,       // any other change, kept raw
  INTAKE_QUARANTINE,  // unreadable, kept raw; `type` says why
};

// The type of a quarantined event that stands for damaged bytes of a journal.
#define INTAKE_DAMAGED "damaged journal bytes"

// One event. Spans are borrowed.
struct intake_event {
  enum intake_kind kind;
  int64_t received_us;         // wall clock
  int64_t boot_us;             // the same moment by clock_boot_us; 0: not known, or (from the reader) before the machine's last start
  uint16_t boot_tag;           // which start boot_us counts from: the low bits of clock_boot_id
  struct span phone_number_id; // routing key; empty for account-level events
  struct span waba_id;         // entry.id
  struct span user;            // phone number or business-scoped user id: the other half of the conversation
  struct span wamid;           // empty: each delivery is its own event
  struct span type;            // "text", "delivered", the field's name, or why it is quarantined
  struct span profile_name;    // contacts[].profile.name, may be empty
  struct span raw;             // the exact bytes of the element, or of what is quarantined; other fields: 65,535 bytes at most
};

// ---------------------------------------------------------------- writer (worker)

struct journal;
struct journal_options {
  struct loop *loop;
  struct shm_slot *slot; // counters, commit histogram; its ordinal names the files
  const char *directory; // STATE_DIR/intake, made when missing
  bool sync;             // fdatasync before a commit counts
  size_t segment_bytes;
  int wake_fd;     // eventfd that tells the dispatcher of new records, -1 for none
  struct shm *shm; // dispatcher_idle decides whether wake_fd is written; this worker's bit of intake_refused (1 << ordinal % 32) is kept;
                   // may be NULL
  void (*on_commit)(void *ctx, uint64_t upto, enum err result); // on the loop: all appends with ticket <= upto are decided
  void *ctx;
};
// A full or failing disk is no error here: the journal starts unhealthy and recovers by itself. A directory that cannot be made or written
// is.
enum err journal_open(const struct journal_options *options, struct journal **out, struct why *why) MUST_CHECK;
// Gathers events of this turn; its end, or a ticket when much has gathered, hands the batch to the commit thread (one fdatasync in flight
// while the next collects).
// All events appended between two tickets are decided together. No allocation in a steady state. boot_us and boot_tag are the journal's.
void journal_append(struct journal *journal, const struct intake_event *event);
uint64_t journal_ticket(struct journal *journal);              // names everything appended so far, e.g. a delivery; on_commit decides it
size_t journal_waiting_bytes(const struct journal *journal);   // gathered or being written, for load shedding
int64_t journal_waiting_us(const struct journal *journal);     // how long the oldest of that waits
uint64_t journal_backlog_bytes(const struct journal *journal); // full files of all workers that the dispatcher has not taken yet

// When no more shall be taken, and bits of broadcast->shedding, which tells everybody.
struct journal_bounds {
  size_t waiting_bytes;
  int64_t waiting_us;
  uint64_t backlog_bytes; // 0: no bound
};
enum journal_room {
  JOURNAL_HAS_ROOM,
  JOURNAL_FULL_WAITING, // the disk is too slow
  JOURNAL_FULL_BACKLOG, // the dispatcher is too slow or gone
  JOURNAL_FULL_JOBS,    // what comes behind the dispatcher is too slow
};
#define INTAKE_SHED_JOBS             1u
#define INTAKE_SHED_BACKLOG          2u
#define INTAKE_SHED_WAITING_BITS     24 // ordinals share them
#define INTAKE_SHED_WAITING(ordinal) (1u << (8 + (ordinal) % INTAKE_SHED_WAITING_BITS))
// Cheap: once a request and more. What is full by its backlog has room again at nine tenths of the bound.
enum journal_room journal_room(struct journal *journal, const struct journal_bounds *bounds);
// False while the disk refuses: callers answer 503 at once; the journal tries again by itself (a probe write each second).
bool journal_healthy(const struct journal *journal);
// Flushes, seals the segment, ends the thread; on_done when the last commit was reported.
void journal_close(struct journal *journal, void (*on_done)(void *ctx), void *ctx);

// ---------------------------------------------------------------- reader (dispatcher)

// Where a file was read up to; kept by the spool in the same transaction as what was read.
struct intake_position {
  char file[64]; // name without directory
  uint64_t offset;
};

struct intake_reader;
struct intake_reader_options {
  const char *directory;
  struct shm_slot *slot; // INTAKE_CORRUPT
  // Positions that the spool remembers, at the start.
  const struct intake_position *positions;
  size_t position_count;
};
enum err intake_reader_open(const struct intake_reader_options *options, struct intake_reader **out, struct why *why) MUST_CHECK;
void intake_reader_close(struct intake_reader *reader);

// A batch of events of one file, in the order of their append. Spans point into the batch. Empty only when `finished`.
// Over several files batches follow the order of arrival: what arrived after another event's 200 comes after it, within a conversation,
// wherever the wall clock stood; of what was written before the machine's last start, as the wall clock says.
struct intake_batch {
  struct intake_event *events;
  size_t count;
  struct intake_position upto; // goes into the spool with the events
  bool finished; // after this batch the file holds nothing more and nobody writes it: delete it once the batch is in the spool
};
// Reads the next batch (at most `max` events and about 4 MiB) of any file that has something new; ERR_AGAIN when there is nothing.
// Fair over files (the earliest arrival first). A torn tail of a dead writer is cut; corrupt bytes in the middle come as one
// INTAKE_QUARANTINE event and are reported. The batch is valid until the next call. The reader continues behind it, whether or not it was
// stored: on a failed store, close and open again.
enum err intake_reader_next(struct intake_reader *reader, size_t max, struct intake_batch *batch) MUST_CHECK;
// Deletes a finished file (its position is in the spool). Positions of deleted files may be dropped by the spool then.
void intake_reader_delete(struct intake_reader *reader, const char *file);
// Bytes that were written but not read yet, all files.
uint64_t intake_reader_backlog_bytes(struct intake_reader *reader);

// Pure encoding of a record, shared by writer, reader and tests.
size_t intake_record_size(const struct intake_event *event);
void intake_record_encode(const struct intake_event *event, char *out);
// ERR_TRUNCATED (more bytes needed), ERR_CHECKSUM/ERR_FORMAT (not a record), ERR_NOT_FOUND (zeroes: end of what was written).
enum err intake_record_decode(struct span bytes, struct intake_event *event, size_t *consumed) MUST_CHECK;

#endif
