#!/usr/bin/python3
"""A TCP proxy that misbehaves on command, to stand between a program and a server it depends on.

Modes: pass; delay MS (each answer comes later); stall (nothing goes through, all comes when it passes again); reset (connections are
cut, new ones too); garbage (answers are nonsense); half-open (connections stay open and are dead for ever: what comes is lost).

As a program: fault_proxy.py PORT HOST:PORT CONTROL_PORT, one command a line on the control port, answered with "ok"."""

import os
import socket
import socketserver
import struct
import sys
import threading
import time

MODES = ("pass", "delay", "stall", "reset", "garbage", "half-open")


def cut(sock):
    """Closes with RST instead of FIN; a thread that reads from it wakes up."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass
    sock.close()


class Pair:
    """One connection: the client's end and the server's, and a thread for each direction."""

    def __init__(self, proxy, client):
        self.proxy, self.client, self.dead = proxy, client, False
        self.server = socket.create_connection(proxy.target)
        for a, b, answers in ((self.client, self.server, False), (self.server, self.client, True)):
            threading.Thread(target=self.pump, args=(a, b, answers), daemon=True).start()

    def pump(self, source, sink, answers):
        try:
            while data := source.recv(65536):
                data = self.proxy.treat(self, data, answers)
                if data:
                    sink.sendall(data)
        except OSError:
            pass
        while self.dead and not self.proxy.closed:  # nobody is told that a dead connection has ended
            time.sleep(0.05)
        self.close()

    def close(self):
        cut(self.client)
        cut(self.server)
        self.proxy.pairs.discard(self)


class FaultProxy:
    def __init__(self, target, port=0):
        self.target, self.mode, self.delay_s, self.closed = target, "pass", 0.0, False
        self.changed = threading.Condition()
        self.pairs = set()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def set(self, mode, delay_ms=0):
        assert mode in MODES, mode
        with self.changed:
            self.mode, self.delay_s = mode, delay_ms / 1000
            self.changed.notify_all()
        if mode == "half-open":
            for pair in list(self.pairs):
                pair.dead = True
        if mode == "reset":
            for pair in list(self.pairs):
                pair.close()

    def accept(self):
        while not self.closed:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.mode == "reset":
                cut(client)
                continue
            try:
                pair = Pair(self, client)
            except OSError:  # the server is not there
                cut(client)
                continue
            pair.dead = self.mode == "half-open"
            self.pairs.add(pair)

    def treat(self, pair, data, answers):
        with self.changed:
            while self.mode == "stall" and not self.closed:
                self.changed.wait()
        if pair.dead:
            return b""
        if self.mode == "delay" and answers:
            time.sleep(self.delay_s)
        if self.mode == "garbage" and answers:
            return os.urandom(len(data))
        return data

    def close(self):
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.listener.close()
        for pair in list(self.pairs):
            pair.close()


def main(port, target, control_port):
    host, target_port = target.rsplit(":", 1)
    proxy = FaultProxy((host, int(target_port)), int(port))

    class Control(socketserver.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                mode, *delay = line.decode().split()
                proxy.set(mode, *map(int, delay))
                self.wfile.write(b"ok\n")

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer(("127.0.0.1", int(control_port)), Control).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
