"""What operators see of the store, the caches, the daemon and its machine: always of all processes, whoever answers."""

import json
import os
import signal
import time

from conftest import ADMIN_TOKEN, MONGODB_URI, PATIENCE, business, change, envelope, message, request, wait_for
from mongo import Database, mongo_server  # noqa: F401 (a fixture)

PAGES = ["queries", "database", "cache", "thresholds", "metrics", "application", "system"]
TOLD = 15  # each process tells once a second; the rest is for busy machines


def page(daemon, name):
    answer = daemon.admin("GET", f"/api/performance/{name}")
    assert answer.status == 200, answer
    assert abs(answer.json["timestamp"] - time.time()) < 60 * PATIENCE
    return answer.json


def query(daemon, kind):
    return next(q for q in page(daemon, "queries")["queries"] if q["query"] == kind)


def put(daemon, document, path="thresholds"):
    body = document if isinstance(document, str) else json.dumps(document)
    return request(daemon.port, "PUT", f"/api/performance/{path}", body, {"Authorization": f"Bearer {ADMIN_TOKEN}"})


def webhook(daemon, number, wamid):
    assert daemon.post(envelope(change(f"1000{number}", [message(wamid)]))).status == 200


def workers(daemon, name):
    return [p for p in page(daemon, name)["processes"] if p["role"] == "worker" and p["pid"]]


BOTH = 4  # queries for phone numbers, at least, of ask_through_both()


def ask_through_both(daemon, first=1000):
    """Unknown numbers, asked of the store by whoever gets the connection, until both workers have had some. The dispatcher, which would
    ask for them before the workers do, stands still meanwhile."""
    before = {p["pid"]: p["queries"] for p in workers(daemon, "database")}
    assert len(before) == 2
    dispatcher = daemon.children("dispatcher")[0]["pid"]
    asked = 0
    os.kill(dispatcher, signal.SIGSTOP)
    try:
        while not all(p["queries"] > before.get(p["pid"], 0) + 2 for p in workers(daemon, "database")):
            asked += 1
            assert asked < 1000
            webhook(daemon, first + asked, f"wamid.{first}.{asked}")
            time.sleep(0.02)
    finally:
        os.kill(dispatcher, signal.SIGCONT)


# ---------------------------------------------------------------- of both workers


def start_warm(world, businesses, **options):
    """All three processes know all businesses, each by a query of its own."""
    daemon, box = world.start([business(n) for n in range(businesses)], sandbox=False, **options)
    daemon.wait_log("is ready:")  # with all processes
    wait_for(lambda: query(daemon, "warmup")["count"] >= 3, TOLD, "the first warm-ups")
    time.sleep(2.5 * PATIENCE)  # by now they have noticed that businesses were added
    before = query(daemon, "warmup")
    assert daemon.admin("POST", "/api/performance/cache/warm").status == 200
    now = wait_for(lambda: query(daemon, "warmup")["count"] >= before["count"] + 3 and query(daemon, "warmup"), TOLD, "the warm-ups")
    assert (now["count"], now["documents"]) == (before["count"] + 3, before["documents"] + 3 * businesses)
    return daemon, box


def test_queries_are_those_of_all_processes(world):
    daemon, _ = start_warm(world, 3)
    ask_through_both(daemon)
    wait_for(lambda: query(daemon, "phone")["count"] >= BOTH, TOLD, "the queries of all")
    phone, database = query(daemon, "phone"), page(daemon, "database")
    assert phone["documents"] == 0 and phone["slow"] == 0 and phone["last_slow"] is None and not phone["over_threshold"]
    assert set(phone["errors"]) == {"network", "timeout", "auth", "server"} and not any(phone["errors"].values())
    assert 0 < phone["p50_ms"] <= phone["p95_ms"] <= phone["p99_ms"] <= phone["max_ms"] and 0 < phone["avg_ms"] <= phone["max_ms"]
    assert "whatsappPhoneNumberIds" in phone["shape"]
    assert (database["store"], database["status"], database["breaker"]) == ("mongodb" if MONGODB_URI else "sqlite", "healthy", "closed")
    assert bool(database["connections"]) == bool(MONGODB_URI)
    assert database["last_failed_seconds_ago"] is None and database["last_ok_seconds_ago"] >= 0
    assert sum(p["queries"] for p in database["processes"]) == database["queries"]
    assert [p["role"] for p in database["processes"]].count("worker") == 2
    # The same for Prometheus.
    wait_for(lambda: daemon.metric('wahookd_store_answer_duration_seconds_count{query="phone"}') == query(daemon, "phone")["count"], TOLD)
    assert daemon.metric('wahookd_store_query_errors_total{query="phone",cause="network"}') == 0
    assert daemon.metric('wahookd_store_documents_total{query="warmup"}') == query(daemon, "warmup")["documents"]
    assert daemon.metrics()["metrics"]["store_answer_duration_seconds"]["warmup"]["count"] == query(daemon, "warmup")["count"]


def test_entries_are_forgotten_by_a_pattern_in_every_process(world):
    daemon, _ = start_warm(world, 10)
    sizes = lambda: [p["size"] for p in page(daemon, "cache")["processes"]]
    forget = lambda pattern: daemon.admin("POST", f"/api/performance/cache/invalidate?pattern={pattern}")
    wait_for(lambda: sizes() == [10] * 3, TOLD, "full caches")
    for pattern, left in (("10003", 9), ("nothing*", 9), ("100%3F5", 8), ("*7", 7), ("*", 0)):
        answer = forget(pattern)
        assert (answer.status, answer.json) == (200, {"status": "success", "message": "Cache entries invalidated"})
        wait_for(lambda left=left: sizes() == [left] * 3, TOLD, f"{left} entries after {pattern}")
    warm = daemon.admin("POST", "/api/performance/cache/warm")
    assert (warm.status, warm.json) == (200, {"status": "success", "message": "Cache warmed up"})
    wait_for(lambda: sizes() == [10] * 3, TOLD, "full caches")
    cache = page(daemon, "cache")
    wait_for(lambda: page(daemon, "cache")["capacity"] == 3000, TOLD, "all capacities")
    assert (cache["size"], cache["ttl_seconds"], cache["evictions"]) == (30, 300, 0)
    for bad in ("/api/performance/cache/invalidate", "/api/performance/cache/invalidate?pattern=", "/api/performance/cache/invalidate?key=1",
                "/api/performance/cache/invalidate?pattern=" + "x" * 90):
        answer = daemon.admin("POST", bad)
        assert answer.status == 400 and "?pattern=" in answer.json["detail"], bad
    assert sizes() == [10] * 3


def test_a_subdomain_matches_a_pattern(world):
    """It is known under its subdomain once Meta has asked for it by its host."""
    daemon, _ = world.start([business(1)], sandbox=False, directory_warmup="no", server_workers="1")

    entries = lambda: page(daemon, "cache")["size"]

    def known():
        daemon.get("/whatsapp_response?hub.mode=subscribe&hub.challenge=7&hub.verify_token=wrong", Host="shop1.example.com")
        return entries() == 1
    wait_for(known, TOLD, "the subdomain's entry")
    assert daemon.admin("POST", "/api/performance/cache/invalidate?pattern=shop%3F").status == 200
    wait_for(lambda: entries() == 0, TOLD, "the entry to be forgotten")


def counters(daemon):
    """All that only grows, by name."""
    found = {}
    for q in page(daemon, "queries")["queries"]:
        found |= {(q["query"], k): q[k] for k in ("count", "slow", "documents", "failed_attempts")}
    database, cache, metrics = page(daemon, "database"), page(daemon, "cache"), page(daemon, "metrics")
    found |= {"queries": database["queries"], "opened": database["breaker_opened"], "hits": cache["hits"], "misses": cache["misses"],
              "evictions": cache["evictions"], "requests": metrics["requests"]["total"]}
    found |= {("status", k): v for k, v in metrics["statuses"].items()} | {("error", k): v for k, v in database["errors"].items()}
    return found | {("duration", k): v["count"] for k, v in metrics["durations"].items()}


def test_no_counter_goes_back_when_a_worker_dies(world):
    daemon, _ = world.start([business(n) for n in range(3)], sandbox=False)
    daemon.wait_log("is ready:")
    ask_through_both(daemon)
    wait_for(lambda: query(daemon, "phone")["count"] >= BOTH, TOLD, "the queries of all")
    seen = counters(daemon)

    def look():
        nonlocal seen
        now = counters(daemon)
        assert not {k: (v, now[k]) for k, v in seen.items() if now[k] < v}
        seen = now
    for ordinal in (0, 1, 0):
        victim = next(p for p in workers(daemon, "database") if p["ordinal"] == ordinal)
        os.kill(victim["pid"], signal.SIGKILL)

        def replaced():
            look()
            alive = [p for p in workers(daemon, "database") if p["state"] == "ready"]
            return len(alive) == 2 and victim["pid"] not in [p["pid"] for p in alive]
        wait_for(replaced, 30, "the successor")
    before = query(daemon, "phone")["count"]
    ask_through_both(daemon, first=5000)
    wait_for(lambda: query(daemon, "phone")["count"] >= before + BOTH, TOLD, "the queries of the successors")
    look()


# ---------------------------------------------------------------- who may see them, and how often


def test_only_an_operator_sees_them(world):
    daemon, _ = world.start(sandbox=False)
    actions = ["cache/invalidate?pattern=*", "cache/warm"]
    for method, names in (("GET", PAGES), ("POST", actions), ("PUT", ["thresholds"])):
        for name in names:
            path = f"/api/performance/{name}"
            assert request(daemon.port, method, path).status == 401
            assert request(daemon.port, method, path, headers={"Authorization": "Bearer wrong"}).status == 401
    for name in PAGES:
        assert request(daemon.port, "POST", f"/api/performance/{name}").status == 405
        assert request(daemon.port, "GET", f"/api/performance/{name}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}).status == 200
    assert daemon.admin("GET", "/api/performance/cache/warm").status == 405


def test_a_daemon_without_a_token_has_no_such_pages(world):
    daemon, _ = world.start(sandbox=False, admin_token=None)
    assert [daemon.get(f"/api/performance/{name}").status for name in PAGES] == [404] * len(PAGES)
    assert [daemon.admin("GET", f"/api/performance/{name}").status for name in PAGES] == [200] * len(PAGES)


def test_they_are_limited_like_the_other_pages(world):
    daemon, _ = world.start(sandbox=False, limits_metrics="3/minute", limits_admin="1/minute")
    operator = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    statuses = [request(daemon.port, "GET", "/api/performance/queries", headers=operator).status for _ in range(5)]
    assert statuses == [200] * 3 + [429] * 2
    assert request(daemon.port, "GET", "/api/performance/cache", headers=operator).status == 200  # counted apart
    path = "/api/performance/cache/invalidate?pattern=x"
    assert [request(daemon.port, "POST", path, headers=operator).status for _ in range(2)] == [200, 429]
    assert daemon.admin("POST", path).status == 200  # the operator's own listener


# ---------------------------------------------------------------- the daemon and its machine


def test_the_daemon_and_its_machine(world):
    daemon, _ = world.start([business(1)])
    webhook(daemon, 1, "wamid.1")
    wait_for(lambda: page(daemon, "metrics")["durations"]["message"]["count"] == 1, 30, "the answer")
    metrics, application, system = page(daemon, "metrics"), page(daemon, "application"), page(daemon, "system")
    assert sum(metrics["statuses"].values()) <= metrics["requests"]["total"] + 2 and metrics["statuses"]["2xx"] > 0
    assert metrics["durations"]["request"]["count"] > 0 and metrics["durations"]["graph"]["p99_ms"] > 0
    assert metrics["deliveries"]["total"] >= 1  # the message's, and maybe one of what became of its answer
    assert (metrics["deliveries"]["failed"], metrics["deliveries"]["error_rate"]) == (0, 0)
    assert set(metrics["queue"]) == {"waiting", "working", "dead", "journal_bytes"}
    both = daemon.metrics()
    assert (application["version"], application["ready"], application["generation"]) == (both["version"], True, 1)
    assert [p["role"] for p in application["processes"]] == [p["role"] for p in both["processes"]]
    assert all(set(p) == set(q) for p, q in zip(application["processes"], both["processes"]))
    assert len(system["load"]) == 3 and system["processors"] >= 1
    assert 0 < system["memory"]["available_bytes"] <= system["memory"]["total_bytes"]
    disk = os.statvfs(daemon.state)
    assert system["disk"]["path"] == str(daemon.state) and system["disk"]["total_bytes"] == disk.f_blocks * disk.f_frsize
    assert system["open_files"]["process_limit"] > 100


def test_thresholds_hold_for_all_processes_until_the_next_start(world):
    daemon, _ = world.start([business(1)], sandbox=False, directory_slow_query="700ms")
    first = page(daemon, "thresholds")
    assert first["thresholds"] == first["configured"] and first["thresholds"]["slow_query_ms"] == 700
    assert page(daemon, "metrics")["over_thresholds"] == []
    for bad in ({}, [], "x", "", {"nonsense": 1}, {"queue_length": -1}, {"queue_length": "7"}, {"error_rate": 1.5},
                {"queue_length": 7, "error_rate": True}):
        answer = put(daemon, bad)
        assert answer.status == 400 and answer.json["detail"], bad
    assert page(daemon, "thresholds")["thresholds"] == first["thresholds"]  # all or nothing
    answer = put(daemon, {"slow_query_ms": 0.001, "query_p99_ms": 0.001, "request_p99_ms": 0.001})
    assert answer.status == 200
    changed = {**first["thresholds"], "slow_query_ms": 0.001, "query_p99_ms": 0.001, "request_p99_ms": 0.001}
    assert answer.json["thresholds"] == changed and answer.json["configured"] == first["configured"]
    assert all(page(daemon, "thresholds")["thresholds"] == changed for _ in range(10))  # whoever answers
    over = wait_for(lambda: page(daemon, "metrics")["over_thresholds"], TOLD, "a mark")
    assert [o["threshold"] for o in over] == ["request_p99_ms"] and over[0]["value"] > over[0]["limit"] == 0.001

    def all_are_slow(first_number):
        before = query(daemon, "phone")
        ask_through_both(daemon, first=first_number)
        now = wait_for(lambda: query(daemon, "phone")["slow"] >= before["slow"] + BOTH and query(daemon, "phone"), TOLD, "slow queries")
        return now["over_threshold"]
    time.sleep(2 * PATIENCE)  # each process hears of it within a second
    assert all_are_slow(1000)
    reload(daemon)  # new processes, the same thresholds
    assert page(daemon, "thresholds")["thresholds"] == changed
    time.sleep(2 * PATIENCE)
    assert all_are_slow(3000)
    assert put(daemon, {"slow_query_ms": None, "query_p99_ms": 0, "request_p99_ms": None}).json["thresholds"] == {
        **first["thresholds"], "query_p99_ms": 0}
    assert not query(daemon, "phone")["over_threshold"]  # 0: never
    assert daemon.stop() == 0
    daemon = world.daemon(port=world.port, directory_slow_query="700ms")
    assert page(daemon, "thresholds")["thresholds"] == first["thresholds"]


def reload(daemon):
    generation = max(p["generation"] for p in page(daemon, "application")["processes"])
    daemon.popen.send_signal(signal.SIGHUP)

    def reloaded():
        rows = page(daemon, "database")["processes"]
        return len(rows) == 3 and all(p["generation"] > generation and p["state"] == "ready" for p in rows)
    wait_for(reloaded, 30, "the reload")


# ---------------------------------------------------------------- an outage


def test_an_outage_is_told_and_its_end(world):
    folder = world.directory / "mount"
    daemon = world.daemon(port=world.port, wait=False, directory_store=f"sqlite:{folder}/businesses.db", directory_warmup="no")
    wait_for(lambda: "is ready:" in daemon.log(), 30, "the workers")
    number = 0

    def told():
        nonlocal number
        number += 1
        webhook(daemon, 1000 + number, f"wamid.{number}")
        return "breaker" in daemon.get("/ready").json.get("degraded", "")
    wait_for(told, 30, "the breaker in /ready")
    ready = daemon.get("/ready")
    assert ready.status == 503 and ready.json["reason"] == "Database not connected"
    database = page(daemon, "database")
    assert (database["status"], database["error"], database["store"]) == ("unhealthy", "Database not connected", "sqlite")
    assert database["breaker"] in ("open", "half_open") and database["breaker_opened"] >= 1
    assert database["errors"]["server"] > 0 and str(folder) in database["last_failure"] and database["last_failed_seconds_ago"] < 60 * PATIENCE
    assert daemon.metric('wahookd_store_breaker{state="open"}') + daemon.metric('wahookd_store_breaker{state="half_open"}') >= 1
    folder.mkdir()
    wait_for(lambda: daemon.get("/ready").status == 200 and "degraded" not in daemon.get("/ready").json, 30, "the end of the outage")
    database = page(daemon, "database")
    assert (database["status"], database["breaker"]) == ("healthy", "closed") and database["breaker_opened"] >= 1
    assert database["last_ok_seconds_ago"] <= database["last_failed_seconds_ago"]


# ---------------------------------------------------------------- MongoDB


def test_a_mongodb(world, mongo_server):
    database = Database(mongo_server.uri, "wahook_test")
    database.businesses.insert_many([business(n) for n in range(200)])
    database.businesses.create_index({"whatsappEnabled": 1, "isActive": 1, "createdAt": -1}, name="active_businesses_idx")
    database.businesses.create_index({"subDomain": -1}, name="subdomain_lookup_idx")
    daemon = world.daemon(port=world.port, directory_store=database.uri, directory_database=None, directory_warmup="no",
                          directory_pool_max="30", directory_pool_min="6")
    daemon.wait_log("is ready:")
    assert put(daemon, {"slow_query_ms": 0.001}).status == 200
    time.sleep(2 * PATIENCE)
    ask_through_both(daemon)
    slow = wait_for(lambda: query(daemon, "phone")["last_slow"], 30, "a slow query that was looked into")
    assert slow["plan"] == "COLLSCAN" and slow["documents_examined"] >= 200 and slow["took_ms"] > 0 and slow["seconds_ago"] >= 0
    assert "webhook_lookup_idx" in slow["advice"] and "indexes ensure" in slow["advice"]
    phone = query(daemon, "phone")
    assert phone["slow"] > 0 and phone["count"] > 0
    state = wait_for(lambda: page(daemon, "database")["connections"] and page(daemon, "database"), TOLD, "connections")
    connections = state["connections"]
    assert state["store"] == "mongodb" and (connections["max"], connections["min"]) == (30, 6)
    assert 0 < connections["open"] <= 30 and connections["in_use"] + connections["idle"] == connections["open"]
    assert connections["lent"] > 0 and 0 < connections["reuse_rate"] < 1 and state["heartbeats"]["ok"] > 0 and state["heartbeats"]["round_trip_ms"] > 0
    assert all(p["connections"]["max"] == 10 for p in state["processes"])
    assert daemon.metrics()["connection_pool"] == {"max_pool_size": 30, "min_pool_size": 6}
    assert database.name in database.uri and database.uri not in json.dumps(state)  # no URI, no password
    indexes = {i["name"]: i for i in wait_for(lambda: page(daemon, "database")["indexes"], TOLD, "indexes")}
    assert {name: i["state"] for name, i in indexes.items()} == {
        "webhook_lookup_idx": "missing", "subdomain_lookup_idx": "in conflict", "active_businesses_idx": "there"}
    assert indexes["subdomain_lookup_idx"]["keys"] == "subDomain: 1, isActive: 1" and "subDomain: -1" in indexes["subdomain_lookup_idx"]["note"]
    assert all(i["seconds_ago"] >= 0 for i in indexes.values())
    before = counters(daemon)
    mongo_server.kill()
    number = 7000

    def told():
        nonlocal number
        number += 1
        webhook(daemon, number, f"wamid.{number}")
        now = page(daemon, "database")
        return now["errors"]["network"] + now["errors"]["timeout"] > 0 and now["breaker"] != "closed"
    wait_for(told, 60, "errors by cause, and the breaker")
    state = page(daemon, "database")
    assert state["status"] == "unhealthy" and state["last_failure"] and state["errors"]["auth"] == state["errors"]["server"] == 0
    assert "breaker" in daemon.get("/ready").json["degraded"]
    assert not {k: (v, counters(daemon)[k]) for k, v in before.items() if counters(daemon)[k] < v}
    mongo_server.start()
    wait_for(lambda: daemon.get("/ready").status == 200 and page(daemon, "database")["breaker"] == "closed", 60, "the end of the outage")
    database.client.close()
