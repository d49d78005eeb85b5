// A limiter's decision, alone and with eight processes at one table. Runs in bench-stages, and in children of it.
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "stages.h"
#include "wahook/limiter.h"

#define TABLE_BYTES (4u << 20)
#define PROCESSES   8
#define DECISIONS   400000 // of each

struct work {
  struct limiter *limiter;
  struct limiter_rule rule;
  uint64_t among, turn;
};

static void decide(void *ctx, uint64_t n) {
  struct work *w = ctx;
  for (uint64_t i = 0; i < n; i++) {
    uint64_t key = w->turn++ % w->among;
    if (!limiter_take(w->limiter, &w->rule, 2, (struct span){(const char *)&key, sizeof key}, clock_mono_us()).allowed) die("refused");
  }
}

// CPU time a decision costs, over all of them: what waits for a core does not count.
static double together(struct work *w) {
  void *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  _Atomic int64_t *cpu_ns = shared;
  if (shared == MAP_FAILED) die("no shared memory");
  for (unsigned i = 0; i < PROCESSES; i++) {
    pid_t pid = fork();
    if (pid < 0) die("no process");
    if (pid) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    w->turn = i * 7;
    decide(w, DECISIONS);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    atomic_fetch_add(cpu_ns, (int64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000 +
                                 (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000);
    _exit(0);
  }
  for (unsigned i = 0; i < PROCESSES; i++) {
    int status = 0;
    if (wait(&status) < 0 || status != 0) die("a child failed");
  }
  double each = (double)atomic_load(cpu_ns) / PROCESSES / DECISIONS;
  munmap(shared, 4096);
  return each;
}

void stages_limiter(void) {
  if (!stage_wanted("limiter")) return;
  void *table = mmap(NULL, TABLE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (table == MAP_FAILED) die("no shared memory");
  struct work w = {.limiter = limiter_new(table, TABLE_BYTES), .rule = limiter_rule(1000000000, 1000000), .among = 100};
  stage_time("limiter: a decision, 1 process", decide, &w);
  stage_tell("limiter: a decision, 8 processes, 100 keys", "ns CPU", together(&w));
  w.among = 1;
  stage_tell("limiter: a decision, 8 processes, 1 key", "ns CPU", together(&w));
  limiter_free(w.limiter);
  munmap(table, TABLE_BYTES);
}
