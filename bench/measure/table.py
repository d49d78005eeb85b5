"""What a bench tells: medians, ratios, one table, one JSON file, the goals."""

import json
import statistics

from . import machine

BASE = "nginx"


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def medians(runs):
    return {key: median(runs, key) for key in runs[0]} | {"repetitions": len(runs)}


def ratio(found, section, peer, other):
    """How much faster: the median of the ratios within each repetition; None where they have not both been measured each time."""
    a, b = found.get((section, peer), []), found.get((section, other), [])
    if not a or len(a) != len(b) or not all(run["rate"] for run in b):
        return None
    return statistics.median(mine["rate"] / theirs["rate"] for mine, theirs in zip(a, b))


def rows_of(found, sections, table):
    """Rows with medians and the ratio of each to nginx in the same section."""
    rows = []
    for section in sections:
        for peer in table:
            runs = found.get((section.name, peer.name))
            if runs:
                rows.append({"section": section.name, "peer": peer.name, "title": peer.title, "connections": section.connections,
                             "workers": section.workers, "generator": section.generator, **medians(runs),
                             "ratio": ratio(found, section.name, peer.name, BASE)})
    return rows


def find(rows, section, peer):
    return next((row for row in rows if row["section"] == section and row["peer"] == peer), None)


BUSY = 0.8  # of a core: a saturated server that got less had others on it, unless the generator was at its end


def starved(row):
    return row["workers"] == 1 and row["generator_cpu"] < BUSY and row["server_cpu"] < BUSY


RATIOS = [  # measure, section, peer, other, floor, goal
    ("sync = none / nginx return 200, 64 connections", "64", "none", BASE, 1.0, 1.25),
    ("sync = none / nginx return 200, 500 connections", "500", "none", BASE, 1.0, 1.25),
    ("durable / nginx return 200, 500 connections", "500", "durable", BASE, 0.9, 1.2),
    ("durable / nginx return 200, 64 connections", "64", "durable", BASE, 0.55, 0.9),
    ("durable / nginx + Lua, 500 connections", "500", "durable", "lua", 1.5, 2.5),
    ("durable / gunicorn + FastAPI, 500 connections", "500", "durable", "python", 25, 50),
]
WHOLE = [  # measure, key, floor, goal
    ("dispatcher: sends/s, one core", "sends_per_second", 10000, 20000),
    ("whole daemon on one core: messages/s in and answered", "holds", 5000, 10000),
]


def goals(found, rows, half, whole):
    """What was to be reached and what was; a ratio of servers that did not get their cores is not judged."""
    out = []
    for measure, section, peer, other, floor, goal in RATIOS:
        value = ratio(found, section, peer, other)
        if value is not None:
            quiet = not starved(find(rows, section, peer)) and not starved(find(rows, section, other))
            out.append(judged(measure, value, floor, goal) if quiet else judged(measure, value, floor, goal) | {"met": "not quiet"})
    if half:
        out.append(judged("durable: p99 at half of its peak, ms", half["p99_us"] / 1000, 25, 5))
    for measure, key, floor, goal in WHOLE:
        if whole and key in whole:
            out.append(judged(measure, whole[key], floor, goal))
    return out


def judged(measure, value, floor, goal):
    """Where the goal is below the floor, less is better."""
    sign = 1 if goal > floor else -1
    met = "goal" if sign * value >= sign * goal else "floor" if sign * value >= sign * floor else "no"
    return {"measure": measure, "value": value, "floor": floor, "goal": goal, "met": met}


def lines(rows, sections):
    """The table as Markdown."""
    out = []
    for section in sections:
        mine = [row for row in rows if row["section"] == section.name]
        if not mine:
            continue
        out += ["", f"| {section.title} | requests/s | p50 ms | p99 ms | CPU us/request | / nginx 200 | server | generator |", "|---|---:|---:|---:|---:|---:|---:|---:|"]
        for row in mine:
            times = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            failed = f" ({row['failed'] + row['refused']:.0f} failed)" if row["failed"] + row["refused"] else ""
            out.append(f"| {row['title']}{failed} | {row['rate']:,.0f} | {row['p50_us'] / 1000:.2f} | {row['p99_us'] / 1000:.2f} "
                       f"| {row['cpu_us']:.1f} | {times} | {row['server_cpu']:.2f} | {row['generator_cpu']:.2f} |")
    return out


def goal_lines(wanted):
    if not wanted:
        return []
    out = ["", "| goals | here | floor | goal | reached |", "|---|---:|---:|---:|---|"]
    return out + [f"| {g['measure']} | {g['value']:,.2f} | {g['floor']:,g} | {g['goal']:,g} | {g['met']} |" for g in wanted]


def noise_lines(rows):
    count = sum(starved(row) for row in rows)
    if not count:
        return []
    return ["", f"The machine was not quiet: in {count} of {len(rows)} rows the server got less than {BUSY} of its core. Compare CPU per request, "
            "and measure again."]


def whole_lines(whole):
    if not whole:
        return []
    return ["", "| whole daemon on one core, every step durable | |", "|---|---|"] + [f"| {name} | {text} |" for name, text in whole["told"]]


def write_json(name, document):
    path = machine.BENCH / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
