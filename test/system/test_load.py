"""The load generator of the endurance tests and benches: its figures are true, against wahookd and against servers that behave badly."""

import json
import signal
import socket
import subprocess
import threading
import time

from conftest import APP_SECRET, BUILD, PATIENCE, business, free_port, wait_for

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def command(target, *args):
    return [str(BUILD / "wahook-load"), "--target", target, *map(str, args)]


def figures(target, *args, status=0):
    done = subprocess.run(command(target, *args), capture_output=True, text=True, timeout=60 * PATIENCE)
    assert done.returncode == status, done.stderr
    return balanced(json.loads(done.stdout))


def balanced(f):
    """Every request has exactly one outcome."""
    assert f["sent"] == sum(f["statuses"].values()) + f["failed"]["total"] + f["open"]
    assert f["failed"]["total"] == sum(n for cause, n in f["failed"].items() if cause != "total")
    assert f["ok"] == f["statuses"].get("200", 0)
    return f


def failed(f):
    return {cause: n for cause, n in f["failed"].items() if n and cause != "total"}


class Server:
    """Does the same with each connection, in a thread: `behave` gets the socket and how many connections there were before."""

    def __init__(self, behave):
        self.behave, self.count = behave, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.target = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s, self.count), daemon=True).start()
            self.count += 1

    def serve(self, s, number):
        with s:
            try:
                self.behave(s, number)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def read_request(s):
    """A GET's head; empty at the end."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = s.recv(4096)
        if not more:
            return b""
        head += more
    return head


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.close()


def answers(answer, times=10**9, pause=0.0):
    def behave(s, _):
        for _ in range(times):
            if not read_request(s):
                return
            time.sleep(pause)
            s.sendall(answer)
    return behave


# ---------------------------------------------------------------- against wahookd


def test_all_that_is_sent_is_acknowledged_and_counted(world):
    daemon, _ = world.start([business(n) for n in range(3)], sandbox=False)
    acknowledged = world.directory / "acknowledged"
    f = figures(f"127.0.0.1:{daemon.port}", "--app-secret", APP_SECRET, "--phone", "10000,10001,10002", "--connections", 4, "--rate", 300,
                "--new-rate", 50, "--duration", 2, "--conversations", 20, "--acknowledged", acknowledged, "--timeout", 15 * PATIENCE)
    assert not failed(f) and f["statuses"] == {"200": f["sent"]}
    assert f["sent"] + f["unsent"] >= 690
    assert f["latency_us"]["min"] <= f["latency_us"]["p50"] <= f["latency_us"]["p999"] <= f["latency_us"]["max"]
    assert f["connections"]["opened"] >= 4 + 90
    ids = acknowledged.read_text().splitlines()
    assert len(set(ids)) == len(ids) == f["ok"]
    wait_for(lambda: daemon.metric('wahookd_events_total{kind="message"}') == f["ok"], what="as many events as acknowledged messages")


def test_with_retry_everything_is_acknowledged_in_the_end(world):
    daemon, _ = world.start([business(0)], sandbox=False)
    acknowledged = world.directory / "acknowledged"
    argv = command(f"127.0.0.1:{daemon.port}", "--app-secret", APP_SECRET, "--phone", "10000", "--connections", 4, "--rate", 200,
                   "--duration", 3, "--acknowledged", acknowledged, "--retry", "--timeout", 30 * PATIENCE)
    load = subprocess.Popen(argv, stdout=subprocess.PIPE)
    time.sleep(0.7)
    daemon.stop()
    time.sleep(0.3)
    world.daemon(port=daemon.port)
    f = balanced(json.loads(load.communicate(timeout=60 * PATIENCE)[0]))
    assert f["failed"]["refused"] > 0 and f["retried"] >= f["failed"]["total"]
    assert f["unacknowledged"] == 0 and f["open"] == 0
    ids = acknowledged.read_text().splitlines()
    assert len(set(ids)) == len(ids) == f["ok"] == f["sent"] - f["retried"]


# ---------------------------------------------------------------- against servers that behave badly


def test_a_connection_closed_between_requests_is_no_failure():
    with Server(answers(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"), times=1)) as server:
        f = figures(server.target, "--get", "--connections", 2, "--count", 50)
        assert not failed(f) and f["ok"] == 50 and f["connections"]["closed_by_server"] >= 48

    # It closes without a word. Half a second is enough to see the end before the next request.
    with Server(answers(OK, times=1)) as server:
        f = figures(server.target, "--get", "--connections", 1, "--rate", 2, "--count", 3)
        assert not failed(f) and f["ok"] == 3 and f["connections"]["closed_by_server"] >= 2


def test_an_end_before_the_first_byte_is_raced_only_on_a_kept_connection():
    def after_one(s, _):
        answers(OK, times=1)(s, 0)
        read_request(s)

    with Server(after_one) as server:
        f = figures(server.target, "--get", "--count", 10)
        assert set(failed(f)) == {"raced"} and f["failed"]["raced"] == f["sent"] - f["ok"] == 5
    with Server(lambda s, _: read_request(s)) as server:
        f = figures(server.target, "--get", "--connections", 0, "--new-rate", 50, "--count", 6)
        assert failed(f) == {"eof": 6}


def test_how_an_answer_can_break_off():
    def resets(s, _):
        read_request(s)
        reset(s)

    def ends_within(s, _):
        read_request(s)
        s.sendall(OK[:-1])

    def resets_within(s, _):
        read_request(s)
        s.sendall(OK[:-1])
        time.sleep(0.1)
        reset(s)

    for behave, cause in ((resets, "reset"), (ends_within, "eof"), (resets_within, "reset"), (answers(b"+OK\r\n\r\n"), "malformed"),
                          (answers(OK + b"more"), "malformed")):
        with Server(behave) as server:
            f = figures(server.target, "--get", "--connections", 0, "--new-rate", 50, "--count", 6)
            assert failed(f) == {cause: 6}, behave


def test_answers_that_are_odd_but_right():
    def in_bytes(s, _):
        while read_request(s):
            for byte in OK:
                s.sendall(bytes([byte]))

    with Server(in_bytes) as server:
        assert figures(server.target, "--get", "--count", 20)["ok"] == 20
    with Server(answers(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", times=1)) as server:
        assert figures(server.target, "--get", "--count", 20)["ok"] == 20
    with Server(answers(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")) as server:
        f = figures(server.target, "--get", "--count", 20)
        assert f["shed"] == 20 and f["statuses"] == {"503": 20} and not failed(f)


def test_no_answer_in_time():
    with Server(answers(OK, pause=3600)) as server:
        f = figures(server.target, "--get", "--connections", 3, "--count", 3, "--timeout", 0.3)
        assert failed(f) == {"timeout": 3}


def test_a_stop_of_the_server_shows_in_the_latency_of_a_constant_rate():
    def stands_still_once(s, number):
        read_request(s)
        time.sleep(1)
        s.sendall(OK)
        answers(OK)(s, number)

    with Server(stands_still_once) as server:
        f = figures(server.target, "--get", "--connections", 1, "--rate", 100, "--count", 101)
        # One request was out during the pause, but a hundred were due in it.
        assert f["ok"] == 101 and f["latency_us"]["p50"] > 200_000


def test_nobody_there():
    f = figures(f"127.0.0.1:{free_port()}", "--get", "--connections", 2, "--duration", 0.3, status=69)
    assert set(failed(f)) == {"refused"} and f["sent"] == f["failed"]["refused"] > 0 and f["connections"]["opened"] == 0


def test_a_unix_socket_a_body_from_a_file_and_an_early_end(directory):
    path, body = directory / "s", directory / "body"
    body.write_bytes(b"x" * 300_000)
    bodies = []

    def behave(s):
        while True:
            got = read_request(s)
            if not got:
                return
            head, part = got.split(b"\r\n\r\n", 1)
            while len(part) < 300_000:
                part += s.recv(65536)
            bodies.append((head, part))
            s.sendall(OK)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        load = subprocess.Popen(command(f"unix:{path}", "--body", body, "--duration", 600, "--app-secret", APP_SECRET), stdout=subprocess.PIPE)
        s, _ = listener.accept()
        threading.Thread(target=behave, args=(s,), daemon=True).start()
        wait_for(lambda: len(bodies) > 3)
        load.send_signal(signal.SIGINT)
        f = balanced(json.loads(load.communicate(timeout=30 * PATIENCE)[0]))
        s.close()
    assert load.returncode == 0 and f["ok"] == f["sent"] > 3 and f["duration_s"] < 100
    assert all(part == b"x" * 300_000 and b"\r\nX-Hub-Signature-256: sha256=" in head for head, part in bodies)


def test_figures_of_intervals_add_up():
    with Server(answers(OK)) as server:
        done = subprocess.run(command(server.target, "--get", "--connections", 2, "--rate", 100, "--duration", 1, "--interval", 0.25),
                              capture_output=True, text=True, timeout=60 * PATIENCE)
    whole, parts = json.loads(done.stdout), [json.loads(line) for line in done.stderr.splitlines()]
    assert len(parts) >= 4
    for name in ("sent", "ok"):
        assert sum(p[name] for p in parts) == whole[name] > 0
    assert max(p["latency_us"]["max"] for p in parts) == whole["latency_us"]["max"]


def test_what_it_is_not_to_do():
    for args in ((), ("--target", "127.0.0.1"), ("--target", "h:1"), ("--target", "127.0.0.1:1", "--get", "--connections", "0"),
                 ("--target", "127.0.0.1:1", "--get", "--rate", "x"), ("--target", "127.0.0.1:1", "--get", "--count", "-1"),
                 ("--target", "127.0.0.1:1", "--get", "--retry"), ("--target", "127.0.0.1:1", "--nothing"),
                 ("--target", "127.0.0.1:1", "--get=yes"), ("--target", "unix:" + "x" * 200, "--get")):
        done = subprocess.run([str(BUILD / "wahook-load"), *args], capture_output=True, text=True, timeout=60 * PATIENCE)
        assert done.returncode == 64 and done.stderr.startswith("wahook-load: ") and not done.stdout, args
    done = subprocess.run([str(BUILD / "wahook-load"), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--acknowledged FILE" in done.stdout
