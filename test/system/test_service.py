"""Under a service manager: what systemd is told, sockets that it passes, sockets that it keeps over a restart."""

import array
import os
import signal
import socket
import threading
import time

import pytest

from conftest import BUILD, PATIENCE, request, wait_for
from processes import Load, command, gone, whole


class Manager:
    """The other end of $NOTIFY_SOCKET: remembers what it was told, keeps descriptors by name."""

    def __init__(self, path):
        self.path, self.told, self.store, self.stopped = path, [], {}, False
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopped:
            try:
                text, ancillary, _, _ = self.socket.recvmsg(4096, 64)
            except TimeoutError:
                continue
            lines = dict(line.split("=", 1) for line in text.decode().splitlines())
            fds = array.array("i")
            for _, _, data in ancillary:
                fds.frombytes(data)
            if "FDSTORE" in lines:
                self.store[lines["FDNAME"]] = fds[0]
            elif "FDSTOREREMOVE" in lines:
                os.close(self.store.pop(lines["FDNAME"]))
            self.told.append(lines)

    def has(self, **lines):
        return [t for t in self.told if all(t.get(k) == v for k, v in lines.items())]

    def close(self):
        self.stopped = True
        self.thread.join()
        self.socket.close()
        for fd in self.store.values():
            os.close(fd)


@pytest.fixture
def manager(world):
    m = Manager(world.directory / "notify")
    yield m
    m.close()


def passing(world, fds, names=None):
    """A program that starts wahookd as systemd does: with these descriptors from 3 on."""
    path = world.directory / f"start-{len(list(world.directory.iterdir()))}"
    moves = "; ".join(f"exec {100 + i}<&{fd}" for i, fd in enumerate(fds))
    places = "; ".join(f"exec {3 + i}<&{100 + i}; exec {100 + i}<&-" for i in range(len(fds)))
    named = f"export LISTEN_FDNAMES={':'.join(names)};" if names else ""
    path.write_text(f"#!/bin/bash\n{moves}; {places}\nexport LISTEN_FDS={len(fds)} LISTEN_PID=$$; {named} exec {BUILD / 'wahookd'} \"$@\"\n")
    path.chmod(0o755)
    for fd in fds:
        os.set_inheritable(fd, True)
    return path


def test_what_the_manager_is_told(world, manager):
    d = whole(world, env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "600000"})
    wait_for(lambda: manager.has(READY="1", MAINPID=str(d.pid)), 5)
    wait_for(lambda: len(manager.has(WATCHDOG="1")) >= 3, 10)
    assert [t for t in manager.told if t.get("STATUS", "").startswith("2 workers")]
    assert command(d, "-s", "reload").returncode == 0
    reloading = wait_for(lambda: manager.has(RELOADING="1"), 5)[0]
    assert int(reloading["MONOTONIC_USEC"]) > 0
    at = manager.told.index(reloading)
    wait_for(lambda: any(t.get("READY") == "1" for t in manager.told[at:]), 5)
    assert command(d, "-s", "upgrade").returncode == 0
    new = int((d.state / "wahookd.pid").read_text())
    wait_for(lambda: manager.has(MAINPID=str(new)), 5)
    assert d.popen.wait(15 * PATIENCE) == 0
    assert not manager.has(STOPPING="1")  # the service goes on
    os.kill(new, signal.SIGTERM)
    gone([new])
    assert manager.has(STOPPING="1")


def test_a_restart_keeps_the_sockets_in_the_managers_store(world, manager):
    path = world.directory / "public.sock"
    port = world.port
    options = dict(server_bind=f"127.0.0.1:{port},unix:{path}", env={"NOTIFY_SOCKET": str(manager.path)})
    d = whole(world, port=port, **options)
    wait_for(lambda: len(manager.store) == 4, 5)  # two workers' sockets, the public and the operator's unix socket
    assert d.stop() == 0
    # Nobody runs: connections wait.
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    unix = socket.socket(socket.AF_UNIX)
    unix.connect(str(path))
    for s in [*waiting, unix]:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    names = sorted(manager.store, reverse=True)  # in any order
    again = whole(world, port=port, program=passing(world, [manager.store[n] for n in names], names), **options)
    for s in [*waiting, unix]:
        s.settimeout(10 * PATIENCE)
        assert s.recv(100).startswith(b"HTTP/1.1 200")
        s.close()
    # One worker less: its socket leaves the store.
    again.popen.send_signal(signal.SIGTTOU)
    wait_for(lambda: len(manager.store) == 3, 15)
    assert again.stop() == 0


def test_more_stored_sockets_than_workers(world, manager):
    port = world.port
    env = {"NOTIFY_SOCKET": str(manager.path)}
    d = whole(world, port=port, server_workers="4", env=env)
    wait_for(lambda: len(manager.store) == 5, 5)
    assert d.stop() == 0
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    names = sorted(manager.store)
    whole(world, port=port, server_workers="1", env=env, program=passing(world, [manager.store[n] for n in names], names))
    for s in waiting:
        s.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        s.settimeout(10 * PATIENCE)
        assert s.recv(100).startswith(b"HTTP/1.1 200")
        s.close()
    wait_for(lambda: len(manager.store) == 2, 15)


@pytest.mark.parametrize("reuse_port", [False, True])
def test_socket_activation(world, reuse_port):
    """A .socket unit made the sockets, with ReusePort= or without; the unix socket's file stays the manager's."""
    path = world.directory / "activated.sock"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        if reuse_port:
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        unix.bind(str(path))
        for s in (tcp, unix):
            s.listen(100)
        program = passing(world, [tcp.fileno(), unix.fileno()])
        d = whole(world, port=port, program=program, server_bind=f"127.0.0.1:{port},unix:{path}")
        with Load(port, clients=2) as load:
            time.sleep(0.3)
            assert command(d, "-s", "reload").returncode == 0
            time.sleep(0.3)
        assert not load.failed and load.done > 10
        assert d.stop() == 0
        assert path.exists()
        # It still listens: the next start is activated by a connection that waits.
        early = socket.create_connection(("127.0.0.1", port))
        early.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        again = whole(world, port=port, program=program, server_bind=f"127.0.0.1:{port},unix:{path}")
        early.settimeout(10 * PATIENCE)
        assert early.recv(100).startswith(b"HTTP/1.1 200")
        early.close()
        again.stop()


def test_a_passed_socket_that_nobody_configured_is_told(world):
    with socket.create_server(("127.0.0.1", 0)) as other:
        d = whole(world, program=passing(world, [other.fileno()]))
        assert f"127.0.0.1:{other.getsockname()[1]}" in d.log() and "server.bind" in d.log()
        assert request(d.port, "GET", "/health").status == 200
