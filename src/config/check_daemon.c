// What a daemon needs beyond valid values, and the effective values of options with an "empty means" rule. Runs in the master and in
// `wahookctl check`; the effective values everywhere.
#include "config/options.h"

#include <sched.h>
#include <string.h>
#include <sys/resource.h>
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

static bool is_set(const struct check *c, enum config_option_id id) {
  return c->config->origins && c->config->origins[id].where;
}

// Where an operator has to look: at the option, else at the one because of which it matters, else at the file that it belongs into.
static const char *where_of(const struct check *c, enum config_option_id id, enum config_option_id because) {
  if (is_set(c, id)) return c->config->origins[id].where;
  if (is_set(c, because)) return c->config->origins[because].where;
  return *c->config->file ? c->config->file : NULL;
}

static void error_because(const struct check *c, enum config_option_id id, enum config_option_id because, const char *text) {
  char name[CONFIG__NAME_MAX];
  config__error(c->errors, where_of(c, id, because), config__dotted(id, name), "%s", text);
}

static void error(const struct check *c, enum config_option_id id, const char *text) {
  error_because(c, id, id, text);
}

static void warning(const struct check *c, enum config_option_id id, const char *text) {
  char name[CONFIG__NAME_MAX];
  config__warning(c->errors, where_of(c, id, id), config__dotted(id, name), "%s", text);
}

static void error_if(const struct check *c, enum config_option_id id, enum err e, const struct why *why) {
  if (e) error(c, id, why->text);
}

// ---------------------------------------------------------------- checks by section

// The user of the children, and what belongs to it.
static void check_user(const struct check *c) {
  const struct config *config = c->config;
  const char *user = config->server_user, *group = config->server_group, *state = config->server_state_dir;
  struct why why;
  enum err of_user = *user ? config__check_user(user, &why) : ERR_OK;
  error_if(c, OPT_server_user, of_user, &why);
  enum err of_group = *group ? config__check_group(group, &why) : ERR_OK;
  error_if(c, OPT_server_group, of_group, &why);
  if (!*user && geteuid() == 0) warning(c, OPT_server_user, "workers and dispatcher will run as root (set server.user)");
  bool other = *user && !of_user && !of_group;
  if (known(c, OPT_server_state_dir)) {
    enum err e = config__check_directory_place(state, &why);
    // One that is not there is made by the master, and given to the user.
    if (!e && other && access(state, F_OK) == 0) e = config__check_users_place(user, group, state, &why);
    error_if(c, OPT_server_state_dir, e, &why);
  }
  if (known(c, OPT_log_access) && *config->log_access == '/') {
    enum err e = config__check_file_place(config->log_access, state, &why);
    if (!e && other) e = config__check_users_place(user, group, config->log_access, &why);
    error_if(c, OPT_log_access, e, &why);
  }
}

// Every process raises its limit to the hard one. Connections that do not fit are no error: accepting pauses before the limit.
static void check_descriptors(const struct check *c) {
  enum { FILES_BESIDE = 128 };
  struct rlimit limit;
  struct why why;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max == RLIM_INFINITY) return;
  if ((uint64_t)c->config->server_max_connections + FILES_BESIDE <= limit.rlim_max) return;
  why_set(&why,
          "a worker may open %llu files, too few for %lld connections and %d files beside them: it takes fewer (raise LimitNOFILE in the "
          "systemd unit or ulimit -Hn, or set fewer)",
          (unsigned long long)limit.rlim_max, (long long)c->config->server_max_connections, FILES_BESIDE);
  warning(c, OPT_server_max_connections, why.text);
}

static void check_listeners(const struct check *c) {
  const struct config *config = c->config;
  const struct config_list *bind = &config->server_bind;
  struct buf admin = {NULL, 0, 0};
  struct why why;
  if (known(c, OPT_admin_bind) && known(c, OPT_server_state_dir)) config_admin_bind(config, &admin);
  if (known(c, OPT_server_bind) && !bind->count) error(c, OPT_server_bind, "no address to listen on (write [\"127.0.0.1:8000\"])");
  for (size_t i = 0; i < bind->count; i++) { // those that are good, even if one beside them is not
    const char *address = bind->items[i];
    bool is_unix = span_starts(span_of(address), SPAN("unix:"));
    enum err e = is_unix ? config__check_socket_place(address + 5, config->server_state_dir, &why) : config__resolve(address, &why);
    error_if(c, OPT_server_bind, e, &why);
    if (!admin.len || !config__addresses_clash(address, admin.data)) continue;
    why_set(&why, "cannot be listened on beside %s: one includes the other (give the operator's pages an address of their own)",
            is_set(c, OPT_admin_bind) ? "server.bind" : "admin.bind");
    error(c, is_set(c, OPT_admin_bind) ? OPT_admin_bind : OPT_server_bind, why.text);
  }
  if (span_starts(buf_span(&admin), SPAN("unix:"))) {
    bool own = *config->admin_bind;
    if (admin.len - 5 >= sizeof((struct sockaddr_un *)0)->sun_path)
      error(c, OPT_server_state_dir, "is too long: the operator's socket in it would exceed 107 bytes (set admin.bind to a shorter path)");
    else if (config__check_socket_place(admin.data + 5, config->server_state_dir, &why))
      error(c, own ? OPT_admin_bind : OPT_server_state_dir, why.text);
  }
  buf_free(&admin);
}

static void check_files(const struct check *c) {
  const struct config *config = c->config;
  struct why why;
  bool log = known(c, OPT_log_target) && *config->log_target == '/', access = known(c, OPT_log_access) && *config->log_access == '/';
  bool pid = known(c, OPT_server_pid_file) && *config->server_pid_file;
  // The log is there before the state directory is made.
  if (log) error_if(c, OPT_log_target, config__check_file_place(config->log_target, "", &why), &why);
  if (pid) error_if(c, OPT_server_pid_file, config__check_file_place(config->server_pid_file, config->server_state_dir, &why), &why);
  if (pid && log && strcmp(config->server_pid_file, config->log_target) == 0)
    error(c, OPT_server_pid_file, "is the file of log.target, too (give each a file of its own)");
  if (pid && access && strcmp(config->server_pid_file, config->log_access) == 0)
    error(c, OPT_server_pid_file, "is the file of log.access, too (give each a file of its own)");
  if (config->server_daemon && (strcmp(config->log_target, "stderr") == 0 || strcmp(config->log_access, "stderr") == 0))
    warning(c, OPT_server_daemon, "a detached daemon's stderr is lost (set log.target and log.access to syslog or a file)");
}

static void check_webhook(const struct check *c) {
  const struct config *config = c->config;
  if (config->server_proxy_protocol && known(c, OPT_server_trusted_proxies) && !config->server_trusted_proxies.count)
    error(c, OPT_server_proxy_protocol, "is on, but no proxy is trusted (set server.trusted_proxies to the proxy's address)");
  if (!config->webhook_app_secrets.count && !config->webhook_allow_unsigned && !config->webhook_business_secrets &&
      known(c, OPT_webhook_app_secrets) && known(c, OPT_webhook_allow_unsigned))
    error_because(
        c, OPT_webhook_app_secrets, OPT_webhook_allow_unsigned,
        "none is set, so no webhook's signature can be checked (set it to the Meta app's secret, e.g. \"file:/etc/wahookd/app-secret\"; or "
        "webhook.allow_unsigned = true for a test)");
  if (config->webhook_allow_unsigned)
    warning(c, OPT_webhook_allow_unsigned, "webhooks without a signature are taken: anybody who reaches this address can write messages");
  if (!*config->webhook_verify_token && known(c, OPT_webhook_verify_token))
    warning(c, OPT_webhook_verify_token, "is not set: Meta's registration of the address will be refused");
}

// A passphrase that is nearly a key: of all that it may be, a slip is the likeliest.
static bool is_nearly_hex(const char *key) {
  size_t len = strlen(key), digits = strspn(key, "0123456789abcdefABCDEF");
  return len != 64 && len >= 60 && len <= 68 && digits == len;
}

static void check_keys(const struct check *c) {
  const struct config *config = c->config;
  bool keys = config->crypto_encryption_secret.count || config->crypto_encryption_key.count || config->crypto_allow_plain_tokens ||
              *config->directory_default_token;
  if (!keys && known(c, OPT_crypto_encryption_secret) && known(c, OPT_crypto_encryption_key))
    warning(c, OPT_crypto_encryption_key, "no key is set: no business' stored token can be opened, so nothing can be sent");
  for (size_t i = 0; i < config->crypto_encryption_key.count; i++)
    if (is_nearly_hex(config->crypto_encryption_key.items[i]))
      warning(c, OPT_crypto_encryption_key, "has nearly 64 hex digits: it is taken for a passphrase (a key has exactly 64)");
}

// "mongodb://user:pw@host,host/?options"; in a user and a password a slash is written as %2F.
static bool lacks_database(const char *store) {
  if (!span_starts(span_of(store), SPAN("mongodb"))) return false;
  const char *slashes = strstr(store, "//"), *host = slashes ? slashes + 2 : store;
  const char *path = host + strcspn(host, "/?");
  return path[0] != '/' || path[1] == '\0' || path[1] == '?';
}

static void check_directory(const struct check *c) {
  const struct config *config = c->config;
  bool token = *config->directory_default_token, phone = *config->directory_default_phone_number_id;
  if (token != phone && known(c, OPT_directory_default_token) && known(c, OPT_directory_default_phone_number_id)) {
    if (token)
      error_because(c, OPT_directory_default_phone_number_id, OPT_directory_default_token,
                    "is missing beside directory.default_token (set both or none)");
    else
      error_because(c, OPT_directory_default_token, OPT_directory_default_phone_number_id,
                    "is missing beside directory.default_phone_number_id (set both or none)");
  }
  if (known(c, OPT_directory_store) && !*config->directory_database && lacks_database(config->directory_store))
    error_because(c, OPT_directory_database, OPT_directory_store,
                  "is missing: directory.store names no database either (write mongodb://HOST/DATABASE)");
  if (strcmp(config->directory_store, "ram:") == 0)
    warning(c, OPT_directory_store, "ram: forgets everything and is not shared by processes; it is for tests");
}

// Whether a URL's host is this machine, where nobody listens in between.
static bool stays_here(const char *url) {
  const char *host = strstr(url, "//");
  static const char *const here[] = {"//127.", "//localhost", "//[::1]"};
  for (size_t i = 0; host && i < COUNT_OF(here); i++)
    if (span_starts(span_of(host), span_of(here[i]))) return true;
  return !host;
}

static void check_responder(const struct check *c) {
  const struct config *config = c->config;
  const char *url = config->responder_url;
  bool echo = strcmp(config->responder_type, "echo") == 0, openai = strcmp(config->responder_type, "openai") == 0;
  if (!known(c, OPT_responder_url) || !known(c, OPT_responder_type)) return;
  if (!echo && !*url)
    error_because(c, OPT_responder_url, OPT_responder_type,
                  openai ? "is missing: the openai responder needs a base URL (write \"https://api.openai.com\")"
                         : "is missing: the http responder needs a URL (write \"https://host/path\")");
  // Services that want no key are those of one's own, and those are rarely behind TLS.
  if (openai && span_starts(span_of(url), SPAN("https://")) && !*config->responder_key && known(c, OPT_responder_key))
    error_because(c, OPT_responder_key, OPT_responder_type,
                  "is missing: the openai responder needs the service's key (e.g. \"env:OPENAI_API_KEY\"; any word for a service without)");
  if (echo && *url) warning(c, OPT_responder_url, "is not used: responder.type is echo (set it to http or openai)");
  if (*config->responder_key && openai && span_starts(span_of(url), SPAN("http://")) && !stays_here(url))
    warning(c, OPT_responder_url, "is not https: the key goes over the network in clear text");
}

static void check_rest(const struct check *c) {
  const struct config *config = c->config;
  if (span_starts(span_of(config->graph_base_url), SPAN("http://")) && !stays_here(config->graph_base_url))
    warning(c, OPT_graph_base_url, "is not https: tokens go over the network in clear text");
  if (*config->admin_token && strlen(config->admin_token) < 16)
    warning(c, OPT_admin_token, "is short enough to be guessed (use 16 characters or more)");
  if (strcmp(config->intake_sync, "none") == 0) warning(c, OPT_intake_sync, "a power cut loses acknowledged events");
}

enum err config_check_daemon(const struct config *config, struct config_errors *errors) {
  struct check c = {.config = config ? config : errors->partial, .errors = errors};
  unsigned before = errors->count;
  if (!c.config) return before ? ERR_CONFIG : ERR_OK;
  ALWAYS(c.config->magic == CONFIG__MAGIC);
  check_user(&c);
  check_listeners(&c);
  check_files(&c);
  check_descriptors(&c);
  check_webhook(&c);
  check_keys(&c);
  check_directory(&c);
  check_responder(&c);
  check_rest(&c);
  return errors->count ? ERR_CONFIG : ERR_OK;
}
