"""Files of an older wahookd are brought up to date when they are opened."""

import contextlib
import sqlite3

from conftest import business, ctl


def test_a_directory_without_own_app_secrets(world):
    first, box = world.start([business(1)], directory_store=None)
    assert first.stop() == 0
    with contextlib.closing(sqlite3.connect(first.state / "businesses.db")) as db:
        db.executescript("ALTER TABLE businesses DROP COLUMN app_secret; ALTER TABLE businesses DROP COLUMN rate_limit; PRAGMA user_version=1;")
    d = world.daemon(graph_port=box.port, port=world.port, directory_store=None)
    box.inbound(phone_number_id="10001", text="hello")
    box.wait_messages(1)
    d.add_businesses([business(2, rateLimit="3/minute")])
    assert '"rateLimit": "3/minute"' in ctl(d, "business", "show", "b2", "--json").stdout.replace('":"', '": "')
