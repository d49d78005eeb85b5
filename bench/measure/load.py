"""One run of a generator against a server that answers already."""

import hashlib
import hmac
import json

from . import daemon, machine

PREPARE_MAX = 3000000
PATIENCE_S, MODEST_RATE = 120, 1000


def wahook_load(port, seconds, connections, prepare=0, path=daemon.PATH, phones=None, **options):
    """The report of wahook-load on the generator's core. Options as on its command line, with _ for -."""
    argv = [machine.BUILD / "wahook-load", "--target", f"127.0.0.1:{port}", "--path", path, "--app-secret", daemon.SECRET, "--phone",
            ",".join(phones or daemon.PHONES), "--conversations", 10000, "--connections", connections, "--prepare", min(prepare, PREPARE_MAX)]
    patience = PATIENCE_S + (seconds or options.get("count", 0) / options.get("rate", MODEST_RATE))
    if seconds:
        argv += ["--duration", seconds]
    for name, value in options.items():
        argv += ["--" + name.replace("_", "-")] + ([] if value is True else [value])
    out, _ = machine.run(argv, machine.cores()[1], patience)
    return json.loads(out)


def figures(report, cpu_s):
    """What the table shows of a report of wahook-load, with the CPU time that the server used meanwhile."""
    ok = report["ok"]
    return {
        "rate": report["rate"]["ok"], "p50_us": report["latency_us"]["p50"], "p99_us": report["latency_us"]["p99"],
        "cpu_us": cpu_s * 1e6 / ok if ok else 0.0, "server_cpu": cpu_s / report["duration_s"], "generator_cpu": report["cpu"], "failed": report["failed"]["total"],
        "refused": sum(n for code, n in report["statuses"].items() if code != "200"),
    }


def saturate(server, seconds, connections):
    """As fast as answers come. A short run before it warms the server up and tells how many messages to sign ahead."""
    warm = wahook_load(server.port, max(0.3, seconds / 5), connections)
    before = server.cpu_s()
    report = wahook_load(server.port, seconds, connections, prepare=int(warm["rate"]["ok"] * seconds * 1.5))
    return figures(report, server.cpu_s() - before)


def messages_file(path, count):
    """Signed requests for wrk's script, each with its length before it."""
    with open(path, "wb") as out:
        for n in range(count):
            body = message(n)
            signature = hmac.new(daemon.SECRET.encode(), body, hashlib.sha256).hexdigest()
            head = (f"POST {daemon.PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n")
            request = head.encode() + body
            out.write(f"{len(request)}\n".encode() + request)


def message(n, size=700):
    """As wahook-load's."""
    user = f"4917{n % 10000:08d}"
    start = ('{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp",'
             f'"metadata":{{"display_phone_number":"15550783881","phone_number_id":"{daemon.phone(n % len(daemon.PHONES))}"}},'
             f'"contacts":[{{"profile":{{"name":"J\\u00fcrgen M\\u00fcller"}},"wa_id":"{user}"}}],"messages":[{{"from":"{user}",'
             f'"id":"wamid.HBgMNDkxNzAxMjM0NTY3FQIAEhgU{n:026d}AA==","timestamp":"1700000000","text":{{"body":"{n:010d} Do you still have it? ')
    end = '"},"type":"text"}]},"field":"messages"}]}]}'
    return (start + "." * max(0, size - len(start) - len(end)) + end).encode()


def wrk(server, seconds, connections, messages):
    """wrk with bench/wrk.lua: one thread on the generator's core."""
    before = server.cpu_s()
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency", "-s", machine.BENCH / "wrk.lua",
            f"http://127.0.0.1:{server.port}{daemon.PATH}"]
    out, cores = machine.run(argv, machine.cores()[1], seconds + 60, {"BENCH_MESSAGES": str(messages)})
    used = server.cpu_s() - before
    found = json.loads(out.decode().rsplit("BENCH ", 1)[1])
    ok = found["requests"] - found["refused"]
    return {"rate": ok / found["seconds"], "p50_us": found["p50_us"], "p99_us": found["p99_us"], "cpu_us": used * 1e6 / ok if ok else 0.0,
            "server_cpu": used / found["seconds"], "generator_cpu": cores, "failed": found["failed"], "refused": found["refused"]}
