"""A MongoDB for the tests: the one of MONGODB_URI, or SecantusDB from the tests' Python environment; and Python's driver to look into it.

A test that needs only a database imports the fixture `mongo` from here (an empty database, on a server that others share); one that stops or
kills the server imports `mongo_server`, which is always a server of its own. Both skip with the reason where there is none."""

import functools
import pathlib
import shutil
import signal
import sys
import tempfile
import urllib.parse

import pytest

from conftest import MONGODB_URI, PATIENCE, VENV_PYTHON, Process, database_of, free_port, wait_for

VENV = VENV_PYTHON.parent.parent


def pymongo():
    """Python's driver, which only the tests' own environment has."""
    if not VENV_PYTHON.exists():
        pytest.skip(f"no MongoDB to test against: {VENV} is not there (make test makes it; see vendor/make-venv)")
    for path in VENV.glob("lib/python*/site-packages"):
        if str(path) not in sys.path:
            sys.path.append(str(path))
    import pymongo as driver
    return driver


def object_id(hex_digits):
    pymongo()
    import bson
    return bson.ObjectId(hex_digits)


def with_database(uri, name):
    return urllib.parse.urlsplit(uri)._replace(path="/" + name).geturl()


class Server:
    """SecantusDB on a port and in a folder of its own. `args` are further ones of its command line, such as --auth."""

    def __init__(self, *args):
        pymongo()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="wahook-mongo-", dir="/tmp"))
        self.port, self.args, self.process = free_port(), args, None
        self.uri = f"mongodb://127.0.0.1:{self.port}/"

    def client(self, **options):
        return pymongo().MongoClient(self.uri, **options)

    def start(self):
        """Also again, after stop() or kill(): on the same port with the same data."""
        assert not self.process
        argv = [str(VENV / "bin/secantusd-py"), "--host", "127.0.0.1", "--port", str(self.port), "--storage-path", str(self.folder / "data"),
                "--enable-test-commands", *self.args]
        self.process = Process(argv, {}, self.folder / "log")
        wait_for(self.answers, 60, f"MongoDB:\n{self.process.log()[-2000:]}")
        return self

    def answers(self):
        assert self.process.popen.poll() is None, self.process.log()[-2000:]
        driver = pymongo()
        try:
            with self.client(serverSelectionTimeoutMS=1000 * PATIENCE) as client:
                return client.admin.command("hello")["ok"]
        except driver.errors.PyMongoError:
            return False

    def end(self, signum):
        if self.process:
            self.process.popen.send_signal(signal.SIGCONT)
            self.process.stop(signum)
            self.process = None

    def stop(self):
        self.end(signal.SIGTERM)

    def kill(self):
        self.end(signal.SIGKILL)

    def freeze(self):
        """It hangs: connections stay, nothing is answered."""
        self.process.popen.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.popen.send_signal(signal.SIGCONT)

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Database:
    """A database of a test's own: its URI, and its collection of businesses."""

    def __init__(self, server_uri, name):
        self.name, self.uri = name, with_database(server_uri, name)
        self.client = pymongo().MongoClient(server_uri)
        self.db = self.client[name]
        self.businesses = self.db.businesses

    def close(self):
        self.client.drop_database(self.name)
        self.client.close()


@pytest.fixture
def mongo_server():
    server = Server()
    try:
        yield server.start()
    finally:
        server.remove()


@functools.cache
def shared(config):
    """The URI of the server that all tests share, to the end of the run."""
    if MONGODB_URI:
        return MONGODB_URI
    server = Server()
    config.add_cleanup(server.remove)
    return server.start().uri


@pytest.fixture
def mongo(request, directory):
    database = Database(shared(request.config), database_of(directory))
    yield database
    database.close()
