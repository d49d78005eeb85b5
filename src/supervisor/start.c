// The first decision: child or command or master. Runs in every process.
#include "wahook/supervisor.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "supervisor/command.h"
#include "supervisor/master.h"
#include "supervisor/roles.h"
#include "wahook/directory.h"

static int print(struct buf *text) {
  fwrite(text->data, 1, text->len, stdout);
  buf_free(text);
  return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static void print_errors(const struct config_errors *errors) {
  if (errors->warnings.len) fwrite(errors->warnings.data, 1, errors->warnings.len, stderr);
  if (errors->text.len) fwrite(errors->text.data, 1, errors->text.len, stderr);
}

// -t, too, looks at the store's address as its driver does, and asks the store where the configuration says that it must answer.
static void check_directory(const struct config *config, struct config_errors *errors) {
  struct buf uri = {0};
  struct why why = {0};
  struct store *store = NULL;
  struct store_options options;
  store_configured(config, 0, &uri, &options);
  enum err e = store_open_with(&options, &store, &why);
  if (e != ERR_OK) {
    errors->count++;
    fprintf(stderr, "%s\n", *why.text ? why.text : err_text(e));
  } else if (config->directory_check && (e = store_ping(store, &why)) != ERR_OK) {
    errors->count++;
    fprintf(stderr, "directory.store: it does not answer, and directory.check asks for it: %s\n", *why.text ? why.text : err_text(e));
  }
  store_close(store);
  buf_free(&uri);
}

static int test_result(const struct config *config, unsigned errors) {
  const char *file = config && *config->file ? config->file : "(none: defaults and environment)";
  if (errors) {
    fprintf(stderr, "wahookd: the configuration has %u error%s\n", errors, errors == 1 ? "" : "s");
    return EX_CONFIG;
  }
  printf("wahookd: configuration file %s is good\n", file);
  return EX_OK;
}

// Also with a file that has errors: the daemon that runs has another one in force, and says itself what is wrong with this.
static int signal_command(struct config *config, const char *name, const struct config_errors *errors) {
  const struct config *known = config ? config : errors->partial;
  int status = known ? command_signal(known, name) : EX_CONFIG;
  if (!known || (!config && status != EX_OK && status != EX_CONFIG)) print_errors(errors);
  if (config) config_free(config);
  return status;
}

// Takes the configuration over.
static int command_or_master(struct config *config, const struct config_command *command, enum err loaded, struct config_errors *errors,
                             const struct inheritance *inherited, int argc, char **argv, char **environ) {
  if (command->signal) return signal_command(config, command->signal, errors);
  bool daemon = !command->dump;
  // A daemon's whole demands, so that all errors are told at once; a dump only needs values that can be read.
  enum err checked = daemon ? config_check_daemon(config, errors) : ERR_OK;
  print_errors(errors);
  int status;
  struct buf text = {0};
  if (command->test) {
    if (config && loaded == ERR_OK && checked == ERR_OK) check_directory(config, errors);
    status = test_result(config, errors->count);
  } else if (loaded != ERR_OK || checked != ERR_OK) {
    fprintf(stderr, "wahookd: %u error%s in the configuration, not started\n", errors->count, errors->count == 1 ? "" : "s");
    successor_refuse(inherited, buf_span(&errors->text));
    status = EX_CONFIG;
  } else if (command->dump) {
    config_dump(config, &text);
    status = print(&text);
  } else {
    return master_run(config, inherited, argc, argv, environ);
  }
  if (config) config_free(config);
  return status;
}

int supervisor_main(int argc, char **argv, char **environ) {
  const char *role = proc_role();
  if (role && strcmp(role, shm_role_name(SHM_ROLE_WORKER)) == 0) return worker_main();
  if (role && strcmp(role, shm_role_name(SHM_ROLE_DISPATCHER)) == 0) return dispatcher_main();
  struct inheritance inherited;
  successor_inherit(&inherited);
  struct config *config = NULL;
  struct config_command command = {0};
  struct config_errors errors = {0};
  struct buf text = {0};
  enum err loaded = config_load(&config, &command, argc, argv, environ, &errors);
  int status;
  if (command.help || command.version) {
    if (command.help)
      config_help(&text, "wahookd");
    else
      buf_printf(&text, "wahookd %s\n", WAHOOK_VERSION);
    status = print(&text);
    if (config) config_free(config);
  } else {
    status = command_or_master(config, &command, loaded, &errors, &inherited, argc, argv, environ);
  }
  config_errors_free(&errors);
  return status;
}
