"""The webhook as Meta meets it: registration, signatures, limits, batches with broken parts, unknown businesses, a disk that refuses."""

import json
import shutil
import socket

from conftest import APP_SECRET, VERIFY_TOKEN, business, change, envelope, message, request, wait_for

PATH = "/whatsapp_response"
# FACTS.md section 2: the exact bytes, escaped as Meta sends them.
VECTOR_BODY = (rb'{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"value":'
               rb'{"text":"\u00e4\u00f6\u00e5 \/ \ud83d\ude0a"},"field":"messages"}]}]}')
VECTOR = "sha256=37ca8536aae3cb0bf764bf8a7e39524c035a8b454eb1dff9fddceb5d8d599bf2"
UNESCAPED = "sha256=cb3d1f4e4f40c28dba641015b62e70a493aebef2f1cf0d018870250d35dea8fa"


def signed_as(daemon, body, *signatures):
    headers = {"X-Hub-Signature-256": signatures[0]} if signatures else {}
    return request(daemon.port, "POST", PATH, body, headers)


def test_registration(world):
    daemon, _ = world.start(sandbox=False)
    ask = lambda query: daemon.get(f"{PATH}?{query}")
    good = ask(f"hub.challenge=1158%2B201444&hub.verify_token={VERIFY_TOKEN}&hub.mode=subscribe")
    assert (good.status, good.body) == (200, b"1158+201444")
    assert good.headers["Content-Type"].startswith("text/plain")
    for query in (
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong",
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
        "hub.mode=subscribe&hub.challenge=1",
        f"hub.mode=unsubscribe&hub.challenge=1&hub.verify_token={VERIFY_TOKEN}",
        f"hub.challenge=1&hub.verify_token={VERIFY_TOKEN}",
        "",
    ):
        answer = ask(query)
        assert (answer.status, answer.json) == (403, {"detail": "Verification token mismatch"}), query
    assert VERIFY_TOKEN not in daemon.log()


def test_registration_is_refused_without_a_token(world):
    daemon, _ = world.start(sandbox=False, webhook_verify_token=None)
    for query in ("hub.mode=subscribe&hub.challenge=1", "hub.mode=subscribe&hub.challenge=1&hub.verify_token="):
        assert daemon.get(f"{PATH}?{query}").status == 403


def test_a_business_has_its_own_token_under_its_subdomain(world):
    daemon, _ = world.start([business(1, verifyToken="own-token")], sandbox=False)
    query = f"{PATH}?hub.mode=subscribe&hub.challenge=42&hub.verify_token=own-token"
    assert daemon.get(query, Host="shop1.example.com").body == b"42"
    assert daemon.get(query, Host="shop2.example.com").status == 403
    assert daemon.get(query).status == 403


def test_signatures(world):
    daemon, _ = world.start(sandbox=False)
    right = VECTOR.removeprefix("sha256=")
    assert signed_as(daemon, VECTOR_BODY, VECTOR).status == 200
    assert signed_as(daemon, VECTOR_BODY).status == 401
    for wrong in (UNESCAPED, "sha256=" + right.upper(), right, "sha1=" + right, VECTOR[:-1], VECTOR + "0", "sha256=" + "0" * 64):
        assert signed_as(daemon, VECTOR_BODY, wrong).status == 403, wrong
    assert signed_as(daemon, VECTOR_BODY + b" ", VECTOR).status == 403
    assert right not in daemon.log()


def test_a_business_has_its_own_app_secret(world):
    """Known only once it is known whose delivery it is; and it opens no other business' door."""
    own = "own-app-secret-1"
    daemon, box = world.start([business(1, appSecret=own), business(2), business(3, appSecret="another-secret-3")], webhook_business_secrets="yes",
                              server_workers="1")
    one = change("10001", [message("wamid.1")])
    for secret in (own, APP_SECRET):
        wait_for(lambda: daemon.post(envelope(one), secret=secret).status == 200, what="the business to be known")
    assert daemon.post(envelope(one, {"field": "messages", "value": "broken"}), secret=own).status == 200
    for other in (change("10002", [message("wamid.2")]), change("10003", [message("wamid.3")]), change("9", [message("wamid.4")])):
        wait_for(lambda: daemon.post(envelope(other), secret=own).status == 403, what="the refusal")
        assert daemon.post(envelope(one, other), secret=own).status == 403
    assert daemon.post(b"no JSON", secret=own).status == 403
    assert daemon.post(envelope(), secret=own).status == 403
    assert len(box.wait_messages(1)) == 1 and own not in daemon.log()


def test_own_app_secrets_are_off_unless_asked_for(world):
    daemon, _ = world.start([business(1, appSecret="own-app-secret-1")], sandbox=False)
    assert daemon.post(envelope(change("10001", [message("wamid.1")])), secret="own-app-secret-1").status == 403


def test_a_business_has_its_own_rate_limit(world):
    daemon, _ = world.start([business(1, rateLimit="3/minute"), business(2), business(3, rateLimit="off")], sandbox=False,
                            limits_business="5/minute", server_workers="1")
    for number, limit in ((1, 3), (2, 5), (3, 20)):
        taken = sum(daemon.post(envelope(change(f"1000{number}", [message(f"wamid.{number}.{n}")]))).status == 200 for n in range(20))
        assert limit - 1 <= taken <= limit, number
    assert "3 per 1 minute" in daemon.post(envelope(change("10001", [message("wamid.x")]))).json["error"]


def test_several_secrets(world):
    daemon, _ = world.start(sandbox=False, webhook_app_secrets=f"old-secret-12345,{APP_SECRET}")
    body = json.dumps(envelope(change("10001", [message("wamid.x")]))).encode()
    for secret in ("old-secret-12345", APP_SECRET):
        assert daemon.post(body, secret=secret).status == 200
    assert daemon.post(body, secret="a-third-secret").status == 403


def test_unreadable_bodies(world):
    daemon, _ = world.start(sandbox=False)
    bad = [b"{", b"", b"[1,2", b'{"entry":[{"changes":[\xff\xfe]}]}', b"[" * 5000, b'{"a":"\x00"}', b"[]", b'"text"', b"{}"]
    for body in bad:
        assert daemon.post(body).status == 200, body[:20]
    wait_for(lambda: daemon.metric('wahookd_webhook_requests_total{result="quarantined"}') == len(bad), what="quarantine")
    stored = daemon.metric("wahookd_intake_records_total")
    assert stored == len(bad)
    for body in bad:
        assert daemon.post(body, secret=None).status == 401
        assert daemon.post(body, secret="wrong").status == 403
    assert daemon.metric("wahookd_intake_records_total") == stored


def test_a_batch_with_a_broken_and_an_unknown_part(world):
    daemon, sandbox = world.start([business(n) for n in range(20)])
    # Until the store was asked an unknown business is accepted, and the dispatcher counts it: all of these are counted once, by one of both.
    unknown = lambda: daemon.metric("wahookd_events_unknown_business_total")
    for i in range(20):
        assert daemon.post(envelope(change("99999", [message(f"wamid.early{i}")]))).status == 200
    wait_for(lambda: unknown() == 20, what="20 events of an unknown business")
    changes = [change(f"1000{i % 20}", [message(f"wamid.{i}", text=f"t{i}", user=f"49{i}")]) for i in range(998)]
    changes.insert(300, {"field": "messages", "value": {"metadata": {"phone_number_id": "10001"}, "messages": [7]}})
    changes.insert(700, change("99999", [message("wamid.unknown")]))
    assert daemon.post(envelope(*changes)).status == 200
    got = sandbox.wait_messages(998, seconds=90)
    assert sorted(m["body"]["text"]["body"] for m in got) == sorted(f"t{i}" for i in range(998))
    assert daemon.metric("wahookd_events_quarantined_total") == 1
    wait_for(lambda: unknown() == 21, what="the unknown one of the batch")


def test_unverified_traffic_is_limited_and_verified_is_not(world):
    daemon, _ = world.start([business(1)], sandbox=False, limits_webhook="5/minute")
    body = json.dumps(envelope(change("10001", [message("wamid.1")]))).encode()
    for _ in range(20):
        assert daemon.post(body).status == 200  # signed: never counted
    assert [daemon.post(body, secret="wrong").status for _ in range(5)] == [403] * 5
    refused = daemon.post(body, secret="wrong")
    assert (refused.status, refused.json) == (429, {"error": "Rate limit exceeded: 5 per 1 minute"})
    assert int(refused.headers["Retry-After"]) >= 1 and refused.headers["X-RateLimit-Limit"] == "5"
    assert refused.headers["X-RateLimit-Remaining"] == "0" and refused.headers["X-RateLimit-Reset"]
    assert daemon.post(body, secret=None).status == 429
    assert daemon.get(f"{PATH}?hub.mode=subscribe").status == 429


def test_a_business_over_its_limit(world):
    daemon, _ = world.start([business(1), business(2)], sandbox=False, server_workers="1", limits_business="3/minute")
    one = lambda i: change("10001", [message(f"wamid.{i}")])
    assert daemon.post(envelope(one("warm"))).status == 200
    wait_for(lambda: daemon.post(envelope(one("more"))).status == 429, what="the limit")
    assert daemon.post(envelope(change("10002", [message("wamid.other")]))).status == 200
    # Not all of it is over: a refusal would bring back the good part, too.
    assert daemon.post(envelope(one("over"), change("10002", [message("wamid.good")]))).status == 200


def test_no_200_without_the_disk(world):
    """The journal's directory is taken away: 503 with Retry-After, not ready; it recovers by itself."""
    daemon, _ = world.start([business(1)], sandbox=False, server_workers="1")
    body = envelope(change("10001", [message("wamid.1")]))
    assert daemon.post(body).status == 200
    intake = daemon.state / "intake"
    shutil.rmtree(intake)
    intake.write_text("in the way")
    refused = daemon.post(body)
    assert refused.status == 503 and int(refused.headers["Retry-After"]) >= 1
    assert daemon.get("/ready").status == 503
    assert daemon.post(body).status == 503
    intake.unlink()
    wait_for(lambda: daemon.post(body).status == 200, what="recovery")
    wait_for(lambda: daemon.get("/ready").status == 200, what="readiness")


def test_a_delivery_without_a_length_is_told_so(world):
    daemon, _ = world.start(sandbox=False)
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=20) as s:
        s.sendall(b"POST /whatsapp_response HTTP/1.1\r\nHost: a\r\nX-Hub-Signature-256: sha256=00\r\nConnection: close\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 411 Length Required\r\n")


def test_log_lines_of_a_request_carry_its_id(world):
    daemon, _ = world.start(sandbox=False)
    answer = daemon.post({"entry": []}, secret="a wrong one")
    assert answer.status == 403
    line, = [l for l in daemon.log().splitlines() if "refused a delivery" in l]
    assert answer.headers["X-Request-Id"] in line
    # Lines between requests carry none.
    assert not any(answer.headers["X-Request-Id"] in l for l in daemon.log().splitlines() if l != line)
