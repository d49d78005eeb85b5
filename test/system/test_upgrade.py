"""Another program takes over while this one serves: USR2 and -s upgrade, pid files, rollback. FAILURES 32."""

import os
import shutil
import signal
import time

import pytest

from conftest import BUILD, PATIENCE, business, change, envelope, message, request, wait_for
from processes import Load, command, gone, offspring, pids, whole


@pytest.fixture
def own_program(world):
    """A daemon from a program file of its own, which a test may replace as a package would: by another file under its name."""
    path = world.directory / "wahookd"
    shutil.copy(BUILD / "wahookd", path)
    (world.directory / "lib").symlink_to(BUILD / "lib")  # the modules belong beside it
    return path


def replace_program(path, text=None):
    new = path.with_name("wahookd.new")
    if text is None:
        shutil.copy(BUILD / "wahookd", new)
    else:
        new.write_text(text)
        new.chmod(0o755)
    new.rename(path)


def leader(daemon):
    return int((daemon.state / "wahookd.pid").read_text())


def upgrade(daemon, old):
    done = command(daemon, "-s", "upgrade")
    assert done.returncode == 0, done
    new = leader(daemon)
    assert new != old
    return new


def end(daemon, master):
    os.kill(master, signal.SIGTERM)
    gone([master])
    assert not (daemon.state / "wahookd.pid").exists()


def test_an_upgrade_takes_over_and_fails_no_request(world, own_program):
    d = whole(world, program=own_program, server_pid_file=str(world.directory / "extra.pid"))
    with Load(d.port) as load:
        time.sleep(0.2)
        replace_program(own_program)
        old_children = offspring(d.pid)
        new = upgrade(d, d.pid)
        assert d.popen.wait(15 * PATIENCE) == 0
        time.sleep(0.2)
    assert not load.failed, load.failed[:10]
    assert not set(old_children) & set(offspring(new)) and len(offspring(new)) == 3
    assert int((world.directory / "extra.pid").read_text()) == new
    assert not list(world.directory.rglob("*.oldbin"))
    assert os.readlink(f"/proc/{new}/exe") == str(own_program)
    assert "died" not in d.log() and "upgrade: the new master" in d.log()
    status = command(d, "-s", "status")
    assert f"pid {new}" in status.stdout and status.returncode == 0
    end(d, new)


def test_messages_are_answered_across_upgrades(world):
    d, box = world.start([business(1)], server_graceful_timeout="5s")
    master = d.pid
    for round_ in range(3):
        for i in range(20):
            assert d.post(envelope(change("10001", [message(f"wamid.{round_}.{i}", f"{round_}.{i}", user=f"4917{i}")]))).status == 200
        master = upgrade(d, master)
    box.wait_messages(60)
    texts = [m["body"]["text"]["body"] for m in box.messages() if m["body"].get("type") == "text"]
    assert sorted(texts) == sorted(f"{r}.{i}" for r in range(3) for i in range(20))
    end(d, master)


def test_counters_and_limits_outlive_an_upgrade(world):
    d = whole(world, limits_health="20/minute")
    for _ in range(20):
        assert d.get("/health").status == 200
    assert d.get("/health").status == 429
    before = d.metric("wahookd_http_requests_total")
    new = upgrade(d, d.pid)
    assert d.metric("wahookd_http_requests_total") >= before
    assert d.get("/health").status == 429
    assert d.metric('wahookd_upgrades_total{result="done"}') == 1
    end(d, new)


BROKEN = {
    "it is no program": ("this is no program\n", "cannot execute"),
    "it ends at once": ("#!/bin/sh\nexit 3\n", "ended with status 3"),
    "it dies": ("#!/bin/sh\nkill -SEGV $$\n", "ended with signal 11"),
    "it hangs": ("#!/bin/sh\nexec sleep 60\n", "not ready within server.timeout"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_does_not_become_ready_is_rolled_back(world, own_program, case):
    text, reason = BROKEN[case]
    d = whole(world, program=own_program, server_timeout="2s")
    before = offspring(d.pid)
    replace_program(own_program, text)
    with Load(d.port, clients=2) as load:
        done = command(d, "-s", "upgrade")
    assert done.returncode == 69 and reason in done.stderr, done
    assert not load.failed, load.failed[:10]
    assert leader(d) == d.pid and not list(world.directory.rglob("*.oldbin"))
    assert offspring(d.pid) == before
    assert "upgrade rolled back" in d.log()
    # And again with one that works.
    replace_program(own_program)
    new = upgrade(d, d.pid)
    assert d.popen.wait(15 * PATIENCE) == 0
    end(d, new)


def test_a_configuration_that_became_wrong_is_told(world):
    path = world.directory / "wahookd.conf"
    d = whole(world, args=("-c", str(path)), config="[log]\nlevel = \"info\"\n")
    path.write_text("[log]\nlevel = \"loud\"\n")
    done = command(d, "-c", str(path), "-s", "upgrade")
    assert done.returncode == 69 and f"{path}:2: log.level" in done.stderr, done
    assert request(d.port, "GET", "/ready").status == 200


def test_a_dispatcher_that_cannot_start_gives_the_old_one_its_work_back(world):
    d, box = world.start([business(1)], server_graceful_timeout="2s")
    # What only the new dispatcher meets: a key file that is read at the start.
    path = d.state / "dispatcher.lock"
    path.unlink()
    path.mkdir()
    done = command(d, "-s", "upgrade")
    assert done.returncode == 69 and "dispatcher" in done.stderr, done
    path.rmdir()
    assert d.post(envelope(change("10001", [message("wamid.1")]))).status == 200
    box.wait_messages(1)
    assert leader(d) == d.pid


def test_a_new_master_that_is_killed_leaves_everything_as_it_was(world, own_program):
    d = whole(world, program=own_program)
    replace_program(own_program, "#!/bin/sh\nexec sleep 60\n")
    d.popen.send_signal(signal.SIGUSR2)
    new, = wait_for(lambda: [p for p in offspring(d.pid) if p not in pids(d, "worker") | pids(d, "dispatcher")], 5)
    os.kill(new, signal.SIGKILL)
    d.wait_log("upgrade rolled back: the new master ended with signal 9")
    assert leader(d) == d.pid and len(offspring(d.pid)) == 3


def test_a_stop_in_the_middle_ends_both(world, own_program):
    d = whole(world, program=own_program)
    replace_program(own_program, "#!/bin/sh\nexec sleep 60\n")
    d.popen.send_signal(signal.SIGUSR2)
    new, = wait_for(lambda: [p for p in offspring(d.pid) if p not in pids(d, "worker") | pids(d, "dispatcher")], 5)
    assert d.stop() == 0
    gone([new])
    assert not (d.state / "wahookd.pid").exists()


def test_an_old_master_that_dies_in_the_middle_is_followed_all_the_same(world):
    d, box = world.start([business(1)], server_graceful_timeout="3s")
    # The old dispatcher holds on to its work, so that the new master waits for the lead.
    box.faults(latency_ms=2500)
    assert d.post(envelope(change("10001", [message("wamid.1")]))).status == 200
    time.sleep(0.3)
    d.popen.send_signal(signal.SIGUSR2)
    d.wait_log("the new workers are ready")
    d.popen.kill()
    d.popen.wait()
    d.wait_log("the old master died before it gave way")
    new = wait_for(lambda: leader(d) != d.pid and leader(d), 15)
    box.faults(latency_ms=0)
    assert d.post(envelope(change("10001", [message("wamid.2")]))).status == 200
    wait_for(lambda: any(m["body"].get("type") == "text" for m in box.messages()), 20)
    wait_for(lambda: len([p for p in d.metrics()["processes"] if p["state"] != "empty"]) == 4, 10)
    end(d, new)
