// wahookctl check: the configuration that the daemon would start with, as wahookd -t tests it. Runs in wahookctl.
#include "tools/ctl/ctl.h"

static void put_lines(struct json_writer *w, const char *key, const struct buf *lines) {
  struct span rest = buf_span(lines), line;
  json_open(w, key, '[');
  while (rest.len && span_split(&rest, '\n', &line))
    if (line.len) json_put_text(w, NULL, line);
  json_close(w, ']');
}

int check_run(struct ctl *ctl) {
  enum err e = config_check_daemon(ctl->config, ctl->errors);
  const struct config_errors *errors = ctl->errors;
  if (ctl->json) {
    struct buf out = {NULL, 0, 0};
    struct json_writer w;
    json_start(&w, &out);
    json_open(&w, NULL, '{');
    json_put_bool(&w, "ok", e == ERR_OK);
    put_lines(&w, "errors", &errors->text);
    put_lines(&w, "warnings", &errors->warnings);
    json_close(&w, '}');
    printf("%s\n", out.data);
    buf_free(&out);
    return ctl_exit_status(e);
  }
  for (struct span rest = buf_span(&errors->warnings), line; rest.len && span_split(&rest, '\n', &line);)
    if (line.len) fprintf(stderr, "warning: %.*s\n", SPAN_FMT(line));
  fputs(errors->text.data ? errors->text.data : "", stderr);
  if (e)
    fprintf(stderr, "wahookctl: %u error%s in the configuration\n", errors->count, errors->count == 1 ? "" : "s");
  else
    printf("the configuration is right%s%s\n", *ctl->config->file ? ": " : "", ctl->config->file);
  return ctl_exit_status(e);
}
