"""The processes: start and stop, crashes, hangs, reloads, signals, one master per state directory. FAILURES 27, 28, 29 and 31."""

import http.client
import json
import os
import pathlib
import pwd
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from conftest import APP_SECRET, BUILD, PATIENCE, Process, UnixConnection, free_port, request, sign, wait_for


def alive(pid):
    """Exists and is no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def offspring(master):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == master and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def pids(daemon, role):
    return {row["pid"] for row in daemon.children(role) if row["state"] == "ready"}


def gone(process_ids, seconds=10):
    wait_for(lambda: not any(alive(pid) for pid in process_ids), seconds, f"the end of {process_ids}")


class Load:
    """Clients that ask /health without a pause, each request on a connection of its own; `failed` has what went wrong."""

    def __init__(self, port, clients=4):
        self.port, self.done, self.failed, self.stop = port, 0, [], False
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        while not self.stop:
            try:
                answer = request(self.port, "GET", "/health")
                if answer.status != 200:
                    self.failed.append(answer)
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
            self.done += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        for t in self.threads:
            t.join()


def run_wahookd(*args, env=None, **options):
    variables = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    variables.update({"WAHOOK_" + k.upper(): v for k, v in options.items()})
    variables.update(env or {})
    return subprocess.run([str(BUILD / "wahookd"), *args], env=variables, capture_output=True, text=True, timeout=30 * PATIENCE,
                          stdin=subprocess.DEVNULL)


def command(daemon, *args):
    return run_wahookd(*args, env=daemon.variables)


# ---------------------------------------------------------------- start and stop

@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_leaves_nothing(world, signum):
    d = world.daemon()
    children = offspring(d.pid)
    assert len(children) == 3
    assert d.stop(signum) == 0
    gone(children, 2)
    assert not (d.state / "wahookd.pid").exists() and not (d.state / "admin.sock").exists()
    assert "wahookd has stopped" in d.log()


def test_the_log_of_a_start(world):
    d = world.daemon()
    log = d.log()
    assert "Cache warmed up with 0 businesses" in log
    assert "is ready: 2 workers and a dispatcher" in log
    assert (d.state / "wahookd.pid").read_text() == f"{d.pid}\n"
    assert stat.S_IMODE(d.state.stat().st_mode) == 0o750
    assert stat.S_IMODE((d.state / "admin.sock").stat().st_mode) == 0o660


def test_a_graceful_stop_finishes_what_is_open(world):
    d = world.daemon()
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    with socket.create_connection(("127.0.0.1", d.port)) as s:
        s.sendall(b"POST /whatsapp_response HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Hub-Signature-256: "
                  + sign(body).encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10])
        time.sleep(0.3)
        d.popen.send_signal(signal.SIGTERM)
        d.wait_log("signal TERM")
        time.sleep(0.3)
        s.sendall(body[10:])
        s.settimeout(10)
        answer = s.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert d.popen.wait(10) == 0


def test_a_stop_is_over_when_its_grace_is(world):
    d = world.daemon(server_graceful_timeout="2s", server_header_timeout="60s")
    with socket.create_connection(("127.0.0.1", d.port)) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost:")
        time.sleep(0.3)
        begin = time.monotonic()
        assert d.stop() == 0
        assert time.monotonic() - begin < 4 * PATIENCE


def test_the_command_line_names_every_error(directory):
    done = run_wahookd("-t", server_workers="many", server_bind="nonsense", server_state_dir=str(directory / "s"), webhook_allow_unsigned="yes")
    assert done.returncode == 78
    assert "server.workers" in done.stderr and "server.bind" in done.stderr
    good = run_wahookd("-t", server_state_dir=str(directory / "s"), webhook_allow_unsigned="yes")
    assert good.returncode == 0 and "is good" in good.stdout
    assert not (directory / "s").exists()


def test_no_secret_no_start_and_unsigned_is_loud(world):
    done = run_wahookd(server_state_dir=str(world.directory / "s"))
    assert done.returncode == 78 and "app_secrets" in done.stderr and "allow_unsigned" in done.stderr
    d = world.daemon(webhook_app_secrets=None, webhook_allow_unsigned="yes")
    assert "ANYBODY" in d.log()


def test_one_master_per_state_directory(world):
    d = world.daemon()
    second = command(d)
    assert second.returncode == 69
    assert f"another wahookd (pid {d.pid})" in second.stderr
    other_port_same_address = run_wahookd(env={**d.variables, "WAHOOK_SERVER_STATE_DIR": str(world.directory / "other")})
    assert other_port_same_address.returncode == 69 and "in use" in other_port_same_address.stderr
    assert request(d.port, "GET", "/health").status == 200


def test_what_a_child_cannot_do_ends_the_first_start(world):
    (world.directory / "state").mkdir()
    (world.directory / "state" / "spool.db").write_bytes(b"this is no database at all, but it is long enough to be taken for one" * 100)
    d = world.daemon(wait=False)
    assert d.popen.wait(15 * PATIENCE) == 69
    assert "cannot start: dispatcher" in d.log()


# ---------------------------------------------------------------- crashes and hangs

def test_a_killed_worker_is_replaced_at_once(world):
    d = world.daemon()
    before = pids(d, "worker")
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(pids(d, "worker")) == 2 and victim not in pids(d, "worker"), 5)
    assert f"(pid {victim}) died: signal 9 (Killed)" in d.log()
    assert len(pids(d, "worker") & before) == 1
    assert [p["restarts"] for p in d.children("worker")] in ([0, 1], [1, 0])


def test_a_worker_killed_again_and_again_costs_at_most_one_request_each(world):
    d = world.daemon()
    kills = 12
    with Load(d.port) as load:
        for _ in range(kills):
            time.sleep(0.25)
            os.kill(wait_for(lambda: sorted(pids(d, "worker")), 20)[0], signal.SIGKILL)
        time.sleep(0.5)
    assert load.done > 100
    # One connection may have been in work, and those that the dead worker had accepted but not read: each client has one open.
    assert len(load.failed) <= kills + 4, load.failed[:20]


def test_a_killed_dispatcher_is_replaced(world):
    d = world.daemon()
    victim, = pids(d, "dispatcher")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: pids(d, "dispatcher") and victim not in pids(d, "dispatcher"), 5)
    assert request(d.port, "GET", "/ready").status == 200


def test_a_loop_that_hangs_is_killed_and_replaced(world):
    d = world.daemon(server_timeout="1s")
    victim = min(pids(d, "worker"))
    os.kill(victim, signal.SIGSTOP)
    d.wait_log("hangs: no heartbeat", 10)
    d.wait_log(f"(pid {victim}) died", 10)
    assert "killed since its loop hung" in d.log()
    wait_for(lambda: len(pids(d, "worker")) == 2, 5)


def test_a_frozen_and_thawed_daemon_kills_nobody(world):
    d = world.daemon(server_timeout="1s")
    everybody = [d.pid, *offspring(d.pid)]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)
    for pid in everybody:  # the master first: it sees their old heartbeats
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.5)
    assert [d.pid, *offspring(d.pid)] == everybody
    assert "hangs" not in d.log()


def test_children_notice_the_death_of_their_master(world):
    d = world.daemon()
    children = offspring(d.pid)
    d.popen.kill()
    d.popen.wait()
    gone(children)
    assert d.log().count("the master is gone") == 3
    # And a new master takes over what is left: lock, socket files, port.
    again = world.daemon(port=d.port)
    assert request(again.port, "GET", "/ready").status == 200


def test_everything_killed_at_once_starts_again(world):
    d = world.daemon()
    for pid in [d.pid, *offspring(d.pid)]:
        os.kill(pid, signal.SIGKILL)
    d.popen.wait()
    assert (d.state / "admin.sock").exists()
    again = world.daemon(port=d.port)
    assert again.admin("GET", "/health").status == 200


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


def file_metrics(p):
    conn = UnixConnection(p.state / "admin.sock", 30)
    try:
        conn.request("GET", "/metrics")
        r = conn.getresponse()
        return json.loads(r.read())
    finally:
        conn.close()


def workers_of(p):
    return {row["pid"] for row in file_metrics(p)["processes"] if row["role"] == "worker" and row["state"] == "ready"}


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
    p.wait_log("reload refused: server.state_dir can only be changed by a restart")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write_config(p.directory, p.port, bind=[f"127.0.0.1:{p.port}", f"127.0.0.1:{taken.getsockname()[1]}"])
        p.popen.send_signal(signal.SIGHUP)
        p.wait_log(f"reload refused: cannot listen on 127.0.0.1:{taken.getsockname()[1]}")
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
    d = world.daemon(server_max_requests="50", server_max_requests_jitter="10")
    before = pids(d, "worker")
    with Load(d.port, clients=2) as load:
        wait_for(lambda: not before & pids(d, "worker"), 30)
    assert not load.failed, load.failed[:10]
    assert "a successor takes over" in d.log() and "died" not in d.log()


def test_one_worker_more_and_one_less(world):
    d = world.daemon()
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
    d = world.daemon()
    workers, dispatcher = pids(d, "worker"), pids(d, "dispatcher")
    d.popen.send_signal(signal.SIGWINCH)
    gone(workers)
    assert offspring(d.pid) == sorted(dispatcher)
    d.popen.send_signal(signal.SIGHUP)
    d.wait_log("reload: done")
    assert len(pids(d, "worker")) == 2


# ---------------------------------------------------------------- listeners

def test_ipv6_and_unix_listeners(world):
    port, port6 = free_port(), free_port()
    path = world.directory / "public.sock"
    d = world.daemon(port=port, server_bind=f"127.0.0.1:{port},[::1]:{port6},unix:{path}")
    with socket.create_connection(("::1", port6)) as s:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200")
    for _ in range(8):  # one socket, shared by all workers
        conn = UnixConnection(path, 10)
        conn.request("GET", "/health")
        assert conn.getresponse().status == 200
        conn.close()
    d.stop()
    assert not path.exists()


def test_connections_are_spread_over_the_workers(world):
    d = world.daemon()
    for _ in range(64):
        assert request(d.port, "GET", "/health").status == 200
    assert all(row["requests"] > 0 for row in d.children("worker"))


# ---------------------------------------------------------------- commands, logs, users

def test_commands_to_a_running_daemon(world):
    d = world.daemon()
    status = command(d, "-s", "status")
    assert status.returncode == 0, status
    assert f"pid {d.pid}" in status.stdout
    for name in ("master", "dispatcher", "worker 0", "worker 1"):
        assert name in status.stdout, status.stdout
    assert command(d, "-s", "reload").returncode == 0
    d.wait_log("reload: done")
    assert command(d, "-s", "stop").returncode == 0
    assert d.popen.wait(10 * PATIENCE) == 0
    for name in ("status", "stop", "reload"):
        done = command(d, "-s", name)
        assert done.returncode == 3 and "not running" in done.stderr


def test_logs_are_reopened(world):
    log = world.directory / "own.log"
    d = world.daemon(log_target=str(log), log_access=str(world.directory / "access.log"))
    moved = log.rename(world.directory / "own.log.1")
    (world.directory / "access.log").rename(world.directory / "access.log.1")
    d.popen.send_signal(signal.SIGUSR1)
    wait_for(lambda: (world.directory / "access.log").exists() and log.exists(), 5)
    time.sleep(0.3)
    os.kill(min(pids(d, "worker")), signal.SIGKILL)
    wait_for(lambda: "died" in log.read_text(), 5)
    assert "died" not in moved.read_text()


def test_detached_with_a_pid_file(world):
    pid_file = world.directory / "extra.pid"
    port = free_port()
    options = dict(server_state_dir=str(world.directory / "state"), webhook_app_secrets=APP_SECRET, server_workers="1",
                   log_target=str(world.directory / "own.log"))
    done = run_wahookd("-D", "-p", str(pid_file), "-b", f"127.0.0.1:{port}", **options)
    assert done.returncode == 0, done
    pid = int(pid_file.read_text())
    children = offspring(pid)
    try:
        assert request(port, "GET", "/ready").status == 200  # it returned when the daemon was ready, not before
        assert os.getsid(pid) == pid
        refused = run_wahookd("-D", "-b", f"127.0.0.1:{free_port()}", **options)
        assert refused.returncode == 69
    finally:
        os.kill(pid, signal.SIGTERM)
    gone([pid, *children])
    assert not pid_file.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_children_run_as_the_user(world):
    os.chmod(world.directory, 0o755)
    d = world.daemon(server_user="nobody")
    nobody = pwd.getpwnam("nobody").pw_uid
    for pid in offspring(d.pid):
        uids = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
        assert uids.split()[1:] == [str(nobody)] * 4
    assert d.state.stat().st_uid == nobody
    d.popen.send_signal(signal.SIGHUP)
    d.wait_log("reload: done")


def test_children_hold_no_descriptor_they_need_not(world):
    d = world.daemon()
    for row in d.children("dispatcher"):
        links = [os.readlink(p) for p in pathlib.Path(f"/proc/{row['pid']}/fd").iterdir()]
        listening = pathlib.Path(f"/proc/{row['pid']}/net/tcp").read_text()
        inodes = {line.split()[9] for line in listening.splitlines()[1:] if line.split()[3] == "0A"}
        assert not [x for x in links if x.startswith("socket:[") and x[8:-1] in inodes]
    environ = pathlib.Path(f"/proc/{min(pids(d, 'worker'))}/environ").read_bytes()
    assert APP_SECRET.encode() not in environ
