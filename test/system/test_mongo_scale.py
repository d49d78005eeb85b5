"""Many businesses, and many that are none: what each costs the store and the memory. FAILURES 16. `make endurance` takes a million of them and
prints the figures; `make test` some thousands."""

import os
import pathlib
import signal
import time

from conftest import business, wait_for
from mongo import Database, mongo_server  # noqa: F401 (fixture)
from processes import whole
from test_endurance import FULL, Load, say

INDEX = ([("whatsappPhoneNumberIds", 1), ("whatsappEnabled", 1), ("isActive", 1)],)
TENANTS = 100
HOT = ",".join(f"1000{n}" for n in range(TENANTS))


def rss_kib(pid):
    return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))


def memory(daemon, role):
    return max(rss_kib(p["pid"]) for p in daemon.children(role))


def test_a_flood_of_unknown_ids(world, mongo_server):
    ids, rate = (1000000, 5000) if FULL else (4000, 1000)
    database = Database(mongo_server.uri, "wahook_test")
    database.businesses.insert_many([business(n) for n in range(TENANTS)])
    database.businesses.create_index(*INDEX)
    box = world.sandbox()
    d = whole(world, port=world.port, graph_port=box.port, directory_store=database.uri, directory_database=None)
    queries = lambda: d.metric("wahookd_store_queries_total")
    before, worker, dispatcher = queries(), memory(d, "worker"), memory(d, "dispatcher")
    with Load(d, "--phone", HOT, rate=200, new_rate=0, connections=8) as hot:
        with Load(d, "--phone", "9#", "--conversations", str(ids), "--count", str(ids), rate=rate, new_rate=0, connections=32) as flood:
            flood.process.wait(3600)
        most, queued = 0, lambda: d.metric("wahookd_jobs_waiting")
        end = time.monotonic() + 3600
        while d.metric("wahookd_ingested_total") < ids or queued() > 100:
            assert time.monotonic() < end
            most = max(most, memory(d, "dispatcher"))
            time.sleep(0.5)
    asked = queries() - before
    # Who meets an id first asks for all processes, and for several ids at once when there are many.
    assert asked <= ids + TENANTS * 10
    # The tenants were answered from the caches all along, and nobody was refused for them.
    hot.check_clean()
    grown = memory(d, "worker") - worker
    say(f"{ids} unknown ids", requests=flood.report["ok"], refused=flood.not_200, queries_an_id=round(asked / ids, 2),
        tenants_p99_ms=hot.p99_ms, worker_grew_mib=round(grown / 1024, 1), dispatcher_grew_mib=round((most - dispatcher) / 1024, 1))
    # The same ids again, again and again: for a minute nobody asks.
    with Load(d, "--phone", "8#", "--conversations", "100", rate=200, new_rate=0, connections=2) as first:
        time.sleep(3)
    before = queries()
    with Load(d, "--phone", "8#", "--conversations", "100", rate=500, new_rate=0, connections=2) as again:
        time.sleep(3)
    assert first.report["ok"] and again.report["ok"] > 1000
    assert queries() - before <= 100


def cold_with_pymongo(database, ids, seconds):
    end, count = time.monotonic() + seconds, 0
    for phone in ids:
        assert database.businesses.find_one({"whatsappPhoneNumberIds": phone, "whatsappEnabled": True, "isActive": True})
        count += 1
        if time.monotonic() > end:
            break
    return count / (time.monotonic() - end + seconds)


def test_many_businesses(world, mongo_server):
    businesses, active = (1000000, 100000) if FULL else (5000, 1000)
    database = Database(mongo_server.uri, "wahook_test")
    for at in range(0, businesses, 5000):
        database.businesses.insert_many([business(n, whatsappPhoneNumberIds=[f"7{n:08}"], whatsappAccessToken="674141" + f"{n:0400}")
                                         for n in range(at, at + 5000)])
    database.businesses.create_index(*INDEX)
    box = world.sandbox()
    d = whole(world, port=world.port, graph_port=box.port, directory_store=database.uri, directory_database=None, server_workers="1",
              directory_cache_size=str(active), directory_cache_ttl="1h", directory_warmup="no", server_timeout="1h")
    dispatcher, worker = d.children("dispatcher")[0]["pid"], d.children("worker")[0]["pid"]
    os.kill(dispatcher, signal.SIGSTOP)  # the worker's look-ups alone are counted
    cached = lambda: d.metric("wahookd_cache_size")
    empty, began, before = rss_kib(worker), time.monotonic(), cached()
    # Several rounds: of keys that come faster than the store answers, only so many wait for it.
    while cached() - before < active - 1:
        assert time.monotonic() - began < 900
        with Load(d, "--phone", "7#", "--conversations", str(active), "--count", str(active), rate=5000 if FULL else 2000, new_rate=0, connections=8) as load:
            load.process.wait(3600)
        time.sleep(1)
    cold = (cached() - before) / (time.monotonic() - began)
    grown = rss_kib(worker) - empty
    hits = d.metric("wahookd_cache_hits_total")
    with Load(d, "--phone", "7#", "--conversations", str(active), "--count", str(active), rate=10000, new_rate=0, connections=8) as load:
        load.process.wait(3600)
    hits = d.metric("wahookd_cache_hits_total") - hits
    assert hits >= load.report["ok"] * 0.999
    python = cold_with_pymongo(database, (f"7{n:08}" for n in range(active)), 5 if FULL else 1)
    os.kill(dispatcher, signal.SIGCONT)
    say(f"{active} of {businesses} businesses", bytes_each=round(grown * 1024 / active), cold_look_ups_a_second=round(cold),
        with_pymongo=round(python), hits=f"{hits / load.report['ok']:.2%}")
