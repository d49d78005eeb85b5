// What a daemon needs beyond valid values, and the effective values of options with an "empty means" rule. Runs in the master and in
// `wahookctl check`; the effective values everywhere.
#include "config/options.h"

#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

// ---------------------------------------------------------------- effective values

unsigned config_workers(const struct config *config) {
  if (config->server_workers > 0) return (unsigned)config->server_workers;
  cpu_set_t cores; // those that we may use: a container's share, not the machine's
  int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
  int64_t most = config__options[OPT_server_workers].max;
  return n < 1 ? 1 : n > most ? (unsigned)most : (unsigned)n;
}

void config_store_uri(const struct config *config, struct buf *out) {
  if (*config->directory_store)
    buf_add_text(out, config->directory_store);
  else
    buf_printf(out, "sqlite:%s/businesses.db", config->server_state_dir);
}

void config_admin_bind(const struct config *config, struct buf *out) {
  if (strcmp(config->admin_bind, "off") == 0) return;
  if (*config->admin_bind)
    buf_add_text(out, config->admin_bind);
  else
    buf_printf(out, "unix:%s/admin.sock", config->server_state_dir);
}

// ---------------------------------------------------------------- telling

struct check {
  const struct config *config;
  struct config_errors *errors;
};

// Whether an option's value is what the operator meant: one that was refused already gets no follow-up errors.
static bool known(const struct check *c, enum config_option_id id) {
  return !c->config->origins || !c->config->origins[id].failed;
}

// Where the option was set, else the file that it belongs into.
static const char *where_of(const struct check *c, enum config_option_id id) {
  const char *where = c->config->origins ? c->config->origins[id].where : NULL;
  return where ? where : *c->config->file ? c->config->file : NULL;
}

static void error(const struct check *c, enum config_option_id id, const char *text) {
  char name[CONFIG__NAME_MAX];
  config__error(c->errors, where_of(c, id), config__dotted(id, name), "%s", text);
}

static void warning(const struct check *c, enum config_option_id id, const char *text) {
  char name[CONFIG__NAME_MAX];
  config__warning(c->errors, where_of(c, id), config__dotted(id, name), "%s", text);
}

// ---------------------------------------------------------------- checks by section

// Users and groups may be given as numbers, which need no entry in a database; empty counts as one, too.
static bool is_number(const char *text) {
  return strspn(text, "0123456789") == strlen(text);
}

static void check_server(const struct check *c) {
  const struct config *config = c->config;
  if (known(c, OPT_server_bind) && !config->server_bind.count)
    error(c, OPT_server_bind, "no address to listen on (write [\"127.0.0.1:8000\"])");
  if (config->server_proxy_protocol && known(c, OPT_server_trusted_proxies) && !config->server_trusted_proxies.count)
    error(c, OPT_server_proxy_protocol, "is on, but no proxy is trusted (set server.trusted_proxies to the proxy's address)");
  if (config->server_daemon && strcmp(config->log_target, "stderr") == 0)
    warning(c, OPT_server_daemon, "a detached daemon's stderr is lost (set log.target to syslog or a file)");
  if (!is_number(config->server_user) && known(c, OPT_server_user) && !getpwnam(config->server_user))
    error(c, OPT_server_user, "no such user (adduser --system, or choose another)");
  if (!is_number(config->server_group) && known(c, OPT_server_group) && !getgrnam(config->server_group))
    error(c, OPT_server_group, "no such group (addgroup --system, or choose another)");
  if (!*config->server_user && geteuid() == 0) warning(c, OPT_server_user, "workers and dispatcher will run as root (set server.user)");
}

static void check_webhook(const struct check *c) {
  const struct config *config = c->config;
  if (!config->webhook_app_secrets.count && !config->webhook_allow_unsigned && known(c, OPT_webhook_app_secrets) &&
      known(c, OPT_webhook_allow_unsigned))
    error(
        c, OPT_webhook_app_secrets,
        "none is set, so no webhook's signature can be checked (set it to the Meta app's secret, e.g. \"file:/etc/wahookd/app-secret\"; or "
        "webhook.allow_unsigned = true for a test)");
  if (config->webhook_allow_unsigned)
    warning(c, OPT_webhook_allow_unsigned, "webhooks without a signature are taken: anybody who reaches this address can write messages");
  if (!*config->webhook_verify_token && known(c, OPT_webhook_verify_token))
    warning(c, OPT_webhook_verify_token, "is not set: Meta's registration of the address will be refused");
}

static void check_directory(const struct check *c) {
  const struct config *config = c->config;
  bool token = *config->directory_default_token, phone = *config->directory_default_phone_number_id;
  if (token != phone && known(c, OPT_directory_default_token) && known(c, OPT_directory_default_phone_number_id)) {
    if (token)
      error(c, OPT_directory_default_phone_number_id, "is missing beside directory.default_token (set both or none)");
    else
      error(c, OPT_directory_default_token, "is missing beside directory.default_phone_number_id (set both or none)");
  }
  if (strcmp(config->directory_store, "ram:") == 0)
    warning(c, OPT_directory_store, "ram: forgets everything and is not shared by processes; it is for tests");
  bool keys = config->crypto_encryption_secret.count || config->crypto_encryption_key.count || config->crypto_allow_plain_tokens || token;
  if (!keys && known(c, OPT_crypto_encryption_secret) && known(c, OPT_crypto_encryption_key))
    warning(c, OPT_crypto_encryption_key, "no key is set: no business' stored token can be opened, so nothing can be sent");
}

static void check_responder(const struct check *c) {
  const struct config *config = c->config;
  bool echo = strcmp(config->responder_type, "echo") == 0;
  if (!echo && !*config->responder_url && known(c, OPT_responder_url) && known(c, OPT_responder_type))
    error(c, OPT_responder_url,
          strcmp(config->responder_type, "openai") == 0 ? "the openai responder needs a base URL (e.g. \"https://api.openai.com\")"
                                                        : "the http responder needs a URL");
  if (span_starts(span_of(config->graph_base_url), SPAN("http://")) && !strstr(config->graph_base_url, "//127.") &&
      !strstr(config->graph_base_url, "//localhost") && !strstr(config->graph_base_url, "//[::1]"))
    warning(c, OPT_graph_base_url, "is not https: tokens go over the network in clear text");
}

static void check_rest(const struct check *c) {
  const struct config *config = c->config;
  struct buf admin = {NULL, 0, 0};
  config_admin_bind(config, &admin);
  if (span_starts(buf_span(&admin), SPAN("unix:")) && admin.len - 5 >= sizeof((struct sockaddr_un *)0)->sun_path)
    error(c, OPT_server_state_dir, "is too long: the operator's socket in it would exceed 107 bytes (set admin.bind to a shorter path)");
  buf_free(&admin);
  if (*config->admin_token && strlen(config->admin_token) < 16)
    warning(c, OPT_admin_token, "is short enough to be guessed (use 16 characters or more)");
  if (strcmp(config->intake_sync, "none") == 0) warning(c, OPT_intake_sync, "a power cut loses acknowledged events");
}

enum err config_check_daemon(const struct config *config, struct config_errors *errors) {
  struct check c = {.config = config ? config : errors->partial, .errors = errors};
  unsigned before = errors->count;
  if (!c.config) return before ? ERR_CONFIG : ERR_OK;
  ALWAYS(c.config->magic == CONFIG__MAGIC);
  check_server(&c);
  check_webhook(&c);
  check_directory(&c);
  check_responder(&c);
  check_rest(&c);
  return errors->count ? ERR_CONFIG : ERR_OK;
}
