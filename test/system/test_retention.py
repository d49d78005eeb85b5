"""A business' own retention: its messages go earlier or later than the deployment's, and are not answered again when they come again."""

import contextlib
import json
import sqlite3
import time

from conftest import business, change, ctl, envelope, message, wait_for
from mongo import mongo, mongo_server  # noqa: F401 (fixtures)

# A sweep comes each 10 s, and a machine may be busy.
SWEPT = 40


def rows(daemon, sql, *values):
    with contextlib.closing(sqlite3.connect(daemon.state / "spool.db", timeout=10)) as db:
        return db.execute(sql, values).fetchall()


def texts(daemon):
    """What the spool still has of anybody's words."""
    return "".join(row[0] for row in rows(daemon, "SELECT raw FROM jobs UNION ALL SELECT body FROM outgoing"
                                                  " UNION ALL SELECT coalesce(user_text, '') || coalesce(answer_text, '') FROM exchanges"
                                                  " UNION ALL SELECT text FROM turns UNION ALL SELECT CAST(raw AS TEXT) FROM kept"))


def ask(daemon, number, text):
    delivery = envelope(change(f"1000{number}", [message(f"wamid.{text}", text=text, user=f"4917000000{number}")]))
    assert daemon.post(delivery).status == 200
    return delivery


def finished(daemon, count):
    wait_for(lambda: len(rows(daemon, "SELECT 1 FROM jobs WHERE state = 1")) >= count, what="the jobs to end")


def test_each_business_messages_go_when_its_time_is_over(world):
    d, box = world.start([business(1, retention="2s"), business(2, retention=3600), business(3)], dispatch_retention="1h")
    d.post(envelope(change("10001", [message("wamid.note", kind="unsupported", note="secret-of-1", user="49170000001")])))
    deliveries = [ask(d, n, f"secret-of-{n}") for n in (1, 2, 3)]
    box.wait_messages(3)
    wait_for(lambda: "secret-of-1" not in texts(d), SWEPT, "the first one's content to go")
    assert "secret-of-2" in texts(d) and "secret-of-3" in texts(d)
    assert [r[0] for r in rows(d, "SELECT phone_number_id FROM conversations ORDER BY 1")] == ["10002", "10003"]
    # What Meta delivers once more is known, though there is nothing left of it.
    box.forget()
    for delivery in deliveries:
        assert d.post(delivery).status == 200
    wait_for(lambda: d.metric("wahookd_duplicates_total") == 3, what="the duplicates")
    ask(d, 1, "another")
    assert [m["body"]["text"]["body"] for m in box.wait_messages(1)] == ["another"]
    # Nor is it in the file's free pages.
    assert d.stop() == 0
    file = (d.state / "spool.db").read_bytes()
    assert b"secret-of-1" not in file and b"secret-of-2" in file


def test_a_change_holds_for_what_is_there(world):
    """A second before it was set, and by the tool while the daemon runs."""
    d, box = world.start([business(1), business(2, retention="90d")])
    ask(d, 1, "one")
    ask(d, 2, "two")
    box.wait_messages(2)
    finished(d, 2)
    assert ctl(d, "business", "set-retention", "b1", "1s").stdout == "b1: retention set\n"
    assert json.loads(ctl(d, "business", "show", "b1", "--json").stdout)["retention"] == "1s"
    wait_for(lambda: "one" not in texts(d), SWEPT, "the first one's message to go")
    assert "two" in texts(d)
    ctl(d, "business", "set-retention", "b2", "1s")
    wait_for(lambda: "two" not in texts(d), SWEPT, "the second one's message to go")
    ctl(d, "business", "set-retention", "b2")
    assert "retention" not in json.loads(ctl(d, "business", "show", "b2", "--json").stdout)
    ask(d, 2, "three")
    box.wait_messages(3)
    wait_for(lambda: [r[0] for r in rows(d, "SELECT phone_number_id FROM retentions")] == ["10001"], SWEPT, "the number to have none")
    assert "three" in texts(d)


def test_what_is_no_duration_is_complained_about(world, mongo):
    """In a document that others wrote; the deployment's holds."""
    mongo.businesses.insert_many([business(1, retention="soon"), business(2, retention=1.0), business(3, retention=True)])
    box = world.sandbox()
    d = world.daemon(graph_port=box.port, port=world.port, directory_store=mongo.uri, directory_database=None)
    for number in (1, 2, 3):
        ask(d, number, f"text-{number}")
    box.wait_messages(3)
    d.wait_log('business b1: retention: "soon" is no duration')
    d.wait_log('business b3: retention: "true" is no duration')
    wait_for(lambda: "text-2" not in texts(d), SWEPT, "the message with a good one to go")
    assert "text-1" in texts(d) and "text-3" in texts(d)
    assert d.log().count('retention: "soon"') == 1  # not with each look
    # A change that somebody makes in the collection is noticed, also of a business that is silent.
    mongo.businesses.update_one({"_id": "b1"}, {"$set": {"retention": "1s"}, "$currentDate": {"updatedAt": True}})
    wait_for(lambda: "text-1" not in texts(d), SWEPT, "the message to go after the change")


def test_the_tool_refuses_what_is_no_duration(world):
    d, _ = world.start([business(1)], sandbox=False)
    for bad in ("soon", "0", "10y", "4000d"):
        refused = ctl(d, "business", "set-retention", "b1", bad, check=False)
        assert refused.returncode == 65 and "retention" in refused.stderr and "3650d" in refused.stderr, bad
    refused = ctl(d, "business", "add", "b2", "--retention", "soon", check=False)
    assert refused.returncode == 65 and "retention" in refused.stderr
    ctl(d, "business", "add", "b2", "--phone", "10002", "--retention", "7d")
    exported = ctl(d, "export").stdout
    assert json.loads(exported.splitlines()[-1])["retention"] == "7d"
    target = f"sqlite:{world.directory}/copy.db"
    ctl(d, "migrate", "--to", target)
    with contextlib.closing(sqlite3.connect(f"{world.directory}/copy.db")) as db:
        assert db.execute("SELECT retention FROM businesses WHERE id = 'b2'").fetchall() == [("7d",)]
    refused = ctl(d, "import", "-", stdin='{"_id": "b3", "retention": "soon"}\n', check=False)
    assert "retention" in refused.stderr


def test_a_spool_of_an_older_wahookd(world):
    """Its messages, which ended before there was such a thing, go too."""
    first, box = world.start([business(1)])
    ask(first, 1, "long-ago")
    box.wait_messages(1)
    finished(first, 1)
    assert first.stop() == 0
    with contextlib.closing(sqlite3.connect(first.state / "spool.db")) as db:
        db.executescript("DROP TABLE retentions; DROP TABLE ended; DROP INDEX kept_number; INSERT INTO seen SELECT bucket, id FROM seen_recent;"
                         "INSERT INTO turns SELECT conversation, job * 2, at_us, user_text FROM exchanges;"
                         "INSERT INTO turns SELECT conversation, job * 2 + 1, at_us, answer_text FROM exchanges;"
                         "DROP TABLE seen_recent; DROP TABLE exchanges; ALTER TABLE conversations DROP COLUMN last_turn; PRAGMA user_version = 2;")
    d = world.daemon(graph_port=box.port, port=world.port)
    time.sleep(1)
    assert "long-ago" in texts(d)
    ctl(d, "business", "set-retention", "b1", "1s")
    wait_for(lambda: "long-ago" not in texts(d), SWEPT, "the old message to go")
