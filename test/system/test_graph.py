"""Sending through the Graph API: what goes along, and what becomes of a message by Meta's answer."""

import json

from conftest import business, change, ctl, envelope, message, request, wait_for


def post(daemon, number, wamid, text="hello", user="491701234567"):
    assert daemon.post(envelope(change(f"1000{number}", [message(wamid, text, user=user)]))).status == 200


def texts(sandbox):
    return [m["body"]["text"]["body"] for m in sandbox.messages()]


def listed(daemon, *flags):
    out = ctl(daemon, "-o", "json", "queue", "list", *flags).stdout
    rows = json.loads(out) if out.lstrip().startswith("[") else [json.loads(line) for line in out.splitlines() if line.strip()]
    return rows


def test_a_message_is_marked_read_with_typing_and_quoted(world):
    daemon, sandbox = world.start([business(1)], graph_reply_context="yes")
    post(daemon, 1, "wamid.in")
    body = sandbox.wait_messages(1)[0]["body"]
    assert body["context"] == {"message_id": "wamid.in"}
    assert body["messaging_product"] == "whatsapp" and body["recipient_type"] == "individual" and body["type"] == "text"
    lines = request(sandbox.port, "GET", "/sandbox/messages?kind=all").body.decode().splitlines()
    marks = [m["body"] for m in map(json.loads, lines) if m["body"].get("status") == "read"]
    assert marks == [{"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.in", "typing_indicator": {"type": "text"}}]


def test_statuses_are_recorded_and_never_go_backwards(world):
    daemon, sandbox = world.start([business(1)])
    post(daemon, 1, "wamid.in")
    wamid = sandbox.wait_messages(1)[0]["wamid"]
    wait_for(lambda: daemon.metric('wahookd_statuses_total{status="read"}') >= 1, what="the read status")
    late = {"id": wamid, "status": "delivered", "timestamp": "1", "recipient_id": "491701234567", "conversation": {"id": "another delivery"}}
    assert daemon.post(envelope(change("10001", statuses=[late]))).status == 200
    job = listed(daemon, "--done")[0]["id"]
    wait_for(lambda: '"read"' in ctl(daemon, "-o", "json", "queue", "show", str(job)).stdout, what="the status of the job's message")


def test_a_dead_message_becomes_a_dead_letter_and_can_be_tried_again(world):
    daemon, sandbox = world.start([business(1)])
    sandbox.faults(error_code=131026, http_status=400, error_rate=1)
    post(daemon, 1, "wamid.a", "first")
    wait_for(lambda: daemon.metric('wahookd_jobs_total{result="dead"}') == 1, what="a dead letter")
    sandbox.faults()
    post(daemon, 1, "wamid.b", "second")  # the conversation goes on
    wait_for(lambda: texts(sandbox) == ["second"], what="the second answer")
    dead, = listed(daemon, "--dead")
    assert "131026" in json.dumps(dead)
    ctl(daemon, "queue", "retry", str(dead["id"]))
    wait_for(lambda: texts(sandbox) == ["second", "first"], what="the first answer, tried again")


def test_a_server_error_is_tried_again_and_order_is_kept(world):
    daemon, sandbox = world.start([business(1)])
    sandbox.faults(http_status=500, error_code=131016, error_rate=1)
    post(daemon, 1, "wamid.a", "first")
    post(daemon, 1, "wamid.b", "second")
    wait_for(lambda: daemon.metric('wahookd_job_retries_total') >= 1, what="a retry")
    sandbox.faults()
    wait_for(lambda: texts(sandbox) == ["first", "second"], 40, "both answers in order")


def test_a_refused_token_holds_its_business_only_until_it_is_replaced(world):
    box = world.sandbox("--token", "EAAgood-1", "--token", "EAAtoken-of-2")
    daemon, _ = world.start([business(1, token="EAAexpired"), business(2)], box=box)
    post(daemon, 1, "wamid.a", "waits")
    wait_for(lambda: "10001 is held" in daemon.log(), what="the hold in the log")
    post(daemon, 2, "wamid.b", "goes on")
    wait_for(lambda: texts(box) == ["goes on"], what="the other business' answer")
    assert "EAAexpired" not in daemon.log()
    daemon.add_businesses([business(1, token="EAAgood-1")])
    wait_for(lambda: sorted(texts(box)) == ["goes on", "waits"], 60, "the held answer")


def test_throttling_loses_nothing(world):
    daemon, sandbox = world.start([business(1)])
    sandbox.faults(error_code=130429, http_status=400, error_rate=0.5)
    for n in range(20):
        post(daemon, 1, f"wamid.{n}", str(n), user=f"49{n}")
    wait_for(lambda: daemon.metric('wahookd_graph_sends_total{result="throttled"}') >= 1, what="throttling")
    sandbox.faults()
    wait_for(lambda: sorted(map(int, texts(sandbox))) == list(range(20)), 60, "all answers")
    assert daemon.metric('wahookd_jobs_total{result="dead"}') == 0


def test_a_pair_over_its_limit_waits_alone(world):
    daemon, sandbox = world.start([business(1)])
    sandbox.faults(pair_limit=1)
    post(daemon, 1, "wamid.1", "one", user="491")
    post(daemon, 1, "wamid.2", "two", user="491")
    wait_for(lambda: daemon.metric('wahookd_graph_sends_total{result="throttled"}') >= 1, what="the pair's limit")
    post(daemon, 1, "wamid.3", "three", user="492")
    wait_for(lambda: texts(sandbox) == ["one", "three"], what="the other pair's answer")
    sandbox.faults()
    wait_for(lambda: texts(sandbox) == ["one", "three", "two"], 40, "the pair's second answer")


def test_a_send_whose_answer_was_cut_is_reconciled_by_its_status(world):
    daemon, sandbox = world.start([business(1)])
    sandbox.faults(drop_rate=1)
    post(daemon, 1, "wamid.a", "once")
    wait_for(lambda: daemon.metric('wahookd_graph_sends_total{result="unknown"}') >= 1, what="an unknown outcome")
    sandbox.faults()
    wait_for(lambda: daemon.metric('wahookd_jobs_total{result="done"}') == 1, 30, "the job's end")
    assert texts(sandbox) == ["once"]
    assert daemon.metric("wahookd_graph_resent_total") == 0


def test_without_a_status_it_is_sent_again_under_the_same_callback_data(world):
    daemon, sandbox = world.start([business(1)], graph_reconcile="1s")
    sandbox.faults(drop_rate=1, statuses=False)
    post(daemon, 1, "wamid.a", "twice")
    wait_for(lambda: daemon.metric('wahookd_graph_sends_total{result="unknown"}') >= 1, what="an unknown outcome")
    sandbox.faults(statuses=False)
    wait_for(lambda: daemon.metric('wahookd_jobs_total{result="done"}') == 1, 30, "the job's end")
    got = sandbox.messages()
    assert len(got) >= 2 and len({m["body"]["biz_opaque_callback_data"] for m in got}) == 1
    assert daemon.metric("wahookd_graph_resent_total") == len(got) - 1
