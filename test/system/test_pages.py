"""The operator's pages, word for word as the replaced service had them (FACTS.md section 4), their limits, and what Prometheus reads."""

import contextlib
import gzip
import http.client
import json
import re
import shutil
import subprocess
import time

import pytest

from conftest import ADMIN_TOKEN, PATIENCE, business, change, ctl, envelope, message, request, wait_for
from failures import raw


def recent(timestamp):
    return isinstance(timestamp, float) and abs(time.time() - timestamp) < 60 * PATIENCE


def admin(daemon, method, path):
    return request(daemon.port, method, path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})


def test_the_bodies_that_scripts_rely_on(world):
    daemon, _ = world.start([business(1), business(2)], sandbox=False)
    health = daemon.get("/health")
    assert health.status == 200 and health.headers["Content-Type"].startswith("application/json")
    assert list(health.json) == ["status", "timestamp", "database", "service"] and recent(health.json["timestamp"])
    assert {k: v for k, v in health.json.items() if k != "timestamp"} == {
        "status": "healthy", "database": "healthy", "service": "whatsapp-webhook"}
    ready = daemon.get("/ready")
    assert ready.status == 200 and list(ready.json) == ["ready", "timestamp"] and ready.json["ready"] is True and recent(ready.json["timestamp"])
    for metrics in (daemon.admin("GET", "/metrics"), admin(daemon, "GET", "/metrics")):
        assert metrics.status == 200
        cache = metrics.json["cache"]
        assert (cache["max_size"], cache["ttl_seconds"]) == (1000, 300) and isinstance(cache["size"], int)
        assert metrics.json["connection_pool"] == {"max_pool_size": 100, "min_pool_size": 10}
        assert recent(metrics.json["timestamp"])
    for get in (daemon.admin, lambda *a: admin(daemon, *a)):
        clear, warm = get("POST", "/admin/cache/clear"), get("POST", "/admin/cache/warmup")
        assert (clear.status, clear.json) == (200, {"status": "success", "message": "Cache cleared"})
        assert (warm.status, warm.json) == (200, {"status": "success", "message": "Cache warmed up"})


def test_a_warm_up_that_is_switched_off_is_an_error(world):
    daemon, _ = world.start(sandbox=False, directory_warmup="no")
    answer = daemon.admin("POST", "/admin/cache/warmup")
    assert answer.status == 500 and answer.json["status"] == "error" and answer.json["error"]


def test_clearing_and_warming_reach_every_process(world):
    daemon, _ = world.start([business(n) for n in range(10)], sandbox=False)
    daemon.wait_log("is ready:")  # with all processes
    sizes = lambda: [p["cache"]["size"] for p in daemon.children()]
    for path, size in (("clear", 0), ("warmup", 10), ("clear", 0)):
        assert daemon.admin("POST", f"/admin/cache/{path}").status == 200
        wait_for(lambda size=size: sizes() == [size] * 3, what=f"caches of {size}")
    for _ in range(40):
        assert daemon.post(envelope(change("10001", [message("wamid.1")]))).status == 200
    cache = daemon.metrics()["cache"]
    assert cache["hits"] > 0 and cache["misses"] > 0 and 0 < cache["hit_rate"] < 1


def test_every_answer_tells_its_time(world):
    daemon, _ = world.start(sandbox=False)
    answers = [daemon.get("/health"), daemon.get("/nothing"), daemon.get("/metrics"), daemon.post({"x": 1}), daemon.post({"x": 1}, secret=None),
               request(daemon.port, "DELETE", "/health"), request(daemon.port, "HEAD", "/health"), daemon.admin("GET", "/metrics")]
    assert [a.status for a in answers] == [200, 404, 401, 200, 401, 405, 200, 200]
    for a in answers:
        assert 0 <= float(a.headers["X-Process-Time"]) < 60 and "." in a.headers["X-Process-Time"]
        assert a.headers["Date"]
    assert answers[5].headers["Allow"]
    bad = raw(daemon.port, b"NONSENSE\r\n\r\n")
    assert bad.startswith(b"HTTP/1.1 400") and b"x-process-time: " in bad.lower()


@pytest.mark.parametrize("method, path, count, text", [
    ("GET", "/health", 100, "100 per 1 minute"), ("GET", "/ready", 100, "100 per 1 minute"),
    ("GET", "/metrics", 10, "10 per 1 minute"), ("POST", "/admin/cache/clear", 1, "1 per 1 minute")])
def test_the_documented_limits(world, method, path, count, text):
    daemon, _ = world.start(sandbox=False, limits_health=None if path != "/ready" else "100/minute", limits_metrics=None, limits_admin=None)
    time.sleep(1.5)  # what waiting for /ready has used is given back at 100/minute
    answers = [admin(daemon, method, path) for _ in range(count + 3)]
    statuses = [a.status for a in answers]
    assert statuses[-1] == 429 and count - 3 <= statuses.count(200) <= count + 1, statuses
    assert answers[-1].json == {"error": f"Rate limit exceeded: {text}"}
    assert int(answers[-1].headers["Retry-After"]) >= 1 and answers[-1].headers["X-RateLimit-Limit"] == str(count)
    assert daemon.admin(method, path).status == 200  # the operator's own listener has no limits


PAGES = ["/metrics", "/prometheus/metrics", *(f"/api/performance/{p}" for p in ("queries", "database", "cache", "metrics", "application", "system"))]


def fetch(daemon, path, encoding, method="GET"):
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", **({"Accept-Encoding": encoding} if encoding else {})}
    # http.client's own header would be identity.
    conn = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30 * PATIENCE)
    with contextlib.closing(conn):
        conn.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            conn.putheader(name, value)
        conn.endheaders()
        answer = conn.getresponse()
        return answer.status, answer.headers, answer.read()


def test_pages_are_compressed_for_those_who_accept_it(world):
    daemon, _ = world.start([business(1)], sandbox=False, limits_metrics="off", limits_health="off")
    for path in [*PAGES, "/health", "/ready", "/api/performance/thresholds"]:
        for encoding in (None, "gzip;q=0", "identity", "br", "gzip;q=0.1, identity;q=0.2"):
            status, headers, plain = fetch(daemon, path, encoding)
            assert status == 200 and "Content-Encoding" not in headers and headers["Vary"] == "Accept-Encoding", (path, encoding)
            assert int(headers["Content-Length"]) == len(plain)
        for encoding in ("gzip", "deflate, gzip;q=0.5, *;q=0", "*"):
            status, headers, body = fetch(daemon, path, encoding)
            assert status == 200 and headers["Vary"] == "Accept-Encoding" and int(headers["Content-Length"]) == len(body)
            text = gzip.decompress(body) if headers["Content-Encoding"] == "gzip" else body
            assert (text == body) == (len(text) < 1024), (path, len(text))  # a small one is not worth it
            assert text.endswith(b"\n") if path.startswith("/prom") else json.loads(text).keys() == json.loads(plain).keys()
    assert len(fetch(daemon, "/prometheus/metrics", "gzip")[2]) * 3 < len(fetch(daemon, "/prometheus/metrics", None)[2])
    # HEAD tells what GET would say; the connection goes on behind either.
    status, headers, body = fetch(daemon, "/metrics", "gzip", "HEAD")
    assert status == 200 and headers["Content-Encoding"] == "gzip" and 500 < int(headers["Content-Length"]) < 20000 and body == b""
    # The webhook's answers are not touched, nor is who may see a page.
    status, headers, _ = fetch(daemon, "/whatsapp_response", "gzip")
    assert status == 403 and "Vary" not in headers and "Content-Encoding" not in headers
    assert request(daemon.port, "GET", "/metrics", headers={"Accept-Encoding": "gzip"}).headers["Vary"] == "Accept-Encoding"
    assert "worker" in ctl(daemon, "status").stdout


def test_prometheus_can_read_it(world):
    daemon, box = world.start([business(1)])
    assert daemon.post(envelope(change("10001", [message("wamid.1")]))).status == 200
    box.wait_messages(1)
    answer = daemon.admin("GET", "/prometheus/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = answer.body.decode()
    assert text.endswith("\n")
    helped, typed = re.findall(r"^# HELP (\S+) \S", text, re.M), re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram)$", text, re.M)
    assert helped == typed and len(set(typed)) == len(typed) > 40
    assert 'wahookd_events_total{kind="message"} 1' in text
    # A histogram's buckets never fall, and the last one is its count.
    for name in re.findall(r"^# TYPE (\S+) histogram$", text, re.M):
        counts = re.findall(rf"^{name}_count(?:{{(.*)}})? (\d+)$", text, re.M)  # one for each set of labels
        assert counts
        for labels, count in counts:
            buckets = [int(v) for v in re.findall(rf'^{name}_bucket{{{labels + "," if labels else ""}le="[^"]+"}} (\d+)$', text, re.M)]
            assert buckets == sorted(buckets) and buckets[-1] == int(count)
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
