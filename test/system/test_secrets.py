"""Keys change without loss, broken tokens hold one business only, and nothing that is secret shows. FAILURES 18, 19, 20."""

import contextlib
import json
import os
import pathlib
import re
import resource
import signal

import pytest

from conftest import (ADMIN_TOKEN, APP_SECRET, BUILD, VERIFY_TOKEN, Daemon, Process, business, change, ctl, envelope, free_port, message, request,
                      sign, wait_for, needs_root)
from failures import Messages, stored_business
from processes import offspring, pids

OLD_KEY, NEW_KEY = "00112233445566778899aabbccddeeff" * 2, "ffeeddccbbaa99887766554433221100" * 2
FERNET_SECRET = "test-encryption-secret-0123456789"
FERNET_STORED = ("674141414141426c555f454141414543417751464267634943516f4c4441304f443635663058567059337241466d454c454e4e643766303471585a41"
                 "697663314e5767677565554e7938513165586e50313471394d3247327964577a597544635862364a443331734a784b735345587a356450455152773d")
FERNET_TOKEN = "EAAJtest-access-token-123"


def bearers(box):
    return [m["bearer"] for m in box.messages()]


def set_token(daemon, name, token):
    ctl(daemon, "business", "set-token", name, stdin=token + "\n")


def restart(world, daemon, box, **options):
    assert daemon.stop() == 0
    again = Daemon(daemon.directory, graph_port=box.port, port=daemon.port, **options)
    world.running.append(again)
    return again


# ---------------------------------------------------------------- 18: keys and tokens change

def test_an_encryption_key_is_rotated(world):
    plain = {"crypto_allow_plain_tokens": "no"}
    daemon, box = world.start([business(1, token=""), business(2, token=""), stored_business(3, FERNET_STORED)],
                              crypto_encryption_key=OLD_KEY, crypto_encryption_secret=FERNET_SECRET, **plain)
    set_token(daemon, "b1", "EAAone-under-the-old-key")
    set_token(daemon, "b2", "EAAtwo-under-the-old-key")
    both = restart(world, daemon, box, crypto_encryption_key=f"{NEW_KEY},{OLD_KEY}", crypto_encryption_secret=f"another-secret,{FERNET_SECRET}", **plain)
    set_token(both, "b2", "EAAtwo-under-the-new-key")
    for number in (1, 2, 3):
        assert both.post(envelope(change(f"1000{number}", [message(f"wamid.{number}")]))).status == 200
    box.wait_messages(3)
    assert sorted(bearers(box)) == ["EAAJtest-access-token-123", "EAAone-under-the-old-key", "EAAtwo-under-the-new-key"]
    # The first key writes: without the old one, what was written meanwhile opens, and what was not is held.
    new = restart(world, both, box, crypto_encryption_key=NEW_KEY, crypto_encryption_secret=FERNET_SECRET, **plain)
    for number in (1, 2):
        assert new.post(envelope(change(f"1000{number}", [message(f"wamid.new{number}")]))).status == 200
    box.wait_messages(4)
    assert bearers(box)[3:] == ["EAAtwo-under-the-new-key"]
    new.wait_log("number 10001 is held")
    assert new.metric("wahookd_tenants_held") == 1


def test_a_tenants_token_is_replaced_while_running(world):
    daemon, box = world.start([business(1)], crypto_encryption_key=OLD_KEY)
    sent = Messages(daemon, box)
    for n, token in enumerate(["EAAfirst", "EAAsecond", "EAAthird"]):
        set_token(daemon, "b1", token)
        sent.post(n)
        box.wait_messages(n + 1)
    assert bearers(box) == ["EAAfirst", "EAAsecond", "EAAthird"]  # set-token tells the running daemon


def test_app_secrets_change_at_a_reload(world):
    port, secret = free_port(), world.directory / "secret"
    config = world.directory / "wahookd.conf"

    def write(*files):
        config.write_text(f'[server]\nbind = ["127.0.0.1:{port}"]\nworkers = 2\nstate_dir = "{world.directory}/state"\n[webhook]\napp_secrets = ['
                          + ", ".join(f'"file:{f}"' for f in files) + "]\n")

    (world.directory / "old").write_text("old-app-secret\n")
    (world.directory / "new").write_text("new-app-secret\n")
    write(world.directory / "old")
    p = Process([str(BUILD / "wahookd"), "-c", str(config)], {}, world.directory / "wahookd.log")
    world.running.append(p)
    p.wait_log("is ready:", 20)
    body = json.dumps(envelope(change("10001", [message("wamid.1")]))).encode()
    post = lambda name: request(port, "POST", "/whatsapp_response", body, {"X-Hub-Signature-256": sign(body, name)}).status
    assert (post("old-app-secret"), post("new-app-secret")) == (200, 403)
    for generation, files, wanted in ((2, ("new", "old"), (200, 200)), (3, ("new",), (403, 200))):
        write(*[world.directory / f for f in files])
        p.popen.send_signal(signal.SIGHUP)
        p.wait_log(f"reload: done, generation {generation}", 20)
        assert (post("old-app-secret"), post("new-app-secret")) == wanted
    assert "app-secret" not in p.log()


# ---------------------------------------------------------------- 20: tokens that cannot be opened

def test_a_token_that_cannot_be_opened_holds_its_business_only(world):
    keys = {"crypto_encryption_key": NEW_KEY, "crypto_encryption_secret": FERNET_SECRET, "crypto_allow_plain_tokens": "no"}
    variables = {"WAHOOK_CRYPTO_ENCRYPTION_KEY": OLD_KEY, "WAHOOK_CRYPTO_ENCRYPTION_SECRET": FERNET_SECRET, "WAHOOK_SERVER_STATE_DIR": "/nonexistent"}
    other = type("Place", (), {"variables": variables})
    wrong_key = ctl(other, "token", "seal", stdin="EAAunder-another-key").stdout.strip()
    broken = FERNET_STORED[:100] + ("0" if FERNET_STORED[100] != "0" else "1") + FERNET_STORED[101:]
    daemon, box = world.start([business(1, token=""), stored_business(2, broken), stored_business(3, wrong_key), stored_business(4, "EAAplain"),
                               stored_business(5, "ab" * 40), stored_business(6, FERNET_STORED)], **keys)
    for number in range(1, 7):
        for n in range(2):
            assert daemon.post(envelope(change(f"1000{number}", [message(f"wamid.{number}.{n}", f"n{number}")]))).status == 200
    box.wait_messages(2)
    for number in range(1, 6):
        daemon.wait_log(f"number 1000{number} is held")
    reasons = dict(re.findall(r"number 1000(\d) is held for \d+ s, its messages wait: (.*)", daemon.log()))
    print()
    for number, reason in sorted(reasons.items()):
        print(number, reason)
    assert "no access token" in reasons["1"]
    assert all(reasons.values())
    assert set(bearers(box)) == {FERNET_TOKEN}
    assert daemon.metric("wahookd_tenants_held") == 5
    assert daemon.metric("wahookd_token_errors_total") >= 5
    for secret in (broken[20:60], wrong_key[20:50], "EAAplain", FERNET_TOKEN, FERNET_SECRET, NEW_KEY):
        assert secret not in daemon.log()
    for number in range(1, 6):
        set_token(daemon, f"b{number}", f"EAAgood-{number}")
    got = box.wait_messages(12, 60)
    assert sorted(m["body"]["text"]["body"] for m in got) == sorted(f"n{number}" for number in range(1, 7) for _ in range(2))
    assert {m["bearer"] for m in got} == {FERNET_TOKEN, *(f"EAAgood-{n}" for n in range(1, 6))}
    wait_for(lambda: daemon.metric("wahookd_tenants_held") == 0, what="the end of the holds")


def test_a_token_encrypted_twice_is_named(world):
    keys = {"crypto_encryption_secret": FERNET_SECRET, "crypto_encryption_key": NEW_KEY, "crypto_allow_plain_tokens": "no"}
    variables = {"WAHOOK_CRYPTO_ENCRYPTION_KEY": NEW_KEY, "WAHOOK_CRYPTO_ENCRYPTION_SECRET": FERNET_SECRET, "WAHOOK_SERVER_STATE_DIR": "/nonexistent"}
    other = type("Place", (), {"variables": variables})
    twice = ctl(other, "token", "seal", stdin=FERNET_STORED, check=False)
    if twice.returncode:  # not even made
        assert "encrypted" in twice.stderr and FERNET_STORED[12:40] not in twice.stderr, twice.stderr
        return
    daemon, _ = world.start([stored_business(1, twice.stdout.strip())], sandbox=False, **keys)
    assert daemon.post(envelope(change("10001", [message("wamid.1")]))).status == 200
    daemon.wait_log("number 10001 is held")
    assert "twice" in daemon.log() or "double" in daemon.log()


# ---------------------------------------------------------------- 19: nothing shows

PHONE = "491709876543"
ENCRYPTION_KEY = "passphrase-of-the-encryption-key"
TOKEN = "EAAGsecret-graph-token-0123456789"
KEY = "sk-secret-responder-key-42"


@contextlib.contextmanager
def cores_allowed():
    before = resource.getrlimit(resource.RLIMIT_CORE)
    if os.geteuid() == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def exercise(daemon, box):
    """Good traffic, and everything that gives an error; the answers' bodies."""
    bodies = []
    note = lambda answer: bodies.append(answer.body + str(answer.headers).encode())
    number = lambda n, text="hello": envelope(change("10001", [message(f"wamid.{n}", text, user=PHONE)],
                                                     contacts=[{"wa_id": PHONE, "profile": {"name": "A Name"}}]))
    for n in range(3):
        note(daemon.post(number(n)))
    box.wait_messages(3)
    note(daemon.post(number(10), secret="wrong"))
    note(daemon.post(number(10), secret=None))
    note(daemon.post(b'{"from":"%s"' % PHONE.encode()))
    note(daemon.post(envelope(change("77777", [message("wamid.u", user=PHONE)]))))
    for token in (VERIFY_TOKEN, "wrong-token-given"):
        note(daemon.get(f"/whatsapp_response?hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}"))
    note(daemon.get("/metrics"))
    note(daemon.get("/metrics", Authorization="Bearer wrong-admin-token"))
    note(daemon.get("/metrics", Authorization=f"Bearer {ADMIN_TOKEN}"))
    note(daemon.get(f"/nothing?token={ADMIN_TOKEN}"))
    note(request(daemon.port, "PUT", "/whatsapp_response"))
    for fault in ({"error_code": 190, "http_status": 401}, {"error_code": 131026, "http_status": 400}, {"drop_rate": 1.0}):
        before = len(re.findall(r"job \d+ of number 10001", daemon.log()))
        box.faults(**{"error_rate": 1.0, **fault} if "error_code" in fault else fault)
        note(daemon.post(envelope(change("10001", [message(f"wamid.{len(bodies)}", user=f"{PHONE}{len(bodies)}")]))))
        wait_for(lambda: re.findall(r"job \d+ of number 10001", daemon.log())[before:], 20, f"the error of {fault}")
    return bodies


@needs_root
@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_secret_shows(world, form):
    with cores_allowed():
        daemon, box = world.start([business(1, token="")], log_level="debug", log_format=form, log_access="stderr", responder_key=KEY,
                                  crypto_encryption_key=ENCRYPTION_KEY, crypto_encryption_secret=FERNET_SECRET)
    set_token(daemon, "b1", TOKEN)
    bodies = exercise(daemon, box)
    expected = sign(json.dumps(envelope(change("10001", [message("wamid.10", user=PHONE)]))).encode())
    secrets = {"app secret": APP_SECRET, "verify token": VERIFY_TOKEN, "admin token": ADMIN_TOKEN, "encryption key": ENCRYPTION_KEY,
               "Fernet secret": FERNET_SECRET, "Graph token": TOKEN, "responder key": KEY, "phone number": PHONE,
               "an expected signature": expected.removeprefix("sha256="), "a refused verify token": "wrong-token-given",
               "a refused admin token": "wrong-admin-token"}
    places = {"log": daemon.log().encode(), "bodies": b"\n".join(bodies), "metrics": daemon.admin("GET", "/metrics").body,
              "Prometheus": daemon.admin("GET", "/prometheus/metrics").body, "status": ctl(daemon, "status").stdout.encode()}
    for pid in [daemon.pid, *offspring(daemon.pid)]:
        places[f"command line of {pid}"] = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0), f"a core of {pid} would hold secrets"
    for pid in offspring(daemon.pid):
        places[f"environment of {pid}"] = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    shown = [f"{name} in {place}" for place, content in places.items() for name, secret in secrets.items() if secret.encode() in content]
    if shown:
        for line in daemon.log().splitlines():
            if any(s in line for s in secrets.values()):
                print(line)
    assert not shown
    assert not re.search(rb"sha256=[0-9a-f]{64}", places["log"])
    if form == "json":
        lines = [line for line in daemon.log().splitlines() if line.startswith("{")]
        assert len(lines) > 20 and all(json.loads(line) for line in lines)
        assert len(lines) >= len(daemon.log().splitlines()) - 2  # what is told before the log is set up


def memory_holds(pid, needle):
    """Whether the writable memory of a process holds these bytes."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
        for line in maps:
            span, rights = line.split()[:2]
            if not rights.startswith("rw") or "[v" in line:
                continue
            start, end = (int(x, 16) for x in span.split("-"))
            with contextlib.suppress(OSError, ValueError):
                mem.seek(start)
                left, tail = end - start, b""
                while left > 0:
                    block = mem.read(min(left, 1 << 22))
                    if not block:
                        break
                    if needle in tail + block:
                        return True
                    tail, left = block[-len(needle):], left - len(block)
    return False


@pytest.mark.skipif(os.geteuid() != 0 or "WAHOOK_SAN" in os.environ, reason="reads the memory of processes")
def test_a_process_holds_the_secrets_of_its_role_only(world):
    daemon, box = world.start([business(1, token="")], crypto_encryption_key=ENCRYPTION_KEY, crypto_encryption_secret=FERNET_SECRET, responder_key=KEY)
    set_token(daemon, "b1", TOKEN)
    Messages(daemon, box).post(1)
    box.wait_messages(1)
    worker, dispatcher = min(pids(daemon, "worker")), min(pids(daemon, "dispatcher"))
    try:
        holds = lambda pid, secret: memory_holds(pid, secret.encode())
        assert holds(worker, APP_SECRET)  # so reading works
    except PermissionError as e:
        pytest.skip(f"reading memory is not permitted: {e}")
    for secret in (ENCRYPTION_KEY, FERNET_SECRET, TOKEN, KEY):
        assert not holds(worker, secret), secret
    assert holds(dispatcher, KEY)
    for secret in (APP_SECRET, VERIFY_TOKEN, ADMIN_TOKEN):
        assert not holds(dispatcher, secret), secret


def test_a_business_is_shown_without_its_secrets(world):
    secrets = {"whatsappAccessToken": "EAAfirst-secret", "whatsappRefreshToken": "second-secret", "verifyToken": "third-secret", "appSecret": "fourth-secret"}
    d, _ = world.start([business(1, responder={"type": "openai", "url": "https://x.example", "key": "fifth-secret"}, **secrets)])
    shown = ctl(d, "business", "show", "b1").stdout + ctl(d, "-o", "json", "business", "show", "b1").stdout
    assert "-secret" not in shown and shown.count("***") >= 8
