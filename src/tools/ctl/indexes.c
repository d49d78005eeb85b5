// wahookctl indexes: which indexes of a shared store are there that look-ups need, and makes the missing ones. Runs in wahookctl.
#include "tools/ctl/ctl.h"

static const struct rows_column columns[] = {
    {"NAME", "name", false}, {"KEYS", "keys", false}, {"STATE", "state", false}, {"USES", "uses", true}, {"NOTE", "note", false},
};

static void add_row(void *ctx, const struct store_index *index) {
  struct rows *rows = ctx;
  rows_text(rows, index->name);
  rows_text(rows, index->keys);
  rows_text(rows, store_index_state_name(index->state));
  rows_number_or_none(rows, index->uses, index->uses >= 0);
  rows_text(rows, index->note);
}

static int run(struct ctl *ctl, enum err (*how)(struct store *, store_on_index *, void *, struct why *), const char *verb) {
  struct why why = {""};
  struct store *store = NULL;
  struct rows rows;
  rows_begin(&rows, columns, COUNT_OF(columns), ctl->json);
  enum err e = store_for(ctl, false, &store, &why);
  if (!e) e = how(store, add_row, &rows, &why);
  // One that cannot be made keeps no other from being told; and where there is nothing to make, that is said.
  if (!e || e == ERR_CONFLICT || e == ERR_UNSUPPORTED)
    rows_finish(&rows, stdout, why.text);
  else
    buf_free(&rows.out);
  store_close(store);
  return e && e != ERR_UNSUPPORTED ? ctl_fail(e, verb, &why) : EX_OK;
}

int indexes_show(struct ctl *ctl) {
  return run(ctl, store_indexes_show, "indexes show");
}

int indexes_ensure(struct ctl *ctl) {
  return run(ctl, store_indexes_ensure, "indexes ensure");
}
