// wahook-load: a load generator that posts webhooks as Meta does and tells what became of each. A program of its own.
//
// It is made to saturate a server with one core: nothing is allocated for a request, messages are templates with places to fill in
// (message.c), a request costs one recv() and one send() (conn.c).
#include "load.h"

#include <sysexits.h>

static int load(const struct load_options *options, struct why *why) {
  struct target target;
  struct messages *messages = NULL;
  bool any = false;
  enum err e = target_parse(options->target, &target, why);
  if (e == ERR_OK) e = messages_new(options, &target, &messages, why);
  if (e != ERR_OK) return EX_USAGE;
  messages_prepare(messages, options->count && options->count < options->prepare ? options->count : options->prepare);
  e = load_run(options, messages, &target, &any, why);
  messages_free(messages);
  if (e != ERR_OK) return e == ERR_CONFIG ? EX_USAGE : EX_IOERR;
  if (any) return EX_OK;
  why_set(why, "nothing could be sent: no connection to %s", options->target);
  return EX_UNAVAILABLE;
}

int main(int argc, char **argv) {
  struct load_options options;
  struct why why = {{0}};
  int status = EX_OK;
  enum err e = load_options_read(argc, argv, &options, &why);
  if (e == ERR_OK) {
    crypto_start();
    status = load(&options, &why);
    load_options_free(&options);
  } else if (e != ERR_CANCELED) {
    status = EX_USAGE;
  }
  if (fflush(stdout) != 0 && status == EX_OK) status = EX_IOERR;
  if (status != EX_OK) fprintf(stderr, "wahook-load: %s%s\n", why.text, status == EX_USAGE ? " (--help shows the options)" : "");
  return status;
}
