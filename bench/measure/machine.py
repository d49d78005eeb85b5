"""The machine under a bench: its cores, processes that are pinned and that end with the bench, what they used, a temporary folder."""

import contextlib
import ctypes
import os
import pathlib
import platform
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WAHOOK_BUILD", ROOT / "build"))
BENCH = ROOT / "bench"
TICK = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG = 1
USABLE = sorted(os.sched_getaffinity(0))
libc = ctypes.CDLL(None)


def cores():
    """(of the server, of the generator): the last core is the generator's."""
    return (USABLE[:-1] or USABLE), USABLE[-1:]


def server_cores(workers):
    """A server gets as many cores as it has workers, where the machine has them."""
    return cores()[0][:workers]


def describe():
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {"cpu": model, "cores": len(USABLE), "kernel": platform.release(), "date": time.strftime("%Y-%m-%d"),
            "build": "make release" if BUILD.name == "build-release" else "make"}


def free_port():
    """Below those that the kernel gives to outgoing connections: nobody takes it before it is used."""
    while True:
        port = random.randint(16000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def raise_files(wanted=65536):
    """As many descriptors as there may be; root may have more than it was given. Inherited by what is started."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, wanted), max(hard, wanted)))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def prepared(on):
    """What a child does before it becomes its program: it is pinned, and ends when the bench does, however that ends."""
    def act():
        os.sched_setaffinity(0, on)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return act


class Stuck(Exception):
    """A server did not start or answer; says why."""


class Process:
    """A server in a session of its own, so that all of its processes are found by it."""

    def __init__(self, argv, on, log, env=None, cwd=None):
        base = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        self.log_path = pathlib.Path(log)
        with open(log, "ab") as out:
            self.popen = subprocess.Popen([str(a) for a in argv], env={**base, **(env or {})}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=out, start_new_session=True, preexec_fn=prepared(on))

    def pids(self):
        """{pid: fields of its stat from the state on} of all its processes."""
        found = {}
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == self.popen.pid and fields[0] != "Z":
                    found[int(path.parent.name)] = fields
        return found

    def named(self, comm):
        """Processes whose (truncated) name begins like that."""
        names = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                names[pid] = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
        return sorted(pid for pid, name in names.items() if name.startswith(comm))

    def cpu_s(self, only=None):
        """CPU time used by all its processes (or by those), user and system."""
        return sum((int(f[11]) + int(f[12])) / TICK for pid, f in self.pids().items() if only is None or pid in only)

    def check(self):
        if self.popen.poll() is not None:
            text = self.log_path.read_text(errors="replace").strip().splitlines()
            raise Stuck(f"ended with {self.popen.returncode}: {text[-1][:200] if text else 'without a word'}")

    def tell(self, signum):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signum)

    def stop(self, signum=signal.SIGTERM, seconds=10):
        """The whole session ends, at the latest by force."""
        if self.popen.poll() is None:
            self.tell(signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(signum)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
        end = time.monotonic() + 2
        while self.pids() and time.monotonic() < end:
            time.sleep(0.02)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


def run(argv, on, seconds, env=None):
    """A tool to its end on these cores: (its standard output, the cores that it used)."""
    popen = subprocess.Popen([str(a) for a in argv], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, preexec_fn=prepared(on))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        out, problem = popen.communicate(timeout=seconds)
    except BaseException as e:
        popen.kill()
        popen.communicate()
        if isinstance(e, subprocess.TimeoutExpired):
            raise Stuck(f"{pathlib.Path(argv[0]).name} took longer than {seconds:.0f} s") from None
        raise
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    if popen.returncode:
        raise Stuck(f"{pathlib.Path(argv[0]).name} ended with {popen.returncode}: {problem.decode(errors='replace').strip()[-300:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return out, used / took if took > 0 else 0.0


def wait_for(condition, seconds, what, process=None):
    end = time.monotonic() + seconds
    while not condition():
        if process:
            process.check()
        if time.monotonic() > end:
            raise Stuck(f"waited {seconds} s for {what}")
        time.sleep(0.02)


@contextlib.contextmanager
def folder():
    """Beside what was built, since a journal wants a disk, not a file system in memory. Short: a socket's path has 107 bytes at most."""
    BUILD.mkdir(exist_ok=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=BUILD))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def begin():
    """INT, TERM and HUP end the bench; everything is stopped and cleaned on the way out. It keeps away from the server's cores itself."""
    def end(signum, frame):
        raise KeyboardInterrupt
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, end)
    os.sched_setaffinity(0, cores()[1])


def say(text):
    print(text, file=sys.stderr, flush=True)
