"""The proxy that other tests rely on does what it says."""

import contextlib
import socket
import threading
import time

import pytest

from fault_proxy import FaultProxy


@pytest.fixture
def proxy():
    """Before a server that answers each line with the same line."""
    listener = socket.create_server(("127.0.0.1", 0))

    def echo(conn):
        with conn, contextlib.suppress(OSError):
            while data := conn.recv(4096):
                conn.sendall(data)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    p = FaultProxy(listener.getsockname())
    yield p
    p.close()
    listener.close()


def client(proxy, timeout=5):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=timeout)


def test_delay_garbage_and_stall(proxy):
    with client(proxy) as s:
        s.sendall(b"one")
        assert s.recv(10) == b"one"
        proxy.set("delay", 300)
        from_ = time.monotonic()
        s.sendall(b"two")
        assert s.recv(10) == b"two" and time.monotonic() - from_ >= 0.3
        proxy.set("garbage")
        s.sendall(b"0123456789" * 10)
        assert s.recv(100) != b"0123456789" * 10
        proxy.set("stall")
        s.sendall(b"three")
        s.settimeout(0.3)
        with pytest.raises(TimeoutError):
            s.recv(10)
        proxy.set("pass")
        s.settimeout(5)
        assert s.recv(10) == b"three"


def test_reset_cuts_and_refuses(proxy):
    with client(proxy) as s:
        s.sendall(b"one")
        assert s.recv(10) == b"one"
        proxy.set("reset")
        with pytest.raises(ConnectionResetError):
            s.recv(10)
    with pytest.raises(OSError):
        with client(proxy) as s:
            s.sendall(b"x")
            assert s.recv(10)
            raise AssertionError("answered")


def test_a_half_open_connection_stays_dead(proxy):
    with client(proxy, timeout=0.3) as s:
        s.sendall(b"one")
        assert s.recv(10) == b"one"
        proxy.set("half-open")
        s.sendall(b"two")
        with pytest.raises(TimeoutError):
            s.recv(10)
        proxy.set("pass")
        s.sendall(b"three")
        with pytest.raises(TimeoutError):
            s.recv(10)
        with client(proxy) as other:
            other.sendall(b"four")
            assert other.recv(10) == b"four"
