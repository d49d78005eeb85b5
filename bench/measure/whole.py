"""The whole daemon on one core: worker, dispatcher, echo responder, every step durable; the sandbox is Graph. A message goes in as a webhook
and its answer comes out at the sandbox, which tells when."""

import re
import time

from . import daemon, load, machine

START, STEP, CEILING = 1000, 1.3, 40000
HALVINGS = 2    # of the last step, whose lower end holds and whose upper end does not
BACK = 0.88
HOLDS = 8       # attempts at a rate that holds for long, each lower than the one before: a spool that fills costs more than an empty one
PROBE_S = 4
SETTLE_S = 15   # that answers may take after the last message
BACKLOG = 30000
CONNECTIONS = 64
# The answer repeats the text, which begins with the message's number.
RECORD = re.compile(rb'"ordinal":(\d+),"time":([0-9.]+),"kind":"message".{0,400}?"body":"(\d{10}) ')


class Bed:
    """A daemon, and a sandbox on that core or on the generator's."""

    def __init__(self, shared, graph_apart, **options):
        self.shared, self.graph_apart, self.options = shared, graph_apart, options

    def __enter__(self):
        self.folder = machine.folder()
        path = self.folder.__enter__()
        self.box = self.daemon = None
        try:
            self.box = daemon.Sandbox(path, machine.cores()[1] if self.graph_apart else machine.server_cores(1))
            self.daemon = daemon.Daemon(path, self.shared / "businesses.db", graph_port=self.box.port, **self.options)
            self.daemon.wait_ready()
            self.answers(load.wahook_load(self.daemon.port, 1, CONNECTIONS, rate=200)["ok"])
            self.box.forget()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *what):
        for process in (self.daemon, self.box):
            if process:
                process.stop()
        self.folder.__exit__(None, None, None)

    def answers(self, wanted, seconds=SETTLE_S, after=0):
        """{number: time in s} of the answers that came, once there are so many or no more come."""
        got, end = {}, time.monotonic() + seconds
        while True:
            before = len(got)
            for ordinal, at, number in RECORD.findall(self.box.lines(after)):
                after = max(after, int(ordinal))
                got[int(number)] = float(at)
            if len(got) >= wanted or time.monotonic() > end:
                return got
            if len(got) == before:
                time.sleep(0.2)


def late_s(seconds):
    """An answer at the end of a run that takes longer than this was behind a queue that grows."""
    return 0.25 + 0.01 * seconds


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else None


def push(bed, rate, seconds):
    """Messages at that rate: how they were taken, and how long each took from the moment it was due to Graph."""
    bed.box.forget()
    report = load.wahook_load(bed.daemon.port, seconds, CONNECTIONS, prepare=int(rate * seconds), rate=rate)
    start = time.monotonic()
    got = bed.answers(report["ok"])
    settled = time.monotonic() - start
    took = {n: at - report["started_us"] / 1e6 - n / rate for n, at in got.items()}
    last = [t for n, t in took.items() if n >= 0.8 * rate * seconds]
    end_p99 = quantile(last, 0.99)
    complete = len(got) >= report["ok"] > 0
    return {
        "rate": rate, "seconds": seconds, "taken": report["ok"], "answered": len(got), "shed": report["shed"], "failed": report["failed"]["total"],
        "unsent": report["unsent"], "intake_p99_us": report["latency_us"]["p99"], "intake_p50_us": report["latency_us"]["p50"],
        "p50_ms": 1000 * (quantile(took.values(), 0.5) or 0), "p99_ms": 1000 * (quantile(took.values(), 0.99) or 0), "end_p99_ms": 1000 * (end_p99 or 0),
        "settled_s": settled,
        # Everything was taken and answered, and nothing had piled up at the end.
        "holds": complete and not report["shed"] and not report["failed"]["total"] and not report["unsent"] and end_p99 is not None and end_p99 < late_s(seconds),
    }


def highest(bed, hold):
    """The highest rate that holds: upwards in steps until one does not, halving the last step, then for longer, downwards if need be."""
    tried = []

    def holds(rate):
        machine.say(f"bench: whole daemon: {rate:.0f}/s for {PROBE_S} s")
        tried.append(push(bed, round(rate), PROBE_S))
        return tried[-1]["holds"]

    good, bad = START / STEP, START
    while bad <= CEILING and holds(bad):
        good, bad = bad, bad * STEP
    for _ in range(HALVINGS):
        middle = (good * bad) ** 0.5
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    for _ in range(HOLDS):
        machine.say(f"bench: whole daemon: {good:.0f}/s for {hold:g} s")
        held = push(bed, round(good), hold)
        if held["holds"]:
            return held, tried
        tried.append(held)
        good *= BACK
    return None, tried


def sends(shared, count):
    """What the dispatcher does with a backlog on a core of its own, the sandbox on the other."""
    with Bed(shared, True, graph_mark_read="no") as bed:
        bed.daemon.stop_dispatcher()
        report = load.wahook_load(bed.daemon.port, 0, CONNECTIONS, count=count)
        dispatcher = bed.daemon.named(daemon.ROLE_DISPATCHER)
        before = bed.daemon.cpu_s(dispatcher)
        bed.box.forget()
        machine.say(f"bench: dispatcher with a backlog of {report['ok']}")
        bed.daemon.go_on()
        got = bed.answers(report["ok"], 60)
        used = bed.daemon.cpu_s(dispatcher) - before
    times = sorted(got.values())
    # The middle: without its first look at the journal and without the last that trickle in.
    low, high = len(times) // 10, 9 * len(times) // 10
    rate = (high - low) / (times[high] - times[low]) if high > low and times[high] > times[low] else 0.0
    return {"sends_per_second": rate, "answered": len(times), "cpu_us": used * 1e6 / len(times) if times else 0.0}


def measure(shared, hold):
    businesses = shared / "businesses.db"
    if not businesses.exists():
        daemon.make_directory(businesses, len(daemon.PHONES))
    result = {"told": []}
    drained = sends(shared, BACKLOG)
    result.update(drained)
    result["told"].append(("dispatcher with a backlog, Graph on the other core", f"{drained['sends_per_second']:,.0f} sends/s, "
                           f"{drained['cpu_us']:.0f} us of CPU each ({drained['answered']:,} answers)"))
    for name, apart, options in (("Graph on the other core", True, {"graph_mark_read": "no"}), ("Graph on the same core", False, {"graph_mark_read": "no"}),
                                 ("with read marks, Graph on the same core", False, {})):
        with Bed(shared, apart, **options) as bed:
            held, tried = highest(bed, hold if apart else min(hold, 10))
            over = push(bed, round(2 * held["rate"]), 8) if held and apart else None
        place = result.setdefault("runs", {})[name] = {"held": held, "tried": tried, "over": over}
        result["told"].append((name, told(place)))
        if apart:
            result["holds"] = held["rate"] if held else 0
        if over:
            left = over["taken"] - over["answered"]
            settled = f"{left:,} not answered" if left > 0 else "all answered"
            result["told"].append(("at twice that rate", f"{over['taken']:,} taken, {over['shed']:,} shed, {over['failed']} failed; intake p50 "
                                   f"{over['intake_p50_us'] / 1000:.1f} ms, p99 {over['intake_p99_us'] / 1000:.1f} ms; {settled} "
                                   f"{over['settled_s']:.1f} s after the last"))
    return result


def told(place):
    held = place["held"]
    if not held:
        worst = place["tried"][-1]
        return f"none of the rates held; at {worst['rate']}/s the last ones took {worst['end_p99_ms']:.0f} ms"
    return (f"{held['rate']:,}/s for {held['seconds']:g} s: webhook to Graph p50 {held['p50_ms']:.1f} ms, p99 {held['p99_ms']:.1f} ms; "
            f"intake p99 {held['intake_p99_us'] / 1000:.1f} ms")
