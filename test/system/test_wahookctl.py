"""wahookctl against a store of its own, and against a running daemon."""

import json
import subprocess
import time
import types

import pytest

from conftest import BUILD, PATIENCE, business, ctl, wait_for

FERNET_SECRET = "test-encryption-secret-0123456789"
FERNET_STORED = ("674141414141426c555f454141414543417751464267634943516f4c4441304f443635663058567059337241466d454c454e4e643766303471585a41"
                 "697663314e5767677565554e7938513165586e50313471394d3247327964577a597544635862364a443331734a784b735345587a356450455152773d")


@pytest.fixture
def place(directory):
    """A state directory and keys, and no daemon."""
    return types.SimpleNamespace(state=directory / "state", directory=directory, variables={
        "WAHOOK_SERVER_STATE_DIR": str(directory / "state"), "WAHOOK_CRYPTO_ENCRYPTION_KEY": "a passphrase",
        "ENCRYPTION_SECRET": FERNET_SECRET, "WAHOOK_SERVER_BIND": "127.0.0.1:9"})


def answer(place, *args, **kwargs):
    return json.loads(ctl(place, "-o", "json", *args, **kwargs).stdout)


def test_a_business_from_its_first_day_to_its_last(place):
    assert ctl(place, "business", "show", "demo", check=False).returncode == 69  # no store yet
    done = ctl(place, "business", "add", "demo", "--name", "Demo shop", "--phone", "111", "--phone", "222", "--sub-domain", "shop",
               "--waba-id", "w1", "--token", "-", stdin="EAAsecret-token-123\n")
    assert done.stdout == "demo: added\n"
    for name in ("demo", "shop", "222"):
        shown = answer(place, "business", "show", name)
        assert shown["_id"] == "demo" and shown["whatsappPhoneNumberIds"] == ["111", "222"] and shown["whatsappEnabled"] is True
        assert shown["whatsappAccessToken"] == "*** (sealed)"
    again = ctl(place, "business", "add", "demo", check=False)
    assert again.returncode == 65 and "--replace" in again.stderr
    claimed = ctl(place, "business", "add", "other", "--phone", "111")
    assert "111 belongs to the business demo" in claimed.stderr
    listed = answer(place, "business", "list")
    assert [b["id"] for b in listed] == ["demo", "other"] and listed[0]["phone_number_ids"] == ["111", "222"]
    assert ctl(place, "business", "disable", "shop").stdout == "demo: disabled\n"
    assert answer(place, "business", "list")[0]["active"] is False
    ctl(place, "business", "enable", "demo")
    assert answer(place, "business", "list")[0]["active"] is True
    before = ctl(place, "export").stdout
    ctl(place, "business", "set-token", "demo", stdin="EAAanother\n")
    assert ctl(place, "export").stdout != before
    ctl(place, "business", "remove", "demo")
    assert ctl(place, "business", "show", "demo", check=False).returncode == 1
    table = ctl(place, "business", "list").stdout.splitlines()
    assert table[0].startswith("ID") and table[1].startswith("other") and len(table) == 2


def test_tokens_stay_secret(place):
    token = "EAAJsecret-token-abcdef"
    for form in ("sealed", "gcm", "fernet"):
        sealed = ctl(place, "token", "seal", "--format", form, stdin=token).stdout.strip()
        assert token not in sealed
        assert ctl(place, "token", "detect", stdin=sealed).stdout.strip() == form
        hint = ctl(place, "token", "open", "-", stdin=sealed).stdout
        assert token not in hint and form in hint
        assert ctl(place, "token", "open", "--yes-show-secret", stdin=sealed).stdout == token + "\n"
    assert ctl(place, "token", "open", "--yes-show-secret", stdin=FERNET_STORED).stdout.strip() == "EAAJtest-access-token-123"
    wrong = ctl(place, "token", "open", "--crypto-encryption-secret=another", "--crypto-encryption-key=another", stdin=sealed, check=False)
    assert wrong.returncode == 77 and wrong.stdout == "" and sealed not in wrong.stderr
    shown = ctl(place, "token", "seal", token, check=False)
    assert shown.returncode == 77 and "command line" in shown.stderr and token not in shown.stderr
    assert ctl(place, "token", "seal", stdin="", check=False).returncode == 65
    (place.directory / "t").write_text(token + "\n")
    assert ctl(place, "token", "detect", f"file:{place.directory}/t").stdout.strip() == "plain"


def test_import_and_export_are_each_others_inverse(place):
    lines = [json.dumps(business(n, whatsappAccessToken=FERNET_STORED)) for n in range(250)]
    done = answer(place, "import", "-", stdin="\n".join(lines[:100] + ["", "{broken", '{"name": "no id"}'] + lines[100:]), check=False)
    assert done["imported"] == 250 and done["refused"] == 2
    exported = ctl(place, "export").stdout
    assert len(exported.splitlines()) == 250
    again = types.SimpleNamespace(variables={**place.variables, "WAHOOK_DIRECTORY_STORE": f"sqlite:{place.directory}/second.db"})
    (place.directory / "dump.jsonl").write_text(exported)
    assert "250 imported, 0 refused" in ctl(again, "import", "--batch", "7", str(place.directory / "dump.jsonl")).stdout
    assert ctl(again, "export").stdout == exported
    first = json.loads(exported.splitlines()[0])
    assert first["whatsappAccessToken"] == FERNET_STORED and first["createdAt"].startswith("2024-01-01T00:00:00")


def test_a_bad_line_is_told_with_its_number(place):
    done = ctl(place, "import", "-", stdin=json.dumps(business(1)) + "\n{broken\n", check=False)
    assert done.returncode == 65 and "stdin:2:" in done.stderr and "1 imported, 1 refused" in done.stdout
    assert ctl(place, "import", "/nonexistent", check=False).returncode == 66


def test_a_hundred_thousand_businesses_in_seconds(place):
    path = place.directory / "many.jsonl"
    with open(path, "w") as f:
        for n in range(100_000):
            f.write(json.dumps(business(n)) + "\n")
    started = time.monotonic()
    assert answer(place, "import", str(path)) | {"seconds": 0} == {"imported": 100_000, "refused": 0, "seconds": 0}
    assert time.monotonic() - started < 60 * PATIENCE
    assert len(ctl(place, "export").stdout.splitlines()) == 100_000


def test_what_is_no_command_is_told(place):
    for args, code in ((["businesss"], 64), (["business", "add"], 64), ([], 64), (["queue", "retry"], 64), (["queue", "show", "x"], 64),
                       (["status"], 69), (["queue", "list"], 69), (["send", "--to", "1", "hi"], 69), (["send", "hi"], 64),
                       (["--server-workers=many", "business", "list"], 78), (["-c", "/nonexistent", "export"], 78)):
        done = ctl(place, *args, check=False)
        assert done.returncode == code, (args, done)
        assert done.stderr and not done.stdout
    assert "business add" in ctl(place, "--help").stdout
    assert "--phone" in ctl(place, "business", "add", "--help").stdout
    assert ctl(place, "--version").stdout.startswith("wahookctl ")


def test_check_says_all_that_is_wrong(place):
    conf = place.directory / "wahookd.conf"
    conf.write_text("[server]\nworkers = many\n\n[webhok]\npath = 1\n[responder]\ntype = \"http\"\n")
    done = ctl(place, "-c", str(conf), "check", check=False)
    assert done.returncode == 78
    for part in (f"{conf}:2: server.workers", "did you mean [webhook]?", f"{conf}:7: responder.url", "webhook.app_secrets: none"):
        assert part in done.stderr, part
    conf.write_text("[webhook]\napp_secrets = [\"x\"]\n")
    good = answer(place, "-c", str(conf), "check")
    assert good["ok"] is True and good["errors"] == []


def test_a_running_daemon(world):
    daemon, box = world.start(businesses=[business(1)])
    state = answer(daemon, "status")
    assert state["ready"] is True
    table = ctl(daemon, "status").stdout
    assert "ready" in table and "dispatcher" in table and table.count("worker") >= 2
    sent = answer(daemon, "send", "--to", "10001", "--from", "+491701234567", "hello there")
    assert sent["status"] == 200 and sent["wamid"]
    assert box.wait_messages(1)[0]["body"]["text"]["body"] == "hello there"
    assert "200 OK" in ctl(daemon, "send", "--to", "10001", "again").stdout
    done = wait_for(lambda: [j for j in answer(daemon, "queue", "list", "--done") if j["wamid"] == sent["wamid"]], what="the job to be done")
    job = str(done[0]["id"])
    assert answer(daemon, "queue", "show", job)["wamid"] == sent["wamid"]
    assert sent["wamid"] in ctl(daemon, "queue", "show", job).stdout
    assert ctl(daemon, "queue", "drop", job, check=False).returncode == 65  # only dead and waiting ones
    payload = world.directory / "payload.json"
    payload.write_text('{"entry": [{"changes": [{"value": {"metadata": {"phone_number_id": "10001"}, "messages": '
                       '[{"from": "4917", "type": "text", "text": {"body": "from a file"}}]}}]}]}')
    assert answer(daemon, "send", "--file", str(payload))["status"] == 200
    assert any(m["body"]["text"]["body"] == "from a file" for m in box.wait_messages(3))
    wrong = ctl(daemon, "--webhook-app-secrets=wrong", "send", "--to", "10001", "hi", check=False)
    assert wrong.returncode == 1 and wrong.stdout.startswith("403")
    assert ctl(daemon, "cache", "clear").stdout == "done\n"


def test_changes_reach_a_running_daemon(world):
    daemon, box = world.start(businesses=[business(1)])
    ctl(daemon, "send", "--to", "10001", "one")
    box.wait_messages(1)
    ctl(daemon, "business", "disable", "b1")
    ctl(daemon, "send", "--to", "10001", "two")
    time.sleep(1)
    assert len(box.messages()) == 1
    ctl(daemon, "business", "set-token", "b1", "-", stdin="EAAnew-token-of-1")
    ctl(daemon, "business", "enable", "b1")
    ctl(daemon, "send", "--to", "10001", "three")
    wait_for(lambda: any(m["bearer"] == "EAAnew-token-of-1" for m in box.messages()), what="the new token in use")


def test_dead_letters_are_retried(world):
    daemon, box = world.start(businesses=[business(1)], dispatch_max_attempts="1")
    box.faults(error_code=131026, http_status=400)
    ctl(daemon, "send", "--to", "10001", "lost?")
    dead = wait_for(lambda: answer(daemon, "queue", "list", "--dead"), what="a dead letter")
    assert dead[0]["reason"] and dead[0]["phone_number_id"] == "10001"
    assert answer(daemon, "queue", "list", "--dead", "--business", "999") == []
    box.faults(error_code=0, http_status=0)
    assert ctl(daemon, "queue", "retry", "--all-dead").stdout == "1 retried\n"
    wait_for(lambda: box.messages(), what="the retried answer")
    wait_for(lambda: not answer(daemon, "queue", "list", "--dead"), what="no dead letter")


def test_output_that_nobody_reads(place):
    ctl(place, "import", "-", stdin="".join(json.dumps(business(n)) + "\n" for n in range(2000)))
    env = {"PATH": "/usr/bin:/bin", **place.variables}
    done = subprocess.run(["sh", "-c", f"'{BUILD}/wahookctl' export >/dev/full"], env=env, capture_output=True, text=True)
    assert done.returncode == 74 and "cannot write" in done.stderr
