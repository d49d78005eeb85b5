// Fuzz target: any bytes as a configuration: a file, and behind NUL bytes a flag and an environment variable each. It ends in a
// configuration whose dump and snapshot can be read again, or in errors; never in both.
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Name servers are no part of the input: no name resolves.
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  (void)name;
  (void)service;
  (void)hints;
  (void)found;
  return EAI_NONAME;
}

static char program[] = "wahookd", config_flag[] = "-c";

// A file in memory and the name that opens it.
static int memory_file(struct span content, char *path, size_t path_size) {
  int fd = memfd_create("fuzz", MFD_CLOEXEC);
  if (fd < 0 || write(fd, content.ptr, content.len) != (ssize_t)content.len) die("no memory file");
  snprintf(path, path_size, "/proc/self/fd/%d", fd);
  return fd;
}

static enum err load(struct span file, char *flag, char *variable, struct config **config, struct config_errors *errors) {
  char path[64];
  int fd = memory_file(file, path, sizeof path);
  char *argv[] = {program, config_flag, path, flag, NULL}, *environ[] = {variable, NULL};
  struct config_command command;
  enum err e = config_load(config, &command, flag ? 4 : 3, argv, environ, errors);
  close(fd);
  return e;
}

static void check_good(const struct config *config) {
  struct buf dump = {NULL, 0, 0};
  struct config *again = NULL;
  struct config_errors errors = {.count = 0};
  struct why why;
  for (enum config_option_id id = 0; id < OPT_COUNT; id++)
    ALWAYS(!config->origins[id].failed); // nothing is passed over without a word
  config_dump(config, &dump);
  if (load(buf_span(&dump), NULL, NULL, &again, &errors) && !strstr(errors.text.data, "environment variable"))
    die("a dump cannot be read: %s", errors.text.data);
  config_free(again);
  config_errors_free(&errors);
  buf_free(&dump);
  int fd = memfd_create("snapshot", MFD_CLOEXEC);
  ALWAYS(config_write_snapshot(config, CONFIG_ROLE_DISPATCHER, fd) == ERR_OK);
  ALWAYS(config_read_snapshot(&again, fd, &why) == ERR_OK);
  ALWAYS(strcmp(again->responder_system_prompt, config->responder_system_prompt) == 0);
  config_free(again);
  close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct span rest = {(const char *)data, size}, file = {"", 0}, flag = {NULL, 0}, variable = {NULL, 0};
  // Other files of the machine are no part of the input.
  if (memmem(data, size, "file:", 5)) return 0;
  if (size && span_split(&rest, '\0', &file) && rest.ptr && span_split(&rest, '\0', &flag) && rest.ptr)
    (void)span_split(&rest, '\0', &variable);
  char *flag_text = flag.ptr ? span_dup(flag) : NULL, *variable_text = variable.ptr ? span_dup(variable) : NULL;
  if (flag_text && strchr(flag_text, 'c') && strncmp(flag_text, "--", 2) != 0) flag_text[0] = '\0'; // -c is ours
  if (flag_text && strncmp(flag_text, "--config", 8) == 0) flag_text[0] = '\0';
  struct config *config = NULL;
  struct config_errors errors = {.count = 0};
  enum err e = load(file, flag_text, variable_text, &config, &errors);
  ALWAYS((e == ERR_OK) == (errors.count == 0) && (e == ERR_OK) == (config != NULL));
  ALWAYS(e == ERR_OK || errors.text.len > 0);
  enum err daemon = config_check_daemon(config, &errors);
  ALWAYS((daemon == ERR_OK) == (errors.count == 0));
  if (config) check_good(config);
  config_free(config);
  config_errors_free(&errors);
  free(flag_text);
  free(variable_text);
  return 0;
}
