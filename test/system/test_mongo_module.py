"""Processes that use another store never load MongoDB's driver."""

import pathlib
import subprocess

from conftest import BUILD, business, needs_root
from processes import offspring


def test_programs_are_not_linked_with_the_driver():
    for name in ("wahookd", "wahookctl", "wahook-sandbox"):
        assert "libmongoc" not in subprocess.run(["ldd", BUILD / name], capture_output=True, text=True, check=True).stdout
    assert "libmongoc" in subprocess.run(["ldd", BUILD / "lib/wahookd/store_mongo.so"], capture_output=True, text=True, check=True).stdout


@needs_root
def test_no_process_of_a_daemon_with_sqlite_maps_it(world):
    daemon, box = world.start(businesses=[business(1)], directory_store=None)
    box.inbound(phone_number_id="10001", text="hello")
    box.wait_messages(1)
    pids = [daemon.pid, *offspring(daemon.pid)]
    assert len(pids) == 4
    for pid in pids:
        maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
        assert "libmongoc" not in maps and "libuv" in maps
