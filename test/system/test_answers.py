"""The main job: a message in, the right business's answer out."""

import time

from conftest import ADMIN_TOKEN, business, change, ctl, envelope, message, wait_for


def test_a_message_is_answered_as_its_business(world):
    daemon, sandbox = world.start([business(1), business(2)])
    assert daemon.post(envelope(change("10001", [message("wamid.a", "one")]))).status == 200
    assert daemon.post(envelope(change("10002", [message("wamid.b", "two")]))).status == 200
    got = {m["phone_number_id"]: m for m in sandbox.wait_messages(2)}
    assert got["10001"]["body"]["text"]["body"] == "one"
    assert got["10002"]["body"]["text"]["body"] == "two"
    assert "EAAtoken-of-1" in got["10001"]["bearer"] and "EAAtoken-of-2" in got["10002"]["bearer"]
    assert got["10001"]["body"]["to"] == "+491701234567"
    assert got["10001"]["body"]["biz_opaque_callback_data"].startswith("wk-")


def test_a_message_is_answered_once_however_often_it_is_delivered(world):
    daemon, sandbox = world.start([business(1)])
    body = envelope(change("10001", [message("wamid.same")]))
    for _ in range(5):
        assert daemon.post(body).status == 200
    assert daemon.post(envelope(change("10001", [message("wamid.other")]))).status == 200
    wait_for(lambda: daemon.metric("wahookd_duplicates_total") == 4, what="duplicates counted")
    assert len(sandbox.wait_messages(2)) == 2


def test_small_payloads_of_the_replaced_service_are_messages(world):
    daemon, sandbox = world.start([business(1)], webhook_allow_unsigned="yes", webhook_app_secrets=None)
    small = {"entry": [{"changes": [{"value": {"metadata": {"phone_number_id": "10001"},
             "messages": [{"from": "4915", "type": "text", "text": {"body": "hi"}}]}}]}]}
    for _ in range(3):
        assert daemon.post(small, secret=None).status == 200
    assert [m["body"]["text"]["body"] for m in sandbox.wait_messages(3)] == ["hi"] * 3
    assert "unsigned" in daemon.log()


def test_a_user_without_a_phone_number_is_answered_as_recipient(world):
    daemon, sandbox = world.start([business(1)])
    m = message("wamid.bsuid")
    del m["from"]
    m["from_user_id"] = "DE.ABC123"
    assert daemon.post(envelope(change("10001", [m]))).status == 200
    body = sandbox.wait_messages(1)[0]["body"]
    assert body["recipient"] == "DE.ABC123" and "to" not in body


def test_what_a_bot_must_not_answer_is_not_answered(world):
    daemon, sandbox = world.start([business(1)])
    silent = [
        message("wamid.1", kind="reaction", reaction={"message_id": "wamid.0", "emoji": "x"}),
        message("wamid.2", kind="system", system={"body": "changed"}),
        message("wamid.3", kind="unsupported", errors=[{"code": 131051}]),
        message("wamid.4", kind="hologram", hologram={}),
        message("wamid.5", kind="edit", edit={"original_message_id": "x"}),
        message("wamid.6", kind="revoke", revoke={"original_message_id": "x"}),
    ]
    assert daemon.post(envelope(change("10001", silent, [{"id": "wamid.x", "status": "read", "timestamp": "1", "recipient_id": "4"}]))).status == 200
    assert daemon.post(envelope(change("10001", [message("wamid.7", "answer me")]))).status == 200
    wait_for(lambda: daemon.metric("wahookd_ingested_total") >= 8, what="all events in the spool")
    sandbox.wait_messages(1)
    time.sleep(0.3)
    assert [m["body"]["text"]["body"] for m in sandbox.messages()] == ["answer me"]


def test_a_message_older_than_a_day_becomes_a_dead_letter(world):
    daemon, sandbox = world.start([business(1)])
    old = message("wamid.old")
    old["timestamp"] = str(int(time.time()) - 25 * 3600)
    assert daemon.post(envelope(change("10001", [old]))).status == 200
    wait_for(lambda: daemon.metric('wahookd_jobs_total{result="dead"}') == 1, what="a dead letter")
    assert "24-hour" in ctl(daemon, "queue", "list", "--dead").stdout
    assert sandbox.messages() == []


def test_a_thousand_updates_of_twenty_businesses_in_one_post(world):
    """998 answers, one quarantine, one unknown business."""
    daemon, sandbox = world.start([business(n) for n in range(20)])
    changes = []
    for n in range(1000):
        m = message(f"wamid.{n}", f"text {n}", user=f"49{n % 50:04}")
        phone = f"1000{n % 20}"
        if n == 400:
            m = "broken"
        if n == 700:
            phone = "999999"
        changes.append(change(phone, [m]))
    assert daemon.post(envelope(*changes)).status == 200
    wait_for(lambda: len(sandbox.messages()) >= 998, 60, "998 answers")
    time.sleep(0.5)
    texts = sorted(m["body"]["text"]["body"] for m in sandbox.messages())
    assert texts == sorted(f"text {n}" for n in range(1000) if n not in (400, 700))
    assert daemon.metric("wahookd_events_quarantined_total") == 1
    assert daemon.metric("wahookd_events_unknown_business_total") == 1


def test_answers_of_a_conversation_keep_its_order(world):
    daemon, sandbox = world.start([business(1)])
    for n in range(100):
        assert daemon.post(envelope(change("10001", [message(f"wamid.{n}", str(n), user=f"49{n % 4}")]))).status == 200
    sandbox.wait_messages(100)
    for user in range(4):
        texts = [int(m["body"]["text"]["body"]) for m in sandbox.messages() if m["body"]["to"] == f"+49{user}"]
        assert texts == sorted(texts) and len(texts) == 25


def test_the_default_business_comes_from_the_old_environment(world):
    env = {"WHATSAPP_TOKEN": "EAAdefault", "WHATSAPP_PHONE_NUMBER_ID": "777", "WHATSAPP_VERIFY_TOKEN": "old-token"}
    daemon, sandbox = world.start(env=env, crypto_allow_plain_tokens="no", webhook_verify_token=None)
    assert daemon.post(envelope(change("777", [message("wamid.d")]))).status == 200
    assert "EAAdefault" in sandbox.wait_messages(1)[0]["bearer"]
    # Also once the store has said that it does not know the number.
    assert daemon.post(envelope(change("777", [message("wamid.e")]))).status == 200
    sandbox.wait_messages(2)
    answer = daemon.get("/whatsapp_response?hub.mode=subscribe&hub.challenge=4711&hub.verify_token=old-token")
    assert (answer.status, answer.body) == (200, b"4711")


def test_the_openai_responder_is_given_earlier_turns(world):
    box = world.sandbox()
    daemon, _ = world.start([business(1)], box=box, responder_type="openai", responder_url=f"http://127.0.0.1:{box.port}",
                            responder_system_prompt="Be kind.", env={"OPENAI_API_KEY": "sk-test"})
    assert daemon.post(envelope(change("10001", [message("wamid.1", "my name is Ada")]))).status == 200
    first = box.wait_messages(1)[0]["body"]["text"]["body"]
    assert daemon.post(envelope(change("10001", [message("wamid.2", "what is my name?")]))).status == 200
    box.wait_messages(2)
    asked = box.chats()[-1]
    turns = asked["body"]["messages"] if "body" in asked else asked["messages"]
    assert [t["role"] for t in turns] == ["system", "user", "assistant", "user"]
    assert [t["content"] for t in turns] == ["Be kind.", "my name is Ada", first, "what is my name?"]


def test_the_http_responder_of_a_business(world):
    box = world.sandbox()
    own = business(1, responder={"type": "http", "url": f"http://127.0.0.1:{box.port}/sandbox/responder", "key": "shared"})
    daemon, _ = world.start([own, business(2)], box=box, responder_allow_private="yes")
    assert daemon.post(envelope(change("10001", [message("wamid.1", "one")]), )).status == 200
    assert daemon.post(envelope(change("10002", [message("wamid.2", "two")]))).status == 200
    got = {m["phone_number_id"]: m["body"]["text"]["body"] for m in box.wait_messages(2)}
    assert got["10002"] == "two" and "one" in got["10001"]


def test_operator_pages_need_the_token(world):
    daemon, _ = world.start(sandbox=False)
    for path in ("/metrics", "/prometheus/metrics"):
        assert daemon.get(path).status == 401
        assert daemon.get(path, Authorization="Bearer wrong").status == 401
        assert daemon.get(path, Authorization=f"Bearer {ADMIN_TOKEN}").status == 200
