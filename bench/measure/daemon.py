"""wahookd as a bench runs it: businesses, options, the dispatcher stopped or not; and the sandbox as its Graph API."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess

from . import machine

SECRET = "bench-app-secret"
PATH = "/whatsapp_response"
ROLE_WORKER, ROLE_DISPATCHER = "wahookd-worker", "wahookd-dispatc"


def phone(number):
    return str(15550000000 + number)


PHONES = [phone(n) for n in range(100)]


def business_line(number):
    return json.dumps({"_id": f"b{number}", "name": f"Business {number}", "subDomain": f"shop{number}", "wabaId": f"waba-{number}",
                       "whatsappPhoneNumberIds": [phone(number)], "whatsappAccessToken": f"EAAbench{number}", "whatsappEnabled": True,
                       "isActive": True, "createdAt": "2024-01-01T00:00:00Z"}) + "\n"


def environment(**options):
    return {"WAHOOK_" + key.upper(): str(value) for key, value in options.items()}


def make_directory(path, count):
    """A directory of so many businesses, made once by the operator's tool."""
    env = {**os.environ, **environment(directory_store=f"sqlite:{path}", server_state_dir=path.parent, crypto_allow_plain_tokens="yes")}
    popen = subprocess.Popen([machine.BUILD / "wahookctl", "import", "-"], env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    with popen.stdin:
        for number in range(count):
            popen.stdin.write(business_line(number))
    if popen.wait() != 0:
        raise machine.Stuck("wahookctl import failed")
    return path


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon(machine.Process):
    """Bounds are raised out of the way: what is measured is what it can do, unless an option says otherwise."""

    def __init__(self, folder, businesses, workers=1, on=None, graph_port=9, **options):
        self.port = machine.free_port()
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        if not (self.state / "businesses.db").exists():
            shutil.copy(businesses, self.state / "businesses.db")
        settings = {
            "server_bind": f"127.0.0.1:{self.port}", "server_state_dir": self.state, "server_workers": workers, "server_timeout": "3600s",
            "server_max_connections": 65536, "server_max_connections_per_address": 65536, "webhook_app_secrets": SECRET,
            "directory_store": f"sqlite:{self.state / 'businesses.db'}", "crypto_allow_plain_tokens": "yes", "limits_business": "1000000/second",
            "limits_health": "off", "intake_max_backlog": 0, "graph_base_url": f"http://127.0.0.1:{graph_port}", "graph_rate": "off",
            "graph_pair_rate": "off", "log_level": "warning",
        }
        settings.update(options)
        super().__init__([machine.BUILD / "wahookd"], machine.server_cores(workers) if on is None else on, folder / "wahookd.log",
                         environment(**settings))

    def wait_ready(self, seconds=60):
        machine.wait_for(lambda: status(self.port, "GET", "/ready") == 200, seconds, "wahookd to be ready", self)
        machine.wait_for(lambda: self.named(ROLE_DISPATCHER), 10, "the dispatcher", self)

    def stop_dispatcher(self):
        for pid in self.named(ROLE_DISPATCHER):
            os.kill(pid, signal.SIGSTOP)

    def go_on(self):
        for pid in self.named(ROLE_DISPATCHER):
            os.kill(pid, signal.SIGCONT)

    def stop(self, signum=signal.SIGQUIT, seconds=10):
        super().stop(signum, seconds)

    def admin(self, path):
        conn = UnixConnection(self.state / "admin.sock")
        try:
            conn.request("GET", path)
            return conn.getresponse().read()
        finally:
            conn.close()


class Sandbox(machine.Process):
    def __init__(self, folder, on):
        self.port = machine.free_port()
        argv = [machine.BUILD / "wahook-sandbox", "--bind", f"127.0.0.1:{self.port}", "--webhook", f"http://127.0.0.1:9{PATH}", "--app-secret",
                SECRET, "--statuses", "off"]
        super().__init__(argv, on, folder / "sandbox.log")
        machine.wait_for(lambda: status(self.port, "GET", "/sandbox/faults") == 200, 10, "the sandbox", self)

    def lines(self, after=0):
        """What it was sent after that ordinal, as JSON lines."""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            conn.request("GET", f"/sandbox/messages?after={after}")
            return conn.getresponse().read()
        finally:
            conn.close()

    def forget(self):
        if status(self.port, "DELETE", "/sandbox/messages") not in (200, 204):
            raise machine.Stuck("the sandbox does not forget")


def status(port, method, path, body=None, headers=None):
    """The status of one request; None when there is no answer."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        conn.request(method, path, body, headers or {})
        response = conn.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        conn.close()
