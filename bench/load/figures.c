// What is counted in a run, and the line of JSON that tells it. Runs in wahook-load.
#include "load.h"

#define OK_STATUS   200
#define SHED_STATUS 503

void figures_merge(struct figures *into, const struct figures *from) {
  into->sent += from->sent;
  into->again += from->again;
  into->ok += from->ok;
  for (unsigned i = 0; i < STATUS_COUNT; i++)
    into->statuses[i] += from->statuses[i];
  for (unsigned i = 0; i < FAILURE_COUNT; i++)
    into->failed[i] += from->failed[i];
  into->opened += from->opened;
  into->unopened += from->unopened;
  into->closed += from->closed;
  latency_merge(&into->latency, &from->latency);
}

static void put_statuses(struct json_writer *w, const struct figures *f) {
  json_open(w, "statuses", '{');
  for (int status = 0; status < STATUS_COUNT; status++) {
    if (!f->statuses[status]) continue;
    char name[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10), '\0'};
    json_put_u64(w, name, f->statuses[status]);
  }
  json_close(w, '}');
}

static void put_failed(struct json_writer *w, const struct figures *f) {
#define FAILURE_NAME(name, text) [FAILURE_##name] = text,
  static const char *const names[] = {FAILURE_LIST(FAILURE_NAME)};
#undef FAILURE_NAME
  uint64_t sum = 0;
  for (unsigned i = 0; i < FAILURE_COUNT; i++)
    sum += f->failed[i];
  json_open(w, "failed", '{');
  json_put_u64(w, "total", sum);
  for (unsigned i = 0; i < FAILURE_COUNT; i++)
    json_put_u64(w, names[i], f->failed[i]);
  json_close(w, '}');
}

static void put_latency(struct json_writer *w, const struct latency *l) {
  static const struct {
    const char *name;
    double q;
  } quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
  json_open(w, "latency_us", '{');
  json_put_u64(w, "min", l->min_us);
  json_put_double(w, "mean", l->count ? (double)l->sum_us / (double)l->count : 0, 1);
  for (size_t i = 0; i < COUNT_OF(quantiles); i++)
    json_put_u64(w, quantiles[i].name, latency_quantile_us(l, quantiles[i].q));
  json_put_u64(w, "max", l->max_us);
  json_close(w, '}');
}

static void put_bystand(struct json_writer *w, const struct bystand_figures *b) {
  json_open(w, "bystanders", '{');
  json_put_u64(w, "slow", b->slow);
  json_put_u64(w, "idle", b->idle);
  json_put_u64(w, "open", b->open);
  json_put_u64(w, "opened", b->opened);
  json_put_u64(w, "ended_by_server", b->ended);
  json_close(w, '}');
}

static double per_second(uint64_t n, double seconds) {
  return seconds > 0 ? (double)n / seconds : 0;
}

void figures_write(const struct figures *f, const struct figures_frame *frame, FILE *to) {
  struct buf text = {0};
  struct json_writer w;
  json_start(&w, &text);
  json_open(&w, NULL, '{');
  if (!frame->whole) json_put_double(&w, "at_s", frame->at_seconds, 3);
  json_put_double(&w, "duration_s", frame->seconds, 3);
  json_put_u64(&w, "sent", f->sent);
  json_put_u64(&w, "retried", f->again);
  json_put_u64(&w, "ok", f->ok);
  json_put_u64(&w, "shed", f->statuses[SHED_STATUS]);
  put_statuses(&w, f);
  put_failed(&w, f);
  json_put_u64(&w, "open", frame->open);
  json_put_u64(&w, "unsent", frame->unsent);
  json_put_u64(&w, "unacknowledged", frame->unacknowledged);
  json_open(&w, "connections", '{');
  json_put_u64(&w, "opened", f->opened);
  json_put_u64(&w, "unopened", f->unopened);
  json_put_u64(&w, "closed_by_server", f->closed);
  json_close(&w, '}');
  put_latency(&w, &f->latency);
  json_open(&w, "rate", '{');
  json_put_double(&w, "sent", per_second(f->sent, frame->seconds), 1);
  json_put_double(&w, "ok", per_second(f->ok, frame->seconds), 1);
  json_close(&w, '}');
  if (frame->whole) {
    json_put_double(&w, "cpu", frame->cpu, 3);
    json_put_i64(&w, "started_us", frame->started_us);
    if (frame->bystand.slow || frame->bystand.idle) put_bystand(&w, &frame->bystand);
  }
  json_close(&w, '}');
  fprintf(to, "%s\n", text.data);
  fflush(to);
  buf_free(&text);
}
