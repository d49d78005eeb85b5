"""The promise under fire: what got a 200 is answered, in its conversation's order, once but for sends cut by a kill."""

import collections
import http.client
import json
import os
import queue
import random
import signal
import threading
import time

from conftest import PATIENCE, Daemon, business, change, envelope, message, sign, wait_for

MESSAGES = int(os.environ.get("WAHOOK_LOAD_MESSAGES", "20000"))
CONVERSATIONS = 200
BUSINESSES = 20
CONNECTIONS = 64


class Load:
    """Posts each webhook until it has its 200, twice, over keep-alive connections; remembers when the first 200 came."""

    def __init__(self, port, count, seed=1):
        self.port = port
        self.order = collections.defaultdict(list)  # conversation -> message numbers in the order of their first 200
        self.lock = threading.Lock()
        self.acked = set()
        self.failures = 0
        self.stopped = False
        # A conversation's messages go over one lane, one after the other; the second deliveries come shuffled.
        lanes = [[] for _ in range(CONNECTIONS)]
        for n in range(count):
            lanes[(n % CONVERSATIONS) % CONNECTIONS].append(n)
        again = list(range(count))
        random.Random(seed).shuffle(again)
        self.again = queue.Queue()
        for n in again:
            self.again.put(n)
        self.threads = [threading.Thread(target=self.run, args=(lane,), daemon=True) for lane in lanes]

    @staticmethod
    def body(n):
        c = n % CONVERSATIONS
        return json.dumps(envelope(change(f"1000{c % BUSINESSES}", [message(f"wamid.{n}", f"{n}", user=f"4917{c:06}")]))).encode()

    def deliver(self, conn, n):
        """True once it is acknowledged; a refused or cut delivery is made again, as Meta would."""
        body = self.body(n)
        while not self.stopped:
            try:
                conn.request("POST", "/whatsapp_response", body=body, headers={"X-Hub-Signature-256": sign(body), "Content-Type": "application/json"})
                answer = conn.getresponse()
                answer.read()
                if answer.status == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            conn.close()
            self.failures += 1
            time.sleep(0.01)
        return False

    def run(self, lane):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * PATIENCE)
        for n in lane:
            if not self.deliver(conn, n):
                return
            with self.lock:
                self.acked.add(n)
                self.order[n % CONVERSATIONS].append(n)
            # A second delivery of anything that was acknowledged already.
            try:
                m = self.again.get_nowait()
            except queue.Empty:
                continue
            if m in self.acked:
                self.deliver(conn, m)
            else:
                self.again.put(m)

    def start(self):
        for t in self.threads:
            t.start()

    def alive(self):
        return any(t.is_alive() for t in self.threads)


def verdict(load, sandbox, daemon_resent):
    """Every acknowledged message answered; in order; seconds only with the same callback data, and counted."""
    got = sandbox.messages()
    answers = collections.defaultdict(list)
    firsts = collections.defaultdict(list)
    for m in got:
        n = int(m["body"]["text"]["body"])
        answers[n].append(m["body"]["biz_opaque_callback_data"])
        if len(answers[n]) == 1:
            firsts[n % CONVERSATIONS].append(n)
    missing = load.acked - set(answers)
    assert not missing, f"{len(missing)} acknowledged messages were never answered, e.g. {sorted(missing)[:5]}"
    unasked = [n for n in answers if n not in load.acked]
    seconds = 0
    for n, callbacks in answers.items():
        assert len(set(callbacks)) == 1, f"message {n} was answered by two jobs: {callbacks}"
        seconds += len(callbacks) - 1
    for c, numbers in load.order.items():
        sent = [n for n in firsts[c] if n in load.acked]
        assert sent == numbers, f"conversation {c} out of order"
    assert seconds <= daemon_resent, f"{seconds} second sends, {daemon_resent} counted"
    return len(got), seconds, unasked


def all_answered(load, sandbox):
    return load.acked <= {int(m["body"]["text"]["body"]) for m in sandbox.messages()}


def test_killing_workers_and_dispatchers_loses_nothing(world):
    daemon, sandbox = world.start([business(n) for n in range(BUSINESSES)], dispatch_tenant_concurrency="64")
    load = Load(daemon.port, MESSAGES)
    load.start()
    kills = collections.Counter()
    rng = random.Random(7)
    while load.alive():
        time.sleep(0.3)
        try:
            children = daemon.children()
        except (OSError, http.client.HTTPException, ValueError):
            continue
        if children:
            victim = rng.choice(children)
            kills[victim["role"]] += 1
            try:
                os.kill(victim["pid"], signal.SIGKILL)
            except ProcessLookupError:
                pass
    daemon.wait_ready()
    wait_for(lambda: all_answered(load, sandbox), 120, "all answers")
    time.sleep(1)
    resent = daemon.metric("wahookd_graph_resent_total")
    total, seconds, unasked = verdict(load, sandbox, resent)
    print(f"\n{len(load.acked)} acknowledged, {total} sends, {seconds} second sends ({resent:.0f} counted), {load.failures} failed deliveries, kills {dict(kills)}")
    assert not unasked
    assert "obituary" in daemon.log() or "died" in daemon.log()


def test_killing_everything_at_once_loses_nothing(world):
    daemon, sandbox = world.start([business(n) for n in range(BUSINESSES)])
    load = Load(daemon.port, max(2000, MESSAGES // 4))
    load.start()
    wait_for(lambda: len(load.acked) > 800, 60, "some load")
    # The master and all children, as a power cut would.
    pids = [p["pid"] for p in daemon.children()]
    daemon.popen.kill()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    daemon.popen.wait()
    again = Daemon(daemon.directory, graph_port=sandbox.port, port=daemon.port)
    world.running.append(again)
    wait_for(lambda: not load.alive(), 180, "the load to end")
    wait_for(lambda: all_answered(load, sandbox), 120, "all answers")
    time.sleep(1)
    total, seconds, unasked = verdict(load, sandbox, again.metric("wahookd_graph_resent_total"))
    print(f"\n{len(load.acked)} acknowledged, {total} sends, {seconds} second sends")
    assert not unasked
