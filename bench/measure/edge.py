"""The edge: memory of idle keep-alive connections, and what good traffic notices of thousands of slow or idle ones beside it."""

import pathlib
import threading
import time

from . import daemon, load, machine, table

GOOD_RATE, GOOD_CONNECTIONS = 5000, 64
SLOW, IDLE = 8000, 20000
SPARE_FILES = 500


def pss(pid):
    """Bytes of the process' own share of memory."""
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise machine.Stuck("the kernel does not tell Pss")


def start(folder, businesses, **options):
    server = daemon.Daemon(folder, businesses, **options)
    try:
        server.wait_ready()
    except BaseException:
        server.stop()
        raise
    return server


def memory_with(server, connections):
    """Pss of the worker while so many keep-alive connections idle, each of which has served at least one request."""
    worker, = server.named(daemon.ROLE_WORKER)
    seconds = 8
    done = {}

    def run():
        try:
            done["report"] = load.wahook_load(server.port, seconds, connections, rate=max(50, connections // 3))
        except machine.Stuck as e:
            done["problem"] = e

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(seconds - 1)
    try:
        used = pss(worker)
    finally:
        thread.join()
    if "problem" in done:
        raise done["problem"]
    if done["report"]["connections"]["closed_by_server"] or done["report"]["failed"]["total"]:
        machine.say("bench: connections were lost; the figure is too low")
    return used


def per_idle_connection(shared, files):
    few, many = 16, min(IDLE, files - SPARE_FILES)
    with machine.folder() as folder:
        server = start(folder, shared / "businesses.db")
        try:
            base = memory_with(server, few)
            used = memory_with(server, many)
        finally:
            server.stop()
    return {"connections": many, "bytes": (used - base) / (many - few)}


def beside(shared, seconds, **bystanders):
    """Good traffic at a constant rate with those beside it."""
    with machine.folder() as folder:
        server = start(folder, shared / "businesses.db")
        try:
            server.stop_dispatcher()
            load.wahook_load(server.port, 1, GOOD_CONNECTIONS, rate=GOOD_RATE)
            before = server.cpu_s()
            report = load.wahook_load(server.port, seconds, GOOD_CONNECTIONS, prepare=int(GOOD_RATE * seconds), rate=GOOD_RATE, **bystanders)
            return {**load.figures(report, server.cpu_s() - before), "unsent": report["unsent"],
                    "ended": report.get("bystanders", {}).get("ended_by_server", 0)}
        finally:
            server.stop()


def measure(shared, repeat, seconds, files):
    daemon.make_directory(shared / "businesses.db", len(daemon.PHONES))
    machine.say("bench: memory of idle keep-alive connections")
    result = {"idle_connection": per_idle_connection(shared, files)}
    kinds = [("alone", {}), ("slow", {"slow": min(SLOW, files - SPARE_FILES)}), ("idle", {"idle": min(IDLE, files - SPARE_FILES)})]
    runs = {name: [] for name, _ in kinds}
    for turn in range(repeat):
        for name, bystanders in kinds:
            machine.say(f"bench: {turn + 1}/{repeat} {GOOD_RATE}/s of good traffic, {name} {bystanders or ''}")
            runs[name].append(beside(shared, seconds, **bystanders))
    for name, bystanders in kinds:
        result[name] = {**table.medians(runs[name]), **bystanders}
        # Within each turn, as with all ratios here.
        result[name]["p99_ratio"] = table.statistics.median(a["p99_us"] / b["p99_us"] for a, b in zip(runs[name], runs["alone"]))
    return result


def lines(result):
    idle = result["idle_connection"]
    out = [f"idle keep-alive connection: {idle['bytes']:,.0f} bytes of ours, over {idle['connections']:,} of them", "",
           f"| {GOOD_RATE:,}/s of good traffic, durable | p50 ms | p99 ms | p99 / alone | CPU us/request | failed |", "|---|---:|---:|---:|---:|---:|"]
    for name, title in (("alone", "alone"), ("slow", "beside {slow:,} connections that send a byte a second"),
                        ("idle", "beside {idle:,} connections that send nothing")):
        row = result[name]
        out.append(f"| {title.format(**row)} | {row['p50_us'] / 1000:.2f} | {row['p99_us'] / 1000:.2f} | {row['p99_ratio']:.2f} | {row['cpu_us']:.1f} "
                   f"| {row['failed'] + row['refused']:.0f} |")
    return out
