"""wahookctl status and top against a real daemon: what an operator sees, on a terminal and in a pipe."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from conftest import BUILD, PATIENCE, business, ctl, wait_for
from processes import command, gone, pids, whole

ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"


def environment(daemon, **more):
    return {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **daemon.variables, **more}


class Screen:
    """wahookctl in a pseudo terminal of its own."""

    def __init__(self, daemon, *args, columns=80, rows=24, term="xterm-256color"):
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        self.mark = 0
        self.popen = subprocess.Popen([str(BUILD / "wahookctl"), *args], stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                      env=environment(daemon, TERM=term, LC_ALL="C.UTF-8"), preexec_fn=self.own_terminal)

    def own_terminal(self):
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.master], [], [], 0)[0]:
            self.seen += os.read(self.master, 65536)
        return self.seen

    def pages(self):
        """The lines of each page that was drawn as a whole, without styles."""
        drawn = self.read().split(b"\x1b[H")[1:]
        return [[re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip("\r") for line in page.decode().split("\n")] for page in drawn]

    def wait(self, text):
        """For a page with this text, of those drawn since the last now(). It may not have come to its end yet."""
        found = lambda: [page for page in self.pages()[self.mark:] if any(text in line for line in page)]
        wait_for(found, what=f"{text!r} on the screen")

    def now(self):
        self.mark = len(self.pages())

    def wait_page(self, rows):
        """A whole page of so many lines, of those."""
        last = lambda: [page for page in self.pages()[self.mark:] if len(page) == rows and page[-1].startswith("q quit")][-1:]
        return wait_for(last, what=f"a page of {rows} lines")[0]

    def press(self, keys):
        self.now()
        os.write(self.master, keys)

    def end(self):
        status = self.popen.wait(10 * PATIENCE)
        self.read()
        after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        # In and out alternate; nothing is drawn behind the last way out.
        assert self.seen.count(ENTER) == self.seen.count(LEAVE) >= 1
        assert self.seen.endswith(LEAVE), self.seen[-200:]
        assert after == self.before, "the terminal is not as it was"
        return status


@pytest.fixture
def screens(world):
    """Opens screens, and closes those that a failed test left open."""
    opened = []

    def start(*args, **kwargs):
        opened.append(Screen(*args, **kwargs))
        return opened[-1]
    yield start
    for screen in opened:
        if screen.popen.poll() is None:
            screen.popen.kill()
            screen.popen.wait()


def test_status_is_a_tree(world):
    daemon = whole(world, server_workers="2")
    lines = ctl(daemon, "status").stdout.splitlines()
    assert re.fullmatch(r"wahookd \S+  ready  up [0-9:]+", lines[0])
    assert [line.split()[0] for line in lines[1:4]] == ["cache", "queue", "journal"]
    assert lines[5].split()[:3] == ["PROCESS", "PID", "STATE"]
    names = [re.split(r"\s{2,}", line)[0] for line in lines[6:]]
    assert names == ["master", "|- dispatcher", "|- worker 0", "`- worker 1"]  # no UTF-8 without a locale that has it
    assert str(daemon.pid) in lines[6] and all(" ready " in line for line in lines[6:])
    assert "\x1b" not in "".join(lines)
    assert json.loads(ctl(daemon, "status", "--json").stdout)["ready"] is True


def test_a_reload_that_was_refused_is_told(world):
    conf = world.directory / "wahookd.conf"
    conf.write_text("[log]\nlevel = \"info\"\n")
    daemon = whole(world, args=("-c", str(conf)))
    assert "reload" not in ctl(daemon, "status").stdout
    conf.write_text("[log]\nlevel = \"loud\"\n")
    daemon.popen.send_signal(signal.SIGHUP)
    seen = wait_for(lambda: (done := ctl(daemon, "status")) and "refused" in done.stdout and done, what="the refusal")
    lines = seen.stdout.splitlines()
    told = next(n for n, line in enumerate(lines) if re.fullmatch(r"! the last reload was refused .* ago, the old configuration stays:", line))
    assert lines[told + 1].startswith(f"    {conf}:2: log.level")
    assert seen.returncode == 0 and "  ready  up" in lines[0]  # it is what the daemon does that counts
    conf.write_text("[log]\nlevel = \"warning\"\n")
    daemon.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: re.search("^- the last reload was done .* ago, generation 2$", ctl(daemon, "top", "--count", "1").stdout, re.M), what="a good one")


def test_a_dispatcher_that_keeps_dying(world):
    daemon = whole(world, server_workers="1")
    spool = daemon.state / "spool.db"
    for name in ("spool.db-wal", "spool.db-shm"):
        (daemon.state / name).unlink(missing_ok=True)
    spool.write_bytes(b"this is no database, and no dispatcher can open it" * 1000)
    for pid in pids(daemon, "dispatcher"):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: any(p["state"] == "backoff" for p in daemon.metrics()["processes"]), 20, "a crash loop")
    seen = wait_for(lambda: (done := ctl(daemon, "status", check=False)) and "keeps dying" in done.stdout and done, 20, "the warning")
    assert seen.returncode == 1 and "not ready" in seen.stdout.splitlines()[0]
    assert re.search(r"^! dispatcher keeps dying.*see the log$", seen.stdout, re.M)


def test_top_in_a_pipe(world):
    daemon, box = world.start(businesses=[business(1)])
    for n in range(20):
        ctl(daemon, "send", "--to", "10001", f"message {n}")
    done = ctl(daemon, "top", "--count", "2", "--interval", "0.2")
    blocks = done.stdout.split("\n\nwahookd ")
    assert len(blocks) == 2 and "\x1b" not in done.stdout
    for block in blocks:
        assert "ready  up" in block and "PROCESS" in block and "dispatcher" in block and block.count("worker") == 2
    assert re.search(r"^requests +- all", blocks[0], re.M)  # one look is no rate
    assert re.search(r"^requests +[0-9.]+/s all", blocks[1], re.M)  # at least its own first look
    assert re.search(r"^master .* [0-9.]+ ", blocks[1], re.M)
    documents = ctl(daemon, "top", "-o", "json", "--count", "3", "--interval", "100ms").stdout.splitlines()
    assert len(documents) == 3 and all(json.loads(d)["ready"] for d in documents)


def test_top_takes_no_nonsense(world):
    daemon = world.daemon()
    for args in (["--interval", "0.01"], ["--interval", "x"], ["--interval", "4000"], ["--count", "0"], ["--count", "-1"], ["extra"]):
        done = ctl(daemon, "top", *args, check=False)
        assert done.returncode == 64 and done.stderr and not done.stdout, args


@pytest.mark.parametrize("how", ["q", "ctrl-c", "term", "count"])
def test_the_screen_is_put_back(world, screens, how):
    daemon = world.daemon()
    screen = screens(daemon, "top", "--interval", "0.2", *(["--count", "4"] if how == "count" else []))
    screen.wait("/s all")
    assert any("├─ dispatcher" in line for line in screen.wait_page(24))
    assert screen.seen.index(ENTER) < screen.seen.index(b"\x1b[H")
    if how == "term":
        screen.popen.terminate()
    elif how != "count":
        screen.press(b"q" if how == "q" else b"\x03")
    assert screen.end() == (-signal.SIGTERM if how == "term" else 0)


def test_keys_and_sizes(world, screens):
    daemon = world.daemon()
    screen = screens(daemon, "top", "--interval", "0.2")
    screen.wait("/s all")
    screen.press(b"s")
    screen.wait("sort: requests")
    screen.press(b"\x1b[A")  # an arrow means nothing
    screen.resize(200, 40)
    page = screen.wait_page(40)
    assert "REQUESTS" in "".join(page)
    screen.resize(30, 6)
    page = screen.wait_page(6)
    assert all(len(line) <= 30 for line in page), page
    screen.resize(80, 24)
    screen.wait_page(24)
    screen.press(b" ")
    screen.wait("paused")
    drawn = len(screen.pages())
    time.sleep(0.7)
    assert len(screen.pages()) == drawn  # it stands still
    screen.press(b" ")
    screen.wait("space pause")
    screen.popen.send_signal(signal.SIGTSTP)  # what Ctrl-Z sends: the shell gets its screen
    wait_for(lambda: screen.read().endswith(LEAVE), what="the way out")
    screen.now()
    screen.popen.send_signal(signal.SIGCONT)
    screen.wait("q quit")
    screen.press(b"q")
    assert screen.end() == 0


def test_top_waits_for_a_daemon_that_is_away(world, screens):
    daemon = world.daemon(port=world.port)
    screen = screens(daemon, "top", "--interval", "0.1")
    screen.wait("/s all")
    screen.now()
    daemon.stop()
    screen.wait("does not answer")
    screen.wait("is it running?")
    again = world.daemon(port=world.port)
    screen.now()
    screen.wait("/s all")
    screen.now()
    again.stop(signal.SIGQUIT)
    screen.wait("does not answer")
    screen.press(b"q")
    assert screen.end() == 0
    assert not re.search(r"-[0-9.]+[KMG]?/s", screen.seen.decode()), "a negative rate"
    gone = ctl(daemon, "top", "--count", "2", "--interval", "0.1", check=False)
    assert gone.returncode == 69 and gone.stdout.count("does not answer") == 2


def test_top_across_an_upgrade(world, screens):
    daemon = whole(world)
    screen = screens(daemon, "top", "--interval", "0.1", columns=120)
    screen.wait("/s all")
    done = command(daemon, "-s", "upgrade")
    assert done.returncode == 0, done
    master = (daemon.state / "wahookd.pid").read_text().strip()
    screen.wait("the last upgrade was done")
    screen.now()
    page = screen.wait_page(24)
    tree = [line for line in page if line.startswith(("master", "├", "└"))]
    assert tree[0].split()[:3] == ["master", master, "ready"] and len(tree) >= 4
    screen.press(b"q")
    assert screen.end() == 0
    assert not re.search(r"-[0-9.]+[KMG]?/s", screen.seen.decode())
    os.kill(int(master), signal.SIGTERM)
    gone([int(master)])


def test_a_daemon_that_hangs_does_not_hold_up_the_keys(world, screens):
    daemon = whole(world, server_workers="1")
    screen = screens(daemon, "top", "--interval", "0.1")
    screen.wait("/s all")
    stopped = pids(daemon, "worker")
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(0.5)
        screen.press(b"s")
        screen.wait("sort: requests")
        screen.wait("its log says why")
        screen.press(b"q")
        assert screen.end() == 0
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def test_a_terminal_without_capabilities_gets_blocks(world, screens):
    daemon = world.daemon()
    screen = screens(daemon, "top", "--interval", "0.1", "--count", "2", term="dumb")
    assert screen.popen.wait(10 * PATIENCE) == 0
    assert b"\x1b" not in screen.read() and screen.seen.count(b"PROCESS") == 2
