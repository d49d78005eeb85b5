// Single values: durations, sizes, rates and booleans, read and written as an operator writes them. Runs in the master and the tools.
#include "config/options.h"

#include <string.h>

struct unit {
  const char *name;
  int64_t factor;
};

// Longest first where one begins like another does not matter: whole words are compared.
static const struct unit durations_ms[] = {
    {"ms", 1}, {"s", 1000}, {"sec", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000},
};

// IEC units, and what nginx and gunicorn habits write: k, m, g count in 1024s, too. SI units (kB) count in 1000s.
static const struct unit sizes_bytes[] = {
    {"b", 1},          {"k", 1024},         {"kib", 1024}, {"m", 1048576},  {"mib", 1048576},
    {"g", 1073741824}, {"gib", 1073741824}, {"kb", 1000},  {"mb", 1000000}, {"gb", 1000000000},
};

static const struct unit periods_us[] = {
    {"second", 1000000}, {"s", 1000000},       {"sec", 1000000},  {"minute", 60000000}, {"m", 60000000},
    {"min", 60000000},   {"hour", 3600000000}, {"h", 3600000000}, {"day", 86400000000}, {"d", 86400000000},
};

static const struct unit *find_unit(const struct unit *units, size_t count, struct span name) {
  for (size_t i = 0; i < count; i++)
    if (span_eq_nocase(name, span_of(units[i].name))) return &units[i];
  return NULL;
}

// Cuts leading digits off *rest.
static enum err cut_number(struct span *rest, int64_t *out) {
  size_t n = 0;
  while (n < rest->len && rest->ptr[n] >= '0' && rest->ptr[n] <= '9')
    n++;
  uint64_t value;
  if (n == 0) return ERR_FORMAT;
  enum err e = span_u64((struct span){rest->ptr, n}, &value);
  if (e) return e;
  if (value > INT64_MAX) return ERR_RANGE;
  *out = (int64_t)value;
  *rest = span_from(*rest, n);
  return ERR_OK;
}

// Cuts leading letters off *rest.
static struct span cut_word(struct span *rest) {
  size_t n = 0;
  while (n < rest->len && ((rest->ptr[n] | 0x20) >= 'a' && (rest->ptr[n] | 0x20) <= 'z'))
    n++;
  struct span word = {rest->ptr, n};
  *rest = span_from(*rest, n);
  return word;
}

// Cuts the digits behind a decimal point off *rest: thousandths, more precise than which nothing here is.
static enum err cut_thousandths(struct span *rest, int64_t *out) {
  *out = 0;
  if (!span_starts(*rest, SPAN("."))) return ERR_OK;
  *rest = span_from(*rest, 1);
  size_t n = 0;
  for (int64_t worth = 100; n < rest->len && rest->ptr[n] >= '0' && rest->ptr[n] <= '9'; n++, worth /= 10)
    *out += (rest->ptr[n] - '0') * worth;
  *rest = span_from(*rest, n);
  return n ? ERR_OK : ERR_FORMAT;
}

// "1h30m", "90s", "1.5s", "16KiB", or a plain number in `plain` units. Spaces may stand between number and unit.
static enum err parse_units(struct span text, const struct unit *units, size_t count, int64_t plain, bool several, int64_t *out) {
  struct span rest = span_trim(text);
  int64_t sum = 0;
  for (bool first = true; first || rest.len; first = false) {
    int64_t number, thousandths = 0, part;
    if (!first && !several) return ERR_FORMAT;
    enum err e = cut_number(&rest, &number);
    if (!e && several) e = cut_thousandths(&rest, &thousandths);
    if (e) return e;
    rest = span_trim(rest);
    struct span word = cut_word(&rest);
    rest = span_trim(rest);
    const struct unit *unit = word.len ? find_unit(units, count, word) : NULL;
    if (word.len ? !unit : !first || rest.len) return ERR_FORMAT;
    int64_t factor = unit ? unit->factor : plain;
    if (__builtin_mul_overflow(number, factor, &part) || __builtin_add_overflow(part, thousandths * factor / 1000, &part)) return ERR_RANGE;
    if (__builtin_add_overflow(sum, part, &sum)) return ERR_RANGE;
  }
  *out = sum;
  return ERR_OK;
}

enum err config_parse_duration(struct span text, int64_t *out_ms) {
  return parse_units(text, durations_ms, COUNT_OF(durations_ms), 1000, true, out_ms);
}

enum err config_parse_size(struct span text, int64_t *out_bytes) {
  return parse_units(text, sizes_bytes, COUNT_OF(sizes_bytes), 1, false, out_bytes);
}

// slowapi's grammar: COUNT ("/" | "per") [N] PERIOD["s"].
enum err config_parse_rate(struct span text, struct config_rate *out) {
  struct span rest = span_trim(text);
  if (span_eq_nocase(rest, SPAN("off"))) {
    *out = (struct config_rate){0, 1000000}; // a period is never 0, so that nobody divides by it
    return ERR_OK;
  }
  int64_t count, periods = 1, period_us;
  enum err e = cut_number(&rest, &count);
  if (e) return e;
  rest = span_trim(rest);
  if (span_starts(rest, SPAN("/")))
    rest = span_trim(span_from(rest, 1));
  else if (!span_eq_nocase(cut_word(&rest), SPAN("per")))
    return ERR_FORMAT;
  rest = span_trim(rest);
  if (rest.len && rest.ptr[0] >= '0' && rest.ptr[0] <= '9' && (e = cut_number(&rest, &periods))) return e;
  rest = span_trim(rest);
  struct span word = cut_word(&rest);
  if (rest.len || !word.len) return ERR_FORMAT;
  const struct unit *unit = find_unit(periods_us, COUNT_OF(periods_us), word);
  if (!unit && word.len > 3 && (word.ptr[word.len - 1] | 0x20) == 's')
    unit = find_unit(periods_us, COUNT_OF(periods_us), (struct span){word.ptr, word.len - 1});
  if (!unit) return ERR_FORMAT;
  if (count == 0 || periods == 0 || __builtin_mul_overflow(periods, unit->factor, &period_us)) return ERR_RANGE;
  if (period_us > 31LL * 86400000000 || count > 1000000000) return ERR_RANGE;
  *out = (struct config_rate){(uint64_t)count, period_us};
  return ERR_OK;
}

enum err config__parse_bool(struct span text, bool *out) {
  static const struct {
    const char *word;
    bool value;
  } words[] = {{"yes", true}, {"true", true}, {"on", true}, {"1", true}, {"no", false}, {"false", false}, {"off", false}, {"0", false}};
  for (size_t i = 0; i < COUNT_OF(words); i++) {
    if (!span_eq_nocase(span_trim(text), span_of(words[i].word))) continue;
    *out = words[i].value;
    return ERR_OK;
  }
  return ERR_FORMAT;
}

// The largest unit that divides evenly, so that a dump reads like what was written.
static void format_units(int64_t value, const struct unit *units, size_t count, struct buf *out) {
  size_t best = 0;
  for (size_t i = 0; i < count; i++)
    if (value && value % units[i].factor == 0) best = i;
  buf_printf(out, "%lld%s", (long long)(value / units[best].factor), units[best].name);
}

void config__format_duration(int64_t ms, struct buf *out) {
  static const struct unit shown[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
  if (ms == 0)
    buf_add_text(out, "0s");
  else
    format_units(ms, shown, COUNT_OF(shown), out);
}

void config__format_size(int64_t bytes, struct buf *out) {
  static const struct unit shown[] = {{"", 1}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
  format_units(bytes, shown, COUNT_OF(shown), out);
}

void config__format_rate(const struct config_rate *rate, struct buf *out) {
  static const struct unit shown[] = {{"second", 1000000}, {"minute", 60000000}, {"hour", 3600000000}, {"day", 86400000000}};
  if (!rate->count) {
    buf_add_text(out, "off");
    return;
  }
  size_t best = 0;
  for (size_t i = 0; i < COUNT_OF(shown); i++)
    if (rate->period_us % shown[i].factor == 0) best = i;
  int64_t periods = rate->period_us / shown[best].factor;
  if (periods == 1)
    buf_printf(out, "%llu/%s", (unsigned long long)rate->count, shown[best].name);
  else
    buf_printf(out, "%llu per %lld %ss", (unsigned long long)rate->count, (long long)periods, shown[best].name);
}
