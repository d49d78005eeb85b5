"""wahook-sandbox by itself: a webhook of the test's own stands in for wahookd."""

import collections
import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.parse

import pytest

from conftest import BUILD, PATIENCE, VERIFY_TOKEN, request, sign, wait_for

SEND = "/v21.0/777/messages"


class Webhook:
    """Takes signed webhooks, and gives them as parsed documents."""

    def __init__(self, port):
        self.bodies, self.status, self.on_message = [], 200, None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body=b""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
                good = query["hub.mode"] == ["subscribe"] and query["hub.verify_token"] == [VERIFY_TOKEN]
                self.answer(200 if good else 403, query["hub.challenge"][0].encode() if good else b"no")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["X-Hub-Signature-256"] == sign(body)
                outer.bodies.append(body)
                self.answer(outer.status)
                for m in outer.values("messages", [body]):
                    if outer.on_message and outer.status == 200:
                        outer.on_message(m)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def values(self, name, bodies=None):
        """Every message or status of all changes, in order."""
        return [x for body in (bodies or self.bodies) for entry in json.loads(body)["entry"] for c in entry["changes"]
                for x in c["value"].get(name, [])]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook(world):
    w = Webhook(world.port)
    yield w
    w.stop()


@pytest.fixture(autouse=True)
def stops_cleanly(world):
    yield
    for box in world.running:
        if box.popen.poll() is None:
            assert box.stop() == 0, box.log()  # a sanitizer's finding too


def text(body="hi", to="+4917", **fields):
    return {"messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "text", "text": {"body": body}, **fields}


def send(box, document, path=SEND, token="EAAtoken"):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return request(box.port, "POST", path, document if isinstance(document, (str, bytes)) else json.dumps(document), headers)


def code(answer):
    error = answer.json["error"]
    assert error["message"] and error["type"] == "OAuthException" and error["fbtrace_id"]
    return answer.status, error["code"]


# ---------------------------------------------------------------- Graph API


def test_a_send_is_answered_like_metas_and_recorded(world):
    box = world.sandbox("--statuses", "off")
    exact = '{ "messaging_product":"whatsapp","to":"+4917","type":"text","text":{"body":"h\\u00e4 \\/ \u00fc"},"biz_opaque_callback_data":"wk-1"}'
    answer = send(box, exact.encode())
    assert answer.status == 200
    assert answer.json["contacts"] == [{"input": "+4917", "wa_id": "4917"}]
    wamid = answer.json["messages"][0]["id"]
    assert wamid.startswith("wamid.")
    raw = request(box.port, "GET", "/sandbox/messages").body.decode()
    assert exact in raw  # byte for byte
    got = box.messages()
    assert len(got) == 1
    assert (got[0]["ordinal"], got[0]["phone_number_id"], got[0]["bearer"], got[0]["wamid"]) == (1, "777", "EAAtoken", wamid)
    assert abs(got[0]["time"] - time.time()) < 60 * PATIENCE
    assert got[0]["body"]["text"]["body"] == "h\u00e4 / \u00fc"


def test_reading_after_an_ordinal_and_forgetting(world):
    box = world.sandbox("--statuses", "off")
    for n in range(5):
        send(box, text(str(n)))
    assert [m["body"]["text"]["body"] for m in box.messages(after=3)] == ["3", "4"]
    box.forget()
    assert box.messages() == []
    send(box, text("5"))
    assert [m["ordinal"] for m in box.messages(after=5)] == [6]  # who reads on with after=N misses nothing


@pytest.mark.parametrize("document, wanted", [
    ("no json", (400, 100)),
    ("[]", (400, 100)),
    ({"to": "+4917", "type": "text", "text": {"body": "x"}}, (400, 100)),
    (text(to=""), (400, 100)),
    (text(body=""), (400, 100)),
    (text(body="x" * 4097), (400, 100)),
    (text(type="hologram"), (400, 100)),
    (text(type="image", image={"caption": "no id"}), (400, 100)),
    (text(type="image", image={"id": "12345"}), (400, 131009)),
    (text(type="interactive", interactive={"type": "button", "body": {"text": "?"}, "action": {"buttons": []}}), (400, 100)),
    ({"messaging_product": "whatsapp", "status": "read"}, (400, 100)),
])
def test_what_meta_would_refuse_is_refused(world, document, wanted):
    box = world.sandbox()
    assert code(send(box, document)) == wanted
    assert box.messages() == []


@pytest.mark.parametrize("document", [
    text(body="\u00e4" * 4096),
    text(context={"message_id": "wamid.x"}),
    text(type="image", image={"link": "https://example.org/a.png", "caption": "c"}),
    text(type="interactive", interactive={"type": "button", "body": {"text": "?"}, "action": {"buttons": [
        {"type": "reply", "reply": {"id": "y", "title": "Yes"}}, {"type": "reply", "reply": {"id": "n", "title": "No"}}]}}),
    text(type="interactive", interactive={"type": "list", "body": {"text": "?"}, "action": {"button": "Open", "sections": [
        {"title": "s", "rows": [{"id": "1", "title": "One", "description": "d"}]}]}}),
    text(type="location", location={"latitude": 1, "longitude": 2}),
    text(type="reaction", reaction={"message_id": "wamid.x", "emoji": "x"}),
])
def test_every_kind_of_message_is_taken(world, document):
    box = world.sandbox("--statuses", "off")
    assert send(box, document).status == 200
    assert box.messages()[0]["body"] == document


def test_the_bearer_is_checked(world):
    box = world.sandbox("--token", "EAAone", "--token", "EAAtwo")
    assert code(send(box, text(), token=None)) == (401, 190)
    assert code(send(box, text(), token="EAAthree")) == (401, 190)
    assert send(box, text(), token="EAAtwo").status == 200
    assert code(request(box.port, "GET", "/v21.0/123")) == (401, 190)


def test_paths_that_graph_does_not_know(world):
    box = world.sandbox()
    assert code(send(box, text(), path="/v21.0/777/nothing")) == (400, 2500)
    assert send(box, text(), path="/nothing").status == 404
    assert request(box.port, "POST", "/sandbox/messages", "{}").status == 405


def test_read_marks_are_no_messages(world, hook):
    box = world.sandbox()
    wamid = box.inbound(text="hello", **{"from": "4917"})["wamid"]
    mark = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid, "typing_indicator": {"type": "text"}}
    assert send(box, mark).json == {"success": True}
    assert box.messages() == []
    lines = request(box.port, "GET", "/sandbox/messages?kind=all").body.decode().splitlines()
    assert [json.loads(x)["kind"] for x in lines] == ["inbound", "read"]
    assert json.loads(lines[0])["status"] == "read" and json.loads(lines[1])["body"] == mark


def test_media_up_and_down(world):
    box = world.sandbox("--statuses", "off")
    content = bytes(range(256)) * 300 + b"\r\n--x\r\n"
    parts = [b'Content-Disposition: form-data; name="messaging_product"\r\n\r\nwhatsapp',
             b'Content-Disposition: form-data; name="type"\r\n\r\nimage/png',
             b'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + content]
    body = b"".join(b"--limit\r\n" + p + b"\r\n" for p in parts) + b"--limit--\r\n"
    bearer = {"Authorization": "Bearer T"}
    answer = request(box.port, "POST", "/v21.0/777/media", body, {**bearer, "Content-Type": "multipart/form-data; boundary=limit"})
    assert answer.status == 200
    media = answer.json["id"]
    found = request(box.port, "GET", f"/v21.0/{media}", headers=bearer).json
    assert (found["mime_type"], found["file_size"], found["id"]) == ("image/png", len(content), media)
    path = urllib.parse.urlparse(found["url"]).path
    got = request(box.port, "GET", path, headers=bearer)
    assert got.body == content and got.headers["Content-Type"] == "image/png"
    assert request(box.port, "GET", path).status == 401
    assert send(box, text(type="image", image={"id": media})).status == 200
    assert request(box.port, "DELETE", f"/v21.0/{media}", headers=bearer).json == {"success": True}
    assert request(box.port, "GET", f"/v21.0/{media}", headers=bearer).status == 400
    refused = request(box.port, "POST", "/v21.0/777/media", b"--limit--", {**bearer, "Content-Type": "multipart/form-data; boundary=limit"})
    assert code(refused) == (400, 100)


def test_a_hundred_thousand_sends_in_the_order_of_arrival(world):
    box = world.sandbox("--statuses", "off")
    each, lanes = 12500, 8

    def lane(n):
        out = []
        for i in range(each):
            body = json.dumps(text(f"{n} {i}")).encode()
            out.append(b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer T\r\nContent-Length: %d\r\n\r\n%s" % (SEND.encode(), len(body), body))
        with socket.create_connection(("127.0.0.1", box.port), timeout=60 * PATIENCE) as s:
            for i in range(0, each, 8):
                s.sendall(b"".join(out[i:i + 8]))
                seen = 0
                while seen < min(8, each - i):
                    seen += s.recv(65536).count(b"HTTP/1.1 200 OK")

    threads = [threading.Thread(target=lane, args=(n,)) for n in range(lanes)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    got = box.messages()
    assert [m["ordinal"] for m in got] == list(range(1, each * lanes + 1))
    assert len({m["wamid"] for m in got}) == each * lanes
    of_lane = collections.defaultdict(list)
    for m in got:
        n, i = m["body"]["text"]["body"].split()
        of_lane[n].append(int(i))
    assert all(numbers == list(range(each)) for numbers in of_lane.values()) and len(of_lane) == lanes


# ---------------------------------------------------------------- webhooks


def test_an_inbound_message_is_a_webhook_like_metas(world, hook):
    box = world.sandbox("--phone-number-id", "777", "--waba-id", "42")
    said = box.inbound(text="h\u00e4llo / \U0001f60a \"x\"", **{"from": "+4917", "name": "Ada"})
    assert said["status"] == 200
    assert rb'"h\u00e4llo \/ \ud83d\ude0a \"x\""' in hook.bodies[0]
    document = json.loads(hook.bodies[0])
    assert document["object"] == "whatsapp_business_account" and document["entry"][0]["id"] == "42"
    change = document["entry"][0]["changes"][0]
    value = change["value"]
    assert change["field"] == "messages" and value["messaging_product"] == "whatsapp"
    assert value["metadata"]["phone_number_id"] == "777"
    assert value["contacts"] == [{"profile": {"name": "Ada"}, "wa_id": "4917"}]
    m = value["messages"][0]
    assert (m["from"], m["type"], m["text"]["body"], m["id"]) == ("4917", "text", "h\u00e4llo / \U0001f60a \"x\"", said["wamid"])
    assert abs(int(m["timestamp"]) - time.time()) < 60 * PATIENCE


def test_any_message_object_can_come_in(world, hook):
    box = world.sandbox()
    box.inbound(message={"type": "image", "image": {"id": "9", "mime_type": "image/png"}}, phone_number_id="888")
    m = hook.values("messages")[0]
    assert m["type"] == "image" and m["image"]["id"] == "9" and m["from"] and m["id"] and m["timestamp"]
    assert json.loads(hook.bodies[0])["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"] == "888"
    box.inbound(message={"id": "wamid.mine", "from_user_id": "DE.ABC", "type": "text", "text": {"body": "x"}})
    m = hook.values("messages")[1]
    assert m["id"] == "wamid.mine" and m["from_user_id"] == "DE.ABC" and "from" not in m
    assert request(box.port, "POST", "/sandbox/inbound", "{}").status == 400


def test_what_the_webhook_answered_is_told(world, hook):
    box = world.sandbox()
    hook.status = 503
    assert box.inbound(text="x")["status"] == 503


def test_a_webhook_that_cannot_be_reached_is_told(world):
    box = world.sandbox()
    answer = request(box.port, "POST", "/sandbox/inbound", '{"text":"x"}')
    assert answer.status == 502 and answer.json["status"] == 0 and answer.json["detail"]
    assert request(box.port, "POST", "/sandbox/verify", "").status == 502


def test_statuses_follow_a_send(world, hook):
    box = world.sandbox()
    wamid = send(box, text(biz_opaque_callback_data="wk-7")).json["messages"][0]["id"]
    wait_for(lambda: len(hook.values("statuses")) == 3, what="three statuses")
    got = hook.values("statuses")
    assert [s["status"] for s in got] == ["sent", "delivered", "read"]
    assert all((s["id"], s["recipient_id"], s["biz_opaque_callback_data"]) == (wamid, "4917", "wk-7") for s in got)
    wait_for(lambda: box.messages()[0]["status"] == "read", what="the record to say so")


def test_statuses_of_many_sends_are_batched_and_survive_a_webhook_that_is_down(world, hook):
    box = world.sandbox()
    hook.status = 500
    for n in range(300):
        send(box, text(str(n)))
    wait_for(lambda: hook.bodies, what="an attempt")
    hook.status = 200
    before = len(hook.bodies)
    wait_for(lambda: len({(s["id"], s["status"]) for s in hook.values("statuses", hook.bodies[before:])}) == 900, 60, "all statuses")
    assert len(hook.bodies) < 300


def test_statuses_can_be_off(world, hook):
    box = world.sandbox("--statuses", "off")
    send(box, text())
    box.faults(statuses=True)
    wamid = send(box, text()).json["messages"][0]["id"]
    wait_for(lambda: len(hook.values("statuses")) == 3, what="three statuses")
    assert {s["id"] for s in hook.values("statuses")} == {wamid}


def test_a_user_id_in_to_is_accepted_and_dropped(world, hook):
    box = world.sandbox()
    assert send(box, text(to="DE.ABC")).status == 200
    good = {k: v for k, v in text().items() if k != "to"}
    wamid = send(box, {**good, "recipient": "DE.ABC"}).json["messages"][0]["id"]
    wait_for(lambda: len(hook.values("statuses")) == 3, what="three statuses")
    assert {(s["id"], s["recipient_user_id"]) for s in hook.values("statuses")} == {(wamid, "DE.ABC")}


def test_the_verification(world, hook):
    box = world.sandbox()
    answer = request(box.port, "POST", "/sandbox/verify", "")
    assert answer.status == 200 and answer.json["verified"] and answer.json["status"] == 200


# ---------------------------------------------------------------- faults


def test_faults_are_shown_and_unknown_ones_refused(world):
    box = world.sandbox()
    box.faults(latency_ms=5, error_rate=0.25, error_code=131000)
    shown = request(box.port, "GET", "/sandbox/faults").json
    assert (shown["latency_ms"], shown["error_rate"], shown["error_code"], shown["statuses"]) == (5, 0.25, 131000, True)
    for bad in ('{"latency":1}', '{"error_rate":2}', '{"latency_ms":-1}', '{"statuses":"maybe"}', "[]", "x"):
        assert request(box.port, "PUT", "/sandbox/faults", bad).status == 400
    assert request(box.port, "GET", "/sandbox/faults").json == shown
    box.faults()
    assert request(box.port, "GET", "/sandbox/faults").json["latency_ms"] == 0


def test_latency_and_errors(world):
    box = world.sandbox("--statuses", "off")
    box.faults(latency_ms=200)
    start = time.monotonic()
    assert send(box, text()).status == 200 and time.monotonic() - start >= 0.2
    box.faults(error_code=190)
    assert code(send(box, text())) == (401, 190)
    box.faults(error_code=131047)
    assert code(send(box, text())) == (400, 131047)
    box.faults(http_status=502)
    assert send(box, text()).status == 502
    box.faults(error_code=130429, error_rate=0.5)
    answers = collections.Counter(send(box, text()).status for _ in range(200))
    assert 50 < answers[200] < 150 and answers[200] + answers[429] == 200


def test_the_pair_limit(world):
    box = world.sandbox("--statuses", "off")
    box.faults(pair_limit=2)
    assert [send(box, text(to="+1")).status for _ in range(2)] == [200, 200]
    assert code(send(box, text(to="+1"))) == (400, 131056)
    assert send(box, text(to="+2")).status == 200
    assert send(box, text(to="+1"), path="/v21.0/778/messages").status == 200


def test_a_dropped_answer_was_a_message(world, hook):
    box = world.sandbox()
    box.faults(drop_rate=1)
    with pytest.raises(OSError):
        send(box, text("lost", biz_opaque_callback_data="wk-9"))
    assert [m["body"]["text"]["body"] for m in box.messages()] == ["lost"]
    wait_for(lambda: any(s["biz_opaque_callback_data"] == "wk-9" for s in hook.values("statuses")), what="its status")


# ---------------------------------------------------------------- responders


def test_the_chat_is_deterministic_and_recorded(world):
    box = world.sandbox()
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "one"}, {"role": "assistant", "content": "a"},
             {"role": "user", "content": [{"type": "text", "text": "two"}]}]
    for _ in range(2):
        answer = send(box, {"model": "m", "messages": turns}, path="/v1/chat/completions", token="sk-1").json
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "You said: two (turn 2)"}
        assert answer["model"] == "m" and answer["object"] == "chat.completion"
    got = box.chats()
    assert [c["ordinal"] for c in got] == [1, 2] and got[1]["bearer"] == "sk-1"
    assert got[0]["body"] == {"model": "m", "messages": turns}
    assert len(box.chats(after=1)) == 1
    assert send(box, {"messages": []}, path="/v1/chat/completions").status == 400


def test_the_http_responder(world):
    box = world.sandbox()
    asked = {"business": {"id": "b", "name": "B"}, "conversation": {"user": "4917"}, "message": {"type": "text", "text": "one"}}
    assert send(box, asked, path="/sandbox/responder").json == {"reply": "You wrote: one"}
    assert box.chats()[0]["body"] == asked and box.chats()[0]["kind"] == "responder"


# ---------------------------------------------------------------- the program


def test_exit_codes_and_signals(world):
    def run(*args):
        return subprocess.run([str(BUILD / "wahook-sandbox"), *args], capture_output=True, text=True, timeout=30 * PATIENCE)
    assert run("--help").returncode == 0 and "--app-secret" in run("--help").stdout
    assert run("--version").stdout.startswith("wahook-sandbox ")
    for wrong in ((), ("--nothing", "x"), ("--app-secret",), ("--app-secret", ""), ("--app-secret", "s", "--statuses", "maybe"),
                  ("--app-secret", "s", "--webhook", "ftp://x"), ("--app-secret", "env:WAHOOK_NOT_SET"), ("stray",)):
        done = run(*wrong)
        assert done.returncode == 64 and "wahook-sandbox: " in done.stderr, wrong
    box = world.sandbox()
    assert run("--app-secret", "s", "--bind", f"127.0.0.1:{box.port}").returncode == 69
    # Stopping does not wait for an idle connection or an answer that takes long.
    box.faults(latency_ms=60000)
    with socket.create_connection(("127.0.0.1", box.port)) as idle, socket.create_connection(("127.0.0.1", box.port)) as slow:
        body = json.dumps(text()).encode()
        slow.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer T\r\nContent-Length: %d\r\n\r\n%s" % (SEND.encode(), len(body), body))
        box.wait_messages(1)
        assert box.stop() == 0
        idle.close()
