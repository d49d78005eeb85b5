"""What a bench tells: medians, ratios, one table, one JSON file, the goals."""

import json
import statistics

from . import machine

BASE = "nginx"


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def medians(runs):
    return {key: median(runs, key) for key in runs[0]} | {"repetitions": len(runs)}


def rows_of(found, sections, table):
    """Rows with medians and the ratio of each to nginx in the same section; the ratio is the median of those within each repetition."""
    rows = []
    for section in sections:
        base = found.get((section.name, BASE), [])
        for peer in table:
            runs = found.get((section.name, peer.name))
            if not runs:
                continue
            row = {"section": section.name, "peer": peer.name, "title": peer.title, "connections": section.connections, "workers": section.workers,
                   "generator": section.generator, **medians(runs)}
            if len(base) == len(runs):
                row["ratio"] = statistics.median(run["rate"] / other["rate"] for run, other in zip(runs, base) if other["rate"])
            rows.append(row)
    return rows


def find(rows, section, peer):
    return next((row for row in rows if row["section"] == section and row["peer"] == peer), None)


def quotient(rows, section, peer, other):
    a, b = find(rows, section, peer), find(rows, section, other)
    return a["rate"] / b["rate"] if a and b and b["rate"] else None


def goals(rows, half, whole):
    """(measure, value, floor, goal, whether more is better)"""
    wanted = [
        ("sync = none / nginx return 200, 64 connections", quotient(rows, "64", "none", BASE), 1.0, 1.25, True),
        ("sync = none / nginx return 200, 500 connections", quotient(rows, "500", "none", BASE), 1.0, 1.25, True),
        ("durable / nginx return 200, 500 connections", quotient(rows, "500", "durable", BASE), 0.9, 1.2, True),
        ("durable / nginx return 200, 64 connections", quotient(rows, "64", "durable", BASE), 0.55, 0.9, True),
        ("durable / nginx + Lua, 500 connections", quotient(rows, "500", "durable", "lua"), 1.5, 2.5, True),
        ("durable / gunicorn + FastAPI, 500 connections", quotient(rows, "500", "durable", "python"), 25, 50, True),
        ("durable: p99 at half of its peak, ms", half and half["p99_us"] / 1000, 25, 5, False),
    ]
    for name, key, floor, goal in (("dispatcher: sends/s, one core", "sends_per_second", 10000, 20000),
                                   ("whole daemon on one core: messages/s in and answered", "holds", 5000, 10000)):
        wanted.append((name, whole.get(key) if whole else None, floor, goal, True))
    return [{"measure": name, "value": value, "floor": floor, "goal": goal, "met": verdict(value, floor, goal, more)}
            for name, value, floor, goal, more in wanted if value is not None]


def verdict(value, floor, goal, more):
    sign = 1 if more else -1
    if sign * value >= sign * goal:
        return "goal"
    return "floor" if sign * value >= sign * floor else "no"


def lines(rows, sections):
    """The table as Markdown."""
    out = []
    for section in sections:
        mine = [row for row in rows if row["section"] == section.name]
        if not mine:
            continue
        out += ["", f"| {section.title} | requests/s | p50 ms | p99 ms | CPU us/request | / nginx 200 | generator |", "|---|---:|---:|---:|---:|---:|---:|"]
        for row in mine:
            ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
            failed = f" ({row['failed'] + row['refused']:.0f} failed)" if row["failed"] + row["refused"] else ""
            out.append(f"| {row['title']}{failed} | {row['rate']:,.0f} | {row['p50_us'] / 1000:.2f} | {row['p99_us'] / 1000:.2f} "
                       f"| {row['cpu_us']:.1f} | {ratio} | {row['generator_cpu']:.2f} |")
    return out


def goal_lines(found):
    if not found:
        return []
    out = ["", "| goals | here | floor | goal | reached |", "|---|---:|---:|---:|---|"]
    return out + [f"| {g['measure']} | {g['value']:,.2f} | {g['floor']:,g} | {g['goal']:,g} | {g['met']} |" for g in found]


def whole_lines(whole):
    if not whole:
        return []
    return ["", "| whole daemon on one core, every step durable | |", "|---|---|"] + [f"| {name} | {text} |" for name, text in whole["told"]]


def write_json(name, document):
    path = machine.BENCH / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
