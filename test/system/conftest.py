"""What the system tests share: a daemon, a sandbox, signed webhooks, businesses. Standard library and pytest only."""

import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("WAHOOK_BUILD", ROOT / "build"))
APP_SECRET = "app-secret-123"
VERIFY_TOKEN = "verify-me"
ADMIN_TOKEN = "admin-token-for-tests"
# A MongoDB that all businesses of all tests are in, but for those of tests that name a store; otherwise they are in SQLite.
MONGODB_URI = os.environ.get("MONGODB_URI")
VENV_PYTHON = pathlib.Path(os.environ.get("WAHOOK_TEST_VENV", ROOT / "build/test-venv")) / "bin/python"
# Workers and dispatcher hold secrets and are not dumpable: the kernel shows their descriptors and environment to root only.
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into processes that hold secrets")
# Sanitizers and valgrind slow everything down; deadlines in tests are for hangs only.
PATIENCE = float(os.environ.get("WAHOOK_PATIENCE", "4" if os.environ.get("WAHOOK_SAN") else "1"))


def free_port():
    """Below those that the kernel gives to outgoing connections: nobody takes it before it is used."""
    while True:
        port = random.randint(16000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def wait_for(condition, seconds=15.0, what="condition"):
    """Calls condition until it gives something true; fails the test after a while."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds * PATIENCE:.0f} s for {what}")
        time.sleep(0.02)


def database_of(directory):
    return directory.name.replace("-", "_")


def drop_database(name):
    code = "import os, sys, pymongo; pymongo.MongoClient(os.environ['MONGODB_URI']).drop_database(sys.argv[1])"
    subprocess.run([VENV_PYTHON, "-c", code, name], check=False, timeout=60)


def sign(body, secret=APP_SECRET):
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:200]!r}>"


def request(port, method, path, body=None, headers=None, timeout=30):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout * PATIENCE)
    try:
        conn.request(method, path, body=body, headers=headers or {})
        r = conn.getresponse()
        return Answer(r.status, r.headers, r.read())
    finally:
        conn.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def message(wamid, text="hello", user="491701234567", kind="text", **fields):
    m = {"from": user, "id": wamid, "timestamp": str(int(time.time())), "type": kind}
    if kind == "text":
        m["text"] = {"body": text}
    m.update(fields)
    return m


def change(phone_number_id, messages=(), statuses=(), **fields):
    value = {"messaging_product": "whatsapp", "metadata": {"display_phone_number": "1555", "phone_number_id": phone_number_id}}
    if messages:
        value["messages"] = list(messages)
    if statuses:
        value["statuses"] = list(statuses)
    value.update(fields)
    return {"field": "messages", "value": value}


def envelope(*changes, waba="waba-1"):
    return {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": list(changes)}]}


def business(number, token="EAAtoken-of-{n}", **fields):
    """A business document as the replaced service's collection has it; plain token unless given."""
    doc = {
        "_id": f"b{number}", "name": f"Business {number}", "subDomain": f"shop{number}", "wabaId": f"waba-{number}",
        "whatsappPhoneNumberIds": [f"1000{number}"], "whatsappAccessToken": token.replace("{n}", str(number)),
        "whatsappEnabled": True, "isActive": True, "createdAt": "2024-01-01T00:00:00Z",
    }
    doc.update(fields)
    return doc


class Process:
    """A program of ours with its log in a file."""

    def __init__(self, argv, env, log):
        self.log_path = log
        self.log_file = open(log, "ab")
        base = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TZ") or k.endswith("SAN_OPTIONS")}
        base.update(env)
        # Descriptors that a test made inheritable are passed on, as a service manager does.
        self.popen = subprocess.Popen(argv, env=base, stdin=subprocess.DEVNULL, stdout=self.log_file, stderr=self.log_file, close_fds=False)

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_log(self, text, seconds=15):
        dead = self.popen.poll() is not None  # then somebody else is to write it: a successor, a child
        wait_for(lambda: text in self.log() or not dead and self.popen.poll() is not None, seconds, f"{text!r} in the log:\n{self.log()[-3000:]}")
        assert text in self.log(), f"ended with {self.popen.poll()}:\n{self.log()[-3000:]}"

    def stop(self, signum=signal.SIGTERM, seconds=20):
        if self.popen.poll() is None:
            self.popen.send_signal(signum)
            try:
                self.popen.wait(seconds * PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
                raise AssertionError(f"did not stop:\n{self.log()[-3000:]}")
        self.log_file.close()
        return self.popen.returncode


class Sandbox(Process):
    def __init__(self, directory, webhook_port, *args):
        self.port = free_port()
        argv = [str(BUILD / "wahook-sandbox"), "--bind", f"127.0.0.1:{self.port}", "--webhook",
                f"http://127.0.0.1:{webhook_port}/whatsapp_response", "--app-secret", APP_SECRET, "--verify-token", VERIFY_TOKEN, *args]
        super().__init__(argv, {}, directory / "sandbox.log")
        wait_for(self.answers, what="the sandbox")

    def answers(self):
        assert self.popen.poll() is None, self.log()
        try:
            return request(self.port, "GET", "/sandbox/faults").status == 200
        except OSError:
            return False

    def messages(self, after=0):
        body = request(self.port, "GET", f"/sandbox/messages?after={after}").body
        return [json.loads(line) for line in body.decode().splitlines() if line.strip()]

    def chats(self, after=0):
        body = request(self.port, "GET", f"/sandbox/chat?after={after}").body
        return [json.loads(line) for line in body.decode().splitlines() if line.strip()]

    def forget(self):
        assert request(self.port, "DELETE", "/sandbox/messages").status in (200, 204)

    def faults(self, **faults):
        answer = request(self.port, "PUT", "/sandbox/faults", json.dumps(faults), {"Content-Type": "application/json"})
        assert answer.status == 200, answer

    def inbound(self, **fields):
        answer = request(self.port, "POST", "/sandbox/inbound", json.dumps(fields), {"Content-Type": "application/json"})
        assert answer.status == 200, answer
        return answer.json

    def wait_messages(self, count, seconds=30):
        wait_for(lambda: len(self.messages()) >= count, seconds, f"{count} messages at the sandbox")
        return self.messages()


class Daemon(Process):
    """wahookd on a free port with a state directory of its own. Options are given as section_key='value'."""

    def __init__(self, directory, graph_port=9, port=None, wait=True, args=(), env=None, program=None, config=None, businesses=(), **options):
        self.directory = directory
        self.state = directory / "state"
        self.port = port or free_port()
        settings = {
            "server_bind": f"127.0.0.1:{self.port}", "server_state_dir": str(self.state), "server_workers": "2",
            "webhook_app_secrets": APP_SECRET, "webhook_verify_token": VERIFY_TOKEN, "admin_token": ADMIN_TOKEN,
            "graph_base_url": f"http://127.0.0.1:{graph_port}", "crypto_allow_plain_tokens": "yes",
            "limits_webhook": "off", "limits_health": "off", "limits_metrics": "off", "limits_admin": "off",
            "graph_pair_rate": "off", "graph_rate": "off", "graph_reconcile": "2s",
        }
        if MONGODB_URI:
            settings.update(directory_store=MONGODB_URI, directory_database=database_of(directory))
        settings.update(options)
        variables = {"WAHOOK_" + k.upper(): v for k, v in settings.items() if v is not None}
        variables.update(env or {})
        self.variables = variables
        if config is not None:
            (directory / "wahookd.conf").write_text(config)
        if businesses:  # before it starts: what is added later makes it forget what it knew, a second later
            self.state.mkdir(exist_ok=True)
            self.add_businesses(businesses)
        super().__init__([str(program or BUILD / "wahookd"), *args], variables, directory / "wahookd.log")
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds=20):
        def ready():
            assert self.popen.poll() is None, f"ended with {self.popen.poll()}:\n{self.log()[-3000:]}"
            try:
                return request(self.port, "GET", "/ready").status == 200
            except OSError:
                return False
        wait_for(ready, seconds, f"ready:\n{self.log()[-3000:]}")

    def get(self, path, **headers):
        return request(self.port, "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def admin(self, method, path):
        conn = UnixConnection(self.state / "admin.sock", 30 * PATIENCE)
        try:
            conn.request(method, path)
            r = conn.getresponse()
            return Answer(r.status, r.headers, r.read())
        finally:
            conn.close()

    def metrics(self):
        return self.admin("GET", "/metrics").json

    def metric(self, name):
        """The sum of a Prometheus metric, by name with labels: wahookd_events_total{kind="message"}."""
        for line in self.admin("GET", "/prometheus/metrics").body.decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")

    def post(self, document, secret=APP_SECRET, path="/whatsapp_response", headers=None):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        all_headers = {"Content-Type": "application/json"}
        if secret:
            all_headers["X-Hub-Signature-256"] = sign(body, secret)
        all_headers.update(headers or {})
        return request(self.port, "POST", path, body, all_headers)

    def children(self, role=None):
        rows = self.metrics()["processes"]
        return [p for p in rows if p["role"] != "master" and p["pid"] > 0 and p["state"] in ("ready", "starting", "draining") and (role is None or p["role"] == role)]

    def add_businesses(self, documents):
        lines = "".join(json.dumps(d) + "\n" for d in documents)
        ctl(self, "import", "-", stdin=lines)


def ctl(daemon, *args, stdin="", check=True):
    env = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **daemon.variables}
    done = subprocess.run([str(BUILD / "wahookctl"), *args], input=stdin, capture_output=True, text=True, env=env, timeout=120 * PATIENCE)
    assert not check or done.returncode == 0, f"wahookctl {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


class World:
    """Starts things in one temporary directory and stops them all at the end."""

    def __init__(self, directory):
        self.directory = directory
        self.running = []

        self.port = free_port()

    def sandbox(self, *args):
        box = Sandbox(self.directory, self.port, *args)
        self.running.append(box)
        return box

    def start(self, businesses=(), sandbox=True, box=None, **options):
        """A daemon with these businesses, and a sandbox as its Graph API."""
        if sandbox and not box:
            box = self.sandbox()
        return self.daemon(graph_port=box.port if box else 9, port=self.port, businesses=businesses, **options), box

    def daemon(self, **options):
        d = Daemon(self.directory, **options)
        self.running.append(d)
        return d

    def stop(self):
        for process in reversed(self.running):
            if process.popen.poll() is None:
                process.stop()
        for pid in left_behind(self.directory):  # a master that an upgrade left in charge
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def left_behind(directory):
    """Processes that still name the test's directory in their environment or arguments."""
    found = []
    for proc in pathlib.Path("/proc").iterdir():
        if not proc.name.isdigit():
            continue
        try:
            if str(directory).encode() in (proc / "environ").read_bytes() + (proc / "cmdline").read_bytes():
                found.append(int(proc.name))
        except OSError:
            continue
    return found


@pytest.fixture
def directory():
    # Short, since a unix socket's path has at most 107 bytes.
    path = pathlib.Path(tempfile.mkdtemp(prefix="wahook-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
    if MONGODB_URI and VENV_PYTHON.exists():
        drop_database(database_of(path))


@pytest.fixture
def world(directory):
    w = World(directory)
    yield w
    w.stop()
    wait_for(lambda: not left_behind(directory), 5, "all processes to end")
