// A whole page, cut to a terminal. Pure. Runs in wahookctl.
#include "tools/ctl/look.h"

void view_status(const struct view *view, struct page *page) {
  *page = (struct page){{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
  view__status_head(view, &page->head);
  view__notes(view, &page->notes);
  view__table(view, false, &page->table);
}

void view_top(const struct view *view, struct page *page) {
  *page = (struct page){{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
  view__top_head(view, &page->head);
  view__notes(view, &page->notes);
  view__table(view, true, &page->table);
}

void page_free(struct page *page) {
  buf_free(&page->head);
  buf_free(&page->notes);
  buf_free(&page->table);
}

// ---------------------------------------------------------------- cutting

// So many columns of a line; SGR sequences have no width, and those behind the cut still count: they end what was begun.
static void cut_line(struct span line, size_t width, struct buf *out) {
  size_t used = 0;
  for (size_t i = 0; i < line.len; i++) {
    if (line.ptr[i] == '\033') {
      size_t end = i;
      while (end < line.len && line.ptr[end] != 'm')
        end++;
      buf_add(out, line.ptr + i, end - i + (end < line.len));
      i = end;
      continue;
    }
    used += ((unsigned char)line.ptr[i] & 0xC0) != 0x80;
    if (used <= width || !width) buf_add_byte(out, line.ptr[i]);
  }
  buf_add_byte(out, '\n');
}

static int count_lines(const struct buf *text) {
  int lines = 0;
  for (size_t i = 0; i < text->len; i++)
    lines += text->data[i] == '\n';
  return lines;
}

static void add_lines(const struct buf *text, size_t width, int count, struct buf *out) {
  struct span rest = buf_span(text), line;
  for (int i = 0; i < count && span_split(&rest, '\n', &line); i++)
    cut_line(line, width, out);
}

// At most `max` lines, of which the last tells of those that are left out.
static void add_some(const struct buf *text, size_t width, int max, struct buf *out) {
  int lines = count_lines(text);
  add_lines(text, width, lines > max ? max - 1 : lines, out);
  if (lines <= max || max < 1) return;
  char more[40];
  snprintf(more, sizeof more, "  ... %d more", lines - max + 1);
  cut_line(span_of(more), width, out);
}

static int between(int n, int low, int high) {
  return n > high ? (high > low ? high : low) : n < low ? low : n;
}

void page_fit(const struct page *page, size_t width, size_t height, struct span footer, struct buf *out) {
  int head = count_lines(&page->head), notes = count_lines(&page->notes), table = count_lines(&page->table),
      gaps = (notes > 0) + (table > 0);
  if (height) {
    // The title stays; then what is wrong matters most, then the processes, then the figures, then some air.
    int room = (int)height - 1, least = between(table, 0, 4);
    notes = between(notes, 0, room / 3);
    if (head + notes + gaps + least > room) gaps = 0;
    head = between(head, 1, room - notes - gaps - least);
    table = between(table, 0, room - head - notes - gaps);
  }
  add_lines(&page->head, width, head, out);
  if (gaps && notes) buf_add_byte(out, '\n');
  add_some(&page->notes, width, notes, out);
  if (gaps && table) buf_add_byte(out, '\n');
  add_some(&page->table, width, table, out);
  if (!height) return;
  for (int lines = count_lines(out); lines + 1 < (int)height; lines++)
    buf_add_byte(out, '\n');
  cut_line(footer, width, out);
}
