// wahookctl send: posts a webhook to the daemon, signed as Meta signs, and tells what it answered. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wahook/crypto.h"
#include "wahook/http.h"

#define PAYLOAD_MAX ((size_t)64 << 20)

// A text message as Meta's envelope has it.
static void put_message(const struct ctl *ctl, const char *wamid, struct buf *out) {
  const char *from = ctl_flag(ctl, "--from"), *name = ctl_flag(ctl, "--name"), *to = ctl_flag(ctl, "--to");
  char seconds[24];
  struct json_writer w;
  if (!from) from = "491700000000";
  if (*from == '+') from++;
  snprintf(seconds, sizeof seconds, "%lld", (long long)(clock_wall_us() / 1000000));
  json_start(&w, out);
  json_open(&w, NULL, '{');
  json_put_string(&w, "object", "whatsapp_business_account");
  json_open(&w, "entry", '[');
  json_open(&w, NULL, '{');
  json_put_string(&w, "id", "0");
  json_open(&w, "changes", '[');
  json_open(&w, NULL, '{');
  json_put_string(&w, "field", "messages");
  json_open(&w, "value", '{');
  json_put_string(&w, "messaging_product", "whatsapp");
  json_open(&w, "metadata", '{');
  json_put_string(&w, "display_phone_number", to);
  json_put_string(&w, "phone_number_id", to);
  json_close(&w, '}');
  json_open(&w, "contacts", '[');
  json_open(&w, NULL, '{');
  json_open(&w, "profile", '{');
  json_put_string(&w, "name", name ? name : "wahookctl");
  json_close(&w, '}');
  json_put_string(&w, "wa_id", from);
  json_close(&w, '}');
  json_close(&w, ']');
  json_open(&w, "messages", '[');
  json_open(&w, NULL, '{');
  json_put_string(&w, "from", from);
  json_put_string(&w, "id", wamid);
  json_put_string(&w, "timestamp", seconds);
  json_put_string(&w, "type", "text");
  json_open(&w, "text", '{');
  json_put_string(&w, "body", ctl_argument(ctl, 0));
  json_close(&w, '}');
  json_close(&w, '}');
  json_close(&w, ']');
  json_close(&w, '}');
  json_close(&w, '}');
  json_close(&w, ']');
  json_close(&w, '}');
  json_close(&w, ']');
  json_close(&w, '}');
}

static enum err read_payload(const char *name, struct buf *out, struct why *why) {
  enum err e = buf_read_file(out, strcmp(name, "-") == 0 ? "/dev/stdin" : name, PAYLOAD_MAX);
  if (e) why_set(why, "%s: %s", name, e == ERR_TOO_LARGE ? err_text(e) : strerror(errno));
  return e;
}

// "http://host:port/path" into the two; without a URL the daemon's own address.
static enum err find_target(const struct ctl *ctl, struct buf *address, struct buf *path, struct why *why) {
  const char *url = ctl_flag(ctl, "--url");
  if (!url) {
    if (!ctl->config->server_bind.count) {
      why_set(why, "server.bind is empty: give --url");
      return ERR_CONFIG;
    }
    buf_add_text(address, ctl->config->server_bind.items[0]);
    buf_add_text(path, ctl->config->webhook_path);
    return ERR_OK;
  }
  if (!span_starts(span_of(url), SPAN("http://")) || strpbrk(url, " \r\n")) {
    why_set(why, "--url takes http://HOST:PORT/PATH (for https, post to the daemon behind the proxy)");
    return ERR_FORMAT;
  }
  size_t host = strcspn(url + 7, "/");
  buf_add(address, url + 7, host);
  const char *after_bracket = memchr(address->data ? address->data : "", ']', address->len);
  if (!strchr(after_bracket ? after_bracket : address->data ? address->data : "", ':')) buf_add_text(address, ":80");
  buf_add_text(path, url[7 + host] ? url + 7 + host : ctl->config->webhook_path);
  return ERR_OK;
}

static void sign(const struct ctl *ctl, struct span body, struct buf *headers) {
  uint8_t digest[32];
  char hex[65];
  buf_add_text(headers, "Content-Type: application/json\r\n");
  if (!ctl->config->webhook_app_secrets.count) {
    ctl_complain("warning: webhook.app_secrets is not set, so the webhook is not signed");
    return;
  }
  struct hmac *hmac = hmac_new(span_of(ctl->config->webhook_app_secrets.items[0]));
  hmac_sha256(hmac, body, digest);
  hmac_free(hmac);
  hex_encode(digest, sizeof digest, hex);
  buf_printf(headers, "X-Hub-Signature-256: sha256=%s\r\n", hex);
}

static void report(const struct ctl *ctl, const struct ctl_answer *answer, const char *wamid) {
  struct buf out = {NULL, 0, 0};
  struct json_writer w;
  double ms = (double)answer->duration_us / 1000;
  if (ctl->json) {
    json_start(&w, &out);
    json_open(&w, NULL, '{');
    json_put_i64(&w, "status", answer->status);
    json_put_double(&w, "milliseconds", ms, 3);
    json_put_string(&w, "wamid", *wamid ? wamid : NULL);
    json_put_text(&w, "body", buf_span(&answer->body));
    json_close(&w, '}');
  } else {
    buf_printf(&out, "%d %s in %.1f ms", answer->status, http_status_text(answer->status), ms);
    if (answer->body.len) buf_add_text(&out, "  ");
    text_clean(buf_span(&answer->body), &out);
    if (*wamid) buf_printf(&out, "\n%s", wamid);
  }
  printf("%s\n", out.data);
  buf_free(&out);
}

int send_run(struct ctl *ctl) {
  struct why why = {""};
  struct buf address = {NULL, 0, 0}, path = {NULL, 0, 0}, headers = {NULL, 0, 0}, body = {NULL, 0, 0};
  struct ctl_answer answer = {.status = 0};
  char wamid[48] = "";
  const char *file = ctl_flag(ctl, "--file");
  if (file ? ctl_argument(ctl, 0) != NULL : !ctl_argument(ctl, 0) || !ctl_flag(ctl, "--to")) {
    ctl_complain("give --to PHONE_NUMBER_ID and a text, or --file FILE");
    return EX_USAGE;
  }
  enum err e = find_target(ctl, &address, &path, &why);
  if (!e && file) {
    e = read_payload(file, &body, &why);
    if (e) {
      ctl_complain("%s", why.text);
      buf_free(&address);
      buf_free(&path);
      return EX_NOINPUT;
    }
  } else if (!e) {
    snprintf(wamid, sizeof wamid, "wamid.CTL%016llX", (unsigned long long)random_u64());
    put_message(ctl, wamid, &body);
  }
  if (!e) {
    sign(ctl, buf_span(&body), &headers);
    struct ctl_request request = {.address = address.data,
                                  .method = "POST",
                                  .path = path.data,
                                  .headers = headers.data,
                                  .body = buf_span(&body),
                                  .wait = {.timeout_ms = 30000}};
    e = ctl_http(&request, &answer, &why);
  }
  if (!e) report(ctl, &answer, wamid);
  int status = e ? ctl_fail(e, "send", &why) : answer.status == 200 ? EX_OK : CTL_EXIT_NO;
  ctl_answer_free(&answer);
  buf_free(&address);
  buf_free(&path);
  buf_free(&headers);
  buf_free(&body);
  return status;
}
