"""Every kind of mistake in a configuration: refused with its place, its option, the reason and what to do; all of them at once; and by a
daemon at work without any harm. FAILURES 31."""

import concurrent.futures
import os
import signal

import pytest

from bad_configs import BY_TYPE, Good, options, table
from conftest import BUILD, Process, free_port, request, sign, wait_for
from processes import Load, offspring, run_wahookd


def expected(row, path):
    """What the error's line begins with, and what it holds."""
    place = f"{path}:{row.line}: " if row.line else f"{path}:"
    return place + (f"{row.option}: " if row.option and row.line else ""), row.says


def put(path, text):
    """In one step: a reload never sees half of it."""
    new = path.with_suffix(".new")
    new.write_bytes(text)
    new.chmod(0o600)
    os.replace(new, path)


def errors_of(path):
    done = run_wahookd("-t", "-c", str(path))
    warnings = ("is not set: Meta's", "will run as root", "no key is set", "is not used: responder.type", "webhooks without a signature",
                "a detached daemon's stderr")
    lines = done.stderr.splitlines()
    return done.returncode, [line for line in lines[:-1] if not any(w in line for w in warnings)], lines[-1]


def test_each_is_refused_with_place_option_reason_and_advice(directory):
    rows = list(table(directory, free_port(), directory / "state"))
    assert len(rows) > 700 and len({row.name for row in rows}) == len(rows)

    def verdict(number):
        row, path = rows[number], directory / f"{number}.conf"
        put(path, row.text)
        status, errors, last = errors_of(path)
        begins, says = expected(row, path)
        # One mistake, one error: nothing follows from it that would lead an operator astray. Each ends with the advice.
        good = status == 78 and last == "wahookd: the configuration has 1 error" and len(errors) == 1 and errors[0].startswith(begins) and \
            says in errors[0] and errors[0].endswith(")")
        return None if good else f"{row.name}: {status}, wanted {begins!r} {says!r}, got {last!r}: {errors}"

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        wrong = [v for v in pool.map(verdict, range(len(rows))) if v]
    assert not wrong, f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong[:20])


def test_all_errors_are_told_at_once(directory):
    lines, wanted = ["[server]", f"state_dir = '{directory}'"], []
    for o in options():
        if o.type in ("INT", "DURATION", "SIZE", "RATE", "BOOL", "ENUM", "SECRET") and o.name != "webhook.allow_unsigned":
            _, value, says = next(BY_TYPE[o.type](o))
            lines += [f"[{o.section}]", f"{o.key} = {value}"]
            wanted.append((len(lines), o.name, says))
    lines += ["[server]", "bind = [", '"127.0.0.1:1",', '"127.0.0.1:0",', '"nonsense",', "]"]
    wanted += [(len(lines) - 2, "server.bind", "has no usable port"), (len(lines) - 1, "server.bind", "is not an address")]
    lines += ["[intake", "segment_syze = 1", "sync fsync", "[nonsense]", "anything = 1"]
    wanted += [(len(lines) - n, None, says) for n, says in ((4, "this is no section"), (3, "(did you mean segment_size?)"), (2, "'=' is missing"),
                                                           (1, "unknown section [nonsense]"))]
    path = directory / "wahookd.conf"
    put(path, "\n".join(lines).encode())
    status, errors, _ = errors_of(path)
    assert status == 78
    for line, option, says in wanted:
        begins = f"{path}:{line}: " + (f"{option}: " if option else "")
        assert any(e.startswith(begins) and says in e for e in errors), f"{begins}{says} is not in {errors}"
    # What a daemon needs besides is not hidden by them.
    assert any(e.startswith(f"{path}: webhook.app_secrets: none is set") for e in errors)
    assert len(errors) == len(wanted) + 1, errors


def test_a_file_of_another_kind_floods_no_log(directory):
    path = directory / "wahookd.conf"
    put(path, f"[server]\nstate_dir = '{directory}'\n".encode() + b"<tag>text</tag>\n" * 20000)
    status, errors, last = errors_of(path)
    assert status == 78 and last == "wahookd: the configuration has 20001 errors"
    assert len(errors) == 101 and "more of them are not shown" in errors[-1]


@pytest.mark.parametrize("make, reason", [
    (lambda path: None, "No such file or directory"), (lambda path: path.mkdir(), "it is a directory"), (os.mkfifo, "it is no regular file"),
])
def test_a_file_that_cannot_be_read_is_the_only_error(directory, make, reason):
    path = directory / "wahookd.conf"
    make(path)
    status, errors, _ = errors_of(path)
    assert status == 78
    assert errors == [f"{path}: cannot read it: {reason} (name a file with -c that the user who starts wahookd may read)"]


def test_what_is_quoted_cannot_pass_for_a_message_of_ours(directory):
    done = run_wahookd("-t", server_workers="1\nwahookd: the configuration is good\x1b[2J", server_state_dir=str(directory / "s"),
                       webhook_allow_unsigned="yes")
    assert done.returncode == 78 and "\x1b" not in done.stderr
    assert "environment variable WAHOOK_SERVER_WORKERS: server.workers: \"1\\x0awahookd: the configuration is good\\x1b[2J\" is not a number" \
        in done.stderr


# ---------------------------------------------------------------- at work

@pytest.fixture
def at_work(world):
    port = free_port()
    path = world.directory / "wahookd.conf"
    good = Good(port, world.directory / "state").text()
    put(path, good)
    p = Process([str(BUILD / "wahookd"), "-c", str(path)], {}, world.directory / "wahookd.log")
    world.running.append(p)
    p.port, p.path, p.good, p.directory = port, path, good, world.directory
    p.wait_log("is ready:", 20)
    return p


def reload_with(p, text):
    """Replaces the file, sends the signal, and gives what the daemon logs until it has decided."""
    before = p.log_path.stat().st_size
    put(p.path, text)
    p.popen.send_signal(signal.SIGHUP)

    def answer():
        with p.log_path.open("rb") as log:
            log.seek(before)
            said = log.read().decode(errors="replace")
        return said if "reload refused:" in said or "reload: done" in said else None
    return wait_for(answer, 30, "the end of a reload")


def test_a_daemon_under_load_refuses_each_and_serves_on(at_work):
    p = at_work
    before = offspring(p.pid)
    place = p.directory / "needed"
    place.mkdir()
    rows, wrong = list(table(place, p.port, p.directory / "state")), []
    with Load(p.port, clients=2) as load:
        for row in rows:
            said = reload_with(p, row.text)
            begins, says = expected(row, p.path)
            told = any(begins in line and says in line for line in said.splitlines())
            if not told or "reload refused: the new configuration has 1 error;" not in said:
                wrong.append(f"{row.name}: wanted {begins!r} {says!r}, got {said}")
            if len(wrong) > 20:
                break
        assert offspring(p.pid) == before, p.log()[-3000:]
    assert not wrong, f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong)
    assert not load.failed and load.done > 100, load.failed[:10]
    # The old configuration: its secret, its address, its limits.
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    assert request(p.port, "POST", "/whatsapp_response", body, {"X-Hub-Signature-256": sign(body)}).status == 200
    assert request(p.port, "GET", "/ready").status == 200
    # And a good file is still taken.
    assert "reload: done" in reload_with(p, p.good)
    assert "died" not in p.log()
