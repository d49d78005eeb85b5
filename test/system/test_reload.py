"""A new configuration, other numbers of workers, recycling: under load, and without a failed request. FAILURES 27 and 31."""

import json
import os
import signal
import socket
import time

import pytest

from conftest import APP_SECRET, BUILD, PATIENCE, Process, UnixConnection, free_port, request, wait_for
from processes import Load, gone, offspring, pids, whole


# ---------------------------------------------------------------- reload, recycling, more and fewer

def write_config(directory, port, **more):
    server = {"bind": [f"127.0.0.1:{port}"], "workers": 2, "state_dir": str(directory / "state"), **more}
    lines = ["[server]"]
    for key, value in server.items():
        shown = value if isinstance(value, int) else "[" + ", ".join(f'"{v}"' for v in value) + "]" if isinstance(value, list) else f'"{value}"'
        lines.append(f"{key} = {shown}")
    lines += ["[webhook]", f'app_secrets = ["{APP_SECRET}"]', 'verify_token = "v"', "[limits]", 'health = "off"', 'metrics = "off"']
    path = directory / "wahookd.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def from_file(world):
    port = free_port()
    path = write_config(world.directory, port)
    log = world.directory / "wahookd.log"
    p = Process([str(BUILD / "wahookd"), "-c", str(path)], {}, log)
    p.port, p.path, p.state, p.variables = port, path, world.directory / "state", {}
    p.directory = world.directory
    p.wait_log("is ready:", 20)
    world.running.append(p)
    return p


def metrics(p):
    conn = UnixConnection(p.state / "admin.sock", 30)
    try:
        conn.request("GET", "/metrics")
        r = conn.getresponse()
        return json.loads(r.read())
    finally:
        conn.close()


def workers_of(p):
    return {row["pid"] for row in metrics(p)["processes"] if row["role"] == "worker" and row["state"] == "ready"}


def test_a_good_reload_replaces_every_child_and_fails_no_request(from_file):
    p = from_file
    before = offspring(p.pid)
    with Load(p.port) as load:
        write_config(p.directory, p.port, workers=3)
        p.popen.send_signal(signal.SIGHUP)
        p.wait_log("reload: done, generation 2", 20)
    assert not load.failed
    after = offspring(p.pid)
    assert len(after) == 4 and not set(before) & set(after)
    assert len(workers_of(p)) == 3


def test_a_bad_reload_changes_nothing_and_says_why(from_file):
    p = from_file
    before = offspring(p.pid)
    good = p.path.read_text()
    p.path.write_text(good.replace("workers = 2", "workers = 2000"))
    p.popen.send_signal(signal.SIGHUP)
    p.wait_log("reload refused: the new configuration has 1 error")
    assert "server.workers" in p.log()
    write_config(p.directory, p.port, state_dir=str(p.directory / "elsewhere"))
    p.popen.send_signal(signal.SIGHUP)
    p.wait_log("reload refused: 1 option can only be changed by a restart")
    line = 1 + p.path.read_text().splitlines().index(f'state_dir = "{p.directory}/elsewhere"')
    assert f"{p.path}:{line}: server.state_dir: can only be changed by a restart" in p.log()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write_config(p.directory, p.port, bind=[f"127.0.0.1:{p.port}", f"127.0.0.1:{taken.getsockname()[1]}"])
        p.popen.send_signal(signal.SIGHUP)
        p.wait_log(f"reload refused: {p.path}:2: server.bind: cannot listen on 127.0.0.1:{taken.getsockname()[1]}")
    assert offspring(p.pid) == before
    assert request(p.port, "GET", "/ready").status == 200


def test_a_reload_can_move_the_listeners(from_file):
    p = from_file
    second = free_port()
    write_config(p.directory, p.port, bind=[f"127.0.0.1:{p.port}", f"[::1]:{second}"])
    p.popen.send_signal(signal.SIGHUP)
    p.wait_log("reload: done, generation 2")
    assert request(p.port, "GET", "/health").status == 200
    with socket.create_connection(("::1", second)) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200")
    write_config(p.directory, p.port, bind=[f"[::1]:{second}"])
    p.popen.send_signal(signal.SIGHUP)
    p.wait_log("reload: done, generation 3")
    with pytest.raises(OSError):
        request(p.port, "GET", "/health")


def test_what_waits_at_an_address_that_goes_is_still_answered(from_file):
    p = from_file
    second = free_port()
    write_config(p.directory, p.port, workers=1, bind=[f"127.0.0.1:{p.port}", f"127.0.0.1:{second}"])
    p.popen.send_signal(signal.SIGHUP)
    p.wait_log("reload: done, generation 2")
    worker, = workers_of(p)
    os.kill(worker, signal.SIGSTOP)  # so that they wait
    waiting = [socket.create_connection(("127.0.0.1", second)) for _ in range(300)]  # more than are taken in one turn
    for s in waiting:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    write_config(p.directory, p.port, workers=1)
    p.popen.send_signal(signal.SIGHUP)
    p.wait_log("generation 3 has checked in")
    os.kill(worker, signal.SIGCONT)
    for s in waiting:
        s.settimeout(10 * PATIENCE)
        assert s.recv(200).startswith(b"HTTP/1.1 200")
        s.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", second))


def test_a_hundred_reloads_under_load_fail_no_request(from_file):
    p = from_file
    with Load(p.port, clients=3) as load:
        for _ in range(100):
            p.popen.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        wait_for(lambda: len(offspring(p.pid)) == 3 and p.log().count("reload: done") == p.log().count("reload: reading"), 60)
    assert not load.failed, load.failed[:10]
    assert p.log().count("reload: done") >= 5
    assert "died" not in p.log()


def test_a_worker_is_recycled_after_its_requests(world):
    d = whole(world, server_max_requests="50", server_max_requests_jitter="10")
    before = pids(d, "worker")
    with Load(d.port, clients=2) as load:
        wait_for(lambda: not before & pids(d, "worker"), 30)
    assert not load.failed, load.failed[:10]
    assert "a successor takes over" in d.log() and "died" not in d.log()


def test_one_worker_more_and_one_less(world):
    d = whole(world)
    with Load(d.port) as load:
        for expected in (3, 4):
            d.popen.send_signal(signal.SIGTTIN)
            wait_for(lambda: len(pids(d, "worker")) == expected, 10)
        for expected in (3, 2, 1):
            d.popen.send_signal(signal.SIGTTOU)
            wait_for(lambda: len(pids(d, "worker")) == expected and len(d.children("worker")) == expected, 10)
        d.popen.send_signal(signal.SIGTTOU)
        d.wait_log("the last worker stays")
        time.sleep(0.3)
    assert len(pids(d, "worker")) == 1
    assert not load.failed, load.failed[:10]


def test_winch_drains_the_workers_and_hup_brings_them_back(world):
    d = whole(world)
    workers, dispatcher = pids(d, "worker"), pids(d, "dispatcher")
    d.popen.send_signal(signal.SIGWINCH)
    gone(workers)
    assert offspring(d.pid) == sorted(dispatcher)
    d.popen.send_signal(signal.SIGHUP)
    d.wait_log("reload: done")
    assert len(pids(d, "worker")) == 2
