// The terminal as a screen: its own page, keys and signals as events, everything put back at the end. Runs in wahookctl.
#include "tools/ctl/look.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

// xterm's control sequences, which every terminal of today knows: alternate screen, cursor.
#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[0m\033[?25h\033[?1049l"

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP, SIGCONT};

bool view_terminal(struct view *view) {
  const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
  struct winsize size = {0};
  locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
  view->utf8 = locale && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
  if (locale) freelocale(locale);
  view->width = view->height = 0;
  view->styled = false;
  if (!isatty(STDOUT_FILENO) || !term || !*term || strcmp(term, "dumb") == 0) return false;
  view->styled = !no_color || !*no_color;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) {
    view->width = size.ws_col;
    view->height = size.ws_row;
  }
  return true;
}

static void put(struct span text) {
  while (text.len) {
    ssize_t n = write(STDOUT_FILENO, text.ptr, text.len);
    if (n < 0 && errno != EINTR && errno != EAGAIN) return; // the terminal is gone: SIGHUP follows
    if (n > 0) text = span_from(text, (size_t)n);
  }
}

// ---------------------------------------------------------------- in and out

static void enter(struct terminal *t) {
  struct termios raw = t->before;
  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); // ISIG stays: Ctrl-C and Ctrl-Z come as signals
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (t->polled_count > 1) tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
  if (!t->entered) put(SPAN(ENTER)); // a second time would forget where the cursor was
  t->entered = true;
}

static void leave(struct terminal *t) {
  if (!t->entered) return;
  put(SPAN(LEAVE));
  if (t->polled_count > 1) tcsetattr(STDIN_FILENO, TCSADRAIN, &t->before);
  t->entered = false;
}

enum err terminal_open(struct terminal *t, struct why *why) {
  sigset_t set;
  *t = (struct terminal){.polled_count = 1};
  sigemptyset(&set);
  for (unsigned i = 0; i < COUNT_OF(signals); i++)
    sigaddset(&set, signals[i]);
  int fd = signalfd(-1, &set, SFD_CLOEXEC);
  if (fd < 0 || sigprocmask(SIG_BLOCK, &set, &t->mask) != 0) {
    why_set(why, "cannot watch for signals: %s", strerror(errno));
    if (fd >= 0) close(fd);
    return ERR_IO;
  }
  t->polled[0] = (struct pollfd){.fd = fd, .events = POLLIN};
  t->polled[1] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
  if (tcgetattr(STDIN_FILENO, &t->before) == 0) t->polled_count = 2; // else there are no keys
  enter(t);
  return ERR_OK;
}

void terminal_close(struct terminal *t) {
  leave(t);
  close(t->polled[0].fd);
  sigprocmask(SIG_SETMASK, &t->mask, NULL);
}

// ---------------------------------------------------------------- events

static enum terminal_event take_signal(struct terminal *t) {
  struct signalfd_siginfo info;
  if (read(t->polled[0].fd, &info, sizeof info) != (ssize_t)sizeof info) return TERMINAL_TIME;
  switch (info.ssi_signo) {
  case SIGWINCH: return TERMINAL_REDRAW;
  case SIGTSTP: // Ctrl-Z: the shell gets its screen back, until SIGCONT
    leave(t);
    raise(SIGSTOP);
    return TERMINAL_TIME;
  case SIGCONT: enter(t); return TERMINAL_REDRAW;
  default: t->ended_by = (int)info.ssi_signo; return TERMINAL_END;
  }
}

enum terminal_event terminal_wait(struct terminal *t, int timeout_ms, char *key) {
  char bytes[64];
  if (poll(t->polled, t->polled_count, timeout_ms) <= 0) return TERMINAL_TIME;
  if (t->polled[0].revents) return take_signal(t);
  ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
  if (n <= 0) return n < 0 && errno == EINTR ? TERMINAL_TIME : TERMINAL_END;
  *key = bytes[0]; // of the sequence of an arrow, the escape
  return TERMINAL_KEY;
}

void terminal_draw(struct span page) {
  struct buf out = {NULL, 0, 0};
  struct span line;
  if (page.len && page.ptr[page.len - 1] == '\n') page.len--; // a line too much would scroll
  buf_add_text(&out, "\033[H");
  for (bool first = true; span_split(&page, '\n', &line); first = false) {
    // Cleared first: behind a line that is as wide as the screen it would take the last character.
    buf_printf(&out, "%s\033[K%.*s", first ? "" : "\r\n", SPAN_FMT(line));
  }
  put(buf_span(&out)); // at once, so that it does not flicker
  buf_free(&out);
}
