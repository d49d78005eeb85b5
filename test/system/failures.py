"""What the tests of failures share: bytes on a raw connection, the spool's rows, numbered messages and their answers, small disks."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess

import pytest

from conftest import PATIENCE, Answer, business, change, envelope, message, wait_for


def raw(port, data, half_close=False, timeout=10):
    """Sends these bytes and gives all that comes back until the other side closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout * PATIENCE) as s:
        with contextlib.suppress(OSError):
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while chunk := s.recv(65536):
                got += chunk
    return got


def reset(sock):
    """Closes with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ask(port, method, path, body=None, headers=None, source="127.0.0.1"):
    """A request from one of the addresses of this machine (all of 127.0.0.0/8 are)."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30 * PATIENCE, source_address=(source, 0))
    try:
        conn.request(method, path, body=body, headers=headers or {})
        r = conn.getresponse()
        return Answer(r.status, r.headers, r.read())
    finally:
        conn.close()


def rows(daemon, sql, *values):
    """What the spool holds, read beside the running dispatcher."""
    with contextlib.closing(sqlite3.connect(daemon.state / "spool.db", timeout=10)) as db:
        return db.execute(sql, values).fetchall()


class Messages:
    """Numbered messages of one business: which of them had their 200, and what was answered."""

    def __init__(self, daemon, box, number=1):
        self.daemon, self.box, self.number, self.kept = daemon, box, number, set()

    def body(self, n):
        return envelope(change(f"1000{self.number}", [message(f"wamid.n{n}", f"n{n}", user=f"4917{n:08}")]))

    def post(self, n):
        answer = self.daemon.post(self.body(n))
        if answer.status == 200:
            self.kept.add(n)
        return answer

    def answers(self):
        found = {}
        for m in self.box.messages():
            text = m["body"]["text"]["body"]
            if m["phone_number_id"] == f"1000{self.number}" and re.fullmatch(r"n\d+", text):
                found.setdefault(int(text[1:]), []).append(m["body"]["biz_opaque_callback_data"])
        return found

    def wait_answers(self, seconds=60):
        """Every message that had its 200 is answered, by one job each, and no other one is."""
        wait_for(lambda: self.kept <= set(self.answers()), seconds, f"answers to {len(self.kept)} messages")
        found = self.answers()
        assert set(found) == self.kept
        assert not [n for n, callbacks in found.items() if len(set(callbacks)) != 1]
        return found


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of this size at path; skips the test where mounting is not permitted."""
    path.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path):
    """Takes all the room that is left."""
    with open(path, "wb", buffering=0) as f:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while f.write(b"x" * size) == size:
                    pass
    return path


def stored_business(number, token):
    return business(number, whatsappAccessToken=token)
