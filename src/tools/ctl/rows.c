// Output of wahookctl: tables for people, JSON for scripts. Runs in wahookctl.
#include "tools/ctl/ctl.h"

#include <string.h>

#define COLUMNS_MAX 24

void text_clean(struct span text, struct buf *out) {
  for (size_t i = 0; i < text.len; i++) {
    unsigned char c = (unsigned char)text.ptr[i];
    bool c1 = c == 0xC2 && i + 1 < text.len && ((unsigned char)text.ptr[i + 1] & 0xE0) == 0x80;
    if (c1) i++;
    buf_add_byte(out, c1 || c < 0x20 || c == 0x7F ? '?' : (char)c);
  }
}

size_t text_width(struct span text) {
  size_t width = 0;
  for (size_t i = 0; i < text.len; i++)
    width += ((unsigned char)text.ptr[i] & 0xC0) != 0x80; // one per character, none for continuation bytes
  return width;
}

void rows_begin(struct rows *rows, const struct rows_column *columns, unsigned count, bool json) {
  *rows = (struct rows){.columns = columns, .column_count = count, .json = json};
  if (!json) return;
  json_start(&rows->w, &rows->out);
  json_open(&rows->w, NULL, '[');
}

// The key of the cell that comes next; opens and closes the rows' objects.
static const char *next_cell(struct rows *rows) {
  ALWAYS(rows->at < rows->column_count);
  if (rows->at == 0) {
    rows->row_count++;
    if (rows->json) json_open(&rows->w, NULL, '{');
  }
  return rows->columns[rows->at++].key;
}

static void end_cell(struct rows *rows) {
  if (rows->at < rows->column_count) return;
  rows->at = 0;
  if (rows->json) json_close(&rows->w, '}');
}

static void add_cell(struct rows *rows, struct span text) {
  text_clean(text, &rows->out);
  buf_add_byte(&rows->out, '\0');
}

void rows_text(struct rows *rows, const char *text) {
  const char *key = next_cell(rows);
  if (rows->json)
    json_put_string(&rows->w, key, text);
  else
    add_cell(rows, span_of(text && *text ? text : "-"));
  end_cell(rows);
}

void rows_list(struct rows *rows, char *const *items, unsigned count) {
  const char *key = next_cell(rows);
  struct buf text = {NULL, 0, 0};
  if (rows->json) json_open(&rows->w, key, '[');
  for (unsigned i = 0; i < count; i++) {
    if (rows->json)
      json_put_string(&rows->w, NULL, items[i]);
    else
      buf_printf(&text, "%s%s", i ? "," : "", items[i]);
  }
  if (rows->json)
    json_close(&rows->w, ']');
  else
    add_cell(rows, text.len ? buf_span(&text) : SPAN("-"));
  buf_free(&text);
  end_cell(rows);
}

void rows_number(struct rows *rows, int64_t value) {
  rows_number_or_none(rows, value, true);
}

void rows_number_or_none(struct rows *rows, int64_t value, bool known) {
  const char *key = next_cell(rows);
  char text[24] = "-";
  if (known) snprintf(text, sizeof text, "%lld", (long long)value);
  if (!rows->json)
    add_cell(rows, span_of(text));
  else if (known)
    json_put_i64(&rows->w, key, value);
  else
    json_put_string(&rows->w, key, NULL);
  end_cell(rows);
}

void rows_bool(struct rows *rows, bool value, const char *yes, const char *no) {
  const char *key = next_cell(rows);
  if (rows->json)
    json_put_bool(&rows->w, key, value);
  else
    add_cell(rows, span_of(value ? yes : no));
  end_cell(rows);
}

void rows_time(struct rows *rows, int64_t wall_us) {
  const char *key = next_cell(rows);
  char text[25];
  clock_format_iso(wall_us, text);
  if (rows->json) {
    json_put_string(&rows->w, key, wall_us ? text : NULL);
  } else {
    text[10] = ' '; // "2026-03-01 12:34:56Z": people need no milliseconds
    text[19] = 'Z';
    add_cell(rows, wall_us ? (struct span){text, 20} : SPAN("-"));
  }
  end_cell(rows);
}

static struct span cut_cell(struct span *rest) {
  struct span cell = {rest->ptr, strlen(rest->ptr)};
  *rest = span_from(*rest, cell.len + 1);
  return cell;
}

// Which columns are shown, how wide, and how far apart.
struct plan {
  size_t widths[COLUMNS_MAX];
  bool shown[COLUMNS_MAX];
  unsigned last; // shown one
  int gap;
};

static size_t plan_width(const struct rows *rows, struct plan *plan) {
  size_t width = 0;
  for (unsigned c = 0; c < rows->column_count; c++) {
    if (!plan->shown[c]) continue;
    width += plan->widths[c] + (width ? (size_t)plan->gap : 0);
    plan->last = c;
  }
  return width;
}

static bool drop_column(const struct rows *rows, const struct rows_fit *fit, struct plan *plan) {
  unsigned most = 0, which = 0;
  for (unsigned c = 0; fit && c < rows->column_count; c++)
    if (plan->shown[c] && fit[c].spare > most) most = fit[which = c].spare;
  if (most) plan->shown[which] = false;
  return most > 0;
}

static void make_plan(const struct rows *rows, const struct rows_fit *fit, size_t width, struct plan *plan) {
  *plan = (struct plan){.gap = 2};
  ALWAYS(rows->column_count <= COLUMNS_MAX);
  for (unsigned c = 0; c < rows->column_count; c++) {
    plan->shown[c] = rows->columns[c].title != NULL;
    plan->widths[c] = plan->shown[c] ? strlen(rows->columns[c].title) : 0;
    if (fit && fit[c].width > plan->widths[c]) plan->widths[c] = fit[c].width;
  }
  struct span rest = buf_span(&rows->out);
  for (size_t r = 0; r < rows->row_count; r++)
    for (unsigned c = 0; c < rows->column_count; c++) {
      size_t cell = text_width(cut_cell(&rest));
      if (cell > plan->widths[c]) plan->widths[c] = cell;
    }
  while (plan_width(rows, plan) > width && width) {
    if (plan->gap > 1)
      plan->gap = 1;
    else if (!drop_column(rows, fit, plan))
      break;
  }
}

static void print_cell(struct buf *out, const struct plan *plan, unsigned column, struct span text, bool right) {
  int pad = (int)(plan->widths[column] - text_width(text));
  bool last = column == plan->last;
  buf_printf(out, "%*s%.*s%*s", right ? pad : 0, "", SPAN_FMT(text), right || last ? 0 : pad, "");
  buf_printf(out, "%*s%s", last ? 0 : plan->gap, "", last ? "\n" : "");
}

void rows_print(struct rows *rows, const struct rows_fit *fit, size_t width, struct buf *out) {
  struct plan plan;
  ALWAYS(rows->at == 0 && !rows->json);
  make_plan(rows, fit, width, &plan);
  for (unsigned c = 0; c < rows->column_count; c++)
    if (plan.shown[c]) print_cell(out, &plan, c, span_of(rows->columns[c].title), rows->columns[c].right);
  struct span rest = buf_span(&rows->out);
  for (size_t r = 0; r < rows->row_count; r++)
    for (unsigned c = 0; c < rows->column_count; c++) {
      struct span cell = cut_cell(&rest);
      if (plan.shown[c]) print_cell(out, &plan, c, cell, rows->columns[c].right);
    }
  buf_free(&rows->out);
}

void rows_finish(struct rows *rows, FILE *to, const char *if_empty) {
  struct buf table = {NULL, 0, 0};
  ALWAYS(rows->at == 0);
  if (rows->json) {
    json_close(&rows->w, ']');
    fprintf(to, "%s\n", rows->out.data);
  } else if (rows->row_count) {
    rows_print(rows, NULL, 0, &table);
    fputs(table.data, to);
  } else {
    fprintf(to, "%s\n", if_empty);
  }
  buf_free(&table);
  buf_free(&rows->out);
}

// ---------------------------------------------------------------- one document

static void pretty_members(const struct json *value, unsigned indent, struct buf *out) {
  for (const struct json *child = value->child; child; child = child->next) {
    buf_printf(out, "%*s", (int)indent, "");
    if (value->type == JSON_OBJECT) {
      text_clean(child->key, out);
      buf_add_byte(out, ':');
    } else {
      buf_add_byte(out, '-');
    }
    if ((child->type == JSON_OBJECT || child->type == JSON_ARRAY) && child->child) {
      buf_add_byte(out, '\n');
      pretty_members(child, indent + 2, out);
    } else {
      buf_add_byte(out, ' ');
      json_pretty(child, indent, out);
    }
  }
}

void json_pretty(const struct json *value, unsigned indent, struct buf *out) {
  if ((value->type == JSON_OBJECT || value->type == JSON_ARRAY) && value->child) {
    pretty_members(value, indent, out);
    return;
  }
  if (value->type == JSON_STRING)
    text_clean(value->text.len ? value->text : SPAN("-"), out);
  else if (value->type == JSON_OBJECT || value->type == JSON_ARRAY || value->type == JSON_NULL)
    buf_add_byte(out, '-');
  else
    text_clean(value->raw, out);
  buf_add_byte(out, '\n');
}
