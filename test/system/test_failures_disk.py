"""Disks and files that fail under the daemon: full, unwritable, damaged, replaced by garbage. FAILURES 21, 24, 25, 26, 27."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time

import pytest

from conftest import PATIENCE, Daemon, business, change, envelope, message, wait_for
from failures import Messages, fill, rows, small_disk
from processes import gone, offspring, pids


@pytest.fixture
def state(directory):
    """The state directory on a disk of its own, made before the daemon and unmounted after its end."""
    with small_disk(directory / "state", "24m") as path:
        os.chmod(path, 0o750)
        yield path


@pytest.fixture
def on_small_disk(state, world):
    return world


def refused(answer):
    return answer.status == 503 and int(answer.headers["Retry-After"]) >= 1 and "cannot be stored" in answer.json["detail"]


# ---------------------------------------------------------------- 24: the disk is full

def test_a_full_disk_loses_no_200_and_recovers_by_itself(on_small_disk):
    daemon, box = on_small_disk.start([business(1)], intake_segment_size="64KiB")
    sent = Messages(daemon, box)
    for n in range(20):
        assert sent.post(n).status == 200
    sent.wait_answers()
    ballast = fill(daemon.state / "ballast")
    answers = [sent.post(n) for n in range(100, 1500)]
    assert {a.status for a in answers} <= {200, 503}
    late = [a for a in answers if a.status == 503]
    assert late and all(refused(a) for a in late)
    ready = daemon.get("/ready")
    assert ready.status == 503 and ready.json["ready"] is False and "disk" in ready.json["reason"], ready
    assert daemon.metric('wahookd_webhook_requests_total{result="not_stored"}') >= len(late)
    assert "the journal cannot be written" in daemon.log()
    # New processes on a full disk: a worker that answers 503, a dispatcher that comes when it can.
    for pid in [*pids(daemon, "worker"), *pids(daemon, "dispatcher")]:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(pids(daemon, "worker")) == 2, what="new workers")
    assert all(refused(sent.post(n)) for n in range(2000, 2010))
    assert refused(daemon.post(b"not json, but signed"))
    ballast.unlink()
    wait_for(lambda: daemon.get("/ready").status == 200, 40, "recovery")
    for n in range(3000, 3020):
        assert sent.post(n).status == 200
    print(f"\n{len(sent.kept)} acknowledged, {len(late)} refused")
    sent.wait_answers()
    assert daemon.metric("wahookd_intake_corrupt_total") == 0
    assert daemon.popen.poll() is None


def test_a_start_on_a_full_disk_waits_for_room(on_small_disk):
    first, box = on_small_disk.start([business(1)], intake_segment_size="64KiB")
    assert first.stop() == 0
    ballast = fill(first.state / "ballast")
    daemon = on_small_disk.daemon(graph_port=box.port, port=on_small_disk.port, wait=False, intake_segment_size="64KiB")
    sent = Messages(daemon, box)
    end = time.monotonic() + 5 * PATIENCE
    while time.monotonic() < end and daemon.popen.poll() is None:
        time.sleep(0.05)
    if daemon.popen.poll() is None:  # it serves, and refuses
        assert refused(sent.post(1)) and daemon.get("/ready").status == 503
    else:  # or it said why not, and the service manager tries again
        assert daemon.popen.returncode in (69, 73) and "cannot start" in daemon.log(), daemon.log()[-2000:]
    ballast.unlink()
    if daemon.popen.poll() is not None:
        daemon = on_small_disk.daemon(graph_port=box.port, port=on_small_disk.port, intake_segment_size="64KiB")
        sent.daemon = daemon
    daemon.wait_ready(40)
    assert sent.post(2).status == 200
    sent.wait_answers()


# ---------------------------------------------------------------- 25: writes fail

def limit_file_size(pid, size):
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_writes_that_fail_are_never_acknowledged(world):
    """A file size limit of zero: every write of one worker fails, in its journal and everywhere else."""
    daemon, box = world.start([business(1)], server_workers="1")
    sent = Messages(daemon, box)
    assert sent.post(1).status == 200
    worker, = pids(daemon, "worker")
    limit_file_size(worker, 0)
    assert all(refused(sent.post(n)) for n in range(10, 20))
    assert pids(daemon, "worker") == {worker}
    ready = daemon.get("/ready")
    assert ready.status == 503 and "disk" in ready.json["reason"]
    assert daemon.metric("wahookd_intake_failures_total") >= 1
    limit_file_size(worker, resource.RLIM_INFINITY)
    wait_for(lambda: daemon.get("/ready").status == 200, what="recovery")
    for n in range(20, 30):
        assert sent.post(n).status == 200
    sent.wait_answers()
    assert pids(daemon, "worker") == {worker}


@pytest.fixture
def bad_disk(directory):
    """The journal on a disk that gives real I/O errors once break_it() was called: its image is sparse, and the room below it runs out."""
    below, intake = directory / "below", directory / "state" / "intake"
    with small_disk(below, "12m"):
        image = below / "image"
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        made = subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", str(image)], capture_output=True, text=True) if shutil.which("mkfs.ext4") else None
        if not made or made.returncode:
            pytest.skip("mkfs.ext4 does not work here")
        (directory / "state").mkdir(mode=0o750, exist_ok=True)
        intake.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-o", "loop", str(image), str(intake)], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"loop devices are not permitted here: {mounted.stderr.strip()}")
        taken_away = []

        def take_away():
            subprocess.run(["umount", "-l", str(intake)], check=True)
            taken_away.append(True)

        try:
            yield lambda: fill(below / "ballast"), take_away
        finally:
            if not taken_away:
                take_away()
            (below / "ballast").unlink(missing_ok=True)


def test_a_failing_fsync_is_never_acknowledged(bad_disk, world):
    break_it, take_away = bad_disk
    daemon, box = world.start([business(1)], server_workers="1", intake_segment_size="64KiB")
    sent = Messages(daemon, box)
    for n in range(20):
        assert sent.post(n).status == 200
    break_it()
    answers = []
    while len(answers) < 20000 and (not answers or answers[-1].status == 200):
        answers.append(sent.post(1000 + len(answers)))
    assert refused(answers[-1]), "the disk was not bad enough"
    print(f"\n{len(sent.kept)} acknowledged before the first error")
    assert daemon.metric("wahookd_intake_failures_total") >= 1
    assert "the journal cannot be written" in daemon.log()
    assert daemon.get("/ready").status == 503
    sent.wait_answers()  # what was acknowledged was really kept
    take_away()
    wait_for(lambda: daemon.get("/ready").status == 200, 60, "recovery on another disk")
    for n in range(30000, 30020):
        assert sent.post(n).status == 200
    sent.wait_answers()


def test_a_spool_that_cannot_be_written_stops_no_intake(world):
    daemon, box = world.start([business(1)])
    sent = Messages(daemon, box)
    dispatcher, = pids(daemon, "dispatcher")
    limit_file_size(dispatcher, 0)
    for n in range(100):
        assert sent.post(n).status == 200
    time.sleep(1)
    limit_file_size(dispatcher, resource.RLIM_INFINITY)
    sent.wait_answers()
    assert pids(daemon, "dispatcher") == {dispatcher}


# ---------------------------------------------------------------- 26: damaged journals

def crash_with_a_backlog(world, count, **options):
    """A daemon that was killed with `count` acknowledged messages in its journal and none in its spool."""
    daemon, box = world.start([business(1)], server_workers="1", **options)
    sent = Messages(daemon, box)
    dispatcher, = pids(daemon, "dispatcher")
    os.kill(dispatcher, signal.SIGSTOP)
    for n in range(count):
        assert sent.post(n).status == 200
    everybody = [daemon.pid, *offspring(daemon.pid)]
    for pid in everybody:
        os.kill(pid, signal.SIGKILL)
    daemon.popen.wait()
    gone(everybody)
    journal, = [p for p in (daemon.state / "intake").glob("*.log") if b"wamid.n0" in p.read_bytes()]
    return daemon, box, sent, journal


def start_again(world, daemon, box, sent):
    again = Daemon(daemon.directory, graph_port=box.port, port=daemon.port, server_workers="1")
    world.running.append(again)
    sent.daemon = again
    return again


def test_flipped_bytes_cost_their_record_only(world):
    daemon, box, sent, journal = crash_with_a_backlog(world, 10)
    content = bytearray(journal.read_bytes())
    for n in (3, 7):
        content[content.index(b"wamid.n%d" % n)] ^= 0x20
    journal.write_bytes(content)
    again = start_again(world, daemon, box, sent)
    sent.kept -= {3, 7}
    sent.wait_answers()
    assert again.metric("wahookd_intake_corrupt_total") == 2
    wait_for(lambda: len(rows(again, "SELECT 1 FROM kept WHERE type = 'damaged journal bytes'")) == 2, what="the quarantine")
    kept = rows(again, "SELECT raw FROM kept WHERE type = 'damaged journal bytes' ORDER BY id")
    assert b"wamid.n3".replace(b"w", b"W") in bytes(kept[0][0]) and b"Wamid.n7" in bytes(kept[1][0])
    assert rows(again, "SELECT quarantined FROM spool") == [(2,)]
    again.wait_log("damaged")
    assert journal.name in again.log()
    wait_for(lambda: not journal.exists(), what="the journal's end")


def test_a_torn_tail_is_cut_and_what_is_no_journal_left_alone(world):
    daemon, box, sent, journal = crash_with_a_backlog(world, 10)
    content = journal.read_bytes()
    used = (len(content.rstrip(b"\0")) + 7) & ~7
    journal.write_bytes(content[:used] + content[:60] + content[used + 60:])  # as if the power went in the middle of a write
    intake = daemon.state / "intake"
    strangers = [intake / "notes.txt", intake / "w0.log", intake / ".hidden"]
    for path in strangers:
        path.write_bytes(random.Random(1).randbytes(5000))
    (intake / "w7.000000000000000000-1.log").mkdir()
    os.mkfifo(intake / "w8.000000000000000000-1.log")
    again = start_again(world, daemon, box, sent)
    assert sent.post(100).status == 200
    sent.wait_answers()
    assert again.metric("wahookd_intake_corrupt_total") == 0
    assert all(path.exists() for path in strangers)
    wait_for(lambda: not journal.exists(), what="the journal's end")


def test_garbage_beside_journals_stops_nothing(world):
    daemon, box, sent, journal = crash_with_a_backlog(world, 10)
    intake = journal.parent
    (intake / "w0.00000000000001aaaa-1.log").write_bytes(random.Random(2).randbytes(300000))
    (intake / "w1.00000000000002bbbb-1.log").write_bytes(b"")
    (intake / "w1.00000000000003cccc-1.log").write_bytes(b"\0" * 70000)
    start_again(world, daemon, box, sent)
    assert sent.post(100).status == 200
    sent.wait_answers()


# ---------------------------------------------------------------- 26, 27: a spool of garbage, a dispatcher that dies in a loop

def test_a_spool_of_garbage_is_named_and_stops_no_intake(world):
    daemon, box = world.start([business(1)])
    sent = Messages(daemon, box)
    assert sent.post(1).status == 200
    sent.wait_answers()
    first, = pids(daemon, "dispatcher")
    os.kill(first, signal.SIGSTOP)
    saved = {}
    for name in ("spool.db", "spool.db-wal", "spool.db-shm"):
        path = daemon.state / name
        saved[name] = daemon.directory / name
        path.rename(saved[name])
    spool = daemon.state / "spool.db"
    spool.write_bytes(b"this is no database at all, but it is long enough to be taken for one" * 100)
    os.kill(first, signal.SIGKILL)
    daemon.wait_log("is started again in", 30)  # backoff, no busy loop
    for n in range(10, 20):
        assert sent.post(n).status == 200
    ready = daemon.get("/ready")
    assert ready.status == 503 and "Dispatcher is in a crash loop" in ready.json["reason"], ready
    log = daemon.log()
    assert str(spool) in log and "move it away" in log and "it said: spool:" in log
    time.sleep(3)
    assert daemon.log().count("cannot start") + daemon.log().count(" died: ") < 12
    for name, path in saved.items():  # as the message says
        path.rename(daemon.state / name)
    wait_for(lambda: daemon.get("/ready").status == 200, 40, "recovery")
    sent.wait_answers()


# ---------------------------------------------------------------- 21: the directory's store is down at the start

@pytest.mark.parametrize("trouble", ["a directory", "garbage"])
def test_a_start_without_the_directorys_store(world, trouble):
    first, box = world.start([business(1)], directory_store=None)
    first.wait_log("is ready:")  # all of it, not only what /ready asks for
    assert first.stop() == 0
    store, saved = first.state / "businesses.db", first.directory / "saved.db"
    store.rename(saved)
    if trouble == "garbage":
        store.write_bytes(b"no database" * 1000)
    else:
        store.mkdir()
    daemon = world.daemon(graph_port=box.port, port=world.port, wait=False, directory_store=None)

    def second_start():
        assert daemon.popen.poll() is None, daemon.log()[-5000:]
        return daemon.log().count("is ready:") == 2

    wait_for(second_start, 30, "the second start")
    sent = Messages(daemon, box)
    for n in range(20):
        assert sent.post(n).status == 200
    ready = daemon.get("/ready")
    assert (ready.status, ready.json["ready"], ready.json["reason"]) == (503, False, "Database not connected")
    assert ready.json.keys() <= {"ready", "reason", "degraded"}  # the breaker may be open by now
    health = daemon.get("/health")
    assert health.status == 503 and health.json["status"] == "unhealthy" and health.json["error"] and health.json["timestamp"]
    assert str(store) in daemon.log()
    assert daemon.post(envelope(change("10002", [message("wamid.other")]))).status == 200  # not known yet is not unknown
    assert not box.messages()
    if trouble == "garbage":
        store.unlink()
    else:
        store.rmdir()
    saved.rename(store)
    wait_for(lambda: daemon.get("/ready").status == 200, 30, "readiness")
    assert daemon.get("/health").status == 200
    sent.wait_answers()
