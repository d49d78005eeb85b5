"""MongoDB stops, dies, slows down, is cut off, talks nonsense or refuses: no webhook is refused or lost, and what had to wait is answered when it
is back. Counted, not timed; FAILURES 21-23. `make endurance` runs each for half a minute under load and prints the figures."""

import time

import pytest

from conftest import business, wait_for
from failures import rows
from fault_proxy import FaultProxy
from mongo import Database, mongo_server  # noqa: F401 (fixture)
from processes import whole
from test_endurance import FULL, Load, nothing_lost, say

SECONDS = 30 if FULL else 3
# Of twenty messages one is for a business that no cache has: there are more of them than the caches' places.
HOT, COLD = 10, 3000
HOT_RATE, COLD_RATE = (1900, 100) if FULL else (190, 10)


def restart(server, *args):
    server.args = args
    server.start()


TROUBLES = {
    "stopped": (lambda s, p: s.freeze(), lambda s, p: s.thaw()),
    "killed": (lambda s, p: s.kill(), lambda s, p: s.start()),
    "restarted": (lambda s, p: (s.stop(), s.start()), lambda s, p: None),
    "slowed to 2 s": (lambda s, p: p.set("delay", 2000), lambda s, p: p.set("pass")),
    "stalled": (lambda s, p: p.set("stall"), lambda s, p: p.set("pass")),
    "cut off": (lambda s, p: p.set("reset"), lambda s, p: p.set("pass")),
    "dead connections": (lambda s, p: p.set("half-open"), lambda s, p: p.set("pass")),
    "nonsense": (lambda s, p: p.set("garbage"), lambda s, p: p.set("pass")),
    "authentication refused": (lambda s, p: (s.stop(), restart(s, "--auth")), lambda s, p: (s.stop(), restart(s))),
}


@pytest.fixture
def proxy(mongo_server):
    proxy = FaultProxy(("127.0.0.1", mongo_server.port))
    yield proxy
    proxy.close()


def waiting(daemon, before_us):
    """Messages of businesses that no cache knew."""
    return rows(daemon, "SELECT count(*) FROM jobs j JOIN conversations c ON c.id = j.conversation WHERE j.state = 0"
                " AND j.received_us < ? AND length(c.phone_number_id) > ?", before_us, len("1000") + len(str(HOT - 1)))[0][0]


def newest_us(daemon):
    return rows(daemon, "SELECT coalesce(max(received_us), 0) FROM jobs WHERE id > (SELECT max(id) - 1000 FROM jobs)")[0][0]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_outage(world, mongo_server, proxy, trouble):
    database = Database(mongo_server.uri, "wahook_test")
    database.businesses.insert_many([business(n) for n in range(HOT + COLD)])
    database.businesses.create_index([("whatsappPhoneNumberIds", 1), ("whatsappEnabled", 1), ("isActive", 1)], name="webhook_lookup_idx")
    box = world.sandbox()
    # Through the proxy, and not on to the address that the server tells of itself.
    uri = f"mongodb://127.0.0.1:{proxy.port}/{database.name}?directConnection=true"
    d = whole(world, port=world.port, graph_port=box.port, directory_store=uri, directory_database=None, directory_cache_ttl="1s")
    spoil, mend = TROUBLES[trouble]
    cold_phones = ",".join(f"1000{n}" for n in range(HOT, HOT + COLD))
    with Load(d, rate=HOT_RATE, new_rate=0, connections=32) as hot, \
            Load(d, "--phone", cold_phones, "--conversations", str(COLD), rate=COLD_RATE, new_rate=0, connections=8) as cold:
        time.sleep(1 if FULL else 0)
        spoil(mongo_server, proxy)
        time.sleep(SECONDS)
        told = d.get("/ready").json
        mend(mongo_server, proxy)
        back, last_us = time.monotonic(), newest_us(d)
        held = waiting(d, last_us)
        wait_for(lambda: waiting(d, last_us) == 0, 30, "what waited to be answered")
        resolved_s = time.monotonic() - back
    nothing_lost(d, hot, cold)
    assert d.metric("wahookd_events_unknown_business_total") == 0  # not known yet is not unknown
    for load in (hot, cold):
        load.check_clean()
    figures = {"p99.9_ms": round(max(load.report["latency_us"]["p999"] for load in (hot, cold)) / 1000, 1)}
    say(f"{trouble} for {SECONDS} s", requests=hot.report["ok"] + cold.report["ok"], failed=0, lost=0, **figures, waited=held,
        resolved_after_s=round(resolved_s, 1), ready=told.get("ready"), why=told.get("reason", ""))
