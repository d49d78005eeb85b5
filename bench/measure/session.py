"""The interleaved session: every peer in turn, again and again, so that what the machine does meanwhile hits all of them alike."""

import shutil
import time

from . import load, machine, peers

WRK_MESSAGES = 100000
BUDGET_S = 400  # of the whole session: no repetition begins that would not end in it
WRK_PEERS = ("epoll", "nginx", "none")


class Section:
    """Rows of one table: what is the same for all peers in it."""

    def __init__(self, name, title, connections, workers=1, generator="wahook-load", only=None):
        self.name, self.title, self.connections, self.workers, self.generator, self.only = name, title, connections, workers, generator, only

    def takes(self, peer):
        return self.only is None or peer.name in self.only


def sections():
    cores = len(machine.server_cores(2))
    found = [
        Section("64", "64 connections, 1 worker", 64),
        Section("500", "500 connections, 1 worker", 500),
        Section("workers2", f"500 connections, 2 workers on {cores} core{'s' if cores > 1 else ''}", 500, workers=2),
    ]
    if shutil.which("wrk"):
        found.append(Section("wrk", "64 connections, 1 worker, wrk as the generator", 64, generator="wrk", only=WRK_PEERS))
    return found


def one(peer, section, seconds, messages):
    with peers.Running(peer, section.workers) as server:
        if section.generator == "wrk":
            return load.wrk(server, seconds, section.connections, messages)
        return load.saturate(server, seconds, section.connections)


def run(ready, chosen, repeat, seconds, shared):
    """{(section name, peer name): [figures of each repetition]}; a peer that fails is told of and left out of that place."""
    found = {}
    messages = shared / "messages"
    if any(s.generator == "wrk" for s in chosen):
        load.messages_file(messages, WRK_MESSAGES)
    start = time.monotonic()
    for turn in range(repeat):
        if turn and (time.monotonic() - start) * (turn + 1) / turn > BUDGET_S:
            machine.say(f"bench: {turn} of {repeat} repetitions: this machine is slow or busy, and time is up")
            break
        for section in chosen:
            # Not always in the same order: nobody always runs behind the same neighbour.
            order = ready[turn % len(ready):] + ready[:turn % len(ready)]
            for peer in order:
                if not section.takes(peer):
                    continue
                machine.say(f"bench: {turn + 1}/{repeat} {section.title}: {peer.title}")
                try:
                    found.setdefault((section.name, peer.name), []).append(one(peer, section, seconds, messages))
                except machine.Stuck as e:
                    machine.say(f"bench: {peer.title}: {e}")
    return found


def half_of_peak(peer, peak, repeat, seconds):
    """Latency at half of what the peer takes at most, at a constant rate: [report] of each repetition."""
    reports = []
    for turn in range(repeat):
        machine.say(f"bench: {turn + 1}/{repeat} half of its peak ({peak / 2:.0f}/s): {peer.title}")
        with peers.Running(peer, 1) as server:
            load.wahook_load(server.port, 0.5, 64)
            report = load.wahook_load(server.port, seconds, 64, prepare=int(peak * seconds), rate=round(peak / 2))
            reports.append({**load.figures(report, 0.0), "unsent": report["unsent"], "asked": round(peak / 2)})
    return reports
