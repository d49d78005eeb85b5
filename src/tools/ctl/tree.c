// Who belongs to whom among the daemon's processes, and in which order they are shown. Pure. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <stdlib.h>
#include <string.h>

static const char *const sort_names[SORT_COUNT] = {"tree", "requests", "cpu", "memory", "lag"};

const char *tree_sort_name(enum tree_sort sort) {
  ALWAYS((unsigned)sort < SORT_COUNT);
  return sort_names[sort];
}

static bool is_master(const struct process *p) {
  return strcmp(p->role, "master") == 0;
}

static bool is_in(const struct process *p, const char *state) {
  return strcmp(p->state, state) == 0;
}

// ---------------------------------------------------------------- masters

static const struct process *find_master(const struct look *look, int64_t pid) {
  for (unsigned i = 0; i < look->process_count; i++)
    if (is_master(&look->processes[i]) && (!pid || look->processes[i].pid == pid)) return &look->processes[i];
  return NULL;
}

// The master that a process belongs to, by its pid; a daemon that does not tell has one.
static int64_t master_of(const struct look *look, const struct process *p) {
  const struct process *only = find_master(look, 0);
  if (is_master(p)) return p->pid;
  return p->master_pid ? p->master_pid : only ? only->pid : 0;
}

// While the binary is upgraded there are two: in charge is the one that works, of two of them the younger one.
static unsigned unfit(const struct process *master) {
  if (!master) return 3;
  return is_in(master, "ready") ? 0 : is_in(master, "starting") ? 1 : 2;
}

static bool is_before(const struct look *look, int64_t a_pid, int64_t b_pid) {
  const struct process *a = find_master(look, a_pid), *b = find_master(look, b_pid);
  if (unfit(a) != unfit(b)) return unfit(a) < unfit(b);
  return a && b && a->uptime_s != b->uptime_s ? a->uptime_s < b->uptime_s : a_pid > b_pid;
}

// ---------------------------------------------------------------- rows

static int64_t newest_generation(const struct look *look, int64_t master_pid) {
  int64_t newest = 0;
  for (unsigned i = 0; i < look->process_count; i++) {
    const struct process *p = &look->processes[i];
    if (master_of(look, p) == master_pid && !is_in(p, "draining") && p->generation > newest) newest = p->generation;
  }
  return newest;
}

static void mark(const struct look *look, struct tree_row *row) {
  int64_t in_charge = row->master_pid;
  for (unsigned i = 0; i < look->process_count; i++) {
    int64_t other = master_of(look, &look->processes[i]);
    if (other != in_charge && is_before(look, other, in_charge)) in_charge = other;
  }
  int64_t newest = newest_generation(look, in_charge);
  bool of_another = in_charge != row->master_pid;
  if (of_another)
    row->age = newest_generation(look, row->master_pid) > newest ? TREE_NEW : TREE_OLD;
  else if (!row->master && is_in(row->process, "draining") && row->process->generation < newest)
    row->age = TREE_OLD;
}

static bool is_listed(const struct tree_row *rows, unsigned count, int64_t master_pid) {
  for (unsigned i = 0; i < count; i++)
    if (rows[i].master && rows[i].master_pid == master_pid) return true;
  return false;
}

static double value_of(const struct look *before, const struct look *now, const struct process *p, enum tree_sort sort) {
  switch (sort) {
  case SORT_REQUESTS: return rate_requests(before, now, p);
  case SORT_CPU: return rate_cpu(before, now, p);
  case SORT_MEMORY: return (double)p->rss_bytes;
  case SORT_LAG: return (double)p->lag_us;
  default: return 0;
  }
}

// ---------------------------------------------------------------- order

static int by_number(double a, double b) {
  return (a > b) - (a < b);
}

static int by_tree(const struct look *look, const struct tree_row *a, const struct tree_row *b) {
  const struct process *p = a->process, *q = b->process;
  if (a->master_pid != b->master_pid) return is_before(look, a->master_pid, b->master_pid) ? -1 : 1;
  if (a->master != b->master) return a->master ? -1 : 1;
  int role = p && q ? strcmp(p->role, q->role) : 0; // dispatcher, worker
  if (role || !p || !q) return role;
  if (p->ordinal != q->ordinal) return p->ordinal < q->ordinal ? -1 : 1;
  if (p->generation != q->generation) return p->generation > q->generation ? -1 : 1;
  return is_in(p, "draining") != is_in(q, "draining") ? (is_in(p, "draining") ? 1 : -1) : by_number((double)p->pid, (double)q->pid);
}

struct order {
  const struct look *look;
};

static int by_value(const void *a, const void *b, void *ctx) {
  const struct tree_row *left = a, *right = b;
  const struct order *order = ctx;
  int most_first = by_number(right->value, left->value);
  return most_first ? most_first : by_tree(order->look, left, right);
}

struct tree_row *tree_order(const struct look *before, const struct look *now, enum tree_sort sort, unsigned *count) {
  struct tree_row *rows = xcalloc((size_t)now->process_count * 2 + 1, sizeof *rows);
  unsigned n = 0;
  for (unsigned i = 0; i < now->process_count; i++) {
    const struct process *p = &now->processes[i];
    rows[n++] =
        (struct tree_row){.process = p, .master_pid = master_of(now, p), .master = is_master(p), .value = value_of(before, now, p, sort)};
  }
  for (unsigned i = 0, listed = n; i < listed; i++)
    if (rows[i].master_pid && !is_listed(rows, n, rows[i].master_pid))
      rows[n++] = (struct tree_row){.master_pid = rows[i].master_pid, .master = true, .value = sort == SORT_TREE ? 0 : UNKNOWN};
  for (unsigned i = 0; i < n; i++)
    mark(now, &rows[i]);
  struct order order = {now};
  qsort_r(rows, n, sizeof *rows, by_value, &order);
  for (unsigned i = 0; i < n; i++)
    rows[i].last = i + 1 == n || rows[i + 1].master;
  *count = n;
  return rows;
}
