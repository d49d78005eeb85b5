"""What the tests of processes share: who lives, who is whose child, clients that never pause."""

import http.client
import os
import pathlib
import subprocess
import threading

from conftest import BUILD, PATIENCE, request, wait_for


def alive(pid):
    """Exists and is no zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def offspring(master):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == master and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def pids(daemon, role):
    return {row["pid"] for row in daemon.children(role) if row["state"] == "ready"}


def whole(world, **options):
    """A daemon of which every process has checked in, not only the worker that answered first."""
    before = (world.directory / "wahookd.log").stat().st_size if (world.directory / "wahookd.log").exists() else 0
    d = world.daemon(**options)
    own = lambda: d.log_path.read_bytes()[before:] if options.get("log_target") is None else pathlib.Path(options["log_target"]).read_bytes()
    wait_for(lambda: b"is ready:" in own(), 20, "all processes to check in")
    return d


def replaced(daemon, role, victim, count):
    """Waits for `count` ready ones without the victim, all seen in one look."""
    def look():
        now = pids(daemon, role)
        return len(now) == count and victim not in now
    wait_for(look, 10, f"a successor of {role} {victim}")


def gone(process_ids, seconds=10):
    wait_for(lambda: not any(alive(pid) for pid in process_ids), seconds, f"the end of {process_ids}")


class Load:
    """Clients that ask /health without a pause, each request on a connection of its own; `failed` has what went wrong."""

    def __init__(self, port, clients=4):
        self.port, self.done, self.failed, self.stop = port, 0, [], False
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        while not self.stop:
            try:
                answer = request(self.port, "GET", "/health")
                if answer.status != 200:
                    self.failed.append(answer)
            except (OSError, http.client.HTTPException) as e:
                self.failed.append(repr(e))
            self.done += 1

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop = True
        for t in self.threads:
            t.join()


def run_wahookd(*args, env=None, **options):
    variables = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
    variables.update({"WAHOOK_" + k.upper(): v for k, v in options.items()})
    variables.update(env or {})
    return subprocess.run([str(BUILD / "wahookd"), *args], env=variables, capture_output=True, text=True, timeout=30 * PATIENCE,
                          stdin=subprocess.DEVNULL)


def command(daemon, *args):
    return run_wahookd(*args, env=daemon.variables)
