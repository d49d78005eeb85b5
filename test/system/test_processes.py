"""The processes: start and stop, crashes, hangs, listeners, commands, one master per state directory. FAILURES 27, 28, 29."""

import os
import pathlib
import pwd
import signal
import socket
import stat
import time

import pytest

from conftest import APP_SECRET, PATIENCE, UnixConnection, free_port, request, sign, wait_for, needs_root
from processes import Load, command, gone, offspring, pids, replaced, run_wahookd, whole


# ---------------------------------------------------------------- start and stop

@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_leaves_nothing(world, signum):
    d = whole(world)
    children = offspring(d.pid)
    assert len(children) == 3
    assert d.stop(signum) == 0
    gone(children, 2)
    assert not (d.state / "wahookd.pid").exists() and not (d.state / "admin.sock").exists()
    assert "wahookd has stopped" in d.log()
    assert "died" not in d.log()


def test_the_log_of_a_start(world):
    d = whole(world)
    log = d.log()
    assert "Cache warmed up with 0 businesses" in log
    assert "is ready: 2 workers and a dispatcher" in log
    assert (d.state / "wahookd.pid").read_text() == f"{d.pid}\n"
    assert stat.S_IMODE(d.state.stat().st_mode) == 0o750
    assert stat.S_IMODE((d.state / "admin.sock").stat().st_mode) == 0o660


def test_a_graceful_stop_finishes_what_is_open(world):
    d = whole(world)
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
    d = whole(world, server_graceful_timeout="2s", server_header_timeout="60s")
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
    d = whole(world, webhook_app_secrets=None, webhook_allow_unsigned="yes")
    assert "ANYBODY" in d.log()


def test_one_master_per_state_directory(world):
    d = whole(world)
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


def test_a_directory_that_must_answer(world):
    nowhere = "sqlite:/nonexistent/businesses.db"
    options = dict(server_state_dir=str(world.directory / "s"), webhook_app_secrets=APP_SECRET, directory_store=nowhere, directory_check="yes")
    tested = run_wahookd("-t", **options)
    assert tested.returncode == 78 and "directory.store" in tested.stderr, tested
    for warmup in ("yes", "no"):
        refused = run_wahookd(**options, directory_warmup=warmup)
        assert refused.returncode == 69 and "directory.check" in refused.stderr, refused
    # A reload likewise; but what runs already, and a successor after a crash, go on with what there is.
    path = world.directory / "wahookd.conf"
    d = whole(world, args=("-c", str(path)), config='[directory]\ncheck = "yes"\n', directory_store=None)
    path.write_text(f'[directory]\ncheck = "yes"\nstore = "{nowhere}"\n')
    done = command(d, "-c", str(path), "-s", "reload")
    assert done.returncode == 78 and "directory.check" in done.stderr, done
    os.rename(d.state / "businesses.db", d.state / "moved.db")
    (d.state / "businesses.db").mkdir()
    victim = min(pids(d, "worker"))
    os.kill(victim, signal.SIGKILL)
    replaced(d, "worker", victim, 2)


# ---------------------------------------------------------------- crashes and hangs

def test_a_killed_worker_is_replaced_at_once(world):
    d = whole(world)
    before = pids(d, "worker")
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    replaced(d, "worker", victim, 2)
    assert f"(pid {victim}) died: signal 9 (Killed)" in d.log()
    assert len(pids(d, "worker") & before) == 1
    assert [p["restarts"] for p in d.children("worker")] in ([0, 1], [1, 0])


def test_a_worker_killed_again_and_again_costs_at_most_one_request_each(world):
    d = whole(world)
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
    d = whole(world)
    victim, = pids(d, "dispatcher")
    os.kill(victim, signal.SIGKILL)
    replaced(d, "dispatcher", victim, 1)
    wait_for(lambda: request(d.port, "GET", "/ready").status == 200, 5)


def test_a_loop_that_hangs_is_killed_and_replaced(world):
    d = whole(world, server_timeout="1s")
    victim = min(pids(d, "worker"))
    os.kill(victim, signal.SIGSTOP)
    d.wait_log("hangs: no heartbeat", 10)
    d.wait_log(f"(pid {victim}) died", 10)
    assert "killed since its loop hung" in d.log()
    replaced(d, "worker", victim, 2)


def test_one_that_hangs_gets_no_new_connections(world):
    d = whole(world, server_timeout="60s")
    victim = min(pids(d, "worker"))
    os.kill(victim, signal.SIGSTOP)
    time.sleep(2.5 * PATIENCE)  # it is silent long enough to be seen
    try:
        for _ in range(30):
            assert request(d.port, "GET", "/health", timeout=5).status == 200
    finally:
        os.kill(victim, signal.SIGCONT)
    row = next(row for row in d.children("worker") if row["pid"] == victim)
    assert row["state"] == "ready"


def test_a_crash_loop_backs_off_and_is_seen(world):
    """The other worker serves meanwhile; the one that cannot start is found in /ready, the status, the metrics and the log."""
    d = whole(world)
    intake = d.state / "intake"
    intake.rename(d.state / "moved")
    intake.write_text("no directory")  # whoever starts from now on has nowhere to write
    victim = min(pids(d, "worker"))
    os.kill(victim, signal.SIGKILL)
    loop = lambda: [r for r in d.metrics()["processes"] if r["state"] == "backoff"]
    row, = wait_for(lambda: [r for r in loop() if r["deaths"] >= 4] or None, 10)
    assert row["role"] == "worker" and 0 <= row["next_start_seconds"] <= 30
    for _ in range(20):
        assert request(d.port, "GET", "/health", timeout=5).status == 200
    ready = d.get("/ready")
    assert ready.status == 200 and f"Worker {row['ordinal']} is in a crash loop" in ready.json["degraded"], ready
    assert d.metric('wahookd_process_deaths_total{role="worker"}') >= 4
    assert "intake" in d.log() and "is started again in" in d.log()
    cpu = lambda: sum(int(x) for x in pathlib.Path(f"/proc/{d.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13])
    before = cpu()
    time.sleep(1)
    assert cpu() - before < 50  # clock ticks of 10 ms: the master does not spin
    intake.unlink()
    (d.state / "moved").rename(intake)
    wait_for(lambda: len(pids(d, "worker")) == 2, 40)
    assert "degraded" not in d.get("/ready").json


def test_a_frozen_and_thawed_daemon_kills_nobody(world):
    d = whole(world, server_timeout="1s")
    everybody = [d.pid, *offspring(d.pid)]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)
    for pid in everybody:  # the master first: it sees their old heartbeats
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.5)
    assert [d.pid, *offspring(d.pid)] == everybody, d.log()
    assert "hangs" not in d.log()


def test_children_notice_the_death_of_their_master(world):
    d = whole(world)
    children = offspring(d.pid)
    d.popen.kill()
    d.popen.wait()
    gone(children)
    assert d.log().count("the master is gone") == 3
    # And a new master takes over what is left: lock, socket files, port.
    again = whole(world, port=d.port)
    assert request(again.port, "GET", "/ready").status == 200


def test_everything_killed_at_once_starts_again(world):
    d = whole(world)
    for pid in [d.pid, *offspring(d.pid)]:
        os.kill(pid, signal.SIGKILL)
    d.popen.wait()
    assert (d.state / "admin.sock").exists()
    again = whole(world, port=d.port)
    assert again.admin("GET", "/health").status == 200


# ---------------------------------------------------------------- listeners

def test_ipv6_and_unix_listeners(world):
    port, port6 = free_port(), free_port()
    path = world.directory / "public.sock"
    d = whole(world, port=port, server_bind=f"127.0.0.1:{port},[::1]:{port6},unix:{path}")
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
    d = whole(world)
    for _ in range(64):
        assert request(d.port, "GET", "/health").status == 200
    assert all(row["requests"] > 0 for row in d.children("worker"))


# ---------------------------------------------------------------- commands, logs, users

def test_commands_to_a_running_daemon(world):
    d = whole(world)
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
    d = whole(world, log_target=str(log), log_access=str(world.directory / "access.log"))
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
    d = whole(world, server_user="nobody")
    nobody = pwd.getpwnam("nobody").pw_uid
    for pid in offspring(d.pid):
        uids = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
        assert uids.split()[1:] == [str(nobody)] * 4
    assert d.state.stat().st_uid == nobody
    d.popen.send_signal(signal.SIGHUP)
    d.wait_log("reload: done")


@needs_root
def test_children_hold_no_descriptor_they_need_not(world):
    d = whole(world)
    for row in d.children("dispatcher"):
        links = [os.readlink(p) for p in pathlib.Path(f"/proc/{row['pid']}/fd").iterdir()]
        listening = pathlib.Path(f"/proc/{row['pid']}/net/tcp").read_text()
        inodes = {line.split()[9] for line in listening.splitlines()[1:] if line.split()[3] == "0A"}
        assert not [x for x in links if x.startswith("socket:[") and x[8:-1] in inodes]
    environ = pathlib.Path(f"/proc/{min(pids(d, 'worker'))}/environ").read_bytes()
    assert APP_SECRET.encode() not in environ
