// Hands a child the options that its role may have, through an inherited memory file: no secret stands in its command line, environment or
// on a disk. Written in the master, read in every child.
#include "config/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// "WHKCONF1", then per option its name and value, then the CRC-32C of all before. Integers are the machine's: both ends run on it.
static const char head[8] = "WHKCONF1";
#define SNAPSHOT_MAX ((size_t)16 << 20)

static void put_text(struct buf *out, const char *text, size_t len) {
  uint32_t n = (uint32_t)len;
  buf_add(out, &n, sizeof n);
  buf_add(out, text, len);
}

static void put_list(struct buf *out, const struct config_list *list) {
  uint32_t count = (uint32_t)list->count;
  buf_add(out, &count, sizeof count);
  for (size_t i = 0; i < list->count; i++)
    put_text(out, list->items[i], strlen(list->items[i]));
}

static size_t scalar_size(enum option_type type) {
  return type == OPTION_BOOL ? sizeof(bool) : type == OPTION_RATE ? sizeof(struct config_rate) : sizeof(int64_t);
}

static bool is_text(enum option_type type) {
  return type == OPTION_TEXT || type == OPTION_SECRET || type == OPTION_ENUM;
}

static void put_option(struct buf *out, const struct config *config, enum config_option_id id) {
  char name[CONFIG__NAME_MAX];
  enum option_type type = config__options[id].type;
  const void *field = config__field(config, id);
  config__dotted(id, name);
  put_text(out, name, strlen(name));
  if (config__is_list(type))
    put_list(out, field);
  else if (is_text(type))
    put_text(out, *(char *const *)field, strlen(*(char *const *)field));
  else
    buf_add(out, field, scalar_size(type));
}

static enum err write_all(int fd, struct span bytes) {
  size_t done = 0;
  while (done < bytes.len) {
    ssize_t n = pwrite(fd, bytes.ptr + done, bytes.len - done, (off_t)done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ERR_IO;
    done += (size_t)n;
  }
  return ftruncate(fd, (off_t)bytes.len) ? ERR_IO : ERR_OK;
}

enum err config_write_snapshot(const struct config *config, enum config_role role, int fd) {
  ALWAYS(config->magic == CONFIG__MAGIC);
  struct buf out = {NULL, 0, 0};
  buf_add(&out, head, sizeof head);
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    if (config__options[id].holders & role) put_option(&out, config, id);
  put_text(&out, "", 0);
  put_text(&out, config->file, strlen(config->file));
  uint32_t crc = crc32c(0, out.data, out.len);
  buf_add(&out, &crc, sizeof crc);
  enum err e = write_all(fd, buf_span(&out));
  explicit_bzero(out.data, out.cap);
  buf_free(&out);
  return e;
}

// ---------------------------------------------------------------- reading

static bool take(struct span *rest, void *out, size_t len) {
  if (rest->len < len) return false;
  memcpy(out, rest->ptr, len);
  *rest = span_from(*rest, len);
  return true;
}

static bool take_text(struct span *rest, struct span *out) {
  uint32_t len;
  if (!take(rest, &len, sizeof len) || rest->len < len) return false;
  *out = (struct span){rest->ptr, len};
  *rest = span_from(*rest, len);
  return true;
}

static bool take_list(struct span *rest, struct config_list *list) {
  uint32_t count;
  struct span item;
  config__list_free(list);
  if (!take(rest, &count, sizeof count)) return false;
  for (uint32_t i = 0; i < count; i++) {
    if (!take_text(rest, &item)) return false;
    config__list_add(list, span_dup(item));
  }
  return true;
}

static bool take_option(struct span *rest, struct config *config, enum config_option_id id) {
  enum option_type type = config__options[id].type;
  void *field = config__field(config, id);
  struct span text;
  if (config__is_list(type)) return take_list(rest, field);
  if (!is_text(type)) return take(rest, field, scalar_size(type));
  if (!take_text(rest, &text)) return false;
  free(*(char **)field);
  *(char **)field = span_dup(text);
  return true;
}

static void clear_option(struct config *config, enum config_option_id id) {
  enum option_type type = config__options[id].type;
  void *field = config__field(config, id);
  if (config__is_list(type)) {
    config__list_free(field);
  } else if (is_text(type)) {
    free(*(char **)field);
    *(char **)field = xstrdup("");
  } else {
    memset(field, 0, scalar_size(type));
  }
}

static enum err decode(struct span rest, struct config *config) {
  struct span name, section;
  for (;;) {
    enum config_option_id id;
    if (!take_text(&rest, &name)) return ERR_TRUNCATED;
    if (!name.len) break;
    if (!span_split(&name, '.', &section) || !config__find_key(section, name, &id)) return ERR_VERSION;
    if (!take_option(&rest, config, id)) return ERR_TRUNCATED;
  }
  if (!take_text(&rest, &name)) return ERR_TRUNCATED;
  free(config->file);
  config->file = span_dup(name);
  return rest.len ? ERR_FORMAT : ERR_OK;
}

static enum err read_all(int fd, struct buf *out) {
  while (out->len <= SNAPSHOT_MAX) {
    ssize_t n = pread(fd, buf_reserve(out, 65536), 65536, (off_t)out->len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ERR_IO;
    if (n == 0) return ERR_OK;
    out->len += (size_t)n;
  }
  return ERR_TOO_LARGE;
}

static enum err verify(struct span bytes) {
  uint32_t crc;
  if (bytes.len < sizeof head + sizeof crc) return ERR_TRUNCATED;
  if (memcmp(bytes.ptr, head, sizeof head) != 0) return ERR_FORMAT;
  memcpy(&crc, bytes.ptr + bytes.len - sizeof crc, sizeof crc);
  return crc == crc32c(0, bytes.ptr, bytes.len - sizeof crc) ? ERR_OK : ERR_CHECKSUM;
}

enum err config_read_snapshot(struct config **config, int fd, struct why *why) {
  struct buf bytes = {NULL, 0, 0};
  struct config *fresh = config__new();
  free(fresh->origins); // of defaults: they own nothing
  fresh->origins = NULL;
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    clear_option(fresh, id); // what this role may not hold stays empty
  enum err e = read_all(fd, &bytes);
  if (!e) e = verify(buf_span(&bytes));
  if (!e) e = decode(span_from((struct span){bytes.data, bytes.len - sizeof(uint32_t)}, sizeof head), fresh);
  if (bytes.data) explicit_bzero(bytes.data, bytes.cap);
  buf_free(&bytes);
  if (e) {
    why_set(why, "configuration from the master (descriptor %d): %s", fd, err_text(e));
    config_free(fresh);
    return e;
  }
  *config = fresh;
  return ERR_OK;
}
