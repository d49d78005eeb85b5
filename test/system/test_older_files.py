"""Files of an older wahookd are brought up to date when they are opened."""

import contextlib
import json
import sqlite3

import pytest

from conftest import business, ctl


@pytest.mark.parametrize("schema, columns", [(1, ["app_secret", "rate_limit", "retention"]), (2, ["retention"])])
def test_a_directory_without_newer_fields(world, schema, columns):
    first, box = world.start([business(1)], directory_store=None)
    assert first.stop() == 0
    with contextlib.closing(sqlite3.connect(first.state / "businesses.db")) as db:
        db.executescript("DROP INDEX businesses_retention;" + "".join(f"ALTER TABLE businesses DROP COLUMN {c};" for c in columns)
                         + f"PRAGMA user_version={schema};")
    d = world.daemon(graph_port=box.port, port=world.port, directory_store=None)
    box.inbound(phone_number_id="10001", text="hello")
    box.wait_messages(1)
    d.add_businesses([business(2, rateLimit="3/minute", retention="12h")])
    shown = json.loads(ctl(d, "business", "show", "b2", "--json").stdout)
    assert (shown["rateLimit"], shown["retention"]) == ("3/minute", "12h")
