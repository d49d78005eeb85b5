// Figures of a few characters, for columns that a person reads at a glance. Pure. Runs in wahookctl.
#include "tools/ctl/look.h"

static struct figure scaled(double n, double step, const char *const *units, unsigned count) {
  struct figure f;
  unsigned unit = 0;
  // 999.6 of one unit would be written as 1000.
  for (; n >= step - 0.5 && unit + 1 < count; unit++)
    n /= step;
  snprintf(f.text, sizeof f.text, unit && n < 99.95 ? "%.1f%s" : "%.0f%s", n, units[unit]);
  return f;
}

struct figure figure_count(double n) {
  static const char *const units[] = {"k", "M", "G", "T"};
  struct figure f = {"-"};
  if (n >= 99999.5) return scaled(n / 1000, 1000, units, COUNT_OF(units));
  if (n >= 0) snprintf(f.text, sizeof f.text, "%.0f", n);
  return f;
}

struct figure figure_rate(double n) {
  struct figure f = {"-"};
  if (n < 0) return f;
  f = figure_count(n);
  if (n > 0 && n < 9.95) snprintf(f.text, sizeof f.text, "%.1f", n);
  return f;
}

struct figure figure_bytes(double n) {
  static const char *const units[] = {"B", "K", "M", "G", "T"};
  return n < 0 ? (struct figure){"-"} : scaled(n, 1024, units, COUNT_OF(units));
}

struct figure figure_us(double us) {
  static const char *const units[] = {"us", "ms", "s"};
  return us < 0 ? (struct figure){"-"} : scaled(us, 1000, units, COUNT_OF(units));
}

struct figure figure_age(double seconds) {
  static const struct {
    double from, length;
    const char *name;
  } units[] = {{172800, 86400, "days"}, {7200, 3600, "h"}, {120, 60, "min"}};
  struct figure f = {"-"};
  if (seconds < 0) return f;
  for (unsigned i = 0; i < COUNT_OF(units); i++)
    if (seconds >= units[i].from) {
      snprintf(f.text, sizeof f.text, "%.0f %s", seconds / units[i].length, units[i].name);
      return f;
    }
  snprintf(f.text, sizeof f.text, seconds < 9.95 ? "%.1f s" : "%.0f s", seconds);
  return f;
}
