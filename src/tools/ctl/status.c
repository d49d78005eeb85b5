// wahookctl status: the running daemon at one look. Runs in wahookctl.
#include "tools/ctl/look.h"

static void print_status(const struct ctl *ctl, const struct look *look) {
  struct view view = {.now = look};
  struct spool_view_counts queue;
  struct page page;
  struct buf out = {NULL, 0, 0};
  view_terminal(&view);
  if (queue_counts(ctl, &queue)) view.queue = &queue;
  view_status(&view, &page);
  page_fit(&page, 0, 0, (struct span){NULL, 0}, &out);
  printf("%.*s", SPAN_FMT(buf_span(&out)));
  buf_free(&out);
  page_free(&page);
}

int status_run(struct ctl *ctl) {
  struct why why = {""};
  struct look look;
  enum err e = look_take(ctl, false, NULL, &look, &why);
  if (e) {
    const char *hint = look_hint(e);
    if (*hint) ctl_complain("wahookd does not answer here: %s", hint);
    return ctl_fail(e, "status", &why);
  }
  if (ctl->json)
    printf("%.*s\n", SPAN_FMT(buf_span(&look.text)));
  else
    print_status(ctl, &look);
  int status = look.ready ? EX_OK : CTL_EXIT_NO;
  look_free(&look);
  return status;
}
