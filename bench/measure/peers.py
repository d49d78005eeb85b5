"""The ONE table of peers: what each needs, how it is made ready once, how it is started. All take the same signed webhook at the same path."""

import hashlib
import hmac
import os
import pathlib
import shutil
import subprocess

from . import daemon, machine

PEERS = machine.BENCH / "peers"
MODULES = pathlib.Path("/usr/lib/nginx/modules")
PACKAGE_WAIT_S = 300


class Missing(Exception):
    """The peer cannot be had here; says why."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Missing(f"there is no {program}")


def everywhere():
    os.sched_setaffinity(0, machine.USABLE)


def make(argv, cwd=None, **env):
    """A step of making a peer ready; its last words are the reason when it fails."""
    try:
        done = subprocess.run([str(a) for a in argv], cwd=cwd, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=PACKAGE_WAIT_S, preexec_fn=everywhere)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Missing(f"{pathlib.Path(argv[0]).name}: {e}") from None
    if done.returncode:
        last = [line for line in done.stdout.splitlines() if line.strip()] or [f"ended with {done.returncode}"]
        raise Missing(f"{pathlib.Path(argv[0]).name}: {last[-1].strip()[:200]}")


def up_to_date(stamp, *sources):
    """Whether what was made is of these sources; otherwise what is to be written to the stamp once it is."""
    want = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return (want, stamp.exists() and stamp.read_text() == want)


class Peer:
    """name: as in `make bench-NAME`; title: in the table."""
    durable = False

    def __init__(self, name, title, **settings):
        self.name, self.title = name, title
        self.__dict__.update(settings)

    def prepare(self, shared):
        """Once; raises Missing."""

    def start(self, folder, workers):
        """Starts it; returns the process, which has a `port`."""
        raise NotImplementedError

    def launch(self, argv, folder, workers, port, env=None):
        process = machine.Process(argv, machine.server_cores(workers), folder / "log", env)
        process.port = port
        return process


class Epoll(Peer):
    def prepare(self, shared):
        self.program = machine.BUILD / "bench-epoll"
        if not self.program.exists() or self.program.stat().st_mtime < (PEERS / "epoll.c").stat().st_mtime:
            make([os.environ.get("CC", "gcc"), "-D_GNU_SOURCE", "-std=c11", "-O2", "-o", self.program, PEERS / "epoll.c"])

    def start(self, folder, workers):
        port = machine.free_port()
        return self.launch([self.program, port, workers], folder, workers, port)


class Nginx(Peer):
    def prepare(self, shared):
        need("nginx")
        for module in self.modules:
            if not (MODULES / module).exists():
                raise Missing(f"there is no {module} (package libnginx-mod-http-lua)")

    def start(self, folder, workers):
        port = machine.free_port()
        text = (PEERS / "nginx" / self.conf).read_text()
        values = {"WORKERS": workers, "DIR": folder, "PORT": port, "MODULES": MODULES, "SECRET": daemon.SECRET, "PHONES": ",".join(daemon.PHONES)}
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        (folder / "nginx.conf").write_text(text)
        shutil.copy(PEERS / "nginx" / "webhook.lua", folder)
        return self.launch(["nginx", "-p", folder, "-e", folder / "nginx.log", "-c", folder / "nginx.conf"], folder, workers, port)


class Fastify(Peer):
    def prepare(self, shared):
        need("node", "npm")
        source, self.made = PEERS / "fastify", machine.BUILD / "bench-fastify"
        want, done = up_to_date(self.made / "made-from", source / "package-lock.json", source / "server.js")
        if done:
            return
        shutil.rmtree(self.made, ignore_errors=True)
        shutil.copytree(source, self.made)
        make(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=self.made)
        (self.made / "made-from").write_text(want)

    def start(self, folder, workers):
        port = machine.free_port()
        argv = ["node", self.made / "server.js", port, workers, daemon.SECRET, ",".join(daemon.PHONES)]
        return self.launch(argv, folder, workers, port, {"NODE_ENV": "production"})


class Python(Peer):
    def prepare(self, shared):
        self.made = machine.BUILD / "bench-venv"
        requirements = PEERS / "python" / "requirements.txt"
        want, done = up_to_date(self.made / "made-from", requirements)
        if done:
            return
        shutil.rmtree(self.made, ignore_errors=True)
        make(["/usr/bin/python3", "-m", "venv", self.made])
        make([self.made / "bin" / "pip", "--disable-pip-version-check", "--quiet", "install", "--require-hashes", "--only-binary", ":all:", "-r",
              requirements])
        (self.made / "made-from").write_text(want)

    def start(self, folder, workers):
        port = machine.free_port()
        argv = [self.made / "bin" / "gunicorn", "--chdir", PEERS / "python", "--worker-class", "uvicorn.workers.UvicornWorker", "--workers", workers,
                "--bind", f"127.0.0.1:{port}", "--timeout", "120", "--keep-alive", "75", "--backlog", "4096", "app:app"]
        return self.launch(argv, folder, workers, port, {"BENCH_PHONES": ",".join(daemon.PHONES), "PYTHONDONTWRITEBYTECODE": "1"})


class Go(Peer):
    def prepare(self, shared):
        need("go")
        source, self.program = PEERS / "go" / "main.go", machine.BUILD / "bench-go"
        stamp = machine.BUILD / "bench-go.made-from"
        want, done = up_to_date(stamp, source)
        if done and self.program.exists():
            return
        make(["go", "build", "-o", self.program, source], GOFLAGS="-mod=mod", GOCACHE=os.environ.get("GOCACHE", str(machine.BUILD / "bench-gocache")),
             GO111MODULE="off")
        stamp.write_text(want)

    def start(self, folder, workers):
        port = machine.free_port()
        argv = [self.program, port, daemon.SECRET, ",".join(daemon.PHONES)]
        return self.launch(argv, folder, workers, port, {"GOMAXPROCS": str(workers)})


class Wahookd(Peer):
    """Intake alone: the dispatcher is stopped, and the journal fills."""

    def prepare(self, shared):
        self.businesses = shared / "businesses.db"
        if not (machine.BUILD / "wahookd").exists():
            raise Missing("it is not built (make all)")
        if not self.businesses.exists():
            daemon.make_directory(self.businesses, len(daemon.PHONES))

    def start(self, folder, workers):
        process = daemon.Daemon(folder, self.businesses, workers, **self.options)
        try:
            process.wait_ready()
        except BaseException:
            process.stop()
            raise
        process.stop_dispatcher()
        return process


PEERS_TABLE = [
    Epoll("epoll", "raw epoll, a constant"),
    Nginx("nginx", "nginx, return 200", conf="return.conf", modules=[]),
    Nginx("lua", "nginx + Lua", conf="lua.conf", modules=["ndk_http_module.so", "ngx_http_lua_module.so"]),
    Fastify("fastify", "Node + fastify"),
    Python("python", "gunicorn + FastAPI"),
    Go("go", "Go net/http"),
    Wahookd("none", "wahookd, sync = none", options={"intake_sync": "none"}),
    Wahookd("durable", "wahookd, durable", options={}, durable=True),
]


def signed_post(port):
    """One small delivery, to see that it answers as it should."""
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    signature = "sha256=" + hmac.new(daemon.SECRET.encode(), body, hashlib.sha256).hexdigest()
    return daemon.status(port, "POST", daemon.PATH, body, {"Content-Type": "application/json", "X-Hub-Signature-256": signature})


def prepare(names, shared):
    """(those that can be had, {name: why the others cannot})"""
    ready, missing = [], {}
    for peer in PEERS_TABLE:
        if names and peer.name not in names:
            continue
        try:
            peer.prepare(shared)
            ready.append(peer)
        except Missing as e:
            missing[peer.name] = str(e)
            machine.say(f"bench: without {peer.title}: {e}")
    return ready, missing


class Running:
    """`with Running(peer, folder, workers) as server:` - answering, in a folder of its own that goes with it."""

    def __init__(self, peer, workers):
        self.peer, self.workers = peer, workers

    def __enter__(self):
        self.folder = machine.folder()
        path = self.folder.__enter__()
        self.process = None
        try:
            self.process = self.peer.start(path, self.workers)
            machine.wait_for(lambda: signed_post(self.process.port) == 200, 20, f"{self.peer.title} to answer", self.process)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self.process

    def __exit__(self, *what):
        if self.process:
            self.process.stop()
        self.folder.__exit__(None, None, None)
