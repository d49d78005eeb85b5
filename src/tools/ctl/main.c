// wahookctl, the operator's tool: reads the command line and the configuration, runs one verb. A program of its own.
#include "tools/ctl/ctl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wahook/crypto.h"

void ctl_complain(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fflush(stdout);
  fputs("wahookctl: ", stderr);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
  va_end(ap);
}

int ctl_exit_status(enum err e) {
  switch (e) {
  case ERR_OK: return EX_OK;
  case ERR_NOT_FOUND: return CTL_EXIT_NO;
  case ERR_FORMAT:
  case ERR_RANGE:
  case ERR_TOO_LARGE:
  case ERR_CHECKSUM:
  case ERR_TRUNCATED:
  case ERR_VERSION:
  case ERR_EXISTS:
  case ERR_CONFLICT: return EX_DATAERR;
  case ERR_AGAIN:
  case ERR_TIMEOUT: return EX_TEMPFAIL;
  case ERR_UNAVAILABLE:
  case ERR_CLOSED: return EX_UNAVAILABLE;
  case ERR_DENIED:
  case ERR_KEY: return EX_NOPERM;
  case ERR_CONFIG:
  case ERR_UNSUPPORTED: return EX_CONFIG;
  case ERR_FULL:
  case ERR_IO: return EX_IOERR;
  default: return EX_SOFTWARE;
  }
}

int ctl_fail(enum err e, const char *what, const struct why *why) {
  const char *reason = why && *why->text ? why->text : err_text(e);
  if (what)
    ctl_complain("%s: %s", what, reason);
  else
    ctl_complain("%s", reason);
  return ctl_exit_status(e);
}

static int run(struct ctl *ctl) {
  struct config_command command;
  enum err e = config_load(&ctl->config, &command, ctl->config_argc, ctl->config_argv, environ, ctl->errors);
  if (e && ctl->verb->run != check_run) {
    fputs(ctl->errors->text.data ? ctl->errors->text.data : "", stderr);
    return EX_CONFIG;
  }
  crypto_start();
  int status = ctl->verb->run(ctl);
  if (fflush(stdout) || ferror(stdout)) {
    ctl_complain("cannot write the output");
    status = status ? status : EX_IOERR;
  }
  return status;
}

int main(int argc, char **argv) {
  struct config_errors errors = {.count = 0};
  struct ctl ctl = {.errors = &errors};
  bool help = false, version = false;
  int status = EX_OK;
  if (argc < 1) return EX_USAGE;
  if (!ctl_parse(&ctl, argc, argv, &help, &version))
    status = EX_USAGE;
  else if (version && !help)
    printf("wahookctl " WAHOOK_VERSION "\n");
  else if (!help)
    status = run(&ctl);
  config_free(ctl.config);
  config_errors_free(&errors);
  free(ctl.arguments);
  free(ctl.given);
  free(ctl.config_argv);
  return status;
}
