// The words that store_sqlite.c says to SQLite: one statement per verb. Included there only.
#ifndef WAHOOK_DIRECTORY_STORE_SQLITE_SQL_H
#define WAHOOK_DIRECTORY_STORE_SQLITE_SQL_H

#include "fields.h"

#define FIELD(field, path, wiped)    "b." #field ","
#define NAME(field, path, wiped)     #field ","
#define MARK(field, path, wiped)     "?,"
#define EXCLUDED(field, path, wiped) #field "=excluded." #field ","
#define ROW                          BUSINESS_TEXTS(FIELD) "b.token_expires_ms,b.whatsapp_enabled,b.is_active,b.created_ms"
#define NEWEST                       " ORDER BY b.is_active DESC, b.created_ms DESC, b.id DESC LIMIT 1"

enum statement {
  FIND_PHONE, // the first three in the order of enum directory_key
  FIND_SUBDOMAIN,
  FIND_WABA,
  GET_ID,
  GET_SUBDOMAIN,
  GET_PHONE,
  EACH_ACTIVE,
  EACH_ALL,
  EACH_RETENTION,
  PHONES,
  PHONES_OWN,
  PUT,
  PUT_PHONE,
  CLEAR_PHONES,
  REMOVE,
  SWAP_ACCESS_TOKEN,
  SWAP_REFRESH_TOKEN,
  COUNT,
  VERSION,
  BEGIN,
  COMMIT,
  ROLLBACK,
  STATEMENTS,
};

static const char *const sql[STATEMENTS] = {
    // CROSS JOIN and the + keep SQLite from walking all active businesses in order of age instead of the one that has the key.
    // The filters of the replaced service: by subdomain also before WhatsApp is enabled, since that is when Meta verifies the address.
    [FIND_PHONE] = "SELECT " ROW " FROM phone_numbers p CROSS JOIN businesses b ON b.id=p.business_id"
                   " WHERE p.phone_number_id=?1 AND +b.whatsapp_enabled=1 AND +b.is_active=1" NEWEST,
    [FIND_SUBDOMAIN] = "SELECT " ROW " FROM businesses b WHERE b.sub_domain=?1 AND b.sub_domain<>'' AND +b.is_active=1" NEWEST,
    [FIND_WABA] =
        "SELECT " ROW " FROM businesses b WHERE b.waba_id=?1 AND b.waba_id<>'' AND +b.whatsapp_enabled=1 AND +b.is_active=1" NEWEST,
    [GET_ID] = "SELECT " ROW " FROM businesses b WHERE b.id=?1",
    [GET_SUBDOMAIN] = "SELECT " ROW " FROM businesses b WHERE b.sub_domain=?1 AND b.sub_domain<>''" NEWEST,
    [GET_PHONE] = "SELECT " ROW " FROM phone_numbers p CROSS JOIN businesses b ON b.id=p.business_id WHERE p.phone_number_id=?1" NEWEST,
    [EACH_ACTIVE] =
        "SELECT " ROW
        " FROM businesses b WHERE b.is_active=1 AND b.whatsapp_enabled=1 AND ?1=?1 ORDER BY b.created_ms DESC, b.id DESC LIMIT ?2",
    [EACH_ALL] = "SELECT " ROW " FROM businesses b WHERE b.id>?1 ORDER BY b.id LIMIT ?2",
    [EACH_RETENTION] = "SELECT " ROW " FROM businesses b INDEXED BY businesses_retention WHERE b.retention<>'' AND b.id>?1"
                       " ORDER BY b.id LIMIT ?2",
    [PHONES] = "SELECT phone_number_id FROM phone_numbers WHERE business_id=?1 ORDER BY position",
    // Without the numbers that a newer active business claims: these are not this one's to answer.
    [PHONES_OWN] = "SELECT p.phone_number_id FROM phone_numbers p CROSS JOIN businesses b ON b.id=p.business_id WHERE p.business_id=?1"
                   " AND NOT EXISTS(SELECT 1 FROM phone_numbers o CROSS JOIN businesses c ON c.id=o.business_id"
                   " WHERE o.phone_number_id=p.phone_number_id AND c.is_active=1 AND c.whatsapp_enabled=1"
                   " AND (c.created_ms,c.id)>(b.created_ms,b.id)) ORDER BY p.position",
    [PUT] = "INSERT INTO businesses(" BUSINESS_TEXTS(NAME) "token_expires_ms,whatsapp_enabled,is_active,created_ms) VALUES(" BUSINESS_TEXTS(
        MARK) "?,?,?,?) ON CONFLICT(id) DO UPDATE SET " BUSINESS_TEXTS(EXCLUDED) "token_expires_ms=excluded.token_expires_ms,"
                                                                                 "whatsapp_enabled=excluded.whatsapp_enabled,is_active="
                                                                                 "excluded.is_active,created_ms=excluded.created_ms",
    [PUT_PHONE] = "INSERT OR IGNORE INTO phone_numbers(phone_number_id,business_id,position) VALUES(?1,?2,?3)",
    [CLEAR_PHONES] = "DELETE FROM phone_numbers WHERE business_id=?1",
    [REMOVE] = "DELETE FROM businesses WHERE id=?1",
    [SWAP_ACCESS_TOKEN] = "UPDATE businesses SET access_token=?3 WHERE id=?1 AND access_token=?2",
    [SWAP_REFRESH_TOKEN] = "UPDATE businesses SET refresh_token=?3 WHERE id=?1 AND refresh_token=?2",
    [COUNT] = "SELECT count(*), coalesce(sum(is_active=1 AND whatsapp_enabled=1),0) FROM businesses",
    [VERSION] = "PRAGMA data_version",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
};

#endif
