"""The README's table, written from bench/results/bench.json between two marks, so that the figures and their date are of one run."""

import json

from . import machine, peers, table

BEGIN, END = "<!-- bench: written by make bench-readme -->", "<!-- bench: end -->"


def cell(row, key, form, by=1.0):
    return form.format(row[key] / by) if row and row.get(key) is not None else ""


def rows(found):
    out = ["| 1 worker on 1 core, each message another | requests/s, 64 connections | / nginx 200 | requests/s, 500 connections | / nginx 200 | p99 ms | CPU us |",
           "|---|---:|---:|---:|---:|---:|---:|"]
    for peer in peers.PEERS_TABLE:
        few, many = table.find(found, "64", peer.name), table.find(found, "500", peer.name)
        if not few and not many:
            continue
        out.append(f"| {peer.title} | {cell(few, 'rate', '{:,.0f}')} | {cell(few, 'ratio', '{:.2f}')} | {cell(many, 'rate', '{:,.0f}')} "
                   f"| {cell(many, 'ratio', '{:.2f}')} | {cell(many, 'p99_us', '{:.1f}', 1000)} | {cell(many, 'cpu_us', '{:.1f}')} |")
    return out


def text(document):
    about, whole = document["machine"], document.get("whole")
    out = [BEGIN, f"Measured on {about['date']}: {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, built by {about['build']}; "
           f"medians of up to {document['repeat']} x {document['seconds']:g} s, interleaved.", "", *rows(document["rows"]),
           *table.noise_lines(document["rows"])]
    if whole:
        out += ["", "| the whole daemon on one core, every step durable | |", "|---|---|"] + [f"| {name} | {words} |" for name, words in whole["told"]]
    return "\n".join(out + [END])


def write():
    document = json.loads((machine.BENCH / "results" / "bench.json").read_text())
    readme = machine.ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit("bench: README.md has no place for the table")
    readme.write_text(before + text(document) + after)
