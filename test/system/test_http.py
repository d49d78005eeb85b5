"""HTTP on the public listener as an attacker or an odd client speaks it. FAILURES 5, 7, 9, 10, 11 (6 and 8: test_failures.py)."""

import json
import re
import socket
import time

import pytest

from conftest import ADMIN_TOKEN, PATIENCE, business, change, envelope, message, sign, wait_for

PATH = "/whatsapp_response"
LAST = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def talk(port, data, cut=0, half_close=False):
    """Sends the bytes, in pieces of `cut`, and gives all that comes back until the other side closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20 * PATIENCE) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at in range(0, len(data), cut or len(data)):
                s.sendall(data[at:at + (cut or len(data))])
            if half_close:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before its end: the answer is there to be read
        try:
            while chunk := s.recv(65536):
                got += chunk
        except ConnectionResetError:
            pass
    return got


def answers(raw):
    """[(status, headers, body)] of all answers that the server gave."""
    found = []
    while raw:
        head, _, rest = raw.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 \d{3} [A-Za-z -]+", lines[0]), lines[0]
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        found.append((int(lines[0][9:12]), headers, rest[:length]))
        raw = rest[length:]
    return found


def statuses(port, data, **how):
    return [status for status, _, _ in answers(talk(port, data, **how))]


def delivery(body, *headers, framing=None):
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Content-Type: application/json", f"X-Hub-Signature-256: {sign(body)}", *headers]
    if not framing:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n" + (framing or b"\r\n" + body)


def chunked(body, size=50):
    pieces = [body[at:at + size] for at in range(0, len(body), size)]
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def body_of(number, wamid):
    return json.dumps(envelope(change(f"1000{number}", [message(wamid)]))).encode()


@pytest.fixture
def daemon(world):
    return world.start([business(1)], sandbox=False)[0]


# ---------------------------------------------------------------- what every answer has

def test_every_answer_has_its_headers(daemon):
    data = (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nHEAD /health HTTP/1.1\r\nHost: x\r\n\r\n"
            b"DELETE /health HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n")
    raw = talk(daemon.port, data)
    # The HEAD's answer names a length and has no body: take it out before reading the others by their lengths.
    head_at = raw.index(b"HTTP/1.1 200", 1)
    after = raw.index(b"HTTP/1.1 405")
    assert raw[head_at:after].endswith(b"\r\n\r\n") and b"Content-Length: 0" not in raw[head_at:after]
    for status, headers, body in answers(raw[:head_at] + raw[after:]):
        assert float(headers["x-process-time"]) >= 0
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])
        if status >= 400:
            assert headers["content-type"] == "application/json" and json.loads(body)["detail"]
        if status == 405:
            assert {"GET", "HEAD"} <= set(headers["allow"].split(", "))


# ---------------------------------------------------------------- 5: half-closed

def test_a_half_closed_client_gets_its_answers(daemon):
    two = delivery(body_of(1, "wamid.h1")) + delivery(body_of(1, "wamid.h2"))
    assert statuses(daemon.port, two, half_close=True) == [200, 200]
    # Half a request is none.
    assert statuses(daemon.port, delivery(body_of(1, "wamid.h3"))[:-5], half_close=True) in ([], [400])


# ---------------------------------------------------------------- 7: smuggling

SMUGGLED = b"GET /live-secret HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /whatsapp_response HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("data", [
    POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    POST + b"Content-Length: 3, 3\r\n\r\nabc",
    POST + b"Content-Length: +3\r\n\r\nabc",
    POST + b"Content-Length: 03\r\n\r\nabc",
    POST + b"Content-Length: 3\r\n 0\r\n\r\nabc",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX: 1\r\n\rX",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX: 1\n\r\n",
    b"GET /health HTTP/1.1\nHost: x\n\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET http://y/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3;a=\"\r\nabc\r\n0\r\n\r\n",
])
def test_nothing_is_smuggled(daemon, data):
    got = answers(talk(daemon.port, data + SMUGGLED + LAST))
    if got[0][0] == 401 and b"chunked" in data:  # no signature: refused before the broken body was looked at, and closed
        assert len(got) == 1 and got[0][1]["connection"] == "close"
        return
    assert [status for status, _, _ in got] == [400]
    assert got[0][1]["connection"] == "close"


# ---------------------------------------------------------------- 9: pipelining and keep-alive

def test_pipelined_answers_come_in_order(daemon):
    # Deliveries wait for the disk, /health does not: the order is the requests' all the same, far beyond what is in work at once.
    data = b"".join(delivery(body_of(1, f"wamid.p{n}")) + b"GET /none-%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(100))
    assert statuses(daemon.port, data + LAST) == [200, 404] * 100 + [200]
    assert daemon.metric('wahookd_events_total{kind="message"}') == 100


def test_connection_close_is_the_last_request(daemon):
    data = delivery(body_of(1, "wamid.c1"), "Connection: close") + delivery(body_of(1, "wamid.c2")) + LAST
    got = answers(talk(daemon.port, data))
    assert [status for status, _, _ in got] == [200] and got[0][1]["connection"] == "close"
    assert daemon.metric('wahookd_events_total{kind="message"}') == 1


def test_old_clients_are_served(daemon):
    assert statuses(daemon.port, b"GET /health HTTP/1.0\r\n\r\n") == [200]
    assert statuses(daemon.port, b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST) == [200, 200]


def test_idle_connections_are_closed(world):
    daemon, _ = world.start(sandbox=False, server_keep_alive="1s", server_header_timeout="1s")
    start = time.monotonic()
    assert statuses(daemon.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n") == [200]
    assert statuses(daemon.port, b"GET /health HTTP/1.1\r\nHost: x\r\n") == [408]
    assert talk(daemon.port, b"\r\n") == b"" and 2 <= time.monotonic() - start < 12 * PATIENCE


def test_expectations(daemon):
    body = body_of(1, "wamid.x")
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20 * PATIENCE) as s:
        s.sendall(delivery(b"", "Expect: 100-continue", f"Content-Length: {len(body)}", framing=b"\r\n").replace(sign(b"").encode(), sign(body).encode()))
        assert s.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert s.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert statuses(daemon.port, delivery(body, "Expect: 200-maybe")) == [417]
    # Checks that need no body come before the invitation to send it.
    huge = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n".encode()
    assert statuses(daemon.port, huge) == [413]
    assert statuses(daemon.port, huge.replace(PATH.encode(), b"/none")) == [404]
    assert statuses(daemon.port, delivery(body, "Content-Encoding: gzip")) == [415]


# ---------------------------------------------------------------- 10: fragmentation

@pytest.mark.parametrize("cut", [1, 7, 100])
def test_any_fragmentation_has_the_same_verdict(daemon, cut):
    bodies = [body_of(1, f"wamid.f{cut}.{n}") for n in range(3)]
    good = delivery(bodies[0]) + delivery(bodies[1], framing=chunked(bodies[1])) + delivery(bodies[2], "Connection: close")
    assert statuses(daemon.port, good, cut=cut) == [200, 200, 200]
    assert daemon.metric('wahookd_events_total{kind="message"}') == 3
    assert statuses(daemon.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nX: 1\r\n\rX" + LAST, cut=cut) == [200, 400]


# ---------------------------------------------------------------- 11: paths and methods

@pytest.mark.parametrize("path, allowed", [
    (b"/health/", {404}), (b"/HEALTH", {404}), (b"/healthx", {404}), (b"/health%00", {400}), (b"//health", {400}), (b"/./health", {400}),
    (b"/x/../health", {400}), (b"/x/%2e%2e/health", {400}), (b"/x%2f..%2fhealth", {400}), (b"/health\\..", {400}), (b"/health;x", {404}),
    (b"/health#x", {400}), (b"/health%zz", {400}), (b"/he%61lth", {200, 404}), (b"/health?x=/../y", {200}),
])
def test_paths_are_exact(daemon, path, allowed):
    assert set(statuses(daemon.port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")) <= allowed


def test_operators_pages_need_the_token_however_they_are_spelt(daemon):
    spellings = ["/admin/cache/clear", "/admin/cache/%63lear", "/health/../admin/cache/clear", "//admin/cache/clear", "/admin%2fcache/clear", "/Admin/cache/clear"]
    for path in spellings:
        for method in ("POST", "GET", "PUT", "OPTIONS", "HEAD", "PATCH"):
            data = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: POST\r\nConnection: close\r\n\r\n".encode()
            raw = talk(daemon.port, data)
            assert raw[9:12] in (b"400", b"401", b"403", b"404", b"405"), (method, path, raw[:100])
    epoch = daemon.admin("POST", "/admin/cache/clear")
    assert epoch.status == 200
    header = f"POST /admin/cache/clear HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nConnection: close\r\n"
    assert statuses(daemon.port, header.encode() + b"\r\n") == [200]
    assert statuses(daemon.port, header.encode() + b"Authorization: Bearer wrong\r\n\r\n") == [400]  # two of them


def test_methods(daemon):
    for method, status in (("TRACE", 501), ("CONNECT", 501), ("BREW", 501), ("get", 501), ("DELETE", 405), ("PATCH", 405)):
        target = "x:1" if method == "CONNECT" else PATH
        assert statuses(daemon.port, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()) == [status], method
    assert statuses(daemon.port, b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n") == [505]
    assert statuses(daemon.port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == [505]
    assert statuses(daemon.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 50) == [400]
    wait_for(lambda: daemon.metric("wahookd_http_parse_errors_total") >= 3, what="parse errors to be counted")
