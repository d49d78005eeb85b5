// Talks to the running daemon's operator's pages. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <string.h>

#define PATIENCE_MS 10000

enum err daemon_ask(const struct ctl *ctl, const char *method, const char *path, const struct ctl_wait *wait, struct ctl_answer *answer,
                    struct why *why) {
  struct buf address = {NULL, 0, 0}, headers = {NULL, 0, 0};
  const struct config *config = ctl->config;
  config_admin_bind(config, &address);
  if (!address.len && *config->admin_token && config->server_bind.count) {
    buf_add_text(&address, config->server_bind.items[0]);
    buf_printf(&headers, "Authorization: Bearer %s\r\n", config->admin_token);
  }
  enum err e = ERR_UNAVAILABLE;
  if (address.len) {
    e = ctl_http(&(struct ctl_request){.address = address.data,
                                       .method = method,
                                       .path = path,
                                       .headers = headers.data,
                                       .body = strcmp(method, "POST") == 0 ? SPAN("") : (struct span){NULL, 0},
                                       .wait = wait ? *wait : (struct ctl_wait){.timeout_ms = PATIENCE_MS}},
                 answer, why);
  } else {
    why_set(why, "admin.bind is off and admin.token is not set: there is no way to ask the daemon");
  }
  if (headers.data) explicit_bzero(headers.data, headers.cap);
  buf_free(&headers);
  buf_free(&address);
  return e;
}

static bool post(const struct ctl *ctl, const char *path) {
  struct ctl_answer answer;
  struct why why;
  enum err e = daemon_ask(ctl, "POST", path, NULL, &answer, &why);
  if (e == ERR_UNAVAILABLE) return true; // nobody runs: nobody remembers
  bool ok = !e && answer.status == 200;
  if (e)
    ctl_complain("stored, but the daemon could not be told: %s (it will notice within directory.cache_ttl)", why.text);
  else if (!ok)
    ctl_complain("stored, but the daemon answered %d (it will notice within directory.cache_ttl)", answer.status);
  if (!e) ctl_answer_free(&answer);
  return ok;
}

static bool forget_key(const struct ctl *ctl, const char *kind, const char *key) {
  struct buf path = {NULL, 0, 0};
  if (!*key) return true;
  buf_printf(&path, "/admin/cache/invalidate?key=%s:", kind);
  for (const char *p = key; *p; p++)
    if (strchr("-_.~", *p) || (*p >= '0' && *p <= '9') || ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'z'))
      buf_add_byte(&path, *p);
    else
      buf_printf(&path, "%%%02X", (unsigned char)*p);
  bool ok = post(ctl, path.data);
  buf_free(&path);
  return ok;
}

bool daemon_forget(const struct ctl *ctl, const struct business *business) {
  if (!business) return post(ctl, "/admin/cache/clear");
  bool ok = forget_key(ctl, "subdomain", business->sub_domain) && forget_key(ctl, "waba", business->waba_id);
  for (unsigned i = 0; ok && i < business->phone_count; i++)
    ok = forget_key(ctl, "phone", business->phone_number_ids[i]);
  return ok;
}

// ---------------------------------------------------------------- cache

static int cache_action(struct ctl *ctl, const char *path) {
  struct why why = {""};
  struct ctl_answer answer = {.status = 0};
  enum err e = daemon_ask(ctl, "POST", path, NULL, &answer, &why);
  if (e) return ctl_fail(e, "cache", &why);
  struct buf clean = {NULL, 0, 0};
  text_clean(buf_span(&answer.body), &clean);
  if (ctl->json || answer.status != 200)
    printf("%s\n", clean.data ? clean.data : "");
  else
    printf("done\n");
  int status = answer.status == 200 ? EX_OK : CTL_EXIT_NO;
  buf_free(&clean);
  ctl_answer_free(&answer);
  return status;
}

int cache_clear(struct ctl *ctl) {
  return cache_action(ctl, "/admin/cache/clear");
}

int cache_warmup(struct ctl *ctl) {
  return cache_action(ctl, "/admin/cache/warmup");
}
