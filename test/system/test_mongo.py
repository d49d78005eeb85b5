"""Businesses in MongoDB, as the replaced service's operators have them: its variables, its documents, its changes. FAILURES 21-23."""

import time

import pytest

from conftest import business, change, ctl, envelope, message, wait_for
from mongo import Database, mongo, mongo_server  # noqa: F401 (fixtures)

# The time that a change may take until every process knows of it, with what a busy machine adds.
SOON = 10


def start(world, database, box=None, **options):
    box = box or world.sandbox()
    return world.daemon(graph_port=box.port, port=world.port, **{"directory_store": database.uri, "directory_database": None, **options}), box


def ask(daemon, number, wamid, user="491701234567"):
    assert daemon.post(envelope(change(f"1000{number}", [message(wamid, user=user)]))).status == 200


def test_the_old_services_variables_are_enough(world, mongo):
    mongo.businesses.insert_one(business(1))
    box = world.sandbox()
    old = {"MONGODB_URI": mongo.uri, "MONGODB_DB_NAME": mongo.name, "MONGODB_MAX_POOL_SIZE": "30", "MONGODB_MIN_POOL_SIZE": "3",
           "SLOW_QUERY_THRESHOLD": "1.0", "AUTO_OPTIMIZE_QUERIES": "true"}
    d = world.daemon(graph_port=box.port, port=world.port, env=old, directory_store=None, directory_database=None)
    ask(d, 1, "wamid.1")
    box.wait_messages(1)
    assert "Cache warmed up with 1 businesses" in d.log()
    names = mongo.businesses.index_information
    wait_for(lambda: {"webhook_lookup_idx", "subdomain_lookup_idx", "active_businesses_idx"} <= set(names()), 20, "the indexes")
    assert d.get("/health").json["database"] == "healthy"


def test_a_change_is_known_to_every_process_at_once(world, mongo):
    mongo.businesses.insert_one(business(1, token="EAAfirst"))
    d, box = start(world, mongo, directory_cache_ttl="1h")
    ask(d, 1, "wamid.1")
    assert box.wait_messages(1)[0]["bearer"] == "EAAfirst"
    mongo.businesses.update_one({'_id': 'b1'}, {'$set': {'whatsappAccessToken': 'EAAsecond'}})

    def second():
        ask(d, 1, f"wamid.{time.monotonic()}")
        time.sleep(0.1)
        return box.messages()[-1]["bearer"] == "EAAsecond"
    wait_for(second, SOON, "the new token")
    mongo.businesses.update_one({'_id': 'b1'}, {'$set': {'isActive': False}})

    def refused():
        before = d.metric("wahookd_events_unknown_business_total")
        ask(d, 1, f"wamid.{time.monotonic()}")
        time.sleep(0.1)
        return d.metric("wahookd_events_unknown_business_total") > before
    wait_for(refused, SOON, "the business to be known as inactive")


def test_a_change_while_the_daemon_was_down(world, mongo):
    """The watch goes on where it stood, so a start needs no guess."""
    mongo.businesses.insert_one(business(1, token="EAAfirst"))
    d, box = start(world, mongo)
    ask(d, 1, "wamid.1")
    box.wait_messages(1)
    assert d.stop() == 0
    mongo.businesses.update_one({'_id': 'b1'}, {'$set': {'whatsappAccessToken': 'EAAsecond'}})
    d, box = start(world, mongo, box)
    ask(d, 1, "wamid.2")
    assert box.wait_messages(2)[-1]["bearer"] == "EAAsecond"


def test_a_start_while_the_server_is_down(world, mongo_server):
    database = Database(mongo_server.uri, "wahook_test")
    database.businesses.insert_one(business(1))
    mongo_server.stop()
    d, box = start(world, database, wait=False)
    wait_for(lambda: "is ready:" in d.log(), 30, "the workers")
    ask(d, 1, "wamid.1")
    wait_for(lambda: d.get("/health").status == 503, 20, "/health to tell")
    assert d.get("/health").json["error"]
    ready = d.get("/ready")
    assert ready.status == 503 and "atabase" in ready.json["reason"], ready
    mongo_server.start()
    box.wait_messages(1)
    wait_for(lambda: d.get("/ready").status == 200 and d.get("/health").status == 200, 20, "/ready")


def test_a_uri_with_a_password_is_never_shown(world, mongo):
    secret = "p4ssw0rd"
    with_password = mongo.uri.replace("mongodb://", f"mongodb://somebody:{secret}@", 1)
    d = world.daemon(directory_store=with_password, wait=False)
    wait_for(lambda: "is ready:" in d.log(), 30, "the workers")
    ask(d, 1, "wamid.1")
    wait_for(lambda: "cannot be asked" in d.log(), 30, "the refusal")
    shown = ctl(d, "status", check=False)
    assert secret not in d.log() + shown.stdout + shown.stderr


@pytest.mark.parametrize("store, reason", [("mongodb://localhost", "names no database"), ("mongodb://localhost/db?tls=perhaps", "directory.store")])
def test_a_uri_that_cannot_work_is_refused(world, store, reason):
    d = world.daemon(args=("-t",), wait=False, directory_store=store, directory_database=None)
    assert d.popen.wait(20) == 78
    assert reason in d.log(), d.log()
