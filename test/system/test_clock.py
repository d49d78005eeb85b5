"""The wall clock moves by days while the daemon works: nothing that waits, is limited, cached or ordered may notice. FAILURES 33."""

import os
import re
import signal
import struct
import threading
import time

import pytest

from conftest import BUILD, PATIENCE, business, change, envelope, message, wait_for
from failures import rows
from processes import pids, replaced

DAY = 86400


class Clock:
    """The wall clock of a daemon that is linked behind test/clock/wallclock.c; that of this test stays right, like Meta's."""

    def __init__(self, world):
        self.path = world.directory / "wahook-clock"
        self.path.write_bytes(bytes(8))
        self.options = {"program": BUILD / "test" / "wahookd-shifted", "env": {"TMPDIR": str(world.directory)}}

    def days(self, n):
        with open(self.path, "r+b", buffering=0) as f:
            f.write(struct.pack("=q", n * DAY * 10**9))


@pytest.fixture
def clock(world):
    return Clock(world)


class Traffic:
    """Signed messages without a pause, each conversation's in order and often two at once; `refused` has what was not answered 200."""

    def __init__(self, daemon, users=4):
        self.daemon, self.users, self.count, self.refused, self.stop = daemon, users, 0, [], False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stop:
            self.post()
            time.sleep(0.01)

    def post(self):
        n, user = divmod(self.count, self.users)
        self.count += 1
        m = message(f"wamid.{user}.{n}", str(n), user=f"49170000000{user}")
        answer = self.daemon.post(envelope(change("10001", [m])))
        if answer.status != 200:
            self.refused.append(answer)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        self.thread.join()

    def expected(self):
        return {f"+49170000000{u}": [str(n) for n in range((self.count - u + self.users - 1) // self.users)] for u in range(self.users)}


def answers(box):
    """What each user got, in the order of its arrival."""
    got = {}
    for m in box.messages():
        got.setdefault(m["body"]["to"], []).append(m["body"]["text"]["body"])
    return got


def complaints(daemon):
    """Errors in the log, but for the obituary of what a test has killed."""
    return [line for line in re.findall(r"^\S+ (?:error|critical) .*$", daemon.log(), re.M) if "died: signal 9" not in line]


def done(daemon):
    return daemon.metric('wahookd_jobs_total{result="done"}')


def dead(daemon):
    return daemon.metric('wahookd_jobs_total{result="dead"}')


def post(daemon, wamid, text, user):
    assert daemon.post(envelope(change("10001", [message(wamid, text, user=user)]))).status == 200


def test_the_clock_moves_by_days_under_load(world, clock):
    daemon, box = world.start([business(1)], intake_segment_size="256KiB", **clock.options)
    daemon.wait_log("is ready:")
    born = time.monotonic()
    dispatcher, = pids(daemon, "dispatcher")
    with Traffic(daemon) as traffic:
        for days in (0, 1, 0, -1, 1, -2, 0):
            # While the dispatcher stands still, several workers write of the same conversations, one of which starts under the wrong clock.
            os.kill(dispatcher, signal.SIGSTOP)
            time.sleep(0.3)
            clock.days(days)
            before, victim = traffic.count, min(pids(daemon, "worker"))
            os.kill(victim, signal.SIGTERM)
            replaced(daemon, "worker", victim, 2)
            time.sleep(0.3)
            os.kill(dispatcher, signal.SIGCONT)
            time.sleep(1)
            seen = daemon.metrics()
            assert abs(seen["timestamp"] - time.time() - days * DAY) < 3600  # its wall clock has really moved
            assert 0 < seen["uptime_seconds"] < time.monotonic() - born + 60
            assert traffic.count > before
    wait_for(lambda: sum(map(len, answers(box).values())) >= traffic.count, 60, f"{traffic.count} answers")
    assert answers(box) == traffic.expected()
    assert not traffic.refused
    assert (dead(daemon), daemon.metric("wahookd_graph_resent_total"), daemon.metric("wahookd_job_retries_total")) == (0, 0, 0)
    assert not complaints(daemon)


@pytest.mark.parametrize("whole", [False, True], ids=["dispatcher", "daemon"])
@pytest.mark.parametrize("days", [1, -1])
def test_what_waits_when_the_clock_moves_goes_on_in_its_time(world, clock, days, whole):
    options = {"graph_reconcile": f"{int(8 * PATIENCE)}s", "responder_turns": "0", **clock.options}
    daemon, box = world.start([business(1)], **options)
    daemon.wait_log("is ready:")
    # One whose outcome is unknown: it may have been sent, and was. One that Graph refuses for now.
    box.faults(drop_rate=1, statuses=False)
    post(daemon, "wamid.a", "once", "491")
    wait_for(lambda: daemon.metric('wahookd_graph_sends_total{result="unknown"}') == 1, what="an unknown outcome")
    box.faults(http_status=500, error_code=131016, statuses=False)
    post(daemon, "wamid.b", "refused for now", "492")
    wait_for(lambda: daemon.metric("wahookd_job_retries_total") >= 2, what="a retry")

    clock.days(days)
    if whole:
        daemon.stop()
        daemon = world.daemon(graph_port=box.port, port=world.port, **options)
    else:
        victim, = pids(daemon, "dispatcher")
        os.kill(victim, signal.SIGKILL)
        replaced(daemon, "dispatcher", victim, 1)
    box.faults(statuses=False)
    post(daemon, "wamid.c", "new", "493")
    wait_for(lambda: "+493" in answers(box) and "+492" in answers(box), 60, "the answers to what can be sent")
    sent, = [m for m in box.messages() if m["body"]["to"] == "+491"]
    status = {"id": sent["wamid"], "status": "delivered", "timestamp": str(int(time.time())), "recipient_id": "491",
              "biz_opaque_callback_data": sent["body"]["biz_opaque_callback_data"]}
    assert daemon.post(envelope(change("10001", statuses=[status]))).status == 200
    wait_for(lambda: rows(daemon, "SELECT count(*) FROM jobs WHERE state = 1") == [(3,)], 60, "the end of all three")
    assert answers(box) == {"+491": ["once"], "+492": ["refused for now"], "+493": ["new"]}
    assert (dead(daemon), daemon.metric("wahookd_graph_resent_total")) == (0, 0)
    assert not complaints(daemon)


def test_limits_and_the_cache_do_not_notice(world, clock):
    daemon, box = world.start([business(1)], limits_webhook="2/minute", directory_cache_ttl="2s", **clock.options)
    daemon.wait_log("is ready:")

    def forged():
        return daemon.post(b"{}", secret="wrong")

    wait_for(lambda: forged().status == 429, what="the limit")
    for days in (1, -1, 0):
        clock.days(days)
        refused = forged()
        assert refused.status == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
    # Another token is read from the directory within its time to live, whatever the clock says.
    post(daemon, "wamid.1", "old", "491")
    clock.days(-1)
    wait_for(lambda: "+491" in answers(box), what="an answer")
    daemon.add_businesses([business(1, token="EAAanother")])

    def bearer():
        post(daemon, f"wamid.{time.monotonic_ns()}", "new", "492")
        return any(m["bearer"] == "EAAanother" for m in box.messages())

    wait_for(bearer, 30, "the new token")
    assert not complaints(daemon)
