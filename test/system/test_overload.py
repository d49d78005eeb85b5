"""Attack and overload: floods from one address, no descriptors left, more than the disk or the dispatcher can take. FAILURES 3, 4, 36."""

import contextlib
import http.client
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import ADMIN_TOKEN, PATIENCE, business, change, envelope, message, request, sign, wait_for
from failures import Messages, ask, small_disk
from processes import pids, replaced

PATH = "/whatsapp_response"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def connect(port, source="127.0.0.1"):
    s = socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE, source_address=(source, 0))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def served(s):
    """Whether a request on this connection is answered; False when it was reset or does not come in."""
    try:
        s.sendall(HEALTH)
        return s.recv(65536).startswith(b"HTTP/1.1 200")
    except (ConnectionResetError, BrokenPipeError):
        return False


def comes_in(port, source):
    """A new connection's request is answered; a reset may even come before connect() returns."""
    try:
        with connect(port, source) as s:
            return served(s)
    except ConnectionResetError:
        return False


def answer_of(s):
    """All that comes until the end; a reset gives None."""
    got = b""
    try:
        while chunk := s.recv(65536):
            got += chunk
    except ConnectionResetError:
        return None
    return got


def resident(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---------------------------------------------------------------- 1, 2: clients that are slow on purpose

def test_thousands_of_slow_heads_cost_little_and_end(world):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, (hard - 500) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    daemon, box = world.start([business(1)], box=world.sandbox("--statuses", "off"), server_workers="1", server_header_timeout=f"{int(5 * PATIENCE)}s")
    sent = Messages(daemon, box)
    worker, = pids(daemon, "worker")
    sent.post(0)
    before = resident(worker)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(daemon.port, f"127.0.0.{2 + n % 8}")) for n in range(count)]
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for n, s in enumerate(slow):
            if n % 2:
                s.sendall(b"POST /whatsapp_response HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for n in range(1, 51):
            assert sent.post(n).status == 200
        assert daemon.metric("wahookd_http_connections_open") >= count
        if not os.environ.get("WAHOOK_SAN"):
            assert (resident(worker) - before) / count < 16384
        for n, s in enumerate(slow):
            s.settimeout(30 * PATIENCE)
            answer = answer_of(s)
            assert answer.startswith(b"HTTP/1.1 408") if n % 2 else answer == b"", (n, answer)
    wait_for(lambda: daemon.metric("wahookd_http_connections_open") <= 1, what="the end of all")
    sent.wait_answers()


def test_slow_bodies_and_deaf_readers_are_cut(world):
    daemon, _ = world.start([business(1)], sandbox=False, server_workers="1", server_body_timeout="500ms", server_write_timeout="500ms")
    with connect(daemon.port) as s:
        s.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\nContent-Length: 100000\r\n\r\n".encode())
        end = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < end and not select.select([s], [], [], 0.1)[0]:
            s.sendall(b"x")
        assert s.recv(65536).startswith(b"HTTP/1.1 408")
    with connect(daemon.port) as s:
        page = f"GET /prometheus/metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode()
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(20000):
                s.send(page)
        wait_for(lambda: daemon.metric("wahookd_http_connections_open") <= 1, what="the reset")
        s.settimeout(10 * PATIENCE)
        assert answer_of(s) is None
    assert daemon.metric("wahookd_http_timeouts_total") == 2


# ---------------------------------------------------------------- 3: a flood from one address

@pytest.mark.parametrize("options, most", [({"server_max_connections_per_address": "5"}, 5), ({"server_max_connections": "32"}, 16)])
def test_one_address_does_not_take_all_connections(world, options, most):
    daemon, box = world.start([business(1)], server_workers="1", **options)
    sent = Messages(daemon, box)
    open_ones = [connect(daemon.port, "127.0.0.9") for _ in range(most)]
    assert all(served(s) for s in open_ones)
    assert not any(comes_in(daemon.port, "127.0.0.9") for _ in range(50))
    assert daemon.metric('wahookd_http_connections_refused_total{reason="address"}') == 50
    told = [line for line in daemon.log().splitlines() if "127.0.0.9 has" in line]
    assert len(told) == 1 and "server.max_connections_per_address" in told[0]
    # Everybody else is served: other addresses, and those of the flood that were there before.
    for n in range(5):
        body = json.dumps(sent.body(n)).encode()
        assert ask(daemon.port, "POST", PATH, body, {"X-Hub-Signature-256": sign(body)}, source=f"127.0.0.{n + 10}").status == 200
        sent.kept.add(n)
    sent.wait_answers()
    assert all(served(s) for s in open_ones)
    open_ones.pop().close()
    wait_for(lambda: comes_in(daemon.port, "127.0.0.9"), what="a place that became free")


def test_a_trusted_proxy_is_not_counted(world):
    daemon, _ = world.start(sandbox=False, server_workers="1", server_max_connections_per_address="5", server_trusted_proxies="127.0.0.1")
    open_ones = [connect(daemon.port) for _ in range(20)]
    assert all(served(s) for s in open_ones)
    assert daemon.metric('wahookd_http_connections_refused_total{reason="address"}') == 0


# ---------------------------------------------------------------- 4: no descriptors left

def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def with_few_descriptors(world, count, **options):
    """A daemon whose worker may open `count` files at most."""
    daemon, box = world.start([business(1)], server_workers="1", intake_segment_size="64KiB", server_max_connections_per_address="1000000", **options)
    old, = pids(daemon, "worker")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (count, count))
    daemon.popen.send_signal(signal.SIGHUP)
    wait_for(lambda: len(pids(daemon, "worker")) == 1 and pids(daemon, "worker") != {old}, what="the new worker")
    worker, = pids(daemon, "worker")
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] == count
    return daemon, box, worker


def test_connections_never_take_the_last_descriptors(world):
    daemon, box, worker = with_few_descriptors(world, 100)
    sent = Messages(daemon, box)
    clients = [connect(daemon.port) for _ in range(150)]  # the kernel takes them all
    for s in clients:
        s.sendall(HEALTH)
    wait_for(lambda: daemon.metric("wahookd_http_accept_paused_total") >= 1, what="accepting to pause")
    assert "too few descriptors" in daemon.log()
    inside = select.select(clients, [], [], 1)[0]
    assert all(s.recv(65536).startswith(b"HTTP/1.1 200") for s in inside)
    waiting = [s for s in clients if s not in inside]
    assert 30 <= len(inside) < 100 and waiting
    # Nothing spins while they wait.
    turns, seconds = daemon.metric("wahookd_loop_turns_total"), cpu_seconds(worker)
    time.sleep(1)
    assert daemon.metric("wahookd_loop_turns_total") - turns < 200
    assert cpu_seconds(worker) - seconds < 0.5
    # The operator gets in, again and again, and none of it takes a descriptor that files need.
    for _ in range(50):
        assert daemon.admin("GET", "/ready").status == 200
    # Those inside are served: new journal files, the directory's store, a new business.
    daemon.add_businesses([business(2)])
    conn = http.client.HTTPConnection("127.0.0.1", daemon.port)
    conn.sock = inside[0]
    conn.sock.settimeout(10 * PATIENCE)
    for n in range(300):  # some 600 KiB, where a file has 64
        body = json.dumps(envelope(change("10002", [message(f"wamid.f{n}", f"f{n} " + "x" * 2000, user=f"4917{n % 20:08}")]))).encode()
        conn.request("POST", PATH, body, {"X-Hub-Signature-256": sign(body)})
        answer = conn.getresponse()
        assert answer.read() and answer.status == 200
    wait_for(lambda: len(box.messages()) >= 300, 60, "answers")
    assert "Too many open files" not in daemon.log()
    # Places become free and are taken, many times over.
    for s in inside[1:]:
        s.close()
    for s in waiting:
        assert s.recv(65536).startswith(b"HTTP/1.1 200")  # what it asked while it waited
        s.close()
    assert pids(daemon, "worker") == {worker}
    assert sent.post(1).status == 200


# ---------------------------------------------------------------- 36: more than can be worked off

SHED = 'wahookd_webhook_requests_total{result="shed"}'


def shed(answer):
    return answer.status == 503 and int(answer.headers["Retry-After"]) >= 1 and "waits" in answer.json["detail"]


def told(daemon, text):
    return [line for line in daemon.log().splitlines() if text in line]


@pytest.fixture
def freezing_disk(directory):
    """The journal on a disk that can be frozen: writes to it wait until it thaws."""
    intake = directory / "state" / "intake"
    with small_disk(directory / "below", "80m") as below:
        image = below / "image"
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True, text=True) if shutil.which("mkfs.ext4") else None
        if not made or made.returncode:
            pytest.skip("mkfs.ext4 does not work here")
        (directory / "state").mkdir(mode=0o750, exist_ok=True)
        intake.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-o", "loop", str(image), str(intake)], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"loop devices are not permitted here: {mounted.stderr.strip()}")

        def freeze(on):
            return subprocess.run(["fsfreeze", "-f" if on else "-u", str(intake)], capture_output=True, text=True).returncode == 0

        try:
            if not shutil.which("fsfreeze") or not freeze(True):
                pytest.skip("disks cannot be frozen here")
            freeze(False)
            yield freeze
        finally:
            freeze(False)
            subprocess.run(["umount", "-l", str(intake)], check=True)


def test_a_disk_that_stands_still_sheds_early_and_recovers(freezing_disk, world):
    daemon, box = world.start([business(1)], server_workers="1", intake_max_wait="300ms")
    sent = Messages(daemon, box)
    assert sent.post(1).status == 200
    freezing_disk(True)
    caught = [threading.Thread(target=sent.post, args=(n,)) for n in range(10, 15)]  # no answer before the disk has them
    for t in caught:
        t.start()
    wait_for(lambda: told(daemon, "intake.max_wait"), what="the line about the disk")
    before = len(sent.kept)
    for n in range(100, 150):
        assert shed(sent.post(n))
    assert len(sent.kept) == before
    # Refused before the body: a large one is not even sent, and the connection goes on. Unsigned is 401 all the same.
    conn = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10 * PATIENCE)
    for _ in range(3):
        conn.request("POST", PATH, b"x" * 1000, {"X-Hub-Signature-256": "sha256=" + "0" * 64})
        answer = conn.getresponse()
        assert answer.status == 503 and answer.headers["Connection"] == "keep-alive" and answer.read()
    conn.request("POST", PATH, b"{}")
    answer = conn.getresponse()
    assert answer.status == 401 and answer.read()
    with connect(daemon.port) as s:
        s.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\nContent-Length: 2000000\r\n\r\n".encode())
        assert s.recv(65536).startswith(b"HTTP/1.1 503")
    assert daemon.metric(SHED) == 54
    assert daemon.get("/health").status == 200
    freezing_disk(False)
    for t in caught:
        t.join()
    assert {10, 11, 12, 13, 14} <= sent.kept
    for n in range(200, 220):
        assert sent.post(n).status == 200
    daemon.wait_log("deliveries are taken again")
    assert len(told(daemon, "intake.max_wait")) == len(told(daemon, "taken again")) == 1
    sent.wait_answers()


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_backlog_without_a_dispatcher_is_bounded(world):
    daemon, box = world.start([business(1)], intake_segment_size="64KiB", intake_max_backlog="1MiB")
    kept = []

    def post(n):
        answer = daemon.post(envelope(change("10001", [message(f"wamid.b{n}", user=f"4917{n:08}", unknown="x" * 20000)])))
        if answer.status == 200:
            kept.append(n)
        return answer

    def refused_by_all():
        """Whichever worker gets them."""
        return all(shed(post(1000 * len(kept) + k)) for k in range(30))

    dispatcher, = pids(daemon, "dispatcher")
    with stopped(dispatcher):
        wait_for(refused_by_all, 60, "both workers to refuse")
        assert len(kept) > 20
        assert sum(p.stat().st_size for p in (daemon.state / "intake").glob("*.log")) < 2 << 20
        assert "see whether the dispatcher runs" in told(daemon, "intake.max_backlog")[0]
        assert daemon.metric(SHED) >= 30
        # A worker that comes new finds the same.
        worker = min(pids(daemon, "worker"))
        os.kill(worker, signal.SIGKILL)
        replaced(daemon, "worker", worker, 2)
        wait_for(refused_by_all, 60, "the new one to refuse")
    wait_for(lambda: len(box.messages()) >= len(kept), 60, "answers to what was kept")
    daemon.wait_log("deliveries are taken again")
    wait_for(lambda: all(post(-n).status == 200 for n in range(1, 21)), what="room")


def test_jobs_that_nobody_works_off_are_bounded(world):
    box = world.sandbox("--statuses", "off")
    daemon, _ = world.start([business(1)], box=box, dispatch_max_waiting="20", dispatch_concurrency="1")
    box.faults(latency_ms=600000)
    sent = Messages(daemon, box)
    n = 0
    while n < 5000 and (answer := sent.post(n)).status == 200:
        n += 1
        time.sleep(0.005)
    assert shed(answer) and n >= 20
    assert all(shed(sent.post(10000 + k)) for k in range(20))
    line, = told(daemon, "dispatch.max_waiting")
    assert " dispatcher " in line and "wahookctl queue list" in line
    # It holds for new processes, too.
    dispatcher, = pids(daemon, "dispatcher")
    box.faults(latency_ms=0)
    os.kill(dispatcher, signal.SIGKILL)
    sent.wait_answers()
    daemon.wait_log("deliveries are taken again")
    wait_for(lambda: sent.post(20000).status == 200, what="room")
    sent.wait_answers()
