"""Scale curves of wahookd, durable: over connections, businesses, updates per POST, queued jobs and workers. The ONE table is at the end."""

import json
import random
import shutil
import signal
import socket
import time

from . import daemon, load, machine

CONNECTIONS = (1, 8, 64, 500, 2000, 8000, 20000)
BUSINESSES = (1, 1000, 100000, 1000000)
UPDATES = (1, 10, 100, 1000)
JOBS = (0, 1000, 10000, 100000, 1000000)
WORKERS = (1, 2, 3, 4)
PHONES_AT_ONCE = 10000
SPARE_FILES = 500
FILL_RATE, FILL_S = 12000, 300
START_S = 120


def intake(shared, folder, businesses=None, workers=1, **options):
    """A daemon whose dispatcher is stopped."""
    server = daemon.Daemon(folder, businesses or shared / "businesses.db", workers, **options)
    try:
        server.wait_ready()
    except BaseException:
        server.stop()
        raise
    server.stop_dispatcher()
    return server


def measured(server, seconds, connections, phones=None, **options):
    warm = load.wahook_load(server.port, max(0.5, seconds / 4), connections, phones=phones, **options)
    before = server.cpu_s()
    report = load.wahook_load(server.port, seconds, connections, phones=phones, prepare=int(warm["rate"]["ok"] * seconds * 1.3), **options)
    found = load.figures(report, server.cpu_s() - before)
    return {"rate": found["rate"], "p99_ms": found["p99_us"] / 1000, "cpu_us": found["cpu_us"], "failed": found["failed"] + found["refused"]}


def over_connections(shared, seconds, files):
    room = files - SPARE_FILES  # where the system gives no more, the last point is what it gives
    for connections in sorted({min(connections, room) for connections in CONNECTIONS}):
        with machine.folder() as folder:
            server = intake(shared, folder)
            try:
                yield connections, measured(server, seconds, connections)
            finally:
                server.stop()


def over_businesses(shared, seconds, files):
    """With the default cache, which holds 1000, and with one that holds all that are in use; messages go to 10,000 at most."""
    for count in BUSINESSES:
        with machine.folder() as folder:
            machine.say(f"bench: importing {count} businesses")
            path = daemon.make_directory(folder / "all.db", count)
            chosen = random.Random(1).sample(range(count), min(count, PHONES_AT_ONCE))
            phones = [daemon.phone(n) for n in chosen]
            point = {}
            for key, size in (("", 20000), ("default_cache_", 1000)):
                with machine.folder() as inner:
                    server = intake(shared, inner, path, directory_cache_size=size)
                    try:
                        point.update({key + name: value for name, value in measured(server, seconds, 64, phones).items()})
                    finally:
                        server.stop()
            yield count, point


def delivery(updates):
    """One POST with so many messages."""
    messages = [{"from": f"4917{n:08d}", "id": f"wamid.bench{n:026d}", "timestamp": "1700000000", "type": "text",
                 "text": {"body": f"{n:010d} Do you still have it in green? Thanks a lot."}} for n in range(updates)]
    value = {"messaging_product": "whatsapp", "metadata": {"display_phone_number": "15550783881", "phone_number_id": daemon.phone(0)},
             "messages": messages}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]},
                      separators=(",", ":")).encode()


def over_updates(shared, seconds, files):
    for updates in UPDATES:
        with machine.folder() as folder:
            body = folder / "body"
            body.write_bytes(delivery(updates))
            server = intake(shared, folder)
            try:
                point = measured(server, seconds, 16, body=body)
            finally:
                server.stop()
            point["updates_per_second"] = point["rate"] * updates
            yield updates, point


def ready_after(folder, businesses, **options):
    """(the daemon, ms from its start to the first 200 of /ready)"""
    start = time.monotonic()
    server = daemon.Daemon(folder, businesses, **options)
    try:
        machine.wait_for(lambda: daemon.status(server.port, "GET", "/ready") == 200, START_S, "wahookd to be ready", server)
    except BaseException:
        server.stop()
        raise
    return server, 1000 * (time.monotonic() - start)


def waiting_jobs(server):
    for line in server.admin("/prometheus/metrics").decode().splitlines():
        if line.startswith("wahookd_jobs_waiting"):
            return int(float(line.split()[-1]))
    return 0


def fill(folder, businesses, have, wanted, options):
    """Lets the dispatcher take messages in until so many jobs wait; nothing is worked off (the caller's options see to that)."""
    server = daemon.Daemon(folder, businesses, **options)
    try:
        server.wait_ready()
        machine.say(f"bench: filling the spool up to {wanted} jobs")
        load.wahook_load(server.port, 0, 64, count=wanted - have, rate=FILL_RATE)
        machine.wait_for(lambda: waiting_jobs(server) >= wanted - 1, FILL_S, f"{wanted} jobs to wait", server)
    finally:
        server.stop(signal.SIGTERM)


def over_jobs(shared, seconds, files):
    """The same spool grows from point to point; each is measured on a copy. The responder takes one question and never answers: all else
    waits."""
    businesses = shared / "businesses.db"
    with socket.socket() as silent, machine.folder() as kept:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        options = {"responder_type": "http", "responder_url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "responder_timeout": "600s",
                   "dispatch_concurrency": 1, "dispatch_tenant_concurrency": 1, "graph_mark_read": "no", "server_graceful_timeout": "1s"}
        have = 0
        for jobs in JOBS:
            if jobs > have:
                fill(kept, businesses, have, jobs, options)
            have = jobs
            with machine.folder() as copy:
                if jobs:
                    shutil.copytree(kept / "state", copy / "state", ignore=shutil.ignore_patterns("*.sock", "*.pid", "*.lock"))
                spool = copy / "state" / "spool.db"
                point = {"spool_bytes": spool.stat().st_size if jobs else 0}
                server, point["start_ms"] = ready_after(copy, businesses, **options)
                try:
                    server.stop_dispatcher()
                    point.update(measured(server, seconds, 64))
                finally:
                    server.stop()
            yield jobs, point


def over_workers(shared, seconds, files):
    for workers in WORKERS:
        with machine.folder() as folder:
            server = intake(shared, folder, workers=workers)
            try:
                yield workers, {**measured(server, seconds, 500), "cores": len(machine.server_cores(workers))}
            finally:
                server.stop()


RATE = ("requests/s", [("rate", "")])
P99 = ("p99 in ms", [("p99_ms", "")])

# name, function, title of the x axis, whether it is logarithmic, panels: (title, [(key of a point, name of its line)])
CURVES = [
    ("connections", over_connections, "connections", True, [RATE, P99]),
    ("businesses", over_businesses, "businesses", True,
     [("requests/s", [("rate", "cache of 20,000"), ("default_cache_rate", "cache of 1000")]),
      ("p99 in ms", [("p99_ms", "cache of 20,000"), ("default_cache_p99_ms", "cache of 1000")])]),
    ("updates", over_updates, "updates per POST", True, [("updates/s", [("updates_per_second", "")]), P99]),
    ("jobs", over_jobs, "queued jobs", True, [("start to READY in ms", [("start_ms", "")]), RATE, P99]),
    ("workers", over_workers, "workers", False, [RATE, P99]),
]
