// Every statement of the spool's thread: prepared once, kept for the life of the connection. The INDEXED BYs are promises: without the
// index such a statement fails when it is prepared instead of scanning a million jobs.
// A job is answered when there is something to send; one whose answer is to send nothing has a mark instead. A mark for all would change
// the job's page once more.
#ifndef SPOOL_STATEMENTS_H
#define SPOOL_STATEMENTS_H

// clang-format off
#define JOB_IS_ANSWERED "(j.answered OR EXISTS(SELECT 1 FROM outgoing o WHERE o.id >= j.id << 12 AND o.id < (j.id + 1) << 12))"
#define STMT_LIST(X) \
  X(BEGIN_READ, "BEGIN") \
  X(BEGIN_WRITE, "BEGIN IMMEDIATE") \
  X(COMMIT, "COMMIT") \
  X(DATA_VERSION, "PRAGMA data_version") \
  X(SPOOL_READ, "SELECT name, next_job, next_conversation, waiting, dead, boot_id, boot_us, wall_us, steady_us FROM spool") \
  X(SPOOL_WRITE, "UPDATE spool SET next_job = ?1, next_conversation = ?2, waiting = waiting + ?3, done = done + ?4," \
    " skipped = skipped + ?5, dead = dead + ?6, kept = kept + ?7, quarantined = quarantined + ?8") \
  X(SPOOL_COUNTS, "SELECT waiting, dead FROM spool") \
  X(CLOCK_WRITE, "UPDATE spool SET boot_id = ?1, boot_us = ?2, wall_us = ?3, steady_us = ?4") \
  /* journal positions */ \
  X(POSITION_LIST, "SELECT file, offset FROM positions ORDER BY file") \
  X(POSITION_PUT, "INSERT INTO positions(file, offset, finished) VALUES(?1, ?2, ?3)" \
    " ON CONFLICT(file) DO UPDATE SET offset = excluded.offset, finished = excluded.finished") \
  X(POSITION_DELETE, "DELETE FROM positions WHERE file = ?1") \
  /* seen ids */ \
  X(SEEN_ADD, "INSERT OR IGNORE INTO seen(bucket, id) VALUES(?1, ?2)") \
  X(SEEN_FIND, "SELECT 1 FROM seen WHERE bucket = ?1 AND id = ?2") \
  X(SEEN_NEXT_BUCKET, "SELECT bucket FROM seen WHERE bucket > ?1 ORDER BY bucket LIMIT 1") \
  X(SEEN_CLEAN, "DELETE FROM seen WHERE bucket = ?1 AND id <= coalesce((SELECT id FROM seen WHERE bucket = ?1 ORDER BY id" \
    " LIMIT 1 OFFSET ?2), x'ffffffffffffffffffffffffffffffff')") \
  X(RECENT_LIST, "SELECT n, bucket, id FROM seen_recent ORDER BY n") \
  X(RECENT_ADD, "INSERT INTO seen_recent(n, bucket, id) VALUES(?1, ?2, ?3)") \
  X(RECENT_DELETE, "DELETE FROM seen_recent WHERE n <= ?1") \
  X(RECENT_CLEAN, "DELETE FROM seen_recent WHERE bucket < ?1") \
  /* ingest */ \
  X(CONVERSATION_FIND, "SELECT id FROM conversations WHERE phone_number_id = ?1 AND user = ?2") \
  X(CONVERSATION_ADD, "INSERT INTO conversations(id, phone_number_id, user, last_inbound_us, jobs) VALUES(?1, ?2, ?3, ?4, ?5)") \
  X(CONVERSATION_TOUCH, "UPDATE conversations SET last_inbound_us = max(last_inbound_us, ?2), jobs = jobs + ?3 WHERE id = ?1") \
  X(JOB_ADD, "INSERT INTO jobs(id, conversation, state, attempts, answered, received_us, sent_us, next_us, finished_us, wamid, type," \
    " profile_name, reason, raw) VALUES(?1, ?2, 0, 0, 0, ?3, ?4, 0, 0, ?5, ?6, ?7, '', ?8)") \
  X(KEPT_ADD, "INSERT INTO kept(what, received_us, phone_number_id, user, wamid, type, raw) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)") \
  X(STATUS_PUT, "INSERT INTO statuses(wamid, phone_number_id, user, status, rank, at_us, error_code, error_text)" \
    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(wamid) DO UPDATE SET status = excluded.status, rank = excluded.rank," \
    " at_us = excluded.at_us, error_code = excluded.error_code, error_text = excluded.error_text WHERE excluded.rank > rank") \
  /* Only the number that sent the message may speak for it. */ \
  X(STATUS_MARKS_SENT, "UPDATE outgoing SET state = 2, unknown_since_us = 0, sent_us = ?3, wamid = ?2 WHERE id = ?1 AND state <> 2" \
    " AND EXISTS(SELECT 1 FROM jobs j JOIN conversations c ON c.id = j.conversation WHERE j.id = ?4 AND c.phone_number_id = ?5)") \
  /* jobs */ \
  X(PAGE_NEXT, "SELECT j.conversation, j.next_us, c.phone_number_id FROM jobs j INDEXED BY jobs_waiting CROSS JOIN conversations c" \
    " ON c.id = j.conversation WHERE j.state = 0 AND j.conversation > ?1 ORDER BY j.conversation, j.id LIMIT 1") \
  X(JOB_FIRST, "SELECT j.id, j.attempts, " JOB_IS_ANSWERED ", j.received_us, j.sent_us, c.last_inbound_us, c.phone_number_id, c.user, j.wamid," \
    " j.type, j.profile_name, j.raw FROM jobs j INDEXED BY jobs_waiting CROSS JOIN conversations c ON c.id = j.conversation" \
    " WHERE j.state = 0 AND j.conversation = ?1 ORDER BY j.id LIMIT 1") \
  X(JOB_MORE, "SELECT 1 FROM jobs INDEXED BY jobs_waiting WHERE state = 0 AND conversation = ?1 LIMIT 1") \
  X(JOB_CONVERSATION, "SELECT j.conversation, " JOB_IS_ANSWERED ", c.last_turn FROM jobs j CROSS JOIN conversations c ON c.id = j.conversation" \
    " WHERE j.id = ?1 AND j.state = 0") \
  X(JOB_ANSWERED, "UPDATE jobs SET answered = 1 WHERE id = ?1") \
  X(JOB_END, "UPDATE jobs SET state = ?2, attempts = attempts + ?3, next_us = ?4, finished_us = ?5, reason = ?6" \
    " WHERE id = ?1 AND state = 0") \
  /* outgoing messages: id = job * 4096 + index */ \
  X(OUT_LIST, "SELECT id, state, unknown_since_us, wamid, body FROM outgoing WHERE id >= ?1 AND id <= ?2 ORDER BY id") \
  X(OUT_ADD, "INSERT INTO outgoing(id, state, unknown_since_us, sent_us, wamid, body) VALUES(?1, ?2, 0, 0, '', ?3)") \
  X(OUT_FLY_AGAIN, "UPDATE outgoing SET state = 1, unknown_since_us = ?2 WHERE id = ?1") \
  X(OUT_FLY_NEXT, "UPDATE outgoing SET state = 1, unknown_since_us = 0 WHERE id = (SELECT id FROM outgoing WHERE id >= ?1 AND id <= ?2" \
    " AND state < 2 ORDER BY id LIMIT 1) AND state = 0") \
  X(OUT_SENT, "UPDATE outgoing SET wamid = CASE WHEN state = 2 AND wamid <> '' THEN wamid ELSE ?2 END, state = 2, unknown_since_us = 0," \
    " sent_us = CASE WHEN state = 2 THEN sent_us ELSE ?3 END WHERE id = ?1") \
  /* What is known to be sent stays sent. */ \
  X(OUT_LANDED, "UPDATE outgoing SET state = ?2, unknown_since_us = CASE WHEN ?2 <> 1 THEN 0 WHEN unknown_since_us = 0 THEN ?3" \
    " ELSE unknown_since_us END WHERE id = ?1 AND state <> 2") \
  /* turns: of a message both in one row, `before` leads to the one before it */ \
  X(TURN_ADD, "INSERT INTO exchanges(job, conversation, before, at_us, user_text, answer_text) VALUES(?1, ?2, ?3, ?4, ?5, ?6)") \
  X(TURN_LAST, "SELECT last_turn FROM conversations WHERE id = ?1") \
  X(TURN_SET_LAST, "UPDATE conversations SET last_turn = ?2 WHERE id = ?1") \
  X(TURN_GET, "SELECT before, user_text, answer_text FROM exchanges WHERE job = ?1 AND conversation = ?2") \
  X(TURN_FOLLOW, "UPDATE exchanges SET before = ?2 WHERE job = ?1") \
  X(TURN_DELETE, "DELETE FROM exchanges WHERE job = ?1") \
  /* of older versions: id = job * 2, + 1 for the answer */ \
  X(OLD_TURNS, "SELECT EXISTS(SELECT 1 FROM turns)") \
  X(OLD_TURN_LIST, "SELECT id, text FROM turns WHERE conversation = ?1 ORDER BY id DESC LIMIT ?2") \
  X(OLD_TURN_DELETE, "DELETE FROM turns WHERE conversation = (SELECT conversation FROM jobs WHERE id = ?1) AND id IN (?1 * 2, ?1 * 2 + 1)") \
  X(OLD_TURN_CLEAN, "DELETE FROM turns WHERE conversation = ?1 AND at_us < ?2") \
  /* cleaning; a number with a retention of its own is left out */ \
  X(CLEAN_JOB_SCAN, "SELECT id, conversation, state, finished_us, received_us FROM jobs WHERE id > ?1 ORDER BY id LIMIT ?2") \
  X(CLEAN_JOB, "DELETE FROM jobs WHERE id = ?1") \
  X(CLEAN_OUT, "DELETE FROM outgoing WHERE id >= ?1 AND id <= ?2") \
  X(CLEAN_JOB_GONE, "UPDATE conversations SET jobs = jobs - 1 WHERE id = ?1") \
  X(CLEAN_CONVERSATION_SCAN, "SELECT id, (SELECT r.retention_us FROM retentions r WHERE r.phone_number_id = c.phone_number_id)" \
    " FROM conversations c WHERE id > ?1 ORDER BY id LIMIT ?2") \
  X(CLEAN_TURNS_UPTO, "SELECT max(job), max(at_us), count(*) FROM (SELECT job, at_us FROM exchanges WHERE job > ?1 ORDER BY job LIMIT ?2)") \
  X(CLEAN_TURNS, "DELETE FROM exchanges WHERE job > ?1 AND job <= ?2 AND at_us < ?3 AND NOT EXISTS(SELECT 1 FROM conversations c" \
    " CROSS JOIN retentions r ON r.phone_number_id = c.phone_number_id WHERE c.id = exchanges.conversation AND r.retention_us > 0)") \
  X(CLEAN_CONVERSATION, "DELETE FROM conversations WHERE id = ?1 AND last_inbound_us < ?2 AND jobs <= 0" \
    " AND NOT EXISTS(SELECT 1 FROM exchanges WHERE job = last_turn) AND NOT EXISTS(SELECT 1 FROM turns WHERE conversation = ?1)") \
  X(CLEAN_KEPT_UPTO, "SELECT max(id), max(received_us), count(*) FROM (SELECT id, received_us FROM kept WHERE id > ?1 ORDER BY id LIMIT ?2)") \
  X(CLEAN_KEPT, "DELETE FROM kept WHERE id > ?1 AND id <= ?2 AND received_us < ?3 AND NOT EXISTS(SELECT 1 FROM retentions r" \
    " WHERE r.phone_number_id = kept.phone_number_id AND r.retention_us > 0) RETURNING what") \
  X(CLEAN_STATUSES, "DELETE FROM statuses WHERE id IN (SELECT id FROM statuses ORDER BY id LIMIT ?2) AND at_us < ?1") \
  /* numbers with a retention of their own; 0: it has none any more */ \
  X(RETENTION_COUNT, "SELECT count(*) FROM retentions") \
  X(RETENTION_ALL, "SELECT id, retention_us, phone_number_id FROM retentions ORDER BY phone_number_id") \
  X(RETENTION_UPTO, "SELECT max(id), count(*) FROM (SELECT id FROM retentions WHERE id > ?1 ORDER BY id LIMIT ?2)") \
  X(RETENTION_DUE, "SELECT id, retention_us, phone_number_id FROM retentions r WHERE id > ?1 AND id <= ?2 AND (retention_us = 0" \
    " OR EXISTS(SELECT 1 FROM ended e WHERE e.number = r.id AND e.at_us < ?3 - r.retention_us)" \
    " OR EXISTS(SELECT 1 FROM kept k INDEXED BY kept_number WHERE k.phone_number_id = r.phone_number_id AND k.phone_number_id <> ''" \
    " AND k.received_us < ?3 - r.retention_us)) ORDER BY id LIMIT ?4") \
  X(RETENTION_ADD, "INSERT INTO retentions(phone_number_id, retention_us, filled) VALUES(?1, ?2, 0)") \
  X(RETENTION_SET, "UPDATE retentions SET filled = CASE WHEN retention_us = 0 THEN 0 ELSE filled END, retention_us = ?2 WHERE id = ?1") \
  X(RETENTION_DELETE, "DELETE FROM retentions WHERE id = ?1") \
  X(CONVERSATION_OWN, "SELECT 1 FROM conversations c CROSS JOIN retentions r ON r.phone_number_id = c.phone_number_id" \
    " WHERE c.id = ?1 AND r.retention_us > 0") \
  X(ENDED_ADD, "INSERT OR IGNORE INTO ended(number, at_us, job) SELECT r.id, ?2, ?3 FROM conversations c CROSS JOIN retentions r" \
    " ON r.phone_number_id = c.phone_number_id WHERE c.id = ?1 AND r.retention_us > 0") \
  X(ENDED_OLD, "SELECT at_us, job FROM ended WHERE number = ?1 AND at_us < ?2 ORDER BY at_us, job LIMIT ?3") \
  X(ENDED_DELETE, "DELETE FROM ended WHERE number = ?1 AND at_us = ?2 AND job = ?3") \
  X(ENDED_FORGET, "DELETE FROM ended WHERE (number, at_us, job) IN (SELECT number, at_us, job FROM ended WHERE number = ?1 LIMIT ?2)") \
  X(JOB_ENDED, "SELECT conversation, state FROM jobs WHERE id = ?1 AND state IN (1, 2)") \
  X(JOB_STATUSES_DELETE, "DELETE FROM statuses WHERE wamid IN (SELECT wamid FROM outgoing WHERE id >= ?1 AND id <= ?2 AND wamid <> '')") \
  X(EXPIRE_KEPT, "DELETE FROM kept WHERE id IN (SELECT id FROM kept INDEXED BY kept_number WHERE phone_number_id = ?1" \
    " AND phone_number_id <> '' AND received_us < ?2 ORDER BY received_us LIMIT ?3) RETURNING what") \
  X(FILL_BEGIN, "UPDATE retentions SET filled = 2 WHERE filled <> 1") \
  X(FILL_UPTO, "SELECT coalesce(max(id), 0) FROM (SELECT id FROM jobs WHERE id > ?1 ORDER BY id LIMIT ?2)") \
  X(FILL, "INSERT OR IGNORE INTO ended(number, at_us, job) SELECT r.id, j.finished_us, j.id FROM jobs j CROSS JOIN conversations c" \
    " ON c.id = j.conversation CROSS JOIN retentions r ON r.phone_number_id = c.phone_number_id" \
    " WHERE j.id > ?1 AND j.id <= ?2 AND j.state IN (1, 2, 3) AND r.filled = 2 AND r.retention_us > 0") \
  X(FILL_END, "UPDATE retentions SET filled = 1 WHERE filled = 2")
// clang-format on

#define STMT_ENUM(id, sql) STMT_##id,
enum stmt { STMT_LIST(STMT_ENUM) STMT_COUNT };
#undef STMT_ENUM

#endif
