// What an operator sees of the daemon and its machine: requests and their durations, processes, load, memory, disk. Runs in the workers.
#include "admin.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

// ---------------------------------------------------------------- metrics

static void put_duration(const struct shm *shm, enum histogram histogram, const char *key, struct json_writer *w) {
  struct histogram_summary sum;
  histogram_summarize(shm, histogram, &sum);
  json_open(w, key, '{');
  json_put_u64(w, "count", sum.count);
  performance__put_spread(w, &sum);
  json_close(w, '}');
}

static void put_metrics(const struct admin *admin, struct json_writer *w) {
  const struct shm *shm = admin->options.shm;
  uint64_t decided, failed;
  state__deliveries(shm, &decided, &failed);
  json_open(w, "requests", '{');
  json_put_u64(w, "total", metrics_total(shm, METRIC_HTTP_REQUESTS));
  json_put_u64(w, "connections", metrics_total(shm, METRIC_HTTP_CONNECTIONS_OPEN));
  json_close(w, '}');
  json_open(w, "statuses", '{');
  json_put_u64(w, "2xx", metrics_total(shm, METRIC_HTTP_STATUS_2XX));
  json_put_u64(w, "3xx", metrics_total(shm, METRIC_HTTP_STATUS_3XX));
  json_put_u64(w, "4xx", metrics_total(shm, METRIC_HTTP_STATUS_4XX));
  json_put_u64(w, "5xx", metrics_total(shm, METRIC_HTTP_STATUS_5XX));
  json_close(w, '}');
  json_open(w, "deliveries", '{');
  json_put_u64(w, "total", decided + failed);
  json_put_u64(w, "failed", failed);
  json_put_double(w, "error_rate", state__rate_of(failed, decided), 6);
  json_close(w, '}');
  json_open(w, "durations", '{');
  put_duration(shm, HISTOGRAM_REQUEST, "request", w);
  put_duration(shm, HISTOGRAM_COMMIT, "intake_commit", w);
  put_duration(shm, HISTOGRAM_LOOKUP, "store_query", w);
  put_duration(shm, HISTOGRAM_RESPONDER, "responder", w);
  put_duration(shm, HISTOGRAM_GRAPH, "graph", w);
  put_duration(shm, HISTOGRAM_END_TO_END, "message", w);
  json_close(w, '}');
  json_open(w, "queue", '{');
  json_put_u64(w, "waiting", metrics_total(shm, METRIC_JOBS_WAITING));
  json_put_u64(w, "working", metrics_total(shm, METRIC_JOBS_WORKING));
  json_put_u64(w, "dead", metrics_total(shm, METRIC_JOBS_DEAD));
  json_put_u64(w, "journal_bytes", metrics_total(shm, METRIC_INTAKE_BACKLOG_BYTES));
  json_close(w, '}');
  threshold__put_over(admin, w);
}

void daemon__metrics(struct admin *admin, struct http_request *request) {
  performance__respond(admin, request, put_metrics);
}

// ---------------------------------------------------------------- application

static void put_application(const struct admin *admin, struct json_writer *w) {
  json_put_string(w, "version", WAHOOK_VERSION);
  json_put_u64(w, "generation", atomic_load(&admin->options.slot->generation));
  state__put_condition(admin, w);
  json_put_double(w, "uptime_seconds", state__uptime_seconds(admin->options.shm), 1);
  state__put_processes(admin->options.shm, w);
}

void daemon__application(struct admin *admin, struct http_request *request) {
  performance__respond(admin, request, put_application);
}

// ---------------------------------------------------------------- system

static void put_load(struct json_writer *w) {
  double load[3];
  json_put_i64(w, "processors", sysconf(_SC_NPROCESSORS_ONLN));
  json_open(w, "load", '[');
  for (int i = 0, n = getloadavg(load, 3); i < n; i++)
    json_put_double(w, NULL, load[i], 2);
  json_close(w, ']');
}

// proc(5): "MemAvailable:    123456 kB".
static void put_memory(struct json_writer *w) {
  static const struct {
    const char *name, *key;
  } wanted[] = {{"MemTotal", "total_bytes"},
                {"MemAvailable", "available_bytes"},
                {"SwapTotal", "swap_total_bytes"},
                {"SwapFree", "swap_free_bytes"}};
  struct buf text = {0};
  json_open(w, "memory", '{');
  struct span rest = buf_read_file(&text, "/proc/meminfo", 65536) == ERR_OK ? buf_span(&text) : (struct span){NULL, 0}, line, name, number;
  while (span_split(&rest, '\n', &line)) {
    uint64_t kib;
    if (!span_split(&line, ':', &name) || !line.ptr) continue;
    line = span_trim(line);
    if (!span_split(&line, ' ', &number) || span_u64(number, &kib) != ERR_OK) continue;
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
      if (span_eq(name, span_of(wanted[i].name))) json_put_u64(w, wanted[i].key, kib * 1024);
  }
  json_close(w, '}');
  buf_free(&text);
}

// proc_sys_fs(5): file-nr has those that are open, those that are allocated and free, and how many may be.
static void put_files(struct json_writer *w) {
  struct buf text = {0};
  struct rlimit limit;
  uint64_t numbers[3] = {0};
  json_open(w, "open_files", '{');
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) json_put_u64(w, "process_limit", limit.rlim_cur);
  if (buf_read_file(&text, "/proc/sys/fs/file-nr", 256) == ERR_OK) {
    struct span rest = span_trim(buf_span(&text)), number;
    unsigned n = 0;
    while (n < 3 && span_split(&rest, '\t', &number) && span_u64(number, &numbers[n]) == ERR_OK)
      n++;
    if (n == 3) {
      json_put_u64(w, "machine", numbers[0]);
      json_put_u64(w, "machine_limit", numbers[2]);
    }
  }
  json_close(w, '}');
  buf_free(&text);
}

static void put_disk(const struct admin *admin, struct json_writer *w) {
  struct statvfs disk;
  json_open(w, "disk", '{');
  json_put_string(w, "path", admin->options.config->server_state_dir);
  if (statvfs(admin->options.config->server_state_dir, &disk) == 0) {
    json_put_u64(w, "total_bytes", (uint64_t)disk.f_blocks * disk.f_frsize);
    json_put_u64(w, "free_bytes", (uint64_t)disk.f_bavail * disk.f_frsize); // what we may have, without root's reserve
    json_put_u64(w, "free_inodes", disk.f_favail);
  }
  json_close(w, '}');
}

static void put_system(const struct admin *admin, struct json_writer *w) {
  put_load(w);
  put_memory(w);
  put_files(w);
  put_disk(admin, w);
}

void daemon__system(struct admin *admin, struct http_request *request) {
  performance__respond(admin, request, put_system);
}
