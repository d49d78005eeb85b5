"""Clients that break off, forge and exaggerate; duplicates, unknown kinds, a million waiting jobs. FAILURES 5, 6, 8, 12, 14, 15, 17, 30."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from conftest import PATIENCE, Daemon, business, change, envelope, message, sign, wait_for, needs_root
from failures import Messages, ask, raw, reset, rows
from processes import pids

PATH = "/whatsapp_response"


def post_bytes(body, *headers):
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", f"X-Hub-Signature-256: {sign(body)}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer):
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


# ---------------------------------------------------------------- 5: clients that go away

@needs_root
def test_clients_that_go_away_at_any_byte(world):
    daemon, box = world.start([business(1)], box=world.sandbox("--statuses", "off"))
    sent = Messages(daemon, box)
    descriptors = lambda: sum(len(list(pathlib.Path(f"/proc/{p}/fd").iterdir())) for p in pids(daemon, "worker"))
    sent.post(0)
    daemon.wait_log("is ready:")  # with both workers
    workers, before = pids(daemon, "worker"), descriptors()
    whole = {n: post_bytes(json.dumps(sent.body(n)).encode()) for n in range(1, 61)}
    assert status_of(raw(daemon.port, whole[1], half_close=True)) == 200
    for n, data in whole.items():
        for part in (len(data) * n // 60, len(data)):  # somewhere, and after the last byte without reading the answer
            s = socket.create_connection(("127.0.0.1", daemon.port))
            s.sendall(data[:part])
            if n % 3:
                reset(s)
            else:
                s.close()
    # What the client did not hear of is delivered again, and kept once.
    for n in whole:
        assert sent.post(n).status == 200
    found = sent.wait_answers()
    assert all(len(callbacks) == 1 for callbacks in found.values())
    wait_for(lambda: daemon.metric("wahookd_http_connections_open") <= 1, what="closed connections")  # this question's own
    wait_for(lambda: descriptors() <= before + 1, what="descriptors to be given back")
    assert pids(daemon, "worker") == workers


def test_an_event_whose_200_nobody_read_is_kept_once(world):
    daemon, box = world.start([business(1)], box=world.sandbox("--statuses", "off"))
    sent = Messages(daemon, box)
    for n in range(30):
        s = socket.create_connection(("127.0.0.1", daemon.port))
        s.sendall(post_bytes(json.dumps(sent.body(n)).encode()))
        wait_for(lambda n=n: daemon.metric("wahookd_intake_records_total") > n, what="the event")
        reset(s)
        sent.kept.add(n)
    found = sent.wait_answers()
    assert all(len(callbacks) == 1 for callbacks in found.values())


# ---------------------------------------------------------------- 6: forged addresses

def forged(daemon, forwarded=None, source="127.0.0.1"):
    headers = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    if forwarded:
        headers["X-Forwarded-For"] = forwarded
    return ask(daemon.port, "POST", PATH, b"{}", headers, source)


def exhaust(daemon, *args, **kwargs):
    assert [forged(daemon, *args, **kwargs).status for _ in range(5)] == [403] * 5
    answer = forged(daemon, *args, **kwargs)
    assert answer.status == 429
    return answer


def test_forwarded_addresses_are_believed_from_trusted_proxies_only(world):
    daemon, _ = world.start([business(1)], sandbox=False, limits_webhook="5/minute", server_trusted_proxies="127.0.0.1,10.0.0.0/8")
    answer = exhaust(daemon, "203.0.113.1")
    assert answer.json == {"error": "Rate limit exceeded: 5 per 1 minute"}
    assert answer.headers["Content-Type"].startswith("application/json")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Remaining"]) == ("5", "0")
    assert int(answer.headers["X-RateLimit-Reset"]) >= 1
    assert forged(daemon, "203.0.113.2").status == 403
    # The rightmost hop that is no trusted proxy counts; what stands left of it is anybody's word.
    assert forged(daemon, "203.0.113.9, 203.0.113.1").status == 429
    assert forged(daemon, "203.0.113.9, 203.0.113.1, 10.1.2.3").status == 429
    assert forged(daemon, "203.0.113.1, 203.0.113.3").status == 403
    assert forged(daemon, "nonsense, 203.0.113.1").status == 429
    # A peer that is no proxy has its own address, whatever it says.
    for n in range(5):
        assert forged(daemon, f"198.51.100.{n}", source="127.0.0.2").status == 403
    assert forged(daemon, "198.51.100.99", source="127.0.0.2").status == 429
    assert forged(daemon, source="127.0.0.3").status == 403
    # An IPv6 client is its /64.
    for n in range(5):
        assert forged(daemon, f"2001:db8:1:2::{n + 1:x}").status == 403
    assert forged(daemon, "2001:db8:1:2:ffff::1").status == 429
    assert forged(daemon, "2001:db8:1:3::1").status == 403
    # Verified traffic is Meta's: never limited by address.
    body = json.dumps(envelope(change("10001", [message("wamid.1")]))).encode()
    for address in ("203.0.113.1", "2001:db8:1:2::1"):
        for _ in range(20):
            assert daemon.post(body, headers={"X-Forwarded-For": address}).status == 200


def test_the_proxy_protocol_is_believed_from_trusted_proxies_only(world):
    daemon, _ = world.start(sandbox=False, limits_webhook="5/minute", server_trusted_proxies="127.0.0.9", server_proxy_protocol="yes")
    wrong = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: no\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"

    def through(line, source="127.0.0.9"):
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=10 * PATIENCE, source_address=(source, 0)) as s:
            s.sendall((line + wrong).encode())
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := s.recv(4096):
                    got += chunk
        return status_of(got) if got else 0

    line = "PROXY TCP4 203.0.113.{} 127.0.0.1 5 80\r\n".format
    assert [through(line(1)) for _ in range(6)] == [403] * 5 + [429]
    assert through(line(2)) == 403
    assert through(line(1), source="127.0.0.2") == 400  # not a proxy: no HTTP
    assert [through("", source="127.0.0.3") for _ in range(6)] == [403] * 5 + [429]
    assert through("") in (0, 400)  # what a proxy sends without the line has no known client


# ---------------------------------------------------------------- 8: oversize

def test_oversize_requests(world):
    daemon, _ = world.start(sandbox=False, webhook_max_body="64KiB")
    get = lambda line, *headers: status_of(raw(daemon.port, "\r\n".join([line, "Host: x", *headers, "Connection: close"]).encode() + b"\r\n\r\n"))
    assert get("GET /health HTTP/1.1") == 200
    assert get(f"GET /{'a' * 10000} HTTP/1.1") == 414
    assert get(f"GET /health?{'a' * 10000} HTTP/1.1") == 414
    assert get("GET /health HTTP/1.1", "X-Big: " + "b" * 10000) == 431
    assert get("GET /health HTTP/1.1", *[f"X-H{n}: " + "c" * 600 for n in range(80)]) == 431
    assert get("GET /health HTTP/1.1", *[f"X-H{n}: c" for n in range(200)]) == 431
    signed = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\n".encode()
    # Announced too large: refused before a byte of it was sent.
    assert status_of(raw(daemon.port, signed + b"Content-Length: 65537\r\n\r\n")) == 413
    assert status_of(raw(daemon.port, signed + b"Content-Length: 99999999999999999999999\r\n\r\n")) in (400, 413)
    chunk = b"4000\r\n" + b"d" * 0x4000 + b"\r\n"
    assert status_of(raw(daemon.port, signed + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 5 + b"0\r\n\r\n")) == 413
    extended = b"1;" + b"e" * 100000 + b"\r\nx\r\n0\r\n\r\n"
    assert status_of(raw(daemon.port, signed + b"Transfer-Encoding: chunked\r\n\r\n" + extended)) in (400, 413)
    whole = b"f" * 65536
    assert daemon.post(whole).status == 200  # as large as allowed
    assert daemon.post(whole + b"f").status == 413


@pytest.mark.skipif("WAHOOK_SAN" in os.environ, reason="sanitizers keep freed memory")
def test_many_large_bodies_leave_memory_bounded(world):
    daemon, _ = world.start(sandbox=False, server_workers="1")
    rss = lambda: max(p["rss_bytes"] for p in daemon.children("worker"))
    body = b"[" + b"1," * 1400000 + b"1]"
    for _ in range(5):
        assert daemon.post(body).status == 200
    before = rss()
    for _ in range(30):
        assert daemon.post(body).status == 200
        assert status_of(raw(daemon.port, post_bytes(body)[:-10], half_close=True) or b"HTTP/1.1 400") in (400, 408)
    print(f"\nresident: {before >> 20} MiB after 5 large bodies, {rss() >> 20} MiB after 65")
    assert rss() < before + (100 << 20)


# ---------------------------------------------------------------- 12, 15: what cannot be read, what is not known yet

def test_signed_garbage_is_kept_raw_and_unsigned_never(world):
    daemon, box = world.start([business(1)])
    good = json.dumps(envelope(change("10001", [message("wamid.n1", "n1")])))
    bodies = [b"{", b"[" * 100000, b"[" * 200 + b"]" * 200, b'{"entry":[{"changes":[\xff\xfe]}]}', b'{"a":"\x00"}', good.encode()[:-2],
              b'{"entry":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, b"\xef\xbb\xbf" + b"{]", good.encode().replace(b"n1", b"\xc3\x28")]
    for body in bodies:
        assert daemon.post(body, secret=None).status == 401
        assert daemon.post(body, secret="wrong").status == 403
    assert daemon.metric("wahookd_intake_records_total") == 0
    for body in bodies:
        assert daemon.post(body).status == 200
    wait_for(lambda: rows(daemon, "SELECT quarantined FROM spool") == [(len(bodies),)], what="the quarantine")
    assert [bytes(raw) for raw, in rows(daemon, "SELECT raw FROM kept ORDER BY id")] == bodies
    assert daemon.metric("wahookd_events_quarantined_total") == len(bodies)
    assert daemon.metric('wahookd_webhook_requests_total{result="quarantined"}') == len(bodies)
    # A key that comes twice: read or quarantined, never a crash, and what is readable beside it is answered.
    twice = good.replace('"object":', '"object": "x", "object":').replace('"type": "text"', '"type": "text", "type": "text"')
    assert daemon.post(twice.encode()).status == 200
    wait_for(lambda: len(box.messages()) + rows(daemon, "SELECT quarantined FROM spool")[0][0] == len(bodies) + 1, what="the doubled key")
    assert len(pids(daemon, "worker")) == 2 and "died" not in daemon.log()


def test_unknown_kinds_are_kept_byte_for_byte(world):
    daemon, box = world.start([business(1)])
    odd = r'{"from":"491701234567",  "id":"wamid.odd","timestamp":"1","type":"hologram","hologram":{"\u00e4\/":[1.0e+2,{}], "new":null}}'
    field = r'{"field":"brand_new_2031",  "value":{"metadata":{"phone_number_id":"10001"},"x":"\u00df\/"}}'
    account = r'{"value":{"event":"FUTURE", "n":1.50},"field":"account_future"}'
    known = json.dumps(message("wamid.n1", "n1", future={"deep": [1]}))
    value = f'{{"messaging_product":"whatsapp","metadata":{{"phone_number_id":"10001"}},"later":[0], "messages":[{odd},{known}]}}'
    body = f'{{"object":"x","zz":1,"entry":[{{"id":"waba-1","extra":{{}},"changes":[{field},{account},{{"field":"messages","value":{value}}}]}}]}}'
    assert daemon.post(body.encode()).status == 200
    box.wait_messages(1)
    wait_for(lambda: len(rows(daemon, "SELECT 1 FROM kept")) == 3, what="what is kept")
    assert {bytes(raw).decode() for raw, in rows(daemon, "SELECT raw FROM kept")} == {odd, field, account}
    assert rows(daemon, "SELECT raw FROM jobs") == [(known,)]
    assert [m["body"]["text"]["body"] for m in box.messages()] == ["n1"]
    assert rows(daemon, "SELECT quarantined FROM spool") == [(0,)]


# ---------------------------------------------------------------- 14: duplicates and reordering

def test_one_effect_per_number_id_and_kind(world):
    daemon, box = world.start([business(1), business(2)])
    one = envelope(change("10001", [message("wamid.same", "n1")]))
    threads = [threading.Thread(target=lambda: [daemon.post(one) for _ in range(10)]) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    # The same id at another number, and of another kind, is another event.
    assert daemon.post(envelope(change("10002", [message("wamid.same", "n2")]))).status == 200
    statuses = [{"id": "wamid.same", "status": s, "timestamp": "1700000000", "recipient_id": "49"} for s in ("read", "sent", "delivered", "read")]
    assert daemon.post(envelope(change("10001", statuses=statuses))).status == 200
    box.wait_messages(2)
    assert daemon.stop() == 0
    again = Daemon(daemon.directory, graph_port=box.port, port=daemon.port)
    world.running.append(again)
    for _ in range(10):
        assert again.post(one).status == 200
    wait_for(lambda: again.metric("wahookd_duplicates_total") == 10, what="duplicates")
    assert sorted(m["body"]["text"]["body"] for m in box.messages()) == ["n1", "n2"]
    assert rows(again, "SELECT count(*) FROM jobs") == [(2,)]
    assert rows(again, "SELECT count(*), max(status) FROM statuses WHERE wamid = 'wamid.same'") == [(1, 3)]  # read, and never back


# ---------------------------------------------------------------- 17: doubled signatures

def test_doubled_signatures_are_refused(world):
    daemon, _ = world.start(sandbox=False)
    body = json.dumps(envelope(change("10001", [message("wamid.1")]))).encode()
    right, wrong = sign(body), "sha256=" + "0" * 64
    for pair in ((right, wrong), (wrong, right)):
        head = "".join(f"X-Hub-Signature-256: {s}\r\n" for s in pair)
        data = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        assert status_of(raw(daemon.port, data)) in (400, 403), pair
        assert daemon.post(body, secret=None, headers={"X-Hub-Signature-256": ", ".join(pair)}).status == 403
    assert daemon.metric("wahookd_intake_records_total") == 0
    assert right.removeprefix("sha256=") not in daemon.log()


# ---------------------------------------------------------------- 30: a large backlog

def test_a_start_with_a_million_waiting_jobs(world):
    first, box = world.start([business(1), business(2, whatsappAccessToken="")])
    assert Messages(first, box).post(1).status == 200
    box.wait_messages(1)
    assert first.stop() == 0
    jobs, conversations, now = 1000000, 100000, int(time.time() * 1e6)
    body = json.dumps(message("wamid.x", "n0"))
    with contextlib.closing(sqlite3.connect(first.state / "spool.db")) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.executemany("INSERT INTO conversations(id, phone_number_id, user, last_inbound_us, jobs) VALUES(?, '10002', ?, ?, ?)",
                       ((100 + c, f"49{c:09}", now, jobs // conversations) for c in range(conversations)))
        db.executemany("INSERT INTO jobs VALUES(?, ?, 0, 0, 0, ?, ?, 0, 0, ?, 'text', '', '', ?)",
                       ((1000 + j, 100 + j % conversations, now, now, f"wamid.{j}", body) for j in range(jobs)))
        db.execute("UPDATE spool SET next_job = ?, next_conversation = ?, waiting = waiting + ?", (1000 + jobs, 100 + conversations, jobs))
        db.commit()
    begin = time.monotonic()
    daemon = Daemon(first.directory, graph_port=box.port, port=first.port, wait=False)
    world.running.append(daemon)
    daemon.wait_ready(60)
    ready = time.monotonic() - begin
    # The others are served while a million wait.
    assert Messages(daemon, box).post(2).status == 200
    wait_for(lambda: len(box.messages()) == 2, 60, "an answer beside the backlog")
    print(f"\nready after {ready:.1f} s, answered after {time.monotonic() - begin:.1f} s, with a million jobs waiting")
    wait_for(lambda: daemon.metric("wahookd_jobs_waiting") == jobs, 20, "the count")
    # And the end does not wait for them.
    begin = time.monotonic()
    assert daemon.stop() == 0
    print(f"stopped after {time.monotonic() - begin:.1f} s")


# ---------------------------------------------------------------- no allocation per request

class Deliveries:
    """Signed webhooks over one connection that is kept."""

    def __init__(self, daemon):
        self.conn = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60 * PATIENCE)
        self.next = 0

    def make(self, count):
        for _ in range(count):
            self.next += 1
            body = json.dumps(envelope(change("10001", [message(f"wamid.{self.next:06}")]))).encode()
            self.conn.request("POST", PATH, body=body, headers={"X-Hub-Signature-256": sign(body), "Content-Type": "application/json"})
            answer = self.conn.getresponse()
            answer.read()
            assert answer.status == 200


def test_a_steady_state_allocates_nothing(world):
    daemon, _ = world.start([business(1)], sandbox=False, server_workers="1")
    deliveries = Deliveries(daemon)
    deliveries.make(500)
    daemon.metric("wahookd_http_allocations_total")
    before = daemon.metric("wahookd_http_allocations_total")
    deliveries.make(2000)
    assert daemon.metric("wahookd_http_allocations_total") == before


@pytest.mark.skipif(not shutil.which("gdb") or "WAHOOK_SAN" in os.environ, reason="counts calls of malloc with gdb, without sanitizers")
def test_a_steady_state_never_calls_malloc(world):
    """The counter knows what we allocate; this one also what libraries do."""
    daemon, _ = world.start([business(1)], sandbox=False, server_workers="1")
    deliveries = Deliveries(daemon)
    deliveries.make(500)
    functions = ("malloc", "calloc", "realloc")
    script = ["set pagination off"]
    for i, name in enumerate(functions, 1):
        script += [f"break {name}", f"ignore {i} 1000000000"]
    script += ["echo counting\\n", "continue", "info breakpoints", "detach"]
    argv = ["gdb", "-q", "-nx", "-batch", "-p", str(min(pids(daemon, "worker")))]
    for line in script:
        argv += ["-ex", line]
    out = world.directory / "gdb.log"
    with open(out, "wb") as f:
        gdb = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=f, stderr=f, env={**os.environ, "DEBUGINFOD_URLS": ""})
    wait_for(lambda: "counting" in out.read_text() or gdb.poll() is not None, 60, "gdb")
    if gdb.poll() is not None:
        pytest.skip(f"gdb cannot attach here: {out.read_text()[-300:]}")
    deliveries.make(2000)
    gdb.send_signal(signal.SIGINT)
    gdb.wait(60)
    text = out.read_text()
    assert "info breakpoints" in text or "hit" in text or "keep y" in text, text[-2000:]
    hits = sum(int(n) for n in re.findall(r"already hit (\d+) time", text))
    print(f"\n{hits} calls of {', '.join(functions)} in 2000 deliveries")
    assert hits < 100  # what the directory asks each second
